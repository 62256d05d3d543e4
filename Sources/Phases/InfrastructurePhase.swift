import Coordination
import EventLoop

/// The infrastructure phase on this node, as decisions: readiness, lock, claim, ledger, the graph of steps, readiness.
///
/// It performs nothing. Its owner reads and writes the record, holds the lock, runs the commands, and feeds back what
/// happened. Order that the promise rests on: a step starts only while the lock is held and after the claim that names
/// it is durable; what needs it starts after its record is; readiness is written after the last record; the lock is
/// released after the last command has ended.
///
/// The files: waiting for the lock or for another node, working under it, taking back what was done.
public struct InfrastructurePhase: Sendable {
  /// What happens to it.
  public enum Event: Sendable {
    /// Start.
    case begin
    /// The record that was asked for; nil: there is none yet.
    case record(ReleaseRecord?)
    /// The record cannot be read or written.
    case storeFailed(StoreFailure)
    /// Another process has the lock; what it wrote into it.
    case lockBusy(holder: String)
    /// The lock is ours. `leftBy` is whom it names as its holder, when that one did not give it back but vanished;
    /// else empty.
    case lockHeld(leftBy: String)
    /// The lock cannot be taken.
    case lockFailed(StoreFailure)
    /// The lock is not ours any more, or not waited for any more, though we did not say so.
    case lockLost
    /// What was to be written is durable; answers come in the order of the requests.
    case written
    /// The lock is released.
    case unlocked
    /// A command of a step ended.
    case commandEnded(step: Int, CommandResult)
    /// The time of the last `schedule` or `awaitChange` has come, or the record has changed.
    case timer
    /// The time of the last `scheduleStep` of this step has come.
    case stepTimer(step: Int)
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
    /// Take the lock; answer with `lockBusy` (at most once), then `lockHeld` or `lockFailed`.
    case lock
    /// Stop waiting for the lock, if it is not held yet; no read that is still due is answered any more.
    case abandonLock
    /// Release it; answer with `unlocked`.
    case unlock
    /// Run a command of this step, with these variables; answer with `commandEnded`.
    case run(step: Int, StepCommand, [StepOutput])
    /// Stop the command that runs.
    case stopCommand(step: Int)
    /// End the command that runs at once: the lock is gone.
    case killCommand(step: Int)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// Feed `timer` when the record changes, and at this time at the latest; replaces an earlier wish.
    case awaitChange(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// Feed `stepTimer` at this time; replaces an earlier wish for this step.
    case scheduleStep(step: Int, MonotonicInstant)
    /// No timer is wanted for this step any more.
    case unscheduleStep(step: Int)
    /// Feed `heartbeat` at this time; nil: none is wanted any more.
    case scheduleHeartbeat(MonotonicInstant?)
    /// A step has begun.
    case stepBegan(step: Int)
    /// A step's rollback has begun.
    case rollbackBegan(step: Int)
    /// A step, or its rollback, has ended.
    case stepEnded(step: Int, StepOutcome, attempts: Int)
    /// Waits for this holder.
    case waiting(holder: String)
    /// Worth a line in the log.
    case note(String)
    /// Over.
    case finished(Outcome)
  }

  /// How the phase ended.
  public enum Outcome: Sendable, Equatable {
    /// Complete. `ran`: here and now, not before or elsewhere. What the steps gave to later ones.
    case ready(ran: Bool, outputs: [StepOutput])
    /// A step failed, here or on the node that was waited for.
    case failed(step: String, reason: String)
    /// The lock did not become free, or the release not ready, in time.
    case timedOut(String)
    /// Record or lock cannot be used.
    case storeUnusable(StoreFailure)
    /// The lock was lost while it was needed.
    case lockLost
    /// The supervisor stops.
    case interrupted
  }

  enum State: Sendable, Equatable {
    case idle
    /// The first look, from outside.
    case looking
    /// The checks of steps that are recorded done, outside of the lock or under it.
    case verifying
    /// Another try failed a short while ago: for the lock's turn, or for somebody who is quicker.
    case holdingOff(until: MonotonicInstant)
    case lookingWhileHoldingOff(until: MonotonicInstant)
    /// For the lock, or, when the lock is none of ours to take, for readiness.
    case waiting
    /// Looking at the record meanwhile.
    case observing
    /// The lock came while a look from outside was still due; its answer tells of the time before the lock.
    case lockedWhileObserving
    /// What waited for the lock has ended: a short pause before it is asked for again.
    case pausing
    /// The last holder vanished: what it ran has this long to end.
    case takingOver
    case lookingInside
    case working
    /// Taking back what was done; the steps still to come.
    case undoing([Int], Outcome)
    /// The last write.
    case concluding(Outcome)
    /// The commands that run are being killed; the phase ends after them.
    case killing(Outcome)
    case unlocking(Outcome)
    case finished
  }

  /// What waits for a write to be durable.
  enum Deferred: Sendable, Equatable {
    case advance
    case begin([Int])
    case settle(Int)
    case undo(Int)
    case release(Outcome)
  }

  /// How often a holder renews its claim.
  public static let heartbeatInterval = Duration.seconds(5)
  /// How long a heartbeat tells of a living holder: one may come late.
  static let heartbeatLife = Duration.seconds(10)
  /// How long a holder goes on without being able to write to the record.
  static let writePatience = Duration.seconds(10)
  /// The same when we stop: what has to stop after us needs its time.
  static let stopPatience = Duration.seconds(2)
  /// From a failed write to the next.
  static let writeRetryDelay = Duration.seconds(1)
  /// How often what waits for the lock may end in a row.
  static let lockAttempts = 5

  let runID: RunID
  let steps: [PhaseStep]
  let owner: String
  let rules: InfrastructureRules
  let wallClock: @Sendable () -> UInt64

  var state = State.idle
  var record: ReleaseRecord
  var graph: StepGraph

  // Waiting.
  var holder = ""
  var waitBegan: MonotonicInstant?
  var lastProgress: MonotonicInstant?
  var lastSaid: MonotonicInstant?
  var seenHeartbeat: UInt64?
  /// Whether its heartbeat was young, or changed, when it was last seen.
  var holderIsLively = false
  /// What the first look found: only what differs from it happened while we waited.
  var failureBefore: Int?
  var completedBefore: UInt64?
  var lastFailure: ReleaseRecord.Failure?
  var lockTries = 0
  /// Reads that have not been answered.
  var looksDue = 0

  // Verifying.
  var verifyQueue: [Int] = []
  var verifier: StepRunner?
  var verifying: Int?
  /// Steps whose check failed although they are recorded done.
  var suspects: Set<Int> = []
  /// What was found under the lock, before it is claimed.
  var found: ReleaseRecord?

  // Under the lock.
  var holdsLock = false
  var isInterrupted = false
  /// Failed tries before this one, since the last success.
  var failuresInARow = 0
  var writesIssued = 0
  var writesAnswered = 0
  var deferred: [(write: Int, action: Deferred)] = []
  var writesFailSince: MonotonicInstant?
  var brokenStore: StoreFailure?
  /// As they were before the record of the step that is taken back was removed.
  var rollbackOutputs: [StepOutput] = []

  /// A phase that has not begun.
  /// - Parameters:
  ///   - owner: how others see us: node and process.
  ///   - wallClock: Unix time in nanoseconds.
  public init(
    runID: RunID, steps: [PhaseStep], owner: String, rules: InfrastructureRules = InfrastructureRules(),
    wallClock: @escaping @Sendable () -> UInt64
  ) {
    self.runID = runID
    self.steps = steps
    self.owner = owner
    self.rules = rules
    self.wallClock = wallClock
    record = ReleaseRecord(runID: runID.value)
    graph = StepGraph(steps, parallelism: rules.parallelism, stopsOnFailure: rules.stopsOnFailure)
  }

  /// Whether it is over, so that nothing of it runs and no lock is held.
  public var isFinished: Bool { state == .finished }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin: return begin(at: now)
    case .record(let found): return look(at: found, now: now)
    case .storeFailed(let failure): return storeFailed(failure, at: now)
    case .lockBusy(let holder): return lockBusy(holder, at: now)
    case .lockHeld(let leftBy): return lockHeld(leftBy: leftBy, at: now)
    case .lockFailed(let failure): return lockFailed(failure)
    case .lockLost: return lockLost(at: now)
    case .written: return written(at: now)
    case .unlocked:
      guard case .unlocking(let outcome) = state else { return [] }
      return finish(outcome)
    case .commandEnded(let step, let result): return commandEnded(step, result, at: now)
    case .timer: return timer(at: now)
    case .stepTimer(let step):
      if state == .verifying, step == verifying { return feedVerifier(.timer, at: now) }
      return perform(graph.timer(step, at: now), at: now)
    case .heartbeat: return heartbeat(at: now)
    case .interrupt: return interrupt(at: now)
    }
  }

  private mutating func commandEnded(
    _ step: Int, _ result: CommandResult, at now: MonotonicInstant
  ) -> [Effect] {
    if step == verifying {
      if case .killing(let outcome) = state {
        verifying = nil
        return endKilling(outcome)
      }
      return feedVerifier(.commandEnded(result), at: now)
    }
    return perform(graph.commandEnded(step, result, at: now), at: now)
  }

  // MARK: The end

  /// Neither lock nor record can be relied on: no grace for the commands, and nothing else before they are gone.
  mutating func kill(_ outcome: Outcome, at now: MonotonicInstant) -> [Effect] {
    deferred = []
    state = .killing(outcome)
    var effects: [Effect] = [.unschedule, .scheduleHeartbeat(nil)]
    if let step = verifying {
      if verifier?.commandRuns == true {
        effects += [.unscheduleStep(step: step), .killCommand(step: step)]
      } else {
        verifying = nil
      }
      verifier = nil
    }
    effects += perform(graph.kill(), at: now)
    return effects
  }

  /// Once nothing runs any more.
  mutating func endKilling(_ outcome: Outcome) -> [Effect] {
    guard graph.isQuiet, verifying == nil else { return [] }
    return holdsLock ? release(outcome) : finish(outcome)
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

  private mutating func interrupt(at now: MonotonicInstant) -> [Effect] {
    isInterrupted = true
    switch state {
    case .idle, .looking, .holdingOff, .lookingWhileHoldingOff, .waiting, .observing, .pausing:
      return [.abandonLock] + finish(.interrupted)
    case .lockedWhileObserving, .lookingInside: return release(.interrupted)
    // Given back now, the lock would tell the next one nothing of the command that may still run.
    case .takingOver: return []
    case .verifying: return feedVerifier(.interrupt, at: now)
    case .working: return perform(graph.interrupt(at: now), at: now)
    // What is being taken back now is taken back; the rest is not begun.
    case .undoing(let rest, let outcome):
      let kept = rest.filter { steps[$0].rollsBackOnStop }
      state = .undoing(kept, outcome)
      let names = rest.filter { !kept.contains($0) }.map { steps[$0].name }
      return names.isEmpty
        ? [] : [.note("not rolled back, since we stop: \(names.joined(separator: ", "))")]
    // What is being recorded is recorded.
    case .concluding, .killing, .unlocking, .finished: return []
    }
  }

  private mutating func lockLost(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .waiting, .observing: return holdsLock ? [] : lockAgain(at: now)
    case .idle, .looking, .holdingOff, .lookingWhileHoldingOff, .pausing, .finished: return []
    case .verifying:
      guard holdsLock else { return [] }
      holdsLock = false
      return kill(.lockLost, at: now)
    case .working, .undoing:
      holdsLock = false
      return kill(.lockLost, at: now)
    case .killing:
      holdsLock = false
      return []
    case .unlocking(let outcome): return finish(outcome)
    case .lockedWhileObserving, .takingOver, .lookingInside, .concluding: return finish(.lockLost)
    }
  }

  private mutating func storeFailed(_ failure: StoreFailure, at now: MonotonicInstant) -> [Effect] {
    if looksDue > 0 { looksDue -= 1 }
    switch state {
    case .finished, .killing, .unlocking, .idle, .pausing, .takingOver: return []
    case .working, .undoing, .concluding: return writeFailed(failure, at: now)
    case .observing:
      // The holder may be replacing the file, or the file system be slow: the lock itself still decides.
      state = .waiting
      return [.note(failure.text)] + wait(at: now)
    case .lookingWhileHoldingOff(let until): return [.note(failure.text)] + holdOff(until: until, now: now)
    case .lockedWhileObserving: return [.note(failure.text)] + lookInside()
    case .looking, .waiting, .holdingOff: return [.abandonLock] + finish(.storeUnusable(failure))
    // Nothing is read or written meanwhile, so the store is gone; the check ends before the lock does.
    case .verifying: return kill(.storeUnusable(failure), at: now)
    case .lookingInside: return release(.storeUnusable(failure))
    }
  }

  private mutating func lockFailed(_ failure: StoreFailure) -> [Effect] {
    switch state {
    case .waiting, .observing: return [.abandonLock] + finish(.storeUnusable(failure))
    default: return []
    }
  }
}

/// How the infrastructure phase waits, tries again and runs its steps.
public struct InfrastructureRules: Sendable, Equatable {
  /// Of waiting without progress; nil: without end. Zero: one look, one try.
  public var timeout: Duration? = .seconds(300)
  /// Of waiting at all; nil: without end.
  public var maximumWait: Duration?
  /// How often a waiter looks at the record by itself.
  public var pollInterval: Duration = .seconds(1)
  /// Pause after a failed try, doubled with each further one, at most 5 minutes; nil: none.
  public var retryAfter: Duration? = .seconds(10)
  /// Pause after the last holder of the lock has vanished, for what it ran to end.
  public var takeoverDelay: Duration = .seconds(3)
  /// Steps at a time.
  public var parallelism = 1
  /// Whether a failed step stops those that run.
  public var stopsOnFailure = false
  /// Never takes the lock: only waits for another to complete the phase.
  public var onlyWaits = false
  /// Where lock and record are, for messages.
  public var place = "file backend"

  /// The defaults.
  public init() {}

  /// The pause after so many failures in a row.
  func pause(after failures: Int) -> Duration {
    guard let retryAfter, failures > 0 else { return .zero }
    return min(retryAfter * (1 << min(failures - 1, 16)), max(retryAfter, .seconds(300)))
  }
}

/// Why lock, record or marker cannot be used.
public struct StoreFailure: Error, Sendable, Equatable {
  /// One sentence: what, where, why, and what to do about it.
  public var text: String
  /// Whether it is for want of permission.
  public var isPermission: Bool

  /// A failure.
  public init(_ text: String, isPermission: Bool = false) {
    self.text = text
    self.isPermission = isPermission
  }
}
