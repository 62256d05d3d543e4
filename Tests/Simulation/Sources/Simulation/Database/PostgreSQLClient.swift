import AgentProtocol
import EventLoop
import NIOCore

// The driver's connections, in the simulated world: the product's own sources use them as they use the real ones.

/// The server's end of a connection, or a pooler's.
protocol DatabasePeer: AnyObject {
  var onEnd: (PostgreSQLFailure) -> Void { get set }
  func execute(_ statement: Statement, _ done: @escaping Statement.Completion)
  func clientHasGone()
  /// When it gives up a client that is cut off.
  func cutOff() -> ClosedRange<Duration>
}

extension ServerSession: DatabasePeer {
  func cutOff() -> ClosedRange<Duration> { .seconds(12)...(.seconds(15)) }
}

/// Which database, and under which name.
public struct PostgreSQLTarget {
  let applicationName: String

  init(connectionString: String, applicationName: ApplicationName) {
    self.applicationName = applicationName.text
  }
}

/// What is known of a connection once it can be used.
public struct PostgreSQLSession: Sendable, Equatable {
  var serverVersion = 150_003
  var isPooled: Bool
}

/// The agent's connections.
public final class PostgreSQLClient {
  private let agent: AgentProcess?
  private(set) var count = 0

  init(eventLoop: any NIOCore.EventLoop) {
    agent = (eventLoop as? AgentLoop)?.agent
  }

  @discardableResult
  func open(
    _ target: PostgreSQLTarget, timeout: Duration,
    onEnd: @escaping (PostgreSQLFailure) -> Void = { _ in },
    _ completion: @escaping (Result<PostgreSQLSession, PostgreSQLFailure>) -> Void
  ) -> PostgreSQLConnection {
    PostgreSQLConnection(agent, target, timeout: timeout, completion, onEnd)
  }
}

/// A connection, as the agent sees it.
public final class PostgreSQLConnection {
  private let agent: AgentProcess?
  private var peer: (any DatabasePeer)?
  private var opening: ((Result<PostgreSQLSession, PostgreSQLFailure>) -> Void)?
  /// Whoever hears of it may hold this connection in turn.
  private var onEnd: (PostgreSQLFailure) -> Void
  private(set) var session: PostgreSQLSession?
  private var requests: [(id: Int, completion: Statement.Completion)] = []
  private var lastRequest = 0
  /// Sent, and not at its turn.
  private var queue: [(id: Int, statement: Statement, timeout: Duration?)] = []
  private var isAsking = false
  private var failure: PostgreSQLFailure?
  private var lastAway = MonotonicInstant(nanoseconds: 0)
  private var lastBack = MonotonicInstant(nanoseconds: 0)

  var isOpen: Bool { session != nil && failure == nil }

  init(
    _ agent: AgentProcess?, _ target: PostgreSQLTarget, timeout: Duration,
    _ completion: @escaping (Result<PostgreSQLSession, PostgreSQLFailure>) -> Void,
    _ onEnd: @escaping (PostgreSQLFailure) -> Void
  ) {
    self.agent = agent
    self.onEnd = onEnd
    opening = completion
    guard let agent, let server = agent.world.database else { return }
    agent.connections.append(self)
    agent.after(timeout) { [weak self] in
      if self?.opening != nil { self?.finish(PostgreSQLFailure(.noAnswer, "timeout expired")) }
    }
    away(agent) { [self] in
      guard failure == nil else { return }
      if let pooler = server.pooler {
        let client = PooledClient(server, pooler, target.applicationName, agent)
        // What it asks first is a transaction of its own.
        peer = client
        listen(to: client)
        return client.execute(.immediate { _ in .success(StatementResult()) }) { [self] result in
          back { [self] in
            switch result {
            case .success: opened(isPooled: true)
            case .failure(let failure): finish(failure)
            }
          }
        }
      }
      if let refusal = server.refusal() { return back { [self] in finish(refusal) } }
      let session = server.open()
      session.applicationName = target.applicationName
      session.agent = agent
      peer = session
      listen(to: session)
      back { [self] in opened(isPooled: false) }
    }
  }

  private func listen(to peer: any DatabasePeer) {
    peer.onEnd = { [weak self] failure in
      guard let self else { return }
      self.peer = nil
      back { [self] in finish(failure) }
    }
  }

  private func opened(isPooled: Bool) {
    guard failure == nil, let opening else { return }
    self.opening = nil
    let session = PostgreSQLSession(isPooled: isPooled)
    self.session = session
    opening(.success(session))
  }

  // MARK: The network

  private func away(_ agent: AgentProcess, _ action: @escaping () -> Void) {
    lastAway = max(lastAway, agent.world.now + agent.link.latency())
    agent.link.carry(at: lastAway, action)
  }

  private func back(_ action: @escaping () -> Void) {
    guard let agent else { return }
    lastBack = max(lastBack, agent.world.now + agent.link.latency())
    agent.link.carry(at: lastBack) { agent.run(action) }
  }

  /// Its node has been cut off, and stays so.
  func cutOff(while isCut: @escaping () -> Bool) {
    guard let agent, let peer else { return }
    // What the operating systems notice, each by itself.
    agent.after(.seconds(8)) { [weak self] in
      if isCut() { self?.finish(PostgreSQLFailure(.lost, "connection timed out")) }
    }
    agent.world.after(agent.world.random.duration(peer.cutOff())) { [weak self] in
      guard isCut() else { return }
      self?.peer = nil
      Self.drop(peer)
    }
  }

  /// The machine of the client is gone without a word.
  func vanish() {
    guard let agent, let peer else { return }
    self.peer = nil
    agent.world.after(agent.world.random.duration(peer.cutOff())) { Self.drop(peer) }
  }

  private static func drop(_ peer: any DatabasePeer) {
    peer.onEnd = { _ in }
    if let session = peer as? ServerSession {
      session.end(.ended, nil)
    } else {
      peer.clientHasGone()
    }
  }

  // MARK: Requests

  func send(_ statement: Statement, timeout: Duration?, _ completion: @escaping Statement.Completion) {
    if let failure { return completion(.failure(failure)) }
    lastRequest += 1
    requests.append((lastRequest, completion))
    queue.append((lastRequest, statement, timeout))
    next()
  }

  private func next() {
    guard !isAsking, !queue.isEmpty, let agent else { return }
    isAsking = true
    let (id, statement, timeout) = queue.removeFirst()
    if let timeout {
      agent.after(timeout) { [weak self] in
        guard let self, requests.contains(where: { $0.id == id }) else { return }
        finish(PostgreSQLFailure(.noAnswer, "no answer within \(timeout.readable)"))
      }
    }
    let sent = agent.world.now
    away(agent) { [self] in
      // What is not acknowledged by then the operating system gives up, with the connection.
      guard agent.world.now - sent < .seconds(8) else { return }
      peer?.execute(statement) { [self] result in
        back { [self] in answered(id, result) }
      }
    }
  }

  private func answered(_ id: Int, _ result: Result<StatementResult, PostgreSQLFailure>) {
    guard failure == nil, let index = requests.firstIndex(where: { $0.id == id }) else { return }
    let completion = requests.remove(at: index).completion
    isAsking = false
    completion(result)
    if failure == nil { next() }
  }

  // MARK: The end

  private func finish(_ reason: PostgreSQLFailure) {
    guard failure == nil else { return }
    failure = reason
    let (failed, opening) = (requests, opening)
    (requests, queue) = ([], [])
    self.opening = nil
    leave()
    // A request fails before the end is told; whoever hears of it may close.
    for request in failed { request.completion(.failure(reason)) }
    let onEnd = onEnd
    self.onEnd = { _ in }
    if let opening { opening(.failure(reason)) } else if !isClosed { onEnd(reason) }
  }

  private var isClosed = false

  func close() {
    isClosed = true
    onEnd = { _ in }
    guard failure == nil else { return }
    failure = PostgreSQLFailure(.lost, "the connection was closed")
    (requests, queue) = ([], [])
    opening = nil
    leave()
  }

  /// The operating system closes it when the process ends.
  func processEnded() {
    leave()
    forgetAll()
  }

  func forgetAll() {
    onEnd = { _ in }
    (requests, queue, opening, peer) = ([], [], nil, nil)
  }

  private func leave() {
    guard let agent else { return }
    agent.connections.removeAll { $0 === self }
    guard let peer else { return }
    peer.onEnd = { _ in }
    // It may still get there, so that whoever ends this one first keeps what comes after.
    away(agent) { peer.clientHasGone() }
  }
}
