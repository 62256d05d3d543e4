import AgentProtocol

/// What the steps of a release still do in the server. A statement goes on there after its client was killed: whoever
/// takes over from a holder that vanished waits until none of them is left, and ends those that do not end.
///
/// Only sessions that kept the name of their `PGAPPNAME` are seen, and only those of roles whose sessions we may see
/// (our own, those that we are a member of, all with pg_read_all_stats), in the database of the lock.
public struct StepSessions: Sendable {
  static let patience = Duration.seconds(8)

  /// A release whose steps are looked for.
  public struct Release: Sendable, Hashable {
    /// The namespace.
    public var project: String
    /// The run ID.
    public var run: String

    /// A release.
    public init(project: String, run: String) {
      self.project = project
      self.run = run
    }
  }

  private let names: String
  private let condition: String

  /// Those of this release.
  public init(project: String, run: String) {
    self.init(of: [Release(project: project, run: run)])
  }

  /// Those of any of these releases.
  public init(of releases: [Release]) {
    names = ArrayText.encode(releases.map { ApplicationName.prefix(project: $0.project, run: $0.run) })
    condition = Self.hasPrefix
  }

  /// Those of one step.
  public init(project: String, run: String, step: String) {
    names = ArrayText.encode([ApplicationName(project: project, run: run, step: step).text])
    condition = Self.hasName
  }

  /// Which there are; `age` is that of the session.
  public func find(
    on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<[LockHolder], PostgreSQLFailure>) -> Void
  ) {
    let statement = Statement(
      """
      SELECT a.pid, a.usename, a.application_name, pg_catalog.host(a.client_addr),
        (1000 * extract(epoch FROM pg_catalog.clock_timestamp() - a.backend_start))::bigint
      FROM pg_catalog.pg_stat_activity a WHERE \(condition) AND \(Self.isElsewhere) ORDER BY a.pid
      """, [names])
    connection.send(statement, timeout: Self.patience) { result in
      completion(result.map { $0.rows.compactMap { LockHolder(row: $0) } })
    }
  }

  /// Ends them; how many were told to. They end within moments: `find` shows when.
  public func terminate(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Int, PostgreSQLFailure>) -> Void
  ) {
    let statement = Statement(
      "SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE \(condition) AND \(Self.isElsewhere)",
      [names])
    connection.send(statement, timeout: Self.patience) { result in
      completion(result.map { $0.rows.filter { $0.first == "t" }.count })
    }
  }

  private static let hasName = "a.application_name = ANY ($1::text[])"
  /// Our own sessions have an empty step.
  private static let hasPrefix = """
    EXISTS (SELECT 1 FROM pg_catalog.unnest($1::text[]) AS p(prefix)
        WHERE pg_catalog.starts_with(a.application_name, p.prefix)
          AND pg_catalog.substr(a.application_name, pg_catalog.length(p.prefix) + 1, 1) NOT IN ('', '/'))
    """
  /// Another database of the server may have a deployment of the same project and run ID, which has a lock of its own.
  private static let isElsewhere =
    "a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()"
}
