import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// Before the lock: waiting for it, for another node, for the time of the next try.
@Suite struct InfrastructureWaitingTests {
  let migrate = PhaseStep.named("migrate")
  let warm = PhaseStep.named("warm")

  private func waiter(
    _ rules: InfrastructureRules = InfrastructureRules(), stored: ReleaseRecord? = nil
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(stored: stored, rules: rules)
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    return rig
  }

  private func poll(_ rig: InfrastructureRig) {
    rig.send(.timer, after: 1000)
    rig.due.removeAll { $0 == .read }
    rig.send(.record(rig.stored))
  }

  @Test func aWaiterIsReadyAsSoonAsItSeesReadiness() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer()
    #expect(rig.send(.lockBusy(holder: "them")) == ["wait for them"])
    #expect(rig.timer == instant(1000))
    rig.stored = .left(at: "migrate", heartbeat: 2)
    #expect(rig.send(.timer, after: 1000) == ["read"])
    rig.due.removeFirst()
    #expect(rig.answer() == [])
    rig.stored = .left(done: [migrate, warm], completedAt: 50)
    rig.due = []
    #expect(rig.send(.timer, after: 1000) == ["read"])
    #expect(rig.answer() == ["abandon", "finished: ready"])
  }

  /// The record of its release is another; only the lock file tells that it works.
  @Test func aHolderOfAnotherReleaseThatGivesSignsOfLifeIsWaitedFor() {
    let rig = waiter(.with { $0.timeout = .seconds(12) })
    for second in 1...60 {
      if second.isMultiple(of: 5) { rig.send(.lockBusy(holder: "them")) }
      poll(rig)
    }
    #expect(rig.outcome == nil)
    for _ in 1...13 { poll(rig) }
    #expect(
      rig.outcome
        == .timedOut(
          "waited 1m11s for the infrastructure lock of run ID r1 (file backend), 12s of it without a sign of life from "
            + "its holder (them)"))
  }

  @Test func whatWaitsForTheLockAndIsStartedAgainIsNoSignOfLife() {
    let rig = waiter(.with { $0.timeout = .seconds(12) })
    for second in 1...13 {
      if second.isMultiple(of: 4) {
        rig.send(.lockLost)
        rig.send(.timer, after: 1000)
        rig.due = []
        rig.send(.lockBusy(holder: "them"))
      } else {
        poll(rig)
      }
    }
    guard case .timedOut = rig.outcome else {
      Issue.record("\(String(describing: rig.outcome))")
      return
    }
  }

  @Test func aWaiterTakesOverWhereTheHolderDied() {
    let rig = waiter(stored: .left(at: "warm", done: [migrate]))
    rig.answerAll()
    #expect(
      rig.trace.dropFirst(3) == [
        "read", "skip migrate", "write 2:- [migrate]", "write 2:warm [migrate]", "run warm",
        "write 2:- [migrate warm]", "write 2:- [migrate warm] complete", "unlock", "finished: ready, ran",
      ])
    #expect(rig.notes.contains("taking over from them: 1 of 2 steps are recorded done"))
  }

  @Test func aWaiterFindsEverythingDoneUnderTheLock() {
    let rig = waiter()
    rig.stored = .left(done: [migrate, warm], completedAt: 50)
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: ready"])
  }

  /// The answer of a look from outside may come after the lock, and tells of the time before it: what the holder
  /// recorded last is not in it.
  @Test(arguments: [Duration.zero, .seconds(3)])
  func aLookFromBeforeTheLockDecidesNothingUnderIt(takeoverDelay: Duration) {
    let rig = waiter(.with { $0.takeoverDelay = takeoverDelay })
    let old = ReleaseRecord.left(at: "migrate")
    rig.stored = .left(done: [migrate, warm], completedAt: 50)
    rig.send(.timer, after: 1000)
    rig.due = []
    var words = rig.send(.lockHeld(leftBy: "them"))
    if takeoverDelay > .zero { words += rig.send(.timer, after: 3000) }
    words += rig.send(.record(old))
    #expect(words == ["read"])
    #expect(rig.answer() == ["unlock"])
    #expect(rig.answer() == ["finished: ready"])
  }

  @Test func anOutsideLookThatFailsAfterTheLockIsForgotten() {
    let rig = waiter()
    rig.send(.timer, after: 1000)
    rig.due = []
    let atLock = rig.send(.lockHeld(leftBy: ""))
    #expect(atLock + rig.send(.storeFailed(StoreFailure("no answer"))) == ["read"])
    rig.answerAll()
    #expect(rig.trace.last == "finished: ready, ran")
  }

  @Test func aFailureOfTheHolderEndsTheWaiter() {
    let rig = waiter()
    rig.stored = .failed(at: 2000)
    rig.send(.timer, after: 1000)
    rig.takeDue()
    #expect(rig.answer() == ["abandon", "finished: migrate failed: exit code 1"])
  }

  /// The lock passes on within milliseconds of the failure, long before the waiter's next look.
  @Test func aFailureOfTheHolderEndsTheWaiterThatGetsItsLock() {
    let rig = waiter()
    rig.stored = .failed(at: 2000)
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: migrate failed: exit code 1"])
  }

  /// Clocks differ between nodes; the number of the try does not.
  @Test(arguments: [UInt64(1), 900, 5000])
  func failuresAreToldApartByTheirTry(at time: UInt64) {
    let minute: UInt64 = 60_000_000_000
    let rig = InfrastructureRig(stored: .failed(attempt: 3, at: 900))
    rig.wall.now = 10 * minute
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    // The same failure, seen again, whatever its time says now.
    rig.stored = .failed(attempt: 3, at: time)
    poll(rig)
    #expect(rig.outcome == nil)
    rig.stored = .failed(attempt: 4, at: time)
    poll(rig)
    #expect(rig.outcome == .failed(step: "migrate", reason: "exit code 1"))
  }

  // MARK: How long

  @Test func timeoutCountsFromTheHoldersLastHeartbeat() {
    let rig = waiter(.with { $0.timeout = .seconds(10) })
    var heartbeat: UInt64 = 1
    // A minute of a holder that works, in steps of a second.
    for second in 1...60 {
      if second.isMultiple(of: 5) { heartbeat += 1 }
      rig.stored = .left(at: "migrate", heartbeat: heartbeat)
      poll(rig)
    }
    #expect(!rig.trace.contains("finished: timed out"))
    #expect(rig.trace.contains("wait for them, at step migrate"))
    for _ in 1...9 { poll(rig) }
    #expect(!rig.trace.contains("finished: timed out"))
    poll(rig)
    #expect(rig.trace.suffix(2) == ["abandon", "finished: timed out"])
    #expect(
      rig.outcome
        == .timedOut(
          "waited 1m10s for the infrastructure lock of run ID r1 (file backend), 10s of it without a sign of life from "
            + "its holder (them, at step migrate)"))
  }

  /// Between two heartbeats nothing is to be seen of a living holder: a timeout that is shorter must not count that.
  @Test(arguments: [(0, true), (9_999, true), (10_000, false), (60_000, false)])
  func aYoungHeartbeatAloneTellsOfALivingHolder(age: UInt64, isLively: Bool) {
    let written: UInt64 = 1_000_000_000_000
    let rig = waiter(.with { $0.timeout = .seconds(1) }, stored: .left(at: "migrate", heartbeat: written))
    rig.wall.now = written + age * 1_000_000
    for _ in 1...30 where rig.outcome == nil { poll(rig) }
    // From the first look, a second after the beginning.
    #expect(rig.milliseconds == (isLively ? 11_000 : 2_000))
  }

  @Test func maxWaitBoundsAWaiterWhateverTheHolderDoes() {
    let rig = waiter(.with { ($0.timeout, $0.maximumWait) = (.seconds(10), .seconds(30)) })
    for second in 1...30 {
      rig.stored = .left(at: "migrate", heartbeat: UInt64(second))
      #expect(!rig.trace.contains("finished: timed out"))
      poll(rig)
    }
    #expect(rig.trace.suffix(2) == ["abandon", "finished: timed out"])
    #expect(
      rig.outcome
        == .timedOut(
          "waited 30s (max_wait) for the infrastructure lock of run ID r1 (file backend), held by them, at step migrate"
        ))
  }

  @Test func looksThatFailDoNotStopTheClock() {
    let rig = waiter(.with { $0.timeout = .seconds(10) })
    for _ in 1...9 {
      rig.send(.timer, after: 1000)
      rig.due.removeAll { $0 == .read }
      rig.send(.storeFailed(StoreFailure("disk error")))
      #expect(rig.timer != nil)
    }
    rig.send(.timer, after: 1000)
    rig.due.removeAll { $0 == .read }
    #expect(
      rig.send(.storeFailed(StoreFailure("disk error"))) == ["abandon", "finished: timed out"])
    #expect(rig.notes.contains("disk error"))
  }

  @Test func withoutLimitsAWaiterWaits() {
    let rig = InfrastructureRig(rules: .with { $0.timeout = nil })
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: ""))
    for _ in 1...2000 { poll(rig) }
    #expect(rig.timer != nil)
    #expect(rig.trace.filter { $0 == "wait for another process" }.count == 400 + 1)
  }

  @Test func withoutTimeThereIsOneTry() {
    let rig = InfrastructureRig(rules: .with { $0.timeout = .zero })
    rig.send(.begin)
    rig.answer()
    #expect(rig.send(.lockBusy(holder: "them")) == ["abandon", "finished: timed out"])
    let free = InfrastructureRig(rules: .with { $0.timeout = .zero })
    free.send(.begin)
    free.answerAll()
    #expect(free.trace.last == "finished: ready, ran")
  }

  @Test func theTimerFollowsTheSoonerLimit() {
    let rig = waiter(.with { $0.timeout = .milliseconds(400) })
    #expect(rig.timer == instant(400))
    let other = waiter(.with { $0.maximumWait = .milliseconds(300) })
    #expect(other.timer == instant(300))
  }

  // MARK: A holder that vanished

  @Test func afterAHolderVanishedItsCommandHasTimeToEnd() {
    let rig = waiter(stored: .left(at: "migrate"))
    rig.due = []
    #expect(rig.send(.lockHeld(leftBy: "node 7")) == [])
    #expect(rig.timer == instant(3000))
    #expect(rig.notes.last?.hasPrefix("node 7 held the infrastructure lock and vanished: waiting 3s") == true)
    #expect(rig.send(.record(nil)) == [])
    #expect(rig.send(.timer, after: 3000) == ["read"])
    rig.answerAll()
    #expect(rig.trace.last == "finished: ready, ran")
  }

  @Test func aLockThatWasGivenBackNeedsNoPause() {
    let rig = waiter()
    rig.due = []
    #expect(rig.send(.lockHeld(leftBy: "")) == ["read"])
    let none = waiter(.with { $0.takeoverDelay = .zero })
    none.due = []
    #expect(none.send(.lockHeld(leftBy: "them")) == ["read"])
    #expect(none.timer == nil)
  }

  // MARK: The process that waits for the lock

  @Test(arguments: [true, false])
  func aWaiterWhoseHelperEndsAsksAgain(isLooking: Bool) {
    let rig = waiter()
    for number in 1...5 {
      if isLooking, number == 1 { rig.send(.timer, after: 1000) }
      let words = rig.send(.lockLost)
      if number == 5 {
        #expect(words == ["abandon", "finished: unusable: \(killed)"])
        return
      }
      #expect(words == ["abandon"])
      #expect(rig.due.isEmpty)
      // Whatever is late decides nothing.
      #expect(rig.send(.record(.failed())) == [])
      #expect(rig.send(.lockLost) == [])
      #expect(rig.send(.timer, after: 1000) == ["lock"])
    }
  }

  private var killed: String {
    "the process that waits for the infrastructure lock has ended 5 times: is it being killed?"
  }

  @Test func afterAnotherHelperTheWaiterGoesOn() {
    let rig = waiter()
    rig.send(.lockLost)
    rig.send(.timer, after: 1000)
    rig.stored = .left(done: [migrate, warm], completedAt: 50)
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: false, outputs: []))
  }

  /// A new helper finds the lock busy; that tells nothing new of its holder.
  @Test func aNewHelperDoesNotStopTheClock() {
    let rig = waiter(.with { $0.timeout = .seconds(10) })
    for _ in 1...3 {
      rig.send(.lockLost, after: 2000)
      rig.send(.timer, after: 1000)
      rig.send(.lockBusy(holder: "them"))
    }
    #expect(rig.outcome == nil)
    poll(rig)
    #expect(rig.trace.last == "finished: timed out")
  }

  // MARK: Only waiting

  private func onlyWaits(
    _ stored: ReleaseRecord?, runID: String? = "r1", timeout: Duration? = .seconds(10),
    maximum: Duration? = nil
  )
    -> InfrastructureRig
  {
    let rig = InfrastructureRig(
      runID: runID, stored: stored,
      rules: .with {
        ($0.onlyWaits, $0.timeout, $0.maximumWait, $0.place) = (true, timeout, maximum, "/state")
      })
    rig.send(.begin)
    rig.answer()
    return rig
  }

  static let onlyWaitingTexts: [(ReleaseRecord?, String)] = [
    (
      nil,
      "waited 10s for the infrastructure phase of run ID r1 to be complete (/state); nobody has begun it"
    ),
    (
      .failed(),
      "waited 10s for the infrastructure phase of run ID r1 to be complete (/state); the last try failed at step "
        + "migrate: exit code 1"
    ),
    (
      .left(at: "migrate"),
      "waited 10s for the infrastructure phase of run ID r1 to be complete (/state), 10s of it without a sign of life "
        + "from its holder (them, at step migrate)"
    ),
  ]

  @Test(arguments: onlyWaitingTexts)
  func whoOnlyWaitsSaysForWhatAndNeverLocks(stored: ReleaseRecord?, text: String) {
    let rig = onlyWaits(stored)
    for _ in 1...10 where rig.outcome == nil { poll(rig) }
    #expect(rig.outcome == .timedOut(text))
    #expect(!rig.trace.contains("lock"))
    #expect(rig.milliseconds == 10_000)
  }

  @Test func whoOnlyWaitsSeesProgressAndMaxWait() {
    let rig = onlyWaits(.left(at: "migrate"), maximum: .seconds(30))
    for second in 2...31 {
      #expect(rig.outcome == nil)
      rig.stored = .left(at: "migrate", heartbeat: UInt64(second))
      poll(rig)
    }
    #expect(
      rig.outcome
        == .timedOut(
          "waited 30s (max_wait) for the infrastructure phase of run ID r1 to be complete (/state); them, at step "
            + "migrate works on it"))
  }

  /// Of a development run ID only a start makes it ready; what is repeated under the old readiness goes on for ever.
  @Test func whoOnlyWaitsSeesNoProgressInRepetitions() {
    let rig = onlyWaits(.left(at: "warm", done: [migrate, warm], completedAt: 3), runID: nil)
    for second in 2...12 where rig.outcome == nil {
      rig.stored = .left(at: "warm", done: [migrate, warm], completedAt: 3, heartbeat: UInt64(second))
      poll(rig)
    }
    guard case .timedOut? = rig.outcome else {
      Issue.record("\(String(describing: rig.outcome))")
      return
    }
    #expect(rig.milliseconds == 10_000)
  }

  /// A word without a ledger is enough for who cannot look into it; so is one under other steps.
  @Test(arguments: [nil, "ops"] as [String?])
  func whoOnlyWaitsBelievesReadiness(declaredBy: String?) {
    let rig = onlyWaits(nil)
    rig.stored = .left(completedAt: 7, declaredBy: declaredBy)
    poll(rig)
    #expect(rig.outcome == .ready(ran: false, outputs: []))
  }

  @Test func whoOnlyWaitsFailsWithTheNextFailureAndNotWithTheLast() {
    let rig = onlyWaits(.failed(attempt: 1))
    poll(rig)
    #expect(rig.outcome == nil)
    rig.stored = .failed(attempt: 2)
    poll(rig)
    #expect(rig.outcome == .failed(step: "migrate", reason: "exit code 1"))
  }

  @Test func whoOnlyWaitsWithoutTimeLooksOnce() {
    #expect(onlyWaits(nil, timeout: .zero).trace == ["read", "abandon", "finished: timed out"])
    #expect(
      onlyWaits(.left(done: [migrate, warm], completedAt: 3), timeout: .zero).trace
        == ["read", "finished: ready"])
  }
}
