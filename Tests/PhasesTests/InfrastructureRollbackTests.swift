import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// What is taken back after a failure or a stop, in which order, and what is recorded of it first.
@Suite struct InfrastructureRollbackTests {
  static let chain: [PhaseStep] = [
    .named("a", rollback: true), .named("b", needs: ["a"]), .named("c", needs: ["a"], rollback: true),
    .named("d", needs: ["c"]),
  ]

  private func failing(
    _ word: String = "run d", _ steps: [PhaseStep] = chain, stored: ReleaseRecord? = nil,
    rules: InfrastructureRules = .with { $0.retryAfter = nil }
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(steps, stored: stored, rules: rules)
    rig.failing = [word]
    rig.send(.begin)
    return rig
  }

  @Test func completedStepsAreTakenBackInReverseAndTheirRecordsBeforeThat() {
    let rig = failing()
    rig.answer(until: "run d")
    let before = rig.trace.count
    rig.answerAll()
    #expect(
      Array(rig.trace.dropFirst(before)) == [
        "write 1:- [a b]", "rollback c", "write 1:- []", "rollback a", "write 1:- [] failed d", "unlock",
        "finished: d failed: exit code 1",
      ])
    #expect(
      rig.ends == ["a done", "b done", "c done", "d failed: exit code 1", "c undone", "a undone"])
    #expect(rig.problems.isEmpty)
  }

  @Test func theOrderIsThatOfCompletion() {
    let steps: [PhaseStep] = [
      .named("a", rollback: true), .named("b", rollback: true), .named("c", needs: ["a", "b"]),
    ]
    let rig = failing("run c", steps, rules: .with { $0.parallelism = 2 })
    rig.answer(until: "run b")
    rig.end("b")
    rig.answerAll()
    #expect(rig.commands == ["run a", "run b", "run c", "rollback a", "rollback b"])
  }

  /// One write may record two steps, when the one before it failed: both are known when it comes to taking back.
  @Test func whatOneWriteRecordedTogetherIsTakenBackTogether() {
    let steps: [PhaseStep] = [
      .named("a", rollback: true), .named("b", rollback: true), .named("c"),
    ]
    let rig = failing("run c", steps, rules: .with { $0.parallelism = 3 })
    rig.answer(until: "run c")
    rig.end("a")
    rig.end("b")
    rig.end("c", .failed("exit code 1"))
    rig.refuse()
    #expect(rig.play())
    #expect(rig.commands.suffix(2) == ["rollback b", "rollback a"])
    #expect(rig.stored?.entries.isEmpty == true && rig.stored?.failure?.step == "c")
  }

  @Test func aRollbackThatFailsDoesNotKeepTheOthersFromTheirs() {
    let rig = failing()
    rig.failing.insert("rollback c")
    rig.answerAll()
    #expect(rig.commands.suffix(2) == ["rollback c", "rollback a"])
    #expect(rig.ends.suffix(2) == ["c not undone: exit code 1", "a undone"])
    #expect(rig.stored?.entries.isEmpty == true)
    #expect(rig.outcome == .failed(step: "d", reason: "exit code 1"))
  }

  @Test func aRollbackThatTakesTooLongIsStopped() {
    let steps: [PhaseStep] = [
      .named("a", rollback: true, timeout: .seconds(3)), .named("b", needs: ["a"]),
    ]
    let rig = failing("run b", steps)
    rig.answer(until: "rollback a")
    #expect(rig.stepTimers == [0: instant(3000)])
    #expect(rig.send(.stepTimer(step: 0), after: 3000) == ["stop a"])
    rig.end("a")
    #expect(rig.ends.last == "a not undone: its rollback did not end within 3s")
    rig.answerAll()
    #expect(rig.outcome == .failed(step: "b", reason: "exit code 1"))
  }

  /// Should the node vanish in the middle of a rollback, the next one runs the step again, and all that need it.
  @Test func whoTakesOverFromARollbackRunsTheStepAgain() {
    let rig = failing()
    rig.answer(until: "rollback c")
    let next = InfrastructureRig(Self.chain, stored: rig.stored)
    next.leftBy = "us"
    next.send(.begin)
    #expect(next.play())
    #expect(next.commands == ["run c", "run d"])
  }

  /// Earlier tries' steps are not this one's to take back, nor are those that need what is taken back left recorded.
  @Test func onlyThisTrysStepsAreTakenBack() {
    let steps: [PhaseStep] = [
      .named("a", rollback: true), .named("b", rollback: true), .named("c", needs: ["b"]),
      .named("late", needs: ["c"]), .named("d", needs: ["c"]),
    ]
    let rig = failing("run d", steps, stored: .left(done: [steps[0], steps[2], steps[3]]))
    rig.answerAll()
    #expect(rig.commands == ["run b", "run d", "rollback b"])
    #expect(rig.stored?.entries.map(\.step) == ["a"])
  }

  @Test(arguments: [true, false]) func theFailedStepsOwnRollbackIsForThoseThatSaySo(says: Bool) {
    let steps: [PhaseStep] = [
      .named("a", rollback: true), .named("b", rollback: true, rollbackFailed: says),
    ]
    let rig = failing("run b", steps)
    rig.answerAll()
    #expect(rig.commands == ["run a", "run b"] + (says ? ["rollback b"] : []) + ["rollback a"])
  }

  /// A rollback often needs what its step made known.
  @Test func aRollbackIsGivenItsStepsOutputs() {
    let rig = failing()
    let made = [StepOutput(key: "BACKUP", value: "/b/1")]
    let more = [StepOutput(key: "TABLE", value: "t")]
    rig.outputs = ["a": made, "c": more]
    rig.answerAll()
    #expect(rig.environment["rollback c"] == made + more)
    #expect(rig.environment["rollback a"] == made)
  }

  // MARK: A requested stop

  @Test(arguments: [true, false]) func aStopTakesBackWhatSaysSo(says: Bool) {
    let steps: [PhaseStep] = [
      .named("a", rollback: true, rollbackOnStop: says), .named("b", needs: ["a"], rollback: true),
      .named("c", needs: ["b"]),
    ]
    let rig = InfrastructureRig(steps)
    rig.send(.begin)
    rig.answer(until: "run c")
    #expect(rig.send(.interrupt) == ["stop c"])
    rig.end("c")
    rig.answerAll()
    #expect(rig.commands.dropFirst(3) == (says ? ["rollback a"] : []))
    #expect(rig.stored?.entries.map(\.step) == (says ? [] : ["a", "b"]))
    #expect(rig.outcome == .interrupted && rig.stored?.failure == nil)
  }

  @Test func aStopAfterAFailureTakesBackOnlyWhatSaysSo() {
    let steps: [PhaseStep] = [
      .named("a", rollback: true, rollbackOnStop: true), .named("b", rollback: true), .named("c"),
      .named("d"),
    ]
    let rig = failing("run c", steps, rules: .with { $0.parallelism = 2 })
    rig.answer(until: "run d")
    rig.end("c", .failed("exit code 1"))
    #expect(rig.send(.interrupt) == ["stop d"])
    rig.end("d")
    rig.answerAll()
    #expect(rig.commands.last == "rollback a")
    #expect(rig.outcome == .failed(step: "c", reason: "exit code 1"))
  }

  @Test(arguments: [true, false]) func aStopWhileTakingBackLeavesOutTheRest(says: Bool) {
    let steps: [PhaseStep] = [
      .named("a", rollback: true, rollbackOnStop: says), .named("b", rollback: true), .named("c"),
    ]
    let rig = failing("run c", steps)
    rig.answer(until: "rollback b")
    #expect(rig.send(.interrupt) == [])
    rig.answerAll()
    #expect(rig.commands.last == (says ? "rollback a" : "rollback b"))
    #expect(rig.notes.contains("not rolled back, since we stop: a") == !says)
    #expect(rig.outcome == .failed(step: "c", reason: "exit code 1") && rig.problems.isEmpty)
  }

  // MARK: A lost lock

  @Test func afterALostLockNothingIsTakenBack() {
    let steps: [PhaseStep] = [.named("a", rollback: true, rollbackOnStop: true), .named("b", needs: ["a"])]
    let rig = InfrastructureRig(steps)
    rig.send(.begin)
    rig.answer(until: "run b")
    #expect(rig.send(.lockLost) == ["kill b"])
    #expect(rig.end("b", .failed("killed by KILL")) == ["finished: lock lost"])
  }

  @Test func aLockLostWhileTakingBackEndsIt() {
    let rig = failing()
    rig.answer(until: "rollback c")
    #expect(rig.send(.lockLost) == ["kill c"])
    #expect(rig.end("c") == ["finished: lock lost"])
    #expect(rig.problems.isEmpty)
  }

  // MARK: A step that fails beside others

  @Test(arguments: [true, false]) func whatRunsEndsOrIsStopped(stops: Bool) {
    let steps: [PhaseStep] = [
      .named("a"), .named("b", rollback: true), .named("c", needs: ["b"]), .named("d"),
    ]
    let rig = InfrastructureRig(steps, rules: .with { ($0.parallelism, $0.stopsOnFailure) = (2, stops) })
    rig.send(.begin)
    rig.answer(until: "run b")
    #expect(rig.end("a", .failed("exit code 1")) == (stops ? ["stop b"] : []))
    rig.end("b")
    rig.answerAll()
    #expect(rig.commands.dropFirst(2) == (stops ? [] : ["rollback b"]))
    #expect(
      rig.ends == [
        "a failed: exit code 1", "c not started: step a failed",
        "d not started: step a failed", stops ? "b interrupted" : "b done",
      ] + (stops ? [] : ["b undone"]))
    #expect(rig.outcome == .failed(step: "a", reason: "exit code 1"))
  }
}
