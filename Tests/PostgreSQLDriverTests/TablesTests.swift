import EventLoop
import ReleaseRecords
import TestSupport
import Testing

@testable import PostgreSQLDriver

extension Rig {
  func tables(_ run: String = "r1", layout: TablesLayout? = nil) throws -> ReleaseTables {
    ReleaseTables(layout: try layout ?? TablesLayout(), project: "shop", runID: run)
  }

  /// Waits for what a call on the loop answers.
  func answer<Value>(
    _ body: @escaping (@escaping (Result<Value, PostgreSQLFailure>) -> Void) -> Void
  ) throws -> Result<Value, PostgreSQLFailure> {
    let answers = Record<Result<Value, PostgreSQLFailure>>()
    try onLoop { body { answers.append($0) } }
    return try answers.next("an answer of the tables")
  }

  func prepare(_ tables: ReleaseTables, _ connection: PostgreSQLConnection) throws -> PostgreSQLFailure? {
    if case .failure(let failure) = try answer({ tables.prepare(on: connection, $0) }) { return failure }
    return nil
  }

  func read(_ tables: ReleaseTables, _ connection: PostgreSQLConnection) throws -> ReleaseSnapshot {
    try answer { tables.read(on: connection, $0) }.get()
  }

  @discardableResult
  func write(_ release: ReleaseRecord, _ tables: ReleaseTables, _ connection: PostgreSQLConnection) throws
    -> UInt64
  {
    try answer { tables.write(release, on: connection, $0) }.get()
  }
}

@Suite("PostgreSQL: the record in the tables")
struct TablesTests {
  private func release(_ owner: String = "node-1:7", attempt: Int = 1) -> ReleaseRecord {
    var release = ReleaseRecord(runID: "r1")
    release.claim = ReleaseRecord.Claim(
      owner: owner, attempt: attempt, startedAt: 0, heartbeat: 0,
      running: [
        ReleaseRecord.Running(
          step: "mi,gr\"ate", startedAt: 1_700_000_000_123_456_000, deadline: 1_800_000_000_000_000_000),
        ReleaseRecord.Running(step: "NULL", startedAt: 1),
      ])
    release.entries = [
      ReleaseRecord.Entry(
        step: "b\\{}'", hash: "h1", doneAt: 1_700_000_000_654_321_000,
        outputs: [.init(key: "B", value: "ü\n\"x\\\","), .init(key: "A", value: "")]),
      ReleaseRecord.Entry(step: "a", hash: "h2", doneAt: 1_700_000_001_000_000_000),
    ]
    release.parts = [
      .init(step: "c", hash: "h3", name: "shop.apps.Shop"), .init(step: "c", hash: "h3", name: "{\"}"),
      .init(step: "a", hash: "h2", name: "x"),
    ]
    release.failure = ReleaseRecord.Failure(count: 2, attempt: 1, step: "a", reason: "it's 1\n2", failedAt: 0)
    release.declaredBy = "me"
    return release
  }

  /// The server's times in place of what is expected.
  private func expected(_ release: ReleaseRecord, as found: ReleaseRecord) -> ReleaseRecord {
    var expected = release
    expected.claim?.startedAt = found.claim?.startedAt ?? 0
    expected.claim?.heartbeat = found.claim?.heartbeat ?? 0
    expected.failure?.failedAt = found.failure?.failedAt ?? 0
    expected.parts.sort { ($0.step, $0.name) < ($1.step, $1.name) }
    return expected
  }

  @Test(
    "a record comes back as it was written, with the server's times, whatever the session's settings are, directly and pooled",
    arguments: [false, true])
  func roundTrip(isPooled: Bool) throws {
    let rig = try Rig(server: isPooled ? PostgreSQLServer() : nil)
    try rig.admin().run(
      """
      ALTER DATABASE \(rig.database) SET search_path = nowhere; ALTER DATABASE \(rig.database) SET synchronous_commit = off;
      ALTER DATABASE \(rig.database) SET DateStyle = 'German, DMY'; ALTER DATABASE \(rig.database) SET IntervalStyle = iso_8601;
      ALTER DATABASE \(rig.database) SET TimeZone = 'Asia/Kathmandu'; ALTER DATABASE \(rig.database) SET extra_float_digits = -15;
      ALTER DATABASE \(rig.database) SET standard_conforming_strings = off; ALTER DATABASE \(rig.database) SET bytea_output = escape;
      ALTER DATABASE \(rig.database) SET default_transaction_isolation = serializable
      """)
    let port = isPooled ? try rig.server.startBouncer(size: 2) : nil
    let (connection, session) = try rig.open(rig.target(port: port))
    #expect(session.isPooled == isPooled)
    let tables = try rig.tables()
    #expect(try rig.prepare(tables, connection) == nil)
    #expect(try rig.read(tables, connection).release == nil)
    let written = release()
    let time = try rig.write(written, tables, connection)
    let snapshot = try rig.read(tables, connection)
    var found = try #require(snapshot.release)
    found.parts.sort { ($0.step, $0.name) < ($1.step, $1.name) }
    #expect(found == expected(written, as: found))
    let claim = try #require(found.claim)
    #expect(claim.startedAt == claim.heartbeat && claim.startedAt <= time && time <= snapshot.now)
    #expect(snapshot.now - claim.startedAt < 60_000_000_000)

    // What is not in the record any more is gone; another run ID's stays.
    let other = try rig.tables("r2")
    try rig.write(written, other, connection)
    var less = ReleaseRecord(runID: "r1")
    less.claim = ReleaseRecord.Claim(owner: "node-1:7", attempt: 1, startedAt: 0, heartbeat: 0)
    less.entries = [written.entries[1]]
    less.completedAt = 1_700_000_002_000_000_000
    try rig.write(less, tables, connection)
    let second = try #require(try rig.read(tables, connection).release)
    #expect(second == expected(less, as: second))
    #expect(try rig.read(other, connection).release?.entries == written.entries)
    #expect(try rig.answer { tables.remove(on: connection, $0) }.get() == ())
    #expect(try rig.read(tables, connection).release == nil)
    #expect(try rig.read(other, connection).release?.entries == written.entries)
  }

  @Test("the server's times stay while what they tell of stays, and a heartbeat is renewed with each write")
  func times() throws {
    let rig = try Rig()
    let (connection, _) = try rig.open(rig.target())
    let tables = try rig.tables()
    #expect(try rig.prepare(tables, connection) == nil)
    var record = release()
    try rig.write(record, tables, connection)
    let first = try #require(try rig.read(tables, connection).release)
    try rig.write(record, tables, connection)
    let second = try #require(try rig.read(tables, connection).release)
    #expect(second.claim?.startedAt == first.claim?.startedAt && second.failure == first.failure)
    #expect(try #require(second.claim?.heartbeat) > #require(first.claim?.heartbeat))
    record.claim?.attempt = 2
    record.failure?.count = 3
    try rig.write(record, tables, connection)
    let third = try #require(try rig.read(tables, connection).release)
    #expect(try #require(third.claim?.startedAt) > #require(second.claim?.startedAt))
    #expect(try #require(third.failure?.failedAt) > #require(second.failure?.failedAt))
  }

  @Test("who has been superseded writes nothing any more, and is told by whom")
  func fence() throws {
    let rig = try Rig()
    let (connection, _) = try rig.open(rig.target())
    let tables = try rig.tables()
    #expect(try rig.prepare(tables, connection) == nil)
    try rig.write(release("old:1", attempt: 3), tables, connection)
    try rig.write(release("new:2", attempt: 4), tables, connection)
    for (owner, attempt) in [("old:1", 3), ("other:3", 4)] {
      var late = release(owner, attempt: attempt)
      late.entries = []
      guard case .failure(let failure) = try rig.answer({ tables.write(late, on: connection, $0) }) else {
        return #expect(Bool(false), "it has to fail")
      }
      #expect(failure.cause == .superseded && failure.isPermanent)
      #expect(failure.text == "new:2 has claimed run ID r1 since (attempt 4); nothing was written")
    }
    let found = try #require(try rig.read(tables, connection).release)
    #expect(found.claim?.owner == "new:2" && found.entries.count == 2)
  }

  @Test("twenty nodes that make the tables at the same time all find them")
  func concurrentMaking() throws {
    let rig = try Rig()
    let layout = try TablesLayout(schema: "Odd \"schema'", table: "It's \"mine\\")
    let tables = try rig.tables(layout: layout)
    let connections = try (0..<20).map { _ in try rig.open(rig.target()).0 }
    let answers = Record<Result<Void, PostgreSQLFailure>>()
    try rig.onLoop { for connection in connections { tables.prepare(on: connection) { answers.append($0) } } }
    for _ in connections { try answers.next("the tables").get() }
    try rig.write(release(), tables, connections[0])
    #expect(try rig.read(tables, connections[1]).release?.claim?.owner == "node-1:7")
  }

  @Test("a missing privilege is answered with the statement that gives it, and that one helps")
  func privileges() throws {
    let rig = try Rig()
    let admin = try rig.admin()
    let role = "Plain \(rig.database)"
    try admin.run("CREATE ROLE \"\(role)\" LOGIN PASSWORD 'x'; REVOKE ALL ON SCHEMA public FROM PUBLIC")
    let (connection, _) = try rig.open(rig.target(user: "'\(role)'", extra: "password=x"))
    let tables = try rig.tables()

    func remedy() throws -> String {
      let failure = try #require(try rig.prepare(tables, connection))
      #expect(failure.cause == .privilege && failure.isPermanent && failure.text.contains("role \"\(role)\""))
      return String(try #require(failure.text.split(separator: ": ").last))
    }
    let making = try remedy()
    #expect(making == "GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"\(role)\";")
    try admin.run(making)
    #expect(try rig.prepare(tables, connection) == nil)
    try admin.run(
      "ALTER TABLE supervisor_release OWNER TO postgres; ALTER TABLE supervisor_step OWNER TO postgres;"
        + "ALTER TABLE supervisor_lock OWNER TO postgres;"
        + "GRANT SELECT ON supervisor_release TO \"\(role)\"")
    let using = try remedy()
    #expect(
      using == "GRANT SELECT, INSERT, UPDATE, DELETE ON \"public\".\"supervisor_release\", "
        + "\"public\".\"supervisor_step\", \"public\".\"supervisor_lock\" TO \"\(role)\";")
    try admin.run(using)
    #expect(try rig.prepare(tables, connection) == nil)
    try rig.write(release(), tables, connection)

    let elsewhere = try rig.tables(layout: try TablesLayout(schema: "apart"))
    let failure = try #require(try rig.prepare(elsewhere, connection))
    #expect(failure.text.hasSuffix("run: CREATE SCHEMA \"apart\" AUTHORIZATION \"\(role)\";"))
    try admin.run("CREATE SCHEMA \"apart\" AUTHORIZATION \"\(role)\"")
    #expect(try rig.prepare(elsewhere, connection) == nil)
  }

  @Test(
    "tables that are not ours, or of another version, are refused, and are left alone",
    arguments: [
      ("DROP CONSTRAINT supervisor_version_1", "was not made by supervisor"),
      (
        "RENAME CONSTRAINT supervisor_version_1 TO supervisor_version_2",
        "has version 2, from a later supervisor"
      ),
      (
        "RENAME CONSTRAINT supervisor_version_1 TO supervisor_version_0",
        "has version 0, from an earlier supervisor"
      ),
    ], ["supervisor_release", "supervisor_step", "supervisor_lock"])
  func versions(change: (sql: String, text: String), table: String) throws {
    let rig = try Rig()
    let (connection, _) = try rig.open(rig.target())
    let tables = try rig.tables()
    #expect(try rig.prepare(tables, connection) == nil)
    try rig.admin().run("ALTER TABLE \(table) \(change.sql)")
    let failure = try #require(try rig.prepare(tables, connection))
    #expect(failure.cause == .tables && failure.isPermanent)
    #expect(failure.text.hasPrefix("the table \"public\".\"\(table)\" \(change.text)"))
  }

  @Test(
    "records that nobody has touched for 30 days are pruned, but neither the present run ID's nor another project's"
  )
  func pruning() throws {
    let rig = try Rig()
    let admin = try rig.admin()
    let (connection, _) = try rig.open(rig.target())
    for run in ["r0", "r1", "r2"] {
      let tables = try rig.tables(run)
      #expect(try rig.prepare(tables, connection) == nil)
      try rig.write(release(), tables, connection)
    }
    let other = ReleaseTables(layout: try TablesLayout(), project: "other", runID: "r0")
    try rig.write(release(), other, connection)
    try admin.run(
      "UPDATE supervisor_release SET changed_at = now() - interval '31 days' WHERE run_id <> 'r2'")
    let tables = try rig.tables("r1")
    #expect(try rig.answer { tables.prune(on: connection, $0) }.get() == ["r0"])
    #expect(
      try admin.run("SELECT DISTINCT project || ' ' || run_id FROM supervisor_step ORDER BY 1")
        == [["other r0"], ["shop r1"], ["shop r2"]])
    #expect(try rig.answer { tables.prune(on: connection, $0) }.get() == [])
  }

  @Test("a record that was changed by hand into nonsense is refused, and not half understood")
  func nonsense() throws {
    let rig = try Rig()
    let (connection, _) = try rig.open(rig.target())
    let tables = try rig.tables()
    #expect(try rig.prepare(tables, connection) == nil)
    try rig.write(release(), tables, connection)
    try rig.admin().run("UPDATE supervisor_step SET output_values = '{}'")
    guard case .failure(let failure) = try rig.answer({ tables.read(on: connection, $0) }) else {
      return #expect(Bool(false), "it has to fail")
    }
    #expect(failure.cause == .tables && failure.text.contains("run ID r1"))
  }

  @Test("what was written before the server died is there when it comes back")
  func durable() throws {
    let server = try PostgreSQLServer()
    let rig = try Rig(server: server)
    try rig.admin().run("ALTER DATABASE \(rig.database) SET synchronous_commit = off")
    let tables = try rig.tables()
    let (connection, _) = try rig.open(rig.target())
    #expect(try rig.prepare(tables, connection) == nil)
    try rig.write(release(), tables, connection)
    try server.order("stop")
    try server.order("start")
    let (again, _) = try rig.open(rig.target())
    #expect(try rig.read(tables, again).release?.entries == release().entries)
  }

  @Test(
    "arrays in text form go both ways",
    arguments: [[], [""], ["a", "b,c", "{}", "\"\\", "NULL", "ü\r\n", " "]])
  func arrays(elements: [String]) {
    #expect(ArrayText.decode(ArrayText.encode(elements)) == elements)
  }

  @Test("what is no array of one dimension is refused", arguments: ["", "{", "a", "{{a}}", "{\"a}", "{a\\"])
  func noArrays(text: String) {
    #expect(ArrayText.decode(text) == nil)
  }

  @Test("names that PostgreSQL would cut are refused")
  func names() {
    #expect(throws: PostgreSQLFailure.self) { try TablesLayout(table: String(repeating: "x", count: 56)) }
    #expect(throws: PostgreSQLFailure.self) { try TablesLayout(schema: "") }
    #expect(throws: Never.self) { try TablesLayout(table: String(repeating: "x", count: 55)) }
  }
}
