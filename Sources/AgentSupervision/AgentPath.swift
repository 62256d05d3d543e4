import Glibc
import Processes

/// Where the agent's program is.
public enum AgentPath {
  /// There is none.
  public struct Missing: Error, Equatable, Sendable, CustomStringConvertible {
    /// The files that are not there, or cannot be executed.
    public var tried: [String]

    /// One sentence: what, where it was looked for, what to do.
    public var description: String {
      "supervisor-agent is not there: looked for it at \(tried.joined(separator: ", ")). It belongs beside supervisor; "
        + "SUPERVISOR_AGENT can name another place"
    }
  }

  /// Names another place for the agent.
  public static let variable = "SUPERVISOR_AGENT"
  private static let name = "supervisor-agent"

  /// The agent's program: where `SUPERVISOR_AGENT` says, else beside our own, else in PATH. Looks at files: for the
  /// start, not for the loop.
  public static func find(environment: ProcessEnvironment) throws(Missing) -> RawString {
    if let chosen = environment.value(of: variable), !chosen.bytes.isEmpty {
      guard isExecutable(chosen) else { throw Missing(tried: ["\(chosen) (\(variable))"]) }
      return chosen
    }
    var tried: [RawString] = []
    if let beside = besideUs() {
      if isExecutable(beside) { return beside }
      tried.append(beside)
    }
    let path = environment.value(of: "PATH") ?? RawString(ExecutableSearch.standardPath)
    for folder in path.bytes.split(separator: UInt8(ascii: ":")) where folder.first == UInt8(ascii: "/") {
      var candidate = RawString("")
      candidate.bytes = Array(folder) + Array("/\(name)".utf8)
      if isExecutable(candidate) { return candidate }
    }
    throw Missing(tried: tried.map { "\($0)" } + ["PATH (\(path))"])
  }

  private static func besideUs() -> RawString? {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let size = buffer.withUnsafeMutableBytes { bytes -> Int in
      guard let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return -1 }
      return readlink("/proc/self/exe", start, bytes.count)
    }
    guard size > 0, let slash = buffer.prefix(size).lastIndex(of: UInt8(ascii: "/")) else { return nil }
    var path = RawString("")
    path.bytes = Array(buffer[...slash]) + Array(name.utf8)
    return path
  }

  private static func isExecutable(_ path: RawString) -> Bool {
    var status = stat()
    return (path.bytes + [0]).withUnsafeBytes { bytes in
      guard let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self) else { return false }
      return stat(start, &status) == 0 && status.st_mode & S_IFMT == S_IFREG && access(start, X_OK) == 0
    }
  }
}
