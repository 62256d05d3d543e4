import LiteFS
import Phases
import Processes
import Testing

@testable import Lifecycle

/// LiteFS below everything else: its start, its loss, its stop.
@Suite struct LifecycleLiteFSTests {
  private func world(
    _ services: [LifecyclePlan.Process] = [], steps: [String] = ["migrate"],
    _ scripts: [String: [ChildScript]] = [:], change: (inout LifecyclePlan) -> Void = { _ in }
  ) -> LifecycleWorld {
    var scripts = scripts
    if scripts["litefs"] == nil {
      var obedient = ChildScript()
      obedient.endsWith = .exited(0)
      scripts["litefs"] = [obedient]
    }
    return LifecycleWorld(
      .simple(services: services, steps: steps) {
        $0.litefs = LifecyclePlan.LiteFS()
        change(&$0)
      }, scripts)
  }

  private func before(_ name: String) -> LifecyclePlan.Process {
    var service = LifecyclePlan.Process.service(name, early: true)
    service.startsBeforeLiteFS = true
    return service
  }

  private func pid(of id: ProcessID, _ world: LifecycleWorld) -> CInt? {
    world.children.first { $0.value.id == id && $0.value.isLeader }?.key
  }

  private func starts(_ world: LifecycleWorld) -> [String] {
    world.trace.filter { $0.hasPrefix("spawn") || $0.hasSuffix("mount") || $0.hasPrefix("end") }
  }

  @Test func everythingElseComesAfterIt() {
    let world = world([before("consul"), .service("cache", early: true), .service("queue")])
    world.beginAndRun()
    #expect(
      starts(world) == [
        "spawn consul", "clear mount", "spawn litefs", "spawn cache", "spawn step migrate",
        "end step migrate", "spawn queue", "spawn web",
      ])
    #expect(
      world.trace.filter { $0.hasPrefix("stage") } == [
        "stage early_services", "stage litefs", "stage infrastructure", "stage node", "stage running",
      ])
    #expect(world.lifecycle.isReady && world.problems.isEmpty)
  }

  @Test func itStopsAfterThoseThatUseItAndBeforeWhatItNeeds() {
    let world = world([before("consul"), .service("queue")])
    world.beginAndRun()
    world.signal(.terminate)
    world.runToExit()
    #expect(
      world.trace.filter { $0.hasPrefix("end") || $0.hasSuffix("mount") }.suffix(5) == [
        "end web", "end queue", "end litefs", "clear mount", "end consul",
      ])
    #expect(world.trace.last == "exit 143 stopped_on_request" && world.children.isEmpty)
    #expect(!world.trace.contains("under a running LiteFS"))
  }

  @Test func whoLeftItsGroupEndsBeforeIt() {
    var daemon = ChildScript()
    daemon.strays = 1
    let world = world([], ["web": [daemon]])
    world.beginAndRun()
    world.signal(.terminate)
    world.runToExit()
    let sweep = world.saidAt["sweep TERM CONT"] ?? .max
    #expect(sweep < world.saidAt["TERM litefs"] ?? 0)
    #expect(world.children.isEmpty && world.ending?.code == 143)
  }

  @Test(arguments: [MountState.absent, .dead])
  func whenTheMountIsLostThoseThatUseItEndFirst(state: MountState) {
    let world = world([before("consul"), .service("queue")])
    world.beginAndRun()
    world.submit(.litefs(.mount(state)))
    #expect(!world.lifecycle.isReady)
    world.run(until: "started web")
    world.run(for: 50)
    let after = starts(world).drop { $0 != "end web" && $0 != "end queue" }
    #expect(
      Set(after.prefix(2)) == ["end web", "end queue"]
        && after.dropFirst(2) == [
          "end litefs", "clear mount", "clear mount", "spawn litefs", "spawn queue", "spawn web",
        ], "\(starts(world))")
    #expect(world.lifecycle.isReady && world.ending == nil && world.problems.isEmpty)
    #expect(!world.trace.contains("under a running LiteFS"))
    // Nobody counts that as an end of the app.
    #expect(world.lifecycle.processes[.app]?.restarts == 0)
    #expect(world.children.values.filter { $0.id == .service(0) }.count == 1)
  }

  @Test func whenItDiesTheAppIsStoppedAndStartsAgainAfterIt() throws {
    let world = world([.service("queue")])
    world.beginAndRun()
    world.die(try #require(pid(of: .litefs, world)), .signaled(.kill))
    world.run(until: "started web")
    #expect(
      starts(world).drop { $0 != "end litefs" }.dropFirst().suffix(4) == [
        "clear mount", "spawn litefs", "spawn queue", "spawn web",
      ])
    #expect(world.ending == nil && world.problems.isEmpty)
    #expect(world.logs.contains("LiteFS: it ended (killed by KILL): stopping those who use it"))
  }

  @Test func whatWasStoppedByHandStaysSo() throws {
    let world = world([.service("queue")])
    world.beginAndRun()
    world.ask(.stop("queue"))
    world.run(for: 100)
    world.die(try #require(pid(of: .litefs, world)), .exited(1))
    world.run(until: "started web")
    world.run(for: 100)
    #expect(world.trace.filter { $0 == "spawn queue" }.count == 1)
  }

  @Test func itsLossDuringAPhaseEndsTheStart() throws {
    let world = world([], ["step migrate": [.stubborn]])
    world.begin()
    world.run(until: "started step migrate")
    world.die(try #require(pid(of: .litefs, world)), .exited(1))
    world.runToExit()
    #expect(world.ending?.code == 69 && world.ending?.reason == "litefs_lost")
    #expect(!world.trace.contains("spawn web") && world.children.isEmpty)
    #expect(world.trace.last { $0.hasSuffix("mount") } == "clear mount")
  }

  @Test func aStopWhileItWaitsForItsClusterKillsIt() {
    let world = world([], ["litefs": [.stubborn]])
    world.litefsServes = false
    world.begin()
    world.run(until: "started litefs")
    world.run(for: 100)
    world.signal(.terminate)
    world.runToExit()
    #expect(world.ending?.code == 143 && world.ending?.reason == "stopped_before_app")
    #expect(
      world.trace.contains("KILL litefs") && world.trace.last { $0.hasSuffix("mount") } == "clear mount")
    #expect((world.exitedAt ?? .max) < 10_000)
  }

  @Test func itIsNotWaitedForWithoutEnd() {
    let world = world { $0.litefs?.rules.patience = .seconds(20) }
    world.litefsServes = false
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 69 && world.ending?.reason == "litefs_unavailable")
    #expect(world.ending?.text == "LiteFS is not ready after 20s: not mounted yet")
    #expect(world.children.isEmpty)
  }

  @Test func whatItDoesNotTakeIsAnErrorOfTheSettings() {
    let world = world([], ["litefs": [.ending(2)]])
    world.litefsServes = false
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 78 && world.ending?.reason == "litefs_refused")
    #expect(world.children.isEmpty)
  }

  @Test func aProgramThatIsNotThereIsSaid() {
    let world = world([], ["litefs": [.missing]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 78)
    #expect(world.ending?.text.hasPrefix("LiteFS cannot be started: ") == true)
  }

  @Test func othersWhoseAppEndsStopItToo() {
    let world = world([], ["web": [.ending(3)]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 3 && world.ending?.reason == "app_ended")
    #expect(world.trace.contains("end litefs") && world.children.isEmpty)
  }
}
