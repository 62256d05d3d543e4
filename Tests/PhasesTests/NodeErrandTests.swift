import EventLoop
import Testing

@testable import Phases

/// One step of a complete node phase is done again while the app runs.
@Suite struct NodeErrandTests {
  private func rig(
    _ reason: Errand.Reason, marker: Marker? = Marker(), runID: String? = "r1", isFatal: Bool = false
  ) -> NodeRig {
    var fonts = PhaseStep.named("fonts", check: true, fatal: isFatal)
    fonts.repeatsAfter = .seconds(100)
    let rig = NodeRig(
      [.named("static", check: true), fonts], runID: runID, marker: marker,
      errand: Errand(step: 1, reason: reason))
    rig.wall.now = 500_000_000_000
    return rig
  }

  @Test(arguments: ["r1", nil]) func aFailedCheckRunsThatStepAlone(runID: String?) {
    let rig = rig(
      .checkFailed, marker: Marker(failedSteps: ["static"], unfinished: ["static": ["a"]]), runID: runID)
    rig.failing = ["check fonts"]
    rig.send(.begin([]))
    rig.answer(until: "check fonts")
    rig.answer()
    rig.failing = []
    rig.answerAll()
    #expect(
      rig.trace == [
        "lock", "read", "check fonts", "run fonts", "check fonts", "mark [static]", "unlock", "finished: ran",
      ])
    #expect(rig.ends == ["fonts done"] && rig.problems.isEmpty)
    #expect(rig.marker?.unfinished == ["static": ["a"]], "what others have still to do stays")
  }

  @Test(arguments: [Errand.Reason.checkFailed, .due]) func whatItNeedsComesFirst(_ reason: Errand.Reason) {
    var fonts = PhaseStep.named("fonts", needs: ["static"], check: true, fatal: false)
    fonts.repeatsAfter = .seconds(1)
    let rig = NodeRig(
      [.named("static"), fonts], marker: Marker(failedSteps: ["static"]),
      errand: Errand(step: 1, reason: reason))
    rig.failing = ["check fonts"]
    rig.send(.begin([]))
    rig.answerAll()
    #expect(!rig.trace.contains("run fonts") && rig.marker == Marker(failedSteps: ["static"]))
    #expect(rig.outcome == .failed(step: "fonts", reason: "it needs static, which is not done"))
  }

  @Test func aFailedRepetitionChangesNothing() {
    let before = Marker(doneAt: ["fonts": 1])
    let rig = rig(.due, marker: before)
    rig.failing = ["run fonts"]
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.outcome == .done(ran: true, failedSteps: ["fonts"]) && rig.marker == before)
  }

  @Test func itIsLookedAtAgainUnderTheLock() {
    let rig = rig(.checkFailed)
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.trace == ["lock", "read", "check fonts", "unlock", "finished: done"])
  }

  @Test(arguments: [false, true]) func aFailureIsOfThatStepAlone(isFatal: Bool) {
    let rig = rig(.checkFailed, isFatal: isFatal)
    rig.failing = ["check fonts", "run fonts"]
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.outcome == .done(ran: true, failedSteps: ["fonts"]))
    #expect(rig.marker?.failedSteps == ["fonts"], "the next start tries it again")
  }

  @Test(arguments: [
    (Marker(doneAt: ["fonts": 450_000_000_000]), false), (Marker(doneAt: ["fonts": 400_000_000_000]), true),
    (Marker(), true), (Marker(doneAt: ["fonts": .max]), true),
  ]) func onlyWhatIsDueIsRepeated(marker: Marker, runs: Bool) {
    let rig = rig(.due, marker: marker)
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.trace.contains("run fonts") == runs)
    #expect(rig.outcome == .done(ran: runs, failedSteps: []))
    if runs { #expect(rig.marker?.doneAt == ["fonts": 500_000_000_000]) }
    #expect(rig.phase.ageOfRecord == (runs ? .zero : .seconds(50)))
  }

  @Test func whatIsRepeatedIsDatedFromTheFirstTime() {
    var step = PhaseStep.named("fonts", fatal: false)
    step.repeatsAfter = .seconds(100)
    let rig = NodeRig([.named("static"), step])
    rig.wall.now = 7
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.marker == Marker(doneAt: ["fonts": 7]))
  }

  @Test func aMarkerThatIsGoneStaysGone() {
    let rig = rig(.due, marker: nil)
    rig.send(.begin([]))
    rig.answerAll()
    #expect(rig.trace.contains("run fonts") && rig.marker == nil)
  }

  @Test(arguments: ["check fonts", "run fonts"]) func aLostLockEndsIt(word: String) {
    let rig = rig(.checkFailed)
    rig.failing = ["check fonts"]
    rig.send(.begin([]))
    rig.answer(until: word)
    rig.send(.lockLost)
    rig.end("fonts", .failed("killed by KILL"))
    #expect(rig.outcome == .lockLost && rig.problems.isEmpty)
  }

  @Test(arguments: 0..<6) func aStopEndsItWhereverItIs(answers: Int) {
    let rig = rig(.checkFailed)
    rig.failing = ["check fonts"]
    rig.send(.begin([]))
    for _ in 0..<answers { rig.answer() }
    rig.failing = []
    rig.send(.interrupt)
    #expect(rig.play() && rig.problems.isEmpty)
  }
}
