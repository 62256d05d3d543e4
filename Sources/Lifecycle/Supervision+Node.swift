import Coordination
import EventLoop
import Phases
import Processes

// The node phase's effects on marker and lock, by way of a file helper.
extension Supervision {
  func perform(_ effect: NodePhase.Effect) {
    switch effect {
    case .read: readMarker()
    case .write(let marker): write(marker)
    case .lock: lockNode()
    case .abandonLock:
      nodeStore?.close()
      nodeStore = nil
    case .unlock:
      guard let nodeStore else { return submit(.node(.unlocked)) }
      nodeStore.unlock(layout.markerLock) { [weak self] in
        self?.nodeStore?.close()
        self?.nodeStore = nil
        self?.submit(.node(.unlocked))
      }
    case .schedule(let deadline):
      schedule(.node, at: deadline) { [weak self] in self?.submit(.node(.timer)) }
    case .unschedule: unschedule(.node)
    case .step, .waiting, .note, .awaitRelease, .finished: break
    }
  }

  /// What will look at the marker is started while there is time: when a release becomes ready, all nodes of a machine go
  /// on in that moment.
  func prepareNode() {
    guard !lifecycle.plan.node.isEmpty, lifecycle.stage == .infrastructure else { return }
    // What is wrong with it is said when it is needed.
    _ = try? openNodeStore()
  }

  private func openNodeStore() throws(StoreFailure) -> DirectoryStore {
    if let nodeStore { return nodeStore }
    let store = try DirectoryStore(
      loop: loop, table: table, setting: "node.marker_dir", directories: [(layout.markerDirectory, 0o700)]
    ) { [weak self] in
      self?.nodeStore = nil
      self?.submit(.node(.lockLost))
    }
    nodeStore = store
    return store
  }

  private func readMarker() {
    do throws(StoreFailure) {
      try openNodeStore().read(layout.marker) { [weak self] result in
        switch result {
        case .success(let bytes): self?.submit(.node(.marker(bytes.map { Marker(decoding: $0) })))
        case .failure(let failure): self?.submit(.node(.storeFailed(failure)))
        }
      }
    } catch {
      submit(.node(.storeFailed(error)))
    }
  }

  private func write(_ marker: Marker) {
    guard let nodeStore else { return }
    nodeStore.write(layout.marker, marker.encoded(), mode: 0o644) { [weak self] failure in
      self?.submit(.node(failure.map { .storeFailed($0) } ?? .written))
    }
    nodeStore.prune(
      layout.markerDirectory,
      FileHelper.Pruning(
        prefix: FileLayout.markerPrefix, suffix: FileLayout.markerSuffix,
        lockSuffix: FileLayout.markerLockSuffix,
        keep: 3, age: .seconds(7 * 86400), own: layout.markerName))
  }

  private func lockNode() {
    do throws(StoreFailure) {
      try openNodeStore().lock(
        layout.markerLock, owner: owner, takeoverDelay: lifecycle.plan.nodeRules.takeoverDelay,
        mustBeNamed: true,
        busy: { [weak self] holder in self?.submit(.node(.lockBusy(holder: holder))) },
        { [weak self] result in
          switch result {
          case .success(let left): self?.submit(.node(.lockHeld(leftBy: left)))
          case .failure(let failure): self?.submit(.node(.lockFailed(failure)))
          }
        })
    } catch {
      submit(.node(.lockFailed(error)))
    }
  }
}
