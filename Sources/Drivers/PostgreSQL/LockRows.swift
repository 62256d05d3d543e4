import EventLoop

/// Who holds a lock, in a table beside it: the server knows sessions, not nodes, and forgets those that are gone.
///
/// A row is made once the advisory lock is had, and removed before it is given back in order. So a row that is found
/// when the lock has just been got is that of a holder that vanished with it, whose steps may still run.
public struct LockRows: Sendable {
  /// Which lock.
  public enum Name: String, Sendable {
    /// Of the infrastructure phase: one for the database, for all projects in it.
    case infrastructure
    /// Of the project's primary.
    case leader
  }

  /// A row.
  public struct Holder: Sendable, Equatable {
    /// The namespace.
    public var project: String
    /// The release.
    public var runID: String
    /// Node and process.
    public var owner: String
    /// The steps that its record says are under way.
    public var running: [String]

    /// A row.
    public init(project: String, runID: String, owner: String, running: [String] = []) {
      self.project = project
      self.runID = runID
      self.owner = owner
      self.running = running
    }
  }

  static let patience = Duration.seconds(8)

  private let layout: TablesLayout
  private let project: String
  private let runID: String
  private let owner: String
  private let name: Name

  /// The rows of this lock, seen from this node.
  public init(layout: TablesLayout, project: String, runID: String, owner: String, name: Name) {
    self.layout = layout
    self.project = project
    self.runID = runID
    self.owner = owner
    self.name = name
  }

  /// What rows of other projects are to us: the advisory lock of the leader is each project's own.
  private var scope: String { name == .leader ? "l.name = $2 AND l.project = $1" : "l.name = $2" }

  /// Marks the lock as held by us; who vanished with it before, our own earlier life included.
  ///
  /// The row of another release stays until `forget`: should we vanish too, the next one still knows. That of the leader
  /// goes at once, since ours stands for all that may still run.
  public func mark(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<[Holder], PostgreSQLFailure>) -> Void
  ) {
    let removal =
      name == .leader
      ? ", gone AS (DELETE FROM \(layout.lock) l WHERE l.name = $2 AND l.project = $1 AND l.run_id <> $3)"
      : ""
    let statement = Statement(
      """
      WITH left_behind AS (
        SELECT l.project, l.run_id, l.owner, l.held_since FROM \(layout.lock) l WHERE \(scope)
      ), marked AS (
        INSERT INTO \(layout.lock) AS l (project, name, run_id, owner, held_since)
        VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp())
        ON CONFLICT (project, name, run_id) DO UPDATE SET owner = EXCLUDED.owner, held_since = EXCLUDED.held_since
      )\(removal)
      SELECT b.project, b.run_id, b.owner, NULL, \(ReleaseStatements.durable)
      FROM (SELECT 1) AS always LEFT JOIN left_behind b ON true ORDER BY b.held_since DESC
      """, [project, name.rawValue, runID, owner])
    connection.send(statement, timeout: Self.patience) { completion($0.map { Self.holders($0.rows) }) }
  }

  /// Removes our mark, and nobody else's.
  public func unmark(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    let statement = Statement(
      """
      WITH gone AS (
        DELETE FROM \(layout.lock) WHERE project = $1 AND name = $2 AND run_id = $3 AND owner = $4
      ) SELECT \(ReleaseStatements.durable)
      """, [project, name.rawValue, runID, owner])
    connection.send(statement, timeout: Self.patience) { completion($0.map { _ in }) }
  }

  /// Removes the marks of those that vanished, once nothing is left of them.
  public func forget(
    _ holders: [Holder], on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    let statement = Statement(
      """
      DELETE FROM \(layout.lock) l
      USING ROWS FROM (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]))
        AS g(project, run_id, owner)
      WHERE l.name = $1 AND l.project = g.project AND l.run_id = g.run_id AND l.owner = g.owner
      """,
      [
        name.rawValue, ArrayText.encode(holders.map(\.project)), ArrayText.encode(holders.map(\.runID)),
        ArrayText.encode(holders.map(\.owner)),
      ])
    connection.send(statement, timeout: Self.patience) { completion($0.map { _ in }) }
  }

  /// All that are marked, the last one first.
  public func holders(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<[Holder], PostgreSQLFailure>) -> Void
  ) {
    let statement = Statement(
      """
      SELECT l.project, l.run_id, l.owner, r.running_steps FROM \(layout.lock) l
      LEFT JOIN \(layout.release) r ON r.project = l.project AND r.run_id = l.run_id
      WHERE \(scope) AND $1::text IS NOT NULL ORDER BY l.held_since DESC
      """, [project, name.rawValue])
    connection.send(statement, timeout: Self.patience) { completion($0.map { Self.holders($0.rows) }) }
  }

  private static func holders(_ rows: [[String?]]) -> [Holder] {
    rows.compactMap { row in
      guard row.count >= 4, let project = row[0], let runID = row[1], let owner = row[2] else { return nil }
      return Holder(
        project: project, runID: runID, owner: owner, running: row[3].flatMap(ArrayText.decode) ?? [])
    }
  }
}
