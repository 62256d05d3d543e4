import Coordination

/// The name of one release.
public struct RunID: Equatable, Sendable {
  /// As it appears in records, markers and the children's environment.
  public var value: String
  /// Made up from the working directory, and so the same for every release: nothing stored under it is trusted.
  public var isDevelopment: Bool

  /// The run ID that was given, or the development one of `workingDirectory` when there is none: `dev-` and the
  /// first 8 hexadecimal digits of the directory's MD5, as django-autoinit has it.
  public init(given: String?, workingDirectory: [UInt8]) {
    if let given, !given.isEmpty {
      value = given
      isDevelopment = false
    } else {
      value = "dev-" + MD5.hexadecimal(of: workingDirectory).prefix(8)
      isDevelopment = true
    }
  }
}
