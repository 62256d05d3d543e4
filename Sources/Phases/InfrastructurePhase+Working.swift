import Coordination
import EventLoop
import ReleaseRecords

// While the lock is ours: claim, the graph of steps, the record of each, readiness.
extension InfrastructurePhase {
  mutating func lockHeld(leftBy: String, at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .waiting, .observing:
      holdsLock = true
      endWait(at: now)
      if !leftBy.isEmpty, rules.takeoverDelay > .zero {
        state = .takingOver
        return [
          .note(
            "\(leftBy) held the infrastructure lock and vanished: waiting \(rules.takeoverDelay.readable) for what it "
              + "ran to end (coordination.takeover_delay)"),
          .schedule(now + rules.takeoverDelay),
        ]
      }
      return [.unschedule] + lookInside()
    default: return [.unlock]
    }
  }

  mutating func lookInside() -> [Effect] {
    // What a look that is still due finds may be older than what the last holder recorded: a step could run again.
    if looksDue > 0 {
      state = .lockedWhileObserving
      return []
    }
    state = .lookingInside
    return read()
  }

  mutating func lookedInside(_ found: ReleaseRecord?, at now: MonotonicInstant) -> [Effect] {
    if let errand { return lookedInside(found, for: errand, at: now) }
    if isReady(found), suspects.isEmpty { return release(.ready(ran: false, outputs: found?.outputs ?? [])) }
    // The lock passes on at once, so a waiter mostly learns of the holder's failure here and not by a look outside.
    if let failure = newFailure(in: found) {
      return release(.failed(step: failure.step, reason: failure.reason))
    }
    self.found = found
    guard let found, !runID.isDevelopment else { return claim(at: now) }
    let due = steps.indices.filter { index in
      let step = steps[index]
      guard step.hasCheck else { return false }
      if found.isDone(step.name, hash: step.hash) {
        // Once a start: those that were checked from outside and passed are not checked again.
        return step.rechecksOnStart
          && (suspects.isEmpty || suspects.contains(index) || found.completedAt == nil)
      }
      // Somebody's word, without a ledger: the checks say whether it is true.
      return found.completedAt != nil && found.declaredBy != nil
    }
    suspects = []
    return due.isEmpty ? claim(at: now) : verify(due, at: now)
  }

  mutating func claim(at now: MonotonicInstant) -> [Effect] {
    if let errand { return claim(for: errand) }
    let previous = found?.claim
    if let found, !runID.isDevelopment { record = found }
    if let interrupted = interruptedStep(of: previous, among: steps) { return release(interrupted) }
    let wall = wallClock()
    var effects: [Effect] = []
    if record.declaredBy != nil, record.completedAt != nil {
      // A cache outlives a database: when one check says that it is wrong, it is about another one.
      if record.isHearsay, !suspects.isEmpty {
        effects.append(
          .note("\(record.declaredBy ?? "") says that run ID \(runID.value) is ready, and it is not"))
      } else {
        effects += believeDeclaration(at: wall)
      }
    }
    record.isHearsay = false
    forgetParts(of: suspects.filter { record.isDone(steps[$0].name, hash: steps[$0].hash) })
    record.entries.removeAll { entry in suspects.contains { steps[$0].name == entry.step } }
    record.declaredBy = nil
    record.completedAt = nil
    let failuresBefore = record.failure
    record.claim = ReleaseRecord.Claim(
      owner: owner, attempt: InfrastructurePhase.next(previous?.attempt ?? 0), startedAt: wall,
      heartbeat: wall)
    if let previous, let found, found.completedAt == nil, !runID.isDevelopment {
      let done = steps.filter { record.isDone($0.name, hash: $0.hash) }.count
      effects.append(
        .note(
          "\(found.failure == nil ? "taking over from" : "trying again after") \(previous.owner): "
            + "\(done) of \(steps.count) steps are recorded done"))
    }
    for index in steps.indices where record.isDone(steps[index].name, hash: steps[index].hash) {
      effects += perform(graph.skip(index, because: "recorded done"), at: now)
    }
    failuresInARow = failuresBefore?.count ?? 0
    record.failure = nil
    state = .working
    return effects + write(.advance)
  }

  /// The number after this one, which a file may have given as any.
  static func next(_ number: Int) -> Int { number == .max ? number : number + 1 }

  /// A step of an unfinished claim that must not be run again by itself.
  func interruptedStep(of claim: ReleaseRecord.Claim?, among steps: [PhaseStep]) -> Outcome? {
    guard let claim, !runID.isDevelopment else { return nil }
    let interrupted = steps.first { step in
      step.failsWhenInterrupted && claim.running.contains { $0.step == step.name }
        // One that is repeated stays recorded done meanwhile.
        && (errand != nil || !record.isDone(step.name, hash: step.hash))
    }
    guard let interrupted else { return nil }
    let reason =
      "it was interrupted on \(claim.owner) and says on_interrupted: fail; look at what it left behind, then "
      + "`supervisor ready clear`, or use a new run ID"
    return .failed(step: interrupted.name, reason: reason)
  }

  /// Readiness that was declared by hand: what has no check to the contrary is recorded done.
  private mutating func believeDeclaration(at wall: UInt64) -> [Effect] {
    let who = record.declaredBy ?? "somebody"
    for index in steps.indices where !record.isDone(steps[index].name, hash: steps[index].hash) {
      guard !suspects.contains(index) else { continue }
      record.entries.removeAll { $0.step == steps[index].name }
      record.entries.append(
        ReleaseRecord.Entry(step: steps[index].name, hash: steps[index].hash, doneAt: wall))
    }
    return [
      .note(
        "\(who) declared run ID \(runID.value) ready: recording the steps whose checks do not say otherwise")
    ]
  }

  // MARK: Writing

  mutating func write(_ action: Deferred? = nil) -> [Effect] {
    writesIssued += 1
    if let action { deferred.append((writesIssued, action)) }
    return [.write(record)]
  }

  mutating func written(at now: MonotonicInstant) -> [Effect] {
    guard holdsLock, writesAnswered < writesIssued else { return [] }
    writesAnswered += 1
    writesFailSince = nil
    // The record is one file: what is durable now covers every earlier wish.
    let due = deferred.filter { $0.write <= writesAnswered }.map(\.action)
    deferred.removeAll { $0.write <= writesAnswered }
    // Whatever goes on must know of every step that is recorded: one of them may be to be taken back.
    for case .settle(let index) in due { graph.settle(index) }
    return due.flatMap { perform($0, at: now) }
  }

  /// The lock still holds, so a step that runs may go on; but nothing begins, and nothing counts as done, before a write
  /// succeeds.
  mutating func writeFailed(_ failure: StoreFailure, at now: MonotonicInstant) -> [Effect] {
    // No write of ours: none of the answers that are still to come is this one.
    guard writesAnswered < writesIssued else { return [.note(failure.text)] }
    writesAnswered += 1
    let since = writesFailSince ?? now
    writesFailSince = since
    // Nothing has begun: say so at once.
    let isFirst = deferred.contains { $0.action == .advance && $0.write <= writesAnswered }
    let patience = isInterrupted ? InfrastructurePhase.stopPatience : InfrastructurePhase.writePatience
    if isFirst || now - since >= patience { return giveUpWriting(failure, at: now) }
    guard writesAnswered == writesIssued else { return [.note(failure.text)] }
    return [
      .note(
        "\(failure.text); trying again in \(InfrastructurePhase.writeRetryDelay.readable)"
          + (graph.isBusy ? " (what runs goes on, since the lock holds)" : "")),
      .scheduleHeartbeat(now + InfrastructurePhase.writeRetryDelay),
    ]
  }

  private mutating func giveUpWriting(_ failure: StoreFailure, at now: MonotonicInstant) -> [Effect] {
    deferred = []
    brokenStore = failure
    var effects: [Effect] = []
    switch state {
    case .concluding(let outcome):
      switch outcome {
      // The outcome itself is known; others will find out by themselves.
      case .failed, .interrupted: return [.note(failure.text)] + release(outcome)
      default: return release(.storeUnusable(failure))
      }
    case .working:
      for effect in graph.cancelStarting() + graph.leaveOutBlocked() {
        if case .ended(let index, let outcome, let attempts, _) = effect {
          effects.append(.step(index, .ended(outcome, attempts: attempts)))
        }
      }
      if graph.isQuiet { return effects + release(.storeUnusable(failure)) }
      return effects + [.note("\(failure.text): what runs is stopped, since it could not be recorded")]
        + perform(graph.interrupt(at: now), at: now)
    case .undoing where !graph.isQuiet:
      state = .undoing([], .storeUnusable(failure))
      return []
    default: return release(.storeUnusable(failure))
    }
  }

  mutating func heartbeat(at now: MonotonicInstant) -> [Effect] {
    guard holdsLock, record.claim != nil, writesAnswered == writesIssued else {
      return holdsLock ? [.scheduleHeartbeat(now + InfrastructurePhase.heartbeatInterval)] : []
    }
    switch state {
    case .working, .undoing, .concluding:
      record.claim?.heartbeat = wallClock()
      return write() + [.scheduleHeartbeat(now + InfrastructurePhase.heartbeatInterval)]
    default: return []
    }
  }

  // MARK: Going on

  private mutating func perform(_ action: Deferred, at now: MonotonicInstant) -> [Effect] {
    switch action {
    case .advance:
      return [.scheduleHeartbeat(now + InfrastructurePhase.heartbeatInterval)] + advance(at: now)
    case .begin(let indexes):
      return indexes.flatMap { perform(graph.start($0, at: now), at: now) } + advance(at: now)
    case .settle: return advance(at: now)
    case .undo(let index):
      return [.step(index, .rollbackBegan)] + perform(graph.undo(index, at: now), at: now)
    case .release(let outcome): return release(outcome)
    }
  }

  /// Carries out what the graph wants, and goes on when it can.
  mutating func perform(_ effects: [StepGraph.Effect], at now: MonotonicInstant) -> [Effect] {
    var result: [Effect] = []
    for effect in effects {
      switch effect {
      case .run(let index, let command):
        result.append(.step(index, .run(command, inputs(of: index, command))))
      // There is nothing to end any more.
      case .step(let index, .stop) where heldBack[index] != nil: break
      case .step(let index, .kill) where heldBack[index] != nil: break
      case .step(let index, let effect): result.append(.step(index, effect))
      case .ended(let index, let outcome, let attempts, let outputs):
        result.append(.step(index, .ended(outcome, attempts: attempts)))
        result += ended(index, outcome, outputs)
      }
    }
    // Every effect above has been taken into account before the graph is asked what is next.
    switch state {
    case .working: return result + (deferred.isEmpty ? advance(at: now) : [])
    case .undoing(let rest, let outcome):
      return result + (graph.isQuiet && deferred.isEmpty ? undoNext(rest, outcome, at: now) : [])
    case .killing(let outcome): return result + endKilling(outcome)
    default: return result
    }
  }

  private mutating func ended(_ index: Int, _ outcome: StepOutcome, _ outputs: [StepOutput]) -> [Effect] {
    let step = steps[index]
    guard holdsLock else { return [] }
    switch outcome {
    case .done:
      record.claim?.running.removeAll { $0.step == step.name }
      record.entries.removeAll { $0.step == step.name }
      record.entries.append(
        ReleaseRecord.Entry(step: step.name, hash: step.hash, doneAt: wallClock(), outputs: outputs))
      recordedAt = record.entries.last?.doneAt
      return write(.settle(index))
    case .failed, .notStarted:
      // Not written by itself: what follows writes it. What goes on in a server stays named.
      guard !lingering.contains(index) else { return [] }
      record.claim?.running.removeAll { $0.step == step.name }
      return []
    // What was stopped in the middle stays named there, for `on_interrupted: fail`.
    case .interrupted, .skipped, .undone, .undoFailed: return []
    }
  }

  /// What can start is announced; when nothing runs and nothing can, the phase comes to its end.
  mutating func advance(at now: MonotonicInstant) -> [Effect] {
    guard state == .working else { return [] }
    var effects: [Effect] = []
    if isInterrupted || brokenStore != nil {
      let stops = graph.interrupt(at: now)
      if !stops.isEmpty { return perform(stops, at: now) }
    }
    for effect in graph.leaveOutBlocked() {
      if case .ended(let index, let outcome, let attempts, _) = effect {
        effects.append(.step(index, .ended(outcome, attempts: attempts)))
      }
    }
    let next = graph.takeStartable()
    if !next.isEmpty {
      let wall = wallClock()
      for index in next {
        let deadline = steps[index].timeout.map { wall &+ UInt64(clamping: $0.wholeNanoseconds) }
        // Until it is done again, one that is repeated is as done as it was.
        if errand?.reason != .due { record.entries.removeAll { $0.step == steps[index].name } }
        record.claim?.running.append(
          ReleaseRecord.Running(step: steps[index].name, startedAt: wall, deadline: deadline))
      }
      record.claim?.heartbeat = wall
      return effects + write(.begin(next))
    }
    guard graph.isQuiet, deferred.isEmpty else { return effects }
    return effects + conclude(at: now)
  }

  private mutating func conclude(at now: MonotonicInstant) -> [Effect] {
    if let brokenStore { return release(.storeUnusable(brokenStore)) }
    if let (index, reason) = graph.failure {
      var queue = Array(graph.completed.reversed())
      if steps[index].rollsBackWhenFailed, !lingering.contains(index) { queue.insert(index, at: 0) }
      if isInterrupted { queue.removeAll { !steps[$0].rollsBackOnStop } }
      return undoNext(queue, .failed(step: steps[index].name, reason: reason), at: now)
    }
    // What an errand has done is done for all nodes, of which only this one stops.
    if isInterrupted, errand.map({ graph.state(of: $0.step) != .done }) ?? true {
      return undoNext(
        graph.completed.reversed().filter { steps[$0].rollsBackOnStop }, .interrupted, at: now)
    }
    // Settings refuse what could lead here, but readiness is the last thing to take on trust.
    if let index = steps.indices.first(where: { graph.state(of: $0) != .done }) {
      return undoNext([], .failed(step: steps[index].name, reason: "it was not done"), at: now)
    }
    if restoresReadiness {
      record.completedAt = wallClock()
      record.failure = nil
      record.parts = []
    }
    let outcome = Outcome.ready(ran: true, outputs: record.outputs)
    state = .concluding(outcome)
    return write(.release(outcome))
  }
}
