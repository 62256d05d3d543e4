import EventLoop
import Testing

@testable import PostgreSQLDriver

@Suite("PostgreSQL: the lock's decisions")
struct SessionLockTests {
  /// A lock, its clock, and what it wanted last.
  private struct Case {
    var lock = SessionLock(seed: 1)
    var now = MonotonicInstant(nanoseconds: 1_000_000_000)

    mutating func after(_ event: SessionLock.Event) -> [SessionLock.Effect] { after(.zero, event) }

    mutating func after(_ duration: Duration, _ event: SessionLock.Event) -> [SessionLock.Effect] {
      now = now + duration
      return lock.handle(event, at: now)
    }

    mutating func opened(isPooled: Bool = false) {
      _ = after(.begin)
      _ = after(.opened(isPooled: isPooled))
    }

    mutating func held(isPooled: Bool = false) {
      opened(isPooled: isPooled)
      _ = after(.answered(.got(true)))
    }

    /// Direct: a statement that waits is under way.
    mutating func waiting() {
      opened()
      _ = after(.answered(.got(false)))
      _ = after(.answered(.holder(LockHolder(backend: 1))))
    }
  }

  private let down = PostgreSQLFailure(.unreachable, "nobody there")
  private let wrong = PostgreSQLFailure(.credentials, "wrong password")
  private let patience = SessionLock.answerPatience

  @Test("direct: tried, then the holder is asked for, then waited in slices, then looked, then tried again")
  func direct() {
    var lock = Case()
    #expect(lock.after(.begin) == [.open(timeout: .seconds(5))])
    #expect(lock.after(.opened(isPooled: false)) == [.ask(.take, timeout: patience)])
    #expect(lock.after(.answered(.got(false))) == [.ask(.whoHolds, timeout: patience)])
    let holder = LockHolder(backend: 7, applicationName: "x", age: .seconds(1))
    let wait = SessionLock.Effect.ask(.waitUntilFree, timeout: .milliseconds(8900))
    #expect(lock.after(.answered(.holder(holder))) == [.busy(holder), wait])
    #expect(lock.after(.milliseconds(900), .answered(.free(false))) == [wait])
    // Every 3 s it is looked who has it; the same one is told as such.
    #expect(lock.after(.milliseconds(2100), .answered(.free(false))) == [.ask(.whoHolds, timeout: patience)])
    let older = LockHolder(backend: 7, applicationName: "x", age: .seconds(4))
    #expect(lock.after(.answered(.holder(older))) == [.stillBusy(older), wait])
    #expect(lock.after(.answered(.free(true))) == [.look])
    #expect(!lock.lock.isHeld)
    #expect(lock.after(.looked(wantsLock: true)) == [.ask(.take, timeout: patience)])
    // Another one was quicker: who that is, is asked at once.
    #expect(lock.after(.answered(.got(false))) == [.ask(.whoHolds, timeout: patience)])
    #expect(lock.after(.answered(.holder(nil))) == [.busy(nil), wait])
    #expect(lock.after(.answered(.free(true))) == [.look])
    _ = lock.after(.looked(wantsLock: true))
    #expect(lock.after(.answered(.got(true))) == [.held, .schedule(lock.now + .seconds(1))])
    #expect(lock.lock.isHeld)
  }

  @Test("pooled: a try that failed ends its transaction first, and nobody waits within one")
  func pooled() {
    var lock = Case()
    _ = lock.after(.begin)
    #expect(lock.after(.opened(isPooled: true)) == [.ask(.takeInTransaction, timeout: patience)])
    #expect(lock.after(.answered(.got(false))) == [.ask(.endTransaction, timeout: patience)])
    #expect(lock.after(.answered(.done)) == [.ask(.whoHolds, timeout: patience)])
    var pauses: Set<Int64> = []
    var effects = lock.after(.answered(.holder(nil)))
    #expect(effects.removeFirst() == .busy(nil))
    for _ in 0..<20 {
      guard case .schedule(let moment)? = effects.first, effects.count == 1 else {
        return #expect(Bool(false), "\(effects)")
      }
      let pause = moment - lock.now
      #expect(pause >= .milliseconds(50) && pause <= .milliseconds(150))
      pauses.insert(pause.wholeNanoseconds)
      #expect(lock.after(pause, .timer) == [.ask(.isFree, timeout: patience)])
      effects = lock.after(.answered(.free(false)))
    }
    #expect(pauses.count > 10, "the pauses differ")
    _ = lock.after(.milliseconds(100), .timer)
    #expect(lock.after(.answered(.free(true))) == [.look])
    _ = lock.after(.looked(wantsLock: true))
    _ = lock.after(.answered(.got(true)))
    #expect(lock.after(.seconds(1), .timer) == [.ask(.pingInTransaction, timeout: .seconds(7))])
    #expect(lock.after(.answered(.alive(true))) == [.schedule(lock.now + .seconds(1))])
    #expect(lock.after(.release) == [.unschedule, .ask(.endTransaction, timeout: .seconds(2))])
    #expect(lock.after(.answered(.done)) == [.unschedule, .close, .released])
  }

  @Test(
    "a holder is pinged each second, and its time for an answer and the second before it are 8 s together")
  func pings() {
    var lock = Case()
    lock.held()
    for _ in 0..<3 {
      #expect(lock.after(.seconds(1), .timer) == [.ask(.ping, timeout: .seconds(7))])
      // A timer that comes twice asks once.
      #expect(lock.after(.timer).isEmpty)
      #expect(lock.after(.answered(.alive(true))) == [.schedule(lock.now + .seconds(1))])
    }
    #expect(SessionLock.pingInterval + SessionLock.pingPatience == .seconds(8))
  }

  @Test("a loss is told once, whatever it comes from, and is the end", arguments: [true, false])
  func losses(isPooled: Bool) {
    let silent = PostgreSQLFailure(.noAnswer, "no answer")
    let causes: [SessionLock.Event] = [.ended(silent), .failed(silent), .answered(.alive(false))]
    for cause in causes {
      var lock = Case()
      lock.held(isPooled: isPooled)
      _ = lock.after(.seconds(1), .timer)
      let effects = lock.after(cause)
      #expect(effects.dropLast() == [.unschedule, .close])
      guard case .lost(let failure)? = effects.last else { return #expect(Bool(false), "\(effects)") }
      #expect(!failure.isPermanent && lock.lock.isOver && !lock.lock.isHeld)
      for later in causes + [.timer, .begin, .release, .abandon] { #expect(lock.after(later).isEmpty) }
    }
  }

  @Test("a server that is away is tried again, soon at first, and at least each second")
  func backOff() {
    var lock = Case()
    _ = lock.after(.begin)
    var pauses: [Duration] = []
    for _ in 0..<10 {
      let effects = lock.after(.openFailed(down))
      guard effects.count == 2, effects[0] == .unavailable(down), case .schedule(let moment) = effects[1]
      else {
        return #expect(Bool(false), "\(effects)")
      }
      pauses.append(moment - lock.now)
      #expect(lock.after(moment - lock.now, .timer) == [.open(timeout: .seconds(5))])
    }
    #expect(pauses[0] <= .milliseconds(120) && pauses[9] >= .milliseconds(640))
    #expect(pauses.allSatisfy { $0 < .seconds(1) })
    // It begins anew with each connection.
    _ = lock.after(.opened(isPooled: false))
    guard case .schedule(let moment)? = lock.after(.ended(down)).last else { return #expect(Bool(false)) }
    #expect(moment - lock.now <= .milliseconds(120))
  }

  @Test(
    "what looks permanent is asked twice, within 3 s; what is temporary in between makes it doubtful anew")
  func doubt() {
    var lock = Case()
    _ = lock.after(.begin)
    #expect(lock.after(.openFailed(wrong)) == [.unavailable(wrong), .schedule(lock.now + .seconds(1))])
    _ = lock.after(.seconds(1), .timer)
    #expect(lock.after(.openFailed(wrong)) == [.unschedule, .close, .failed(wrong)])
    #expect(lock.lock.isOver)

    var other = Case()
    _ = other.after(.begin)
    _ = other.after(.openFailed(wrong))
    _ = other.after(.seconds(1), .timer)
    _ = other.after(.openFailed(down))
    _ = other.after(.seconds(1), .timer)
    #expect(other.after(.openFailed(wrong)).first == .unavailable(wrong))
    #expect(!other.lock.isOver)
  }

  @Test("whoever waits and loses the connection makes another one, and tells anew who has the lock")
  func reconnect() {
    var lock = Case()
    lock.waiting()
    let effects = lock.after(.ended(down))
    #expect(effects.prefix(2) == [.close, .unavailable(down)])
    #expect(lock.after(.seconds(1), .timer) == [.open(timeout: .seconds(5))])
    _ = lock.after(.opened(isPooled: false))
    _ = lock.after(.answered(.got(false)))
    #expect(lock.after(.answered(.holder(LockHolder(backend: 1)))).first == .busy(LockHolder(backend: 1)))
  }

  @Test(
    "a server that cannot wait for us is asked now and then; through a pooler that is no reason to ask without a pause"
  )
  func cannotWait() {
    let missing = PostgreSQLFailure(.statement, sqlState: "42704", "language \"plpgsql\" does not exist")
    var lock = Case()
    lock.waiting()
    #expect(lock.after(.failed(missing)) == [.ask(.isFree, timeout: patience)])
    guard case .schedule? = lock.after(.answered(.free(false))).first else { return #expect(Bool(false)) }
    _ = lock.after(.milliseconds(100), .timer)
    #expect(lock.after(.failed(missing)).prefix(2) == [.close, .unavailable(missing)])
  }

  @Test("a release ends it from everywhere; one of a lock that is lost meanwhile too")
  func release() {
    var held = Case()
    held.held()
    #expect(held.after(.release) == [.unschedule, .ask(.giveBack, timeout: .seconds(2))])
    #expect(held.after(.release).isEmpty)
    #expect(held.after(.ended(down)) == [.unschedule, .close, .released])
    var waiting = Case()
    waiting.waiting()
    #expect(waiting.after(.release) == [.unschedule, .close, .released])
    var looking = Case()
    looking.waiting()
    _ = looking.after(.answered(.free(true)))
    #expect(looking.after(.looked(wantsLock: false)).isEmpty)
    #expect(looking.after(.release) == [.unschedule, .close, .released])
    var abandoned = Case()
    abandoned.held()
    #expect(abandoned.after(.abandon) == [.unschedule, .close])
  }

  @Test("a transaction that is not open any more holds no lock, whatever the server still answers")
  func transactionGone() {
    let statements = LockStatements(key: .infrastructure, serverVersion: 150_000)
    for (transaction, isAlive) in [
      (StatementResult.Transaction.open, true), (.none, false), (.failed, false),
    ] {
      let result = StatementResult(rows: [["1"]], transaction: transaction)
      #expect(statements.answer(.pingInTransaction, result) == .alive(isAlive))
      #expect(statements.answer(.ping, result) == .alive(true))
    }
  }
}
