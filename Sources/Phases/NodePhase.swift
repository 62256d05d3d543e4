import EventLoop

/// What the node phase's marker says. Its existence is the whole meaning for django-autoinit; ours also names the
/// steps that failed and were skipped, which the next start of the same run ID tries again.
public struct Marker: Equatable, Sendable {
  /// Steps to try again.
  public var failedSteps: [String]

  /// A marker.
  public init(failedSteps: [String] = []) {
    self.failedSteps = failedSteps
  }

  /// One `failed NAME` a line.
  public func encoded() -> [UInt8] {
    Array(failedSteps.map { "failed \($0)\n" }.joined().utf8)
  }

  /// Lines that are not ours mean nothing.
  public init(decoding bytes: [UInt8]) {
    failedSteps = String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { line in
      line.hasPrefix("failed ") ? String(line.dropFirst(7)) : nil
    }
  }
}

/// The node phase, as decisions: marker first, then the lock, the marker again, the steps in order, the marker.
public struct NodePhase: Sendable {
  /// What happens to it.
  public enum Event: Sendable {
    /// Start.
    case begin
    /// The marker that was asked for; nil: there is none.
    case marker(Marker?)
    /// Marker or lock cannot be used: one sentence.
    case storeFailed(String)
    /// Another process has the lock; what it wrote into it.
    case lockBusy(holder: String)
    /// The lock is ours.
    case lockHeld
    /// The lock is not ours any more, though we did not release it.
    case lockLost
    /// The marker is durable.
    case written
    /// The lock is released.
    case unlocked
    /// A command of the current step ended.
    case commandEnded(CommandResult)
    /// The time of the last `schedule` has come.
    case timer
    /// The supervisor stops.
    case interrupt
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Read the marker; answer with `marker` or `storeFailed`.
    case read
    /// Make the marker durable; answer with `written` or `storeFailed`.
    case write(Marker)
    /// Take the lock; answer with `lockBusy` (at most once), then `lockHeld` or `storeFailed`.
    case lock
    /// Stop waiting for the lock.
    case abandonLock
    /// Release it; answer with `unlocked`.
    case unlock
    /// Run a command of this step; answer with `commandEnded`.
    case run(step: Int, StepCommand)
    /// Stop the command that runs.
    case stopCommand(step: Int)
    /// End the command that runs at once.
    case killCommand(step: Int)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// A step has begun.
    case stepBegan(step: Int)
    /// A step has ended; `skipped`: the marker covers it.
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
    /// Complete; `failedSteps` were skipped. `ran`: here and now.
    case done(ran: Bool, failedSteps: [String])
    /// A fatal step failed.
    case failed(step: String, reason: String)
    /// The lock did not become free in time.
    case timedOut(String)
    /// Marker or lock cannot be used.
    case storeUnusable(String)
    /// The lock was lost while a step ran.
    case lockLost
    /// The supervisor stops.
    case interrupted
  }

  private enum State: Sendable, Equatable {
    case idle
    case lookingBefore
    case locking
    case lookingInside
    case running(Int)
    case marking
    /// The command that runs is being killed; the phase ends after it.
    case killing(Outcome)
    case unlocking(Outcome)
    case finished
  }

  private let runID: RunID
  private let steps: [PhaseStep]
  private let timeout: Duration?
  private var state = State.idle
  private var runner: StepRunner?
  private var toRun: Set<String> = []
  private var failed: [String] = []
  private var waitBegan: MonotonicInstant?
  private var holder = ""
  private var holdsLock = false

  /// A phase that has not begun.
  /// - Parameter timeout: of waiting for the lock; nil: none.
  public init(runID: RunID, steps: [PhaseStep], timeout: Duration?) {
    self.runID = runID
    self.steps = steps
    self.timeout = timeout
  }

  /// Whether it is over, so that nothing of it runs and no lock is held.
  public var isFinished: Bool { state == .finished }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin:
      guard state == .idle else { return [] }
      if steps.isEmpty { return finish(.done(ran: false, failedSteps: [])) }
      state = .lookingBefore
      return [.read]
    case .marker(let marker): return look(at: marker, now: now)
    case .storeFailed(let reason): return storeFailed(reason)
    case .lockBusy(let holder):
      guard state == .locking else { return [] }
      self.holder = holder.isEmpty ? "another process" : holder
      waitBegan = now
      return wait(at: now)
    case .lockHeld:
      guard state == .locking else { return [.unlock] }
      holdsLock = true
      state = .lookingInside
      return [.unschedule, .read]
    case .lockLost: return lockLost()
    case .written:
      guard state == .marking else { return [] }
      return release(.done(ran: true, failedSteps: failed))
    case .unlocked:
      guard case .unlocking(let outcome) = state else { return [] }
      return finish(outcome)
    case .commandEnded(let result):
      if case .killing(let outcome) = state { return holdsLock ? release(outcome) : finish(outcome) }
      return feed(.commandEnded(result), at: now)
    case .timer:
      if state == .locking { return wait(at: now) }
      return feed(.timer, at: now)
    case .interrupt: return interrupt(at: now)
    }
  }

  private mutating func look(at marker: Marker?, now: MonotonicInstant) -> [Effect] {
    // A development run ID is the same for every release: its marker says nothing.
    let marker = runID.isDevelopment ? nil : marker
    let again = Set(marker?.failedSteps ?? [])
    let pending = steps.filter { marker == nil || again.contains($0.name) }
    switch state {
    case .lookingBefore:
      if pending.isEmpty { return finish(.done(ran: false, failedSteps: [])) }
      state = .locking
      return [.lock]
    case .lookingInside:
      if pending.isEmpty { return release(.done(ran: false, failedSteps: [])) }
      toRun = Set(pending.map(\.name))
      return next(after: -1, at: now)
    default: return []
    }
  }

  private mutating func wait(at now: MonotonicInstant) -> [Effect] {
    let waited = waitBegan.map { now - $0 } ?? .zero
    if let timeout, waited >= timeout {
      let reason = "waited \(waited.readable) for the node lock, held by \(holder)"
      return [.abandonLock] + finish(.timedOut(reason))
    }
    let next = min(timeout.map { $0 - waited } ?? .seconds(5), .seconds(5))
    return [
      .waiting(holder: holder),
      .note("waiting for \(holder) to finish the node phase (for \(waited.readable) now)"),
      .schedule(now + next),
    ]
  }

  private mutating func next(after index: Int, at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    var candidate = index + 1
    while candidate < steps.count, !toRun.contains(steps[candidate].name) {
      effects.append(.stepEnded(step: candidate, .done, attempts: 0, skipped: true))
      candidate += 1
    }
    guard candidate < steps.count else {
      state = .marking
      return effects + [.write(Marker(failedSteps: failed))]
    }
    state = .running(candidate)
    runner = StepRunner(step: steps[candidate])
    return effects + [.stepBegan(step: candidate)] + feed(.begin, at: now)
  }

  private mutating func feed(_ event: StepRunner.Event, at now: MonotonicInstant) -> [Effect] {
    guard case .running(let index) = state, var current = runner else { return [] }
    let inner = current.handle(event, at: now)
    runner = current
    var effects: [Effect] = []
    for effect in inner {
      switch effect {
      case .run(let command): effects.append(.run(step: index, command))
      case .stop: effects.append(.stopCommand(step: index))
      case .schedule(let deadline): effects.append(.schedule(deadline))
      case .unschedule: effects.append(.unschedule)
      case .note(let text): effects.append(.note(text))
      case .ended(let outcome):
        effects.append(.stepEnded(step: index, outcome, attempts: current.attempts, skipped: false))
        effects += stepEnded(index, outcome, at: now)
      }
    }
    return effects
  }

  private mutating func stepEnded(_ index: Int, _ outcome: StepOutcome, at now: MonotonicInstant) -> [Effect]
  {
    runner = nil
    switch outcome {
    case .done: return next(after: index, at: now)
    case .interrupted: return release(.interrupted)
    case .failed(let reason):
      if steps[index].isFatal { return release(.failed(step: steps[index].name, reason: reason)) }
      failed.append(steps[index].name)
      return [.note("node step \(steps[index].name) failed and is skipped (not fatal): \(reason)")]
        + next(after: index, at: now)
    }
  }

  /// Neither lock nor record can be relied on: no grace for the command, and nothing else before it is gone.
  private mutating func kill(_ index: Int, _ outcome: Outcome) -> [Effect] {
    let commandRuns = runner?.commandRuns ?? false
    runner = nil
    // Between two tries there is no command whose end could be waited for.
    guard commandRuns else { return holdsLock ? release(outcome) : finish(outcome) }
    state = .killing(outcome)
    return [.unschedule, .killCommand(step: index)]
  }

  private mutating func release(_ outcome: Outcome) -> [Effect] {
    state = .unlocking(outcome)
    return [.unschedule, .unlock]
  }

  private mutating func finish(_ outcome: Outcome) -> [Effect] {
    state = .finished
    holdsLock = false
    return [.unschedule, .finished(outcome)]
  }

  private mutating func interrupt(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .idle, .lookingBefore, .locking: return [.abandonLock] + finish(.interrupted)
    case .lookingInside: return release(.interrupted)
    case .running: return feed(.interrupt, at: now)
    case .marking, .killing, .unlocking, .finished: return []
    }
  }

  private mutating func lockLost() -> [Effect] {
    holdsLock = false
    switch state {
    case .running(let index): return kill(index, .lockLost)
    case .unlocking(let outcome): return finish(outcome)
    case .finished, .idle, .lookingBefore, .killing: return []
    case .locking, .lookingInside, .marking: return finish(.lockLost)
    }
  }

  private mutating func storeFailed(_ reason: String) -> [Effect] {
    switch state {
    case .finished, .killing: return []
    case .running(let index):
      return kill(index, .storeUnusable(reason))
    case .unlocking(let outcome): return finish(outcome)
    default:
      return holdsLock ? release(.storeUnusable(reason)) : [.abandonLock] + finish(.storeUnusable(reason))
    }
  }
}
