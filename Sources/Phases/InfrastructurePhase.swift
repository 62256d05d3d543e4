import EventLoop
import ReleaseRecords

/// The infrastructure phase on this node, as decisions: readiness, lock, claim, ledger, the graph of steps, readiness.
///
/// It performs nothing. Its owner reads and writes the record, holds the lock, runs the commands, and feeds back what
/// happened. Order that the promise rests on: a step starts only while the lock is held and after the claim that names
/// it is durable; what needs it starts after its record is; readiness is written after the last record; the lock is
/// released after the last command has ended.
///
/// The files: what it and its owner say to each other, waiting for the lock or for another node, working under it,
/// taking back what was done, looking after one step later on.
public struct InfrastructurePhase: Sendable {
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
  /// The one step that this is about, once the phase is complete; nil: it is about all of them.
  public let errand: Errand?
  let owner: String
  let rules: InfrastructureRules
  let wallClock: @Sendable () -> UInt64

  var state = State.idle
  var record: ReleaseRecord
  var graph: StepGraph

  // Waiting.
  /// What this start has waited before, for something else: `timeout` is one budget for all of it. Afterwards with what
  /// was waited here, each without what showed progress.
  public var waited = Duration.zero
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
  /// Whether what waits for the lock has told of its holder.
  var isToldOfHolder = false
  /// Why the server that has record or lock could not be used when we heard of it last.
  var unavailable: StoreFailure?
  /// Reads that have not been answered.
  var looksDue = 0

  // Verifying.
  var verification = Verification()
  /// Steps whose check failed although they are recorded done.
  var suspects: Set<Int> = []
  /// What was found under the lock, before it is claimed.
  var found: ReleaseRecord?

  // On an errand.
  /// When its step was recorded done, as far as we know: at the first look, and now.
  var recordedAtFirst: UInt64?
  var recordedAt: UInt64?
  /// Whether the release was ready when its step's record was taken away.
  var wasReady = false

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
  /// How commands ended that may have left something behind in a server; it counts once that has ended, too.
  var heldBack: [Int: CommandResult] = [:]
  /// Steps of which something goes on in a server, and cannot be ended.
  var lingering: Set<Int> = []
  /// As they were before the record of the step that is taken back was removed.
  var rollbackOutputs: [StepOutput] = []

  /// A phase that has not begun.
  /// - Parameters:
  ///   - owner: how others see us: node and process.
  ///   - errand: the only step to look after, when the phase was complete before.
  ///   - wallClock: Unix time in nanoseconds.
  public init(
    runID: RunID, steps: [PhaseStep], owner: String, rules: InfrastructureRules = InfrastructureRules(),
    errand: Errand? = nil, wallClock: @escaping @Sendable () -> UInt64
  ) {
    self.runID = runID
    self.steps = steps
    self.errand = errand
    self.owner = owner
    self.rules = rules
    self.wallClock = wallClock
    record = ReleaseRecord(runID: runID.value)
    graph = StepGraph(steps, parallelism: rules.parallelism, stopsOnFailure: rules.stopsOnFailure)
    if let errand, errand.reason == .checkFailed { suspects = [errand.step] }
  }

  /// Whether the last write is under way: nothing runs any more, and the lock goes next.
  public var isConcluding: Bool { if case .concluding = state { true } else { false } }

  /// Whether it is over, so that nothing of it runs and no lock is held.
  public var isFinished: Bool { state == .finished }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin: return begin(at: now)
    case .record(let found): return look(at: found, now: now)
    case .storeFailed(let failure): return storeFailed(failure, at: now)
    case .storeUnavailable(let failure): return storeUnavailable(failure, at: now)
    case .lockFree(let found): return lockFree(found, at: now)
    case .lockBusy(let holder): return lockBusy(holder, at: now)
    case .lockHeld(let leftBy): return lockHeld(leftBy: leftBy, at: now)
    case .lockFailed(let failure): return lockFailed(failure)
    case .lockLost: return lockLost(at: now)
    case .written: return written(at: now)
    case .unlocked:
      guard case .unlocking(let outcome) = state else { return [] }
      return finish(outcome)
    case .partsDone(let step, let parts): return partsDone(step, parts)
    case .commandEnded(let step, let result): return commandEnded(step, result, at: now)
    case .remainsEnded(let step, let failure): return remainsEnded(of: step, failure, at: now)
    case .timer: return timer(at: now)
    case .stepTimer(let step):
      if state == .verifying, step == verification.current { return verify(.timer, at: now) }
      return perform(graph.timer(step, at: now), at: now)
    case .heartbeat: return heartbeat(at: now)
    case .interrupt: return interrupt(at: now)
    }
  }

  private mutating func commandEnded(
    _ step: Int, _ result: CommandResult, at now: MonotonicInstant
  ) -> [Effect] {
    if step == verification.current {
      if case .killing(let outcome) = state {
        verification.abandon()
        return endKilling(outcome)
      }
      return verify(.commandEnded(result), at: now)
    }
    // All of it is done; should its check say otherwise, all of it is done again.
    if case .succeeded = result {
      forgetParts(of: [step])
    } else if mayLeaveRemains {
      heldBack[step] = result
      return [.step(step, .unschedule), .endRemains(step: step)]
    }
    return perform(graph.commandEnded(step, result, at: now), at: now)
  }

  // MARK: The end

  /// Neither lock nor record can be relied on: no grace for the commands, and nothing else before they are gone.
  mutating func kill(_ outcome: Outcome, at now: MonotonicInstant) -> [Effect] {
    deferred = []
    state = .killing(outcome)
    var effects: [Effect] = [.unschedule, .scheduleHeartbeat(nil)]
    if let step = verification.current {
      if verification.commandRuns {
        effects += [.step(step, .unschedule), .step(step, .kill)]
      } else {
        verification.abandon()
      }
    }
    effects += perform(graph.kill(), at: now)
    return effects + letGo(at: now)
  }

  /// Once nothing runs any more.
  mutating func endKilling(_ outcome: Outcome) -> [Effect] {
    guard graph.isQuiet, verification.current == nil else { return [] }
    return holdsLock ? release(outcome) : outcome == .lockLost ? lost() : finish(outcome)
  }

  /// Nothing of ours runs, and another node may have the lock.
  private mutating func lost() -> [Effect] {
    guard rules.startsOver, !isInterrupted, errand == nil else { return finish(.lockLost) }
    record = ReleaseRecord(runID: runID.value)
    graph = StepGraph(steps, parallelism: rules.parallelism, stopsOnFailure: rules.stopsOnFailure)
    verification = Verification()
    suspects = []
    found = nil
    holdsLock = false
    (writesIssued, writesAnswered, deferred, writesFailSince, brokenStore) = (0, 0, [], nil, nil)
    rollbackOutputs = []
    (heldBack, lingering) = ([:], [])
    (looksDue, lockTries, isToldOfHolder, holder) = (0, 0, false, "")
    (waitBegan, lastProgress, lastSaid, seenHeartbeat, holderIsLively, unavailable) = (
      nil, nil, nil, nil, false, nil
    )
    state = .looking
    return [
      .unschedule, .scheduleHeartbeat(nil), .abandonLock,
      .note("the infrastructure lock was lost and what ran under it was killed: beginning again"),
    ] + read()
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
    case .lockedWhileObserving, .takingOver, .lookingInside: return release(.interrupted)
    case .verifying: return verify(.interrupt, at: now)
    // The lock is given back only once nothing is left in a server.
    case .working: return perform(graph.interrupt(at: now), at: now) + letGo(at: now)
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
    case .lockedWhileObserving, .takingOver, .lookingInside, .concluding: return lost()
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
