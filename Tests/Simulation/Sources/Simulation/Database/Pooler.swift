/// A pooler in transaction mode (PgBouncer): so many connections to the server for all clients, each lent for the length
/// of a transaction.
final class Pooler {
  private unowned let server: DatabaseServer
  let size: Int
  private var lent = 0
  private var waiting: [() -> Void] = []

  init(_ server: DatabaseServer, size: Int) {
    self.server = server
    self.size = size
  }

  /// Lends a connection, at once or when one comes back.
  func acquire(_ body: @escaping () -> Void) {
    waiting.append(body)
    lend()
    if !waiting.isEmpty { server.world.watch.saw(.pooled) }
  }

  func giveBack() {
    lent -= 1
    server.world.after(.microseconds(20)) { [self] in lend() }
  }

  private func lend() {
    while lent < size, !waiting.isEmpty {
      lent += 1
      waiting.removeFirst()()
    }
  }

  func forgetAll() { waiting = [] }
}

/// A client's connection to the pooler, as seen from there.
final class PooledClient: DatabasePeer {
  private let server: DatabaseServer
  private let pooler: Pooler
  private let applicationName: String
  private weak var agent: AgentProcess?
  private var session: ServerSession?
  private var isGone = false
  var onEnd: (PostgreSQLFailure) -> Void = { _ in }

  init(_ server: DatabaseServer, _ pooler: Pooler, _ applicationName: String, _ agent: AgentProcess) {
    self.server = server
    self.pooler = pooler
    self.applicationName = applicationName
    self.agent = agent
  }

  func execute(_ statement: Statement, _ done: @escaping Statement.Completion) {
    if let session { return run(statement, on: session, done) }
    if case .within = statement.transaction {
      return done(.failure(PostgreSQLFailure(.lost, "no transaction is open")))
    }
    pooler.acquire { [self] in
      guard !isGone else { return pooler.giveBack() }
      if let refusal = server.refusal() {
        pooler.giveBack()
        return end(refusal)
      }
      let session = server.open()
      session.applicationName = applicationName
      session.agent = agent
      session.onEnd = { [weak self] failure in
        guard let self else { return }
        self.session = nil
        pooler.giveBack()
        end(failure)
      }
      self.session = session
      run(statement, on: session, done)
    }
  }

  private func run(_ statement: Statement, on session: ServerSession, _ done: @escaping Statement.Completion)
  {
    session.execute(statement) { [self] result in
      if !session.isInTransaction {
        self.session = nil
        session.end(.gone, nil)
        pooler.giveBack()
      }
      done(result)
    }
  }

  private func end(_ failure: PostgreSQLFailure) {
    isGone = true
    let onEnd = onEnd
    self.onEnd = { _ in }
    onEnd(failure)
  }

  /// The pooler drops the server's connection with the client's transaction.
  func clientHasGone() {
    isGone = true
    guard let session else { return }
    self.session = nil
    session.clientHasGone()
    pooler.giveBack()
  }

  func cutOff() -> ClosedRange<Duration> { .seconds(30)...(.seconds(60)) }
}
