import Control
import EventLoop
import Phases
import Processes
import Testing

@testable import Lifecycle

/// Steps that are checked and repeated while the app runs.
@Suite struct LifecycleUpkeepTests {
  private static let passes = ChildScript.ending(0)
  private static let fails = ChildScript.ending(1)

  private func step(
    recheck: Int? = nil, every: Int? = nil, affectsReady: Bool = false, fatal: Bool = true
  ) -> LifecyclePlan.Step {
    var phase = PhaseStep(name: "warm", definition: "warm", hasCheck: recheck != nil, isFatal: fatal)
    phase.rechecksAfter = recheck.map { .seconds($0) }
    phase.rechecksOnStart = recheck != nil
    phase.repeatsAfter = every.map { .seconds($0) }
    phase.affectsReady = affectsReady
    return LifecyclePlan.Step(phase: phase)
  }

  private func world(
    _ step: LifecyclePlan.Step, node: Bool = false, _ scripts: [String: [ChildScript]] = [:],
    change: (inout LifecyclePlan) -> Void = { _ in }
  ) -> LifecycleWorld {
    let world = LifecycleWorld(
      .simple(steps: ["migrate"], node: ["static"]) { plan in
        if node { plan.node.append(step) } else { plan.infrastructure.append(step) }
        change(&plan)
      }, scripts)
    world.beginAndRun()
    return world
  }

  private func count(_ word: String, in world: LifecycleWorld) -> Int {
    world.trace.filter { $0 == word }.count
  }

  private func checks(_ world: LifecycleWorld) -> [String: Bool] {
    Dictionary(
      uniqueKeysWithValues: world.lifecycle.readinessChecks().filter { $0.name.contains("step") }
        .map { ($0.name, $0.isOK) })
  }

  @Test(arguments: [false, true])
  func aCheckThatFailsRunsTheStepAgainAndTheNodeIsNotReadyMeanwhile(node: Bool) {
    let name = node ? "node step warm" : "step warm"
    let label = node ? "node step warm" : "infrastructure step warm"
    // At the start, at first, then missing: outside, under the lock; then repaired.
    let world = world(
      step(recheck: 60, affectsReady: true), node: node,
      ["check \(name)": [Self.passes, Self.passes, Self.fails, Self.fails, Self.passes]])
    #expect(world.lifecycle.isReady && checks(world) == [label: true])
    let before = count("spawn \(name)", in: world)
    world.run(for: 61_000)
    #expect(count("spawn \(name)", in: world) == before + 1, "one check")
    #expect(world.lifecycle.isReady)

    #expect(world.run(until: "check \(name)"))
    world.run(for: 80)
    #expect(!world.lifecycle.isReady && checks(world) == [label: false])
    world.run(for: 1000)
    #expect(world.lifecycle.isReady && checks(world) == [label: true])
    // Check, check under the lock, the step, its check.
    #expect(count("spawn \(name)", in: world) == before + 5)
    #expect(count("spawn step migrate", in: world) == 1 && count("spawn web", in: world) == 1)
    #expect(
      world.logs.contains {
        $0.hasSuffix("step warm was done, but its check failed: exit code 1: doing it again")
      })
    #expect(world.problems.isEmpty)
  }

  @Test func withoutAffectsReadyItOnlyShows() {
    let world = world(
      step(recheck: 60),
      ["check step warm": [Self.passes, Self.fails], "step warm": [Self.passes, Self.fails]])
    world.run(for: 62_000)
    #expect(world.lifecycle.isReady && checks(world).isEmpty)
    #expect(world.lifecycle.infrastructureView.failedSteps == ["warm"])
    #expect(world.record?.failure?.step == "warm" && world.record?.completedAt == nil)
    #expect(world.ending == nil, "nothing of it ends the app")
    #expect(world.logs.contains("infrastructure step warm: exit code 1"))
  }

  @Test func aStepIsRepeatedOnThePrimary() {
    let world = world(step(every: 100))
    #expect(count("spawn step warm", in: world) == 1)
    world.run(for: 1000)
    #expect(world.lifecycle.role == .primary)
    #expect(count("spawn step warm", in: world) == 1, "it was done a moment ago")
    world.run(for: 98_000)
    #expect(count("spawn step warm", in: world) == 1)
    world.run(for: 2000)
    #expect(count("spawn step warm", in: world) == 2)
    world.run(for: 300_000)
    #expect(count("spawn step warm", in: world) == 5)
    #expect(world.record?.completedAt != nil && world.problems.isEmpty)
  }

  @Test func aStandbyRepeatsNothingUntilItIsThePrimary() {
    let world = LifecycleWorld(
      .simple { plan in plan.infrastructure = [step(every: 100)] })
    world.leaderIsTaken = true
    world.beginAndRun()
    world.run(for: 250_000)
    #expect(count("spawn step warm", in: world) == 1)
    world.submit(.leader(.lockHeld(leftBy: "")))
    world.run(for: 1000)
    #expect(count("spawn step warm", in: world) == 2, "overdue")
    world.submit(.leader(.lockLost))
    world.leaderIsTaken = true
    world.run(for: 250_000)
    #expect(count("spawn step warm", in: world) == 2)
  }

  @Test func whoLosesTheRoleStopsTheRepetition() {
    let world = world(step(every: 100), ["step warm": [Self.passes, ChildScript()]])
    world.run(for: 101_000)
    #expect(world.children.values.contains { $0.id == .infrastructureStep(1) })
    world.leaderIsTaken = true
    world.submit(.leader(.lockLost))
    world.run(for: 100)
    #expect(!world.children.values.contains { $0.id == .infrastructureStep(1) })
    #expect(world.trace.last(where: { $0 == "unlock" || $0 == "end step warm" }) == "unlock")
    #expect(world.problems.isEmpty && world.ending == nil)
  }

  @Test(arguments: [false, true]) func everyNodeRepeatsItsOwnSteps(leads: Bool) {
    let world = world(step(every: 100, fatal: false), node: true)
    world.leaderIsTaken = !leads
    world.run(for: 101_000)
    #expect(count("spawn node step warm", in: world) == 2 && count("spawn node step static", in: world) == 1)
    #expect(world.marker?.failedSteps == [] && world.marker?.doneAt.count == 1)
  }

  @Test func aNodeStepThatFailedAtTheStartIsTriedAgainAtOnce() {
    let world = world(
      step(recheck: 60, affectsReady: true, fatal: false), node: true,
      [
        "check node step warm": [Self.fails, Self.fails, Self.passes],
        "node step warm": [Self.fails, Self.passes],
      ])
    #expect(!world.lifecycle.isReady, "it failed at the start")
    world.run(for: 1000)
    #expect(world.lifecycle.isReady && world.marker?.failedSteps == [])
  }

  // MARK: The stop

  /// Wherever the upkeep is: no process of it is left, the lock goes after the step, and the app's code stands.
  @Test(arguments: [0, 20, 49, 51, 53, 60, 101, 103, 110, 160, 170, 300], [false, true])
  func aStopAtAnyMoment(after delay: Int, everyHangs: Bool) {
    let hung = ChildScript.stubborn
    let world = world(
      step(recheck: 60, every: 60),
      [
        "check step warm": [Self.passes, everyHangs ? hung : Self.fails],
        "step warm": [Self.passes, everyHangs ? hung : Self.passes],
        "web": [ChildScript(endsWith: .exited(3))],
      ])
    #expect(world.run(until: "check step warm"))
    world.run(for: delay)
    let stoppedAt = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect(world.ending?.code == 3 && world.children.isEmpty && world.problems.isEmpty)
    #expect((world.exitedAt ?? .max) - stoppedAt <= 9500)
    let order = world.trace.filter { $0 == "lock" || $0 == "unlock" || $0 == "exit 3 stopped_on_request" }
    #expect(
      order.last == "exit 3 stopped_on_request" && (order.count < 2 || order[order.count - 2] == "unlock"))
  }

  @Test func theDrainDelayIsNotCutShort() {
    let world = world(
      step(recheck: 60), ["check step warm": [Self.passes, ChildScript()]],
      change: { $0.drainDelay = .seconds(2) })
    #expect(world.run(until: "check step warm"))
    world.run(for: 10)
    let stoppedAt = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect((world.saidAt["TERM web"] ?? 0) >= stoppedAt + 2000)
    #expect((world.saidAt["end step warm"] ?? .max) < stoppedAt + 100, "the check ends at once")
  }
}
