import AgentProtocol
import Glibc
import LiteFS
import Processes

/// What is needed to start LiteFS and to look at it.
public struct LiteFSLaunch: Sendable {
  /// The process.
  var image: ProcessImage
  /// Where its configuration is written, before each start.
  var file: String
  /// What is written there; may have a token in it.
  var bytes: [UInt8]
  /// Where it is.
  var place: LiteFSPlace
  /// How its role is told.
  var rules: RoleTracker.Rules

  /// Writes the configuration: all or nothing, and never readable by others in between. The directory is ours alone to
  /// write in.
  func write() throws(SpawnFailure) {
    let new = file + ".new"
    unlink(new)
    let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    var failure = descriptor < 0 ? errno : 0
    if descriptor >= 0 {
      var rest = bytes[...]
      while failure == 0, !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { failure = errno }
      }
      close(descriptor)
      if failure == 0, rename(new, file) != 0 { failure = errno }
      if failure != 0 { unlink(new) }
    }
    if failure != 0 { throw SpawnFailure(stage: .exec, code: failure, command: file) }
  }
}

/// Whose mount it is.
public enum LiteFSUsers {
  /// Whether a user, as settings name it, is another one than ours. One that nobody knows is.
  public static func isOther(_ user: String) -> Bool {
    let name = user.split(separator: ":").first.map { String($0) } ?? user
    let own = geteuid()
    if let number = UInt32(name) { return number != own }
    return UserDatabase.system().user(id: own)?.name != name
  }
}
