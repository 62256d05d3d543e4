import Coordination
import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// One step of a complete release is done again while the app runs: because its check failed, or because it is due.
@Suite struct InfrastructureErrandTests {
  private static let steps: [PhaseStep] = {
    var warm = PhaseStep.named("warm", needs: ["migrate"], check: true, rollback: true)
    warm.repeatsAfter = .seconds(100)
    return [.named("migrate", check: true), warm]
  }()

  private func rig(
    _ reason: Errand.Reason, stored: ReleaseRecord? = .left(done: steps, completedAt: 9),
    runID: String? = "r1", steps: [PhaseStep] = steps
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(
      steps, runID: runID, stored: stored, errand: Errand(step: 1, reason: reason))
    rig.wall.now = 50_000_000_000
    return rig
  }

  @Test(arguments: ["r1", nil])
  func aFailedCheckRunsThatStepAlone(runID: String?) {
    let rig = rig(.checkFailed, runID: runID)
    rig.failing = ["check warm"]
    rig.send(.begin)
    rig.answer(until: "check warm")
    rig.answer()
    #expect(rig.stored?.isDone("warm", hash: Self.steps[1].hash) == true, "until it is known to be missing")
    rig.failing = []
    rig.answerAll()
    // To those who wait under a development run ID readiness that was set anew would be that of a start.
    let kept = runID == nil ? " complete" : ""
    #expect(
      rig.trace == [
        "read", "lock", "read", "check warm", "write 2:- [migrate]\(kept)", "write 2:warm [migrate]\(kept)",
        "run warm", "check warm", "write 2:- [migrate warm]\(kept)", "write 2:- [migrate warm] complete",
        "unlock", "finished: ready, ran",
      ])
    #expect((rig.stored?.completedAt == 9) == (runID == nil))
    #expect(rig.ends == ["warm done"], "the others are not spoken of")
    #expect(rig.phase.ageOfRecord == .zero && rig.problems.isEmpty)
  }

  @Test func itIsLookedAtAgainUnderTheLock() {
    let rig = rig(.checkFailed)
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace == ["read", "lock", "read", "check warm", "unlock", "finished: ready"])
    #expect(rig.stored == .left(done: Self.steps, completedAt: 9))
  }

  @Test(arguments: [Errand.Reason.checkFailed, .due])
  func whoComesLaterFindsItDone(_ reason: Errand.Reason) {
    let rig = rig(reason, stored: .left(done: Self.steps, completedAt: 9))
    rig.wall.now = 200_000_000_000
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.stored?.entries[1].doneAt = 199_000_000_000
    rig.answer()
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: false, outputs: []) && !rig.trace.contains("run warm"))
    #expect(rig.phase.ageOfRecord == .seconds(1))
  }

  @Test func aStepThatCannotBeRepairedFailsTheRelease() {
    let rig = rig(.checkFailed)
    rig.failing = ["check warm", "run warm"]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.outcome == .failed(step: "warm", reason: "exit code 1"))
    #expect(rig.stored?.completedAt == nil && rig.stored?.failure?.step == "warm")
    #expect(rig.stored?.isDone("migrate", hash: Self.steps[0].hash) == true)
    #expect(!rig.trace.contains("rollback warm"))

    // Within the pause nobody tries it again; after it, and with success, the release is ready again.
    let next = self.rig(.checkFailed, stored: rig.stored)
    next.send(.begin)
    next.answerAll()
    #expect(
      next.outcome
        == .failed(
          step: "warm",
          reason: "exit code 1, 0s ago; not tried again within 10s (coordination.retry_after)"))
    #expect(next.trace.count == 2, "read and finished")
    let later = self.rig(.checkFailed, stored: rig.stored)
    later.wall.now = 61_000_000_000
    later.failing = ["check warm"]
    later.send(.begin)
    later.answer(until: "check warm")
    later.answer()
    later.failing = []
    later.answerAll()
    #expect(later.outcome == .ready(ran: true, outputs: []))
    #expect(later.stored?.completedAt != nil && later.stored?.failure == nil)
  }

  @Test func aReleaseThatIsNotCompleteIsNotMadeSo() {
    let rig = rig(.checkFailed, stored: nil, steps: [.named("migrate"), .named("warm", check: true)])
    rig.failing = ["check warm"]
    rig.send(.begin)
    rig.answer(until: "check warm")
    rig.answer()
    rig.failing = []
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: true, outputs: []))
    #expect(rig.stored?.completedAt == nil && rig.stored?.entries.map(\.step) == ["warm"])
  }

  @Test func whatItNeedsComesFirst() {
    let stored = ReleaseRecord.left(done: [Self.steps[1]])
    let rig = rig(.checkFailed, stored: stored)
    rig.failing = ["check warm"]
    rig.send(.begin)
    rig.answerAll()
    #expect(
      rig.outcome == .failed(step: "warm", reason: "it needs migrate, which is not done"))
    #expect(rig.stored == stored && !rig.trace.contains("run warm"))
  }

  @Test(arguments: [Errand.Reason.checkFailed, .due])
  func whatIsDoneWhenAStopComesStaysDone(_ reason: Errand.Reason) {
    var steps = Self.steps
    steps[1].rollsBackOnStop = true
    let rig = rig(reason, steps: steps)
    rig.wall.now = 200_000_000_000
    rig.failing = ["check warm"]
    rig.send(.begin)
    rig.answer(until: "run warm")
    rig.failing = []
    rig.end("warm", .succeeded())
    // Its check, after which only the record is still to be written.
    rig.end("warm", .succeeded())
    rig.send(.interrupt)
    rig.answerAll()
    #expect(!rig.trace.contains("rollback warm") && rig.problems.isEmpty)
    #expect(rig.stored?.completedAt != nil && rig.stored?.isDone("warm", hash: steps[1].hash) == true)
  }

  @Test func partsOfARepetitionAreNoneOfARepair() {
    var stored = ReleaseRecord.left(done: Self.steps, completedAt: 9)
    stored.parts = [ReleaseRecord.Part(step: "warm", hash: Self.steps[1].hash, name: "a")]
    let due = rig(.due, stored: stored)
    due.wall.now = 200_000_000_000
    due.send(.begin)
    due.answer(until: "run warm")
    #expect(due.environment["run warm"]?.last == StepOutput(key: "SUPERVISOR_DONE", value: "a"))

    let repair = rig(.checkFailed, stored: stored)
    repair.failing = ["check warm"]
    repair.send(.begin)
    repair.answer(until: "run warm")
    #expect(repair.environment["run warm"] == [] && repair.stored?.parts == [])
  }

  // MARK: every

  @Test func whatIsNotDueIsLeftAlone() {
    let rig = rig(.due)
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: ready"])
    #expect(rig.phase.ageOfRecord.map { $0 > .seconds(49) } == true)
  }

  @Test func whatIsDueIsNotRepeatedBeforeTheReleaseIsReady() {
    for stored in [nil, ReleaseRecord.left(done: Self.steps)] {
      let rig = rig(.due, stored: stored)
      rig.wall.now = 200_000_000_000
      rig.send(.begin)
      rig.answerAll()
      #expect(rig.trace == ["read", "finished: ready"])
    }
    // Or when it is not any more, once the lock is ours.
    let rig = rig(.due)
    rig.wall.now = 200_000_000_000
    rig.send(.begin)
    rig.answer(until: "lock")
    rig.stored?.completedAt = nil
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: ready"])
  }

  @Test func whatIsDueIsDoneAgainAndStaysDoneMeanwhile() {
    let rig = rig(.due)
    rig.wall.now = 200_000_000_000
    rig.send(.begin)
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "lock", "read", "write 2:- [migrate warm] complete", "write 2:warm [migrate warm] complete",
        "run warm", "check warm", "write 2:- [migrate warm] complete", "write 2:- [migrate warm] complete",
        "unlock", "finished: ready, ran",
      ])
    #expect(rig.stored?.completedAt == 9 && rig.stored?.entries.last?.doneAt == 200_000_000_000)
  }

  @Test func aFailedRepetitionChangesNothing() {
    let rig = rig(.due)
    rig.wall.now = 200_000_000_000
    rig.failing = ["run warm"]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.outcome == .failed(step: "warm", reason: "exit code 1"))
    #expect(rig.stored?.completedAt == 9 && rig.stored?.failure == nil)
    #expect(rig.stored?.isDone("warm", hash: Self.steps[1].hash) == true)
  }

  @Test func aRepetitionThatUndoesItselfIsNotDone() {
    var steps = Self.steps
    steps[1].rollsBackWhenFailed = true
    let rig = rig(.due, steps: steps)
    rig.wall.now = 200_000_000_000
    rig.failing = ["run warm"]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.contains("rollback warm"))
    #expect(rig.stored?.completedAt == nil && rig.stored?.isDone("warm", hash: steps[1].hash) == false)
  }

  @Test func aClockThatWasSetBackIsNoReasonNeverToRepeat() {
    var stored = ReleaseRecord.left(done: Self.steps, completedAt: 9)
    stored.entries[1].doneAt = 1_000_000_000_000_000
    let rig = rig(.due, stored: stored)
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: true, outputs: []))
  }

  @Test func aRepetitionThatWasInterruptedAndMayNotRunAgain() {
    var steps = Self.steps
    steps[1].failsWhenInterrupted = true
    var stored = ReleaseRecord.left(done: steps, completedAt: 9)
    stored.claim = ReleaseRecord.Claim(
      owner: "them", attempt: 1, startedAt: 1, heartbeat: 1,
      running: [ReleaseRecord.Running(step: "warm", startedAt: 1)])
    let rig = rig(.due, stored: stored, steps: steps)
    rig.wall.now = 200_000_000_000
    rig.send(.begin)
    rig.answerAll()
    guard case .failed("warm", let reason)? = rig.outcome else {
      Issue.record("\(String(describing: rig.outcome))")
      return
    }
    #expect(reason.hasPrefix("it was interrupted on them") && !rig.trace.contains("run warm"))
    #expect(rig.stored == stored)
  }

  // MARK: Faults

  @Test(arguments: [Errand.Reason.checkFailed, .due])
  func aLostLockKillsIt(_ reason: Errand.Reason) {
    let rig = rig(reason)
    rig.wall.now = 200_000_000_000
    rig.failing = ["check warm"]
    rig.send(.begin)
    rig.answer(until: "run warm")
    #expect(rig.send(.lockLost).contains("kill warm"))
    rig.end("warm", .failed("killed by KILL"))
    #expect(rig.outcome == .lockLost && rig.problems.isEmpty)
  }

  @Test(arguments: [Errand.Reason.checkFailed, .due], 0..<8)
  func aStopEndsItWhereverItIs(_ reason: Errand.Reason, answers: Int) {
    let rig = rig(reason)
    rig.wall.now = 200_000_000_000
    rig.failing = ["check warm"]
    rig.send(.begin)
    for _ in 0..<answers { rig.answer() }
    rig.failing = []
    rig.send(.interrupt)
    #expect(rig.play())
    #expect(rig.problems.isEmpty)
    #expect(rig.stored?.isDone("migrate", hash: Self.steps[0].hash) == true)
  }
}
