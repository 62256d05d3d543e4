import AgentProtocol
import Blocking
import Glibc

/// Looks whether a file is there. Blocks as long as its file system does.
enum FileProbe {
  static func look(_ path: String) -> ProbeOutcome {
    var status = stat()
    if stat(path, &status) == 0 { return .ready("\(path) is there") }
    switch errno {
    case ENOENT, ENOTDIR: return .notYet("\(path) does not exist")
    case ENAMETOOLONG: return .refused("\(path) can never exist: the name is too long")
    case let code: return .notYet("\(path) cannot be looked at: \(text(of: code))")
    }
  }
}
