import Coordination
import EventLoop
import Lifecycle
import Phases
import ReleaseRecords

// The effects of both phases, as a supervisor carries them out.
extension Life {
  // MARK: Infrastructure

  private var recordFile: StoredFile { world.recordFile(release) }

  func feed(_ event: InfrastructurePhase.Event) {
    submit(.infrastructure(sabotage.changed(event, release.infrastructure.map(\.step))))
  }

  func perform(_ effect: InfrastructurePhase.Effect) {
    if let releaseBackend { return perform(effect, by: releaseBackend) }
    switch effect {
    case .read: read()
    case .write(let record): write(record)
    case .lock: lockInfrastructure()
    case .contend: break
    case .endRemains(let step): feed(.remainsEnded(step: step, nil))
    case .abandonLock:
      isWaitingForLock = false
      store?.close()
      store = nil
      closeObserver()
    case .unlock:
      closeObserver()
      guard let store else { return feed(.unlocked) }
      store.unlock { [self] in
        store.close()
        if self.store === store { self.store = nil }
        feed(.unlocked)
      }
    case .schedule(let deadline):
      awaitsChange = false
      schedule(.infrastructure, at: deadline) { [self] in feed(.timer) }
    case .awaitChange(let deadline):
      awaitsChange = true
      schedule(.infrastructure, at: deadline) { [self] in
        awaitsChange = false
        feed(.timer)
      }
      awaitChange()
    case .unschedule:
      unschedule(.infrastructure)
      awaitsChange = false
    case .scheduleHeartbeat(let deadline?):
      schedule(.heartbeat, at: deadline) { [self] in feed(.heartbeat) }
    case .scheduleHeartbeat(nil): unschedule(.heartbeat)
    case .step, .waiting, .note, .finished: break
    }
  }

  private func read() {
    let helper = isWaitingForLock ? openObserver() : openStore()
    if let stale = sabotage.staleAnswer(toErrand: hasRun) { return feed(.record(stale)) }
    helper.request(failed: { [self] in feed(.storeFailed(StoreFailure($0))) }) {
      [self, unowned helper] in
      if let problem = helper.problem(.read) {
        return { [self] in feed(.storeFailed(StoreFailure(problem))) }
      }
      seenVersion = recordFile.version
      let (record, damage) = world.decode(recordFile, release)
      return { [self] in
        sawDamage = damage != nil
        if let damage, !sabotage.ignoresDamage {
          world.watch.saw(.damaged)
          return feed(.storeFailed(StoreFailure("the record cannot be used: \(damage)")))
        }
        sabotage.seen(record)
        feed(.record(record))
      }
    }
  }

  private func write(_ record: ReleaseRecord) {
    // As with an answer that is missing because the helper has just gone: the loss is told by itself.
    guard let store else { return }
    let record = sabotage.changed(record, by: self)
    let answersEarly = sabotage.answersBeforeDurable
    if answersEarly { deliver(after: .zero) { [self] in feed(.written) } }
    store.request(failed: { [self] in feed(.storeFailed(StoreFailure($0))) }) { [self] in
      var problem = store.problem(.write)
      if problem != nil { world.watch.saw(.writeFailed) }
      let isNamed = store.nameLocks(hasRoom: store.directory.hasRoom(at: world.now))
      let applies =
        isNamed && !store.directory.isMissing
        && (problem == nil || world.random.chance(world.scenario.store.failsAfterTheFact))
      if !isNamed { problem = problem ?? "\(store.directory.path): No space left on device" }
      if applies { world.replace(recordFile, record, by: self, with: store) }
      return { [self] in
        if answersEarly { return }
        if let problem { return feed(.storeFailed(StoreFailure("cannot write the record: \(problem)"))) }
        feed(.written)
      }
    }
  }

  private func openStore() -> FileHelper {
    if let store { return store }
    let opened = FileHelper(
      world: world, owner: self, name: "store helper", directory: world.stateDirectory)
    store = opened
    opened.onLost = { [unowned self, unowned opened] in
      guard store === opened else { return }
      store = nil
      isWaitingForLock = false
      feed(.lockLost)
    }
    return opened
  }

  private func openObserver() -> FileHelper {
    if let observer { return observer }
    let opened = FileHelper(
      world: world, owner: self, name: "observer helper", directory: world.stateDirectory)
    observer = opened
    opened.onLost = { [unowned self, unowned opened] in if observer === opened { observer = nil } }
    return opened
  }

  private func closeObserver() {
    observer?.close()
    observer = nil
  }

  private func lockInfrastructure() {
    let opened = openStore()
    isWaitingForLock = true
    opened.lock(
      World.infrastructureLockName, .infrastructure, owner: owner,
      takeoverDelay: plan.infrastructureRules.takeoverDelay,
      busy: { [self] holder in feed(.lockBusy(holder: holder)) },
      failed: { [self] text in
        isWaitingForLock = false
        feed(.lockFailed(StoreFailure(text)))
      },
      taken: { [self] leftBy in
        isWaitingForLock = false
        feed(.lockHeld(leftBy: leftBy))
      })
  }

  private func awaitChange() {
    // What has changed since it was read last is told at once.
    if recordFile.version != seenVersion { return wake() }
    guard !isWatching else { return }
    isWatching = true
    recordFile.watchers.append(self)
  }

  /// The record has changed.
  func recordChanged() {
    isWatching = false
    guard awaitsChange, isAlive else { return }
    wake()
  }

  private func wake() {
    if world.random.chance(world.scenario.store.lostWakeups) {
      // It stays unknown until the poll, which asks to be woken again.
      return
    }
    let isLate = world.random.chance(world.scenario.store.lateWakeups)
    let number = timerNumber(.infrastructure)
    let delay: ClosedRange<Duration> =
      isLate ? .milliseconds(50)...(.seconds(3)) : .microseconds(50)...(.milliseconds(3))
    deliver(after: world.random.duration(delay)) { [self] in
      guard number == timerNumber(.infrastructure), awaitsChange else { return }
      unschedule(.infrastructure)
      awaitsChange = false
      feed(.timer)
    }
  }

  // MARK: Node

  private var markerLockName: String { "\(release.runID.value).lock" }

  func perform(_ effect: NodePhase.Effect) {
    switch effect {
    case .read: readMarker()
    case .write(let marker): write(marker)
    case .lock:
      openNodeStore().lock(
        markerLockName, .node, owner: owner, takeoverDelay: plan.nodeRules.takeoverDelay,
        mustBeNamed: true,
        busy: { [self] holder in submit(.node(.lockBusy(holder: holder))) },
        failed: { [self] text in submit(.node(.lockFailed(StoreFailure(text)))) },
        taken: { [self] leftBy in
          submit(.node(.lockHeld(leftBy: sabotage.skipsTakeover ? "" : leftBy)))
        })
    case .abandonLock:
      nodeStore?.close()
      nodeStore = nil
    case .unlock:
      guard let nodeStore else { return submit(.node(.unlocked)) }
      nodeStore.unlock { [self] in
        nodeStore.close()
        if self.nodeStore === nodeStore { self.nodeStore = nil }
        submit(.node(.unlocked))
      }
    case .schedule(let deadline):
      schedule(.node, at: deadline) { [self] in submit(.node(.timer)) }
    case .unschedule: unschedule(.node)
    case .step, .waiting, .note, .awaitRelease, .finished: break
    }
  }

  private func readMarker() {
    let helper = openNodeStore()
    helper.request(failed: { [self] in submit(.node(.storeFailed(StoreFailure($0)))) }) {
      [self, unowned helper] in
      if let problem = helper.problem(.read) {
        return { [self] in submit(.node(.storeFailed(StoreFailure(problem)))) }
      }
      let bytes = world.markerFile(self).bytes
      return { [self] in submit(.node(.marker(bytes.map { Marker(decoding: $0) }))) }
    }
  }

  private func write(_ marker: Marker) {
    guard let nodeStore else { return }
    nodeStore.request(failed: { [self] in submit(.node(.storeFailed(StoreFailure($0)))) }) { [self] in
      var problem = nodeStore.problem(.write)
      if !nodeStore.nameLocks(hasRoom: nodeStore.directory.hasRoom(at: world.now)) {
        problem = problem ?? "\(nodeStore.directory.path): No space left on device"
      }
      if problem == nil {
        world.watch.marked(self, marker)
        world.markerFile(self).replace(marker.encoded())
      } else {
        world.watch.saw(.markerFailed)
      }
      return { [self] in
        submit(.node(problem.map { .storeFailed(StoreFailure($0)) } ?? .written))
      }
    }
  }

  private func openNodeStore() -> FileHelper {
    if let nodeStore { return nodeStore }
    let opened = FileHelper(
      world: world, owner: self, name: "node helper", directory: world.markerDirectory(host))
    nodeStore = opened
    opened.onLost = { [unowned self, unowned opened] in
      guard nodeStore === opened else { return }
      nodeStore = nil
      submit(.node(.lockLost))
    }
    return opened
  }

  // MARK: The election

  func perform(_ effect: LeaderElection.Effect) {
    if let leaderBackend { return perform(effect, by: leaderBackend) }
    switch effect {
    case .lock: lockLeadership()
    case .release:
      leaderStore?.close()
      leaderStore = nil
    case .abandon:
      leaderStore?.abandon()
      leaderStore = nil
    case .schedule(let deadline):
      schedule(.leader, at: deadline) { [self] in submit(.leader(.timer)) }
    case .unschedule: unschedule(.leader)
    case .won, .lost, .note: break
    }
  }

  private func lockLeadership() {
    pastLeaderStores.removeAll(where: \.hasEnded)
    guard pastLeaderStores.count < 3 else {
      return submit(.leader(.lockFailed("the processes of earlier tries hang")))
    }
    let opened = FileHelper(
      world: world, owner: self, name: "leader helper", directory: world.stateDirectory)
    leaderStore = opened
    pastLeaderStores.append(opened)
    opened.onLost = { [unowned self, unowned opened] in
      guard leaderStore === opened else { return }
      leaderStore = nil
      if !sabotage.keepsRole { submit(.leader(.lockLost)) }
    }
    opened.lock(
      World.leaderLockName, .leader, owner: owner, mustBeNamed: true,
      busy: { [self] holder in submit(.leader(.lockBusy(holder: holder))) },
      failed: { [self] text in submit(.leader(.lockFailed(text))) },
      taken: { [self] leftBy in
        submit(.leader(.lockHeld(leftBy: sabotage.skipsLeaderTakeover ? "" : leftBy)))
      })
  }
}
