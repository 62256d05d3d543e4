/// What the thread of the connections reports to the loop.
enum WireEvent: Sendable {
  /// The connection is there: the process that the protocol names, the server's version (150_003 is 15.3), host and
  /// port.
  case opened(process: Int32, version: Int, place: String)
  /// A request's answer.
  case answered(request: UInt64, Result<StatementResult, PostgreSQLFailure>)
  /// The connection is gone, or was never made; every request has been answered before.
  case ended(PostgreSQLFailure)
}

/// A statement on its way.
struct WireRequest: Sendable {
  let id: UInt64
  let statement: Statement
  /// From when it is sent to its answer; nil when it may take any time.
  let timeout: Duration?
}
