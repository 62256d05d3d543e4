import AgentProtocol
import EventLoop
import Foundation
import Glibc
import TestSupport
import Testing

@Suite("supervisor-agent: a server in trouble")
struct TroubleTests {
  private func unavailable(_ agent: AgentProcess, _ id: UInt64) throws -> CoordinationFailure {
    try agent.coordination("what is wrong") { report in
      switch report {
      case .unavailable(id, let failure), .lockUnavailable(id, let failure): failure
      default: nil
      }
    }
  }

  @Test("a server that is not there is waited for, which is said, also again")
  func away() throws {
    let site = try Site(server: PostgreSQLServer())
    try site.server.order("stop")
    let agent = try site.agent("node-1:7")
    let read = try agent.ask { .read(id: $0) }
    let lock = try agent.lock()
    for id in [read, lock, read, lock] {
      let failure = try unavailable(agent, id)
      #expect(failure.kind == .unavailable && failure.text.contains("refused"))
    }
    #expect(try agent.write(claim("node-1:7"))?.kind == .unavailable)
    try site.server.order("start")
    #expect(try agent.answer(ofRead: read).record == nil)
    #expect(try agent.held(lock) == "")
    #expect(try agent.write(claim("node-1:7")) == nil)
  }

  @Test("a holder whose server dies has lost the lock, and learns of itself when it is back")
  func crash() throws {
    let site = try Site(server: PostgreSQLServer())
    let agent = try site.agent("node-1:7")
    let lock = try agent.lock()
    #expect(try agent.held(lock) == "")
    try site.server.order("stop")
    let failure: CoordinationFailure = try agent.coordination("the loss") {
      if case .lockLost(lock, let failure) = $0 { failure } else { nil }
    }
    #expect(failure.kind == .unavailable)
    try agent.unlock(lock)
    let again = try agent.lock()
    try site.server.order("start")
    #expect(try agent.held(again) == "node-1:7")
  }

  @Test("a record's connection that is ended, and tables that are removed, are made again")
  func connection() throws {
    let site = try Site()
    let admin = try site.admin()
    let agent = try site.agent("node-1:7")
    let lock = try agent.lock()
    #expect(try agent.held(lock) == "")
    for _ in 0..<3 {
      try admin.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%//record' "
          + "AND datname = current_database()")
      #expect(try agent.write(claim("node-1:7")) == nil)
    }
    try admin.run("DROP TABLE supervisor_release, supervisor_step, supervisor_lock")
    #expect(try agent.read().record == nil)
    #expect(try agent.write(claim("node-1:7")) == nil)
    try agent.unlock(lock)
  }

  @Test(
    "what is wrong for good is known within 3 s, with its kind, and without the password",
    arguments: [
      ("user=nobody_at_all password=hunter22", CoordinationFailure.Kind.refused),
      ("dbname=no_such_database password=hunter22", .refused),
      ("nonsense=1 password=hunter22", .settings),
    ])
  func permanent(extra: String, kind: CoordinationFailure.Kind) throws {
    let site = try Site()
    var scope = site.scope("node-1:7")
    scope.postgres?.connection = site.connection(extra: extra)
    let agent = try site.agent(scope)
    let began = MonotonicInstant.now
    let ids = [try agent.ask { .read(id: $0) }, try agent.lock()]
    for id in ids {
      let failure = try agent.failure(of: id)
      #expect(failure.kind == kind && !failure.text.contains("hunter22"), "\(failure)")
    }
    #expect(MonotonicInstant.now - began < .seconds(3))
    #expect(!agent.rest.contains { "\($0)".contains("hunter22") })
  }

  @Test("a missing privilege is answered with the statement that gives it")
  func privilege() throws {
    let site = try Site()
    let role = "plain_\(site.database)"
    try site.admin().run(
      "CREATE ROLE \(role) LOGIN PASSWORD 'secret9'; REVOKE ALL ON SCHEMA public FROM PUBLIC")
    var scope = site.scope("node-1:7")
    scope.postgres?.connection = site.connection(user: role, extra: "password=secret9")
    let agent = try site.agent(scope)
    for id in [try agent.ask { .read(id: $0) }, try agent.lock()] {
      let failure = try agent.failure(of: id)
      #expect(failure.kind == .permission)
      #expect(failure.text.contains("GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"\(role)\""))
    }
  }

  @Test("a table's name that PostgreSQL would cut is a matter of settings")
  func names() throws {
    let site = try Site()
    var scope = site.scope("node-1:7")
    scope.postgres?.table = String(repeating: "x", count: 60)
    let agent = try site.agent(scope)
    let id = try agent.ask { .read(id: $0) }
    #expect(try agent.failure(of: id).kind == .settings)
  }
}
