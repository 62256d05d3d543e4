import CPostgreSQL
import Foundation
import Glibc
import Synchronization

/// A real PostgreSQL server on a free port, which ends with this process at the latest.
public final class PostgreSQLServer: Sendable {
  /// The one that all tests share, each with a database of its own: locks are per database.
  public static let shared: Result<PostgreSQLServer, HarnessError> = {
    do {
      let server = try PostgreSQLServer()
      atexit { if case .success(let server) = PostgreSQLServer.shared { server.end() } }
      return .success(server)
    } catch {
      return .failure(error as? HarnessError ?? HarnessError("\(error)"))
    }
  }()

  private let script: ServerScript
  private static let lastDatabase = Atomic(0)

  /// Starts one, and returns when it takes connections.
  public init() throws { script = try ServerScript("server.sh") }

  /// Where it listens, on 127.0.0.1.
  public var port: UInt16 { script.port }
  /// Where its files are.
  public var folder: String { script.folder }

  /// Stops it at once, and removes its files.
  public func end() { script.end() }

  /// See server.sh.
  public func order(_ command: String) throws { try script.order(command) }

  /// A new, empty database.
  public func makeDatabase() throws -> String {
    let name = "test_\(Self.lastDatabase.add(1, ordering: .relaxed).newValue)"
    try Admin(port: port).run("CREATE DATABASE \(name)")
    return name
  }

  /// PgBouncer in front of it, in transaction mode or another one, with so many connections to it; its port.
  public func startBouncer(size: Int, mode: String = "transaction") throws -> UInt16 {
    let port = try freePort()
    try order("bouncer \(port) \(size) \(mode)")
    return port
  }
}

/// A superuser's plain connection; waits for each answer.
public final class Admin {
  private let connection: OpaquePointer

  /// Connects.
  public init(port: UInt16, database: String = "postgres", name: String = "admin") throws {
    connection = PQconnectdb(
      "host=127.0.0.1 port=\(port) user=postgres dbname=\(database) application_name='\(name)'")
    guard PQstatus(connection) == CONNECTION_OK else {
      // What is initialized is deinitialized, also by an error.
      throw HarnessError(String(cString: PQerrorMessage(connection)))
    }
    PQsetNoticeProcessor(connection, { _, _ in }, nil)
  }

  deinit { PQfinish(connection) }

  /// Rows of the last statement, NULL as an empty text.
  @discardableResult
  public func run(_ sql: String) throws -> [[String]] {
    guard let result = PQexec(connection, sql) else { throw HarnessError("no answer to \(sql)") }
    defer { PQclear(result) }
    switch PQresultStatus(result) {
    case PGRES_TUPLES_OK, PGRES_COMMAND_OK: break
    default: throw HarnessError("\(sql): \(String(cString: PQresultErrorMessage(result)))")
    }
    return (0..<PQntuples(result)).map { row in
      (0..<PQnfields(result)).map { String(cString: PQgetvalue(result, row, $0)) }
    }
  }

  /// The first column of the first row.
  public func value(_ sql: String) throws -> String {
    try run(sql).first?.first ?? ""
  }

  /// Waits for a condition that the server announces to nobody.
  public func eventually(_ what: String, within seconds: Double = 30, _ sql: String, is expected: String)
    throws
  {
    let end = Date().addingTimeInterval(seconds)
    while try value(sql) != expected {
      guard Date() < end else { throw HarnessError("not within \(seconds) s: \(what); \(try run(sql))") }
      usleep(2000)
    }
  }
}
