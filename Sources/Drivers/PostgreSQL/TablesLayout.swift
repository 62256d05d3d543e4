/// Where the tables are, how they are made, and whether those that are there are ours.
public struct TablesLayout: Sendable, Equatable {
  /// What there is.
  enum Finding: Equatable {
    case ready
    /// To be made, by this.
    case missing(Statement)
  }

  /// The version of the tables. A constraint of this name is part of each: it is made with the table in one, comes with
  /// every dump, and whoever may connect can see it.
  static let version = 1
  private static let versionName = "supervisor_version_"

  /// The schema.
  public var schema: String
  /// What the tables' names begin with.
  public var table: String

  /// - Throws: when PostgreSQL would cut the names.
  public init(schema: String = "public", table: String = "supervisor") throws(PostgreSQLFailure) {
    self.schema = schema
    self.table = table
    let names = [schema, table + "_release", table + "_step", table + "_lock"]
    guard !schema.isEmpty, !table.isEmpty, names.allSatisfy({ $0.utf8.count <= 63 && !$0.utf8.contains(0) })
    else {
      throw PostgreSQLFailure(
        .settings,
        "schema '\(schema)' and table '\(table)': PostgreSQL has no empty names, and none above 63 bytes")
    }
  }

  static func quoted(_ name: String) -> String { "\"\(name.replacing("\"", with: "\"\""))\"" }
  private static func literal(_ text: String) -> String {
    "E'\(text.replacing("\\", with: "\\\\").replacing("'", with: "\\'"))'"
  }

  /// The table of the releases, for SQL.
  var release: String { Self.quoted(schema) + "." + Self.quoted(table + "_release") }
  /// The table of their steps.
  var step: String { Self.quoted(schema) + "." + Self.quoted(table + "_step") }
  /// The table of who holds the locks.
  var lock: String { Self.quoted(schema) + "." + Self.quoted(table + "_lock") }
  /// All of them, for people and for GRANT.
  private var all: String { "\(release), \(step), \(lock)" }

  // MARK: Looking

  /// One row: whether the schema is there, what we may do in it, then for each table whether it is there, which
  /// versions it has, and whether we may use it; at last who we are. Asks the catalogue, which needs no privilege.
  var inspection: Statement {
    func facts(_ alias: String) -> String {
      let privileges = ["SELECT", "INSERT", "UPDATE", "DELETE"]
        .map { "pg_catalog.has_table_privilege(\(alias).oid, '\($0)')" }.joined(separator: " AND ")
      return """
        \(alias).oid IS NOT NULL, (SELECT pg_catalog.string_agg(k.conname::text, ',') FROM pg_catalog.pg_constraint k
          WHERE k.conrelid = \(alias).oid AND pg_catalog.starts_with(k.conname::text, '\(Self.versionName)')), \(privileges)
        """
    }
    return Statement(
      """
      SELECT n.oid IS NOT NULL, pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
        pg_catalog.has_schema_privilege(n.oid, 'CREATE'), \(facts("r")), \(facts("s")),
        \(facts("l")), current_user
      FROM (SELECT 1) AS always LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = $1
      LEFT JOIN pg_catalog.pg_class r ON r.relnamespace = n.oid AND r.relname = $2
      LEFT JOIN pg_catalog.pg_class s ON s.relnamespace = n.oid AND s.relname = $3
      LEFT JOIN pg_catalog.pg_class l ON l.relnamespace = n.oid AND l.relname = $4
      """, [schema, table + "_release", table + "_step", table + "_lock"])
  }

  /// What the answer means.
  func judge(_ row: [String?]) throws(PostgreSQLFailure) -> Finding {
    guard row.count == 13 else {
      throw PostgreSQLFailure(.statement, "the catalogue gave an answer without sense")
    }
    let role = Self.quoted(row[12] ?? "")
    func isTrue(_ column: Int) -> Bool { row[column] == "t" }
    guard isTrue(0) else { return .missing(making(withSchema: true)) }
    guard isTrue(1) else {
      throw missingPrivilege("GRANT USAGE, CREATE ON SCHEMA \(Self.quoted(schema)) TO \(role)", role)
    }
    for (column, name) in [(3, release), (6, step), (9, lock)] where isTrue(column) {
      let found = row[column + 1]
      guard found != "\(Self.versionName)\(Self.version)" else { continue }
      throw PostgreSQLFailure(.tables, Self.strange(name, found))
    }
    guard isTrue(3), isTrue(6), isTrue(9) else {
      guard isTrue(2) else {
        throw missingPrivilege("GRANT USAGE, CREATE ON SCHEMA \(Self.quoted(schema)) TO \(role)", role)
      }
      return .missing(making(withSchema: false))
    }
    guard isTrue(5), isTrue(8), isTrue(11) else {
      throw missingPrivilege("GRANT SELECT, INSERT, UPDATE, DELETE ON \(all) TO \(role)", role)
    }
    return .ready
  }

  /// What is said when the tables could not be made.
  func explain(_ failure: PostgreSQLFailure, role: String) -> PostgreSQLFailure {
    guard failure.cause == .privilege else { return failure }
    return missingPrivilege(
      "CREATE SCHEMA \(Self.quoted(schema)) AUTHORIZATION \(Self.quoted(role))", Self.quoted(role))
  }

  private func missingPrivilege(_ remedy: String, _ role: String) -> PostgreSQLFailure {
    PostgreSQLFailure(
      .privilege, sqlState: "42501",
      "role \(role) may not use the tables \(all), or not make them; let their owner run: \(remedy);"
    )
  }

  private static func strange(_ table: String, _ found: String?) -> String {
    let versions = (found ?? "").split(separator: ",").compactMap { Int($0.dropFirst(versionName.count)) }
    guard let highest = versions.max() else {
      return
        "the table \(table) was not made by supervisor; choose another coordination.postgres.table or .schema"
    }
    return highest > version
      ? "the table \(table) has version \(highest), from a later supervisor; this one knows version \(version): "
        + "use that supervisor, or another coordination.postgres.table"
      : "the table \(table) has version \(highest), from an earlier supervisor; this one needs version \(version): "
        + "drop the tables while nothing is deployed, or choose another coordination.postgres.table"
  }

  // MARK: Making

  /// As one transaction. Twenty nodes come here at the same time, and CREATE TABLE IF NOT EXISTS fails for those that
  /// lose the race (a duplicate in the catalogue): so they come one after the other.
  private func making(withSchema: Bool) -> Statement {
    let key = LockKey.leader(project: "tables \(schema).\(table)").value
    let version = "CONSTRAINT \(Self.versionName)\(Self.version) CHECK (true)"
    return Statement(
      """
      SELECT pg_catalog.pg_advisory_xact_lock(\(key));
      \(withSchema ? "CREATE SCHEMA IF NOT EXISTS \(Self.quoted(schema));" : "")
      CREATE TABLE IF NOT EXISTS \(release) (
        project text NOT NULL, run_id text NOT NULL,
        owner text, attempt bigint, claimed_at timestamptz, heartbeat_at timestamptz,
        running_steps text[] NOT NULL, running_since bigint[] NOT NULL, running_deadlines bigint[] NOT NULL,
        failures bigint, failed_attempt bigint, failed_step text, failure text, failed_at timestamptz,
        completed_at timestamptz, declared_by text, changed_at timestamptz NOT NULL,
        PRIMARY KEY (project, run_id), \(version));
      CREATE TABLE IF NOT EXISTS \(step) (
        project text NOT NULL, run_id text NOT NULL, step text NOT NULL, hash text NOT NULL, position bigint NOT NULL,
        done_at timestamptz, output_names text[] NOT NULL, output_values text[] NOT NULL, parts text[] NOT NULL,
        PRIMARY KEY (project, run_id, step, hash), \(version));
      CREATE TABLE IF NOT EXISTS \(lock) (
        project text NOT NULL, name text NOT NULL, run_id text NOT NULL, owner text NOT NULL,
        held_since timestamptz NOT NULL, PRIMARY KEY (project, name, run_id), \(version));
      COMMENT ON TABLE \(release) IS \(Self.literal("supervisor: releases, who works on them, and which are ready"));
      COMMENT ON TABLE \(step) IS \(Self.literal("supervisor: the steps of releases that are done, or partly done"));
      COMMENT ON TABLE \(lock) IS \(Self.literal("supervisor: who holds a lock, or vanished with it"))
      """)
  }
}
