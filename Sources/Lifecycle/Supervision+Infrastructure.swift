import Coordination
import EventLoop
import Journal
import Phases
import Processes

// The `file` backend: the infrastructure phase's effects on record and lock, all by way of file helpers.
extension Supervision {
  func perform(_ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read: readRecord()
    case .write(let record): write(record)
    case .lock: lockInfrastructure()
    case .abandonLock:
      isWaitingForLock = false
      infrastructureStore?.close()
      infrastructureStore = nil
      closeObserver()
    case .unlock:
      closeObserver()
      guard let infrastructureStore else { return submit(.infrastructure(.unlocked)) }
      infrastructureStore.unlock(layout.infrastructureLock) { [weak self] in
        self?.infrastructureStore?.close()
        self?.infrastructureStore = nil
        self?.submit(.infrastructure(.unlocked))
      }
    case .schedule(let deadline):
      changesAwaited += 1
      schedule(.infrastructure, at: deadline) { [weak self] in self?.submit(.infrastructure(.timer)) }
    case .awaitChange(let deadline): awaitChange(until: deadline)
    case .unschedule:
      changesAwaited += 1
      unschedule(.infrastructure)
    case .scheduleHeartbeat(let deadline?):
      schedule(.heartbeat, at: deadline) { [weak self] in self?.submit(.infrastructure(.heartbeat)) }
    case .scheduleHeartbeat(nil): unschedule(.heartbeat)
    case .step, .waiting, .note, .finished: break
    }
  }

  // MARK: The record

  private func readRecord() {
    do throws(StoreFailure) {
      let runID = layout.runID
      let path = layout.record
      try lookingStore().read(path) { [weak self] result in
        switch result {
        case .success(nil): self?.submit(.infrastructure(.record(nil)))
        case .success(let bytes?):
          do throws(ReleaseRecord.Damage) {
            self?.submit(.infrastructure(.record(try ReleaseRecord.decode(bytes, runID: runID))))
          } catch {
            let text = "the release record \(path) cannot be used: \(error). Remove it to run the phase again"
            self?.submit(.infrastructure(.storeFailed(StoreFailure(text))))
          }
        case .failure(let failure): self?.submit(.infrastructure(.storeFailed(failure)))
        }
      }
    } catch {
      submit(.infrastructure(.storeFailed(error)))
    }
  }

  private func write(_ record: ReleaseRecord) {
    guard let infrastructureStore else { return }
    // What steps give to later ones may be secret.
    let mode: UInt32 = record.outputs.isEmpty ? 0o644 : 0o600
    infrastructureStore.write(layout.record, record.encoded(), mode: mode) { [weak self] failure in
      guard let self else { return }
      guard let failure, failure.losesLock else {
        return submit(.infrastructure(failure.map { .storeFailed($0) } ?? .written))
      }
      note(.error, failure.text, EventFields(phase: "infrastructure"))
      submit(.infrastructure(.lockLost))
    }
    guard record.completedAt != nil else { return }
    infrastructureStore.prune(
      layout.releaseDirectory,
      FileHelper.Pruning(
        prefix: "", suffix: FileLayout.recordSuffix, keep: 3, age: .seconds(30 * 86400),
        own: layout.recordName))
  }

  /// The record may change at any time before the deadline: whichever comes first counts.
  private func awaitChange(until deadline: MonotonicInstant) {
    changesAwaited += 1
    let wish = changesAwaited
    let look = { [weak self] in
      guard let self, changesAwaited == wish else { return }
      changesAwaited += 1
      unschedule(.infrastructure)
      submit(.infrastructure(.timer))
    }
    schedule(.infrastructure, at: deadline, look)
    // Without it the timer remains.
    try? lookingStore().awaitChange(of: layout.record, within: max(deadline - .now, .zero), look)
  }

  // MARK: Stores

  /// While the store waits for the lock it answers nothing: another helper looks.
  private func lookingStore() throws(StoreFailure) -> DirectoryStore {
    isWaitingForLock ? try openObserver() : try openInfrastructureStore()
  }

  private func openInfrastructureStore() throws(StoreFailure) -> DirectoryStore {
    if let infrastructureStore { return infrastructureStore }
    let store = try DirectoryStore(
      loop: loop, table: table, setting: "state_dir",
      directories: (layout.stateDirectories + [layout.releaseDirectory]).map { ($0, 0o755) }
    ) { [weak self] in
      self?.infrastructureStore = nil
      self?.isWaitingForLock = false
      self?.submit(.infrastructure(.lockLost))
    }
    infrastructureStore = store
    return store
  }

  private func openObserver() throws(StoreFailure) -> DirectoryStore {
    if let observer { return observer }
    let store = try DirectoryStore(loop: loop, table: table, setting: "state_dir", directories: []) {
      [weak self] in self?.observer = nil
    }
    observer = store
    return store
  }

  private func closeObserver() {
    changesAwaited += 1
    observer?.close()
    observer = nil
  }

  private func lockInfrastructure() {
    do throws(StoreFailure) {
      let store = try openInfrastructureStore()
      isWaitingForLock = true
      store.lock(
        layout.infrastructureLock, owner: owner,
        takeoverDelay: lifecycle.plan.infrastructureRules.takeoverDelay,
        busy: { [weak self] holder in self?.submit(.infrastructure(.lockBusy(holder: holder))) },
        { [weak self] result in
          self?.isWaitingForLock = false
          switch result {
          case .success(let left): self?.submit(.infrastructure(.lockHeld(leftBy: left)))
          case .failure(let failure): self?.submit(.infrastructure(.lockFailed(failure)))
          }
        })
    } catch {
      submit(.infrastructure(.lockFailed(error)))
    }
  }

  // MARK: The lock goes after the step

  /// Should we vanish, the helper that holds the lock ends this group before it lets the lock go.
  func guardGroup(_ id: ProcessID, _ group: CInt) {
    switch id {
    case .infrastructureStep: infrastructureStore?.guardGroup(group)
    case .nodeStep: nodeStore?.guardGroup(group)
    case .service(let index) where lifecycle.plan.services[index].isForPrimary: leaderStore?.guardGroup(group)
    case .app, .service, .roleHook: break
    }
  }

  func unguard(_ id: ProcessID, _ group: CInt) {
    switch id {
    case .infrastructureStep: infrastructureStore?.unguardGroup(group)
    case .nodeStep: nodeStore?.unguardGroup(group)
    case .service(let index) where lifecycle.plan.services[index].isForPrimary:
      leaderStore?.unguardGroup(group)
    case .app, .service, .roleHook: break
    }
  }
}
