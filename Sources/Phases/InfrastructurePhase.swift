import Coordination
import EventLoop

/// The infrastructure phase on this node, as decisions: readiness, lock, ledger, the steps in order, readiness.
///
/// It performs nothing. Its owner reads and writes the record, holds the lock, runs the commands, and feeds back what
/// happened. Order that the promise rests on: a step starts only while the lock is held and after the claim is
/// written; a step is recorded done before the next one starts; readiness is written after the last record; the lock
/// is released after the last command has ended.
public struct InfrastructurePhase: Sendable {
  /// What happens to it.
  public enum Event: Sendable {
    /// Start; `wallClock` is Unix time in nanoseconds.
    case begin
    /// The record that was asked for; nil: there is none yet.
    case record(ReleaseRecord?)
    /// The record cannot be read or written, or the lock not be taken: one sentence.
    case storeFailed(String)
    /// Another process has the lock; what it wrote into it.
    case lockBusy(holder: String)
    /// The lock is ours.
    case lockHeld
    /// The lock is not ours any more, though we did not release it.
    case lockLost
    /// What was to be written is durable.
    case written
    /// The lock is released.
    case unlocked
    /// A command of the current step ended.
    case commandEnded(CommandResult)
    /// The time of the last `schedule` has come.
    case timer
    /// The time of the last `scheduleHeartbeat` has come.
    case heartbeat
    /// The supervisor stops.
    case interrupt
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Read the record; answer with `record` or `storeFailed`.
    case read
    /// Make the record durable; answer with `written` or `storeFailed`.
    case write(ReleaseRecord)
    /// Take the lock; answer with `lockBusy` (at most once), then `lockHeld` or `storeFailed`.
    case lock
    /// Stop waiting for the lock, if it is not held yet.
    case abandonLock
    /// Release it; answer with `unlocked`.
    case unlock
    /// Run a command of this step; answer with `commandEnded`.
    case run(step: Int, StepCommand)
    /// Stop the command that runs.
    case stopCommand(step: Int)
    /// End the command that runs at once: the lock is gone.
    case killCommand(step: Int)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// Feed `heartbeat` at this time; nil: none is wanted any more.
    case scheduleHeartbeat(MonotonicInstant?)
    /// A step has begun, or ended.
    case stepBegan(step: Int)
    /// A step has ended; `skipped`: it was recorded done before.
    case stepEnded(step: Int, StepOutcome, attempts: Int, skipped: Bool)
    /// Waits for this holder.
    case waiting(holder: String)
    /// Worth a line in the log.
    case note(String)
    /// Over.
    case finished(Outcome)
  }

  /// How the phase ended.
  public enum Outcome: Sendable, Equatable {
    /// Complete. `ran`: here and now, not before or elsewhere.
    case ready(ran: Bool)
    /// A step failed, here or on the node that was waited for.
    case failed(step: String, reason: String)
    /// The lock did not become free in time.
    case timedOut(String)
    /// Record or lock cannot be used.
    case storeUnusable(String)
    /// The lock was lost while a step ran.
    case lockLost
    /// The supervisor stops.
    case interrupted
  }

  enum State: Sendable, Equatable {
    case idle
    case lookingBefore
    case locking
    /// Looking at the record while another process holds the lock.
    case observing
    /// The lock came while a look from outside was still due; its answer tells of the time before the lock.
    case lockedWhileObserving
    case lookingInside
    case claiming
    /// The claim is about to name this step.
    case announcing(Int)
    case running(Int)
    case recording(Int)
    case recordingFailure(Outcome)
    /// The claim names a step that will not begin, since the supervisor stops.
    case withdrawing
    case completing
    /// The command that runs is being killed; the phase ends after it.
    case killing(Outcome)
    case unlocking(Outcome)
    case finished
  }

  /// How often a waiter looks at the record.
  public var pollInterval: Duration = .seconds(1)
  /// How often a holder renews its claim.
  public static let heartbeatInterval = Duration.seconds(5)

  let runID: RunID
  let steps: [PhaseStep]
  let owner: String
  let timeout: Duration?
  let maximumWait: Duration?
  let wallClock: @Sendable () -> UInt64

  var state = State.idle
  var record: ReleaseRecord
  var runner: StepRunner?
  var writesPending = 0
  var holder = ""
  var waitBegan: MonotonicInstant?
  var lastProgress: MonotonicInstant?
  var lastSaid: MonotonicInstant?
  var seenHeartbeat: UInt64?
  var beganAt: UInt64 = 0
  var failureBefore: Int?
  var holdsLock = false
  var isInterrupted = false

  /// A phase that has not begun.
  /// - Parameters:
  ///   - owner: how others see us: node and process.
  ///   - timeout: of waiting without progress of the holder; nil: none.
  ///   - maximumWait: of waiting at all; nil: none.
  ///   - wallClock: Unix time in nanoseconds.
  public init(
    runID: RunID, steps: [PhaseStep], owner: String, timeout: Duration?, maximumWait: Duration?,
    wallClock: @escaping @Sendable () -> UInt64
  ) {
    self.runID = runID
    self.steps = steps
    self.owner = owner
    self.timeout = timeout
    self.maximumWait = maximumWait
    self.wallClock = wallClock
    record = ReleaseRecord(runID: runID.value)
  }

  /// Whether it is over, so that nothing of it runs and no lock is held.
  public var isFinished: Bool { state == .finished }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin: return begin(at: now)
    case .record(let found): return look(at: found, now: now)
    case .storeFailed(let reason): return storeFailed(reason, at: now)
    case .lockBusy(let holder): return lockBusy(holder, at: now)
    case .lockHeld: return lockHeld()
    case .lockLost: return lockLost()
    case .written: return written(at: now)
    case .unlocked:
      guard case .unlocking(let outcome) = state else { return [] }
      return finish(outcome)
    case .commandEnded(let result):
      if case .killing(let outcome) = state { return holdsLock ? release(outcome) : finish(outcome) }
      return feed(.commandEnded(result), at: now)
    case .timer: return timer(at: now)
    case .heartbeat: return heartbeat(at: now)
    case .interrupt: return interrupt(at: now)
    }
  }

  // MARK: Before the lock

  mutating func begin(at now: MonotonicInstant) -> [Effect] {
    guard state == .idle else { return [] }
    if steps.isEmpty { return finish(.ready(ran: false)) }
    beganAt = wallClock()
    state = .lookingBefore
    return [.read]
  }

  mutating func look(at found: ReleaseRecord?, now: MonotonicInstant) -> [Effect] {
    switch state {
    case .lookingBefore:
      failureBefore = found?.failure?.attempt
      if isReady(found) { return finish(.ready(ran: false)) }
      state = .locking
      return [.lock]
    case .observing:
      state = .locking
      if isReady(found) { return [.abandonLock] + finish(.ready(ran: false)) }
      if let failure = newFailure(in: found) {
        return [.abandonLock] + finish(.failed(step: failure.step, reason: failure.reason))
      }
      if let claim = found?.claim, claim.heartbeat != seenHeartbeat {
        seenHeartbeat = claim.heartbeat
        lastProgress = now
        holder = claim.step.isEmpty ? claim.owner : "\(claim.owner), at step \(claim.step)"
      }
      return wait(at: now)
    case .lockedWhileObserving: return lookInside()
    case .lookingInside: return claim(found)
    default: return []
    }
  }

  /// A failure of another node since we began; an older one is what we are here to try again.
  func newFailure(in found: ReleaseRecord?) -> ReleaseRecord.Failure? {
    guard let failure = found?.failure, failure.attempt != failureBefore, failure.failedAt >= beganAt else {
      return nil
    }
    return failure
  }

  /// A development run ID is the same for every release, so only what was set while we waited counts.
  func isReady(_ found: ReleaseRecord?) -> Bool {
    guard let completedAt = found?.completedAt else { return false }
    if runID.isDevelopment { return completedAt >= beganAt }
    // Steps that were added or changed since are not covered by it.
    return steps.allSatisfy { found?.isDone($0.name, hash: $0.hash) ?? false }
  }

  mutating func lockBusy(_ holder: String, at now: MonotonicInstant) -> [Effect] {
    guard state == .locking else { return [] }
    self.holder = holder.isEmpty ? "another process" : holder
    waitBegan = now
    lastProgress = now
    return wait(at: now)
  }

  /// Says whom we wait for every five seconds, and gives up when the time has run out.
  mutating func wait(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    if let waitBegan, let lastProgress {
      let still = now - lastProgress
      let waited = now - waitBegan
      if let timeout, still >= timeout {
        let reason =
          "waited \(waited.readable) for the infrastructure lock, \(still.readable) of it without a sign "
          + "of life from its holder (\(holder))"
        return [.abandonLock] + finish(.timedOut(reason))
      }
      if let maximumWait, waited >= maximumWait {
        let reason = "waited \(waited.readable) (max_wait) for the infrastructure lock, held by \(holder)"
        return [.abandonLock] + finish(.timedOut(reason))
      }
      if lastSaid.map({ now - $0 >= .seconds(5) }) ?? true {
        lastSaid = now
        effects = [
          .waiting(holder: holder),
          .note("waiting for \(holder) to finish the infrastructure phase (for \(waited.readable) now)"),
        ]
      }
    }
    return effects + [.schedule(now + pollInterval)]
  }

  mutating func timer(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .locking:
      state = .observing
      return [.read]
    case .running: return feed(.timer, at: now)
    default: return []
    }
  }

  // MARK: The end

  /// Neither lock nor record can be relied on: no grace for the command, and nothing else before it is gone.
  mutating func kill(_ index: Int, _ outcome: Outcome) -> [Effect] {
    let commandRuns = runner?.commandRuns ?? false
    runner = nil
    // Between two tries there is no command whose end could be waited for.
    guard commandRuns else { return holdsLock ? release(outcome) : finish(outcome) }
    state = .killing(outcome)
    return [.unschedule, .scheduleHeartbeat(nil), .killCommand(step: index)]
  }

  mutating func release(_ outcome: Outcome) -> [Effect] {
    state = .unlocking(outcome)
    return [.unschedule, .scheduleHeartbeat(nil), .unlock]
  }

  mutating func finish(_ outcome: Outcome) -> [Effect] {
    state = .finished
    holdsLock = false
    return [.unschedule, .scheduleHeartbeat(nil), .finished(outcome)]
  }

  mutating func interrupt(at now: MonotonicInstant) -> [Effect] {
    isInterrupted = true
    switch state {
    case .idle, .lookingBefore, .locking, .observing: return [.abandonLock] + finish(.interrupted)
    case .lockedWhileObserving, .lookingInside, .claiming: return release(.interrupted)
    case .running: return feed(.interrupt, at: now)
    // What is being recorded is recorded; `next` then ends it.
    case .announcing, .recording, .recordingFailure, .withdrawing, .completing, .killing, .unlocking,
      .finished:
      return []
    }
  }

  mutating func lockLost() -> [Effect] {
    guard holdsLock || state == .locking || state == .observing else { return [] }
    holdsLock = false
    switch state {
    case .running(let index): return kill(index, .lockLost)
    case .killing: return []
    case .unlocking(let outcome): return finish(outcome)
    default: return finish(.lockLost)
    }
  }

  mutating func storeFailed(_ reason: String, at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .finished, .killing: return []
    case .running(let index):
      // Without a record the promise cannot be kept: the step must not go on as if it could.
      return kill(index, .storeUnusable(reason))
    case .unlocking(let outcome): return finish(outcome)
    case .recordingFailure(let outcome): return [.note(reason)] + release(outcome)
    case .observing:
      // The holder may be replacing the file, or the file system be slow: the lock itself still decides.
      state = .locking
      return [.note(reason)] + wait(at: now)
    case .lockedWhileObserving: return [.note(reason)] + lookInside()
    default:
      return holdsLock ? release(.storeUnusable(reason)) : [.abandonLock] + finish(.storeUnusable(reason))
    }
  }
}
