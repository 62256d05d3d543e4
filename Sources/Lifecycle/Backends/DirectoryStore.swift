import EventLoop
import Phases
import Processes

/// A file helper for one of the directories that a setting names, which it makes first. Failures name the setting.
///
/// Requests are answered in order, so that a directory that cannot be made is known before anything in it is asked for.
final class DirectoryStore {
  private let helper: FileHelper
  private let setting: String
  private var problem: StoreFailure?

  /// Starts the helper and has the directories made.
  /// - Parameter setting: the key that names the first of them, for messages.
  init(
    loop: EventLoop, table: ProcessTable, setting: String, directories: [(path: String, mode: UInt32)],
    onLost: @escaping () -> Void
  ) throws(StoreFailure) {
    self.setting = setting
    do throws(FileFailure) {
      helper = try FileHelper(loop: loop, table: table)
    } catch {
      throw DirectoryStore.failure(error, setting)
    }
    helper.onLost = onLost
    for directory in directories {
      helper.makeDirectory(directory.path, mode: directory.mode) { [weak self] failure in
        guard let self, let failure, problem == nil else { return }
        problem = DirectoryStore.failure(failure, setting)
      }
    }
  }

  private static func failure(_ failure: FileFailure, _ setting: String) -> StoreFailure {
    var told = StoreFailure("\(setting): \(failure)", isPermission: failure.isPermission)
    told.losesLock = failure.stage == .lockGone
    return told
  }

  private func failure(_ failure: FileFailure) -> StoreFailure {
    problem ?? DirectoryStore.failure(failure, setting)
  }

  /// A file's bytes; nil when it is not there.
  func read(_ path: String, _ completion: @escaping (Result<[UInt8]?, StoreFailure>) -> Void) {
    helper.read(path) { [weak self] result in
      guard let self else { return }
      switch result {
      case .success(let bytes): completion(.success(bytes))
      case .failure(let failure) where failure.isMissing && problem == nil: completion(.success(nil))
      case .failure(let failure): completion(.failure(self.failure(failure)))
      }
    }
  }

  /// Replaces a file durably.
  func write(
    _ path: String, _ bytes: [UInt8], mode: UInt32, _ completion: @escaping (StoreFailure?) -> Void
  ) {
    helper.write(path, bytes, mode: mode) { [weak self] failure in
      guard let self else { return }
      completion(failure.map { self.failure($0) })
    }
  }

  /// Takes a lock; `busy` gets the holder's name, `completion` that of a holder that vanished. See `FileHelper.lock`.
  func lock(
    _ path: String, owner: String, takeoverDelay: Duration = .seconds(3), mustBeNamed: Bool = false,
    busy: @escaping (String) -> Void, _ completion: @escaping (Result<String, StoreFailure>) -> Void
  ) {
    helper.lock(
      path, owner: owner, takeoverDelay: takeoverDelay, mustBeNamed: mustBeNamed,
      busy: { busy(String(decoding: $0, as: UTF8.self)) },
      { [weak self] result in
        guard let self else { return }
        switch result {
        case .success(let left): completion(.success(String(decoding: left, as: UTF8.self)))
        // Its end is told once, as a loss, not as a refusal.
        case .failure(let failure) where failure.stage == .helper: break
        case .failure(let failure): completion(.failure(self.failure(failure)))
        }
      })
  }

  func unlock(_ path: String, _ completion: @escaping () -> Void) {
    helper.unlock(path) { _ in completion() }
  }

  /// Waits until the file that was read last has changed. What goes wrong is no news: the caller looks again.
  func awaitChange(of path: String, within limit: Duration, _ completion: @escaping () -> Void) {
    helper.awaitChange(of: path, within: limit) { failure in
      if failure == nil { completion() }
    }
  }

  /// Removes old files; what cannot be removed stays.
  func prune(_ directory: String, _ rules: FileHelper.Pruning) {
    helper.prune(directory, rules) { _ in }
  }

  func remove(_ path: String, _ completion: @escaping (StoreFailure?) -> Void) {
    helper.remove(path) { [weak self] failure in
      guard let self else { return }
      completion(failure.map { self.failure($0) })
    }
  }

  func guardGroup(_ group: CInt) { helper.guardGroup(group) }

  func unguardGroup(_ group: CInt) { helper.unguardGroup(group) }

  /// Ends the helper, and with it whatever it waits for and holds.
  func close() { helper.close() }

  /// The same, but as one that vanished: the next holder of its lock is told, and gives what ran before time to end.
  func abandon() { helper.abandon() }

  /// Whether the helper's process is gone.
  var hasEnded: Bool { helper.hasEnded }
}
