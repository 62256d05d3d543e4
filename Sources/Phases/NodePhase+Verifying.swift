import EventLoop

// Is what the marker covers still so? And what is done about a step that is not, or that is due again, while the app
// runs.
extension NodePhase {
  /// How long ago the errand's step was done, as far as is known.
  public var ageOfRecord: Duration? {
    guard let errand, let time = doneAt[steps[errand.step].name] else { return nil }
    return .nanoseconds(Int64(clamping: wallClock().subtractingOrZero(time)))
  }

  /// Runs these steps' checks, one after the other.
  mutating func verify(_ indexes: [Int], at now: MonotonicInstant) -> [Effect] {
    state = .verifying
    return perform(verification.begin(indexes, of: steps, at: now), at: now)
  }

  mutating func verify(_ event: StepRunner.Event, at now: MonotonicInstant) -> [Effect] {
    perform(verification.handle(event, at: now), at: now)
  }

  private mutating func perform(_ effects: [Verification.Effect], at now: MonotonicInstant) -> [Effect] {
    effects.flatMap { effect -> [Effect] in
      switch effect {
      case .run(let index): return [.step(index, .run(.check, outputs))]
      case .step(let index, let effect): return [.step(index, effect)]
      case .failed(let index, let reason):
        suspects.insert(steps[index].name)
        let note = Effect.step(
          index, .note("node step \(steps[index].name) is covered by the marker, but \(reason)"))
        return [note] + verifyNext(at: now)
      case .passed: return verifyNext(at: now)
      case .finished: return verified(at: now)
      }
    }
  }

  private mutating func verifyNext(at now: MonotonicInstant) -> [Effect] {
    if errand != nil, !holdsLock { return finish(.lockLost) }
    if isInterrupted { return holdsLock ? release(.interrupted) : finish(.interrupted) }
    return perform(verification.next(of: steps, at: now), at: now)
  }

  private mutating func verified(at now: MonotonicInstant) -> [Effect] {
    if let errand {
      return suspects.isEmpty ? release(.done(ran: false, failedSteps: [])) : work(on: errand, at: now)
    }
    return suspects.isEmpty && !hasPending ? finish(.done(ran: false, failedSteps: [])) : awaitRelease()
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
    return verify([errand.step], at: now)
  }

  private mutating func work(on errand: Errand, at now: MonotonicInstant) -> [Effect] {
    let step = steps[errand.step]
    if let need = step.needs.first(where: { found?.failedSteps.contains($0) == true }) {
      return release(.failed(step: step.name, reason: "it needs \(need), which is not done"))
    }
    unfinished = found?.unfinished ?? [:]
    state = .working
    for index in steps.indices where index != errand.step {
      _ = graph.skip(index, because: "not looked after")
    }
    return advance(at: now)
  }
}
