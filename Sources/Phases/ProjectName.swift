import Coordination
import Settings

/// The namespace in a shared backend, where several deployments may have a release of the same run ID.
public struct ProjectName: Equatable, Sendable {
  /// As it stands in keys and rows.
  public var value: String
  /// What it was made of; nil when it was given.
  public var derivation: String?

  /// `coordination.project`; else the Django project's name (the package of its settings module); else the working
  /// directory's name and the first 8 hexadecimal digits of its path's MD5: `run`, `init` and `ready` of one image have
  /// that in common, and a command they may not.
  public init(_ settings: EffectiveSettings, workingDirectory: [UInt8]) {
    if let given = settings.coordination.project {
      value = given
    } else if let package = settings.framework.settingsModule?.split(separator: ".").first,
      settings.framework.name != .none
    {
      value = String(package)
      derivation = "the settings module"
    } else {
      let last = workingDirectory.split(separator: UInt8(ascii: "/")).last
      let name = last.map { String(decoding: $0, as: UTF8.self) } ?? "root"
      value = "\(name)-\(MD5.hexadecimal(of: workingDirectory).prefix(8))"
      derivation = "the working directory"
    }
  }

  /// What is to be said about a name that nobody chose; nil where somebody did, or where nobody else could meet it.
  public func warning(_ coordination: CoordinationSettings) -> String? {
    guard let derivation, coordination.isShared else { return nil }
    return
      "coordination.project is not set: in what is shared with others this is '\(value)', after \(derivation); set it, so "
      + "that all nodes, and no other deployment, have the same"
  }
}
