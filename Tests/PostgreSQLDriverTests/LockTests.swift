import EventLoop
import Glibc
import TestSupport
import Testing

@testable import PostgreSQLDriver

@Suite("PostgreSQL: the lock, with direct connections")
struct LockTests {
  private static let key = LockKey.infrastructure.value

  @Test("a stranger's lock is waited for in the shared form of the same lock, and the stranger is named")
  func stranger() throws {
    let rig = try Rig()
    let stranger = try rig.admin("manage.py")
    try stranger.run("SELECT pg_advisory_lock(\(Self.key))")
    let pid = try stranger.value("SELECT pg_backend_pid()")
    let waiter = try LockRig(rig)
    let holder = try #require(try waiter.busy())
    #expect(holder.backend.map { "\($0)" } == pid && holder.applicationName == "manage.py")
    #expect(holder.role == "postgres" && holder.address == "127.0.0.1" && holder.age != nil)
    #expect(
      holder.description.hasPrefix(
        "\"manage.py\" (PostgreSQL process \(pid), role postgres, from 127.0.0.1, connected for "))
    try stranger.waiters(1)
    try stranger.run("SELECT pg_advisory_unlock(\(Self.key))")
    #expect(try waiter.events.next("a look") == .look)
    // Who looks has nothing: the stranger may come back.
    #expect(try stranger.value("SELECT pg_try_advisory_lock(\(Self.key))") == "t")
    try waiter.looked(wantsLock: true)
    // It is the same one, which is not told again.
    try stranger.waiters(1)
    try stranger.run("SELECT pg_advisory_unlock(\(Self.key))")
    #expect(try waiter.events.next("another look") == .look)
    try waiter.looked(wantsLock: true)
    try waiter.held()
    #expect(try stranger.value("SELECT pg_try_advisory_lock(\(Self.key))") == "f")
    try waiter.release()
    #expect(try stranger.value("SELECT pg_try_advisory_lock(\(Self.key))") == "t")
  }

  @Test("one that waits for the exclusive form, as django-autoinit does, is not taken for the holder")
  func exclusiveWaiter() throws {
    let rig = try Rig()
    let stranger = try rig.admin()
    try stranger.run("SELECT pg_advisory_lock_shared(\(Self.key))")
    let (other, _) = try rig.open(rig.target("waits"))
    try rig.onLoop { other.send(Statement("SELECT pg_advisory_lock(\(Self.key))"), timeout: nil) { _ in } }
    try stranger.eventually("it waits", Admin.lockedByOthers + "NOT granted", is: "1")
    let waiter = try LockRig(rig)
    #expect(try waiter.events.next("a busy lock") == .busy(nil))
    try rig.onLoop { other.close() }
    try stranger.run(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%//waits' "
        + "AND datname = current_database(); SELECT pg_advisory_unlock_shared(\(Self.key))")
    try waiter.held()
  }

  @Test("49 waiters learn of the holder's end at once, and one of those that still want it gets it")
  func released() throws {
    let rig = try Rig()
    let holder = try LockRig(rig)
    try holder.held()
    let waiters = try (0..<49).map { _ in try LockRig(rig) }
    let admin = try rig.admin()
    try waiters.forEach { _ = try $0.busy() }
    try admin.waiters(49)
    #expect(try rig.onLoop { rig.client.count } == 50, "a connection for each waiter")
    let began = MonotonicInstant.now
    try holder.release()
    for waiter in waiters { #expect(try waiter.events.next("a look") == .look) }
    print("measured: 49 waiters know of the release after \((MonotonicInstant.now - began).readable)")
    #expect(MonotonicInstant.now - began < .seconds(5))
    for waiter in waiters { try waiter.looked(wantsLock: true) }
    try admin.waiters(48)
    for waiter in waiters { try waiter.abandon() }
    try admin.eventually("all are gone", Admin.lockedByOthers + "true", is: "0")
  }

  @Test("a terminated holder knows at once, and a waiter has the lock; a terminated waiter goes on waiting")
  func terminated() throws {
    let rig = try Rig()
    let admin = try rig.admin()
    let holder = try LockRig(rig)
    let session = try holder.held()
    let waiter = try LockRig(rig)
    _ = try waiter.busy()
    try admin.waiters(1)

    try admin.run("SELECT pg_terminate_backend(\(waiter.backend()))")
    guard case .unavailable(let failure) = try waiter.events.next("the loss") else {
      return #expect(Bool(false), "not said")
    }
    #expect(failure.cause == .shutDown)
    #expect(try waiter.busy()?.backend == session.backend)
    try admin.waiters(1)

    let began = MonotonicInstant.now
    try admin.run("SELECT pg_terminate_backend(\(session.backend))")
    #expect(try holder.lost().cause == .shutDown)
    let lost = MonotonicInstant.now
    try waiter.held()
    print(
      "measured: terminated holder knows after \((lost - began).readable), the next one holds after \((MonotonicInstant.now - began).readable)"
    )
    #expect(lost - began < .seconds(2))
    try waiter.release()
  }

  @Test("a holder whose server does not answer has lost the lock after 8 s")
  func frozen() throws {
    let rig = try Rig()
    let holder = try LockRig(rig)
    let session = try holder.held()
    let began = MonotonicInstant.now
    // Its backend stands still as one behind a cut network: the connection stays.
    kill(session.backend, SIGSTOP)
    defer { kill(session.backend, SIGCONT) }
    let failure = try holder.lost()
    #expect(failure.cause == .noAnswer)
    let waited = MonotonicInstant.now - began
    #expect(waited >= .milliseconds(6900) && waited < .milliseconds(11000), "\(waited)")
  }

  @Test("waiters outlive the server: it goes without a word, comes back, and one of them holds")
  func restart() throws {
    let server = try PostgreSQLServer()
    let rig = try Rig(server: server)
    let holder = try LockRig(rig)
    try holder.held()
    let waiters = try (0..<5).map { _ in try LockRig(rig) }
    try rig.admin().waiters(5)
    try server.order("stop")
    #expect(try !holder.lost().isPermanent)
    for waiter in waiters {
      _ = try waiter.events.next("the loss") {
        if case .unavailable(let failure) = $0 { failure.cause == .unreachable } else { false }
      }
    }
    try server.order("start")
    let began = MonotonicInstant.now
    // Each takes it once: nobody is forgotten.
    var rest = waiters
    while !rest.isEmpty {
      let number = try firstHolder(of: rest)
      if rest.count == waiters.count {
        print("measured: after the restart a waiter holds within \((MonotonicInstant.now - began).readable)")
        #expect(MonotonicInstant.now - began < .seconds(3))
      }
      try rest.remove(at: number).release()
    }
  }

  /// Lets all of them try until one has it.
  private func firstHolder(of waiters: [LockRig]) throws -> Int {
    let deadline = MonotonicInstant.now + .seconds(30)
    while MonotonicInstant.now < deadline {
      for (number, waiter) in waiters.enumerated() {
        guard let event = try? waiter.events.next("anything", within: 0.01) else { continue }
        if event == .look { try waiter.looked(wantsLock: true) }
        if case .held = event { return number }
      }
    }
    throw HarnessError("nobody has the lock")
  }

  @Test(
    "what cannot become better ends within 3 s with the reason, what can does not",
    arguments: [
      ("dbname=no_such_database", PostgreSQLFailure.Cause.database),
      ("user=nobody_at_all password=x", .credentials),
    ])
  func permanent(extra: String, cause: PostgreSQLFailure.Cause) throws {
    let rig = try Rig()
    let began = MonotonicInstant.now
    let lock = try LockRig(rig, target: rig.target(extra: extra))
    let failure = try lock.failed()
    #expect(failure.cause == cause)
    #expect(MonotonicInstant.now - began < .seconds(3))
    #expect(try rig.onLoop { rig.client.count } == 0)
  }

  @Test(
    "CREATE INDEX CONCURRENTLY passes those that wait, which a statement that waits without end would stop for ever"
  )
  func concurrentIndex() throws {
    let rig = try Rig()
    let admin = try rig.admin()
    let holder = try LockRig(rig)
    try holder.held()
    let waiters = try (0..<3).map { _ in try LockRig(rig) }
    try admin.waiters(3)
    try admin.run("CREATE TABLE things AS SELECT generate_series(1, 1000) AS number")
    // Bounds a failure.
    try admin.run("SET statement_timeout = '20s'")
    let began = MonotonicInstant.now
    try admin.run("CREATE INDEX CONCURRENTLY ON things (number)")
    print(
      "measured: CREATE INDEX CONCURRENTLY beside waiters took \((MonotonicInstant.now - began).readable)")
    #expect(MonotonicInstant.now - began < .seconds(5))
    for waiter in waiters { try waiter.abandon() }
  }

  @Test("without PL/pgSQL the lock is asked for now and then")
  func noLanguage() throws {
    let rig = try Rig()
    let admin = try rig.admin()
    try admin.run("DROP EXTENSION plpgsql")
    let holder = try LockRig(rig)
    try holder.held()
    let waiter = try LockRig(rig)
    _ = try waiter.busy()
    try holder.release()
    try waiter.held()
  }

  @Test("two keys do not exclude each other, and each project has a leader lock of its own")
  func keys() throws {
    #expect(
      LockKey.infrastructure.classID == 1_311_669_808 && LockKey.infrastructure.objectID == 3_514_919_506)
    #expect(LockKey.leader(project: "a") != LockKey.leader(project: "b"))
    let rig = try Rig()
    let (first, second) = (try LockRig(rig), try LockRig(rig, key: .leader(project: "a")))
    try first.held()
    try second.held()
  }
}
