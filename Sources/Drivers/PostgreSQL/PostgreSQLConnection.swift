import EventLoop

/// What is known of a connection once it can be used.
public struct PostgreSQLSession: Sendable, Equatable {
  /// The process that serves us now; through a pooler it is another one for each transaction.
  public var backend: Int32
  /// 150_003 is 15.3.
  public var serverVersion: Int
  /// Whether a pooler (PgBouncer) is in between: the process that the protocol names is not the one that answers.
  /// In a pooler's session mode a session would be ours, but nothing tells the modes apart.
  public var isPooled: Bool
  /// Host and port.
  public var place: String
  /// The role that we are.
  public var role: String
  /// The database.
  public var database: String
}

/// A connection, as the loop sees it. Requests are answered in their order; one that waits for another's end does not
/// lose its own time by that.
public final class PostgreSQLConnection {
  /// What has been asked, and by whom.
  private typealias Completion = (Result<StatementResult, PostgreSQLFailure>) -> Void

  private let id: UInt64
  private let thread: ConnectionThread
  private let timeout: Duration
  private let takesStandby: Bool
  private let began = MonotonicInstant.now
  private var opening: ((Result<PostgreSQLSession, PostgreSQLFailure>) -> Void)?
  private var onEnd: (PostgreSQLFailure) -> Void
  private let forget: () -> Void
  private var requests: [UInt64: Completion] = [:]
  private var lastRequest: UInt64 = 0
  private var end: PostgreSQLFailure?

  /// What is known of it; nil before it is open.
  public private(set) var session: PostgreSQLSession?

  init(
    id: UInt64, thread: ConnectionThread, timeout: Duration, takesStandby: Bool,
    completion: @escaping (Result<PostgreSQLSession, PostgreSQLFailure>) -> Void,
    onEnd: @escaping (PostgreSQLFailure) -> Void, forget: @escaping () -> Void
  ) {
    self.id = id
    self.thread = thread
    self.timeout = timeout
    self.takesStandby = takesStandby
    opening = completion
    self.onEnd = onEnd
    self.forget = forget
  }

  /// Whether it can be used.
  public var isOpen: Bool { session != nil && end == nil }

  /// Sends a statement.
  /// - Parameters:
  ///   - timeout: from when it is sent, behind those before it, to its answer. When it is over, the statement is
  ///     cancelled and the connection ends: nobody knows what the server still does on it. nil: no limit.
  ///   - completion: is called once, unless `close` comes first.
  public func send(
    _ statement: Statement, timeout: Duration?,
    _ completion: @escaping (Result<StatementResult, PostgreSQLFailure>) -> Void
  ) {
    if let end { return completion(.failure(end)) }
    lastRequest += 1
    requests[lastRequest] = completion
    thread.post(.send(wire: id, WireRequest(id: lastRequest, statement: statement, timeout: timeout)))
  }

  /// Asks the server to end the statement under way, which then fails as `cancelled`, unless it is quicker.
  public func cancel() {
    thread.post(.cancel(wire: id))
  }

  /// Closes it; nothing is called any more. The server notices at once, or, within a statement, after it.
  public func close() {
    guard end == nil else { return }
    finish(PostgreSQLFailure(.lost, "the connection was closed"))
    thread.post(.close(wire: id))
  }

  private func finish(_ failure: PostgreSQLFailure) {
    end = failure
    opening = nil
    // Both may hold us.
    onEnd = { _ in }
    requests = [:]
    forget()
  }

  // MARK: From the thread

  func take(_ event: WireEvent) {
    guard end == nil else { return }
    switch event {
    case .opened(let process, let version, let place): settle(process, version, place)
    case .answered(let request, let result): requests.removeValue(forKey: request)?(result)
    case .ended(let failure):
      let (opening, onEnd) = (opening, onEnd)
      finish(failure)
      if let opening { opening(.failure(failure)) } else { onEnd(failure) }
    }
  }

  /// The first statement: who answers, and, where the session is ours, its settings.
  private func settle(_ process: Int32, _ version: Int, _ place: String) {
    let left = max(timeout - (.now - began), .milliseconds(100))
    send(SessionSettings.settle(version: version, process: process), timeout: left) { [weak self] result in
      guard let self, opening != nil else { return }
      switch result {
      case .success(let answer):
        guard let backend = answer.field(0, 0).flatMap({ Int32($0) }) else {
          return refuse(PostgreSQLFailure(.statement, "\(place): an answer without sense"))
        }
        guard answer.field(0, 1) != "t" || takesStandby else {
          return refuse(
            PostgreSQLFailure(
              .standby, sqlState: "25006",
              "\(place) is a standby, which takes no writes and no locks; the lock needs the primary"))
        }
        let session = PostgreSQLSession(
          backend: backend, serverVersion: version, isPooled: backend != process, place: place,
          role: answer.field(0, 2) ?? "", database: answer.field(0, 3) ?? "")
        self.session = session
        let opening = opening
        self.opening = nil
        opening?(.success(session))
      // A lost connection is told of by its end, which follows.
      case .failure(let failure): refuse(failure)
      }
    }
  }

  private func refuse(_ failure: PostgreSQLFailure) {
    let opening = opening
    close()
    opening?(.failure(failure))
  }
}
