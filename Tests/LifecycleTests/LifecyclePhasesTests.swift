import Checks
import EventLoop
import Phases
import Processes
import ReleaseRecords
import Testing

@testable import Lifecycle

/// Early services, phases and their strays, services that give up.
@Suite struct LifecyclePhasesTests {
  static let check = CheckDefinition(method: .exec(.shell("true")), interval: .seconds(1))

  @Test func theWholeStart() {
    let world = LifecycleWorld(
      .simple(services: [.service("cache")], steps: ["migrate", "warm"], node: ["static"]))
    world.beginAndRun()
    #expect(
      world.trace.filter { $0.hasPrefix("spawn") || $0.hasPrefix("stage") || $0.hasSuffix("lock") } == [
        "stage infrastructure", "lock", "spawn step migrate", "spawn step warm", "unlock", "stage node",
        "spawn node step static", "stage running", "spawn cache", "spawn web",
      ])
    #expect(world.record?.completedAt != nil && world.marker == Marker())
    #expect(world.lifecycle.isReady && world.problems.isEmpty)
  }

  // MARK: Early services

  @Test func earlyServicesGateThePhases() {
    let world = LifecycleWorld(
      .simple(
        services: [
          .service("db", early: true, check: Self.check), .service("queue", early: true), .service("late"),
        ], steps: ["migrate"]),
      ["db": [ChildScript(healthyAfter: 3000)]])
    world.beginAndRun()
    #expect(
      world.trace.filter { $0.hasPrefix("spawn") } == [
        "spawn db", "spawn queue", "spawn step migrate", "spawn late", "spawn web",
      ])
    #expect((world.saidAt["spawn queue"] ?? 0) >= 3000)
  }

  @Test func anEarlyServiceThatNeverGetsHealthyEndsItAll() {
    let world = LifecycleWorld(
      .simple(services: [.service("db", early: true, check: Self.check)], steps: ["migrate"]) {
        $0.infrastructureRules.timeout = .seconds(20)
      }, ["db": [ChildScript(healthyAfter: nil)]])
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 69 early_service_unhealthy")
    #expect(world.trace.contains("TERM db") && !world.trace.contains("spawn step migrate"))
    #expect((world.exitedAt ?? 0) >= 20_000 && (world.exitedAt ?? .max) <= 20_100)
  }

  @Test func anEarlyServiceThatCannotStartEndsItAll() {
    let world = LifecycleWorld(.simple(services: [.service("db", early: true)]), ["db": [.missing]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 127)
  }

  /// The step is stopped, and the lock released, before the end.
  @Test(arguments: ["migrate", "static"])
  func anEarlyServiceThatGivesUpDuringAPhase(_ step: String) {
    let world = LifecycleWorld(
      .simple(
        services: [.service("db", early: true, mode: .onFailure, limit: 1)],
        steps: step == "migrate" ? [step] : [], node: step == "static" ? [step] : []),
      [
        "db": [.ending(3, after: 500)], "step migrate": [ChildScript(obeysAfter: 300)],
        "node step static": [ChildScript(obeysAfter: 300)],
      ])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 3 && world.ending?.reason == "gave_up_restarting")
    #expect(world.trace.contains("end \(step == "migrate" ? "step" : "node step") \(step)"))
    #expect(world.trace.contains("unlock") == (step == "migrate"))
    #expect(world.children.isEmpty && world.problems.isEmpty)
  }

  // MARK: Failures

  @Test func aFailedStepEndsWith76() {
    let world = LifecycleWorld(.simple(steps: ["migrate", "warm"]), ["step migrate": [.ending(1)]])
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 76 infrastructure_failed")
    #expect(world.record?.failure?.reason == "exit code 1")
    #expect(!world.trace.contains("spawn step warm"))
  }

  @Test(arguments: [ChildScript.missing, .noProcess]) func aStepThatCannotStartEndsWith76(
    _ script: ChildScript
  ) {
    let world = LifecycleWorld(.simple(steps: ["migrate"]), ["step migrate": [script]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 76)
  }

  @Test(arguments: [true, false]) func aFailedNodeStep(isFatal: Bool) {
    let world = LifecycleWorld(
      .simple(node: ["static"]) { $0.node[0].phase.isFatal = isFatal },
      ["node step static": [.ending(1)], "web": [.ending(0, after: 100)]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == (isFatal ? 76 : 0))
    #expect(world.marker == (isFatal ? nil : Marker(failedSteps: ["static"])))
  }

  @Test func aLockThatNeverComesEndsWith75() {
    let world = LifecycleWorld(.simple(steps: ["migrate"]) { $0.infrastructureRules.timeout = .seconds(10) })
    world.lockIsTaken = true
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 75 lock_timeout")
  }

  @Test(arguments: ["read", "write", "lock"]) func aStoreThatFailsEndsWith70(_ operation: String) {
    let world = LifecycleWorld(.simple(steps: ["migrate"]))
    world.storeFaults[operation] = "disk full"
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 70 state_unusable")
    #expect(!world.trace.contains("spawn step migrate"))
  }

  @Test func aMarkerThatFailsEndsWith70() {
    let world = LifecycleWorld(.simple(node: ["static"]))
    world.storeFaults["marker"] = "disk full"
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 70 marker_unusable")
  }

  @Test func aLostLockKillsTheStepAndEndsWith75() {
    let world = LifecycleWorld(.simple(steps: ["migrate"]), ["step migrate": [.stubborn]])
    world.begin()
    world.run(until: "started step migrate")
    world.submit(.infrastructure(.lockLost))
    #expect(world.trace.contains("KILL step migrate"))
    world.runToExit(limit: 100)
    #expect(world.trace.last == "exit 75 lock_lost")
  }

  @Test func aLockLostBetweenTwoTriesEndsToo() {
    let world = LifecycleWorld(
      .simple(steps: ["migrate"]) { $0.infrastructure[0].phase.retries = 1 },
      ["step migrate": [.ending(1)]])
    world.begin()
    world.run(until: "end step migrate")
    world.run(for: 100)
    world.submit(.infrastructure(.lockLost))
    world.runToExit(limit: 100)
    #expect(world.trace.last == "exit 75 lock_lost")
  }

  // MARK: Strays of steps

  @Test(arguments: [true, false]) func straysOfAStepGoBeforeTheNextStepAndTheLock(obey: Bool) {
    let leaving = ChildScript(ends: (50, .exited(0)), strays: 2, straysObey: obey)
    let world = LifecycleWorld(
      .simple(steps: ["migrate", "warm"]), ["step migrate": [leaving], "step warm": [leaving]])
    world.beginAndRun()
    let kills = obey ? [] : ["strays step migrate KILL"]
    let kills2 = obey ? [] : ["strays step warm KILL"]
    #expect(
      world.trace.filter { $0.hasPrefix("spawn") || $0.hasPrefix("strays") || $0 == "unlock" }
        == ["spawn step migrate", "strays step migrate TERM CONT"] + kills + [
          "spawn step warm", "strays step warm TERM CONT",
        ] + kills2 + ["unlock", "spawn web"])
    #expect(world.problems.isEmpty)
  }

  @Test func aLostLockLeavesStraysNoGrace() {
    let leaving = ChildScript(ends: (50, .exited(0)), strays: 1, straysObey: false)
    // While they are being searched; and while the command itself still runs.
    for word in ["end step migrate", "started step migrate"] {
      let world = LifecycleWorld(.simple(steps: ["migrate"]), ["step migrate": [leaving]])
      world.begin()
      world.run(until: word)
      world.submit(.infrastructure(.lockLost))
      world.runToExit(limit: 100)
      #expect(world.trace.contains("strays step migrate KILL"))
      #expect(!world.trace.contains("strays step migrate TERM CONT"))
      #expect(world.trace.last == "exit 75 lock_lost")
    }
  }

  @Test func aSecondStopSignalLeavesStraysNoGrace() {
    let leaving = ChildScript(obeysAfter: 700, strays: 1, straysObey: false)
    let world = LifecycleWorld(.simple(steps: ["migrate"]), ["step migrate": [leaving]])
    world.begin()
    world.run(until: "started step migrate")
    world.signal(.terminate)
    world.run(for: 800)
    #expect(world.trace.contains("strays step migrate TERM CONT"))
    world.signal(.terminate)
    world.runToExit(limit: 100)
    #expect(world.trace.contains("strays step migrate KILL"))
    #expect(world.ending?.reason == "stopped_before_app" && world.problems.isEmpty)
  }

  // MARK: Services that give up

  @Test(arguments: [(CInt(0), Int32(79)), (3, 3)]) func givingUp(_ last: CInt, code: Int32) {
    let world = LifecycleWorld(
      .simple(services: [.service("queue", limit: 3)]), ["queue": [.ending(last)]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == code && world.ending?.reason == "gave_up_restarting")
    #expect(world.trace.filter { $0 == "spawn queue" }.count == 3)
    #expect(world.trace.contains("TERM web"))
  }

  @Test func givingUpOfAServiceThatIsIgnored() {
    let world = LifecycleWorld(
      .simple(services: [.service("queue", limit: 3, ignored: true)]), ["queue": [.ending(1)]])
    world.beginAndRun()
    world.run(for: 60_000)
    #expect(world.exitedAt == nil && world.lifecycle.isReady)
    #expect(world.trace.filter { $0 == "spawn queue" }.count == 3)
  }

  @Test func theAppGivesUpWithItsLastCode() {
    let world = LifecycleWorld(.simple(appRestart: .always), ["web": [.ending(0)]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 79)
    #expect(world.trace.filter { $0 == "spawn web" }.count == 10)
  }

  @Test func remainsOfTheGroupGoBeforeTheSuccessor() {
    let first = ChildScript(ends: (50, .exited(1)), members: 2, membersObey: false)
    let world = LifecycleWorld(
      .simple(services: [.service("queue")]) { $0.services[0].stop.timeout = .seconds(2) },
      ["queue": [first, ChildScript()]])
    world.beginAndRun()
    world.run(until: "spawn queue")
    #expect(world.trace.contains("TERM group of queue") && world.trace.contains("KILL group of queue"))
    #expect(world.children.count == 2)
  }
}
