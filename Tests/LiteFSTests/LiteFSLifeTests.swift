import EventLoop
import Processes
import Testing

@testable import LiteFS

/// Feeds a life, and keeps what it wants.
private struct Rig {
  var life: LiteFSLife
  var milliseconds: UInt64 = 1000
  var notes: [String] = []
  var alarm: MonotonicInstant?

  init(_ change: (inout LiteFSRules) -> Void = { _ in }) {
    var rules = LiteFSRules()
    rules.waitsFor = "node-1"
    change(&rules)
    life = LiteFSLife(rules)
  }

  /// What comes of it in words, without notes and timers.
  @discardableResult
  mutating func send(_ event: LiteFSLife.Event, after delay: UInt64 = 0) -> [String] {
    milliseconds += delay
    var words: [String] = []
    for effect in life.handle(event, at: MonotonicInstant(nanoseconds: milliseconds * 1_000_000)) {
      switch effect {
      case .clear(let aborts): words.append(aborts ? "abort" : "clear")
      case .spawn: words.append("spawn")
      case .end(let atOnce): words.append(atOnce ? "kill" : "end")
      case .ready: words.append("ready")
      case .stopUsers: words.append("stop users")
      case .schedule(let time): alarm = time
      case .unschedule: alarm = nil
      case .note(let text, _): notes.append(text)
      case .failed(let failure): words.append("failed: \(failure.kind): \(failure.text)")
      case .finished: words.append("finished")
      }
    }
    return words
  }

  /// The next timer.
  @discardableResult
  mutating func wait() -> [String] {
    guard let due = alarm else { return ["no timer"] }
    alarm = nil
    milliseconds = max(milliseconds, due.nanoseconds / 1_000_000)
    return send(.timer)
  }

  mutating func start() {
    send(.begin)
    send(.cleared(failure: nil))
    send(.spawned)
  }

  mutating func makeReady() {
    start()
    send(.mount(.works))
    send(.role(.primary))
  }
}

@Suite("the life of the LiteFS process")
struct LiteFSLifeTests {
  @Test("what was left is cleared before the start, and a primary is ready once it is mounted")
  func primary() {
    var rig = Rig()
    #expect(rig.send(.begin) == ["clear"])
    #expect(rig.send(.mount(.dead)) == [], "what was left is not ours")
    #expect(rig.send(.cleared(failure: nil)) == ["spawn"])
    #expect(rig.send(.spawned) == [])
    #expect(rig.send(.role(.primary)) == [], "the lease is had before the mount")
    #expect(rig.send(.mount(.works)) == ["ready"])
    #expect(rig.alarm == nil && rig.life.isReady)
  }

  @Test("a replica is ready once it has been given data, not when it has found the primary")
  func replica() {
    var rig = Rig()
    rig.start()
    #expect(rig.send(.mount(.works)) == [])
    #expect(rig.send(.role(.replica(of: "node-1"))) == [])
    #expect(rig.send(.lag(.neverSynced)) == [])
    #expect(rig.life.reason == "mounted; waiting for the first data from node-1")
    #expect(rig.send(.lag(.behind(.milliseconds(-40)))) == ["ready"])
  }

  @Test("waiting is said, with what for, and ends")
  func patience() {
    var rig = Rig { $0.patience = .seconds(25) }
    rig.start()
    rig.send(.mount(.works))
    rig.send(.role(.none))
    #expect(rig.wait() == [])
    #expect(
      rig.notes == ["waiting for LiteFS: mounted; waiting for node-1: no primary is known (for 10s now)"])
    #expect(rig.wait() == [])
    #expect(
      rig.wait() == [
        "failed: unavailable: LiteFS is not ready after 25s: mounted; waiting for node-1: no primary is known"
      ])
    // TERM is ignored by one that waits; whoever stops it has KILL behind it.
    #expect(rig.send(.stop) == ["end"])
    #expect(rig.send(.ended(.signaled(.kill))) == ["clear"])
    #expect(rig.send(.cleared(failure: nil)) == ["finished"])
  }

  @Test("exit code 2 is an error of the settings before a mount was seen, and a crash after it")
  func settings() {
    var rig = Rig()
    rig.start()
    #expect(rig.send(.ended(.exited(2))).first?.hasPrefix("failed: settings: ") == true)
    rig = Rig()
    rig.makeReady()
    #expect(rig.send(.ended(.exited(2))) == ["stop users"])
  }

  @Test("what cannot be started at all is an error of the settings")
  func notStarted() {
    var rig = Rig()
    rig.send(.begin)
    rig.send(.cleared(failure: nil))
    #expect(rig.send(.spawnFailed("litefs: no such file")) == ["failed: settings: litefs: no such file"])
  }

  @Test("a start that fails is tried again, after longer and longer pauses", arguments: [1, 99])
  func backoff(code: Int32) {
    var rig = Rig()
    rig.start()
    var pauses: [UInt64] = []
    for _ in 0..<8 {
      #expect(rig.send(.ended(.exited(code))) == [])
      let ended = rig.milliseconds
      #expect(rig.wait() == ["clear"], "the mount of the one before")
      pauses.append(rig.milliseconds - ended)
      rig.send(.cleared(failure: nil))
      rig.send(.spawned)
    }
    let steps: [UInt64] = [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]
    #expect(pauses == steps.map { code == 99 ? max($0, 5000) : $0 })
    #expect(rig.life.restarts == 8)
    #expect(rig.notes.contains { $0.contains("may be lost") } == (code == 99))
  }

  @Test("a long time of service makes the next end the first")
  func reset() {
    var rig = Rig()
    for round in 0..<3 {
      if round == 0 { rig.makeReady() }
      rig.send(.ended(.signaled(.kill)), after: 60_000)
      #expect(rig.send(.usersStopped) == [])
      let ended = rig.milliseconds
      rig.wait()
      #expect(rig.milliseconds - ended == 500)
      rig.send(.cleared(failure: nil))
      rig.send(.spawned)
      rig.send(.role(.primary))
      #expect(rig.send(.mount(.works)) == ["ready"])
    }
  }

  @Test("who uses it ends before it is cleared and started again")
  func ended() {
    var rig = Rig()
    rig.makeReady()
    #expect(rig.send(.ended(.signaled(.kill))) == ["stop users"])
    #expect(rig.send(.mount(.dead)) == [])
    #expect(rig.send(.usersStopped) == [])
    #expect(rig.wait() == ["clear"])
    #expect(rig.send(.cleared(failure: nil)) == ["spawn"])
    rig.send(.spawned)
    #expect(!rig.life.isReady, "what the last one said does not count")
    rig.send(.mount(.works))
    #expect(rig.send(.role(.primary)) == ["ready"])
  }

  @Test(
    "a mount that is lost while the process lives: users, process, mount, and again",
    arguments: [MountState.absent, .dead, .foreign("tmpfs")])
  func lost(state: MountState) {
    var rig = Rig()
    rig.makeReady()
    #expect(rig.send(.mount(state)) == ["stop users"])
    #expect(rig.send(.usersStopped) == [state == .dead ? "kill" : "end"])
    // With the mount gone its own unmount fails.
    #expect(rig.send(.ended(.exited(1))) == ["clear"])
    #expect(rig.send(.cleared(failure: nil)) == [])
    #expect(rig.wait() == ["clear"])
    #expect(rig.send(.cleared(failure: nil)) == ["spawn"])
  }

  @Test("one look that hangs is no hang, a second is; then its connection is cut")
  func hung() {
    var rig = Rig()
    rig.makeReady()
    #expect(rig.send(.mount(.hung)) == [])
    #expect(rig.send(.mount(.works)) == [])
    #expect(rig.send(.mount(.hung)) == [])
    #expect(rig.send(.mount(.hung), after: 1000) == ["stop users"])
    // They may hang in it themselves.
    #expect(rig.wait() == ["abort"])
    #expect(rig.send(.cleared(failure: nil)) == [])
    #expect(rig.send(.usersStopped) == ["kill"])
    #expect(rig.send(.ended(.signaled(.kill))) == ["abort"])
  }

  @Test("without a primary it goes on: it can be read")
  func withoutPrimary() {
    var rig = Rig()
    rig.makeReady()
    #expect(rig.send(.role(.none)) == [])
    #expect(rig.send(.role(.unknown)) == [])
    #expect(rig.life.isReady)
  }

  @Test("what cannot be cleared before the start ends it")
  func uncleared() {
    var rig = Rig()
    rig.send(.begin)
    #expect(rig.send(.cleared(failure: "no permission")) == ["failed: unavailable: no permission"])
  }

  @Test("a stop leaves neither process nor mount, whenever it comes")
  func stops() {
    var rig = Rig()
    rig.makeReady()
    #expect(rig.send(.stop) == ["end"])
    #expect(rig.send(.stop) == [])
    #expect(rig.send(.mount(.absent)) == [])
    #expect(rig.send(.ended(.exited(0))) == ["clear"], "it may have left it behind")
    #expect(rig.send(.cleared(failure: nil)) == ["finished"])
    #expect(rig.send(.timer) == [])

    rig = Rig()
    rig.send(.begin)
    #expect(rig.send(.stop) == ["clear"])
    #expect(rig.send(.cleared(failure: nil)) == ["finished"])

    rig = Rig()
    rig.send(.begin)
    rig.send(.cleared(failure: nil))
    #expect(rig.send(.stop) == ["end"], "it is being started")
    #expect(rig.send(.spawned) == [])
    #expect(rig.send(.ended(.signaled(.terminate))) == ["clear"])

    rig = Rig()
    rig.send(.begin)
    rig.send(.cleared(failure: nil))
    rig.send(.stop)
    #expect(rig.send(.spawnFailed("no such file")) == ["clear"])

    rig = Rig()
    rig.start()
    rig.send(.ended(.exited(1)))
    #expect(rig.send(.stop) == ["clear"])
    #expect(rig.alarm == nil)

    #expect(Rig().life.isReady == false)
    var idle = Rig()
    #expect(idle.send(.stop) == ["finished"])
  }

  @Test("somebody else's is watched, and neither started nor cleared nor stopped")
  func external() {
    var rig = Rig { $0.isOurs = false }
    #expect(rig.send(.begin) == [])
    rig.send(.role(.primary))
    #expect(rig.send(.mount(.works)) == ["ready"])
    #expect(rig.send(.mount(.absent)) == ["stop users"])
    #expect(rig.send(.usersStopped) == [])
    rig.send(.role(.primary))
    #expect(rig.send(.mount(.works)) == ["ready"])
    #expect(rig.send(.stop) == ["finished"])
  }
}
