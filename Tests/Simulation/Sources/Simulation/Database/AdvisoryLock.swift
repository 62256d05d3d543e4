/// An advisory lock of the server's: who holds it, and who waits for it, the first first.
final class AdvisoryLock {
  private struct Waiter {
    let session: ServerSession
    let isExclusive: Bool
    let granted: () -> Void
  }

  let kind: LockKind
  private unowned let server: DatabaseServer
  private(set) var exclusive: ServerSession?
  /// Held until the end of a transaction, and not of the session.
  private var isTransactions = false
  private var shared: [ServerSession] = []
  private var queue: [Waiter] = []

  init(_ kind: LockKind, _ server: DatabaseServer) {
    self.kind = kind
    self.server = server
  }

  var isFree: Bool { exclusive == nil && shared.isEmpty && queue.isEmpty }

  /// Only one that conflicts with nobody who holds it, nor with anybody who waits, is granted at once.
  func tryExclusive(_ session: ServerSession, inTransaction: Bool) -> Bool {
    if exclusive === session { return true }
    guard isFree else { return false }
    take(session, inTransaction: inTransaction)
    return true
  }

  func tryShared() -> Bool { exclusive == nil && !queue.contains(where: \.isExclusive) }

  func wait(_ session: ServerSession, isExclusive: Bool, _ granted: @escaping () -> Void) {
    queue.append(Waiter(session: session, isExclusive: isExclusive, granted: granted))
    wake()
  }

  func leave(_ session: ServerSession) {
    queue.removeAll { $0.session === session }
    releaseShared(session)
  }

  private func take(_ session: ServerSession, inTransaction: Bool) {
    exclusive = session
    isTransactions = inTransaction
    server.taken(self, by: session)
  }

  /// A shared form is given back.
  func releaseShared(_ session: ServerSession) {
    shared.removeAll { $0 === session }
    wake()
  }

  func release(_ session: ServerSession, _ why: DatabaseServer.Release) {
    queue.removeAll { $0.session === session }
    shared.removeAll { $0 === session }
    if exclusive === session {
      exclusive = nil
      server.released(self, by: session, why)
    }
    wake()
  }

  func releaseTransactions(_ session: ServerSession, _ why: DatabaseServer.Release) {
    guard exclusive === session, isTransactions else { return }
    release(session, why)
  }

  /// In their order; one that must wait keeps those out that are behind it and conflict with it.
  private func wake() {
    var isExclusiveAwaited = false
    for waiter in queue {
      if waiter.isExclusive {
        guard exclusive == nil, shared.isEmpty, !isExclusiveAwaited else {
          isExclusiveAwaited = true
          continue
        }
        queue.removeAll { $0.session === waiter.session }
        take(waiter.session, inTransaction: false)
        tell(waiter)
      } else if exclusive == nil, !isExclusiveAwaited {
        queue.removeAll { $0.session === waiter.session }
        shared.append(waiter.session)
        tell(waiter)
      }
    }
  }

  /// It wakes up a moment later, and may do anything then.
  private func tell(_ waiter: Waiter) {
    server.world.after(.microseconds(20)) { if !waiter.session.hasEnded { waiter.granted() } }
  }
}
