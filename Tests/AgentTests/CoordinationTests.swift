import AgentProtocol
import EventLoop
import Foundation
import Glibc
import ReleaseRecords
import TestSupport
import Testing

/// Direct connections, and those of a pool in transaction mode that is smaller than the number of nodes.
enum Way: CaseIterable, Sendable {
  case direct
  case pooled

  func site() throws -> Site { try Site(poolOf: self == .direct ? nil : 3) }
}

@Suite("supervisor-agent: record and locks")
struct CoordinationTests {
  @Test("what is asked before the servers are known, or without any, is refused as a matter of settings")
  func unconfigured() throws {
    let agent = try AgentProcess()
    func refusals() throws {
      let requests: [(UInt64) -> CoordinationRequest] = [
        { .read(id: $0) }, { .write(id: $0, record: claim("a").encoded(), isLast: false) },
        { .remove(id: $0) }, { .lock(id: $0, .infrastructure) }, { .lock(id: $0, .leader) },
        { .readReadiness(id: $0) }, { .writeReadiness(id: $0, isReady: true) }, { .watchReadiness(id: $0) },
      ]
      for request in requests {
        let id = try agent.ask(request)
        #expect(try agent.failure(of: id).kind == .settings)
      }
    }
    try refusals()
    try agent.send(
      .configure(CoordinationScope(project: "shop", runID: "r1", owner: "a", takeoverDelay: .seconds(1))))
    try refusals()
    let id = try agent.ask { .unlock(id: $0, isOrderly: true) }
    try agent.coordination("the release") { if case .unlocked(id) = $0 { () } else { nil } }
  }

  @Test("the record is read as it was written, with the server's times; only who has the lock writes it")
  func record() throws {
    let site = try Site()
    let first = try site.agent("node-1:7")
    #expect(try first.read().record == nil)
    var written = claim("node-1:7", running: ["migrate"])
    written.entries = [
      ReleaseRecord.Entry(
        step: "collect", hash: "abc", doneAt: 1_700_000_000_000_001_000,
        outputs: [StepOutput(key: "KEY", value: "a\nb \"c\"")])
    ]
    written.parts = [ReleaseRecord.Part(step: "hooks", hash: "def", name: "app.one")]
    written.failure = ReleaseRecord.Failure(
      count: 2, attempt: 1, step: "migrate", reason: "it ended with code 1", failedAt: 0)
    written.declaredBy = "somebody"
    let without = try #require(try first.write(written))
    #expect(without.kind == .unavailable && without.text.contains("lock"))
    let lock = try first.lock()
    #expect(try first.held(lock) == "")
    #expect(try first.write(written) == nil)
    let answer = try first.read()
    var found = try #require(answer.record)
    let heartbeat = try #require(found.claim?.heartbeat)
    #expect(heartbeat > 0 && heartbeat <= answer.now && found.failure?.failedAt == heartbeat)
    found.claim?.startedAt = 0
    found.claim?.heartbeat = 0
    found.failure?.failedAt = 0
    #expect(found == written)

    try first.send(.unlock(id: lock, isOrderly: true))
    try first.coordination("the release") { if case .unlocked(lock) = $0 { () } else { nil } }
    let second = try site.agent("node-2:9")
    #expect(try second.held(try second.lock()) == "")
    #expect(try second.write(claim("node-2:9", attempt: 2)) == nil)
    #expect(try first.write(written) != nil)
    #expect(try first.read().record?.claim?.owner == "node-2:9")
    let id = try first.ask { .remove(id: $0) }
    try first.coordination("the removal") { if case .done(id) = $0 { () } else { nil } }
    #expect(try second.read().record == nil)
    let bad = try first.ask { .write(id: $0, record: Array("nonsense".utf8), isLast: false) }
    #expect(try first.failure(of: bad).kind == .damaged)
  }

  @Test(
    "a holder has two connections and a waiter one, over which it learns who holds and reads; then it has the lock",
    arguments: Way.allCases)
  func handOver(way: Way) throws {
    let site = try way.site()
    let admin = try site.admin()
    let (holder, waiter) = (try site.agent("node-1:7"), try site.agent("node-2:9"))
    #expect(try holder.read().record == nil)
    let held = try holder.lock()
    #expect(try holder.held(held) == "")
    #expect(try holder.write(claim("node-1:7", running: ["migrate"])) == nil)

    #expect(try waiter.read().record?.claim?.owner == "node-1:7")
    let wanted = try waiter.lock()
    #expect(try waiter.busy(wanted) == "node-1:7")
    if way == .direct {
      try admin.eventually("two and one", Site.sessions("lock"), is: "2")
      try admin.eventually("two and one", Site.sessions("record"), is: "1")
    }
    #expect(try waiter.read().record?.claim?.running.map(\.step) == ["migrate"])
    print("measured: \(way): holder has \(holder.resident) KiB, waiter \(waiter.resident) KiB")
    // Of a release it is less.
    #expect(holder.resident < 32 << 10 && waiter.resident < 32 << 10)

    var done = claim("node-1:7")
    done.completedAt = 1_700_000_000_000_000_000
    #expect(try holder.write(done, isLast: true) == nil)
    #expect(try admin.value("SELECT count(*) FROM supervisor_lock") == "0")
    try holder.unlock(held)
    #expect(try waiter.free(wanted)?.completedAt == done.completedAt)
    try waiter.send(.contend(id: wanted))
    #expect(try waiter.held(wanted) == "")
    #expect(try waiter.write(done) == nil)
    try waiter.unlock(wanted)
    #expect(try admin.value("SELECT count(*) FROM supervisor_lock") == "0")
  }

  @Test(
    "who waits stops at once, and who holds gives back; a number that is not known any more is unlocked already"
  )
  func unlocking() throws {
    let site = try Site()
    let (holder, waiter) = (try site.agent("node-1:7"), try site.agent("node-2:9"))
    let held = try holder.lock()
    #expect(try holder.held(held) == "")
    let wanted = try waiter.lock()
    _ = try waiter.busy(wanted)
    let began = MonotonicInstant.now
    try waiter.unlock(wanted)
    #expect(MonotonicInstant.now - began < .milliseconds(800))
    try holder.unlock(held)
    try holder.unlock(held)
    let again = try waiter.lock()
    #expect(try waiter.held(again) == "", "nobody vanished")
    try waiter.unlock(again, isOrderly: false)
    let third = try holder.lock()
    #expect(try holder.held(third) == "node-2:9")
  }

  @Test("a stranger is told once; a supervisor as often as it is seen, which may stop the clock of who waits")
  func signsOfLife() throws {
    let site = try Site()
    let stranger = try site.admin("manage.py")
    try stranger.run("SELECT pg_advisory_lock(5633578932025518674)")
    let agents = [try site.agent("node-1:7"), try site.agent("node-2:9")]
    let locks = try agents.map { try $0.lock() }
    for (agent, lock) in zip(agents, locks) {
      #expect(try agent.busy(lock).hasPrefix("\"manage.py\" (PostgreSQL process "))
    }
    let leading = try agents[0].lock(.leader)
    #expect(try agents[0].held(leading) == "")
    let following = try agents[1].lock(.leader)
    // Each look at who holds the leader lock is one at the other lock, too.
    for _ in 0..<3 { #expect(try agents[1].busy(following, within: 10) == "node-1:7") }
    let again = agents[1].rest.filter { if case .lockBusy(locks[1], _) = $0 { true } else { false } }
    #expect(again.isEmpty)
  }

  @Test("a holder of another release is named with what its nodes would say of it")
  func otherRelease() throws {
    let site = try Site()
    let old = try site.agent("node-1:7", run: "r0")
    let held = try old.lock()
    #expect(try old.held(held) == "")
    #expect(try old.write(claim("node-1:7", run: "r0", running: ["migrate", "seed"])) == nil)
    let new = try site.agent("node-2:9", run: "r1")
    #expect(try new.read().record == nil)
    let wanted = try new.lock()
    #expect(try new.busy(wanted) == "node-1:7 (run ID r0, running migrate, seed)")
  }

  @Test("leader locks are each project's own, and leave one connection")
  func leader() throws {
    let site = try Site()
    let admin = try site.admin()
    let first = try site.agent("node-1:7")
    _ = try first.read()
    let held = try first.lock(.leader)
    #expect(try first.held(held) == "")
    try admin.eventually("the lock's connection alone", Site.sessions(), is: "1")
    try admin.eventually("the lock's connection alone", Site.sessions("leader"), is: "1")
    let second = try site.agent("node-2:9")
    _ = try second.read()
    let wanted = try second.lock(.leader)
    #expect(try second.busy(wanted) == "node-1:7")
    try admin.eventually("one each", Site.sessions(), is: "2")
    first.vanish()
    #expect(try second.held(wanted) == "node-1:7")
    try admin.eventually("one", Site.sessions(), is: "1")
    try second.unlock(wanted)
    let third = try site.agent("node-3:1")
    let last = try third.lock(.leader)
    #expect(try third.held(last) == "")
  }
}
