import EventLoop
import ReleaseRecords

/// The node phase, as decisions: marker first, then the lock, the marker again, the graph of steps, the marker.
public struct NodePhase: Sendable {
  enum State: Sendable, Equatable {
    case idle
    case lookingBefore
    case awaitingRelease
    /// The checks of steps with `recheck: on_start`, before the lock.
    case verifying
    case locking
    case pausing
    case takingOver
    case lookingInside
    case working
    case undoing([Int], Outcome)
    case marking
    /// The commands that run are being killed; the phase ends after them.
    case killing(Outcome)
    case unlocking(Outcome)
    case finished
  }

  let runID: RunID
  let steps: [PhaseStep]
  let rules: Rules
  /// The one step that this is about, once the phase is complete; nil: it is about all of them.
  public let errand: Errand?
  let wallClock: @Sendable () -> UInt64
  var state = State.idle
  var graph: StepGraph
  var outputs: [StepOutput] = []
  /// Of failed steps, by name; of those of an earlier start until they are run again.
  var unfinished: [String: [String]] = [:]
  var waitBegan: MonotonicInstant?
  /// What this start has waited before, for something else: `timeout` is one budget for all of it.
  public var waitedBefore = Duration.zero
  var holder = ""
  var holdsLock = false
  var isInterrupted = false
  var lockTries = 0
  var verification = Verification()
  /// The marker covers them, but their check does not.
  var suspects: Set<String> = []
  /// Whether the marker names steps to try again.
  var hasPending = false
  /// As it was found under the lock.
  var found: Marker?
  /// When the steps that are repeated were done.
  var doneAt: [String: UInt64] = [:]

  /// A phase that has not begun.
  /// - Parameters:
  ///   - errand: the only step to look after, when the phase was complete before; its failure fails nothing else.
  ///   - wallClock: Unix time in nanoseconds.
  public init(
    runID: RunID, steps: [PhaseStep], rules: Rules = Rules(), errand: Errand? = nil,
    wallClock: @escaping @Sendable () -> UInt64
  ) {
    var steps = steps
    if let errand { steps[errand.step].isFatal = false }
    self.runID = runID
    self.steps = steps
    self.rules = rules
    self.errand = errand
    self.wallClock = wallClock
    graph = StepGraph(steps)
  }

  /// Whether it waits for the infrastructure phase.
  public var awaitsRelease: Bool { state == .awaitingRelease }

  /// Whether it is over, so that nothing of it runs and no lock is held.
  public var isFinished: Bool { state == .finished }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin(let outputs):
      guard state == .idle else { return [] }
      self.outputs = outputs
      if steps.isEmpty { return finish(.done(ran: false, failedSteps: [])) }
      if errand != nil { return lock() }
      state = .lookingBefore
      return [.read]
    case .released(let outputs):
      guard state == .awaitingRelease else { return [] }
      self.outputs = outputs
      return lock()
    case .marker(let marker): return look(at: marker, now: now)
    case .storeFailed(let failure): return storeFailed(failure)
    case .lockFailed(let failure):
      return state == .locking ? [.abandonLock] + finish(.storeUnusable(failure)) : []
    case .lockBusy(let holder):
      guard state == .locking else { return [] }
      self.holder = holder.isEmpty ? "another process" : holder
      if waitBegan == nil { waitBegan = now }
      return wait(at: now)
    case .lockHeld(let leftBy): return lockHeld(leftBy: leftBy, at: now)
    case .lockLost: return lockLost(at: now)
    case .written:
      guard state == .marking else { return [] }
      return release(.done(ran: true, failedSteps: failedSteps))
    case .unlocked:
      guard case .unlocking(let outcome) = state else { return [] }
      return finish(outcome)
    case .commandEnded(let step, let result):
      guard step == verification.current else {
        return perform(graph.commandEnded(step, result, at: now), at: now)
      }
      return verify(.commandEnded(result), at: now)
    case .unfinished(let step, let parts):
      unfinished[steps[step].name] = parts
      return []
    case .timer: return timer(at: now)
    case .stepTimer(let step):
      return step == verification.current
        ? verify(.timer, at: now) : perform(graph.timer(step, at: now), at: now)
    case .interrupt: return interrupt(at: now)
    }
  }

  // MARK: Marker and lock

  mutating func look(at marker: Marker?, now: MonotonicInstant) -> [Effect] {
    found = marker
    doneAt = marker?.doneAt ?? [:]
    if let errand { return look(for: errand, at: now) }
    // A development run ID is the same for every release: its marker says nothing.
    let marker = runID.isDevelopment ? nil : marker
    let again = Set(marker?.failedSteps ?? []).union(suspects)
    let pending = steps.filter { marker == nil || again.contains($0.name) }
    switch state {
    case .lookingBefore:
      if marker == nil { return awaitRelease() }
      hasPending = !pending.isEmpty
      return verify(
        steps.indices.filter { index in
          steps[index].rechecksOnStart && steps[index].hasCheck && !again.contains(steps[index].name)
        }, at: now)
    case .lookingInside:
      if pending.isEmpty { return release(.done(ran: false, failedSteps: [])) }
      unfinished = marker?.unfinished ?? [:]
      let names = Set(pending.map(\.name))
      state = .working
      var effects: [Effect] = []
      for index in steps.indices where !names.contains(steps[index].name) {
        effects += carry(graph.skip(index, because: "the marker covers it"))
      }
      return effects + advance(at: now)
    default: return []
    }
  }

  mutating func awaitRelease() -> [Effect] {
    guard rules.awaitsRelease else { return lock() }
    state = .awaitingRelease
    return [.awaitRelease]
  }

  mutating func lock() -> [Effect] {
    state = .locking
    return [.lock]
  }

  mutating func lockHeld(leftBy: String, at now: MonotonicInstant) -> [Effect] {
    guard state == .locking else { return [.unlock] }
    holdsLock = true
    guard !leftBy.isEmpty, rules.takeoverDelay > .zero else {
      state = .lookingInside
      return [.unschedule, .read]
    }
    state = .takingOver
    return [
      .note(
        "\(leftBy) held the node lock and vanished: waiting \(rules.takeoverDelay.readable) for what it ran to end "
          + "(coordination.takeover_delay)"),
      .schedule(now + rules.takeoverDelay),
    ]
  }

  mutating func wait(at now: MonotonicInstant) -> [Effect] {
    let waited = waitBegan.map { now - $0 } ?? .zero
    // What is left: at least a look.
    let timeout = rules.timeout.map { $0 > .zero ? max($0 - waitedBefore, .milliseconds(1)) : $0 }
    if let timeout, waited >= timeout {
      let before = waitedBefore > .zero ? ", after \(waitedBefore.readable) for what came before" : ""
      let reason =
        "waited \(waited.readable) for the node lock of run ID \(runID.value) (\(rules.place))\(before), held by \(holder)"
      return [.abandonLock] + finish(.timedOut(reason))
    }
    let next = min(timeout.map { $0 - waited } ?? .seconds(5), .seconds(5))
    return [
      .waiting(holder: holder),
      .note("waiting for \(holder) to finish the node phase (for \(waited.readable) now)"),
      .schedule(now + next),
    ]
  }

  mutating func timer(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .locking: return wait(at: now)
    case .pausing: return lock()
    case .takingOver:
      state = .lookingInside
      return [.read]
    default: return []
    }
  }

  // MARK: Under the lock

  /// Those that were not done, in the file's order: the next start of the same run ID tries them again.
  var failedSteps: [String] {
    steps.indices.filter { graph.state(of: $0) != .done }.map { steps[$0].name }
  }

  /// What a step gets from earlier ones, and, when a part of it was done before, which part is left.
  func inputs(of index: Int) -> [StepOutput] {
    guard let parts = unfinished[steps[index].name] else { return outputs }
    return outputs + [StepOutput(key: "SUPERVISOR_RETRY", value: parts.joined(separator: " "))]
  }

  mutating func carry(_ effects: [StepGraph.Effect]) -> [Effect] {
    var result: [Effect] = []
    for effect in effects {
      switch effect {
      case .run(let index, let command): result.append(.step(index, .run(command, inputs(of: index))))
      case .step(let index, let effect): result.append(.step(index, effect))
      case .ended(let index, let outcome, let attempts, let outputs):
        result.append(.step(index, .ended(outcome, attempts: attempts)))
        self.outputs += outputs
        if outcome == .done {
          graph.settle(index)
          if steps[index].repeatsAfter != nil { doneAt[steps[index].name] = wallClock() }
        }
        if case .failed(let reason) = outcome, !steps[index].isFatal {
          result.append(
            .step(
              index, .note("node step \(steps[index].name) failed and is skipped (not fatal): \(reason)")))
        }
      }
    }
    return result
  }

  mutating func perform(_ effects: [StepGraph.Effect], at now: MonotonicInstant) -> [Effect] {
    let result = carry(effects)
    switch state {
    case .working: return result + advance(at: now)
    case .undoing(let rest, let outcome):
      return result + (graph.isQuiet ? undoNext(rest, outcome, at: now) : [])
    case .killing(let outcome):
      guard graph.isQuiet else { return result }
      return result + (holdsLock ? release(outcome) : finish(outcome))
    default: return result
    }
  }

  mutating func advance(at now: MonotonicInstant) -> [Effect] {
    var effects = carry(graph.leaveOutBlocked())
    for index in graph.takeStartable() {
      effects += perform(graph.start(index, at: now), at: now)
      // What it caused has gone on from there.
      guard state == .working else { return effects }
    }
    guard state == .working, graph.isQuiet else { return effects }
    return effects + conclude(at: now)
  }

  mutating func conclude(at now: MonotonicInstant) -> [Effect] {
    if let (index, reason) = graph.failure {
      var queue = Array(graph.completed.reversed())
      if steps[index].rollsBackWhenFailed { queue.insert(index, at: 0) }
      if isInterrupted { queue.removeAll { !steps[$0].rollsBackOnStop } }
      return undoNext(queue, .failed(step: steps[index].name, reason: reason), at: now)
    }
    if isInterrupted {
      return undoNext(
        graph.completed.reversed().filter { steps[$0].rollsBackOnStop }, .interrupted, at: now)
    }
    var failed = failedSteps
    if let errand {
      // Somebody removed it, so that the next start runs the whole phase again.
      guard let found else { return release(.done(ran: true, failedSteps: failed)) }
      // What was done once stays so, though it could not be done again.
      let name = steps[errand.step].name
      if errand.reason == .due, !failed.isEmpty, !found.failedSteps.contains(name) {
        return release(.done(ran: true, failedSteps: failed))
      }
      failed += found.failedSteps.filter { $0 != steps[errand.step].name }
    }
    state = .marking
    return [
      .write(
        Marker(
          failedSteps: failed, unfinished: unfinished.filter { failed.contains($0.key) }, doneAt: doneAt))
    ]
  }

  mutating func undoNext(_ queue: [Int], _ outcome: Outcome, at now: MonotonicInstant) -> [Effect] {
    var queue = queue
    while !queue.isEmpty {
      let index = queue.removeFirst()
      guard steps[index].hasRollback else { continue }
      state = .undoing(queue, outcome)
      return [.step(index, .rollbackBegan)] + perform(graph.undo(index, at: now), at: now)
    }
    return release(outcome)
  }

  // MARK: The end

  /// Neither lock nor marker can be relied on: no grace for the command, and nothing else before it is gone.
  mutating func kill(_ outcome: Outcome, at now: MonotonicInstant) -> [Effect] {
    state = .killing(outcome)
    return [.unschedule] + perform(graph.kill(), at: now)
  }

  mutating func release(_ outcome: Outcome) -> [Effect] {
    state = .unlocking(outcome)
    return [.unschedule, .unlock]
  }

  mutating func finish(_ outcome: Outcome) -> [Effect] {
    state = .finished
    holdsLock = false
    return [.unschedule, .finished(outcome)]
  }

  mutating func interrupt(at now: MonotonicInstant) -> [Effect] {
    isInterrupted = true
    switch state {
    case .idle, .lookingBefore, .awaitingRelease, .locking, .pausing:
      return [.abandonLock] + finish(.interrupted)
    case .verifying: return verify(.interrupt, at: now)
    case .takingOver, .lookingInside: return release(.interrupted)
    case .working: return perform(graph.interrupt(at: now), at: now)
    case .undoing(let rest, let outcome):
      state = .undoing(rest.filter { steps[$0].rollsBackOnStop }, outcome)
      return []
    case .marking, .killing, .unlocking, .finished: return []
    }
  }

  mutating func lockLost(at now: MonotonicInstant) -> [Effect] {
    holdsLock = false
    switch state {
    case .locking:
      lockTries += 1
      guard lockTries < InfrastructurePhase.lockAttempts else {
        let text =
          "the process that waits for the node lock has ended \(lockTries) times: is it being killed?"
        return [.abandonLock] + finish(.storeUnusable(StoreFailure(text)))
      }
      state = .pausing
      return [
        .abandonLock, .note("the process that waits for the node lock has ended: starting another"),
        .schedule(now + .seconds(1)),
      ]
    case .working, .undoing: return kill(.lockLost, at: now)
    case .unlocking(let outcome): return finish(outcome)
    // Its check was run under it.
    case .verifying where errand != nil: return verify(.interrupt, at: now)
    case .finished, .idle, .lookingBefore, .awaitingRelease, .verifying, .pausing, .killing: return []
    case .takingOver, .lookingInside, .marking: return finish(.lockLost)
    }
  }

  mutating func storeFailed(_ failure: StoreFailure) -> [Effect] {
    switch state {
    case .lookingInside, .marking: return release(.storeUnusable(failure))
    case .lookingBefore: return [.abandonLock] + finish(.storeUnusable(failure))
    // Nothing is read or written meanwhile.
    case .idle, .awaitingRelease, .verifying, .locking, .pausing, .takingOver, .working, .undoing, .killing,
      .unlocking, .finished:
      return []
    }
  }
}
