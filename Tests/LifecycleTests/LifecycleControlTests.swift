import Control
import EventLoop
import Processes
import Testing

@testable import Lifecycle

/// Requests over the control socket, in each stage and state.
@Suite struct LifecycleControlTests {
  private func running(
    _ scripts: [String: [ChildScript]] = [:], mode: RestartPolicy.Mode = .always
  ) -> LifecycleWorld {
    let world = LifecycleWorld(.simple(services: [.service("queue", mode: mode)]), scripts)
    world.beginAndRun()
    return world
  }

  private func spawns(_ name: String, in world: LifecycleWorld) -> Int {
    world.trace.filter { $0 == "spawn \(name)" }.count
  }

  static let all: [ControlRequest] = [.restart("web"), .stop("web"), .start("web"), .signal("web", .user1)]

  @Test(arguments: [ControlRequest.restart("x"), .stop("x"), .start("x"), .signal("x", .user1)])
  func anUnknownName(_ request: ControlRequest) {
    #expect(running().ask(request) == .unknownProcess(["web", "queue"]))
  }

  @Test(arguments: all) func beforeItsTime(_ request: ControlRequest) {
    let world = LifecycleWorld(.simple(steps: ["migrate"]))
    world.begin()
    world.run(until: "started step migrate")
    let outcome = world.ask(request)
    #expect(outcome == .refused("web is not started yet: the stage is infrastructure"))
    #expect(spawns("web", in: world) == 0)
  }

  @Test(arguments: all) func whileStopping(_ request: ControlRequest) {
    let world = running(["web": [.stubborn]])
    world.signal(.terminate)
    let before = world.trace
    #expect(world.ask(request) == .refused("the supervisor is stopping"))
    #expect(world.trace == before)
  }

  @Test func restartStopsThenStarts() {
    let world = running()
    #expect(world.ask(.restart("queue")) == .accepted("restarting queue"))
    world.run(until: "started queue")
    #expect(
      world.trace.suffix(4) == ["TERM queue", "end queue", "spawn queue", "started queue"])
    #expect(world.exitedAt == nil)
  }

  @Test func restartsThatWereAskedCountInNoLimit() {
    let world = running()
    for _ in 0..<30 {
      world.ask(.restart("web"))
      #expect(world.run(until: "started web"))
    }
    #expect(world.exitedAt == nil && world.lifecycle.isReady)
  }

  @Test func stopLeavesEverythingElseUpAndNotReady() {
    let world = running()
    #expect(world.ask(.stop("web")) == .accepted("stopping web"))
    world.run(for: 60_000)
    #expect(world.exitedAt == nil && !world.lifecycle.isReady && spawns("web", in: world) == 1)
    #expect(world.ask(.signal("web", .user1)) == .refused("web does not run"))
    #expect(world.ask(.start("web")) == .accepted("starting web"))
    world.run(for: 100)
    #expect(world.lifecycle.isReady && spawns("web", in: world) == 2)
  }

  @Test func startOfWhatRunsDoesNothing() {
    let world = running()
    #expect(world.ask(.start("web")) == .accepted("web runs already"))
    world.run(for: 100)
    #expect(spawns("web", in: world) == 1)
  }

  @Test func startDuringAStopStartsAfterIt() {
    let world = running(["queue": [ChildScript(obeysAfter: 1000)]])
    world.ask(.stop("queue"))
    #expect(world.ask(.start("queue")) == .accepted("starting queue"))
    world.run(for: 2000)
    #expect(spawns("queue", in: world) == 2 && world.problems.isEmpty)
  }

  @Test func stopDuringARestartStays() {
    let world = running(["queue": [ChildScript(obeysAfter: 1000)]])
    world.ask(.restart("queue"))
    world.ask(.stop("queue"))
    world.run(for: 60_000)
    #expect(spawns("queue", in: world) == 1)
  }

  @Test func inTheBackoff() {
    for request in [ControlRequest.start("queue"), .restart("queue"), .stop("queue")] {
      let world = running(["queue": [.ending(1, after: 50), ChildScript()]])
      world.run(until: "end queue")
      world.ask(request)
      if case .stop = request {
        world.run(for: 60_000)
        #expect(spawns("queue", in: world) == 1)
      } else {
        #expect(world.trace.last == "spawn queue")
        world.run(for: 60_000)
        #expect(spawns("queue", in: world) == 2)
      }
    }
  }

  @Test func afterGivingUpAStartBeginsAnew() {
    let world = LifecycleWorld(
      .simple(services: [.service("queue", limit: 2, ignored: true)]),
      ["queue": [.ending(1), .ending(1), ChildScript()]])
    world.beginAndRun()
    world.run(for: 60_000)
    #expect(spawns("queue", in: world) == 2)
    world.ask(.restart("queue"))
    world.run(for: 60_000)
    #expect(spawns("queue", in: world) == 3 && world.children.count == 2)
  }

  @Test func afterACompletedRunAStartRunsItAgain() {
    let world = running(["queue": [.ending(0, after: 50)]], mode: .never)
    world.run(for: 1000)
    #expect(spawns("queue", in: world) == 1 && world.exitedAt == nil)
    world.ask(.start("queue"))
    #expect(spawns("queue", in: world) == 2)
  }

  @Test func aSignalGoesToTheLeader() {
    let world = running(["web": [.stubborn]])
    #expect(world.ask(.signal("web", .user2)) == .accepted("sent USR2 to web"))
    #expect(world.trace.last == "USR2 web")
  }

  @Test func straysOfWhatIsRestartedAreStopped() {
    let world = running(["queue": [ChildScript(strays: 2), ChildScript()]])
    world.ask(.restart("queue"))
    world.run(for: 1000)
    #expect(world.trace.contains("strays queue TERM CONT"))
    #expect(world.children.count == 2)
  }
}
