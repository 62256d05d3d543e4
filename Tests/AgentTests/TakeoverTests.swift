import AgentProtocol
import EventLoop
import Foundation
import Glibc
import PostgreSQLDriver
import ReleaseRecords
import TestSupport
import Testing

@Suite("supervisor-agent: taking over from a holder that vanished")
struct TakeoverTests {
  /// The session of a step, as one that its client left behind.
  private func step(_ site: Site, run: String = "r1", user: String? = nil) throws -> Admin {
    try site.admin(ApplicationName(project: site.project, run: run, step: "migrate").text)
  }

  /// A node that holds the lock and has said so in the record, and one that waits for it.
  private func nodes(
    _ site: Site, run: String = "r1", delay: Duration, of scope: CoordinationScope? = nil
  ) throws -> (holder: AgentProcess, waiter: AgentProcess, wanted: UInt64) {
    let holder = try site.agent("node-1:7", run: run)
    let held = try holder.lock()
    #expect(try holder.held(held) == "")
    #expect(try holder.write(claim("node-1:7", run: run, running: ["migrate"])) == nil)
    var scope = scope ?? site.scope("node-2:9")
    scope.takeoverDelay = delay
    let waiter = try site.agent(scope)
    let wanted = try waiter.lock()
    _ = try waiter.busy(wanted)
    return (holder, waiter, wanted)
  }

  @Test("the record is not read while a session of its steps is left", arguments: Way.allCases)
  func waits(way: Way) throws {
    let site = try way.site()
    var left: Admin? = try step(site)
    let (holder, waiter, wanted) = try nodes(site, delay: .seconds(60))
    holder.vanish()
    #expect(try waiter.held(wanted) == "node-1:7")
    let id = try waiter.ask { .read(id: $0) }
    // It is looked for at least twice.
    let admin = try site.admin()
    let before = try admin.value("SELECT clock_timestamp()")
    try admin.eventually(
      "two more looks",
      """
      SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%//record'
        AND datname = current_database() AND query_start > '\(before)'::timestamptz + interval '300 ms'
      """, is: "1")
    #expect(waiter.rest.isEmpty)
    try withExtendedLifetime(left) { _ = try left?.run("SELECT 1") }
    left = nil
    #expect(try waiter.answer(ofRead: id).record?.claim?.owner == "node-1:7")
    #expect(try waiter.write(claim("node-2:9", attempt: 2), isLast: true) == nil)
    try waiter.unlock(wanted)
    #expect(try admin.value("SELECT count(*) FROM supervisor_lock") == "0")
  }

  @Test("what is left after the delay is terminated, and that is said")
  func terminates() throws {
    let site = try Site()
    let left = try step(site)
    let pid = try left.value("SELECT pg_backend_pid()")
    let (holder, waiter, wanted) = try nodes(site, delay: .milliseconds(300))
    holder.vanish()
    #expect(try waiter.held(wanted) == "node-1:7")
    #expect(try waiter.read().record?.claim?.attempt == 1)
    let text: String = try waiter.report("the warning") {
      if case .log(.warning, let text) = $0 { text } else { nil }
    }
    #expect(
      text.hasPrefix("node-1:7 vanished, and what its steps ran in PostgreSQL did not end: terminating "))
    #expect(text.contains("PostgreSQL process \(pid), role postgres") && text.contains("/r1/migrate\""))
    #expect(throws: HarnessError.self) { try left.run("SELECT 1") }
  }

  @Test("what a step of the holder left behind is ended, and nothing else", arguments: Way.allCases)
  func remains(way: Way) throws {
    let site = try way.site()
    let left = try step(site)
    let other = try site.admin(ApplicationName(project: site.project, run: "r1", step: "migrate2").text)
    let check = try site.admin(ApplicationName(project: site.project, run: "r1", purpose: "check").text)
    let pid = try left.value("SELECT pg_backend_pid()")
    let holder = try site.agent("node-1:7")
    let held = try holder.lock()
    #expect(try holder.held(held) == "")
    let id = try holder.ask { .endRemains(id: $0, step: "migrate") }
    #expect(try holder.done(id) == nil)
    #expect(try site.admin().value("SELECT count(*) FROM pg_stat_activity WHERE pid = \(pid)") == "0")
    #expect(throws: HarnessError.self) { try left.run("SELECT 1") }
    #expect(try other.value("SELECT 1") == "1" && check.value("SELECT 1") == "1")
    let text: String = try holder.report("the warning") {
      if case .log(.warning, let text) = $0 { text } else { nil }
    }
    #expect(text.hasPrefix("what a step ran in PostgreSQL goes on after the step's end: terminating "))
    // Nothing is left: at once.
    let again = try holder.ask { .endRemains(id: $0, step: "migrate") }
    #expect(try holder.done(again) == nil)
  }

  @Test("without the lock nothing is ended")
  func remainsWithoutLock() throws {
    let site = try Site()
    let left = try step(site)
    let agent = try site.agent("node-1:7")
    let id = try agent.ask { .endRemains(id: $0, step: "migrate") }
    #expect(try agent.failure(of: id).kind == .unavailable)
    #expect(try left.value("SELECT 1") == "1")
  }

  @Test("what may not be terminated is named, with what to do, and the record stays unread")
  func refused() throws {
    let site = try Site()
    let admin = try site.admin()
    let role = "plain_\(site.database)"
    try admin.run(
      """
      CREATE ROLE \(role) LOGIN PASSWORD 'secret9' IN ROLE pg_read_all_stats;
      GRANT ALL ON SCHEMA public TO \(role); ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO \(role)
      """)
    let left = try step(site)
    let pid = try left.value("SELECT pg_backend_pid()")
    var scope = site.scope("node-2:9")
    scope.postgres?.connection = site.connection(user: role, extra: "password=secret9")
    let (holder, waiter, wanted) = try nodes(site, delay: .milliseconds(300), of: scope)
    holder.vanish()
    #expect(try waiter.held(wanted) == "node-1:7")
    let id = try waiter.ask { .read(id: $0) }
    let failure = try waiter.failure(of: id)
    #expect(failure.kind == .permission)
    #expect(failure.text.contains("process \(pid)") && failure.text.contains("pg_terminate_backend"))
    #expect(try left.value("SELECT 1") == "1")
  }

  @Test("sessions of another release that vanished are waited for, and then it is forgotten")
  func otherRelease() throws {
    let site = try Site()
    let left = try step(site, run: "r0")
    let ours = try step(site, run: "r1")
    let (holder, waiter, wanted) = try nodes(site, run: "r0", delay: .milliseconds(300))
    holder.vanish()
    #expect(try waiter.held(wanted) == "node-1:7 (run ID r0)")
    #expect(try site.admin().value("SELECT count(*) FROM supervisor_lock") == "2")
    #expect(try waiter.read().record == nil)
    #expect(throws: HarnessError.self) { try left.run("SELECT 1") }
    // Nobody of our own release vanished.
    #expect(try ours.value("SELECT 1") == "1")
    #expect(
      try site.admin().run("SELECT run_id, owner FROM supervisor_lock") == [["r1", "node-2:9"]])
  }

  @Test("should the one that takes over vanish, too, the next one still knows of the first")
  func chain() throws {
    let site = try Site()
    let (first, second, wanted) = try nodes(site, run: "r0", delay: .seconds(60))
    first.vanish()
    #expect(try second.held(wanted) == "node-1:7 (run ID r0)")
    second.vanish()
    let third = try site.agent("node-3:1")
    let last = try third.lock()
    #expect(try third.held(last) == "node-2:9, node-1:7 (run ID r0)")
  }
}
