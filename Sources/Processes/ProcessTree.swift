import CLinux
import EventLoop
import Glibc

/// One process as /proc shows it.
public struct ProcessRecord: Sendable, Equatable {
  /// Process ID.
  public var pid: CInt
  /// Its parent.
  public var parent: CInt
  /// Its process group.
  public var group: CInt
  /// Its session.
  public var session: CInt
  /// `R`, `S`, `D`, `Z`, …
  public var state: Character
  /// The program's short name.
  public var name: String

  /// Whether the process still runs: a zombie does not.
  public static func isRunning(_ raw: clinux_process) -> Bool {
    raw.state != CChar(UInt8(ascii: "Z")) && raw.state != CChar(UInt8(ascii: "X"))
  }

  init(_ raw: clinux_process) {
    pid = raw.pid
    parent = raw.parent
    group = raw.group
    session = raw.session
    state = Character(UnicodeScalar(UInt8(bitPattern: raw.state)))
    name = withUnsafeBytes(of: raw.name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

/// The processes below us. Reads only /proc/PID/stat, which never waits for a file system.
public enum ProcessTree {
  /// All processes that /proc shows.
  /// - Throws: when /proc is not mounted, or is something else: we ourselves are not in it.
  public static func all() throws(SystemError) -> [ProcessRecord] {
    var capacity = 512
    while true {
      var buffer = [clinux_process](repeating: clinux_process(), count: capacity)
      let count = Int(try SystemError.check(clinux_process_list(&buffer, CInt(capacity)), "list", "/proc"))
      if count <= capacity {
        let records = buffer.prefix(count).map(ProcessRecord.init)
        let own = getpid()
        guard records.contains(where: { $0.pid == own }) else {
          throw SystemError(code: ENOENT, operation: "find ourselves in", subject: "/proc")
        }
        return records
      }
      capacity = count * 2
    }
  }

  /// The processes below `root` in `records`, parents before children, without `root` itself.
  public static func descendants(of root: CInt, in records: [ProcessRecord]) -> [ProcessRecord] {
    let children = Dictionary(grouping: records, by: \.parent)
    var result: [ProcessRecord] = []
    var frontier = [root]
    var seen: Set<CInt> = [root]
    while let parent = frontier.popLast() {
      for child in children[parent] ?? [] where seen.insert(child.pid).inserted {
        result.append(child)
        frontier.append(child.pid)
      }
    }
    return result
  }

  /// The direct children of a process with one thread, from the kernel's own list, else from all of /proc.
  public static func children(of pid: CInt) -> [CInt] {
    let descriptor = open("/proc/\(pid)/task/\(pid)/children", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return (try? all().filter { $0.parent == pid }.map(\.pid)) ?? [] }
    defer { _ = clinux_close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while bytes.count < 1 << 20 {
      let size = clinux_read(descriptor, &buffer, buffer.count)
      if size <= 0 { break }
      bytes += buffer.prefix(size)
    }
    return String(decoding: bytes, as: UTF8.self).split(separator: " ").compactMap { CInt($0) }
  }

  /// The short name of a process; nil when it is gone.
  public static func name(of pid: CInt) -> String? {
    var raw = clinux_process()
    return clinux_process_read(pid, &raw) == 0 ? ProcessRecord(raw).name : nil
  }
}
