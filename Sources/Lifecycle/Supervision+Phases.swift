import Coordination
import EventLoop
import Phases
import Processes

// The `file` backend: the phases' effects on records, markers and locks, all by way of file helpers.
extension Supervision {
  // MARK: Infrastructure

  func perform(_ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read: readRecord()
    case .write(let record):
      infrastructureStore?.write(layout.record, record.encoded(), mode: 0o644) { [weak self] failure in
        self?.submit(.infrastructure(failure.map { .storeFailed("\($0)") } ?? .written))
      }
    case .lock: lockInfrastructure()
    case .abandonLock:
      isWaitingForLock = false
      infrastructureStore?.close()
      infrastructureStore = nil
      closeObserver()
    case .unlock:
      closeObserver()
      guard let infrastructureStore else { return submit(.infrastructure(.unlocked)) }
      infrastructureStore.unlock(layout.infrastructureLock) { [weak self] _ in
        self?.infrastructureStore?.close()
        self?.infrastructureStore = nil
        self?.submit(.infrastructure(.unlocked))
      }
    case .schedule(let deadline):
      schedule(.infrastructure, at: deadline) { [weak self] in self?.submit(.infrastructure(.timer)) }
    case .unschedule: unschedule(.infrastructure)
    case .scheduleHeartbeat(let deadline?):
      schedule(.heartbeat, at: deadline) { [weak self] in self?.submit(.infrastructure(.heartbeat)) }
    case .scheduleHeartbeat(nil): unschedule(.heartbeat)
    case .run, .stopCommand, .killCommand, .stepBegan, .stepEnded, .waiting, .note, .finished: break
    }
  }

  private func readRecord() {
    do throws(FileFailure) {
      // While the store waits for the lock it answers nothing: another helper looks.
      let store = isWaitingForLock ? try openObserver() : try openInfrastructureStore()
      let runID = layout.runID
      let path = layout.record
      store.read(path) { [weak self] result in
        switch result {
        case .success(let bytes):
          do throws(ReleaseRecord.Damage) {
            self?.submit(.infrastructure(.record(try ReleaseRecord.decode(bytes, runID: runID))))
          } catch {
            let text = "the release record \(path) cannot be used: \(error). Remove it to run the phase again"
            self?.submit(.infrastructure(.storeFailed(text)))
          }
        case .failure(let failure) where failure.isMissing: self?.submit(.infrastructure(.record(nil)))
        case .failure(let failure): self?.submit(.infrastructure(.storeFailed("\(failure)")))
        }
      }
    } catch {
      submit(.infrastructure(.storeFailed("\(error)")))
    }
  }

  private func openInfrastructureStore() throws(FileFailure) -> FileHelper {
    if let infrastructureStore { return infrastructureStore }
    let store = try FileHelper(loop: loop, table: table)
    infrastructureStore = store
    let failed = { [weak self] (failure: FileFailure?) -> Void in
      if let failure { self?.submit(.infrastructure(.storeFailed("state_dir: \(failure)"))) }
    }
    store.makeDirectory(layout.stateDirectory, mode: 0o755, failed)
    store.makeDirectory(layout.releaseDirectory, mode: 0o755, failed)
    store.onLost = { [weak self] in
      self?.infrastructureStore = nil
      self?.submit(.infrastructure(.lockLost))
    }
    return store
  }

  private func openObserver() throws(FileFailure) -> FileHelper {
    if let observer { return observer }
    let store = try FileHelper(loop: loop, table: table)
    store.onLost = { [weak self] in self?.observer = nil }
    observer = store
    return store
  }

  private func closeObserver() {
    observer?.close()
    observer = nil
  }

  private func lockInfrastructure() {
    isWaitingForLock = true
    do throws(FileFailure) {
      try openInfrastructureStore().lock(
        layout.infrastructureLock, owner: owner,
        busy: { [weak self] holder in
          self?.submit(.infrastructure(.lockBusy(holder: String(decoding: holder, as: UTF8.self))))
        },
        { [weak self] failure in
          self?.isWaitingForLock = false
          self?.submit(.infrastructure(failure.map { .storeFailed("state_dir: \($0)") } ?? .lockHeld))
        })
    } catch {
      submit(.infrastructure(.storeFailed("\(error)")))
    }
  }

  // MARK: Node

  func perform(_ effect: NodePhase.Effect) {
    switch effect {
    case .read: readMarker()
    case .write(let marker):
      nodeStore?.write(layout.marker, marker.encoded(), mode: 0o644) { [weak self] failure in
        self?.submit(.node(failure.map { .storeFailed("\($0)") } ?? .written))
      }
    case .lock: lockNode()
    case .abandonLock:
      nodeStore?.close()
      nodeStore = nil
    case .unlock:
      guard let nodeStore else { return submit(.node(.unlocked)) }
      nodeStore.unlock(layout.markerLock) { [weak self] _ in
        self?.nodeStore?.close()
        self?.nodeStore = nil
        self?.submit(.node(.unlocked))
      }
    case .schedule(let deadline):
      schedule(.node, at: deadline) { [weak self] in self?.submit(.node(.timer)) }
    case .unschedule: unschedule(.node)
    case .run, .stopCommand, .killCommand, .stepBegan, .stepEnded, .waiting, .note, .finished: break
    }
  }

  private func openNodeStore() throws(FileFailure) -> FileHelper {
    if let nodeStore { return nodeStore }
    let store = try FileHelper(loop: loop, table: table)
    nodeStore = store
    store.makeDirectory(layout.markerDirectory, mode: 0o700) { [weak self] failure in
      if let failure { self?.submit(.node(.storeFailed("node.marker_dir: \(failure)"))) }
    }
    store.onLost = { [weak self] in
      self?.nodeStore = nil
      self?.submit(.node(.lockLost))
    }
    return store
  }

  private func readMarker() {
    do throws(FileFailure) {
      try openNodeStore().read(layout.marker) { [weak self] result in
        switch result {
        case .success(let bytes): self?.submit(.node(.marker(Marker(decoding: bytes))))
        case .failure(let failure) where failure.isMissing: self?.submit(.node(.marker(nil)))
        case .failure(let failure): self?.submit(.node(.storeFailed("\(failure)")))
        }
      }
    } catch {
      submit(.node(.storeFailed("\(error)")))
    }
  }

  private func lockNode() {
    do throws(FileFailure) {
      try openNodeStore().lock(
        layout.markerLock, owner: owner,
        busy: { [weak self] holder in
          self?.submit(.node(.lockBusy(holder: String(decoding: holder, as: UTF8.self))))
        },
        { [weak self] failure in
          self?.submit(.node(failure.map { .storeFailed("node.marker_dir: \($0)") } ?? .lockHeld))
        })
    } catch {
      submit(.node(.storeFailed("\(error)")))
    }
  }

  // MARK: The lock goes after the step

  /// Should we vanish, the helper that holds the lock ends this group before it lets the lock go.
  func guardGroup(_ id: ProcessID, _ group: CInt) {
    switch id {
    case .infrastructureStep: infrastructureStore?.guardGroup(group)
    case .nodeStep: nodeStore?.guardGroup(group)
    case .app, .service: break
    }
  }

  func unguard(_ id: ProcessID, _ group: CInt) {
    switch id {
    case .infrastructureStep: infrastructureStore?.unguardGroup(group)
    case .nodeStep: nodeStore?.unguardGroup(group)
    case .app, .service: break
    }
  }
}
