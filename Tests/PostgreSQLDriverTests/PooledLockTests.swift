import EventLoop
import Foundation
import Glibc
import TestSupport
import Testing

@testable import PostgreSQLDriver

@Suite("PostgreSQL: the lock, through PgBouncer in transaction mode")
struct PooledLockTests {
  private func pooledRig(size: Int) throws -> (Rig, PostgreSQLTarget, UInt16) {
    let rig = try Rig(server: PostgreSQLServer())
    let port = try rig.server.startBouncer(size: size)
    return (rig, rig.target(port: port), port)
  }

  @Test(
    "it excludes a session's lock of the same key in both directions, and outlives the database's own limits")
  func exclusion() throws {
    let (rig, target, _) = try pooledRig(size: 3)
    let admin = try rig.admin("manage.py")
    try admin.run(
      """
      ALTER DATABASE \(rig.database) SET idle_in_transaction_session_timeout = '300ms';
      ALTER DATABASE \(rig.database) SET statement_timeout = '300ms'
      """)
    let pooled = try LockRig(rig, target: target)
    #expect(try pooled.held().isPooled)
    let direct = try LockRig(rig)
    let holder = try #require(try direct.busy())
    #expect(holder.applicationName == "supervisor/shop/r1//lock")
    // Two pings later it is still ours, in a transaction that holds back no vacuum.
    try admin.eventually(
      "it is old",
      """
      SELECT count(*) FROM pg_stat_activity WHERE pid = \(holder.backend ?? 0) AND state = 'idle in transaction'
        AND backend_xmin IS NULL AND clock_timestamp() - xact_start > '2.5s'
      """, is: "1")
    #expect(pooled.events.rest.isEmpty)
    // The server's log, with log_lock_waits, has no line for each slice of each waiter.
    let log = try String(contentsOfFile: rig.server.folder + "/log.txt", encoding: .utf8)
    #expect(log.contains("ready to accept connections"))
    #expect(!log.contains("lock timeout") && !log.contains("still waiting"))
    try pooled.release()
    try direct.held()
    let next = try LockRig(rig, target: target)
    _ = try next.busy()
    try direct.release()
    try next.held()
  }

  @Test(
    "ten nodes behind a pool of three: each has the lock once, one at a time, and the pool stays free for the work"
  )
  func nobodyStarves() throws {
    let (rig, target, port) = try pooledRig(size: 3)
    let (worker, _) = try rig.open(rig.target("work", port: port))
    let holders = Record<Int>()
    let began = MonotonicInstant.now
    var nodes: [LockRig] = []
    let working = UncheckedBox(Record<String>())
    for number in 0..<10 {
      nodes.append(
        try LockRig(rig, target: target) { node, event in
          switch event {
          case .look: node.lookedNow(wantsLock: true)
          case .held:
            // A holder's work, by way of the same pool.
            worker.send(Statement("SELECT pg_sleep(0.02)"), timeout: .seconds(20)) { result in
              if case .failure(let failure) = result { working.value.append("\(failure)") }
              holders.append(number)
              node.releaseNow()
            }
          case .lost(let failure), .failed(let failure): working.value.append("\(failure)")
          default: break
          }
        })
    }
    var seen: Set<Int> = []
    for _ in 0..<10 { seen.insert(try holders.next("the next holder")) }
    print(
      "measured: ten nodes in turn through a pool of three took \((MonotonicInstant.now - began).readable)")
    #expect(seen.count == 10 && working.value.rest.isEmpty)
    #expect(MonotonicInstant.now - began < .seconds(15))
    for node in nodes { _ = try node.events.next("its release") { $0 == .released } }
    try rig.admin().eventually("no lock is left", Admin.lockedByOthers + "true", is: "0")
  }

  @Test("nineteen nodes behind a pool of three learn of the holder's end within moments")
  func released() throws {
    let (rig, target, _) = try pooledRig(size: 3)
    let holder = try LockRig(rig, target: target)
    try holder.held()
    let looks = Record<MonotonicInstant>()
    let waiters = try (0..<19).map { _ in
      try LockRig(rig, target: target) { _, event in if event == .look { looks.append(.now) } }
    }
    for waiter in waiters { #expect(try waiter.busy()?.applicationName == "supervisor/shop/r1//lock") }
    #expect(looks.rest.isEmpty)
    let began = MonotonicInstant.now
    try holder.release()
    let delays = try waiters.map { _ in try looks.next("a look") - began }.sorted()
    print(
      "measured: pooled waiters know of the release after \(delays[9].readable) (median), \(delays[18].readable) (last)"
    )
    #expect(delays[18] < .seconds(5))
    for waiter in waiters { try waiter.abandon() }
  }

  @Test(
    "a holder whose server connection is terminated, or whose pooler dies, knows at once",
    arguments: [true, false])
  func ended(isBackend: Bool) throws {
    let (rig, target, _) = try pooledRig(size: 3)
    let holder = try LockRig(rig, target: target)
    try holder.held()
    let waiter = try LockRig(rig)
    let pid = try #require(try waiter.busy()?.backend)
    let began = MonotonicInstant.now
    if isBackend {
      try rig.admin().run("SELECT pg_terminate_backend(\(pid))")
    } else {
      try rig.server.order("unbouncer")
    }
    #expect(try !holder.lost().isPermanent)
    print("measured: pooled holder knows of its end after \((MonotonicInstant.now - began).readable)")
    #expect(MonotonicInstant.now - began < .seconds(3))
    try waiter.held()
  }
}
