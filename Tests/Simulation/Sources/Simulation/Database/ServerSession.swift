/// What is sent to the simulated server: what it does there.
struct Statement {
  typealias Completion = (Result<StatementResult, PostgreSQLFailure>) -> Void

  /// Whether a pooler may give the server's connection to another client after it.
  enum Transaction {
    case whole
    case begins
    case within
    case ends
  }

  var transaction = Transaction.whole
  let perform: (ServerSession, @escaping Completion) -> Void

  init(
    _ transaction: Transaction = .whole, _ perform: @escaping (ServerSession, @escaping Completion) -> Void
  ) {
    self.transaction = transaction
    self.perform = perform
  }

  /// One that is done at once.
  static func immediate(
    _ perform: @escaping (ServerSession) -> Result<StatementResult, PostgreSQLFailure>
  ) -> Statement {
    Statement { session, done in done(perform(session)) }
  }
}

/// What the server answered.
struct StatementResult {
  var value: Any = ()
}

/// A backend of the server's. Who is at its other end, a client or a pooler, hears of its end.
final class ServerSession {
  unowned let server: DatabaseServer
  let backend: Int32
  var applicationName = ""
  /// Whose it is now.
  weak var agent: AgentProcess?
  var isInTransaction = false
  private(set) var hasEnded = false
  private(set) var isBusy = false
  private var clientIsGone = false
  var onEnd: (PostgreSQLFailure) -> Void = { _ in }

  init(_ server: DatabaseServer, backend: Int32) {
    self.server = server
    self.backend = backend
  }

  /// One at a time: whoever is at the other end waits for the answer.
  func execute(_ statement: Statement, _ done: @escaping Statement.Completion) {
    isBusy = true
    server.world.after(server.latency()) { [self] in
      guard !hasEnded else { return }
      switch statement.transaction {
      case .begins: isInTransaction = true
      case .whole, .within, .ends: break
      }
      statement.perform(self) { [self] result in
        guard !hasEnded else { return }
        if case .ends = statement.transaction { endTransaction(.given) }
        isBusy = false
        if clientIsGone { return end(.gone, nil) }
        done(result)
      }
    }
  }

  func endTransaction(_ why: DatabaseServer.Release) {
    isInTransaction = false
    for lock in server.locks { lock.releaseTransactions(self, why) }
  }

  /// What is under way is done first: the server looks at its socket only between statements.
  func clientHasGone() {
    clientIsGone = true
    if !isBusy { end(.gone, nil) }
  }

  /// Its locks are given to others at this moment.
  func end(_ why: DatabaseServer.Release, _ failure: PostgreSQLFailure?) {
    guard !hasEnded else { return }
    hasEnded = true
    server.forget(self)
    for lock in server.locks { lock.release(self, why) }
    let onEnd = onEnd
    self.onEnd = { _ in }
    if let failure { onEnd(failure) }
  }
}
