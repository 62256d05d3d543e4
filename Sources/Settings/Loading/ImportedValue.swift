/// A value that another system's settings say (a Django project's, for one): it stands between the file and the
/// preset's defaults, and is shown with its own origin.
public struct ImportedValue: Sendable, Equatable {
  /// The key it sets: `timeout`, `coordination.redis.url`.
  public var path: String
  /// The value, as it would be written behind the key in a settings file.
  public var text: String
  /// Where it came from, as `settings show` prints it: `django: AUTOINIT_TIMEOUT_SEC`.
  public var origin: String

  /// A value with its origin.
  public init(path: String, text: String, origin: String) {
    self.path = path
    self.text = text
    self.origin = origin
  }
}
