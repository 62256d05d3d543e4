import Coordination
import EventLoop
import Phases

// The effects of both phases, as a supervisor carries them out.
extension Life {
  // MARK: Infrastructure

  private var recordFile: StoredFile { world.recordFile(release) }

  func perform(_ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read: read()
    case .write(let record): write(record)
    case .lock: lockInfrastructure()
    case .abandonLock:
      isWaitingForLock = false
      store?.close()
      store = nil
      closeObserver()
    case .unlock:
      closeObserver()
      guard let store else {
        return deliver(after: .zero) { [self] in feed(InfrastructurePhase.Event.unlocked) }
      }
      store.unlock(world.infrastructureLock) { [self] in
        store.close()
        if self.store === store { self.store = nil }
        feed(InfrastructurePhase.Event.unlocked)
      }
    case .schedule(let deadline): schedule(deadline)
    case .awaitChange(let deadline):
      schedule(deadline)
      awaitChange()
    case .unschedule:
      timer += 1
      awaitsChange = false
    case .scheduleHeartbeat(let deadline):
      heartbeatTimer += 1
      guard let deadline else { return }
      let number = heartbeatTimer
      deliver(at: max(deadline, world.now)) { [self] in
        if number == heartbeatTimer { feed(InfrastructurePhase.Event.heartbeat) }
      }
    case .run(let step, let command, let outputs): run(.infrastructure, step, command, outputs)
    case .stopCommand(let step): stopCommand(step)
    case .killCommand(let step): killCommand(step)
    case .scheduleStep(let step, let deadline):
      scheduleStep(step, deadline) { [self] in feed(InfrastructurePhase.Event.stepTimer(step: step)) }
    case .unscheduleStep(let step): stepTimers[step, default: 0] += 1
    case .stepBegan, .rollbackBegan, .waiting, .note: break
    case .stepEnded(let step, let outcome, _): stepEnded(release.infrastructure[step].step.name, outcome)
    case .finished(let outcome): infrastructureFinished(outcome)
    }
  }

  private func read() {
    let helper = isWaitingForLock ? openObserver() : openStore()
    if let stale = sabotage.staleAnswer() { return deliver(after: .zero) { [self] in feed(.record(stale)) } }
    helper.request(failed: { [self] in feed(InfrastructurePhase.Event.storeFailed(StoreFailure($0))) }) {
      [self] in
      if world.now < world.store.readErrorUntil {
        return { [self] in
          feed(
            InfrastructurePhase.Event.storeFailed(StoreFailure("cannot read the record: Input/output error")))
        }
      }
      seenVersion = recordFile.version
      let (record, damage) = world.decode(recordFile, release)
      return { [self] in
        if let damage {
          return feed(
            InfrastructurePhase.Event.storeFailed(StoreFailure("the record cannot be used: \(damage)")))
        }
        sabotage.seen(record)
        feed(.record(record))
      }
    }
  }

  private func write(_ record: ReleaseRecord) {
    // As with an answer that is missing because the helper has just gone: the loss is told by itself.
    guard let store else { return }
    let answersEarly = sabotage.answersBeforeDurable
    if answersEarly { deliver(after: .zero) { [self] in feed(InfrastructurePhase.Event.written) } }
    store.request(failed: { [self] in feed(InfrastructurePhase.Event.storeFailed(StoreFailure($0))) }) {
      [self] in
      let fails = world.now < world.store.diskFullUntil
      if fails { world.watch.saw(.writeFailed) }
      let isNamed = store.nameLocks(hasRoom: !fails)
      let applies = isNamed && (!fails || world.random.chance(world.scenario.store.failsAfterTheFact))
      if applies { world.replace(recordFile, record, by: self, with: store) }
      return { [self] in
        if answersEarly { return }
        if fails {
          return feed(
            InfrastructurePhase.Event.storeFailed(
              StoreFailure("cannot write the record: No space left on device")))
        }
        feed(InfrastructurePhase.Event.written)
      }
    }
  }

  private func openStore() -> FileHelper {
    if let store { return store }
    let opened = FileHelper(world: world, life: self, name: "store helper")
    store = opened
    opened.onLost = { [unowned self, unowned opened] in
      guard store === opened else { return }
      store = nil
      isWaitingForLock = false
      feed(InfrastructurePhase.Event.lockLost)
    }
    opened.guardsCommands = { [unowned self] in !commands.isEmpty }
    opened.endCommands = { [unowned self] in
      for command in commands { command.kill(within: .milliseconds(1)...(.milliseconds(50))) }
    }
    return opened
  }

  private func openObserver() -> FileHelper {
    if let observer { return observer }
    let opened = FileHelper(world: world, life: self, name: "observer helper")
    observer = opened
    opened.onLost = { [unowned self, unowned opened] in if observer === opened { observer = nil } }
    return opened
  }

  private func closeObserver() {
    observer?.close()
    observer = nil
  }

  private func lockInfrastructure() {
    isWaitingForLock = true
    openStore().lock(
      world.infrastructureLock, owner: owner, takeoverDelay: world.scenario.rules.takeoverDelay,
      busy: { [self] holder in feed(InfrastructurePhase.Event.lockBusy(holder: holder)) },
      taken: { [self] leftBy in
        isWaitingForLock = false
        feed(InfrastructurePhase.Event.lockHeld(leftBy: leftBy))
      })
  }

  private func schedule(_ deadline: MonotonicInstant) {
    timer += 1
    awaitsChange = false
    let number = timer
    deliver(at: max(deadline, world.now)) { [self] in
      if number == timer { fire() }
    }
  }

  private func fire() {
    timer += 1
    awaitsChange = false
    switch phase {
    case .infrastructure: feed(InfrastructurePhase.Event.timer)
    case .node: feed(NodePhase.Event.timer)
    }
  }

  private func awaitChange() {
    awaitsChange = true
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
    let number = timer
    let delay: ClosedRange<Duration> =
      isLate ? .milliseconds(50)...(.seconds(3)) : .microseconds(50)...(.milliseconds(3))
    deliver(after: world.random.duration(delay)) { [self] in
      if number == timer, awaitsChange { fire() }
    }
  }

  // MARK: Node

  private var markerLock: LockFile { world.store.lock("\(host)/\(release.runID.value).lock") }

  func perform(_ effect: NodePhase.Effect) {
    switch effect {
    case .read:
      openNodeStore().request(failed: { [self] in feed(NodePhase.Event.storeFailed(StoreFailure($0))) }) {
        [self] in
        let bytes = world.markerFile(self).bytes
        return { [self] in feed(.marker(bytes.map { Marker(decoding: $0) })) }
      }
    case .write(let marker):
      guard let nodeStore else { return }
      nodeStore.request(failed: { [self] in feed(NodePhase.Event.storeFailed(StoreFailure($0))) }) { [self] in
        world.watch.marked(self, marker)
        world.markerFile(self).replace(marker.encoded())
        return { [self] in feed(NodePhase.Event.written) }
      }
    case .lock:
      openNodeStore().lock(
        markerLock, owner: owner, takeoverDelay: world.scenario.nodeRules.takeoverDelay,
        busy: { [self] holder in feed(NodePhase.Event.lockBusy(holder: holder)) },
        taken: { [self] leftBy in
          feed(NodePhase.Event.lockHeld(leftBy: sabotage.skipsTakeover ? "" : leftBy))
        })
    case .abandonLock:
      nodeStore?.close()
      nodeStore = nil
    case .unlock:
      guard let nodeStore else { return deliver(after: .zero) { [self] in feed(NodePhase.Event.unlocked) } }
      nodeStore.unlock(markerLock) { [self] in
        nodeStore.close()
        if self.nodeStore === nodeStore { self.nodeStore = nil }
        feed(NodePhase.Event.unlocked)
      }
    case .schedule(let deadline): schedule(deadline)
    case .unschedule: timer += 1
    case .run(let step, let command, let outputs): run(.node, step, command, outputs)
    case .stopCommand(let step): stopCommand(step)
    case .killCommand(let step): killCommand(step)
    case .scheduleStep(let step, let deadline):
      scheduleStep(step, deadline) { [self] in feed(NodePhase.Event.stepTimer(step: step)) }
    case .unscheduleStep(let step): stepTimers[step, default: 0] += 1
    case .awaitRelease:
      phase = .infrastructure
      feed(InfrastructurePhase.Event.begin)
    case .stepBegan, .rollbackBegan, .waiting, .note: break
    case .stepEnded(let step, let outcome, _): stepEnded(release.node[step].step.name, outcome)
    case .finished(let outcome): nodeFinished(outcome)
    }
  }

  private func openNodeStore() -> FileHelper {
    if let nodeStore { return nodeStore }
    let opened = FileHelper(world: world, life: self, name: "node helper")
    nodeStore = opened
    opened.onLost = { [unowned self, unowned opened] in
      guard nodeStore === opened else { return }
      nodeStore = nil
      feed(NodePhase.Event.lockLost)
    }
    opened.guardsCommands = { [unowned self] in !commands.isEmpty }
    opened.endCommands = { [unowned self] in
      for command in commands { command.kill(within: .milliseconds(1)...(.milliseconds(50))) }
    }
    return opened
  }

  // MARK: Both

  private func run(_ phase: PhaseName, _ step: Int, _ kind: StepCommand, _ outputs: [StepOutput]) {
    self.outputs = outputs.map(\.key)
    Command(life: self, phase: phase, step: step, kind: kind).start()
  }

  private func stopCommand(_ step: Int) {
    guard let command = commands.first(where: { $0.step == step }) else { return }
    command.stop()
    // The third mistake: the lock goes while the command is still being stopped.
    if sabotage.releasesEarly, let store, !store.held.isEmpty {
      world.watch.lockReleased(world.infrastructureLock, by: self, why: "too early, by the planted mistake")
      store.giveUpLocks()
    }
  }

  private func killCommand(_ step: Int) {
    commands.first { $0.step == step }?.kill(within: .milliseconds(1)...(.milliseconds(500)))
  }

  private func scheduleStep(_ step: Int, _ deadline: MonotonicInstant, _ action: @escaping () -> Void) {
    stepTimers[step, default: 0] += 1
    let number = stepTimers[step]
    let phase = phase
    deliver(at: max(deadline, world.now)) { [self] in
      if number == stepTimers[step], phase == self.phase { action() }
    }
  }

  private func stepEnded(_ name: String, _ outcome: StepOutcome) {
    if case .failed = outcome { stepFailed = true }
  }
}
