import EventLoop
import Glibc
import Testing

@testable import Processes

struct SupervisedProcessTests {
  private static let t0 = MonotonicInstant(nanoseconds: 1_000_000_000_000)

  private func at(_ milliseconds: Int) -> MonotonicInstant { Self.t0 + .milliseconds(milliseconds) }

  private func make(_ mode: RestartPolicy.Mode = .always, limit: Int = 10) -> SupervisedProcess {
    SupervisedProcess(
      restartPolicy: RestartPolicy(mode: mode, jitter: 0, limitCount: limit),
      stopPolicy: StopPolicy(timeout: .seconds(10)), seed: 1)
  }

  private func started(_ mode: RestartPolicy.Mode = .always, limit: Int = 10) -> SupervisedProcess {
    var process = make(mode, limit: limit)
    _ = process.handle(.start, at: at(0))
    _ = process.handle(.spawned(pid: 42), at: at(0))
    _ = process.handle(.started, at: at(0))
    return process
  }

  private let missing = SpawnFailure(stage: .exec, code: ENOENT, command: "x")
  private let noProcess = SpawnFailure(stage: .clone, code: EAGAIN, command: "x")

  // MARK: Start and restart

  @Test func `a start spawns the first incarnation`() {
    var process = make()
    #expect(process.handle(.start, at: at(0)) == [.spawn(incarnation: 1)])
    #expect(process.state == .starting)
    #expect(process.handle(.spawned(pid: 42), at: at(0)) == [])
    #expect(process.pid == 42 && process.group == 42)
    #expect(process.handle(.started, at: at(1)) == [])
    #expect(process.state == .running(since: at(1)))
    #expect(process.handle(.start, at: at(2)) == [])
  }

  @Test func `an end is followed by the backoff and the next incarnation`() {
    var process = started()
    let effects = process.handle(.ended(.exited(3), groupIsEmpty: true), at: at(100))
    #expect(effects == [.willRestart(.exited(3), after: .milliseconds(500)), .schedule(at(600))])
    #expect(process.pid == nil && process.group == nil)
    #expect(process.handle(.timer, at: at(599)) == [.schedule(at(600))])
    #expect(process.handle(.timer, at: at(600)) == [.spawn(incarnation: 2)])
    #expect(process.restarts == 1)
    #expect(process.lastStatus == .exited(3))
  }

  @Test(
    arguments: [
      (.never, .exited(0)), (.never, .exited(9)), (.onFailure, .exited(0)), (.never, .signaled(.kill)),
    ] as [(RestartPolicy.Mode, ExitStatus)])
  func `an end the policy is content with is the end`(mode: RestartPolicy.Mode, status: ExitStatus) {
    var process = started(mode)
    let effects = process.handle(.ended(status, groupIsEmpty: true), at: at(100))
    #expect(effects == [.unschedule, .ended(.completed(status))])
    #expect(process.state == .completed)
    #expect(process.handle(.timer, at: at(200)) == [])
  }

  @Test func `too many ends are given up, and a start on request begins anew`() {
    var process = started(limit: 2)
    _ = process.handle(.ended(.exited(3), groupIsEmpty: true), at: at(1))
    _ = process.handle(.timer, at: at(501))
    _ = process.handle(.spawned(pid: 43), at: at(501))
    _ = process.handle(.started, at: at(501))
    #expect(
      process.handle(.ended(.exited(4), groupIsEmpty: true), at: at(502)) == [
        .unschedule, .ended(.gaveUp(.exited(4))),
      ])
    #expect(process.state == .failed)
    #expect(process.handle(.start, at: at(503)) == [.spawn(incarnation: 3)])
    _ = process.handle(.started, at: at(503))
    #expect(
      process.handle(.ended(.exited(4), groupIsEmpty: true), at: at(504)).first
        == .willRestart(.exited(4), after: .milliseconds(500)))
  }

  @Test func `what is left of the group goes before the next start`() {
    var process = started()
    #expect(
      process.handle(.ended(.exited(1), groupIsEmpty: false), at: at(100)) == [
        .signalGroup(.terminate), .signalGroup(.resume), .schedule(at(10_100)),
      ])
    #expect(process.state == .stopping && process.group == 42 && process.pid == nil)
    #expect(!process.isStoppingOnRequest)
    #expect(process.handle(.groupLooked(isEmpty: false), at: at(200)) == [])
    #expect(
      process.handle(.groupLooked(isEmpty: true), at: at(300)) == [
        .unschedule, .willRestart(.exited(1), after: .milliseconds(500)), .schedule(at(800)),
      ])
    #expect(process.group == nil)
  }

  @Test func `remains that take long are no part of the run`() {
    var process = started()
    _ = process.handle(.ended(.exited(1), groupIsEmpty: true), at: at(100))
    _ = process.handle(.timer, at: at(600))
    _ = process.handle(.started, at: at(1_000))
    // It ran for 55 s; its remains took another 9.
    _ = process.handle(.ended(.exited(1), groupIsEmpty: false), at: at(56_000))
    let effects = process.handle(.groupLooked(isEmpty: true), at: at(65_000))
    #expect(effects.contains(.willRestart(.exited(1), after: .seconds(1))))
  }

  @Test(arguments: [(.never, true), (.never, false), (.always, true)] as [(RestartPolicy.Mode, Bool)])
  func `a start while remains are stopped is not forgotten, nor does it outlive a later stop`(
    mode: RestartPolicy.Mode, asksByRestart: Bool
  ) {
    var process = started(mode)
    _ = process.handle(.ended(.exited(1), groupIsEmpty: false), at: at(100))
    _ = process.handle(asksByRestart ? .stop(.restart, deadline: nil) : .start, at: at(150))
    let effects = process.handle(.groupLooked(isEmpty: true), at: at(200))
    #expect(effects.last == .spawn(incarnation: 2))
    _ = process.handle(.spawned(pid: 43), at: at(200))
    _ = process.handle(.started, at: at(200))
    _ = process.handle(.stop(.command, deadline: nil), at: at(300))
    let stopped = process.handle(.ended(.exited(0), groupIsEmpty: true), at: at(301))
    #expect(stopped == [.unschedule, .stopped(.command, forced: false, unkillable: false)])
    #expect(process.state == .stopped)
  }

  // MARK: A start that fails

  @Test func `a program that is not there is no matter of trying again`() {
    var process = make()
    _ = process.handle(.start, at: at(0))
    _ = process.handle(.spawned(pid: 42), at: at(0))
    #expect(process.handle(.startFailed(missing), at: at(1)) == [.unschedule, .ended(.unstartable(missing))])
    #expect(process.state == .failed && process.pid == nil && process.group == nil)
    #expect(process.lastFailure == missing)
    #expect(process.handle(.start, at: at(2)) == [.spawn(incarnation: 2)])
    #expect(process.lastFailure == nil)
  }

  @Test func `a shortage of the kernel's is tried again like any end`() {
    var process = make(limit: 3)
    _ = process.handle(.start, at: at(0))
    #expect(
      process.handle(.startFailed(noProcess), at: at(1)) == [
        .willRestart(nil, after: .milliseconds(500)), .schedule(at(501)),
      ])
    _ = process.handle(.timer, at: at(501))
    _ = process.handle(.startFailed(noProcess), at: at(502))
    _ = process.handle(.timer, at: at(1_502))
    #expect(process.handle(.startFailed(noProcess), at: at(1_503)) == [.unschedule, .ended(.gaveUp(nil))])
  }

  @Test func `with restart never a shortage ends it with the reason`() {
    var process = make(.never)
    _ = process.handle(.start, at: at(0))
    #expect(
      process.handle(.startFailed(noProcess), at: at(1)) == [.unschedule, .ended(.unstartable(noProcess))])
  }

  // MARK: Stop

  @Test func `a stop while starting goes on with the program once it runs`() {
    var process = make()
    _ = process.handle(.start, at: at(0))
    _ = process.handle(.spawned(pid: 42), at: at(0))
    #expect(
      process.handle(.stop(.command, deadline: nil), at: at(1)) == [
        .signalLeader(.terminate), .signalLeader(.resume), .schedule(at(10_001)),
      ])
    #expect(process.handle(.started, at: at(2)) == [])
    #expect(process.state == .stopping)
    #expect(
      process.handle(.ended(.signaled(.terminate), groupIsEmpty: true), at: at(3)) == [
        .unschedule, .stopped(.command, forced: false, unkillable: false),
      ])
  }

  @Test func `a start that fails while it is stopped is a stop, or a restart that goes on`() {
    for (reason, respawns) in [
      (SupervisedProcess.StopReason.command, false), (.shutdown, false), (.restart, true),
    ] {
      var process = make()
      _ = process.handle(.start, at: at(0))
      _ = process.handle(.stop(reason, deadline: nil), at: at(1))
      let effects = process.handle(.startFailed(missing), at: at(2))
      #expect(effects.contains(.stopped(reason, forced: false, unkillable: false)))
      #expect(effects.contains(.spawn(incarnation: 2)) == respawns)
      #expect(process.handle(.timer, at: at(20_000)) == [])
    }
  }

  @Test func `a restart spawns only when the old one is gone, and counts in no limit`() {
    var process = started(limit: 2)
    for round in 1...20 {
      let begun = process.handle(.stop(.restart, deadline: nil), at: at(round * 1000))
      #expect(begun.first == .signalLeader(.terminate))
      let ended = process.handle(.ended(.exited(1), groupIsEmpty: true), at: at(round * 1000 + 1))
      #expect(ended.last == .spawn(incarnation: round + 1))
      _ = process.handle(.spawned(pid: 42), at: at(round * 1000 + 1))
      _ = process.handle(.started, at: at(round * 1000 + 1))
    }
    #expect(process.restarts == 0)
  }

  @Test func `a restart during the backoff is a start at once, a stop ends it`() {
    var process = started()
    _ = process.handle(.ended(.exited(1), groupIsEmpty: true), at: at(100))
    #expect(
      process.handle(.stop(.restart, deadline: nil), at: at(101)) == [.unschedule, .spawn(incarnation: 2)])
    var other = started()
    _ = other.handle(.ended(.exited(1), groupIsEmpty: true), at: at(100))
    #expect(
      other.handle(.stop(.command, deadline: nil), at: at(101)) == [
        .unschedule, .stopped(.command, forced: false, unkillable: false),
      ])
    #expect(other.handle(.timer, at: at(600)) == [])
    #expect(other.state == .stopped)
  }

  @Test func `a start during a stop follows it, a later stop takes it back`() {
    var process = started()
    _ = process.handle(.stop(.command, deadline: nil), at: at(1))
    #expect(process.handle(.start, at: at(2)) == [])
    #expect(
      process.handle(.ended(.exited(0), groupIsEmpty: true), at: at(3)).last == .spawn(incarnation: 2))
    var other = started()
    _ = other.handle(.stop(.command, deadline: nil), at: at(1))
    _ = other.handle(.start, at: at(2))
    _ = other.handle(.stop(.command, deadline: nil), at: at(2))
    #expect(
      other.handle(.ended(.exited(0), groupIsEmpty: true), at: at(3)).last
        == .stopped(.command, forced: false, unkillable: false))
  }

  @Test func `nothing overrules a shutdown`() {
    for later in [
      SupervisedProcess.Event.start, .stop(.restart, deadline: nil), .stop(.command, deadline: nil),
    ] {
      var process = started()
      _ = process.handle(.stop(.shutdown, deadline: nil), at: at(1))
      _ = process.handle(later, at: at(2))
      #expect(
        process.handle(.ended(.exited(0), groupIsEmpty: true), at: at(3)) == [
          .unschedule, .stopped(.shutdown, forced: false, unkillable: false),
        ])
    }
  }

  @Test func `a shutdown overrules a restart that is under way, and cuts its grace`() {
    var process = started()
    _ = process.handle(.stop(.restart, deadline: nil), at: at(1))
    #expect(process.handle(.stop(.shutdown, deadline: at(500)), at: at(2)) == [.schedule(at(500))])
    let killed = process.handle(.timer, at: at(500))
    #expect(killed == [.signalLeader(.kill), .signalGroup(.kill), .schedule(at(2_500))])
    #expect(
      process.handle(.ended(.signaled(.kill), groupIsEmpty: true), at: at(501)) == [
        .unschedule, .stopped(.shutdown, forced: true, unkillable: false),
      ])
  }

  @Test func `what KILL does not end is told`() {
    var process = started()
    _ = process.handle(.stop(.shutdown, deadline: nil), at: at(0))
    #expect(process.handle(.kill, at: at(1)).first == .signalLeader(.kill))
    #expect(
      process.handle(.timer, at: at(2_001)) == [
        .unschedule, .stopped(.shutdown, forced: true, unkillable: true),
      ])
  }

  @Test(arguments: [SupervisedProcess.StopReason.shutdown, .command])
  func `stopping what does not run is done at once, whatever it was`(reason: SupervisedProcess.StopReason) {
    var failed = make()
    _ = failed.handle(.start, at: at(0))
    _ = failed.handle(.startFailed(missing), at: at(1))
    var completed = started(.never)
    _ = completed.handle(.ended(.exited(0), groupIsEmpty: true), at: at(1))
    for var process in [make(), failed, completed] {
      #expect(
        process.handle(.stop(reason, deadline: nil), at: at(2)) == [
          .stopped(reason, forced: false, unkillable: false)
        ])
      #expect(!process.isAlive)
    }
  }

  // MARK: All of it

  /// What a kernel and a person may do to it, in any order.
  @Test(arguments: 0..<200)
  func `whatever comes, at most one lives at a time, and a shutdown is the end`(seed: Int) {
    var random = SplitMix64(state: UInt64(seed))
    func below(_ bound: UInt64) -> UInt64 { random.next() % bound }
    var process = make([.always, .onFailure, .never][Int(below(3))], limit: 4)
    var now = 0
    var lives = false
    var inGroup = false
    var timer: MonotonicInstant?
    var isShutDown = false
    var spawns = 0
    var isKnown = false
    var isKilled = false

    func check(_ effects: [SupervisedProcess.Effect]) {
      for effect in effects {
        switch effect {
        case .spawn(let incarnation):
          spawns += 1
          #expect(incarnation == spawns)
          #expect(!lives && !inGroup, "two at once")
          #expect(!isShutDown, "a spawn after the shutdown")
          lives = true
          isKnown = false
          isKilled = false
        case .signalLeader(.kill), .signalGroup(.kill): isKilled = true
        case .schedule(let deadline): timer = deadline
        case .unschedule: timer = nil
        case .stopped(.shutdown, _, _): #expect(isShutDown && !lives && !inGroup)
        default: break
        }
      }
    }

    func kernel() {
      if lives, !isKnown {
        isKnown = true
        check(process.handle(.spawned(pid: 100 + CInt(spawns)), at: at(now)))
      } else if case .starting = process.state, below(4) > 0 {
        check(process.handle(.started, at: at(now)))
      } else if case .starting = process.state {
        lives = false
        check(process.handle(.startFailed(below(2) == 0 ? noProcess : missing), at: at(now)))
      } else if lives {
        lives = false
        inGroup = below(2) == 0
        check(process.handle(.ended(.exited(CInt(below(2))), groupIsEmpty: !inGroup), at: at(now)))
      } else if inGroup {
        inGroup = false
        check(process.handle(.groupLooked(isEmpty: true), at: at(now)))
      }
    }

    func ring() {
      // KILL works within its two seconds.
      while isKilled, lives || inGroup { kernel() }
      guard let due = timer else { return }
      timer = nil
      now = max(now, Int((due - Self.t0).wholeNanoseconds / 1_000_000))
      check(process.handle(.timer, at: at(now)))
    }

    for _ in 0..<60 {
      now += Int(below(400))
      switch below(10) {
      case 0: check(process.handle(.start, at: at(now)))
      case 1: check(process.handle(.stop(.command, deadline: nil), at: at(now)))
      case 2: check(process.handle(.stop(.restart, deadline: nil), at: at(now)))
      case 3: check(process.handle(.kill, at: at(now)))
      case 4: ring()
      default: kernel()
      }
    }
    isShutDown = true
    check(process.handle(.stop(.shutdown, deadline: at(now + 1000)), at: at(now)))
    for _ in 0..<20 where process.isAlive {
      if below(2) == 0 { kernel() } else { ring() }
    }
    #expect(!process.isAlive)
    #expect(process.handle(.timer, at: at(now + 100_000)) == [])
  }
}
