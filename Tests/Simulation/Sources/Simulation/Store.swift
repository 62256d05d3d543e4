import EventLoop
import Phases
import ReleaseRecords

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

  func remove() {
    guard bytes != nil else { return }
    bytes = nil
    version += 1
    decoded = nil
  }
}

/// What a lock protects.
enum LockKind: Int {
  case infrastructure
  case node
  case leader
}

/// A directory that nodes share, all of them or those of one host, with what can be wrong with it.
final class Directory {
  let path: String
  private(set) var isMissing = false
  /// When somebody removed it last.
  private(set) var vanishedAt: MonotonicInstant?
  var fullUntil = MonotonicInstant(nanoseconds: 0)
  var readOnlyUntil = MonotonicInstant(nanoseconds: 0)
  var readErrorUntil = MonotonicInstant(nanoseconds: 0)

  init(path: String) {
    self.path = path
  }

  func hasRoom(at now: MonotonicInstant) -> Bool { now >= fullUntil }

  /// Makes it, if it is missing and can be made.
  func make(at now: MonotonicInstant) {
    if now >= readOnlyUntil, now >= fullUntil { isMissing = false }
  }

  var hasVanished: Bool { vanishedAt != nil }

  func vanish(at now: MonotonicInstant) {
    isMissing = true
    vanishedAt = now
  }

  func problem(_ access: FileHelper.Access, at now: MonotonicInstant) -> String? {
    switch access {
    case .read:
      if now < readErrorUntil { return "\(path): Input/output error" }
      // A file that is missing is none, but a directory that cannot be made is a failure.
      return isMissing && now < readOnlyUntil ? "\(path): Read-only file system" : nil
    case .write, .lock:
      if isMissing { return "\(path): No such file or directory" }
      if now < readOnlyUntil { return "\(path): Read-only file system" }
      if access == .write, now < fullUntil { return "\(path): No space left on device" }
      return nil
    }
  }
}

/// A lock file: flock, those who wait for it, and what its holder wrote into it.
final class LockFile {
  let path: String
  let kind: LockKind
  /// Its directory has vanished: it protects its holder from nobody any more.
  var isUnlinked = false
  private(set) var holder: FileHelper?
  /// The name of the holder; what is left of it after its end tells that it did not give the lock back.
  private(set) var content = ""
  private var waiters: [(helper: FileHelper, taken: () -> Void)] = []

  init(path: String, kind: LockKind) {
    self.path = path
    self.kind = kind
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
    passOn()
  }

  /// To the first of those who wait.
  func passOn() {
    guard holder == nil else { return }
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
  private var directories: [String: Directory] = [:]
  /// Those that are on no directory any more, but may be held.
  private var unlinkedLocks: [LockFile] = []

  func directory(_ path: String) -> Directory {
    if let directory = directories[path] { return directory }
    let directory = Directory(path: path)
    directories[path] = directory
    return directory
  }

  /// Somebody removes a directory with all that is in it.
  func vanish(_ directory: Directory, at now: MonotonicInstant) {
    directory.vanish(at: now)
    for path in files.keys.sorted() where path.hasPrefix(directory.path + "/") { files[path]?.remove() }
    for path in locks.keys.sorted() where path.hasPrefix(directory.path + "/") {
      guard let lock = locks.removeValue(forKey: path) else { continue }
      lock.isUnlinked = true
      lock.holder?.owner.life?.unlinkedAt[lock.kind] = now
      unlinkedLocks.append(lock)
    }
  }

  func file(_ path: String) -> StoredFile {
    if let file = files[path] { return file }
    let file = StoredFile(path: path)
    files[path] = file
    return file
  }

  func lock(_ name: String, _ kind: LockKind, in directory: Directory) -> LockFile {
    let path = "\(directory.path)/\(name)"
    if let lock = locks[path] { return lock }
    let lock = LockFile(path: path, kind: kind)
    locks[path] = lock
    return lock
  }

  /// In a stable order.
  var allLocks: [LockFile] { locks.values.sorted { $0.path < $1.path } + unlinkedLocks }

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
