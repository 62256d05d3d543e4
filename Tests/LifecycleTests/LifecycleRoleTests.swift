import Control
import EventLoop
import Phases
import Processes
import Testing

@testable import Lifecycle

/// Services that only the primary runs, and what else the role decides.
@Suite struct LifecycleRoleTests {
  private func world(
    _ scripts: [String: [ChildScript]] = [:], hook: Bool = false,
    _ change: (LifecycleWorld) -> Void = { _ in }
  ) -> LifecycleWorld {
    var beat = LifecyclePlan.Process.service("beat")
    beat.isForPrimary = true
    let world = LifecycleWorld(
      .simple(services: [.service("queue"), beat]) { $0.hasRoleHook = hook }, scripts)
    change(world)
    world.beginAndRun()
    world.run(for: 100)
    return world
  }

  private func spawns(_ name: String, in world: LifecycleWorld) -> Int {
    world.trace.filter { $0 == "spawn \(name)" }.count
  }

  private static let hookName = "hooks.on_role_change"

  @Test func thePrimaryRunsItAfterTheApp() {
    let world = world()
    #expect(
      world.trace.filter { $0.hasPrefix("spawn") || $0.hasPrefix("role") } == [
        "spawn queue", "spawn web", "role replica", "role primary", "spawn beat",
      ])
    #expect(world.lifecycle.role == .primary)
  }

  @Test(arguments: [ControlRequest.start("beat"), .restart("beat"), .stop("beat"), .signal("beat", .user1)])
  func aStandbyRefusesWithThePrimarysName(_ request: ControlRequest) {
    let world = world { $0.leaderIsTaken = true }
    #expect(world.ask(request) == .refused("beat runs only on the primary (them)"))
    #expect(spawns("beat", in: world) == 0 && world.lifecycle.role == .replica)
    #expect(world.lifecycle.isReady, "a standby is as ready as the primary")
  }

  @Test(arguments: [ChildScript(strays: 2, straysObey: false), .stubborn])
  func aLostLockKillsItWithoutGraceAndItComesBackOnce(_ script: ChildScript) {
    let world = world(["beat": [script]])
    let lostAt = world.milliseconds
    world.submit(.leader(.lockLost))
    #expect(world.trace.contains("role replica") && world.lifecycle.role == .replica)
    world.run(for: 100)
    #expect((world.saidAt["end beat"] ?? .max) <= lostAt + 10)
    #expect(!world.children.values.contains { $0.id == .service(1) }, "neither it nor what left its group")
    world.run(for: 2000)
    #expect(world.lifecycle.role == .primary && spawns("beat", in: world) == 2)
    #expect(world.problems.isEmpty)
  }

  @Test func aLostLockKillsTheWholeGroupEvenWhereAStopLeavesIt() {
    var beat = LifecyclePlan.Process.service("beat")
    beat.isForPrimary = true
    beat.stop.killTarget = .leader
    let world = LifecycleWorld(
      .simple(services: [beat]), ["beat": [ChildScript(obeysAfter: nil, members: 2, membersObey: false)]])
    world.beginAndRun()
    world.run(for: 100)
    world.leaderIsTaken = true
    world.submit(.leader(.lockLost))
    world.run(for: 50)
    #expect(!world.children.values.contains { $0.id == .service(0) })
  }

  @Test(arguments: [ControlRequest.stop("beat"), .signal("beat", .terminate)])
  func whatItLeavesOfItsGroupDoesNotOutliveItWhateverItsStopSays(_ request: ControlRequest) {
    var beat = LifecyclePlan.Process.service("beat", mode: .onFailure)
    beat.isForPrimary = true
    beat.stop = StopPolicy(timeout: .seconds(1), killTarget: .leader)
    let script = ChildScript(endsWith: .exited(0), members: 2, membersObey: false)
    let world = LifecycleWorld(.simple(services: [beat]), ["beat": [script]])
    world.beginAndRun()
    world.run(for: 100)
    _ = world.ask(request)
    world.run(for: 1500)
    #expect(world.lifecycle.role == .primary)
    #expect(!world.children.values.contains { $0.id == .service(0) })
  }

  @Test func whatWaitsForItsRestartDoesNotStartAfterALoss() {
    let world = world(["beat": [.ending(1, after: 20)]])
    world.run(until: "end beat")
    let count = spawns("beat", in: world)
    world.leaderIsTaken = true
    world.submit(.leader(.lockLost))
    world.run(for: 60_000)
    #expect(spawns("beat", in: world) == count)
  }

  @Test func aStopByHandHoldsUntilAStartByHand() {
    let world = world()
    #expect(world.ask(.stop("beat")) == .accepted("stopping beat"))
    world.run(for: 100)
    for _ in 1...2 {
      world.submit(.leader(.lockLost))
      world.run(for: 5000)
      #expect(world.lifecycle.role == .primary && spawns("beat", in: world) == 1)
    }
    #expect(world.ask(.start("beat")) == .accepted("starting beat"))
    world.run(for: 100)
    world.submit(.leader(.lockLost))
    world.run(for: 5000)
    #expect(spawns("beat", in: world) == 3)
  }

  @Test func aStartOnAStandbyTakesTheStopBack() {
    let world = world()
    _ = world.ask(.stop("beat"))
    world.run(for: 100)
    world.leaderIsTaken = true
    world.submit(.leader(.lockLost))
    world.run(for: 5000)
    #expect(world.lifecycle.role == .replica)
    #expect(world.ask(.start("beat")) == .accepted("beat starts when this node is the primary"))
    #expect(world.ask(.start("beat")) == .refused("beat runs only on the primary (them)"))
    world.submit(.leader(.lockHeld(leftBy: "")))
    world.run(for: 5000)
    #expect(world.lifecycle.role == .primary && spawns("beat", in: world) == 2)
  }

  @Test func aVanishedPrimaryIsWaitedFor() {
    let world = world { $0.leaderLeftBy = "ghost" }
    #expect(spawns("beat", in: world) == 0)
    world.run(for: 2800)
    #expect(spawns("beat", in: world) == 0)
    world.run(for: 300)
    #expect(spawns("beat", in: world) == 1)
  }

  // MARK: Stops

  @Test func theLockGoesLast() {
    let world = world(["beat": [ChildScript(obeysAfter: 500)], "web": [ChildScript(obeysAfter: 300)]])
    world.signal(.terminate)
    world.runToExit()
    let order = [
      "TERM beat", "end beat", "TERM web", "end web", "role none", "release leader lock", "stage stopped",
    ]
    #expect(world.trace.filter(order.contains) == order)
    #expect(world.children.isEmpty && world.problems.isEmpty)
  }

  @Test func whoStopsIsNoCandidateAnyMore() {
    let world = world(["web": [ChildScript(obeysAfter: 5000)]]) { $0.leaderIsTaken = true }
    world.signal(.terminate)
    #expect(world.trace.contains("release leader lock"))
    // The lock, had it been under way.
    world.submit(.leader(.lockHeld(leftBy: "")))
    world.runToExit()
    #expect(spawns("beat", in: world) == 0 && world.lifecycle.role != .primary)
  }

  @Test func aTakeoverThatIsBrokenOffLeavesTheWaitToTheNext() {
    let world = world { $0.leaderLeftBy = "ghost" }
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.contains("abandon leader lock") && !world.trace.contains("release leader lock"))
    #expect(spawns("beat", in: world) == 0)
  }

  @Test func aLossDuringTheStopEndsAllTheSame() {
    let world = world(["web": [.stubborn], "beat": [.stubborn]])
    world.signal(.terminate)
    world.run(for: 50)
    world.submit(.leader(.lockLost))
    world.runToExit()
    #expect(world.children.isEmpty && world.ending != nil && spawns("beat", in: world) == 1)
  }

  // MARK: The hook

  @Test func theHookRunsOnEachChangeAndAgainWhenOneCameMeanwhile() {
    let world = world([Self.hookName: [.ending(0, after: 50)]], hook: true)
    #expect(spawns(Self.hookName, in: world) == 1)
    world.leaderIsTaken = true
    world.submit(.leader(.lockLost))
    world.run(for: 20)
    #expect(spawns(Self.hookName, in: world) == 2)
    world.leaderIsTaken = false
    // The role changes back while the hook runs.
    world.submit(.leader(.timer))
    world.run(for: 5)
    #expect(world.lifecycle.role == .primary && spawns(Self.hookName, in: world) == 2)
    world.run(for: 500)
    #expect(spawns(Self.hookName, in: world) == 3)
  }

  @Test(arguments: [
    ChildScript(), .stubborn, ChildScript(strays: 1), .missing, ChildScript(isUnkillable: true),
  ])
  func aHookNeverKeepsTheStopFromItsEnd(_ script: ChildScript) {
    let world = world([Self.hookName: [script]], hook: true)
    world.signal(.terminate)
    world.runToExit(limit: 60_000)
    #expect(world.ending != nil)
    if !script.isUnkillable { #expect(world.children.isEmpty) }
    #expect(world.problems.isEmpty)
  }

  @Test func aHookThatFailsIsSaidAndNothingElse() {
    let world = world([Self.hookName: [.ending(3)]], hook: true)
    #expect(world.logs.contains("hooks.on_role_change: exit code 3"))
    #expect(world.ending == nil && world.lifecycle.isReady)
  }
}
