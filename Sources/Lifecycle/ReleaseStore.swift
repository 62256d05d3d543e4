import CLinux
import Coordination
import EventLoop
import Glibc
import Phases
import Processes

/// The release record of the `file` backend for commands that look at it, or change it, and end: they may wait for the
/// answer. Changes are made under the infrastructure lock.
public final class ReleaseStore {
  /// Why it cannot be used.
  public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Directory, record or lock.
    case unusable(String, isPermission: Bool)
    /// The lock did not become free.
    case busy(holder: String, waited: Duration)

    /// One sentence.
    public var description: String {
      switch self {
      case .unusable(let text, _): return text
      case .busy(let holder, let waited):
        return "\(holder) works on the infrastructure phase; waited \(waited.readable) for its lock"
      }
    }

    /// Design, section 9.
    public var exitCode: Int32 {
      switch self {
      case .unusable(_, let isPermission): return isPermission ? 77 : 70
      case .busy: return 75
      }
    }
  }

  /// What becomes of a record.
  public enum Change: Sendable {
    /// Nothing.
    case keep
    /// This one in its place.
    case replace(ReleaseRecord)
    /// It goes.
    case remove
  }

  /// How others see us.
  public let owner: String
  private let layout: FileLayout
  private let patience: Duration
  private let loop: EventLoop
  private let store: DirectoryStore

  /// Opens it, and makes its directories if need be.
  /// - Parameter patience: how long to wait for the lock.
  public init(layout: FileLayout, owner: String, patience: Duration) throws {
    self.layout = layout
    self.owner = owner
    self.patience = patience
    loop = try EventLoop()
    let table = try ProcessTable(loop: loop)
    do {
      store = try DirectoryStore(
        loop: loop, table: table, setting: "state_dir",
        directories: (layout.stateDirectories + [layout.releaseDirectory]).map { ($0, 0o755) }, onLost: {})
    } catch {
      throw ReleaseStore.failure(error)
    }
  }

  private static func failure(_ failure: StoreFailure) -> Failure {
    .unusable(failure.text, isPermission: failure.isPermission)
  }

  /// The record; nil when there is none.
  public func read() throws -> ReleaseRecord? {
    var answer: Result<[UInt8]?, StoreFailure>?
    store.read(layout.record) { [loop] result in
      answer = result
      loop.stop()
    }
    loop.run()
    switch answer {
    case .success(let bytes?):
      do throws(ReleaseRecord.Damage) {
        return try ReleaseRecord.decode(bytes, runID: layout.runID)
      } catch {
        throw Failure.unusable(
          "the release record \(layout.record) cannot be used: \(error)", isPermission: false)
      }
    case .success(nil): return nil
    case .failure(let failure): throw ReleaseStore.failure(failure)
    case nil: throw Failure.unusable("no answer about \(layout.record)", isPermission: false)
    }
  }

  /// Changes the record under the lock, durably.
  public func change(_ decide: (ReleaseRecord?) -> Change) throws {
    try lock()
    let failure: StoreFailure?
    switch decide(try read()) {
    case .keep: failure = nil
    case .replace(let record):
      failure = wait { store.write(layout.record, record.encoded(), mode: 0o644, $0) }
    case .remove: failure = wait { store.remove(layout.record, $0) }
    }
    // What was locked goes free with the helper.
    store.unlock(layout.infrastructureLock) { [loop] in loop.stop() }
    loop.run()
    if let failure { throw ReleaseStore.failure(failure) }
  }

  private func wait(_ request: (@escaping (StoreFailure?) -> Void) -> Void) -> StoreFailure? {
    var answer: StoreFailure?
    request { [loop] failure in
      answer = failure
      loop.stop()
    }
    loop.run()
    return answer
  }

  private func lock() throws {
    var holder = "another process"
    var answer: Result<String, StoreFailure>?
    store.lock(layout.infrastructureLock, owner: owner, busy: { if !$0.isEmpty { holder = $0 } }) {
      [loop] result in
      answer = result
      loop.stop()
    }
    let timer = loop.schedule(after: patience) { [loop] in loop.stop() }
    loop.run()
    loop.cancel(timer)
    switch answer {
    case .success: return
    case .failure(let failure): throw ReleaseStore.failure(failure)
    case nil:
      store.close()
      throw Failure.busy(holder: holder, waited: patience)
    }
  }
}
