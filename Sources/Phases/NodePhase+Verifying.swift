import Coordination
import EventLoop

// Is what the marker covers still so? And what is done about a step that is not, or that is due again, while the app
// runs.
extension NodePhase {
  /// How long ago the errand's step was done, as far as is known.
  public var ageOfRecord: Duration? {
    guard let errand, let time = doneAt[steps[errand.step].name] else { return nil }
    return .nanoseconds(Int64(clamping: wallClock().subtractingOrZero(time)))
  }

  mutating func verifyNext(at now: MonotonicInstant) -> [Effect] {
    if errand != nil, !holdsLock { return finish(.lockLost) }
    if isInterrupted { return holdsLock ? release(.interrupted) : finish(.interrupted) }
    guard !verifyQueue.isEmpty else {
      if let errand {
        return suspects.isEmpty ? release(.done(ran: false, failedSteps: [])) : work(on: errand, at: now)
      }
      return suspects.isEmpty && !hasPending
        ? finish(.done(ran: false, failedSteps: []))
        : awaitRelease()
    }
    let index = verifyQueue.removeFirst()
    verifying = index
    verifier = StepRunner(step: steps[index], task: .verification)
    return feedVerifier(.begin, at: now)
  }

  mutating func feedVerifier(_ event: StepRunner.Event, at now: MonotonicInstant) -> [Effect] {
    guard let index = verifying, var runner = verifier else { return [] }
    let inner = runner.handle(event, at: now)
    verifier = runner
    var effects: [Effect] = []
    for effect in inner {
      switch effect {
      case .run(let command): effects.append(.run(step: index, command, outputs))
      case .stop: effects.append(.stopCommand(step: index))
      case .schedule(let deadline): effects.append(.scheduleStep(step: index, deadline))
      case .unschedule: effects.append(.unscheduleStep(step: index))
      case .note(let text): effects.append(.note(text))
      case .ended(let outcome, _):
        verifying = nil
        verifier = nil
        if case .failed(let reason) = outcome {
          suspects.insert(steps[index].name)
          effects.append(.note("node step \(steps[index].name) is covered by the marker, but \(reason)"))
        }
        effects += verifyNext(at: now)
      }
    }
    return effects
  }

  /// Nothing but the errand's step, whatever the marker says of the others.
  mutating func look(for errand: Errand, at now: MonotonicInstant) -> [Effect] {
    guard state == .lookingInside else { return [] }
    let step = steps[errand.step]
    // Another node on the same volume may have been quicker.
    if errand.reason == .due,
      !Errand.isDue(doneAt: doneAt[step.name], every: step.repeatsAfter, at: wallClock())
    {
      return release(.done(ran: false, failedSteps: []))
    }
    guard errand.reason == .checkFailed else { return work(on: errand, at: now) }
    state = .verifying
    verifyQueue = [errand.step]
    return verifyNext(at: now)
  }

  private mutating func work(on errand: Errand, at now: MonotonicInstant) -> [Effect] {
    unfinished = found?.unfinished ?? [:]
    state = .working
    for index in steps.indices where index != errand.step {
      _ = graph.skip(index, because: "not looked after")
    }
    return advance(at: now)
  }
}
