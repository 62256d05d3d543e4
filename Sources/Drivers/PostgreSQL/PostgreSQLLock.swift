import EventLoop
import NIOCore

/// One attempt to have an advisory lock, from the first connection to its end: performs what `SessionLock` decides.
/// Used on the client's event loop only, where it also calls back.
///
/// It has one connection. A waiter reads the release's record on the same one, between two slices of its wait
/// (`connection`); a holder needs another one for it, since the lock's own must answer its pings.
public final class PostgreSQLLock {
  /// What its owner learns.
  public enum Event: Sendable, Equatable {
    /// Another session has the lock; told for each one that is seen, nil when it is gone again already.
    case busy(LockHolder?)
    /// The one that was told last has it still: told every few seconds.
    case stillBusy(LockHolder)
    /// The server cannot be used; it is tried again until it can.
    case unavailable(PostgreSQLFailure)
    /// The holder is gone: read the record, then call `looked`.
    case look
    /// The lock is ours.
    case held(PostgreSQLSession)
    /// It was, and another may have it already. The end.
    case lost(PostgreSQLFailure)
    /// It cannot be had until a person has done something. The end.
    case failed(PostgreSQLFailure)
    /// `release` is done. The end.
    case released
  }

  private let client: PostgreSQLClient
  private let target: PostgreSQLTarget
  private let key: LockKey
  private let eventLoop: any NIOCore.EventLoop
  private let onEvent: (Event) -> Void
  private var lock: SessionLock
  private var timer: Scheduled<Void>?
  private var pending: [SessionLock.Effect] = []
  private var isPerforming = false

  /// The connection, while there is one.
  public private(set) var connection: PostgreSQLConnection?

  /// A lock that nobody has asked for.
  /// - Parameter seed: makes the pauses of several nodes differ.
  public init(
    client: PostgreSQLClient, target: PostgreSQLTarget, key: LockKey, eventLoop: any NIOCore.EventLoop,
    seed: UInt64 = .random(in: 0 ... .max), onEvent: @escaping (Event) -> Void
  ) {
    self.client = client
    self.target = target
    self.key = key
    self.eventLoop = eventLoop
    self.onEvent = onEvent
    lock = SessionLock(seed: seed)
  }

  /// Whether it is ours.
  public var isHeld: Bool { lock.isHeld }

  /// Takes the lock, and waits for it as long as it has to.
  public func begin() { handle(.begin) }

  /// The answer to `look`: whether the lock is still wanted. When it is not, `release` has to follow.
  public func looked(wantsLock: Bool) { handle(.looked(wantsLock: wantsLock)) }

  /// Gives the lock back, or stops waiting for it; `released` follows, at the latest after 2 s.
  public func release() { handle(.release) }

  /// Goes without a word, to the server and to the owner.
  public func abandon() { handle(.abandon) }

  private func handle(_ event: SessionLock.Event) {
    pending += lock.handle(event, at: .now)
    // Who is called back may call again: what that decides comes after what was decided before.
    guard !isPerforming else { return }
    isPerforming = true
    while !pending.isEmpty { perform(pending.removeFirst()) }
    isPerforming = false
  }

  private func perform(_ effect: SessionLock.Effect) {
    switch effect {
    case .open(let timeout):
      connection = client.open(
        target, timeout: timeout, onEnd: { [weak self] in self?.handle(.ended($0)) },
        { [weak self] result in
          switch result {
          case .success(let session): self?.handle(.opened(isPooled: session.isPooled))
          case .failure(let failure): self?.handle(.openFailed(failure))
          }
        })
    case .close:
      connection?.close()
      connection = nil
    case .ask(let question, let timeout): ask(question, timeout)
    case .schedule(let moment):
      timer?.cancel()
      let left = max((moment - .now).wholeNanoseconds, 0)
      timer = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(left)) { [weak self] in
        self?.handle(.timer)
      }
    case .unschedule:
      timer?.cancel()
      timer = nil
    case .busy(let holder): onEvent(.busy(holder))
    case .stillBusy(let holder): onEvent(.stillBusy(holder))
    case .unavailable(let failure): onEvent(.unavailable(failure))
    case .look: onEvent(.look)
    case .held: if let session = connection?.session { onEvent(.held(session)) }
    case .lost(let failure): onEvent(.lost(failure))
    case .failed(let failure): onEvent(.failed(failure))
    case .released: onEvent(.released)
    }
  }

  private func ask(_ question: SessionLock.Question, _ timeout: Duration) {
    guard let connection, let session = connection.session else { return }
    let statements = LockStatements(key: key, serverVersion: session.serverVersion)
    connection.send(statements.statement(question), timeout: timeout) { [weak self] result in
      switch result {
      case .success(let answer): self?.handle(.answered(statements.answer(question, answer)))
      // When its connection ends, a request fails before the end is told.
      case .failure(let failure): self?.handle(.failed(failure))
      }
    }
  }
}
