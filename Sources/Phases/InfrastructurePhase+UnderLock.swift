import Coordination
import EventLoop

// While the lock is ours: claim, steps in order, the record of each, readiness.
extension InfrastructurePhase {
  mutating func lockHeld() -> [Effect] {
    switch state {
    case .locking:
      holdsLock = true
      return [.unschedule] + lookInside()
    case .observing:
      // What that look finds may be older than what the last holder recorded: a step could run again.
      holdsLock = true
      state = .lockedWhileObserving
      return [.unschedule]
    default: return [.unlock]
    }
  }

  mutating func lookInside() -> [Effect] {
    state = .lookingInside
    return [.read]
  }

  mutating func claim(_ found: ReleaseRecord?) -> [Effect] {
    if isReady(found) { return release(.ready(ran: false)) }
    // The lock passes on at once, so a waiter mostly learns of the holder's failure here and not by a look outside.
    if let failure = newFailure(in: found) {
      return release(.failed(step: failure.step, reason: failure.reason))
    }
    let previous = found?.claim
    if let found, !runID.isDevelopment { record = found }
    if let previous, let step = steps.first(where: { $0.name == previous.step && $0.failsWhenInterrupted }),
      !record.isDone(step.name, hash: step.hash), found?.failure?.attempt != previous.attempt
    {
      return release(
        .failed(
          step: step.name,
          reason:
            "it was interrupted on \(previous.owner) and says on_interrupted: fail; look at what it left behind, "
            + "then remove the record or use a new run ID"))
    }
    let now = wallClock()
    record.completedAt = nil
    record.failure = nil
    record.claim = ReleaseRecord.Claim(
      owner: owner, attempt: (previous?.attempt ?? 0) + 1, startedAt: now, heartbeat: now, step: "")
    state = .claiming
    var effects: [Effect] = []
    if let previous, found?.completedAt == nil, !runID.isDevelopment {
      let done = steps.filter { record.isDone($0.name, hash: $0.hash) }.count
      effects.append(
        .note("taking over from \(previous.owner): \(done) of \(steps.count) steps are recorded done"))
    }
    return effects + write()
  }

  mutating func write() -> [Effect] {
    writesPending += 1
    return [.write(record)]
  }

  mutating func written(at now: MonotonicInstant) -> [Effect] {
    writesPending -= 1
    // Heartbeats and records share the file: go on when the last of them is durable.
    guard writesPending == 0 else { return [] }
    switch state {
    case .claiming:
      return [.scheduleHeartbeat(now + InfrastructurePhase.heartbeatInterval)] + next(after: -1, at: now)
    case .announcing(let index):
      if isInterrupted {
        // The next holder must not take it for a step that was interrupted.
        state = .withdrawing
        record.claim?.step = ""
        return write()
      }
      state = .running(index)
      runner = StepRunner(step: steps[index])
      return [.stepBegan(step: index)] + feed(.begin, at: now)
    case .recording(let index): return next(after: index, at: now)
    case .recordingFailure(let outcome): return release(outcome)
    case .withdrawing: return release(.interrupted)
    case .completing: return release(.ready(ran: true))
    default: return []
    }
  }

  mutating func next(after index: Int, at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    var candidate = index + 1
    while candidate < steps.count, record.isDone(steps[candidate].name, hash: steps[candidate].hash) {
      effects.append(.stepEnded(step: candidate, .done, attempts: 0, skipped: true))
      candidate += 1
    }
    if isInterrupted { return effects + release(.interrupted) }
    guard candidate < steps.count else {
      state = .completing
      record.claim?.step = ""
      record.completedAt = wallClock()
      return effects + write()
    }
    state = .announcing(candidate)
    record.claim?.step = steps[candidate].name
    record.claim?.heartbeat = wallClock()
    return effects + write()
  }

  mutating func feed(_ event: StepRunner.Event, at now: MonotonicInstant) -> [Effect] {
    guard case .running(let index) = state, var current = runner else { return [] }
    let inner = current.handle(event, at: now)
    runner = current
    var effects: [Effect] = []
    for effect in inner {
      switch effect {
      case .run(let command): effects.append(.run(step: index, command))
      case .stop: effects.append(.stopCommand(step: index))
      case .schedule(let deadline): effects.append(.schedule(deadline))
      case .unschedule: effects.append(.unschedule)
      case .note(let text): effects.append(.note(text))
      case .ended(let outcome):
        effects.append(.stepEnded(step: index, outcome, attempts: current.attempts, skipped: false))
        effects += stepEnded(index, outcome)
      }
    }
    return effects
  }

  mutating func stepEnded(_ index: Int, _ outcome: StepOutcome) -> [Effect] {
    runner = nil
    switch outcome {
    case .done:
      state = .recording(index)
      record.entries.removeAll { $0.step == steps[index].name }
      record.entries.append(
        ReleaseRecord.Entry(step: steps[index].name, hash: steps[index].hash, doneAt: wallClock()))
      record.claim?.step = ""
      return write()
    case .failed(let reason):
      record.failure = ReleaseRecord.Failure(
        attempt: record.claim?.attempt ?? 1, step: steps[index].name, reason: reason, failedAt: wallClock())
      state = .recordingFailure(.failed(step: steps[index].name, reason: reason))
      return write()
    case .interrupted: return release(.interrupted)
    }
  }

  mutating func heartbeat(at now: MonotonicInstant) -> [Effect] {
    guard holdsLock, record.claim != nil else { return [] }
    switch state {
    case .announcing, .running, .recording:
      record.claim?.heartbeat = wallClock()
      return write() + [.scheduleHeartbeat(now + InfrastructurePhase.heartbeatInterval)]
    default: return []
    }
  }
}
