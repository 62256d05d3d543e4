import Coordination
import EventLoop
import ReleaseRecords

// Before the lock: is it ready, did it fail, who holds it, and how long do we wait.
extension InfrastructurePhase {
  mutating func begin(at now: MonotonicInstant) -> [Effect] {
    guard state == .idle else { return [] }
    if steps.isEmpty, !rules.onlyWaits { return finish(.ready(ran: false, outputs: [])) }
    state = .looking
    return read()
  }

  mutating func read() -> [Effect] {
    looksDue += 1
    return [.read]
  }

  mutating func look(at found: ReleaseRecord?, now: MonotonicInstant) -> [Effect] {
    if looksDue > 0 { looksDue -= 1 }
    unavailable = nil
    switch state {
    case .looking:
      endWait(at: now)
      waitBegan = nil
      return firstLook(at: found, now: now)
    case .lookingWhileHoldingOff(let until): return lookWhileHoldingOff(at: found, until: until, now: now)
    case .observing:
      state = .waiting
      if let outcome = decided(by: found) {
        endWait(at: now)
        return [.abandonLock] + finish(outcome)
      }
      notice(found, at: now)
      return wait(at: now)
    case .lockedWhileObserving: return lookInside()
    case .lookingInside: return lookedInside(found, at: now)
    default: return []
    }
  }

  private mutating func firstLook(at found: ReleaseRecord?, now: MonotonicInstant) -> [Effect] {
    lastFailure = found?.failure
    failureBefore = found?.failure?.attempt
    completedBefore = found?.completedAt
    if let errand { return firstLook(at: found, for: errand, now: now) }
    if isReady(found) {
      let due =
        rules.onlyWaits ? [] : steps.indices.filter { steps[$0].rechecksOnStart && steps[$0].hasCheck }
      if due.isEmpty { return finish(.ready(ran: false, outputs: found?.outputs ?? [])) }
      self.found = found
      return verify(due, at: now)
    }
    if let failure = standingFailure(of: found), !runID.isDevelopment, !rules.onlyWaits {
      let pause = rules.pause(after: failure.count)
      // The clock of whoever wrote it may be ahead of ours: never longer than the pause.
      let age = Duration.nanoseconds(Int64(clamping: wallClock().subtractingOrZero(failure.failedAt)))
      if age < pause {
        let until = now + (pause - age)
        waitBegan = now
        let effects: [Effect] = [
          .waiting(holder: "the next try"),
          .note(
            "the last try of run ID \(runID.value) failed \(age.readable) ago at step \(failure.step) "
              + "(\(failure.reason)): trying again in \((pause - age).readable) (coordination.retry_after), "
              + "unless another node does"),
        ]
        return effects + holdOff(until: until, now: now)
      }
    }
    return lock(at: now, found: found)
  }

  /// Asks for the lock; who only waits asks for nothing.
  mutating func lock(at now: MonotonicInstant, found: ReleaseRecord? = nil) -> [Effect] {
    state = .waiting
    isToldOfHolder = false
    guard rules.onlyWaits else { return [.lock] }
    waitBegan = now
    lastProgress = now
    notice(found, at: now)
    return wait(at: now)
  }

  private mutating func lookWhileHoldingOff(
    at found: ReleaseRecord?, until: MonotonicInstant, now: MonotonicInstant
  ) -> [Effect] {
    if let outcome = decided(by: found) { return finish(outcome) }
    // Somebody has begun: wait for that one.
    if standingFailure(of: found) == nil { return lock(at: now) }
    return holdOff(until: until, now: now)
  }

  /// Waits for the next try's time as for a lock: within the same limits.
  mutating func holdOff(until: MonotonicInstant, now: MonotonicInstant) -> [Effect] {
    if now >= until { return lock(at: now) }
    var next = min(until, now + rules.pollInterval)
    if let waitBegan, let limit = [rules.timeout, rules.maximumWait].compactMap({ $0 }).min() {
      let waited = now - waitBegan
      if waited >= limit {
        let which = limit == rules.maximumWait ? " (max_wait)" : ""
        return finish(
          .timedOut(
            "waited \(waited.readable)\(which) for the next try of run ID \(runID.value) (\(rules.place))\(lastTry)"
          ))
      }
      next = min(next, waitBegan + limit)
    }
    state = .holdingOff(until: until)
    return [.awaitChange(next)]
  }

  /// How the last try ended, for messages.
  private var lastTry: String {
    guard let lastFailure else { return "; nobody has begun it" }
    return "; the last try failed at step \(lastFailure.step): \(lastFailure.reason)"
  }

  /// What a look from outside decides.
  private func decided(by found: ReleaseRecord?) -> Outcome? {
    if let errand { return decided(by: found, for: errand) }
    // Whose own check failed believes only what was set since: the holder may still be looking into it.
    if isReady(found), suspects.isEmpty || found?.completedAt != completedBefore {
      return .ready(ran: false, outputs: found?.outputs ?? [])
    }
    if let failure = newFailure(in: found) { return .failed(step: failure.step, reason: failure.reason) }
    return nil
  }

  /// A failure since we began to wait; an older one is what we are here to try again.
  func newFailure(in found: ReleaseRecord?) -> ReleaseRecord.Failure? {
    guard let failure = standingFailure(of: found), failure.attempt != failureBefore else { return nil }
    return failure
  }

  /// The failure that a look has to go by: readiness that somebody declared since is newer.
  private func standingFailure(of found: ReleaseRecord?) -> ReleaseRecord.Failure? {
    found?.isHearsay == true ? nil : found?.failure
  }

  /// A development run ID is the same for every release, so only what was set while we waited counts.
  func isReady(_ found: ReleaseRecord?) -> Bool {
    guard let found, let completedAt = found.completedAt else { return false }
    if runID.isDevelopment, state == .looking || completedAt == completedBefore { return false }
    // Somebody works at it: then what a cache says is of yesterday.
    if found.isHearsay, let claim = found.claim, claim.attempt != found.failure?.attempt { return false }
    if rules.onlyWaits { return true }
    // Steps that were added or changed since are not covered by it; nor is anything by a word without a ledger.
    return steps.allSatisfy { found.isDone($0.name, hash: $0.hash) }
  }

  /// The holder lives as long as its heartbeat changes.
  private mutating func notice(_ found: ReleaseRecord?, at now: MonotonicInstant) {
    // Who has failed has ended.
    guard let claim = found?.claim, claim.attempt != found?.failure?.attempt, claim.heartbeat != seenHeartbeat
    else { return }
    // Who looks after one step of a release that was complete does nothing for those who wait for all of it.
    if rules.onlyWaits, found?.completedAt != nil { return }
    // A claim that was left behind says nothing: it has to be young, or to change while we look.
    let age = Duration.nanoseconds(Int64(clamping: wallClock().subtractingOrZero(claim.heartbeat)))
    holderIsLively = seenHeartbeat != nil || age < InfrastructurePhase.heartbeatLife
    if holderIsLively { waited = .zero }
    seenHeartbeat = claim.heartbeat
    lastProgress = now
    let names = claim.running.map(\.step)
    holder =
      names.isEmpty
      ? claim.owner : "\(claim.owner), at step \(names.joined(separator: ", "))"
  }

  mutating func lockBusy(_ name: String, at now: MonotonicInstant) -> [Effect] {
    guard state == .waiting || state == .observing else { return [] }
    unavailable = nil
    let name = name.isEmpty ? "another process" : name
    // Its record, when there is one that concerns us, says more: at which step it is.
    if !holder.hasPrefix(name) { holder = name }
    if waitBegan == nil { waitBegan = now }
    // A helper that had to be started again is no sign of life from the holder. Whatever it is told after that is: of a
    // release whose record we do not look at, the only one.
    if lastProgress == nil || isToldOfHolder { lastProgress = now }
    holderIsLively = holderIsLively || isToldOfHolder
    isToldOfHolder = true
    return state == .waiting ? wait(at: now) : []
  }

  /// Says whom we wait for every five seconds, and gives up when the time has run out.
  mutating func wait(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    var next = now + rules.pollInterval
    if let waitBegan, let lastProgress {
      let still = now - lastProgress
      let waited = now - waitBegan
      if var timeout = rules.timeout {
        // What is left: at least a look.
        if timeout > .zero { timeout = max(timeout - self.waited, .milliseconds(1)) }
        // Between two heartbeats of a holder that lives the clock stands still. 0 is one try, whoever holds it.
        if holderIsLively, timeout > .zero { timeout = max(timeout, InfrastructurePhase.heartbeatLife) }
        if still >= timeout {
          if let unavailable { return [.abandonLock] + finish(neverCame(unavailable, after: waited)) }
          return [.abandonLock] + finish(.timedOut(timeoutText(waited, still: still)))
        }
        next = min(next, lastProgress + timeout)
      }
      if let maximumWait = rules.maximumWait {
        if waited >= maximumWait {
          if let unavailable { return [.abandonLock] + finish(neverCame(unavailable, after: waited)) }
          let text = "waited \(waited.readable) (max_wait) for \(awaited)\(heldBy)"
          return [.abandonLock] + finish(.timedOut(text))
        }
        next = min(next, waitBegan + maximumWait)
      }
      if lastSaid.map({ now - $0 >= .seconds(5) }) ?? true {
        lastSaid = now
        if let unavailable {
          effects = [
            .waiting(holder: unavailable.text),
            .note("waiting: \(unavailable.text) (for \(waited.readable) now)"),
          ]
        } else {
          let whom = holder.isEmpty ? "another node" : holder
          effects = [
            .waiting(holder: whom),
            .note("waiting for \(whom) to finish the infrastructure phase (for \(waited.readable) now)"),
          ]
        }
      }
    }
    return effects + [.awaitChange(next)]
  }

  /// The lock is ours, or not needed.
  mutating func endWait(at now: MonotonicInstant) {
    if let lastProgress { waited += now - lastProgress }
    lastProgress = nil
    unavailable = nil
  }

  private var awaited: String {
    rules.onlyWaits
      ? "the infrastructure phase of run ID \(runID.value) to be complete (\(rules.place))"
      : "the infrastructure lock of run ID \(runID.value) (\(rules.place))"
  }

  private var heldBy: String {
    if holder.isEmpty {
      return rules.onlyWaits ? lastTry : ""
    }
    return rules.onlyWaits ? "; \(holder) works on it" : ", held by \(holder)"
  }

  private func timeoutText(_ waited: Duration, still: Duration) -> String {
    let before = self.waited > .zero ? ", after \(self.waited.readable) for what it needs" : ""
    if holder.isEmpty { return "waited \(waited.readable) for \(awaited)\(before)\(heldBy)" }
    return
      "waited \(waited.readable) for \(awaited)\(before), \(still.readable) of it without a sign of life from its holder "
      + "(\(holder))"
  }

  /// The holder is gone: by orderly release, or not.
  mutating func lockFree(_ found: ReleaseRecord?, at now: MonotonicInstant) -> [Effect] {
    guard state == .waiting || state == .observing else { return [] }
    unavailable = nil
    if let outcome = decided(by: found) {
      endWait(at: now)
      return [.abandonLock] + finish(outcome)
    }
    return [.contend]
  }

  // MARK: A server that is not there

  /// It is tried again by whoever tells us; here the time runs.
  mutating func storeUnavailable(_ failure: StoreFailure, at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .looking, .waiting, .observing, .lookingWhileHoldingOff, .lookingInside, .lockedWhileObserving: break
    default: return []
    }
    unavailable = failure
    holderIsLively = false
    if waitBegan == nil { waitBegan = now }
    if lastProgress == nil { lastProgress = now }
    return waitForStore(at: now)
  }

  private mutating func waitForStore(at now: MonotonicInstant) -> [Effect] {
    guard let unavailable else { return [] }
    switch state {
    case .looking, .waiting, .observing, .lookingWhileHoldingOff: return wait(at: now)
    case .lookingInside, .lockedWhileObserving:
      // Without the record nothing can be done with the lock, and another node may be better off.
      let waited = lastProgress.map { now - $0 } ?? .zero
      let limit = min(rules.timeout ?? InfrastructurePhase.writePatience, InfrastructurePhase.writePatience)
      if waited >= limit { return release(neverCame(unavailable, after: waited)) }
      return [.schedule((lastProgress ?? now) + limit)]
    default: return []
    }
  }

  private func neverCame(_ failure: StoreFailure, after waited: Duration) -> Outcome {
    var failure = failure
    failure.text = "waited \(waited.readable) for the backend of lock and record: \(failure.text)"
    return .storeUnusable(failure)
  }

  mutating func timer(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .looking, .observing, .lookingWhileHoldingOff, .lookingInside, .lockedWhileObserving:
      return waitForStore(at: now)
    case .waiting:
      state = .observing
      return read()
    case .holdingOff(let until):
      state = .lookingWhileHoldingOff(until: until)
      return read()
    case .pausing: return lock(at: now)
    case .takingOver: return lookInside()
    default: return []
    }
  }

  /// What waited for the lock has gone (killed, or out of memory): once more, after a pause.
  mutating func lockAgain(at now: MonotonicInstant) -> [Effect] {
    lockTries += 1
    guard lockTries < InfrastructurePhase.lockAttempts, !rules.onlyWaits else {
      let text =
        "the process that waits for the infrastructure lock has ended \(lockTries) times: is it being killed?"
      return [.abandonLock] + finish(.storeUnusable(StoreFailure(text)))
    }
    state = .pausing
    // What it was to answer is not answered any more.
    looksDue = 0
    return [
      .abandonLock, .note("the process that waits for the infrastructure lock has ended: starting another"),
      .schedule(now + .seconds(1)),
    ]
  }

  // MARK: Is what is recorded done still so?

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
      case .run(let index): return [.step(index, .run(.check, found?.outputs ?? []))]
      case .step(let index, let effect): return [.step(index, effect)]
      case .failed(let index, let reason):
        suspects.insert(index)
        let note = Effect.step(
          index, .note("step \(steps[index].name) is recorded done, but \(reason)"))
        return [note] + verifyNext(at: now)
      case .passed(let index):
        suspects.remove(index)
        return verifyNext(at: now)
      case .finished: return verified(at: now)
      }
    }
  }

  private mutating func verifyNext(at now: MonotonicInstant) -> [Effect] {
    if isInterrupted { return holdsLock ? release(.interrupted) : finish(.interrupted) }
    return perform(verification.next(of: steps, at: now), at: now)
  }

  private mutating func verified(at now: MonotonicInstant) -> [Effect] {
    if holdsLock {
      if errand != nil || isReady(found), suspects.isEmpty {
        return release(.ready(ran: false, outputs: found?.outputs ?? []))
      }
      return claim(at: now)
    }
    if suspects.isEmpty { return finish(.ready(ran: false, outputs: found?.outputs ?? [])) }
    found = nil
    return lock(at: now)
  }
}

extension UInt64 {
  /// The difference, or 0 when it would be negative.
  func subtractingOrZero(_ other: UInt64) -> UInt64 { self > other ? self - other : 0 }
}
