import EventLoop
import TestSupport
import Testing

@testable import PostgreSQLDriver

@Suite("PostgreSQL: connections")
struct ConnectionTests {
  @Test(
    "a session is settled against hostile defaults of the role, and for cut networks, and tells who we are")
  func settings() throws {
    let rig = try Rig()
    let admin = try rig.admin()
    let role = "hostile_\(rig.database)"
    try admin.run(
      """
      CREATE ROLE \(role) LOGIN PASSWORD 'secret'; ALTER ROLE \(role) SET statement_timeout = '1s';
      ALTER ROLE \(role) SET lock_timeout = '1s'; ALTER ROLE \(role) SET idle_session_timeout = '1s';
      ALTER ROLE \(role) SET idle_in_transaction_session_timeout = '1s';
      ALTER ROLE \(role) SET default_transaction_isolation = 'serializable'
      """)
    let (connection, session) = try rig.open(rig.target(user: role, extra: "password=secret"))
    #expect(!session.isPooled && session.role == role && session.database == rig.database)
    #expect(session.serverVersion >= 120_000 && session.place.contains("\(rig.server.port)"))
    let names = [
      "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
      "default_transaction_isolation", "tcp_keepalives_idle", "tcp_keepalives_interval",
      "tcp_keepalives_count",
      "tcp_user_timeout", "application_name", "client_encoding",
    ]
    let sql = "SELECT " + names.map { "current_setting('\($0)')" }.joined(separator: ", ")
    let row = try rig.send(connection, Statement(sql)).get().rows[0].map { $0 ?? "" }
    // The server shows what the socket really has.
    #expect(
      row == [
        "0", "0", "0", "0", "read committed", "3", "1", "11", "13500", "supervisor/shop/r1//lock", "UTF8",
      ])
    // Longer than each of the limits.
    #expect(try rig.send(connection, Statement("SELECT pg_sleep(1.3)")).get().rows.count == 1)
    try admin.run("DROP ROLE \(role)")
  }

  @Test(
    "requests are answered in order, parameters and NULL go both ways, an error ends only its own statement")
  func requests() throws {
    let rig = try Rig()
    let (connection, _) = try rig.open(rig.target())
    let answers = Record<Result<StatementResult, PostgreSQLFailure>>()
    try rig.onLoop {
      for statement in [
        Statement("SELECT $1::text, $2::text", ["a'b\"c\\ ü", nil]), Statement("SELECT 1/0"),
        Statement("BEGIN; SELECT 'open'"), Statement("SELECT $1::text", ["a\0b"]), Statement("nonsense"),
        Statement("ROLLBACK"),
      ] { connection.send(statement, timeout: .seconds(20)) { answers.append($0) } }
    }
    #expect(try answers.next("1").get().rows == [["a'b\"c\\ ü", nil]])
    let division = try answers.next("2")
    #expect(throws: PostgreSQLFailure.self) { try division.get() }
    let begun = try answers.next("3").get()
    #expect(begun.rows == [["open"]] && begun.transaction == .open)
    guard case .failure(let nul) = try answers.next("4"), case .failure(let nonsense) = try answers.next("5")
    else {
      return #expect(Bool(false), "both have to fail")
    }
    #expect(nul.cause == .statement && nul.text.contains("NUL"))
    #expect(nonsense.cause == .statement && nonsense.sqlState == "42601" && nonsense.isPermanent)
    #expect(try answers.next("6").get().transaction == StatementResult.Transaction.none)
  }

  @Test("a statement without an answer in time is cancelled in the server, and its connection ends")
  func deadline() throws {
    let rig = try Rig()
    let ends = Record<PostgreSQLFailure>()
    let (connection, session) = try rig.open(rig.target(), ends: ends)
    let began = MonotonicInstant.now
    guard
      case .failure(let failure) = try rig.send(
        connection, Statement("SELECT pg_sleep(60)"), timeout: .milliseconds(300))
    else { return #expect(Bool(false), "it has to fail") }
    #expect(
      failure.cause == .noAnswer && !failure.isPermanent && failure.text.hasSuffix("no answer within 300ms"))
    #expect(MonotonicInstant.now - began < .seconds(10))
    #expect(try ends.next("the end") == failure)
    try rig.admin().eventually(
      "the statement is gone", "SELECT count(*) FROM pg_stat_activity WHERE pid = \(session.backend)", is: "0"
    )
    // Nothing more is sent on it.
    #expect(try rig.send(connection, Statement("SELECT 1")) == .failure(failure))
  }

  @Test("a statement can be cancelled, and the connection goes on")
  func cancelling() throws {
    let rig = try Rig()
    let (connection, session) = try rig.open(rig.target())
    let answers = Record<Result<StatementResult, PostgreSQLFailure>>()
    try rig.onLoop { connection.send(Statement("SELECT pg_sleep(60)"), timeout: nil) { answers.append($0) } }
    try rig.admin().eventually(
      "it sleeps", "SELECT wait_event FROM pg_stat_activity WHERE pid = \(session.backend)", is: "PgSleep")
    try rig.onLoop { connection.cancel() }
    guard case .failure(let failure) = try answers.next("the end") else {
      return #expect(Bool(false), "it has to fail")
    }
    #expect(failure.cause == .cancelled && failure.sqlState == "57014")
    #expect(try rig.send(connection, Statement("SELECT 7")).get().rows == [["7"]])
  }

  @Test(
    "an ended backend is noticed at once, idle or at work, with the server's reason",
    arguments: [true, false])
  func terminated(isIdle: Bool) throws {
    let rig = try Rig()
    let ends = Record<PostgreSQLFailure>()
    let (connection, session) = try rig.open(rig.target(), ends: ends)
    let answers = Record<Result<StatementResult, PostgreSQLFailure>>()
    if !isIdle {
      try rig.onLoop {
        connection.send(Statement("SELECT pg_sleep(60)"), timeout: nil) { answers.append($0) }
      }
    }
    let admin = try rig.admin()
    if !isIdle {
      try admin.eventually(
        "it sleeps", "SELECT wait_event FROM pg_stat_activity WHERE pid = \(session.backend)", is: "PgSleep")
    }
    try admin.run("SELECT pg_terminate_backend(\(session.backend))")
    let began = MonotonicInstant.now
    let end = try ends.next("the end")
    #expect(MonotonicInstant.now - began < .seconds(2))
    #expect(end.cause == .shutDown && end.sqlState == "57P01" && !end.isPermanent)
    #expect(end.text.contains("terminating connection due to administrator command"))
    if !isIdle { #expect(try answers.next("the answer") == .failure(end)) }
    #expect(try rig.onLoop { rig.client.count } == 0)
  }

  @Test("closing a connection calls nobody, and the server sees it go; also one that is still being made")
  func closing() throws {
    let rig = try Rig()
    let ends = Record<PostgreSQLFailure>()
    let (connection, session) = try rig.open(rig.target(), ends: ends)
    let calls = Record<Bool>()
    try rig.onLoop {
      connection.send(Statement("SELECT 1"), timeout: nil) { _ in calls.append(true) }
      connection.close()
      rig.client.open(rig.target("other"), timeout: .seconds(20)) { _ in calls.append(true) }.close()
    }
    try rig.admin().eventually(
      "both are gone",
      "SELECT count(*) FROM pg_stat_activity WHERE pid = \(session.backend) OR application_name LIKE '%//other'",
      is: "0")
    #expect(try rig.onLoop { rig.client.count } == 0 && calls.rest.isEmpty && ends.rest.isEmpty)
  }

  @Test(
    "through PgBouncer in transaction mode the pooler is seen, and nothing is left behind in its sessions")
  func pooled() throws {
    let rig = try Rig(server: PostgreSQLServer())
    let port = try rig.server.startBouncer(size: 2)
    let (connection, session) = try rig.open(rig.target(port: port))
    #expect(session.isPooled)
    #expect(try rig.send(connection, Statement("SHOW tcp_user_timeout")).get().rows == [["0"]])
    #expect(try rig.send(connection, Statement("SELECT $1::int + 1", ["4"])).get().rows == [["5"]])
  }
}
