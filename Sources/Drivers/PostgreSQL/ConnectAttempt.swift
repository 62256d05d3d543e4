import CPostgreSQL
import EventLoop
import Glibc

/// A connection of libpq's on its way from one thread to another; only one of them uses it at a time.
struct ConnectionHandle: @unchecked Sendable {
  let pointer: OpaquePointer
}

/// Makes one connection. Blocks: libpq looks names up, reads password and certificate files and asks Kerberos while it
/// begins, so each attempt has a short-lived thread, and a name server that hangs holds up no ping of the others.
enum ConnectAttempt {
  static func run(_ target: PostgreSQLTarget, until deadline: MonotonicInstant) -> Result<
    ConnectionHandle, PostgreSQLFailure
  > {
    do throws(PostgreSQLFailure) {
      return .success(ConnectionHandle(pointer: try connect(target, until: deadline)))
    } catch {
      return .failure(target.masked(error))
    }
  }

  private static func connect(
    _ target: PostgreSQLTarget, until deadline: MonotonicInstant
  ) throws(PostgreSQLFailure) -> OpaquePointer {
    let parameters = try target.parameters()
    guard let connection = start(parameters) else {
      throw PostgreSQLFailure(.resources, "no memory for a connection to PostgreSQL")
    }
    var isDone = false
    defer { if !isDone { PQfinish(connection) } }
    // What the server says meanwhile would go to standard error.
    PQsetNoticeProcessor(connection, { _, _ in }, nil)
    PQsetErrorVerbosity(connection, PQERRORS_VERBOSE)
    guard PQstatus(connection) != CONNECTION_BAD else { throw failure(connection) }
    // Before the first call of PQconnectPoll the connection waits to be writable.
    var wanted = PGRES_POLLING_WRITING
    while wanted != PGRES_POLLING_OK {
      guard wanted != PGRES_POLLING_FAILED else { throw failure(connection) }
      var waiting = pollfd(
        fd: PQsocket(connection), events: Int16(wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT),
        revents: 0)
      let left = deadline - .now
      let milliseconds = CInt(clamping: (left.wholeNanoseconds + 999_999) / 1_000_000)
      if milliseconds <= 0 {
        throw PostgreSQLFailure(.noAnswer, "\(place(of: connection)): no answer to the attempt to connect")
      }
      let count = poll(&waiting, 1, milliseconds)
      // At the deadline, and after an interruption, the next round looks at the clock.
      guard count > 0 else { continue }
      wanted = PQconnectPoll(connection)
    }
    PQsetErrorVerbosity(connection, PQERRORS_DEFAULT)
    PQsetnonblocking(connection, 1)
    isDone = true
    return connection
  }

  private static func start(_ parameters: [(String, String)]) -> OpaquePointer? {
    var keywords: [UnsafePointer<CChar>?] = parameters.map { UnsafePointer(strdup($0.0)) }
    var values: [UnsafePointer<CChar>?] = parameters.map { UnsafePointer(strdup($0.1)) }
    defer { for text in keywords + values { free(UnsafeMutablePointer(mutating: text)) } }
    keywords.append(nil)
    values.append(nil)
    return PQconnectStartParams(keywords, values, 1)
  }

  private static func failure(_ connection: OpaquePointer) -> PostgreSQLFailure {
    .connecting(String(cString: PQerrorMessage(connection)))
  }

  /// Host and port, as libpq's own texts name them.
  static func place(of connection: OpaquePointer) -> String {
    let host = PQhost(connection).map { String(cString: $0) } ?? ""
    let port = PQport(connection).map { String(cString: $0) } ?? ""
    return "PostgreSQL at \"\(host)\", port \(port)"
  }
}
