import Coordination
import EventLoop
import ReleaseRecords

// Looking after one step of a release that is complete, while the app runs: the same lock, claim and record, but no
// other step is touched, whatever the record says of it.
extension InfrastructurePhase {
  /// How long ago the errand's step was recorded done, as far as is known.
  public var ageOfRecord: Duration? { recordedAt.map { age(of: $0) } }

  private func age(of time: UInt64) -> Duration {
    .nanoseconds(Int64(clamping: wallClock().subtractingOrZero(time)))
  }

  mutating func firstLook(at found: ReleaseRecord?, for errand: Errand, now: MonotonicInstant) -> [Effect] {
    recordedAt = doneAt(of: errand, in: found)
    recordedAtFirst = recordedAt
    switch errand.reason {
    case .due where !isDue(errand, in: found):
      return finish(.ready(ran: false, outputs: found?.outputs ?? []))
    case .checkFailed:
      // Every node's check fails at once; a step that cannot be done is not to be tried by each of them.
      if let failure = found?.failure, failure.step == steps[errand.step].name {
        let pause = rules.pause(after: failure.count)
        let age = age(of: failure.failedAt)
        if age < pause {
          return finish(
            .failed(
              step: failure.step,
              reason: "\(failure.reason), \(age.readable) ago; not tried again within \(pause.readable) "
                + "(coordination.retry_after)"))
        }
      }
    case .due: break
    }
    return lock(at: now)
  }

  /// Whether somebody else has done it, or failed at it, since we began to wait.
  func decided(by found: ReleaseRecord?, for errand: Errand) -> Outcome? {
    if let doneAt = doneAt(of: errand, in: found), doneAt != recordedAtFirst {
      return .ready(ran: false, outputs: found?.outputs ?? [])
    }
    if let failure = newFailure(in: found), failure.step == steps[errand.step].name {
      return .failed(step: failure.step, reason: failure.reason)
    }
    return nil
  }

  mutating func lookedInside(
    _ found: ReleaseRecord?, for errand: Errand, at now: MonotonicInstant
  ) -> [Effect] {
    // Whoever looks after one step does not look at the checks of all others: a word without a ledger stays one, and
    // must not become a record's.
    var found = found
    if found?.isHearsay == true {
      found?.completedAt = nil
      found?.declaredBy = nil
      found?.isHearsay = false
    }
    recordedAt = doneAt(of: errand, in: found)
    if let outcome = decided(by: found, for: errand) { return release(outcome) }
    self.found = found
    switch errand.reason {
    case .due where !isDue(errand, in: found):
      return release(.ready(ran: false, outputs: found?.outputs ?? []))
    case .due: return claim(at: now)
    case .checkFailed:
      suspects = []
      return verify([errand.step], at: now)
    }
  }

  mutating func claim(for errand: Errand) -> [Effect] {
    let step = steps[errand.step]
    if let found { record = found }
    let previous = record.claim
    if let interrupted = interruptedStep(of: previous, among: [step]) { return release(interrupted) }
    if let need = missingNeed(of: step) {
      return release(.failed(step: step.name, reason: "it needs \(need), which is not done"))
    }
    failuresInARow = record.failure?.count ?? 0
    if errand.reason == .checkFailed {
      wasReady = record.completedAt != nil
      // Parts of a step that is recorded done are of a repetition that did not come to its end: what is to be put right
      // may be one of them.
      if record.isDone(step.name, hash: step.hash) { forgetParts(of: [errand.step]) }
      record.entries.removeAll { $0.step == step.name }
      // Set anew it would tell those who wait to run all of it, as with a development run ID, that somebody has.
      if !runID.isDevelopment { record.completedAt = nil }
      record.failure = nil
    }
    let wall = wallClock()
    record.claim = ReleaseRecord.Claim(
      owner: owner, attempt: InfrastructurePhase.next(previous?.attempt ?? 0), startedAt: wall,
      heartbeat: wall)
    for index in steps.indices where index != errand.step {
      // Nobody is told: nothing has happened to it.
      _ = graph.skip(index, because: "not looked after")
    }
    state = .working
    return write(.advance)
  }

  /// Whether the release is ready once everything that was begun is done.
  var restoresReadiness: Bool {
    guard errand != nil else { return true }
    guard record.completedAt == nil, !runID.isDevelopment else { return false }
    return wasReady || steps.allSatisfy { record.isDone($0.name, hash: $0.hash) }
  }

  /// What this step needs and the record does not have; somebody's word covers all of it.
  private func missingNeed(of step: PhaseStep) -> String? {
    if record.completedAt != nil, record.declaredBy != nil { return nil }
    return step.needs.first { need in
      steps.contains { $0.name == need && !record.isDone($0.name, hash: $0.hash) }
    }
  }

  /// Only what belongs to a release that is ready is repeated: who completes another one runs it anyway.
  private func isDue(_ errand: Errand, in found: ReleaseRecord?) -> Bool {
    found?.completedAt != nil
      && Errand.isDue(doneAt: recordedAt, every: steps[errand.step].repeatsAfter, at: wallClock())
  }

  private func doneAt(of errand: Errand, in found: ReleaseRecord?) -> UInt64? {
    let step = steps[errand.step]
    return found?.entries.first { $0.step == step.name && $0.hash == step.hash }?.doneAt
  }
}
