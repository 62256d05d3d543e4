import Coordination
import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// What is recorded done and yet looked at again: `recheck: on_start`, and readiness that was declared by hand.
@Suite struct InfrastructureVerificationTests {
  static let steps: [PhaseStep] = [
    .named("a", check: true, recheck: true), .named("b", check: true), .named("c", recheck: true),
    .named("d", needs: ["a"], check: true, recheck: true),
  ]
  static let complete = ReleaseRecord.left(done: steps, completedAt: 9)

  private func rig(
    _ stored: ReleaseRecord?, failing: Set<String> = [], rules: InfrastructureRules = InfrastructureRules(),
    runID: String? = "r1"
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(Self.steps, runID: runID, stored: stored, rules: rules)
    rig.failing = failing
    rig.send(.begin)
    return rig
  }

  // MARK: recheck: on_start

  @Test func checksThatPassNeedNoLock() {
    let rig = rig(Self.complete)
    rig.answerAll()
    #expect(rig.trace == ["read", "check a", "check d", "finished: ready"])
    #expect(rig.stepTimers.isEmpty && rig.stored == Self.complete)
  }

  @Test func checksAreGivenTheOutputs() {
    var record = Self.complete
    record.entries[1].outputs = [StepOutput(key: "K", value: "v")]
    let rig = rig(record)
    rig.answerAll()
    #expect(rig.environment["check a"] == record.outputs)
    #expect(rig.outcome == .ready(ran: false, outputs: record.outputs))
  }

  @Test func onlyTheStepWhoseCheckFailsRunsAgain() {
    let rig = rig(Self.complete, failing: ["check a"])
    rig.answer(until: "lock")
    rig.answer()
    #expect(rig.answer() == ["check a"])
    #expect(rig.stored?.completedAt == 9)
    rig.answer()
    rig.failing = []
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "check a", "check d", "lock", "read", "check a", "skip b", "skip c", "skip d",
        "write 2:- [b c d]", "write 2:a [b c d]", "run a", "check a", "write 2:- [b c d a]",
        "write 2:- [b c d a] complete", "unlock", "finished: ready, ran",
      ])
    #expect(rig.notes.contains("step a is recorded done, but its check failed: exit code 1"))
  }

  @Test func whatAnotherFixedMeanwhileIsLeftAlone() {
    let rig = rig(Self.complete, failing: ["check a"])
    rig.answer(until: "lock")
    rig.failing = []
    rig.answerAll()
    #expect(rig.trace.suffix(5) == ["lock", "read", "check a", "unlock", "finished: ready"])
    #expect(rig.stored == Self.complete)
  }

  /// The holder is still looking into the same thing: the record says complete, and is not to be believed.
  @Test func readinessFromBeforeIsNotBelievedByWhomItFailed() {
    let rig = rig(Self.complete, failing: ["check a"])
    rig.answer(until: "lock")
    rig.send(.lockBusy(holder: "them"))
    rig.send(.timer, after: 1000)
    rig.due = [.read]
    #expect(rig.answer() == [])
    rig.stored = .left(attempt: 2, done: Self.steps, completedAt: 10)
    rig.send(.timer, after: 1000)
    #expect(rig.answer() == ["abandon", "finished: ready"])
  }

  /// A takeover looks at what the vanished one recorded.
  @Test func aTakeoverRechecksWhatIsRecordedDone() {
    let rig = rig(.left(at: "b", done: [Self.steps[0]]))
    rig.answerAll()
    #expect(rig.commands == ["check a", "run b", "check b", "run c", "run d", "check d"])
  }

  /// A step that is new does not hide the recheck of the others.
  @Test(arguments: [true, false]) func aNewStepComesWithTheRecheckOfTheOthers(passes: Bool) {
    let rig = rig(
      .left(done: [Self.steps[0], Self.steps[2], Self.steps[3]], completedAt: 9),
      failing: passes ? [] : ["check a"])
    rig.answer(until: "check d")
    rig.answer()
    rig.failing = []
    rig.answerAll()
    #expect(
      rig.commands == ["check a", "check d"] + (passes ? [] : ["run a", "check a"]) + ["run b", "check b"])
    #expect(rig.outcome == .ready(ran: true, outputs: []))
  }

  @Test func aRecheckThatTakesTooLongCountsAsFailed() {
    let rig = InfrastructureRig(
      [.named("a", check: true, timeout: .seconds(3), recheck: true)],
      stored: .left(
        done: [.named("a", check: true, timeout: .seconds(3), recheck: true)], completedAt: 9))
    rig.send(.begin)
    rig.answer()
    #expect(rig.stepTimers == [0: instant(3000)])
    #expect(rig.send(.stepTimer(step: 0), after: 3000) == ["stop a"])
    #expect(rig.end("a") == ["lock"])
    #expect(rig.stepTimers.isEmpty)
  }

  @Test func aDevelopmentIDRunsEverythingAnyway() {
    let rig = rig(Self.complete, runID: nil)
    rig.answerAll()
    #expect(rig.commands == ["run a", "check a", "run b", "check b", "run c", "run d", "check d"])
  }

  @Test func whoOnlyWaitsRechecksNothing() {
    let rig = rig(Self.complete, failing: ["check a"], rules: .with { $0.onlyWaits = true })
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: ready"])
  }

  // MARK: Interrupted, or the lock lost, in a check

  @Test func aStopEndsTheCheckFirst() {
    let rig = rig(Self.complete)
    rig.answer()
    #expect(rig.send(.interrupt) == ["stop a"])
    #expect(rig.end("a") == ["finished: interrupted"])
  }

  @Test func aStopUnderTheLockEndsTheCheckFirst() {
    let rig = rig(.left(at: "b", done: [Self.steps[0]]))
    rig.answer(until: "check a")
    #expect(rig.send(.interrupt) == ["stop a"])
    #expect(rig.end("a") == ["unlock"])
    #expect(rig.answer() == ["finished: interrupted"])
  }

  @Test func aLockLostInACheckKillsIt() {
    let rig = rig(.left(at: "b", done: [Self.steps[0]]))
    rig.answer(until: "check a")
    #expect(rig.send(.lockLost) == ["kill a"])
    #expect(rig.end("a") == ["finished: lock lost"])
    #expect(rig.stepTimers.isEmpty && rig.problems.isEmpty)
  }

  /// Outside of the lock there is none to lose.
  @Test func aHelperThatEndsDuringACheckFromOutsideIsNoMatter() {
    let rig = rig(Self.complete)
    rig.answer()
    #expect(rig.send(.lockLost) == [])
    rig.answerAll()
    #expect(rig.trace.last == "finished: ready")
  }

  @Test(arguments: [true, false]) func aBrokenStoreEndsTheCheckFirst(isLocked: Bool) {
    let rig = rig(isLocked ? .left(at: "b", done: [Self.steps[0]]) : Self.complete)
    rig.answer(until: "check a")
    #expect(rig.send(.storeFailed(StoreFailure("disk"))) == ["kill a"])
    #expect(rig.end("a") == (isLocked ? ["unlock"] : ["finished: unusable: disk"]))
    rig.answerAll()
    #expect(rig.trace.last == "finished: unusable: disk" && rig.problems.isEmpty)
  }

  // MARK: Declared by hand

  @Test func aDeclarationIsCheckedAndThenRecorded() {
    let rig = rig(.left(completedAt: 9, declaredBy: "ops"))
    rig.answerAll()
    #expect(rig.commands == ["check a", "check b", "check d"])
    #expect(rig.trace.filter { $0.hasPrefix("write") }.first == "write 2:- [a b c d]")
    #expect(rig.stored?.declaredBy == nil && rig.stored?.completedAt == 1000)
    #expect(Self.steps.allSatisfy { rig.stored?.isDone($0.name, hash: $0.hash) == true })
    #expect(
      rig.notes.contains(
        "ops declared run ID r1 ready: recording the steps whose checks do not say otherwise"))
  }

  @Test func whatADeclarationDoesNotCoverRuns() {
    let rig = rig(.left(completedAt: 9, declaredBy: "ops"), failing: ["check b"])
    rig.answer(until: "check d")
    rig.answer()
    rig.failing = []
    rig.answerAll()
    #expect(rig.commands == ["check a", "check b", "check d", "run b", "check b"])
    #expect(rig.outcome == .ready(ran: true, outputs: []))
    #expect(rig.stored?.entries.map(\.step) == ["a", "c", "d", "b"])
  }

  @Test func aDeclarationOverAnOlderLedgerLeavesOneRecordAStep() {
    let old = PhaseStep.named("b", version: 0)
    let rig = rig(.left(done: [old, Self.steps[0]], completedAt: 9, declaredBy: "ops"))
    rig.answerAll()
    #expect(rig.stored?.entries.map(\.step).sorted() == ["a", "b", "c", "d"])
  }
}
