import EventLoop
import Glibc
import NIOCore

/// The process groups of steps, each under the lock that it needs: should nobody else end them, we do, and wait until
/// nothing of them is left before the lock goes.
final class GuardedGroups {
  private static let interval = TimeAmount.milliseconds(5)
  /// From one look at /proc, and one more KILL, to the next.
  private static let closeInterval = Duration.milliseconds(250)
  /// How long the dead may wait for a parent that collects them: a frozen one never does. They run no more.
  private static let deadPatience = Duration.seconds(10)

  private let eventLoop: any NIOCore.EventLoop
  private var groups: [UInt64: Set<pid_t>] = [:]

  init(eventLoop: any NIOCore.EventLoop) {
    self.eventLoop = eventLoop
  }

  /// Whether there are none.
  var isEmpty: Bool { groups.isEmpty }

  /// The locks that some are under.
  var locks: Set<UInt64> { Set(groups.keys) }

  func add(_ group: pid_t, under lock: UInt64) { groups[lock, default: []].insert(group) }

  func remove(_ group: pid_t, under lock: UInt64) {
    groups[lock]?.remove(group)
    if groups[lock]?.isEmpty == true { groups[lock] = nil }
  }

  /// Kills what is under this lock, or under any, also what comes meanwhile, and calls back when nothing of it is left.
  func end(under lock: UInt64? = nil, _ completion: @escaping () -> Void) {
    end(lock, began: .now, looked: nil, completion)
  }

  private func end(
    _ lock: UInt64?, began: MonotonicInstant, looked: MonotonicInstant?, _ completion: @escaping () -> Void
  ) {
    let now = MonotonicInstant.now
    let isCloseLookDue = looked.map { now - $0 >= Self.closeInterval } ?? true
    for (id, all) in groups where lock == nil || lock == id {
      for group in all {
        // All members get it in one: whoever forks in that moment gets it, too. Once more now and then, for the group that
        // is guarded only since.
        if isCloseLookDue { kill(-group, SIGKILL) }
        let isGone = kill(-group, 0) != 0 && errno == ESRCH
        if isGone || (isCloseLookDue && now - began >= Self.deadPatience && !Self.hasLife(group)) {
          remove(group, under: id)
        }
      }
    }
    guard groups.contains(where: { lock == nil || lock == $0.key }) else { return completion() }
    eventLoop.assumeIsolated().scheduleTask(in: Self.interval) { [self] in
      end(lock, began: began, looked: isCloseLookDue ? now : looked, completion)
    }
  }

  // MARK: /proc (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html)

  /// Whether a thread of the group may still run. When that cannot be known, one may.
  private static func hasLife(_ group: pid_t) -> Bool {
    guard let processes = names(in: "/proc") else { return true }
    for name in processes {
      guard let process = pid_t(name), getpgid(process) == group else { continue }
      // The first thread may be dead and others not.
      for thread in names(in: "/proc/\(process)/task") ?? [] {
        guard let state = state(of: "/proc/\(process)/task/\(thread)/stat") else { continue }
        if state != UInt8(ascii: "Z"), state != UInt8(ascii: "X") { return true }
      }
    }
    return false
  }

  private static func names(in folder: String) -> [String]? {
    guard let handle = opendir(folder) else { return nil }
    defer { closedir(handle) }
    var names: [String] = []
    while let entry = readdir(handle) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if pid_t(name) != nil { names.append(name) }
    }
    return names
  }

  /// The letter behind the name, which may itself have parentheses.
  private static func state(of path: String) -> UInt8? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 512)
    let count = read(descriptor, &bytes, bytes.count)
    guard count > 0, let end = bytes.prefix(count).lastIndex(of: UInt8(ascii: ")")), end + 2 < count else {
      return nil
    }
    return bytes[end + 2]
  }
}
