import Coordination
import EventLoop
import Testing

@testable import Phases

/// The infrastructure phase as scripts: what is said to it, and what it then wants, in words.
@Suite struct InfrastructurePhaseTests {
  let migrate = PhaseStep.named("migrate")
  let warm = PhaseStep.named("warm")

  @Test func runsStepsInOrderWithClaimAndRecordBetweenThem() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "lock", "read", "write 1:- []", "write 1:migrate []", "run migrate", "write 1:- [migrate]",
        "write 1:warm [migrate]", "run warm", "write 1:- [migrate warm]", "write 1:- [migrate warm] complete",
        "unlock", "finished: ready, ran",
      ])
    #expect(rig.timer == nil && rig.heartbeat == nil)
  }

  @Test func withoutStepsNothingIsTouched() {
    let rig = InfrastructureRig([])
    #expect(rig.send(.begin) == ["finished: ready"])
  }

  @Test func readyBeforeTheLockNeedsNoLock() {
    let rig = InfrastructureRig(stored: .left(done: [migrate, warm], completedAt: 9))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: ready"])
  }

  @Test func aBeginThatComesTwiceIsOne() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    #expect(rig.send(.begin) == [])
  }

  // MARK: Waiting

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

  @Test func aWaiterTakesOverWhereTheHolderDied() {
    let rig = InfrastructureRig(stored: .left(at: "warm", done: [migrate]))
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.answerAll()
    #expect(
      rig.trace.dropFirst(3) == [
        "read", "write 2:- [migrate]", "skip migrate", "write 2:warm [migrate]", "run warm",
        "write 2:- [migrate warm]", "write 2:- [migrate warm] complete", "unlock", "finished: ready, ran",
      ])
    #expect(rig.notes.contains("taking over from them: 1 of 2 steps are recorded done"))
  }

  @Test func aWaiterFindsEverythingDoneUnderTheLock() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.stored = .left(done: [migrate, warm], completedAt: 50)
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: ready"])
  }

  /// The answer of a look from outside may come after the lock, and tells of the time before it: what the holder
  /// recorded last is not in it.
  @Test func aLookFromBeforeTheLockDecidesNothingUnderIt() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    let old = ReleaseRecord.left(at: "migrate")
    rig.stored = .left(done: [migrate, warm], completedAt: 50)
    rig.send(.timer, after: 1000)
    rig.due = []
    let atLock = rig.send(.lockHeld)
    let afterOldLook = rig.send(.record(old))
    #expect(atLock + afterOldLook == ["read"])
    #expect(rig.answer() == ["unlock"])
    #expect(rig.answer() == ["finished: ready"])
  }

  @Test func anOutsideLookThatFailsAfterTheLockIsForgotten() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.send(.timer, after: 1000)
    rig.due = []
    let atLock = rig.send(.lockHeld)
    #expect(atLock + rig.send(.storeFailed("no answer")) == ["read"])
    rig.answerAll()
    #expect(rig.trace.last == "finished: ready, ran")
  }

  @Test func aFailureOfTheHolderEndsTheWaiter() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.stored = failed(attempt: 1, at: 2000)
    rig.send(.timer, after: 1000)
    rig.takeDue()
    #expect(rig.answer() == ["abandon", "finished: migrate failed: exit code 1"])
  }

  /// The lock passes on within milliseconds of the failure, long before the waiter's next look.
  @Test func aFailureOfTheHolderEndsTheWaiterThatGetsItsLock() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.stored = failed(attempt: 1, at: 2000)
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: migrate failed: exit code 1"])
  }

  @Test(arguments: [UInt64(500), 2000])
  func aFailureFromBeforeIsTriedAgain(at time: UInt64) {
    let rig = InfrastructureRig(stored: failed(attempt: 1, at: time))
    rig.send(.begin)
    rig.answerAll()
    // Seen before the lock, it is old whatever the clocks say.
    #expect(rig.trace.last == "finished: ready, ran")
    #expect(rig.stored?.failure == nil)
    #expect(rig.stored?.claim?.attempt == 2)
  }

  private func failed(attempt: Int, at time: UInt64) -> ReleaseRecord {
    .left(
      attempt: attempt, at: "migrate",
      failure: ReleaseRecord.Failure(
        attempt: attempt, step: "migrate", reason: "exit code 1", failedAt: time))
  }

  @Test func timeoutCountsFromTheHoldersLastHeartbeat() {
    let rig = InfrastructureRig(timeout: .seconds(10))
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
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
  }

  @Test func maxWaitBoundsAWaiterWhateverTheHolderDoes() {
    let rig = InfrastructureRig(timeout: .seconds(10), maximumWait: .seconds(30))
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    for second in 1...30 {
      rig.stored = .left(at: "migrate", heartbeat: UInt64(second))
      #expect(!rig.trace.contains("finished: timed out"))
      poll(rig)
    }
    #expect(rig.trace.suffix(2) == ["abandon", "finished: timed out"])
  }

  @Test func looksThatFailDoNotStopTheClock() {
    let rig = InfrastructureRig(timeout: .seconds(10))
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    for _ in 1...9 {
      rig.send(.timer, after: 1000)
      rig.due.removeAll { $0 == .read }
      rig.send(.storeFailed("disk error"))
      #expect(rig.timer != nil)
    }
    rig.send(.timer, after: 1000)
    rig.due.removeAll { $0 == .read }
    #expect(rig.send(.storeFailed("disk error")) == ["abandon", "finished: timed out"])
    #expect(rig.notes.contains("disk error"))
  }

  @Test func withoutLimitsAWaiterWaits() {
    let rig = InfrastructureRig(timeout: nil)
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: ""))
    for _ in 1...2000 { poll(rig) }
    #expect(rig.timer != nil)
    #expect(rig.trace.filter { $0 == "wait for another process" }.count == 400 + 1)
  }

  private func poll(_ rig: InfrastructureRig) {
    rig.send(.timer, after: 1000)
    rig.due.removeAll { $0 == .read }
    rig.send(.record(rig.stored))
  }

  // MARK: What is recorded

  @Test func aNewStepRunsAloneUnderACompleteRecord() {
    let extra = PhaseStep.named("extra")
    let rig = InfrastructureRig(
      [migrate, extra, warm], stored: .left(done: [migrate, warm], completedAt: 9))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.filter { $0.hasPrefix("run") } == ["run extra"])
    #expect(rig.trace.filter { $0.hasPrefix("skip") } == ["skip migrate", "skip warm"])
    #expect(rig.stored?.completedAt == 1000)
  }

  @Test func aChangedStepRunsAloneUnderACompleteRecord() {
    let changed = PhaseStep.named("migrate", version: 2)
    let rig = InfrastructureRig([changed, warm], stored: .left(done: [migrate, warm], completedAt: 9))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.filter { $0.hasPrefix("run") } == ["run migrate"])
    #expect(rig.stored?.entries.map(\.step) == ["warm", "migrate"])
    #expect(rig.stored?.isDone("migrate", hash: changed.hash) == true)
  }

  /// Readiness is withdrawn before the new step starts: a crash in it must not leave a record that says complete.
  @Test func readinessIsWithdrawnWhileANewStepRuns() {
    let rig = InfrastructureRig(
      [migrate, .named("extra")], stored: .left(done: [migrate], completedAt: 9))
    rig.send(.begin)
    #expect(rig.answer(until: "run extra"))
    #expect(rig.stored?.completedAt == nil)
  }

  @Test(arguments: [(UInt64(999), false), (1000, true), (5000, true)])
  func underADevelopmentIDReadinessCountsWhenSetSinceWeBegan(at time: UInt64, counts: Bool) {
    let rig = InfrastructureRig(runID: nil)
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.stored = .left(done: [migrate, warm], completedAt: time)
    rig.answerAll()
    #expect(rig.trace.contains("run migrate") == !counts)
    #expect(rig.trace.last == (counts ? "finished: ready" : "finished: ready, ran"))
  }

  @Test func underADevelopmentIDEveryStartRunsEverything() {
    let rig = InfrastructureRig(runID: nil, stored: .left(done: [migrate, warm], completedAt: 9))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.filter { $0.hasPrefix("run") } == ["run migrate", "run warm"])
  }

  // MARK: Failure and interruption

  @Test func aFailureIsRecordedBeforeTheLockGoes() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    rig.takeDue()
    #expect(rig.send(.commandEnded(.failed("exit code 3"))) == ["write 1:migrate [] failed migrate"])
    #expect(rig.answer() == ["unlock"])
    #expect(rig.answer() == ["finished: migrate failed: exit code 3"])
    #expect(rig.stored?.failure?.failedAt == 1000)
  }

  @Test func afterAFailureTheNextStartResumes() {
    let failure = ReleaseRecord.Failure(attempt: 1, step: "warm", reason: "exit code 1", failedAt: 3)
    let steps = [migrate, PhaseStep.named("warm", failsWhenInterrupted: true)]
    let rig = InfrastructureRig(
      steps, stored: .left(at: "warm", done: [migrate], failure: failure))
    rig.send(.begin)
    rig.answerAll()
    // A recorded failure is no interruption, so on_interrupted: fail says nothing here.
    #expect(rig.trace.filter { $0.hasPrefix("run") } == ["run warm"])
    #expect(rig.trace.last == "finished: ready, ran")
  }

  @Test(arguments: [true, false])
  func onInterruptedFail(says: Bool) {
    let steps = [migrate, PhaseStep.named("warm", failsWhenInterrupted: says)]
    let rig = InfrastructureRig(steps, stored: .left(at: "warm", done: [migrate]))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.contains("run warm") == !says)
    #expect(rig.trace.last?.hasPrefix("finished: warm failed: it was interrupted on them") == says)
    #expect(rig.trace.suffix(2).first == "unlock")
  }

  @Test func onInterruptedFailSparesAStepThatNeverBegan() {
    let steps = [PhaseStep.named("migrate", failsWhenInterrupted: true)]
    let rig = InfrastructureRig(steps)
    rig.send(.begin)
    rig.answer(until: "write 1:migrate []")
    rig.send(.interrupt)
    rig.answerAll()
    #expect(rig.trace.last == "finished: interrupted")
    let next = InfrastructureRig(steps, stored: rig.stored)
    next.send(.begin)
    next.answerAll()
    #expect(next.trace.last == "finished: ready, ran")
  }

  @Test func heartbeatsRenewTheClaimWhileAStepRuns() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    #expect(rig.heartbeat == instant(5000))
    rig.wall.now = 6000
    #expect(rig.send(.heartbeat, after: 5000) == ["write 1:migrate []"])
    #expect(rig.heartbeat == instant(10000))
    // The step ends while that write is under way: the next step waits for both.
    #expect(rig.send(.commandEnded(.succeeded)) == ["write 1:- [migrate]"])
    rig.due.removeFirst()
    #expect(rig.send(.written) == [])
    #expect(rig.send(.written) == ["write 1:warm [migrate]"])
  }
}
