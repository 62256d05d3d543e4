import Blocking
import CPostgreSQL
import EventLoop
import Glibc

/// One connection, as the thread that serves it sees it: requests go out one after the other.
final class Wire {
  private let handle: OpaquePointer
  private let mask: (PostgreSQLFailure) -> PostgreSQLFailure
  private let report: (WireEvent) -> Void
  private let place: String

  private var queue: [WireRequest] = []
  private var current: WireRequest?
  private var deadline: MonotonicInstant?
  private var result = StatementResult()
  private var failure: PostgreSQLFailure?
  /// What the server said last without being asked: the reason why it ends the connection.
  private var lastWord: PostgreSQLFailure?
  private(set) var isEnded = false
  private var hasUnsentBytes = false

  init(
    _ handle: ConnectionHandle, mask: @escaping (PostgreSQLFailure) -> PostgreSQLFailure,
    report: @escaping (WireEvent) -> Void
  ) {
    self.handle = handle.pointer
    self.mask = mask
    self.report = report
    place = ConnectAttempt.place(of: handle.pointer)
    PQsetNoticeReceiver(
      handle.pointer,
      { context, result in
        guard let context, let result else { return }
        let wire = Unmanaged<Wire>.fromOpaque(context).takeUnretainedValue()
        if let failure = wire.failure(of: result), failure.isEndOfConnection { wire.lastWord = failure }
      }, Unmanaged.passUnretained(self).toOpaque())
    report(
      .opened(
        process: PQbackendPID(handle.pointer), version: Int(PQserverVersion(handle.pointer)), place: place))
  }

  // MARK: For poll(2)

  var descriptor: CInt { PQsocket(handle) }
  var events: Int16 { Int16(POLLIN) | (hasUnsentBytes ? Int16(POLLOUT) : 0) }
  /// When `expire` is due.
  var nextDeadline: MonotonicInstant? { deadline }

  /// The descriptor is ready.
  func service() {
    guard !isEnded else { return }
    guard PQconsumeInput(handle) == 1 else { return end() }
    flush()
    advance()
  }

  /// Without an answer in time the connection is of no use: nobody knows what the server still does on it. The statement
  /// is cancelled beside it, so that it does not go on there.
  func expire(at now: MonotonicInstant) {
    guard let deadline, now >= deadline, !isEnded else { return }
    let waited = current?.timeout?.readable ?? "its time"
    cancel()
    end(PostgreSQLFailure(.noAnswer, "\(place): no answer within \(waited)"))
  }

  // MARK: Requests

  func send(_ request: WireRequest) {
    queue.append(request)
    advance()
  }

  /// Asks the server to end the statement under way. On a thread of its own: libpq makes another connection for it and
  /// waits for it.
  func cancel() {
    guard current != nil, let cancel = PQgetCancel(handle) else { return }
    let order = ConnectionHandle(pointer: cancel)
    let code = startDetachedThread {
      var complaint = [CChar](repeating: 0, count: 256)
      _ = PQcancel(order.pointer, &complaint, CInt(complaint.count))
      PQfreeCancel(order.pointer)
    }
    if code != 0 { PQfreeCancel(cancel) }
  }

  /// Closes it without a word to anybody.
  func close() {
    guard !isEnded else { return }
    isEnded = true
    PQfinish(handle)
  }

  // MARK: Within

  private func advance() {
    while !isEnded {
      guard let request = current else {
        guard !queue.isEmpty else {
          // Between requests the server may say why it ends the connection: libpq reads that only when asked.
          _ = PQisBusy(handle)
          if PQstatus(handle) == CONNECTION_BAD { end() }
          return
        }
        begin(queue.removeFirst())
        continue
      }
      guard PQisBusy(handle) == 0 else { return }
      guard let result = PQgetResult(handle) else {
        complete(request)
        continue
      }
      take(result)
      PQclear(result)
    }
  }

  private func begin(_ request: WireRequest) {
    current = request
    result = StatementResult()
    failure = nil
    deadline = request.timeout.map { MonotonicInstant.now + $0 }
    let statement = request.statement
    guard !([statement.sql] + statement.parameters.compactMap { $0 }).contains(where: { $0.utf8.contains(0) })
    else {
      failure = PostgreSQLFailure(.statement, "\(place): a text with a NUL cannot be stored")
      return complete(request)
    }
    var isSent: CInt
    if statement.parameters.isEmpty {
      isSent = PQsendQuery(handle, statement.sql)
    } else {
      let values: [UnsafePointer<CChar>?] = statement.parameters.map {
        $0.map { UnsafePointer(strdup($0)) } ?? nil
      }
      defer { for value in values { free(UnsafeMutablePointer(mutating: value)) } }
      isSent = PQsendQueryParams(handle, statement.sql, CInt(values.count), nil, values, nil, nil, 0)
    }
    guard isSent == 1 else { return end() }
    flush()
  }

  private func flush() {
    guard !isEnded else { return }
    switch PQflush(handle) {
    case 0: hasUnsentBytes = false
    case 1: hasUnsentBytes = true
    // The server's last word may still be there to read; the next look at the socket ends it.
    default: hasUnsentBytes = false
    }
  }

  private func take(_ result: OpaquePointer) {
    switch PQresultStatus(result) {
    case PGRES_TUPLES_OK, PGRES_SINGLE_TUPLE: self.result.rows = Self.rows(of: result)
    case PGRES_COMMAND_OK, PGRES_EMPTY_QUERY: break
    case PGRES_COPY_IN, PGRES_COPY_OUT, PGRES_COPY_BOTH:
      end(PostgreSQLFailure(.statement, "\(place): COPY is not for this connection"))
    default: failure = failure ?? self.failure(of: result)
    }
  }

  private func complete(_ request: WireRequest) {
    // What ended the connection is told once the connection is known to have ended.
    if PQstatus(handle) == CONNECTION_BAD { return end(failure) }
    current = nil
    deadline = nil
    switch PQtransactionStatus(handle) {
    case PQTRANS_INTRANS: result.transaction = .open
    case PQTRANS_INERROR: result.transaction = .failed
    default: result.transaction = .none
    }
    report(.answered(request: request.id, failure.map { .failure(mask($0)) } ?? .success(result)))
  }

  private func end(_ reason: PostgreSQLFailure? = nil) {
    guard !isEnded else { return }
    _ = PQisBusy(handle)
    let failure = mask(reason ?? lastWord ?? failure ?? lossFailure())
    isEnded = true
    let requests = (current.map { [$0] } ?? []) + queue
    PQfinish(handle)
    for request in requests { report(.answered(request: request.id, .failure(failure))) }
    report(.ended(failure))
  }

  private func lossFailure() -> PostgreSQLFailure {
    let message =
      String(cString: PQerrorMessage(handle)).split(separator: "\n").first.map { $0.trimmed } ?? ""
    return PostgreSQLFailure(
      .lost, "\(place): the connection is lost" + (message.isEmpty ? "" : " (\(message))"))
  }

  fileprivate func failure(of result: OpaquePointer) -> PostgreSQLFailure? {
    func field(_ code: UInt8) -> String? {
      PQresultErrorField(result, CInt(code)).map { String(cString: $0) }
    }
    let message = field(UInt8(ascii: "M"))
    guard let state = field(UInt8(ascii: "C")), let message else {
      return PQresultStatus(result) == PGRES_FATAL_ERROR ? lossFailure() : nil
    }
    let detail = field(UInt8(ascii: "D")).map { " (\($0))" } ?? ""
    return PostgreSQLFailure(
      PostgreSQLFailure.cause(sqlState: state, message: message), sqlState: state,
      "\(place): \(message)\(detail)")
  }

  private static func rows(of result: OpaquePointer) -> [[String?]] {
    (0..<PQntuples(result)).map { row in
      (0..<PQnfields(result)).map { column in
        PQgetisnull(result, row, column) == 1 ? nil : String(cString: PQgetvalue(result, row, column))
      }
    }
  }
}

extension PostgreSQLFailure {
  /// Whether the server says with it that it ends the connection, and not only a statement.
  fileprivate var isEndOfConnection: Bool {
    guard let sqlState else { return false }
    return sqlState.hasPrefix("57P") || sqlState.hasPrefix("08") || sqlState == "25P03" || sqlState == "25P04"
  }
}
