import AgentProtocol
import EventLoop
import Foundation
import ReleaseRecords
import TestSupport

/// A database of its own on a real server, and agents of nodes that use it.
final class Site {
  let server: PostgreSQLServer
  let database: String
  /// Behind PgBouncer when it is another one than the server's.
  let port: UInt16

  init(server: PostgreSQLServer? = nil, poolOf size: Int? = nil) throws {
    let server = try server ?? (size == nil ? PostgreSQLServer.shared.get() : PostgreSQLServer())
    self.server = server
    database = try server.makeDatabase()
    port = try size.map { try server.startBouncer(size: $0) } ?? server.port
  }

  /// The shared server's sessions are everybody's.
  var project: String { "shop-\(database.dropFirst(5))" }

  func admin(_ name: String = "admin") throws -> Admin {
    try Admin(port: server.port, database: database, name: name)
  }

  func connection(user: String = "postgres", extra: String = "") -> String {
    "host=127.0.0.1 port=\(port) user=\(user) dbname=\(database) sslmode=disable \(extra)"
  }

  func scope(_ owner: String, run: String = "r1", delay: Duration = .milliseconds(500)) -> CoordinationScope {
    var scope = CoordinationScope(project: project, runID: run, owner: owner, takeoverDelay: delay)
    scope.postgres = CoordinationScope.PostgreSQL(
      connection: connection(), schema: "public", table: "supervisor")
    return scope
  }

  /// An agent that knows its servers.
  func agent(_ owner: String, run: String = "r1", delay: Duration = .milliseconds(500)) throws -> AgentProcess
  {
    try agent(scope(owner, run: run, delay: delay))
  }

  func agent(_ scope: CoordinationScope) throws -> AgentProcess {
    let agent = try AgentProcess(project: scope.project, runID: scope.runID)
    try agent.send(.configure(scope))
    return agent
  }

  /// How many sessions of our agents the server has, by the purpose that their names end with.
  static func sessions(_ purpose: String = "") -> String {
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE "
      + "'supervisor/%//\(purpose)%'"
  }
}

/// What a release's record says at first.
func claim(_ owner: String, attempt: Int = 1, run: String = "r1", running: [String] = []) -> ReleaseRecord {
  var record = ReleaseRecord(runID: run)
  record.claim = ReleaseRecord.Claim(
    owner: owner, attempt: attempt, startedAt: 0, heartbeat: 0,
    running: running.map { ReleaseRecord.Running(step: $0, startedAt: 5, deadline: nil) })
  return record
}

extension AgentProcess {
  /// Reads the record, and waits for it.
  func read() throws -> (record: ReleaseRecord?, now: UInt64) {
    let id = try ask { .read(id: $0) }
    return try answer(ofRead: id)
  }

  func answer(ofRead id: UInt64) throws -> (record: ReleaseRecord?, now: UInt64) {
    let answer: (bytes: [UInt8]?, now: UInt64) = try coordination("the record") { report in
      if case .record(id, let bytes, let now) = report { (bytes, now) } else { nil }
    }
    return (try answer.bytes.map { try ReleaseRecord.decode($0, runID: runID) }, answer.now)
  }

  /// Writes it; the failure, if it fails.
  @discardableResult
  func write(_ record: ReleaseRecord, isLast: Bool = false) throws -> CoordinationFailure? {
    try done(ask { .write(id: $0, record: record.encoded(), isLast: isLast) })
  }

  /// Waits for the end of what was asked with this number; nil: it worked.
  func done(_ id: UInt64) throws -> CoordinationFailure? {
    try coordination("the end of request \(id)") { report -> CoordinationFailure?? in
      switch report {
      case .done(id): .some(nil)
      case .failed(id, let failure): .some(failure)
      default: nil
      }
    }
  }

  func lock(_ name: LockName = .infrastructure) throws -> UInt64 { try ask { .lock(id: $0, name) } }

  func busy(_ id: UInt64, within seconds: Double = 40) throws -> String {
    try coordination("a busy lock", within: seconds) {
      if case .lockBusy(id, let holder) = $0 { holder } else { nil }
    }
  }

  func free(_ id: UInt64) throws -> ReleaseRecord? {
    let bytes: [UInt8]? = try coordination("a free lock") {
      if case .lockFree(id, let bytes, _) = $0 { .some(bytes) } else { nil }
    }
    return try bytes.map { try ReleaseRecord.decode($0, runID: runID) }
  }

  /// Waits until the lock is ours, contending as often as it is free; who left it behind.
  func held(_ id: UInt64) throws -> String {
    while true {
      let leftBy: String? = try coordination("the lock") { report -> String?? in
        switch report {
        case .lockHeld(id, let leftBy): .some(leftBy)
        case .lockFree(id, _, _): .some(nil)
        default: nil
        }
      }
      if let leftBy { return leftBy }
      try send(.contend(id: id))
    }
  }

  func unlock(_ id: UInt64, isOrderly: Bool = true) throws {
    try send(.unlock(id: id, isOrderly: isOrderly))
    try coordination("the release") { if case .unlocked(id) = $0 { () } else { nil } }
  }

  func failure(of id: UInt64, within seconds: Double = 40) throws -> CoordinationFailure {
    try coordination("a failure", within: seconds) { report in
      switch report {
      case .failed(id, let failure), .lockFailed(id, let failure): failure
      default: nil
      }
    }
  }
}
