import Coordination
import EventLoop
import ReleaseRecords
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
    #expect(rig.timer == nil && rig.heartbeat == nil && rig.stepTimers.isEmpty)
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

  // MARK: What is recorded

  @Test func aNewStepRunsAloneUnderACompleteRecord() {
    let extra = PhaseStep.named("extra")
    let rig = InfrastructureRig(
      [migrate, extra, warm], stored: .left(done: [migrate, warm], completedAt: 9))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.commands == ["run extra"])
    #expect(rig.trace.filter { $0.hasPrefix("skip") } == ["skip migrate", "skip warm"])
    #expect(rig.stored?.completedAt == 1000)
  }

  @Test func aChangedStepRunsAloneUnderACompleteRecord() {
    let changed = PhaseStep.named("migrate", version: 2)
    let rig = InfrastructureRig([changed, warm], stored: .left(done: [migrate, warm], completedAt: 9))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.commands == ["run migrate"])
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

  /// What is there at the start is an older release's; what is set anew while we wait is this one's.
  @Test(arguments: [(UInt64(9), false), (10, true), (5000, true)])
  func underADevelopmentIDReadinessCountsWhenSetSinceWeBegan(at time: UInt64, counts: Bool) {
    let rig = InfrastructureRig(runID: nil, stored: .left(done: [migrate, warm], completedAt: 9))
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
    #expect(rig.commands == ["run migrate", "run warm"])
    #expect(rig.trace.last == "finished: ready, ran")
  }

  /// What nobody else ran is not recorded under the development ID's last release either.
  @Test func underADevelopmentIDTheOldLedgerIsDropped() {
    let rig = InfrastructureRig(runID: nil, stored: .left(at: "warm", done: [migrate]))
    rig.send(.begin)
    rig.answer(until: "run migrate")
    #expect(rig.stored?.entries.isEmpty == true)
    #expect(rig.stored?.claim?.attempt == 2)
  }

  // MARK: Outputs

  @Test func outputsAreGivenToLaterStepsAndInTheEnd() {
    let rig = InfrastructureRig()
    let given = [StepOutput(key: "VERSION", value: "7")]
    let last = [StepOutput(key: "WARM", value: "yes\nno")]
    rig.outputs = ["migrate": given, "warm": last]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.environment == ["run migrate": [], "run warm": given])
    #expect(rig.outcome == .ready(ran: true, outputs: given + last))
  }

  /// They are in the record, so they survive the node that made them.
  @Test func outputsAreTakenOver() throws {
    let given = [StepOutput(key: "VERSION", value: "7")]
    let first = InfrastructureRig()
    first.outputs = ["migrate": given]
    first.send(.begin)
    first.answer(until: "run warm")
    let bytes = try #require(first.stored).encoded()
    let second = InfrastructureRig(stored: try ReleaseRecord.decode(bytes, runID: "r1"))
    second.leftBy = "us"
    second.send(.begin)
    #expect(second.play())
    #expect(second.commands == ["run warm"])
    #expect(second.environment["run warm"] == given)
    #expect(second.outcome == .ready(ran: true, outputs: given))
    let third = InfrastructureRig(stored: second.stored)
    third.send(.begin)
    third.answerAll()
    #expect(third.outcome == .ready(ran: false, outputs: given))
  }

  @Test func aStepThatRunsAgainGivesOnlyItsNewOutputs() {
    let changed = PhaseStep.named("migrate", version: 2)
    var record = ReleaseRecord.left(done: [migrate], completedAt: 9)
    record.entries[0].outputs = [StepOutput(key: "OLD", value: "1")]
    let rig = InfrastructureRig([changed, warm], stored: record)
    rig.outputs = ["migrate": [StepOutput(key: "NEW", value: "2")]]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.environment == ["run migrate": [], "run warm": [StepOutput(key: "NEW", value: "2")]])
  }

  // MARK: Several at once

  @Test func independentStepsRunAtOnceAndEachIsRecorded() {
    let steps: [PhaseStep] = [.named("a"), .named("b"), .named("c", needs: ["a", "b"])]
    let rig = InfrastructureRig(steps, rules: .with { $0.parallelism = 2 })
    rig.send(.begin)
    rig.answer(until: "run b")
    #expect(rig.trace.suffix(3) == ["write 1:a+b []", "run a", "run b"])
    #expect(rig.end("b") == ["write 1:a [b]"])
    #expect(rig.answerWrite() == [])
    #expect(rig.end("a") == ["write 1:- [b a]"])
    #expect(rig.answerWrite() == ["write 1:c [b a]"])
    #expect(rig.answerWrite() == ["run c"])
    rig.answerAll()
    #expect(rig.trace.last == "finished: ready, ran" && rig.problems.isEmpty)
  }

  /// Two ends while one write is under way: nothing starts before the record of what it needs is durable.
  @Test func whatNeedsAStepWaitsForItsRecord() {
    let steps: [PhaseStep] = [.named("a"), .named("b"), .named("c", needs: ["b"])]
    let rig = InfrastructureRig(steps, rules: .with { $0.parallelism = 2 })
    rig.send(.begin)
    rig.answer(until: "run b")
    rig.end("a")
    rig.end("b")
    #expect(rig.answer() == [])
    #expect(rig.answer() == ["write 1:c [a b]"])
  }

  /// Settings refuse both; here they must not end in readiness.
  @Test(
    arguments: [
      [.named("a"), .named("b", needs: ["c"]), .named("c", needs: ["b"])],
      [.named("a"), .named("b", fatal: false)],
    ] as [[PhaseStep]]) func nothingIsCompleteWithoutEveryStep(steps: [PhaseStep])
  {
    let rig = InfrastructureRig(steps)
    rig.failing = ["run b"]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.outcome == .failed(step: "b", reason: "it was not done"))
    #expect(rig.stored?.completedAt == nil && rig.stored?.entries.map(\.step) == ["a"])
  }

  // MARK: Heartbeat

  @Test func heartbeatsRenewTheClaimWhileAStepRuns() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    #expect(rig.heartbeat == instant(5000))
    rig.wall.now = 6000
    #expect(rig.send(.heartbeat, after: 5000) == ["write 1:migrate []"])
    #expect(rig.heartbeat == instant(10000))
    // The step ends while that write is under way: the next step waits for both.
    #expect(rig.end("migrate") == ["write 1:- [migrate]"])
    rig.due.removeFirst()
    #expect(rig.send(.written) == [])
    #expect(rig.send(.written) == ["write 1:warm [migrate]"])
  }

  @Test func aHeartbeatSaysWhenAndTheClaimByWhenAStepMustBeOver() {
    let rig = InfrastructureRig([.named("migrate", timeout: .seconds(60))])
    rig.send(.begin)
    rig.answer(until: "run migrate")
    #expect(rig.stored?.claim?.running.first?.deadline == 60_000_001_000)
    rig.wall.now = 6000
    rig.send(.heartbeat, after: 5000)
    guard case .write(let record) = rig.due.last else {
      Issue.record("nothing is written")
      return
    }
    #expect(record.claim?.heartbeat == 6000)
  }

  /// While a write is not answered another one would only pile up.
  @Test func noHeartbeatOverAWriteThatHangs() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "write 1:migrate []")
    #expect(rig.send(.heartbeat, after: 5000) == [])
    #expect(rig.heartbeat == instant(10_000))
  }
}
