import Coordination
import EventLoop
import Phases

/// A file that is replaced as a whole or not at all, as its bytes; the value types' own coders make and read them.
final class StoredFile {
  let path: String
  private(set) var bytes: [UInt8]?
  private(set) var version = 0
  /// Reads of a version which was decoded already.
  var decoded: ReleaseRecord?
  /// Who wants to be woken by a change.
  var watchers: [Life] = []

  init(path: String) {
    self.path = path
  }

  func replace(_ bytes: [UInt8]) {
    self.bytes = bytes
    version += 1
    decoded = nil
  }
}

/// A lock file: flock, those who wait for it, and what its holder wrote into it.
final class LockFile {
  let path: String
  private(set) var holder: FileHelper?
  /// The name of the holder; what is left of it after its end tells that it did not give the lock back.
  private(set) var content = ""
  private var waiters: [(helper: FileHelper, taken: () -> Void)] = []

  init(path: String) {
    self.path = path
  }

  var isFree: Bool { holder == nil }
  var hasWaiters: Bool { !waiters.isEmpty }

  /// What the file says becomes `owner`, or stays when there is no room for it.
  func take(_ helper: FileHelper, owner: String, hasRoom: Bool) -> String {
    let left = content
    holder = helper
    if hasRoom { content = owner }
    return left
  }

  func name(_ owner: String) { content = owner }

  func wait(_ helper: FileHelper, _ taken: @escaping () -> Void) {
    waiters.append((helper, taken))
  }

  func leave(_ helper: FileHelper) {
    waiters.removeAll { $0.helper === helper }
  }

  /// The lock passes on at once. What the file says from now on; nil: what it said, since its holder vanished.
  func release(saying text: String?) {
    holder = nil
    if let text { content = text }
    guard !waiters.isEmpty else { return }
    waiters.removeFirst().taken()
  }
}

/// All that survives the nodes: files, lock files, and what the steps did to the world.
final class Store {
  private var files: [String: StoredFile] = [:]
  private var locks: [String: LockFile] = [:]
  /// What main commands have done and rollbacks undone, by scope (a run ID, or a host and a run ID) and step.
  private var applied: Set<String> = []
  private var mainRuns: [String: Int] = [:]
  /// Until then writes, or reads, fail.
  var diskFullUntil = MonotonicInstant(nanoseconds: 0)
  var readErrorUntil = MonotonicInstant(nanoseconds: 0)

  func file(_ path: String) -> StoredFile {
    if let file = files[path] { return file }
    let file = StoredFile(path: path)
    files[path] = file
    return file
  }

  func lock(_ path: String) -> LockFile {
    if let lock = locks[path] { return lock }
    let lock = LockFile(path: path)
    locks[path] = lock
    return lock
  }

  /// In a stable order.
  var allLocks: [LockFile] { locks.values.sorted { $0.path < $1.path } }

  func isApplied(_ scope: String, _ step: String) -> Bool { applied.contains(scope + "/" + step) }

  func apply(_ scope: String, _ step: String) { applied.insert(scope + "/" + step) }

  func unapply(_ scope: String, _ step: String) { applied.remove(scope + "/" + step) }

  /// How often this main command has been started anywhere before; counts.
  func countRun(_ scope: String, _ step: String) -> Int {
    let before = mainRuns[scope + "/" + step, default: 0]
    mainRuns[scope + "/" + step] = before + 1
    return before
  }
}
