import Coordination
import EventLoop
import Phases
import Processes
import ReleaseRecords

/// The `file` backend: the record is a file, the lock another, and file helpers do whatever may block.
final class FileRelease: ReleaseBackend {
  var onEvent: (InfrastructurePhase.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in }

  private let loop: EventLoop
  private let table: ProcessTable
  private let layout: FileLayout
  private let owner: String
  private let takeoverDelay: Duration
  private var store: DirectoryStore?
  /// While the store waits for the lock it answers nothing: another helper looks.
  private var observer: DirectoryStore?
  private var isWaitingForLock = false

  init(loop: EventLoop, table: ProcessTable, layout: FileLayout, owner: String, takeoverDelay: Duration) {
    self.loop = loop
    self.table = table
    self.layout = layout
    self.owner = owner
    self.takeoverDelay = takeoverDelay
  }

  // MARK: The record

  func read() {
    do throws(StoreFailure) {
      let runID = layout.runID
      let path = layout.record
      try (isWaitingForLock ? openObserver() : openStore()).read(path) { [weak self] result in
        switch result {
        case .success(nil): self?.onEvent(.record(nil))
        case .success(let bytes?):
          do throws(ReleaseRecord.Damage) {
            self?.onEvent(.record(try ReleaseRecord.decode(bytes, runID: runID)))
          } catch {
            let text = "the release record \(path) cannot be used: \(error). Remove it to run the phase again"
            self?.onEvent(.storeFailed(StoreFailure(text)))
          }
        case .failure(let failure): self?.onEvent(.storeFailed(failure))
        }
      }
    } catch {
      onEvent(.storeFailed(error))
    }
  }

  func write(_ record: ReleaseRecord, isLast: Bool) {
    guard let store else { return }
    // What steps give to later ones may be secret.
    let mode: UInt32 = record.outputs.isEmpty ? 0o644 : 0o600
    store.write(layout.record, record.encoded(), mode: mode) { [weak self] failure in
      guard let self else { return }
      guard let failure, failure.losesLock else {
        return onEvent(failure.map { .storeFailed($0) } ?? .written)
      }
      onNote(.error, failure.text)
      onEvent(.lockLost)
    }
    guard record.completedAt != nil else { return }
    store.prune(
      layout.releaseDirectory,
      FileHelper.Pruning(
        prefix: "", suffix: FileLayout.recordSuffix, keep: 3, age: .seconds(30 * 86400),
        own: layout.recordName))
  }

  func remove() {
    guard let store else { return }
    store.remove(layout.record) { [weak self] in self?.onEvent($0.map { .storeFailed($0) } ?? .written) }
  }

  func awaitChange(within limit: Duration, _ look: @escaping () -> Void) {
    // Without it the timer remains.
    try? (isWaitingForLock ? openObserver() : openStore())
      .awaitChange(of: layout.record, within: limit, look)
  }

  // MARK: The lock

  func lock() {
    do throws(StoreFailure) {
      let store = try openStore()
      isWaitingForLock = true
      store.lock(
        layout.infrastructureLock, owner: owner, takeoverDelay: takeoverDelay,
        busy: { [weak self] holder in self?.onEvent(.lockBusy(holder: holder)) },
        { [weak self] result in
          self?.isWaitingForLock = false
          switch result {
          case .success(let left): self?.onEvent(.lockHeld(leftBy: left))
          case .failure(let failure): self?.onEvent(.lockFailed(failure))
          }
        })
    } catch {
      onEvent(.lockFailed(error))
    }
  }

  /// Who waits for a file's lock gets it in any case.
  func contend() {}

  func abandon() {
    isWaitingForLock = false
    store?.close()
    store = nil
    closeObserver()
  }

  func unlock() {
    closeObserver()
    guard let store else { return onEvent(.unlocked) }
    store.unlock(layout.infrastructureLock) { [weak self] in
      self?.store?.close()
      self?.store = nil
      self?.onEvent(.unlocked)
    }
  }

  /// There is no server.
  func endRemains(of step: Int, named name: String) { onEvent(.remainsEnded(step: step, nil)) }

  func guardGroup(_ group: CInt) { store?.guardGroup(group) }

  func unguardGroup(_ group: CInt) { store?.unguardGroup(group) }

  func close() {
    store?.close()
    observer?.close()
  }

  // MARK: Helpers

  private func openStore() throws(StoreFailure) -> DirectoryStore {
    if let store { return store }
    let opened = try DirectoryStore(
      loop: loop, table: table, setting: "state_dir",
      directories: (layout.stateDirectories + [layout.releaseDirectory]).map { ($0, 0o755) }
    ) { [weak self] in
      self?.store = nil
      self?.isWaitingForLock = false
      self?.onEvent(.lockLost)
    }
    store = opened
    return opened
  }

  private func openObserver() throws(StoreFailure) -> DirectoryStore {
    if let observer { return observer }
    let opened = try DirectoryStore(loop: loop, table: table, setting: "state_dir", directories: []) {
      [weak self] in self?.observer = nil
    }
    observer = opened
    return opened
  }

  private func closeObserver() {
    observer?.close()
    observer = nil
  }
}
