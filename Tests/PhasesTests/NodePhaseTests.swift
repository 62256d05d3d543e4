import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

@Suite struct NodePhaseTests {
  @Test func looksLocksLooksRunsMarksUnlocks() {
    let rig = NodeRig()
    rig.send(.begin([]))
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "lock", "read", "run static", "run fonts", "mark []", "unlock", "finished: ran",
      ])
    #expect(rig.timer == nil && rig.stepTimers.isEmpty)
  }

  @Test func withItsMarkerNothingIsLocked() {
    let rig = NodeRig(marker: Marker())
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: done"])
  }

  @Test func withoutStepsNothingIsTouched() {
    let rig = NodeRig([])
    #expect(rig.send(.begin([])) == ["finished: done"])
  }

  @Test func aMarkerThatCameWhileWaitingCounts() {
    let rig = NodeRig()
    rig.send(.begin([]))
    rig.answer()
    #expect(rig.send(.lockBusy(holder: "them")) == ["wait for them"])
    rig.marker = Marker()
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: done"])
  }

  @Test func aMarkerWithFailedStepsRetriesOnlyThose() {
    let rig = NodeRig(
      [.named("a", fatal: false), .named("b", fatal: false), .named("c", fatal: false)],
      marker: Marker(failedSteps: ["b", "gone"]))
    rig.send(.begin([]))
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "lock", "read", "skip a", "skip c", "run b", "mark []", "unlock", "finished: ran",
      ])
    #expect(rig.marker == Marker())
  }

  @Test func aMarkerWhoseFailedStepsAreGoneIsComplete() {
    let rig = NodeRig(marker: Marker(failedSteps: ["gone"]))
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: done"])
  }

  @Test func underADevelopmentIDMarkersSayNothing() {
    let rig = NodeRig(runID: nil, marker: Marker(failedSteps: ["fonts"]))
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.commands == ["run static", "run fonts"])
  }

  // MARK: Failure

  @Test(arguments: [false, true]) func aFailure(isFatal: Bool) {
    let rig = NodeRig([.named("static", fatal: isFatal), .named("fonts", fatal: false)])
    rig.failing = ["run static"]
    rig.send(.begin([]))
    rig.answerAll()
    if isFatal {
      #expect(rig.trace.suffix(3) == ["run static", "unlock", "finished: static failed: exit code 1"])
      #expect(rig.marker == nil)
      #expect(rig.ends == ["static failed: exit code 1", "fonts not started: step static failed"])
    } else {
      #expect(
        rig.trace.suffix(5) == [
          "run static", "run fonts", "mark [static]", "unlock", "finished: ran !static",
        ])
      #expect(rig.notes == ["node step static failed and is skipped (not fatal): exit code 1"])
    }
  }

  /// The next start tries what failed, and what could not be done without it, and nothing else.
  @Test func whatFailedAndWhatNeededItIsTriedAgain() {
    let steps: [PhaseStep] = [
      .named("a\nb", fatal: false), .named("c", needs: ["a\nb"], fatal: false),
      .named("d", needs: ["c"], fatal: false), .named("e", fatal: false),
    ]
    let rig = NodeRig(steps)
    rig.failing = ["run a\nb"]
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.outcome == .done(ran: true, failedSteps: ["a\nb", "c", "d"]))
    #expect(
      rig.ends == [
        "a\nb failed: exit code 1", "c not started: needs a\nb", "d not started: needs c", "e done",
      ])
    let again = NodeRig(steps, marker: rig.marker.map { Marker(decoding: $0.encoded()) })
    again.send(.begin([]))
    again.answerAll()
    #expect(again.commands == ["run a\nb", "run c", "run d"])
    #expect(again.outcome == .done(ran: true, failedSteps: []) && again.marker == Marker())
  }

  @Test(arguments: [true, false]) func aFatalFailureTakesBack(fails: Bool) {
    let rig = NodeRig([
      .named("a", rollback: true, fatal: false), .named("b", rollback: true),
      .named("c", needs: ["b"], rollback: true, rollbackFailed: true),
    ])
    rig.failing = fails ? ["run c", "rollback b"] : ["run c"]
    rig.send(.begin([]))
    rig.answerAll()
    #expect(
      rig.commands == ["run a", "run b", "run c", "rollback c", "rollback b", "rollback a"])
    #expect(rig.outcome == .failed(step: "c", reason: "exit code 1"))
    #expect(rig.marker == nil && rig.problems.isEmpty)
    #expect(rig.ends.suffix(2) == [fails ? "b not undone: exit code 1" : "b undone", "a undone"])
  }

  @Test(arguments: [true, false]) func aStopTakesBackWhatSaysSo(says: Bool) {
    let rig = NodeRig([
      .named("a", rollback: true, rollbackOnStop: says), .named("b", rollback: true), .named("c"),
    ])
    rig.send(.begin([]))
    rig.answer(until: "run c")
    #expect(rig.send(.interrupt) == ["stop c"])
    rig.end("c")
    rig.answerAll()
    #expect(rig.commands.dropFirst(3) == (says ? ["rollback a"] : []))
    #expect(rig.outcome == .interrupted && rig.marker == nil)
  }

  @Test func aStopWhileTakingBackLeavesOutTheRest() {
    let rig = NodeRig([
      .named("a", rollback: true, rollbackOnStop: true), .named("b", rollback: true),
      .named("c", rollback: true), .named("d"),
    ])
    rig.failing = ["run d"]
    rig.send(.begin([]))
    rig.answer(until: "rollback c")
    #expect(rig.send(.interrupt) == [])
    rig.answerAll()
    #expect(rig.commands.suffix(2) == ["rollback c", "rollback a"])
    #expect(rig.outcome == .failed(step: "d", reason: "exit code 1"))
  }

  // MARK: Outputs

  @Test func outputsOfBothPhasesAreGivenOn() {
    let before = [StepOutput(key: "DB", value: "x")]
    let own = [StepOutput(key: "HASH", value: "y")]
    let rig = NodeRig([
      .named("static", check: true, fatal: false), .named("fonts", fatal: false),
    ])
    rig.outputs = ["static": own]
    rig.send(.begin(before))
    rig.answerAll()
    #expect(
      rig.environment == ["run static": before, "check static": before, "run fonts": before + own])
  }

  // MARK: recheck: on_start

  static let rechecked: [PhaseStep] = [
    .named("a", check: true, fatal: false, recheck: true), .named("b", check: true, fatal: false),
    .named("c", check: true, fatal: false, recheck: true),
  ]

  @Test func checksThatPassNeedNoLock() {
    let rig = NodeRig(Self.rechecked, marker: Marker())
    rig.send(.begin([StepOutput(key: "K", value: "v")]))
    rig.answerAll()
    #expect(rig.trace == ["read", "check a", "check c", "finished: done"])
    #expect(rig.environment["check a"] == [StepOutput(key: "K", value: "v")])
  }

  @Test func aStepWhoseCheckFailsRunsAloneAgain() {
    let rig = NodeRig(Self.rechecked, marker: Marker())
    rig.failing = ["check a"]
    rig.send(.begin([]))
    rig.answer(until: "lock")
    rig.failing = []
    rig.answerAll()
    #expect(rig.commands == ["check a", "check c", "run a", "check a"])
    #expect(rig.outcome == .done(ran: true, failedSteps: []))
    #expect(rig.notes == ["node step a is covered by the marker, but its check failed: exit code 1"])
  }

  @Test func whatIsToBeTriedAgainDoesNotHideTheRecheck() {
    let rig = NodeRig(Self.rechecked, marker: Marker(failedSteps: ["a"]))
    rig.failing = ["check c"]
    rig.send(.begin([]))
    rig.answer(until: "lock")
    rig.failing = []
    rig.answerAll()
    #expect(rig.commands == ["check c", "run a", "check a", "run c", "check c"])
    let fine = NodeRig(Self.rechecked, marker: Marker(failedSteps: ["a"]))
    fine.send(.begin([]))
    fine.answerAll()
    #expect(fine.commands == ["check c", "run a", "check a"])
  }

  @Test func aStepThatStaysBrokenIsInTheMarker() {
    let rig = NodeRig(Self.rechecked, marker: Marker())
    rig.failing = ["check a"]
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.outcome == .done(ran: true, failedSteps: ["a"]) && rig.marker == Marker(failedSteps: ["a"]))
  }

  @Test func aStopEndsTheCheckFirst() {
    let rig = NodeRig(Self.rechecked, marker: Marker())
    rig.send(.begin([]))
    rig.answer()
    #expect(rig.send(.interrupt) == ["stop a"])
    #expect(rig.end("a") == ["finished: interrupted"])
  }

  @Test func aRecheckThatTakesTooLongCountsAsFailed() {
    let steps = [PhaseStep.named("a", check: true, timeout: .seconds(3), recheck: true)]
    let rig = NodeRig(steps, marker: Marker())
    rig.send(.begin([]))
    rig.answer()
    #expect(rig.stepTimers == [0: instant(3000)])
    #expect(rig.send(.stepTimer(step: 0), after: 3000) == ["stop a"])
    #expect(rig.end("a") == ["lock"])
  }

  // MARK: Waiting

  @Test func waitingSaysSoEveryFiveSecondsAndEnds() {
    let rig = NodeRig(timeout: .seconds(12))
    rig.send(.begin([]))
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    #expect(rig.timer == instant(5000))
    #expect(rig.send(.timer, after: 5000) == ["wait for them"])
    #expect(rig.send(.timer, after: 5000) == ["wait for them"])
    #expect(rig.timer == instant(12_000))
    #expect(rig.send(.timer, after: 2000) == ["abandon", "finished: timed out"])
    #expect(
      rig.outcome
        == .timedOut("waited 12s for the node lock of run ID r1 (node.marker_dir), held by them"))
    #expect(rig.timer == nil)
  }

  @Test func withoutTimeThereIsOneTry() {
    let rig = NodeRig(timeout: .zero)
    rig.send(.begin([]))
    rig.answer()
    #expect(rig.send(.lockBusy(holder: "")) == ["abandon", "finished: timed out"])
  }

  @Test(arguments: [Duration.zero, .seconds(3)])
  func afterAHolderVanishedItsCommandHasTimeToEnd(delay: Duration) {
    let rig = NodeRig(takeoverDelay: delay)
    rig.send(.begin([]))
    rig.answer()
    rig.due = []
    #expect(rig.send(.lockHeld(leftBy: "node 7")) == (delay == .zero ? ["read"] : []))
    if delay > .zero {
      #expect(rig.timer == instant(3000))
      #expect(rig.notes.last?.hasPrefix("node 7 held the node lock and vanished: waiting 3s") == true)
      #expect(rig.send(.timer, after: 3000) == ["read"])
    }
    rig.answerAll()
    #expect(rig.outcome == .done(ran: true, failedSteps: []))
  }

  @Test func aWaiterWhoseHelperEndsAsksAgainFiveTimes() {
    let rig = NodeRig()
    rig.send(.begin([]))
    rig.answer()
    for _ in 1...4 {
      rig.send(.lockBusy(holder: "them"))
      #expect(rig.send(.lockLost) == ["abandon"])
      #expect(rig.send(.lockLost) == [])
      #expect(rig.send(.timer, after: 1000) == ["lock"])
    }
    #expect(
      rig.send(.lockLost) == [
        "abandon",
        "finished: unusable: the process that waits for the node lock has ended 5 times: is it being killed?",
      ])
  }
}
