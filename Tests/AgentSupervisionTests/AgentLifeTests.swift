import AgentProtocol
import AgentSupervision
import EventLoop
import Processes
import TestSupport
import Testing

/// An `AgentLife` on a clock of the test's own.
private struct World {
  var life = AgentLife(path: "/agent")
  var now = MonotonicInstant(nanoseconds: 1_000_000_000)

  static let target = ProbeTarget.tcp(host: "db", port: 5432)

  mutating func hear(_ event: AgentLife.Event, after delay: Duration = .zero) -> [AgentLife.Effect] {
    now = now + delay
    // Whoever talks about locks is told of connections too; these tests are about probes.
    return life.handle(event, at: now).filter { effect in
      switch effect {
      case .connected, .disconnected: false
      default: true
      }
    }
  }

  mutating func ask(_ id: UInt64) -> [AgentLife.Effect] {
    hear(.startProbe(id: id, target: Self.target, timeout: .seconds(1)))
  }

  static func request(_ id: UInt64) -> AgentLife.Effect {
    .send(.startProbe(id: id, target: target, timeout: .seconds(1)))
  }

  mutating func hello() -> [AgentLife.Effect] {
    hear(.report(incarnation: life.incarnation, .hello(version: "1", role: "coordination", pid: 9)))
  }

  /// Asked for probe 1 and running.
  static func running() -> World {
    var world = World()
    _ = world.ask(1)
    _ = world.hello()
    return world
  }

  mutating func ended(_ status: Processes.ExitStatus = .signaled(.kill)) -> [AgentLife.Effect] {
    hear(.ended(incarnation: life.incarnation, status))
  }
}

struct AgentLifeTests {
  @Test func `it is started by the first request, and asked when it has said hello`() {
    var world = World()
    #expect(world.life.state == .idle)
    #expect(world.ask(1) == [.spawn(incarnation: 1), .schedule(world.now + .seconds(5))])
    #expect(world.ask(2) == [])
    #expect(world.hello() == [World.request(1), World.request(2), .schedule(world.now + .seconds(3))])
    #expect(world.ask(3) == [World.request(3)])
  }

  @Test func `a result goes to whoever asked, once`() {
    var world = World.running()
    let report = AgentReport.probeResult(id: 1, outcome: .ready("so"))
    let by = world.now + .seconds(4)
    #expect(
      world.hear(.report(incarnation: 1, report), after: .seconds(1)) == [
        .result(id: 1, .ready("so")), .schedule(by),
      ])
    #expect(world.hear(.report(incarnation: 1, report)) == [.schedule(by)])
    #expect(world.hear(.report(incarnation: 7, report)) == [])
  }

  @Test func `a cancelled probe is taken back, and its late result dropped`() {
    var world = World.running()
    #expect(world.hear(.cancelProbe(id: 1)) == [.send(.cancelProbe(id: 1))])
    #expect(world.hear(.cancelProbe(id: 1)) == [])
    let effects = world.hear(.report(incarnation: 1, .probeResult(id: 1, outcome: .ready("so"))))
    #expect(effects == [.schedule(world.now + .seconds(3))])
  }

  // MARK: Hangs

  @Test func `silence of three seconds is a hang, and each report begins them anew`() {
    var world = World.running()
    #expect(world.hear(.timer, after: .seconds(2)) == [.schedule(world.now + .seconds(1))])
    _ = world.hear(.report(incarnation: 1, .heartbeat), after: .milliseconds(900))
    #expect(world.hear(.timer, after: .milliseconds(2999)) == [.schedule(world.now + .milliseconds(1))])
    #expect(
      world.hear(.timer, after: .milliseconds(1)) == [
        .log(.warning, "the agent /agent said nothing for 3s: killing it"), .kill, .unschedule,
      ])
    #expect(world.life.state == .ending(failure: "said nothing for 3s", by: nil))
  }

  @Test func `no hello within five seconds is a hang`() {
    var world = World()
    _ = world.ask(1)
    #expect(world.hear(.timer, after: .seconds(4)) == [.schedule(world.now + .seconds(1))])
    #expect(world.hear(.timer, after: .seconds(1)).contains(.kill))
  }

  @Test func `when we ourselves stood still the agent gets its time again`() {
    var world = World.running()
    #expect(world.hear(.timer, after: .seconds(60)) == [.schedule(world.now + .seconds(3))])
    #expect(world.hear(.timer, after: .seconds(3)).contains(.kill))
  }

  // MARK: Ends

  @Test func `what was not answered is asked of the next one, after a pause`() {
    var world = World.running()
    _ = world.ask(2)
    _ = world.hear(.report(incarnation: 1, .probeResult(id: 1, outcome: .notYet("no"))))
    let again = world.now + .milliseconds(100)
    #expect(
      world.ended(.exited(3)) == [
        .log(.warning, "the agent /agent ended unasked, with exit code 3; starting it again in 100ms"),
        .schedule(again),
      ])
    #expect(world.hear(.timer) == [.schedule(again)])
    #expect(world.hear(.timer, after: .milliseconds(100)).first == .spawn(incarnation: 2))
    #expect(world.hello() == [World.request(2), .schedule(world.now + .seconds(3))])
  }

  @Test func `its own reason for ending is said`() {
    var world = World.running()
    #expect(world.hear(.report(incarnation: 1, .end(reason: "low on memory"))) == [])
    let effects = world.ended(.exited(0))
    #expect(
      effects.first
        == .log(
          .warning,
          "the agent /agent ended unasked, with exit code 0 (it said: low on memory); starting it again in 100ms"
        ))
  }

  @Test func `an end that nobody suffers from starts nothing, but the pause is kept`() {
    var world = World.running()
    _ = world.hear(.report(incarnation: 1, .probeResult(id: 1, outcome: .ready("so"))))
    #expect(world.ended().count == 2)
    #expect(world.life.state == .idle)
    #expect(world.ask(2) == [.schedule(world.now + .milliseconds(100))])
    // Taken back before it began: nothing is started.
    #expect(world.hear(.cancelProbe(id: 2)) == [.unschedule])
    #expect(world.life.state == .idle)
  }

  @Test func `garbage is met by KILL, and the next one is tried`() {
    var world = World.running()
    let effects = world.hear(.broken(incarnation: 1, reason: "sent nonsense", isPermanent: false))
    #expect(effects == [.log(.warning, "the agent /agent sent nonsense: killing it"), .kill, .unschedule])
    // What it still says counts no more.
    #expect(world.hear(.report(incarnation: 1, .probeResult(id: 1, outcome: .ready("so")))) == [])
    #expect(world.hear(.broken(incarnation: 1, reason: "again", isPermanent: false)) == [])
    #expect(world.ended().first == .log(.warning, "starting the agent /agent again in 100ms"))
  }

  @Test(arguments: [AgentReport.heartbeat, .probeResult(id: 1, outcome: .ready("so"))])
  func `a report before hello is garbage`(report: AgentReport) {
    var world = World()
    _ = world.ask(1)
    #expect(world.hear(.report(incarnation: 1, report)).contains(.kill))
  }

  @Test func `another version is given up at once`() {
    var world = World()
    _ = world.ask(1)
    _ = world.hear(.broken(incarnation: 1, reason: "speaks version 2", isPermanent: true))
    #expect(world.ended() == [.unschedule, .unavailable("the agent /agent speaks version 2")])
    #expect(world.life.state == .gaveUp("the agent /agent speaks version 2"))
    #expect(world.ask(2) == [.unavailable("the agent /agent speaks version 2")])
  }

  @Test(arguments: [true, false])
  func `a start that failed is given up at once only for a lasting reason`(isPermanent: Bool) {
    var world = World()
    _ = world.ask(1)
    let effects = world.hear(
      .startFailed(incarnation: 1, reason: "/agent: not found", isPermanent: isPermanent))
    let reason = "the agent /agent could not be started: /agent: not found"
    if isPermanent {
      #expect(effects == [.unschedule, .unavailable(reason)])
    } else {
      #expect(effects.first == .log(.warning, "\(reason); starting it again in 100ms"))
    }
  }

  @Test func `five failures within a minute are the end, and the reason names the last one`() {
    var world = World()
    _ = world.ask(1)
    for round in 1...4 {
      #expect(world.life.incarnation == round)
      guard case .schedule(let time)? = world.ended(.exited(1)).last else {
        Issue.record("no pause after failure \(round)")
        return
      }
      #expect(time - world.now == .milliseconds(50 << round))
      _ = world.hear(.timer, after: time - world.now)
    }
    let reason =
      "the agent /agent failed 5 times within 1m: the last time it ended unasked, with exit code 1"
    #expect(world.ended(.exited(1)) == [.unschedule, .unavailable(reason)])
  }

  @Test func `an agent that fails now and then is never given up`() {
    var world = World.running()
    for _ in 0..<50 {
      world.now = world.now + .seconds(61)
      #expect(!world.ended().contains { if case .unavailable = $0 { true } else { false } })
      _ = world.hear(.timer, after: .milliseconds(100))
      _ = world.hello()
    }
    #expect(world.life.incarnation == 51)
  }

  // MARK: Stopping

  @Test func `stop asks, waits two seconds, and kills`() {
    var world = World.running()
    #expect(world.hear(.stop) == [.send(.end), .schedule(world.now + .seconds(2))])
    #expect(world.ask(2) == [.unavailable("the agent is being stopped")])
    #expect(world.hear(.timer, after: .seconds(2)).contains(.kill))
    #expect(world.ended() == [.unschedule, .stopped])
    #expect(world.life.state == .stopped)
  }

  @Test func `stop before it said hello kills, and without a process is done at once`() {
    var world = World()
    _ = world.ask(1)
    #expect(world.hear(.stop) == [.kill, .unschedule])
    #expect(world.ended() == [.unschedule, .stopped])
    var idle = World()
    #expect(idle.hear(.stop) == [.unschedule, .stopped])
  }

  @Test func `stop while it is being killed, or waits to be started again`() {
    var killed = World.running()
    _ = killed.hear(.broken(incarnation: 1, reason: "sent nonsense", isPermanent: false))
    #expect(killed.hear(.stop) == [])
    #expect(killed.ended() == [.unschedule, .stopped])
    var waiting = World.running()
    _ = waiting.ended()
    #expect(waiting.hear(.stop) == [.unschedule, .stopped])
    #expect(waiting.hear(.timer, after: .seconds(1)) == [])
  }

  /// Whatever comes in whatever order: one process at a time, no spawn after the end, every probe answered, taken
  /// back, or told that there is no agent.
  @Test(arguments: 0..<300 as Range<UInt64>)
  func `random lives keep their promises`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var world = World()
    var open: Set<UInt64> = []
    var last: UInt64 = 0
    var isThere = false
    var isOver = false
    var isStopped = false
    for _ in 0..<200 {
      world.now = world.now + .milliseconds(Int.random(in: 0..<2000, using: &random))
      let number =
        Bool.random(using: &random) ? world.life.incarnation : Int.random(in: 0..<5, using: &random)
      let event: AgentLife.Event
      switch Int.random(in: 0..<12, using: &random) {
      case 0, 1:
        last += 1
        open.insert(last)
        event = .startProbe(id: last, target: World.target, timeout: .seconds(1))
      case 2:
        let id = UInt64.random(in: 0...last, using: &random)
        open.remove(id)
        event = .cancelProbe(id: id)
      case 3 where isThere:
        isThere = false
        event = .ended(incarnation: world.life.incarnation, .exited(1))
      case 4 where isThere && random.once(in: 3):
        isThere = false
        event = .startFailed(incarnation: world.life.incarnation, reason: "no", isPermanent: false)
      case 5: event = .broken(incarnation: number, reason: "no", isPermanent: random.once(in: 20))
      case 6 where random.once(in: 20):
        event = .stop
        open = []
      case 7, 8: event = .report(incarnation: number, .hello(version: "", role: "", pid: 1))
      case 9: event = .report(incarnation: number, .heartbeat)
      case 10:
        event = .report(
          incarnation: number,
          .probeResult(id: UInt64.random(in: 0...last, using: &random), outcome: .ready("")))
      default: event = .timer
      }
      for effect in world.life.handle(event, at: world.now) {
        switch effect {
        case .spawn:
          #expect(!isThere && !isOver && !isStopped)
          isThere = true
        case .result(let id, _): #expect(open.remove(id) != nil)
        case .unavailable:
          open = []
          if case .gaveUp = world.life.state { isOver = true }
        case .send, .kill: #expect(isThere)
        case .stopped:
          #expect(!isThere && !isStopped)
          isStopped = true
        case .schedule, .unschedule, .log, .connected, .disconnected, .endangered: break
        }
      }
      // Whoever waits for an answer has an agent, or one will be started.
      if !open.isEmpty { #expect(world.life.state != .idle && !isOver && !isStopped) }
    }
  }
}
