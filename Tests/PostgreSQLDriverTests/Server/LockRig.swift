import EventLoop
import TestSupport

@testable import PostgreSQLDriver

/// A lock on a rig's loop, and what it tells.
final class LockRig: @unchecked Sendable {
  let rig: Rig
  let events = Record<PostgreSQLLock.Event>()
  private var lock: PostgreSQLLock?

  init(
    _ rig: Rig, target: PostgreSQLTarget? = nil, key: LockKey = .infrastructure,
    onEvent: @escaping (LockRig, PostgreSQLLock.Event) -> Void = { _, _ in }
  ) throws {
    self.rig = rig
    let target = target ?? rig.target()
    try rig.onLoop { [self] in
      lock = PostgreSQLLock(client: rig.client, target: target, key: key, eventLoop: rig.eventLoop) {
        [weak self] event in
        guard let self else { return }
        // How long a test takes is no matter.
        if case .stillBusy = event { return }
        events.append(event)
        onEvent(self, event)
      }
      lock?.begin()
    }
  }

  /// On the loop.
  func releaseNow() { lock?.release() }
  func lookedNow(wantsLock: Bool) { lock?.looked(wantsLock: wantsLock) }

  /// The server's process for it.
  func backend() throws -> Int32 {
    guard let backend = try rig.onLoop({ [self] in lock?.connection?.session?.backend }) else {
      throw HarnessError("no connection")
    }
    return backend
  }

  func looked(wantsLock: Bool) throws { try rig.onLoop { [self] in lock?.looked(wantsLock: wantsLock) } }
  func abandon() throws { try rig.onLoop { [self] in lock?.abandon() } }
  func release() throws {
    try rig.onLoop { [self] in lock?.release() }
    _ = try events.next("the release") { $0 == .released }
  }

  @discardableResult
  func held() throws -> PostgreSQLSession {
    while true {
      switch try events.next("the lock") {
      case .held(let session): return session
      case .look: try looked(wantsLock: true)
      case .failed(let failure), .lost(let failure): throw HarnessError("no lock: \(failure)")
      default: break
      }
    }
  }

  func busy() throws -> LockHolder? {
    if case .busy(let holder) = try events.next(
      "a busy lock", where: { if case .busy = $0 { true } else { false } })
    {
      return holder
    }
    return nil
  }

  func lost() throws -> PostgreSQLFailure {
    guard
      case .lost(let failure) = try events.next(
        "the loss", where: { if case .lost = $0 { true } else { false } })
    else { throw HarnessError("no loss") }
    return failure
  }

  func failed() throws -> PostgreSQLFailure {
    guard
      case .failed(let failure) = try events.next(
        "the failure", where: { if case .failed = $0 { true } else { false } })
    else { throw HarnessError("no failure") }
    return failure
  }
}

extension Admin {
  static let lockedByOthers =
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1311669808 AND objid = 3514919506 "
    + "AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND "

  /// Waits until so many wait for the infrastructure lock.
  func waiters(_ count: Int) throws {
    try eventually(
      "\(count) waiters", Self.lockedByOthers + "NOT granted AND mode = 'ShareLock'", is: "\(count)")
  }
}
