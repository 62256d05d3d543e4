import Glibc
import TestSupport

/// Nodes with a few shell steps, whose lock and record are in a database of their own on a real PostgreSQL server.
/// Where Django itself does not matter: a node of it takes seconds, one of these milliseconds.
final class ServerSite {
  let phases: PhaseSite
  let server: PostgreSQLServer
  let database: String
  /// Where nodes connect to, and as whom.
  var host = "127.0.0.1"
  var port: UInt16
  var login = "user=postgres"
  /// Further members of `coordination`.
  var coordination: [String] = []
  /// Readiness is here as well, when there is one.
  var redis: RedisServer?
  /// Redis's password, for the URL.
  var redisLogin = ""
  /// Of the release; servers are shared, and Redis knows no other name of it. Short enough for whole names of sessions.
  var runID: String?

  fileprivate init(_ phases: PhaseSite, _ server: PostgreSQLServer) throws {
    self.phases = phases
    self.server = server
    database = try server.makeDatabase()
    port = server.port
    runID = "r\(server.port).\(database)"
  }

  /// For libpq.
  var connection: String { "host=\(host) port=\(port) dbname=\(database) \(login)" }

  /// Direct, and as the superuser.
  func admin(_ name: String = "admin") throws -> Admin {
    try Admin(port: server.port, database: database, name: name)
  }

  /// What Redis has of this release.
  var key: String { "autoinit:ready:\(runID ?? "")" }

  func settings(_ infrastructure: [String], node: [String] = [], _ more: [String] = []) -> PhaseSettings {
    var members = ["project: shop", "lock: postgres", "postgres: {url: \"\(connection)\"}"] + coordination
    if let redis {
      members += ["readiness: redis", "redis: {url: \"redis://\(redisLogin)127.0.0.1:\(redis.port)/0\"}"]
    }
    return PhaseSettings(
      runID: runID, infrastructure: infrastructure, node: node,
      coordination: members.joined(separator: ", "), more: more)
  }

  /// Script: runs these statements in one session, which has the name of the step, and prints what they answer.
  func query(_ statements: String...) -> String {
    "psql -XAtq -v ON_ERROR_STOP=1 -d '\(connection)'" + statements.map { " -c \"\($0)\"" }.joined()
  }

  /// What somebody holds, or waits for, in the database.
  func advisoryLocks(_ admin: Admin) throws -> [String] {
    try admin.run(
      "SELECT classid, objid, mode, granted FROM pg_locks WHERE locktype = 'advisory' AND database = "
        + "(SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1, 2, 3, 4"
    ).map { $0.joined(separator: " ") }
  }

  /// Sessions of ours and of our steps.
  func sessions(_ admin: Admin) throws -> [String] {
    try admin.run(
      "SELECT application_name FROM pg_stat_activity WHERE datname = current_database() AND "
        + "application_name LIKE 'supervisor/%' ORDER BY 1"
    ).map { $0.joined() }
  }

  /// Waits until nothing of any node is left in the server.
  func waitUntilServerIsQuiet(_ admin: Admin) throws {
    try eventually("nothing is left in the server: \(try sessions(admin)), \(try advisoryLocks(admin))") {
      try sessions(admin).isEmpty && advisoryLocks(admin).isEmpty
    }
  }
}

/// Runs `body` with an empty folder and an empty database, on the server that all tests share, or on another.
func withServerSite<Result>(server: PostgreSQLServer? = nil, _ body: (ServerSite) throws -> Result) throws
  -> Result
{
  let server = try server ?? PostgreSQLServer.shared.get()
  return try withPhaseSite { try body(ServerSite($0, server)) }
}

extension Stage {
  /// The agent of this node.
  func agent() throws -> pid_t {
    guard let agent = ProcessEntry.children(of: pid).first(where: { $0.name.hasPrefix("supervisor-age") })
    else { throw HarnessError("\(pid) has no agent") }
    return agent.pid
  }
}
