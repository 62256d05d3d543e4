import CLinux
import Glibc

/// Our control group (version 2), as far as it explains why a process died or could not be made.
///
/// Its files are the kernel's own and never wait for a disk. Where there is no such group nothing is known.
public struct ControlGroup: Sendable {
  private let directory: String

  /// The group of this process, by /proc/self/cgroup.
  public init?() {
    guard let text = ControlGroup.read("/proc/self/cgroup") else { return nil }
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("0::/") }) else { return nil }
    let path = line.dropFirst(3)
    // Inside a container the path is often one of the host's, and our group is the root of what we see.
    let candidates = ["/sys/fs/cgroup\(path == "/" ? "" : path)", "/sys/fs/cgroup"]
    guard let found = candidates.first(where: { access($0 + "/cgroup.procs", F_OK) == 0 }) else { return nil }
    directory = found
  }

  /// A group by its directory.
  public init(directory: String) {
    self.directory = directory
  }

  /// How many processes of the group the kernel has killed for lack of memory.
  public var memoryKills: UInt64? {
    guard let text = ControlGroup.read(directory + "/memory.events") else { return nil }
    for line in text.split(separator: "\n") where line.hasPrefix("oom_kill ") {
      return UInt64(line.dropFirst("oom_kill ".count))
    }
    return nil
  }

  /// How many processes and threads the group has, and may have, as the kernel writes it (`max`: no limit).
  public var processes: (current: String, limit: String)? {
    guard let current = ControlGroup.read(directory + "/pids.current"),
      let limit = ControlGroup.read(directory + "/pids.max")
    else { return nil }
    let trimmed = { (text: String) in String(text.prefix { !$0.isNewline }) }
    return (trimmed(current), trimmed(limit))
  }

  private static func read(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { _ = clinux_close(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let size = clinux_read(descriptor, &buffer, buffer.count)
    return size < 0 ? nil : String(decoding: buffer.prefix(size), as: UTF8.self)
  }
}
