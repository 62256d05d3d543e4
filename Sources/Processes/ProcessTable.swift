import CLinux
import EventLoop
import Glibc

/// Spawns children and is the only one that ever waits for them.
///
/// A child is registered in the same turn of the loop in which it was made, and its status is taken once, from the
/// loop, so that a process that ends at once, or whose number is used again, is never mistaken for another.
public final class ProcessTable {
  private struct Entry {
    var pidfd: CInt
    var report: CInt
    var image: ProcessImage
    var deadline: TimerID?
    var failure: SpawnFailure?
    var started: (SpawnFailure?) -> Void
    var ended: (ExitStatus) -> Void
    var isStarted = false
  }

  /// How long a child may take from clone to exec: longer means that it hangs on a file system.
  public static let startDeadline = Duration.seconds(10)

  private let loop: EventLoop
  private let nullDevice: CInt
  private var entries: [CInt: Entry] = [:]

  /// Called for each reaped process that was not spawned here: an orphan, or a child we were born with.
  public var onStrayReaped: ((CInt, ExitStatus) -> Void)?
  /// How many such processes were reaped.
  public private(set) var reapedStrays: UInt64 = 0
  /// Whether the kernel said, at the last reaping, that we have no child at all.
  public private(set) var hasNoChildren = false

  /// A table that reports through `loop`.
  /// - Throws: when /dev/null cannot be opened.
  public init(loop: EventLoop) throws(SystemError) {
    self.loop = loop
    let opened = open("/dev/null", O_RDWR | O_CLOEXEC)
    if opened < 0 { throw SystemError(code: errno, operation: "open", subject: "/dev/null") }
    nullDevice = opened
  }

  deinit {
    _ = clinux_close(nullDevice)
  }

  /// Starts a process. `started` is called once, later, with nil or the reason why the program did not start;
  /// `ended` is called once if it did start. Returns the process ID.
  /// - Throws: when the kernel gives no process.
  public func spawn(
    _ image: ProcessImage, started: @escaping (SpawnFailure?) -> Void, ended: @escaping (ExitStatus) -> Void
  ) throws(SpawnFailure) -> CInt {
    var spawned = clinux_spawned()
    let result = start(image, &spawned)
    if result < 0 { throw failure(of: image, .clone, code: -result) }
    hasNoChildren = false
    let pid = spawned.pid
    var entry = Entry(
      pidfd: spawned.pidfd, report: spawned.report_fd, image: image, started: started, ended: ended)
    do throws(SystemError) {
      try loop.watch(spawned.report_fd, for: .reading) { [weak self] _ in self?.readReport(of: pid) }
    } catch {
      // Without a watch the report is read when the process ends.
    }
    entry.deadline = loop.schedule(after: ProcessTable.startDeadline) { [weak self] in
      self?.startTimedOut(pid)
    }
    entries[pid] = entry
    return pid
  }

  /// Registers a child that was made elsewhere (a file helper), so that its end is told to its owner.
  public func adopt(_ pid: CInt, ended: @escaping (ExitStatus) -> Void) {
    hasNoChildren = false
    entries[pid] = Entry(
      pidfd: -1, report: -1, image: ProcessImage(arguments: [], environment: ProcessEnvironment()),
      started: { _ in }, ended: ended, isStarted: true)
  }

  /// Whether all of its processes have been reaped.
  public var isEmpty: Bool { entries.isEmpty }

  /// Whether `pid` is a process of this table that has not been reaped.
  public func contains(_ pid: CInt) -> Bool {
    entries[pid] != nil
  }

  /// How many children are taken before others get their turn: a burst of orphans must not hold a signal up.
  public static let portion = 256

  /// Takes ended children, at most a portion of them; to be called when SIGCHLD came. Returns whether there are no
  /// more: else it is to be called again soon, since no further SIGCHLD may come.
  @discardableResult
  public func reap() -> Bool {
    var raw = clinux_exit()
    for _ in 0..<ProcessTable.portion {
      let result = clinux_reap(&raw)
      if result != 1 {
        hasNoChildren = result == -ECHILD
        return true
      }
      let status: ExitStatus =
        raw.signal == 0 ? .exited(raw.exit_code) : .signaled(Signal(rawValue: raw.signal))
      guard entries[raw.pid] != nil else {
        reapedStrays += 1
        onStrayReaped?(raw.pid, status)
        continue
      }
      finish(raw.pid, status)
    }
    return false
  }

  /// Signals one process of this table, by its descriptor where there is one. That it has ended (ESRCH) is no error;
  /// that it changed its user (EPERM) is returned, for somebody to say it.
  @discardableResult
  public func signal(_ pid: CInt, _ signal: Signal) -> SystemError? {
    guard let entry = entries[pid] else { return nil }
    var result: CInt = -ENOSYS
    if entry.pidfd >= 0 { result = clinux_pidfd_signal(entry.pidfd, signal.rawValue) }
    if result == -ENOSYS || result == -EPERM || result == -EBADF {
      // Not reaped yet, so the number is still this process's own.
      result = clinux_kill(pid, signal.rawValue)
    }
    guard result < 0, result != -ESRCH else { return nil }
    return SystemError(code: -result, operation: "send \(signal) to process", subject: "\(pid)")
  }

  /// Signals all members of a process group that a child of this table leads or led.
  public func signalGroup(_ group: CInt, _ signal: Signal) {
    guard group > 1 else { return }
    _ = clinux_kill(-group, signal.rawValue)
  }

  /// Whether any process, a zombie included, is in the group.
  public func groupExists(_ group: CInt) -> Bool {
    group > 1 && clinux_kill(-group, 0) != -ESRCH
  }

  // MARK: Starting

  private func start(_ image: ProcessImage, _ spawned: inout clinux_spawned) -> CInt {
    let command = image.arguments.first ?? ""
    let path = image.environment.value(of: "PATH")
    var candidates = CStringVector.with([command, path ?? ""]) { strings -> [UnsafeMutablePointer<CChar>?] in
      guard let name = strings[0] else { return [] }
      return ExecutableSearch.candidates(
        for: name, path: path == nil ? nil : strings[1].map { UnsafePointer($0) })
    }
    defer { for candidate in candidates { free(candidate) } }
    candidates.append(nil)
    let limits = image.limits.map { clinux_limit(resource: $0.resource, soft: $0.soft, hard: $0.hard) }
    let groups = image.identity?.supplementaryGroups ?? []

    var request = clinux_spawn_request()
    var input: CInt = -1
    defer { if input >= 0 { _ = clinux_close(input) } }
    switch image.standardInput {
    case .null: request.stdio = (nullDevice, -1, -1)
    case .inherited: request.stdio = (-1, -1, -1)
    case .text(let bytes):
      input = clinux_memory_file_with("input", bytes, UInt(bytes.count))
      if input < 0 { return input }
      request.stdio = (input, -1, -1)
    }
    if image.outputGoesToErrors { request.stdio.1 = 2 }
    request.kept = image.keptDescriptor ?? 0
    request.group = CLINUX_GROUP_OWN
    request.take_terminal = image.takesTerminal
    request.directory_is_optional = image.directoryIsOptional
    request.umask = image.umask.map { Int32($0) } ?? -1
    request.death_signal = image.deathSignal?.rawValue ?? 0
    if let identity = image.identity {
      request.set_ids = true
      request.uid = identity.user
      request.gid = identity.group
      request.set_groups = identity.supplementaryGroups != nil
    }
    return candidates.withUnsafeMutableBufferPointer { candidates in
      limits.withUnsafeBufferPointer { limits in
        groups.withUnsafeBufferPointer { groups in
          CStringVector.with(image.arguments) { arguments in
            CStringVector.with(image.environment.entries) { environment in
              CStringVector.with([image.directory ?? ""]) { directory in
                guard let first = candidates.baseAddress else { return -ENOENT }
                request.candidates = UnsafePointer(first)
                request.arguments = UnsafePointer(arguments)
                request.environment = UnsafePointer(environment)
                request.directory = image.directory == nil ? nil : directory[0].map { UnsafePointer($0) }
                request.limits = limits.baseAddress
                request.limit_count = limits.count
                request.groups = groups.baseAddress
                request.group_count = groups.count
                return clinux_spawn(&request, &spawned)
              }
            }
          }
        }
      }
    }
  }

  private func readReport(of pid: CInt) {
    guard let entry = entries[pid], entry.report >= 0 else { return }
    var report = clinux_spawn_report()
    let size = withUnsafeMutableBytes(of: &report) { bytes -> Int in
      guard let start = bytes.baseAddress else { return 0 }
      return clinux_read(entry.report, start, bytes.count)
    }
    if size == -Int(EAGAIN) { return }
    closeReport(of: pid)
    if size == 0 {
      entries[pid]?.isStarted = true
      entry.started(nil)
    } else if size == MemoryLayout<clinux_spawn_report>.size {
      let failure = describe(report, entry.image)
      entries[pid]?.failure = failure
      entry.started(failure)
    } else {
      let failure = failure(of: entry.image, .vanished, code: 0)
      entries[pid]?.failure = failure
      entry.started(failure)
    }
  }

  private func closeReport(of pid: CInt) {
    guard let entry = entries[pid], entry.report >= 0 else { return }
    loop.unwatch(entry.report)
    _ = clinux_close(entry.report)
    entries[pid]?.report = -1
    if let deadline = entry.deadline { loop.cancel(deadline) }
    entries[pid]?.deadline = nil
  }

  private func startTimedOut(_ pid: CInt) {
    guard let entry = entries[pid], entry.report >= 0 else { return }
    closeReport(of: pid)
    _ = clinux_kill(pid, SIGKILL)
    let failure = failure(of: entry.image, .deadline, code: ETIMEDOUT)
    entries[pid]?.failure = failure
    entry.started(failure)
  }

  private func finish(_ pid: CInt, _ status: ExitStatus) {
    // Its report is complete by now: its end of the pipe is closed.
    readReport(of: pid)
    guard let entry = entries.removeValue(forKey: pid) else { return }
    if entry.pidfd >= 0 { _ = clinux_close(entry.pidfd) }
    if entry.report >= 0 {
      loop.unwatch(entry.report)
      _ = clinux_close(entry.report)
      if let deadline = entry.deadline { loop.cancel(deadline) }
    }
    if entry.failure == nil { entry.ended(status) }
  }

  private func failure(of image: ProcessImage, _ stage: SpawnFailure.Stage, code: CInt) -> SpawnFailure {
    SpawnFailure(
      stage: stage, code: code, command: "\(image.arguments.first ?? "")",
      directory: image.directory.map { "\($0)" })
  }

  private func describe(_ report: clinux_spawn_report, _ image: ProcessImage) -> SpawnFailure {
    let command = image.arguments.first ?? ""
    let path = image.environment.value(of: "PATH") ?? RawString(ExecutableSearch.standardPath)
    let isSearched = !command.bytes.contains(UInt8(ascii: "/"))
    var candidate = command
    if isSearched {
      let parts = path.bytes.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
      if parts.indices.contains(Int(report.index)) {
        let part = parts[Int(report.index)]
        candidate.bytes = part.isEmpty ? command.bytes : Array(part) + [UInt8(ascii: "/")] + command.bytes
      }
    }
    var failure = SpawnFailure(
      report: report, command: "\(command)", candidate: "\(candidate)",
      searched: isSearched ? "\(path)" : nil,
      directory: image.directory.map { "\($0)" })
    failure.size = (image.arguments + image.environment.entries).reduce(0) { $0 + $1.bytes.count + 1 }
    return failure
  }
}
