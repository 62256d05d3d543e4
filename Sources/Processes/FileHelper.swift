import CLinux
import EventLoop
import Glibc

/// A process that touches files for us, so that a file system that hangs cannot stop PID 1; and that holds the
/// locks, so that, should PID 1 vanish, the steps they protect are ended before the locks go.
///
/// Requests are answered in order. After `close`, or when the helper ends, all its locks are released.
public final class FileHelper {
  private enum Operation {
    case plain(([UInt8]?, FileFailure?) -> Void)
    /// Tells of the holder first when there is one.
    case lock(busy: ([UInt8]) -> Void, done: (Result<[UInt8], FileFailure>) -> Void)
  }

  private struct Pending {
    var operation: Operation
    var path: String
    var deadline: TimerID?
  }

  private let loop: EventLoop
  private let table: ProcessTable
  private var socket: CInt = -1
  private(set) var pid: CInt = -1
  private var guarded: Set<CInt> = []
  private var pending: [Pending] = []
  private var received: [UInt8] = []
  /// What did not fit into the socket's buffer.
  private var outgoing: [UInt8] = []
  private var waitsForRoom = false
  private var isClosing = false
  private var isLossTold = false
  /// Locks that it holds. While there are any it is never killed: it ends by itself when its socket closes, after the
  /// groups that it guards.
  private var heldLocks = 0

  /// How long a read or write may take. While a group is guarded it has no end: giving up ends the helper, and with it
  /// the lock, before the step that it protects.
  public var patience = Duration.seconds(10)
  /// Called when the helper ends without having been closed: its locks are gone.
  public var onLost: (() -> Void)?

  /// Starts the helper.
  /// - Throws: when the kernel gives no process.
  public init(loop: EventLoop, table: ProcessTable) throws(FileFailure) {
    self.loop = loop
    self.table = table
    var end: CInt = -1
    let result = clinux_fork_helper(clinux_file_helper_main, nil, true, &end)
    if result < 0 { throw FileFailure(stage: .helper, code: -result, path: "file access") }
    pid = result
    socket = end
    table.adopt(pid) { [weak self] _ in self?.helperEnded() }
    do throws(SystemError) {
      try loop.watch(socket, for: .reading) { [weak self] readiness in
        if readiness.contains(.writable) { self?.flush() }
        self?.readReplies()
      }
    } catch {
      _ = clinux_kill(pid, SIGKILL)
      throw FileFailure(stage: .helper, code: error.code, path: "file access")
    }
  }

  deinit {
    closeSocket()
  }

  /// Ends the helper, and with it its locks and whatever it waits for. Nothing that is pending is answered.
  public func close() {
    isClosing = true
    closeSocket()
    // A helper that waits for a lock does not see that the socket is closed.
    if !pending.isEmpty, heldLocks == 0, table.contains(pid) { _ = clinux_kill(pid, SIGKILL) }
    for request in pending { if let deadline = request.deadline { loop.cancel(deadline) } }
    pending = []
  }

  /// Ends the helper as if it had been killed from outside: its lock's file goes on naming it. For whoever holds a lock
  /// and has started nothing under it, while what the last holder started may still run.
  public func abandon() {
    // Before the socket is closed: on that the helper would give its lock back.
    if guarded.isEmpty, table.contains(pid) { _ = clinux_kill(pid, SIGKILL) }
    close()
  }

  /// Whether its process is gone.
  public var hasEnded: Bool { !table.contains(pid) }

  /// The content of a file; a file that is not there is an error with `isMissing`.
  public func read(_ path: String, _ completion: @escaping (Result<[UInt8], FileFailure>) -> Void) {
    submit(CLINUX_FILE_READ.rawValue, path: path, completion: completion)
  }

  /// Replaces a file, durably and as a whole.
  public func write(
    _ path: String, _ bytes: [UInt8], mode: UInt32, _ completion: @escaping (FileFailure?) -> Void
  ) {
    submit(CLINUX_FILE_WRITE.rawValue, path: path, bytes: bytes, mode: mode) { result in
      completion(result.failure)
    }
  }

  /// Makes a directory that is ours, with its parents; uses the one that is there unless somebody could swap it.
  public func makeDirectory(_ path: String, mode: UInt32, _ completion: @escaping (FileFailure?) -> Void) {
    submit(CLINUX_FILE_DIRECTORY.rawValue, path: path, mode: mode) { result in completion(result.failure) }
  }

  /// The processes that hold something at or below a directory, and so keep its mount from going away. Only those
  /// that we may look at: all of them as root, else our own user's.
  public func holders(
    of path: String, _ completion: @escaping (Result<[MountHolder], FileFailure>) -> Void
  ) {
    submit(CLINUX_FILE_HOLDERS.rawValue, path: path) { result in
      completion(result.map { MountHolder.list(from: $0) })
    }
  }

  /// Takes an exclusive lock, waiting without limit. `busy` gets what its holder wrote into it, when there is
  /// one, and again within a second or two when the lock has passed to another one; `completion` what the file still said when the lock became ours: the name of a holder that vanished, or
  /// nothing.
  /// - Parameters:
  ///   - owner: what others will be told while we hold it.
  ///   - takeoverDelay: how long what a holder that vanished has run may take to end. Should we give the lock back, or
  ///     vanish in order, sooner than that, then the next holder still gets that one's name.
  ///   - mustBeNamed: fail rather than hold a lock whose file has no room for the owner. Without it a lock is for those
  ///     who write something before they run anything: `write` fails until the file names us.
  public func lock(
    _ path: String, owner: String, takeoverDelay: Duration = .seconds(3), mustBeNamed: Bool = false,
    busy: @escaping ([UInt8]) -> Void, _ completion: @escaping (Result<[UInt8], FileFailure>) -> Void
  ) {
    let milliseconds = UInt32(clamping: takeoverDelay.wholeNanoseconds / 1_000_000)
    let operation = mustBeNamed ? CLINUX_FILE_LOCK_NAMED : CLINUX_FILE_LOCK
    let request = encode(operation.rawValue, path: path, bytes: Array(owner.utf8), mode: milliseconds)
    enqueue(Pending(operation: .lock(busy: busy, done: completion), path: path), request)
  }

  /// Waits until the file that was read last is another one, at most for `limit`; another request ends it too.
  public func awaitChange(
    of path: String, within limit: Duration, _ completion: @escaping (FileFailure?) -> Void
  ) {
    let milliseconds = UInt32(clamping: limit.wholeNanoseconds / 1_000_000)
    submit(
      CLINUX_FILE_AWAIT_CHANGE.rawValue, path: path, mode: milliseconds, patience: limit + patience
    ) { completion($0.failure) }
  }

  /// Removes a file; that there is none is no failure.
  public func remove(_ path: String, _ completion: @escaping (FileFailure?) -> Void) {
    submit(CLINUX_FILE_REMOVE.rawValue, path: path) { completion($0.failure) }
  }

  /// Which files of a directory are old.
  public struct Pruning: Sendable {
    /// What their names begin with.
    public var prefix: String
    /// What they end with.
    public var suffix: String
    /// What the name of their lock file ends with instead; empty: there is none.
    public var lockSuffix = ""
    /// How many of the newest stay.
    public var keep: Int
    /// Those that changed within this time stay.
    public var age: Duration
    /// A name that stays.
    public var own: String

    /// Rules.
    public init(
      prefix: String, suffix: String, lockSuffix: String = "", keep: Int, age: Duration, own: String
    ) {
      self.prefix = prefix
      self.suffix = suffix
      self.lockSuffix = lockSuffix
      self.keep = keep
      self.age = age
      self.own = own
    }
  }

  /// Removes old files of a directory, never one whose lock is held.
  public func prune(_ directory: String, _ rules: Pruning, _ completion: @escaping (FileFailure?) -> Void) {
    let seconds = rules.age.wholeNanoseconds / 1_000_000_000
    let fields = [rules.prefix, rules.suffix, rules.lockSuffix, "\(rules.keep)", "\(seconds)", rules.own]
    let text: [UInt8] = fields.reduce(into: []) { $0 += Array($1.utf8) + [0] }
    submit(CLINUX_FILE_PRUNE.rawValue, path: directory, bytes: text) { completion($0.failure) }
  }

  /// Gives a lock back.
  public func unlock(_ path: String, _ completion: @escaping (FileFailure?) -> Void) {
    submit(CLINUX_FILE_UNLOCK.rawValue, path: path) { result in completion(result.failure) }
  }

  /// Has the helper end this process group, should we vanish while it holds a lock.
  public func guardGroup(_ group: CInt) {
    guarded.insert(group)
    send(encode(CLINUX_FILE_GUARD.rawValue, path: "", bytes: [], mode: UInt32(bitPattern: group)))
  }

  /// The group is gone.
  public func unguardGroup(_ group: CInt) {
    guard guarded.remove(group) != nil else { return }
    send(encode(CLINUX_FILE_UNGUARD.rawValue, path: "", bytes: [], mode: UInt32(bitPattern: group)))
  }

  // MARK: Requests

  private func submit(
    _ operation: UInt32, path: String, bytes: [UInt8] = [], mode: UInt32 = 0, patience: Duration? = nil,
    completion: @escaping (Result<[UInt8], FileFailure>) -> Void
  ) {
    var pending = Pending(
      operation: .plain { bytes, failure in completion(failure.map { .failure($0) } ?? .success(bytes ?? []))
      },
      path: path)
    pending.deadline = loop.schedule(after: patience ?? self.patience) { [weak self] in self?.timedOut() }
    enqueue(pending, encode(operation, path: path, bytes: bytes, mode: mode))
  }

  private func enqueue(_ request: Pending, _ bytes: [UInt8]) {
    pending.append(request)
    if socket < 0 {
      loop.defer { [weak self] in self?.failAll(stage: .helper, code: EPIPE) }
    } else {
      send(bytes)
    }
  }

  private func encode(_ operation: UInt32, path: String, bytes: [UInt8], mode: UInt32) -> [UInt8] {
    let name = Array(path.utf8)
    var header = clinux_file_request(
      operation: operation, mode: mode, path_length: UInt32(name.count), data_length: UInt32(bytes.count))
    return withUnsafeBytes(of: &header) { Array($0) } + name + bytes
  }

  private func send(_ bytes: [UInt8]) {
    guard socket >= 0 else { return }
    outgoing += bytes
    flush()
  }

  /// What does not fit now is sent when the helper has read; when it never does, the deadline of the request says so.
  private func flush() {
    var offset = 0
    while offset < outgoing.count {
      let written = outgoing.withUnsafeBytes { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        return clinux_write(socket, start + offset, buffer.count - offset)
      }
      if written == -Int(EAGAIN) { break }
      if written <= 0 { return failAll(stage: .helper, code: CInt(-written)) }
      offset += written
    }
    outgoing.removeFirst(offset)
    guard waitsForRoom == outgoing.isEmpty else { return }
    waitsForRoom.toggle()
    loop.setInterest(waitsForRoom ? [.reading, .writing] : .reading, of: socket)
  }

  // MARK: Replies

  private func readReplies() {
    while socket >= 0 {
      let size = withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 8) { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        let size = clinux_read(socket, start, buffer.count)
        if size > 0 { received.append(contentsOf: buffer.prefix(size)) }
        return size
      }
      if size == -Int(EAGAIN) { return takeReplies() }
      if size <= 0 {
        takeReplies()
        return helperEnded()
      }
      takeReplies()
    }
  }

  private func takeReplies() {
    let headerSize = MemoryLayout<clinux_file_reply>.size
    while received.count >= headerSize {
      let header = received.withUnsafeBytes { $0.loadUnaligned(as: clinux_file_reply.self) }
      let total = headerSize + Int(header.data_length)
      guard received.count >= total else { return }
      let bytes = Array(received[headerSize..<total])
      received.removeFirst(total)
      deliver(header, bytes)
    }
  }

  private func deliver(_ reply: clinux_file_reply, _ bytes: [UInt8]) {
    guard let first = pending.first else { return }
    if case .lock(let busy, _) = first.operation, reply.error == EWOULDBLOCK {
      busy(bytes)
      return
    }
    pending.removeFirst()
    if let deadline = first.deadline { loop.cancel(deadline) }
    var failure: FileFailure?
    if reply.error != 0 {
      let named = reply.stage == CLINUX_FILE_STAGE_MAKE_DIRECTORY.rawValue && !bytes.isEmpty
      failure = FileFailure(
        stage: FileHelper.stage(reply.stage), code: reply.error,
        path: named ? String(decoding: bytes, as: UTF8.self) : first.path)
    }
    if failure == nil {
      if reply.operation == CLINUX_FILE_LOCK.rawValue { heldLocks += 1 }
      if reply.operation == CLINUX_FILE_UNLOCK.rawValue { heldLocks -= 1 }
    }
    switch first.operation {
    case .plain(let completion): completion(failure == nil ? bytes : nil, failure)
    case .lock(_, let done): done(failure.map { .failure($0) } ?? .success(bytes))
    }
  }

  private static func stage(_ raw: UInt32) -> FileFailure.Stage {
    switch raw {
    case CLINUX_FILE_STAGE_OPEN.rawValue: return .open
    case CLINUX_FILE_STAGE_READ.rawValue: return .read
    case CLINUX_FILE_STAGE_WRITE.rawValue: return .write
    case CLINUX_FILE_STAGE_SYNC.rawValue: return .sync
    case CLINUX_FILE_STAGE_RENAME.rawValue: return .rename
    case CLINUX_FILE_STAGE_LOCK.rawValue: return .lock
    case CLINUX_FILE_STAGE_MAKE_DIRECTORY.rawValue: return .makeDirectory
    case CLINUX_FILE_STAGE_SYMLINK.rawValue: return .symbolicLink
    case CLINUX_FILE_STAGE_FOREIGN.rawValue: return .foreign
    case CLINUX_FILE_STAGE_TOO_LARGE.rawValue: return .tooLarge
    case CLINUX_FILE_STAGE_REMOVE.rawValue: return .remove
    case CLINUX_FILE_STAGE_LOCK_GONE.rawValue: return .lockGone
    default: return .helper
    }
  }

  private func timedOut() {
    // All that was asked has been answered meanwhile.
    guard let first = pending.first else { return }
    if !guarded.isEmpty {
      // They are answered in order, so it is the first that is waited for.
      if let deadline = first.deadline { loop.cancel(deadline) }
      pending[0].deadline = loop.schedule(after: patience) { [weak self] in self?.timedOut() }
      return
    }
    // It hangs in the kernel: its end comes when the file system answers, and we do not wait for that.
    if heldLocks == 0 { _ = clinux_kill(pid, SIGKILL) }
    failAll(stage: .deadline, code: ETIMEDOUT)
  }

  private func helperEnded() {
    failAll(stage: .helper, code: ECONNRESET)
    // Also when a message had found it gone before, and nobody was told for want of a pending request.
    guard !isClosing, !isLossTold else { return }
    isLossTold = true
    onLost?()
  }

  private func failAll(stage: FileFailure.Stage, code: CInt) {
    closeSocket()
    let waiting = pending
    pending = []
    for request in waiting {
      if let deadline = request.deadline { loop.cancel(deadline) }
      let failure = FileFailure(stage: stage, code: code, path: request.path)
      switch request.operation {
      case .plain(let completion): completion(nil, failure)
      case .lock(_, let done): done(.failure(failure))
      }
    }
  }

  private func closeSocket() {
    guard socket >= 0 else { return }
    loop.unwatch(socket)
    _ = clinux_close(socket)
    socket = -1
    outgoing = []
  }
}

extension Result {
  fileprivate var failure: Failure? {
    if case .failure(let failure) = self { return failure }
    return nil
  }
}
