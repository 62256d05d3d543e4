import CPostgreSQL
import Foundation
import Glibc
import Synchronization

/// What went wrong with the test's own machinery.
public struct HarnessError: Error, CustomStringConvertible {
  /// What happened.
  public var description: String

  /// An error that says this.
  public init(_ description: String) {
    self.description = description
  }
}

/// A real PostgreSQL server on a free port, which ends with this process at the latest.
public final class PostgreSQLServer: @unchecked Sendable {
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

  /// Where it listens, on 127.0.0.1.
  public let port: UInt16
  /// Where its files are.
  public let folder: String
  private let process = Process()
  private let input = Pipe()
  private let output = Pipe()
  private let lock = NSLock()
  private var isEnded = false
  private static let lastDatabase = Atomic(0)

  /// Starts one, and returns when it takes connections.
  public init() throws {
    var template = Array("/tmp/supervisor-postgresql-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw HarnessError("mkdtemp: \(errno)") }
    folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    chmod(folder, 0o755)
    port = try freePort()
    let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
      "server.sh")
    process.executableURL = URL(fileURLWithPath: "/bin/bash")
    process.arguments = [script.path, folder, "\(port)"]
    process.standardInput = input
    process.standardOutput = output
    try process.run()
    try readAnswer()
  }

  deinit { end() }

  /// Stops it at once, and removes its files.
  public func end() {
    lock.lock()
    defer { lock.unlock() }
    guard !isEnded else { return }
    isEnded = true
    try? input.fileHandleForWriting.close()
    process.waitUntilExit()
  }

  /// See server.sh.
  public func order(_ command: String) throws {
    lock.lock()
    defer { lock.unlock() }
    try input.fileHandleForWriting.write(contentsOf: Data((command + "\n").utf8))
    try readAnswer()
  }

  private func readAnswer() throws {
    var line: [UInt8] = []
    while true {
      let byte = output.fileHandleForReading.readData(ofLength: 1)
      guard let first = byte.first else {
        throw HarnessError("server.sh ended: \(String(decoding: line, as: UTF8.self))")
      }
      if first == UInt8(ascii: "\n") { break }
      line.append(first)
    }
    let text = String(decoding: line, as: UTF8.self)
    guard text == "ok" else { throw HarnessError("server.sh: \(text)") }
  }

  /// A new, empty database.
  public func makeDatabase() throws -> String {
    let name = "test_\(Self.lastDatabase.add(1, ordering: .relaxed).newValue)"
    try Admin(port: port).run("CREATE DATABASE \(name)")
    return name
  }

  /// PgBouncer in transaction mode in front of it, with so many connections to it; its port.
  public func startBouncer(size: Int) throws -> UInt16 {
    let port = try freePort()
    try order("bouncer \(port) \(size)")
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

/// A TCP port that is free now.
public func freePort() throws -> UInt16 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  defer { close(descriptor) }
  return try bindToFreePort(descriptor)
}

private func bindToFreePort(_ descriptor: Int32) throws -> UInt16 {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let code = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
    }
  }
  guard code == 0 else { throw HarnessError("no free port: \(errno)") }
  return UInt16(bigEndian: address.sin_port)
}

/// Takes connections into its queue, and never says anything.
public final class SilentListener {
  private let descriptor: Int32
  /// Where, on 127.0.0.1.
  public let port: UInt16

  /// Begins to listen.
  public init() throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    port = try bindToFreePort(descriptor)
    guard listen(descriptor, 16) == 0 else { throw HarnessError("listen: \(errno)") }
  }

  deinit { close(descriptor) }
}
