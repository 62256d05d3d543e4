import EventLoop

/// The advisory lock of PostgreSQL, as decisions: taking it, waiting for it, proving that it is still ours, losing it.
///
/// Direct connections hold it for the session and wait in its *shared* form, which the server gives to all that wait
/// in the moment in which the holder goes: 49 of them know within 9 to 35 ms, a terminated holder knows itself after
/// 1 to 6 ms (measured on two busy cores, PostgreSQL 15). But a statement that waits has a snapshot, and CREATE INDEX
/// CONCURRENTLY waits until every older snapshot is gone: with one waiter that blocked without end it hung for ever, and
/// no deadlock is detected, since the lock belongs to another session than the migration. So a wait is cut into slices of
/// 0.9 s. They cost such a migration 0.9 s, and end before deadlock_timeout (1 s by default), so that log_lock_waits says
/// nothing. A waiter of django-autoinit still blocks without end.
///
/// Through a pooler in transaction mode a session is nobody's own: the holder keeps a transaction open, which pins the
/// server's connection (idle, it has no snapshot), and those that wait ask now and then and never wait within a
/// transaction: a pool full of them would starve the holder. Behind a pool of three, 19 waiters know of the end after
/// 81 to 96 ms in the median and 156 ms at most; ten nodes that each want the lock, with work by way of the same pool, all
/// had it within 0.4 to 0.6 s. The pool needs three connections at least: lock, record, and what the step itself does.
///
/// It performs nothing. Its owner makes the connection, sends what is asked, and feeds back what happened.
public struct SessionLock: Sendable {
  /// What happens to it.
  public enum Event: Sendable, Equatable {
    /// Take the lock.
    case begin
    /// The connection is there.
    case opened(isPooled: Bool)
    /// It could not be made.
    case openFailed(PostgreSQLFailure)
    /// The answer to the last question.
    case answered(Answer)
    /// The last question failed, but not the connection.
    case failed(PostgreSQLFailure)
    /// The connection has ended by itself.
    case ended(PostgreSQLFailure)
    /// What `look` was for has happened: whether the lock is still wanted.
    case looked(wantsLock: Bool)
    /// The time of the last `schedule` has come.
    case timer
    /// Give the lock back, or stop waiting for it.
    case release
    /// Go, as one who vanishes: without an orderly release.
    case abandon
  }

  /// What the server is asked.
  public enum Question: Sendable, Equatable {
    /// To take the lock, if it is free; `got`.
    case take
    /// The same in a transaction that stays open; `got`.
    case takeInTransaction
    /// To end a transaction, and with it the lock that it may have; `done`.
    case endTransaction
    /// To answer when the lock is free, or after a while; `free`.
    case waitUntilFree
    /// Whether it is free now; `free`.
    case isFree
    /// Who has it; `holder`.
    case whoHolds
    /// A sign of life; `alive`.
    case ping
    /// The same within the open transaction; `alive`.
    case pingInTransaction
    /// To give a session's lock back; `done`.
    case giveBack
  }

  /// What it answers.
  public enum Answer: Sendable, Equatable {
    case got(Bool)
    case free(Bool)
    case holder(LockHolder?)
    /// Whether the lock is ours still.
    case alive(Bool)
    case done
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Make a connection within this time.
    case open(timeout: Duration)
    /// Close it; nothing of it is wanted any more.
    case close
    /// Ask this; after `timeout` without an answer the connection counts as lost.
    case ask(Question, timeout: Duration)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// Another one has the lock: told when it is another one than before.
    case busy(LockHolder?)
    /// The one that was told last has it still: told as often as it is looked.
    case stillBusy(LockHolder)
    /// The server cannot be used; it is tried again.
    case unavailable(PostgreSQLFailure)
    /// The holder is gone: look whether there is something left to do, then feed `looked`.
    case look
    /// The lock is ours.
    case held
    /// It was ours, and another may have it at any moment.
    case lost(PostgreSQLFailure)
    /// It cannot be taken until a person has done something.
    case failed(PostgreSQLFailure)
    /// `release` is done.
    case released
  }

  enum State: Sendable, Equatable {
    case idle
    case opening
    /// Until the next attempt to connect.
    case backingOff
    case taking
    case endingTransaction
    case asking
    case waiting
    case looking
    /// Until the next question whether it is free.
    case pausing
    case held(isPinging: Bool)
    case releasing
    case over
  }

  /// From one sign of life of a holder's connection to the next.
  static let pingInterval = Duration.seconds(1)
  /// With the interval before it: 8 s after its last answer a connection is lost. The server keeps the lock of a session
  /// that is cut off for at least 12 s (`SessionSettings`).
  static let pingPatience = Duration.seconds(7)
  /// How long one wait for the lock lasts.
  static let slice = Duration.milliseconds(900)
  /// From one question whether the lock is free to the next, where waiting is not possible; half of it more or less.
  static let pollInterval = Duration.milliseconds(100)
  /// How often it is looked who has the lock.
  static let holderInterval = Duration.seconds(3)
  static let openPatience = Duration.seconds(5)
  static let answerPatience = Duration.seconds(8)
  static let releasePatience = Duration.seconds(2)
  /// The longest pause between attempts to connect: less than a second from a server's return to our noticing.
  static let longestBackOff = Duration.milliseconds(800)
  /// A reason that looks permanent must still be there after this: a database may be in the middle of being replaced.
  static let doubt = Duration.seconds(1)

  var state = State.idle
  private var isPooled = false
  /// Whether waiting is not possible although the connection is direct: the server has no PL/pgSQL.
  private var cannotWait = false
  private var attempts = 0
  private var doubtBegan: MonotonicInstant?
  private var holder: LockHolder?
  private var isHolderTold = false
  private var holderAsked: MonotonicInstant?
  private var random: UInt64

  /// A lock that nobody has asked for.
  /// - Parameter seed: makes the pauses of several nodes differ.
  public init(seed: UInt64) {
    random = seed
  }

  /// Whether it is ours.
  public var isHeld: Bool {
    if case .held = state { return true }
    return false
  }

  /// Whether it is over: released, lost, failed or abandoned.
  public var isOver: Bool { state == .over }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch (event, state) {
    case (_, .over): return []
    case (.begin, .idle): return open()
    case (.begin, _): return []

    case (.opened(let pooled), .opening):
      attempts = 0
      doubtBegan = nil
      isPooled = pooled
      return take()
    case (.opened, _): return []

    case (.openFailed(let failure), .opening): return backOff(failure, at: now)
    case (.openFailed, _): return []

    case (.answered(let answer), _): return handle(answer, at: now)

    case (.failed(let failure), .waiting)
    where !isPooled && !cannotWait && (failure.cause == .statement || failure.cause == .privilege):
      cannotWait = true
      return ask(.isFree, .waiting)
    case (.failed(let failure), .held): return lose(failure)
    case (.failed(let failure), _): return interrupted(failure, at: now)

    case (.ended(let failure), .held): return lose(failure)
    case (.ended(let failure), _): return interrupted(failure, at: now)

    case (.looked(wantsLock: true), .looking): return take()
    case (.looked, _): return []

    case (.timer, .backingOff): return open()
    case (.timer, .pausing): return ask(.isFree, .waiting)
    case (.timer, .held(isPinging: false)):
      state = .held(isPinging: true)
      return [.ask(isPooled ? .pingInTransaction : .ping, timeout: Self.pingPatience)]
    case (.timer, _): return []

    case (.release, .held):
      return [.unschedule]
        + ask(isPooled ? .endTransaction : .giveBack, .releasing, timeout: Self.releasePatience)
    case (.release, .releasing): return []
    case (.release, _): return end([.released])
    case (.abandon, _): return end([])
    }
  }

  private mutating func handle(_ answer: Answer, at now: MonotonicInstant) -> [Effect] {
    switch (answer, state) {
    case (.got(true), .taking):
      state = .held(isPinging: false)
      return [.held, .schedule(now + Self.pingInterval)]
    case (.got(false), .taking):
      holderAsked = nil
      return isPooled ? ask(.endTransaction, .endingTransaction) : wait(at: now)
    case (.done, .endingTransaction): return wait(at: now)

    case (.holder(let found), .asking):
      holderAsked = now
      guard !isHolderTold || !(found?.isSame(as: holder) ?? (holder == nil)) else {
        return (found.map { [.stillBusy($0)] } ?? []) + wait(at: now)
      }
      isHolderTold = true
      holder = found
      return [.busy(found)] + wait(at: now)

    case (.free(true), .waiting):
      state = .looking
      return [.look]
    case (.free(false), .waiting): return wait(at: now, isPauseDue: isPooled || cannotWait)

    case (.alive(true), .held(isPinging: true)):
      state = .held(isPinging: false)
      return [.schedule(now + Self.pingInterval)]
    case (.alive(false), .held):
      return lose(
        PostgreSQLFailure(.lost, "the transaction that holds the lock was ended by the server or the pooler"))

    case (.done, .releasing): return end([.released])
    default: return []
    }
  }

  // MARK: Within

  private mutating func ask(
    _ question: Question, _ next: State, timeout: Duration = Self.answerPatience
  ) -> [Effect] {
    state = next
    return [.ask(question, timeout: timeout)]
  }

  private mutating func open() -> [Effect] {
    state = .opening
    return [.open(timeout: Self.openPatience)]
  }

  private mutating func take() -> [Effect] {
    ask(isPooled ? .takeInTransaction : .take, .taking)
  }

  private mutating func wait(at now: MonotonicInstant, isPauseDue: Bool = false) -> [Effect] {
    if !isHolderTold || holderAsked.map({ now - $0 >= Self.holderInterval }) ?? true {
      return ask(.whoHolds, .asking)
    }
    if isPauseDue || isPooled || cannotWait {
      state = .pausing
      return [.schedule(now + jittered(Self.pollInterval, by: 0.5))]
    }
    return ask(.waitUntilFree, .waiting, timeout: Self.slice + Self.answerPatience)
  }

  /// The connection is of no use, and the lock was not ours.
  private mutating func interrupted(_ failure: PostgreSQLFailure, at now: MonotonicInstant) -> [Effect] {
    switch state {
    // The server gives the lock back with the session.
    case .releasing: return end([.released])
    case .idle, .opening, .backingOff: return []
    default: return [.close] + backOff(failure, at: now)
    }
  }

  private mutating func backOff(_ failure: PostgreSQLFailure, at now: MonotonicInstant) -> [Effect] {
    isHolderTold = false
    holderAsked = nil
    var pause = Duration.milliseconds(100)
    if failure.isPermanent {
      if let doubtBegan, now - doubtBegan >= Self.doubt { return end([.failed(failure)]) }
      doubtBegan = doubtBegan ?? now
      pause = Self.doubt
    } else {
      doubtBegan = nil
      for _ in 0..<min(attempts, 3) { pause = pause * 2 }
      pause = jittered(min(pause, Self.longestBackOff), by: 0.2)
    }
    attempts += 1
    state = .backingOff
    return [.unavailable(failure), .schedule(now + pause)]
  }

  private mutating func lose(_ failure: PostgreSQLFailure) -> [Effect] {
    end([.lost(failure)])
  }

  private mutating func end(_ last: [Effect]) -> [Effect] {
    state = .over
    return [.unschedule, .close] + last
  }

  /// SplitMix64 (https://prng.di.unimi.it/splitmix64.c): up to this share more or less.
  private mutating func jittered(_ duration: Duration, by share: Double) -> Duration {
    random &+= 0x9E37_79B9_7F4A_7C15
    var mixed = random
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    let unit = Double((mixed ^ (mixed >> 31)) >> 11) / Double(1 << 53)
    return duration * (1 + share * (2 * unit - 1))
  }
}
