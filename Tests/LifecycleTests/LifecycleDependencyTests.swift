import Control
import EventLoop
import Phases
import Processes
import Testing

@testable import Lifecycle

/// Waits: of the whole start, of a process, of a step.
@Suite struct LifecycleDependencyTests {
  private static func waiting(_ name: String, early: Bool = false, ignored: Bool = false)
    -> LifecyclePlan.Process
  {
    var process = LifecyclePlan.Process.service(name, early: early, ignored: ignored)
    process.waits = true
    return process
  }

  private static let queue = WaitID.process(.service(0))
  private static let step = WaitID.process(.infrastructureStep(0))

  private func spawns(in world: LifecycleWorld) -> [String] { world.trace.filter { $0.hasPrefix("spawn") } }

  // MARK: The start

  @Test func nothingButEarlyServicesComesBeforeTheStartsWait() {
    let world = LifecycleWorld(
      .simple(services: [.service("db", early: true)], steps: ["migrate"]) { $0.waitsAtStart = true })
    world.begin()
    world.run(for: 10_000)
    #expect(spawns(in: world) == ["spawn db"])
    #expect(world.trace.contains("stage dependencies") && !world.trace.contains("lock"))
    world.submit(.waited(.start, .ready))
    world.run(for: 1000)
    #expect(spawns(in: world) == ["spawn db", "spawn step migrate", "spawn web"])
    // An answer that comes twice is none.
    world.submit(.waited(.start, .failed("late")))
    #expect(world.ending == nil && world.lifecycle.isReady)
  }

  @Test(arguments: [
    (WaitOutcome.failed("db refused"), "dependency_refused"),
    (.timedOut("db never came"), "dependency_timeout"),
  ])
  func aStartThatCannotWaitIs69(_ outcome: WaitOutcome, _ reason: String) {
    let world = LifecycleWorld(.simple(steps: ["migrate"]) { $0.waitsAtStart = true })
    world.waitOutcomes[.start] = outcome
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 69 \(reason)" && spawns(in: world) == [])
    #expect(world.logs.contains { $0.hasPrefix("db ") })
  }

  @Test func aStopMeanwhileEndsAtOnce() {
    let world = LifecycleWorld(
      .simple(services: [.service("db", early: true)]) { $0.waitsAtStart = true })
    world.begin()
    world.run(for: 1000)
    let at = world.milliseconds
    world.signal(.terminate)
    #expect(world.trace.contains("cancel wait start"))
    world.submit(.waited(.start, .ready))
    world.runToExit()
    #expect(world.trace.last == "exit 143 stopped_before_app" && (world.exitedAt ?? .max) < at + 100)
    #expect(spawns(in: world) == ["spawn db"] && world.children.isEmpty)
  }

  @Test func anEarlyServiceThatGivesUpEndsTheWait() {
    let world = LifecycleWorld(
      .simple(services: [.service("db", early: true, mode: .never)]) { $0.waitsAtStart = true },
      ["db": [.ending(3, after: 500)]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 3 && world.trace.contains("cancel wait start"))
  }

  // MARK: Processes

  @Test func onlyTheProcessThatWaitsWaits() {
    let world = LifecycleWorld(.simple(services: [Self.waiting("queue"), .service("other")]))
    world.beginAndRun()
    #expect(spawns(in: world) == ["spawn other", "spawn web"] && world.lifecycle.isReady)
    #expect(world.ask(.restart("queue")) == .refused("queue is not started yet: it waits for what it needs"))
    world.submit(.waited(Self.queue, .ready))
    #expect(spawns(in: world).last == "spawn queue")
    world.signal(.terminate)
    world.runToExit()
    // The last to start is the first to stop.
    #expect(world.trace.filter { $0.hasPrefix("TERM") } == ["TERM queue", "TERM web", "TERM other"])
  }

  @Test(arguments: [false, true]) func aServiceWhoseWaitFails(isIgnored: Bool) {
    let world = LifecycleWorld(.simple(services: [Self.waiting("queue", ignored: isIgnored)]))
    world.waitOutcomes[Self.queue] = .timedOut("no bus")
    world.beginAndRun()
    world.run(for: 5000)
    #expect(world.ending?.code == (isIgnored ? nil : 69))
    #expect(world.logs.contains { $0.hasPrefix("queue is not started: no bus") })
  }

  @Test func anAppThatWaitsIsNotReady() {
    let world = LifecycleWorld(.simple(services: [.service("other")]) { $0.app.waits = true })
    world.begin()
    world.run(for: 1000)
    #expect(!world.lifecycle.isReady && spawns(in: world) == ["spawn other"])
    world.signal(.terminate)
    world.submit(.waited(.process(.app), .ready))
    world.runToExit()
    #expect(world.ending?.code == 143 && spawns(in: world) == ["spawn other"])
  }

  @Test(arguments: [false, true]) func anEarlyServiceWaitsToo(isIgnored: Bool) {
    let world = LifecycleWorld(
      .simple(services: [Self.waiting("db", early: true, ignored: isIgnored)], steps: ["migrate"]))
    world.begin()
    world.run(for: 1000)
    #expect(spawns(in: world) == [])
    if isIgnored {
      // It is gone on without, or the start would hang here for ever.
      world.submit(.waited(Self.queue, .failed("no disk")))
      world.run(for: 1000)
      #expect(spawns(in: world) == ["spawn step migrate", "spawn web"])
    } else {
      world.submit(.waited(Self.queue, .ready))
      world.run(for: 1000)
      #expect(spawns(in: world) == ["spawn db", "spawn step migrate", "spawn web"])
    }
  }

  @Test func anEarlyServiceMayNotWaitForEver() {
    let world = LifecycleWorld(
      .simple(services: [Self.waiting("db", early: true)]) { $0.infrastructureRules.timeout = .seconds(20) })
    world.begin()
    world.runToExit()
    #expect(world.trace.last == "exit 69 early_service_unhealthy")
    #expect(world.trace.contains { $0.hasPrefix("cancel wait") })
  }

  @Test func aRoleBoundServiceThatWaitsLosesItsWaitWithTheRole() {
    var beat = Self.waiting("beat")
    beat.isForPrimary = true
    let world = LifecycleWorld(.simple(services: [beat]))
    world.beginAndRun()
    world.run(for: 100)
    #expect(world.lifecycle.role == .primary)
    world.submit(.leader(.lockLost))
    world.submit(.waited(Self.queue, .ready))
    #expect(spawns(in: world) == ["spawn web"])
    // Primary again, it waits again.
    world.waitOutcomes[Self.queue] = .ready
    world.run(for: 2000)
    #expect(spawns(in: world) == ["spawn web", "spawn beat"])
  }

  // MARK: Steps

  private func stepWorld(timeout: Duration? = nil) -> LifecycleWorld {
    LifecycleWorld(
      .simple(steps: ["bus", "migrate"]) {
        $0.infrastructure[0].waits = true
        $0.infrastructure[0].phase.timeout = timeout
        $0.infrastructure[1].phase.needs = ["bus"]
      })
  }

  @Test func aStepThatIsAWaitIsDoneWhenItsWaitIs() {
    let world = stepWorld()
    world.begin()
    world.run(for: 5000)
    #expect(spawns(in: world) == [] && world.trace.contains("lock"))
    world.submit(.waited(Self.step, .ready))
    world.run(for: 1000)
    #expect(spawns(in: world) == ["spawn step migrate", "spawn web"])
    #expect(world.record?.completedAt != nil)
  }

  @Test func aStepWhoseWaitFailsIs76() {
    let world = stepWorld()
    world.waitOutcomes[Self.step] = .timedOut("no bus")
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 76 && world.record?.failure?.reason == "no bus")
    #expect(world.trace.contains("unlock"))
  }

  @Test func aStopDuringAStepThatWaitsIsNoFailure() {
    let world = stepWorld()
    world.begin()
    world.run(for: 5000)
    let at = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.last == "exit 143 stopped_before_app" && (world.exitedAt ?? .max) < at + 100)
    #expect(world.trace.contains { $0.hasPrefix("cancel wait") } && world.trace.contains("unlock"))
    #expect(world.record?.failure == nil)
  }

  @Test func aStepThatWaitsHasItsTimeout() {
    let world = stepWorld(timeout: .seconds(4))
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == 76 && (world.exitedAt ?? .max) < 5000)
    #expect(world.trace.contains { $0.hasPrefix("cancel wait") })
  }

  @Test func aLostLockEndsAStepThatWaits() {
    let world = stepWorld()
    world.begin()
    world.run(for: 1000)
    world.submit(.infrastructure(.lockLost))
    world.runToExit(limit: 10_000)
    #expect(world.ending?.reason == "lock_lost" && world.trace.contains { $0.hasPrefix("cancel wait") })
  }
}
