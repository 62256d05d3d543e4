import AgentProtocol
import EventLoop
import Foundation
import Glibc
import TestSupport
import Testing

/// A process in a group of its own that no friendly signal ends.
private final class Step {
  private final class Life: @unchecked Sendable {
    private let lock = NSLock()
    private var isEnded = false

    func end() { lock.withLock { isEnded = true } }
    var isOver: Bool { lock.withLock { isEnded } }
  }

  let group: pid_t
  private let life = Life()

  /// - Parameter isCollected: whether its parent collects it when it has ended.
  init(isCollected: Bool = true) throws {
    // Ignored signals stay so behind exec.
    group = try spawnProcess(["/bin/sh", "-c", "trap '' TERM INT HUP; exec sleep 1000"], ownGroup: true)
    guard isCollected else { return }
    Thread.detachNewThread { [group, life] in
      waitpid(group, nil, 0)
      life.end()
    }
  }

  deinit { kill(-group, SIGKILL) }

  var isCollected: Bool { life.isOver }
  var isGone: Bool { kill(-group, 0) != 0 && errno == ESRCH }
}

@Suite("supervisor-agent: the lock goes after the step")
struct GuardTests {
  private struct Pair {
    let holder: AgentProcess
    let held: UInt64
    let waiter: AgentProcess
    let wanted: UInt64
  }

  private func pair(_ site: Site, guarding step: Step) throws -> Pair {
    let holder = try site.agent("node-1:7")
    let held = try holder.lock()
    #expect(try holder.held(held) == "")
    try holder.send(.guardGroup(id: held, group: step.group))
    // What is asked in order is done in order.
    _ = try holder.read()
    let waiter = try site.agent("node-2:9")
    let wanted = try waiter.lock()
    _ = try waiter.busy(wanted)
    return Pair(holder: holder, held: held, waiter: waiter, wanted: wanted)
  }

  enum End: CaseIterable, Sendable {
    case hangUp
    case terminate
    case request
  }

  @Test(
    "when PID 1 vanishes, or the agent has to end, the step is killed first, and the next holder is told",
    arguments: End.allCases, Way.allCases)
  func ends(end: End, way: Way) throws {
    let site = try way.site()
    let step = try Step()
    let pair = try pair(site, guarding: step)
    switch end {
    case .hangUp: pair.holder.hangUp()
    case .terminate: kill(pair.holder.pid, SIGTERM)
    case .request: try pair.holder.send(.end)
    }
    #expect(try pair.waiter.held(pair.wanted) == "node-1:7")
    #expect(step.isGone)
    if end != .hangUp {
      // Before the step is killed PID 1 knows why.
      try pair.holder.coordination("the loss") { if case .lockLost(pair.held, _) = $0 { () } else { nil } }
      try pair.holder.report("the end") { if case .end = $0 { () } else { nil } }
    }
    #expect(pair.holder.waitForEnd() == 0)
  }

  @Test("a group that is guarded no longer is left alone, and so is the lock's orderly way")
  func unguarded() throws {
    let site = try Site()
    let step = try Step()
    let pair = try pair(site, guarding: step)
    try pair.holder.send(.unguardGroup(id: pair.held, group: step.group))
    try pair.holder.unlock(pair.held)
    #expect(try pair.waiter.held(pair.wanted) == "")
    pair.holder.hangUp()
    #expect(pair.holder.waitForEnd() == 0)
    #expect(!step.isGone)
  }

  @Test("a lock that is given back while its step runs goes after it")
  func unlock() throws {
    let site = try Site()
    let step = try Step()
    let pair = try pair(site, guarding: step)
    try pair.holder.unlock(pair.held)
    #expect(step.isGone)
    #expect(try pair.waiter.held(pair.wanted) == "")
  }

  @Test("the dead whom a frozen parent does not collect hold the lock up for 10 s, and not longer")
  func zombie() throws {
    let site = try Site()
    let step = try Step(isCollected: false)
    let pair = try pair(site, guarding: step)
    let began = MonotonicInstant.now
    pair.holder.hangUp()
    // Its pings go on all the time: the lock is not lost before.
    #expect(try pair.waiter.held(pair.wanted) == "node-1:7")
    let waited = MonotonicInstant.now - began
    #expect(waited >= .seconds(10) && waited < .seconds(16), "\(waited)")
    waitpid(step.group, nil, 0)
  }

  @Test("a step that still runs after its lock was lost is killed by the agent, when PID 1 does not")
  func lost() throws {
    let site = try Site()
    let step = try Step()
    let pair = try pair(site, guarding: step)
    let began = MonotonicInstant.now
    try site.admin().run(
      "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock' "
        + "AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
    let failure: CoordinationFailure = try pair.holder.coordination("the loss") {
      if case .lockLost(pair.held, let failure) = $0 { failure } else { nil }
    }
    #expect(failure.kind == .unavailable)
    #expect(MonotonicInstant.now - began < .seconds(2))
    try pair.holder.report("the warning") { if case .log(.warning, _) = $0 { () } else { nil } }
    let deadline = MonotonicInstant.now + .seconds(10)
    while !step.isCollected, .now < deadline { usleep(1000) }
    #expect(step.isGone)
    #expect(try pair.waiter.held(pair.wanted) == "node-1:7")
  }
}
