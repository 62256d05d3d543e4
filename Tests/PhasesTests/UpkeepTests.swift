import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// Checks and repetition of steps while the app runs.
@Suite struct UpkeepTests {
  private static func watched(
    _ name: String, recheck: Int? = nil, every: Int? = nil, affectsReady: Bool = false, timeout: Int? = nil
  ) -> PhaseStep {
    var step = PhaseStep.named(name, check: true, timeout: timeout.map { .seconds($0) })
    step.rechecksAfter = recheck.map { .seconds($0) }
    step.repeatsAfter = every.map { .seconds($0) }
    step.affectsReady = affectsReady
    return step
  }

  /// One upkeep and its timers.
  private struct Rig {
    var upkeep: Upkeep
    var timers: [Int: MonotonicInstant] = [:]
    var now = 0

    init(_ steps: [PhaseStep], needsPrimary: Bool = true, seed: UInt64 = 1) {
      upkeep = Upkeep(steps: steps, rules: InfrastructureRules(), needsPrimary: needsPrimary, seed: seed)
    }

    /// Times are whole seconds, rounded up.
    mutating func send(_ event: Upkeep.Event) -> [String] {
      upkeep.handle(event, at: instant(now * 1000)).map { effect in
        switch effect {
        case .check(let step, let outputs):
          return "check \(step)" + outputs.map { " \($0.key)" }.joined()
        case .stopCheck(let step): return "stop check \(step)"
        case .schedule(let chore, let deadline):
          timers[chore] = deadline
          return "schedule \(chore)"
        case .unschedule(let chore):
          timers[chore] = nil
          return "unschedule \(chore)"
        case .begin(let errand): return "errand \(errand.step) \(errand.reason)"
        case .stopErrand: return "stop errand"
        case .changed(let step, let failure): return "changed \(step): \(failure ?? "passes")"
        case .warning(let step, let text): return "warning \(step): \(text)"
        }
      }
    }

    /// Lets the time of a timer come.
    mutating func fire(_ chore: Int) -> [String] {
      guard let deadline = timers.removeValue(forKey: chore) else { return ["no timer \(chore)"] }
      now = max(now, Int((deadline - instant(0)).components.seconds))
      return send(.timer(chore: chore))
    }

    /// In seconds from now.
    func pause(_ chore: Int) -> Double? {
      timers[chore].map { Double(($0 - instant(now * 1000)).wholeNanoseconds) / 1e9 }
    }
  }

  // MARK: recheck

  @Test func aCheckThatPassesIsRunAgain() throws {
    var rig = Rig([Self.watched("warm", recheck: 60)])
    #expect(rig.send(.begin([StepOutput(key: "K", value: "v")], failedSteps: [])) == ["schedule 0"])
    let first = try #require(rig.pause(0))
    #expect(first > 53.9 && first <= 60)
    #expect(rig.fire(0) == ["check 0 K", "schedule 0"])
    #expect(rig.upkeep.isChecking(0) && !rig.upkeep.isQuiet)
    #expect(rig.send(.commandEnded(step: 0, .succeeded())) == ["unschedule 0", "schedule 0"])
    #expect(rig.upkeep.isQuiet && rig.upkeep.failures.isEmpty)
  }

  @Test func nodesThatStartTogetherDoNotCheckTogether() {
    let pauses = Set(
      (1...20).map { seed -> Double? in
        var rig = Rig([Self.watched("warm", recheck: 60)], seed: UInt64(seed) << 40)
        _ = rig.send(.begin([], failedSteps: []))
        return rig.pause(0)
      })
    #expect(pauses.count > 10)
  }

  @Test func aCheckThatFailsIsAnErrand() {
    var rig = Rig([Self.watched("warm", recheck: 60, affectsReady: true)])
    _ = rig.send(.begin([], failedSteps: []))
    #expect(rig.upkeep.decisiveSteps == [0])
    _ = rig.fire(0)
    #expect(
      rig.send(.commandEnded(step: 0, .failed("exit code 1"))) == [
        "unschedule 0", "changed 0: its check failed: exit code 1", "errand 0 checkFailed",
      ])
    #expect(rig.upkeep.failures == [0: "its check failed: exit code 1"] && !rig.upkeep.isQuiet)
    #expect(rig.send(.errandEnded(.done)) == ["changed 0: passes", "schedule 0"])
    #expect(rig.upkeep.failures.isEmpty && rig.upkeep.isQuiet)
  }

  @Test func whatAnotherNodeDidIsCheckedSoon() {
    var rig = Rig([Self.watched("warm", recheck: 60)])
    _ = rig.send(.begin([], failedSteps: []))
    _ = rig.fire(0)
    _ = rig.send(.commandEnded(step: 0, .failed("exit code 1")))
    #expect(rig.send(.errandEnded(.notNeeded(age: .zero))) == ["schedule 0"])
    #expect(rig.pause(0) == 1 && rig.upkeep.failures.count == 1, "not believed before it is seen")
    _ = rig.fire(0)
    #expect(
      rig.send(.commandEnded(step: 0, .succeeded())) == ["unschedule 0", "changed 0: passes", "schedule 0"])
  }

  @Test(arguments: [
    (Upkeep.ErrandResult.failed("exit code 2"), ["warning 0: exit code 2", "schedule 0"]),
    (.unsettled("no lock"), ["warning 0: no lock", "schedule 0"]), (.interrupted, ["schedule 0"]),
  ])
  func anErrandThatFailsWaitsForTheNextCheck(_ result: Upkeep.ErrandResult, _ effects: [String]) throws {
    var rig = Rig([Self.watched("warm", recheck: 60)])
    _ = rig.send(.begin([], failedSteps: []))
    _ = rig.fire(0)
    _ = rig.send(.commandEnded(step: 0, .failed("exit code 1")))
    #expect(rig.send(.errandEnded(result)) == effects)
    #expect(try #require(rig.pause(0)) > 53.9 && rig.upkeep.failures.count == 1)
    // The same failure is no news.
    _ = rig.fire(0)
    #expect(
      rig.send(.commandEnded(step: 0, .failed("exit code 1"))) == ["unschedule 0", "errand 0 checkFailed"])
  }

  @Test func aStepThatFailedAtTheStartIsLookedAtAtOnce() {
    var rig = Rig([Self.watched("a", recheck: 60, affectsReady: true), Self.watched("b", recheck: 60)])
    _ = rig.send(.begin([], failedSteps: ["a"]))
    #expect(rig.pause(0) == 0 && rig.upkeep.failures == [0: "it failed at the start"])
  }

  @Test func aCheckThatHangsIsStoppedByTheStepsTimeout() {
    var rig = Rig([Self.watched("warm", recheck: 60, timeout: 5)])
    _ = rig.send(.begin([], failedSteps: []))
    _ = rig.fire(0)
    #expect(rig.pause(0) == 5)
    #expect(rig.fire(0) == ["warning 0: step warm: not done within 5s, stopping it", "stop check 0"])
    #expect(
      rig.send(.commandEnded(step: 0, .failed("killed"))) == [
        "unschedule 0", "changed 0: its check did not end within 5s", "errand 0 checkFailed",
      ])
  }

  // MARK: every

  @Test func onlyThePrimaryRepeats() {
    var rig = Rig([Self.watched("warm", every: 100)])
    #expect(rig.send(.begin([], failedSteps: [])).isEmpty)
    #expect(rig.send(.primary(true)) == ["errand 0 due"])
    #expect(rig.send(.errandEnded(.notNeeded(age: .seconds(30)))) == ["schedule 0"])
    #expect(rig.pause(0) == 70)
    #expect(rig.fire(0) == ["errand 0 due"])
    #expect(rig.send(.errandEnded(.done)) == ["schedule 0"])
    #expect(rig.pause(0) == 100)
    #expect(rig.send(.primary(false)) == ["unschedule 0"])
    #expect(rig.send(.primary(true)) == ["errand 0 due"])
    #expect(rig.send(.primary(false)) == ["stop errand"])
    #expect(rig.send(.errandEnded(.interrupted)).isEmpty && rig.timers.isEmpty && rig.upkeep.isQuiet)
  }

  @Test(arguments: [nil, Duration.seconds(400)]) func whatIsOverdueButNotToBeDoneIsLookedAtNowAndThen(
    age: Duration?
  ) {
    for (interval, pause) in [(100, 60.0), (20, 20.0)] {
      var rig = Rig([Self.watched("warm", every: interval)], needsPrimary: false)
      _ = rig.send(.begin([], failedSteps: []))
      #expect(rig.send(.errandEnded(.notNeeded(age: age))) == ["schedule 0"])
      #expect(rig.pause(0) == pause)
    }
  }

  @Test func thePrimaryBeforeTheBeginning() {
    var rig = Rig([Self.watched("warm", every: 100)])
    #expect(rig.send(.primary(true)).isEmpty)
    #expect(rig.send(.begin([], failedSteps: [])) == ["errand 0 due"])
  }

  @Test func everyNodeRepeatsStepsOfItsOwn() {
    var rig = Rig([Self.watched("static", every: 100)], needsPrimary: false)
    #expect(rig.send(.begin([], failedSteps: [])) == ["errand 0 due"])
    #expect(rig.send(.primary(true)).isEmpty && rig.send(.primary(false)).isEmpty)
  }

  @Test func aFailedRepetitionIsTriedAgainMoreAndMoreSlowly() {
    var rig = Rig([Self.watched("warm", every: 35)], needsPrimary: false)
    _ = rig.send(.begin([], failedSteps: []))
    var pauses: [Double?] = []
    for _ in 0..<3 {
      let words = rig.send(.errandEnded(.failed("exit code 1")))
      #expect(
        words.first?.hasPrefix("warning 0: exit code 1; what it did before stands, trying again in ") == true)
      pauses.append(rig.pause(0))
      _ = rig.fire(0)
    }
    #expect(pauses == [10, 20, 35], "and never more slowly than it is repeated")
    _ = rig.send(.errandEnded(.done))
    _ = rig.fire(0)
    _ = rig.send(.errandEnded(.failed("exit code 1")))
    #expect(rig.pause(0) == 10)
  }

  // MARK: Together

  @Test func oneErrandAtATime() {
    var rig = Rig([Self.watched("a", every: 100), Self.watched("b", every: 100)], needsPrimary: false)
    #expect(rig.send(.begin([], failedSteps: [])) == ["errand 0 due"])
    #expect(rig.send(.errandEnded(.done)) == ["schedule 0", "errand 1 due"])
  }

  @Test func aStepsCheckAndItsErrandDoNotMeet() {
    var rig = Rig(
      [Self.watched("a", recheck: 60, every: 200), Self.watched("b", every: 200)], needsPrimary: false)
    _ = rig.send(.begin([], failedSteps: []))
    _ = rig.send(.errandEnded(.done))
    _ = rig.send(.errandEnded(.done))
    _ = rig.fire(0)
    #expect(rig.upkeep.isChecking(0))
    rig.now = 200
    #expect(rig.fire(1).isEmpty, "its check runs")
    #expect(rig.fire(2) == ["errand 1 due"])
    #expect(rig.send(.commandEnded(step: 0, .succeeded())) == ["unschedule 0", "schedule 0"])
    #expect(rig.send(.errandEnded(.done)) == ["schedule 2", "errand 0 due"])
    #expect(rig.fire(0) == ["schedule 0"], "it is being done again")
    #expect(!rig.upkeep.isChecking(0))
  }

  // MARK: The end

  @Test func theEndStopsWhatRuns() {
    var rig = Rig([
      Self.watched("a", recheck: 60), Self.watched("b", every: 60), Self.watched("c", recheck: 9),
    ])
    _ = rig.send(.begin([], failedSteps: []))
    _ = rig.send(.primary(true))
    _ = rig.fire(0)
    #expect(rig.send(.end) == ["unschedule 0", "stop check 0", "stop errand", "unschedule 2"])
    #expect(!rig.upkeep.isQuiet)
    #expect(rig.send(.commandEnded(step: 0, .failed("stopped"))) == ["unschedule 0"])
    #expect(rig.send(.errandEnded(.interrupted)).isEmpty)
    #expect(rig.upkeep.isQuiet && rig.upkeep.failures.isEmpty)
    #expect(rig.send(.primary(false)).isEmpty && rig.send(.end).isEmpty && rig.send(.timer(chore: 0)).isEmpty)
  }
}
