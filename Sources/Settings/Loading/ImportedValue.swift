/// A value that another system's settings say (a Django project's, for one): it stands between the file and the
/// preset's defaults, and is shown with its own origin.
public struct ImportedValue: Sendable, Equatable {
  /// The key it sets: `timeout`, `coordination.redis.url`, `infrastructure.steps`, `services.beat.command`.
  public var path: String
  /// The value. A single value is taken literally, without quotes; a list or a map (`framework.databases`,
  /// `infrastructure.steps`, any command) is YAML, as it would be written behind the key in a settings file.
  /// `${…}` is not expanded in either. Empty: not set.
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
