import EventLoop

/// The life of one supervised process (the app or a service) as decisions: start, run, restart, stop.
///
/// It knows no clock, no process and no randomness: whoever owns it feeds events and performs effects. Each start is
/// an incarnation; what arrives about an earlier one is the owner's to drop.
public struct SupervisedProcess: Sendable {
  /// Where it is in its life.
  public enum State: Sendable, Equatable {
    /// Not started yet.
    case idle
    /// Between clone and exec.
    case starting
    /// Its program runs.
    case running(since: MonotonicInstant)
    /// Being stopped, with its group.
    case stopping
    /// Waits for its next start.
    case backingOff(until: MonotonicInstant)
    /// Ended on request, and stays so until started on request.
    case stopped
    /// Ended by itself, and its policy wants no restart.
    case completed
    /// Could not be started, or ended too often.
    case failed
  }

  /// Why it is being stopped.
  public enum StopReason: Sendable, Equatable {
    /// The whole supervisor stops.
    case shutdown
    /// `supervisor stop`.
    case command
    /// `supervisor restart`: it is started again at once.
    case restart
    /// It ended by itself; those it left in its group go before anything else happens.
    case remains
  }

  /// How its life ended, as far as it decides by itself.
  public enum Ending: Sendable, Equatable {
    /// By its own doing, and the policy is content.
    case completed(ExitStatus)
    /// It ended too often.
    case gaveUp(ExitStatus?)
    /// Its program cannot be started, and trying again cannot help.
    case unstartable(SpawnFailure)
  }

  /// What happens to it.
  public enum Event: Sendable, Equatable {
    /// Start it.
    case start
    /// The kernel gave a process of this number.
    case spawned(pid: CInt)
    /// Its program runs.
    case started
    /// There is no process, or it did not get as far as its program.
    case startFailed(SpawnFailure)
    /// It ended. `groupIsEmpty`: nobody is left in its group.
    case ended(ExitStatus, groupIsEmpty: Bool)
    /// After the leader's end: is anybody left in its group?
    case groupLooked(isEmpty: Bool)
    /// The time of the last `schedule` has come.
    case timer
    /// Stop it, at the latest by the deadline.
    case stop(StopReason, deadline: MonotonicInstant?)
    /// End it now.
    case kill
  }

  /// What is to be done for it.
  public enum Effect: Sendable, Equatable {
    /// Spawn its program; answer with `spawned` or `startFailed`, later `started` or `startFailed`.
    case spawn(incarnation: Int)
    /// Send to the leader.
    case signalLeader(Signal)
    /// Send to everybody in the group.
    case signalGroup(Signal)
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// It is gone, with its group, after a stop. `forced`: KILL had to be used; `unkillable`: even that failed.
    case stopped(StopReason, forced: Bool, unkillable: Bool)
    /// It ended by itself and will be started again after the delay.
    case willRestart(ExitStatus?, after: Duration)
    /// It ended for good, by itself.
    case ended(Ending)
  }

  /// When to start again.
  public let restartPolicy: RestartPolicy
  /// How to stop.
  public let stopPolicy: StopPolicy
  /// Where it is.
  public private(set) var state = State.idle
  /// The leader, from the spawn until it is reaped.
  public private(set) var pid: CInt?
  /// The process group, from the spawn until nobody is left in it.
  public private(set) var group: CInt?
  /// How many times it has been spawned.
  public private(set) var incarnation = 0
  /// Starts that followed an end nobody asked for.
  public private(set) var restarts = 0
  /// How it ended last.
  public private(set) var lastStatus: ExitStatus?
  /// Why it could not be started last.
  public private(set) var lastFailure: SpawnFailure?

  private var history = RestartPolicy.History()
  private var sequence: StopSequence?
  private var reason = StopReason.command
  private var runStart: MonotonicInstant?
  /// How long the last run was; the end of what it left behind is no part of it.
  private var lastRun = Duration.zero
  private var random: SplitMix64
  private var restartsAfterStop = false

  /// A process that has not been started.
  /// - Parameter seed: of its jitter.
  public init(restartPolicy: RestartPolicy, stopPolicy: StopPolicy, seed: UInt64) {
    self.restartPolicy = restartPolicy
    self.stopPolicy = stopPolicy
    random = SplitMix64(state: seed)
  }

  /// Whether a process of it exists, or may.
  public var isAlive: Bool {
    switch state {
    case .starting, .running, .stopping: return true
    case .idle, .backingOff, .stopped, .completed, .failed: return false
    }
  }

  /// Whether a stop that somebody asked for is under way.
  public var isStoppingOnRequest: Bool {
    state == .stopping && reason != .remains
  }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .start: return start(at: now)
    case .spawned(let newPID):
      pid = newPID
      group = newPID
      // A stop that came before there was a number had nobody to signal.
      guard let sequence else { return [] }
      return sequence.wasForced
        ? [.signalLeader(.kill)] : [.signalLeader(stopPolicy.signal), .signalLeader(.resume)]
    case .started:
      // A stop may have come first; then the sequence goes on with the program.
      if state == .starting { state = .running(since: now) }
      runStart = now
      return []
    case .startFailed(let failure): return startFailed(failure, at: now)
    case .ended(let status, let groupIsEmpty): return ended(status, groupIsEmpty: groupIsEmpty, at: now)
    case .groupLooked(let isEmpty):
      if isEmpty, pid == nil { group = nil }
      return feed(.groupLooked(isEmpty: isEmpty), at: now)
    case .timer:
      switch state {
      case .backingOff(let until):
        if now < until { return [.schedule(until)] }
        restarts += 1
        return spawn()
      default: return feed(.timer, at: now)
      }
    case .stop(let reason, let deadline): return stop(reason, deadline: deadline, at: now)
    case .kill: return feed(.kill, at: now)
    }
  }

  private mutating func start(at now: MonotonicInstant) -> [Effect] {
    switch state {
    case .idle, .stopped, .completed, .failed:
      history = RestartPolicy.History()
      return spawn()
    case .backingOff:
      return [.unschedule] + spawn()
    case .stopping:
      if reason != .shutdown { restartsAfterStop = true }
      return []
    case .starting, .running: return []
    }
  }

  private mutating func spawn() -> [Effect] {
    incarnation += 1
    state = .starting
    lastFailure = nil
    runStart = nil
    return [.spawn(incarnation: incarnation)]
  }

  private mutating func startFailed(_ failure: SpawnFailure, at now: MonotonicInstant) -> [Effect] {
    let wasStopping = state == .stopping
    pid = nil
    group = nil
    sequence = nil
    lastFailure = failure
    if wasStopping { return conclude(forced: false, unkillable: false, at: now) }
    guard failure.isTemporary else {
      state = .failed
      return [.unschedule, .ended(.unstartable(failure))]
    }
    return decide(nil, ranFor: .zero, at: now)
  }

  private mutating func ended(_ status: ExitStatus, groupIsEmpty: Bool, at now: MonotonicInstant) -> [Effect]
  {
    pid = nil
    lastStatus = status
    lastRun = runStart.map { now - $0 } ?? .zero
    if groupIsEmpty { group = nil }
    if sequence != nil { return feed(.leaderEnded(groupIsEmpty: groupIsEmpty), at: now) }
    // With `kill: leader` the rest of the group is nobody's to stop.
    if groupIsEmpty || stopPolicy.killTarget == .leader { return decide(status, ranFor: lastRun, at: now) }
    // Workers that lost their master may still hold its port: they go before a successor comes.
    reason = .remains
    state = .stopping
    return begin(leaderIsGone: true, deadline: nil, at: now)
  }

  private mutating func decide(_ status: ExitStatus?, ranFor: Duration, at now: MonotonicInstant) -> [Effect]
  {
    let decision = restartPolicy.decide(
      after: status, ranFor: ranFor, at: now, random: random.nextUnit(), history: &history)
    switch decision {
    case .restart(let delay):
      state = .backingOff(until: now + delay)
      return [.willRestart(status, after: delay), .schedule(now + delay)]
    case .complete:
      guard let status else {
        state = .failed
        return [.unschedule, .ended(lastFailure.map { .unstartable($0) } ?? .gaveUp(nil))]
      }
      state = .completed
      return [.unschedule, .ended(.completed(status))]
    case .giveUp:
      state = .failed
      return [.unschedule, .ended(.gaveUp(status ?? lastStatus))]
    }
  }

  private mutating func stop(
    _ newReason: StopReason, deadline: MonotonicInstant?, at now: MonotonicInstant
  ) -> [Effect] {
    switch state {
    case .idle, .stopped, .completed, .failed:
      if newReason == .restart { return start(at: now) }
      if state == .idle || newReason == .command { state = .stopped }
      return [.stopped(newReason, forced: false, unkillable: false)]
    case .backingOff:
      if newReason == .restart { return start(at: now) }
      state = .stopped
      return [.unschedule, .stopped(newReason, forced: false, unkillable: false)]
    case .stopping:
      // A shutdown overrules what was asked for before; nothing overrules a shutdown.
      if reason != .shutdown { reason = newReason }
      restartsAfterStop = false
      return deadline.map { feed(.shorten(deadline: $0), at: now) } ?? []
    case .starting, .running:
      reason = newReason
      state = .stopping
      return begin(leaderIsGone: false, deadline: deadline, at: now)
    }
  }

  private mutating func begin(
    leaderIsGone: Bool, deadline: MonotonicInstant?, at now: MonotonicInstant
  ) -> [Effect] {
    let (sequence, effects) = StopSequence.begin(
      stopPolicy, leaderIsGone: leaderIsGone, at: now, deadline: deadline)
    self.sequence = sequence
    return effects.compactMap(translate)
  }

  private mutating func feed(_ event: StopSequence.Event, at now: MonotonicInstant) -> [Effect] {
    guard var current = sequence else { return [] }
    let effects = current.handle(event, at: now)
    sequence = current
    for case .finished(let unkillable) in effects {
      sequence = nil
      return effects.compactMap(translate)
        + conclude(forced: current.wasForced, unkillable: unkillable, at: now)
    }
    return effects.compactMap(translate)
  }

  private func translate(_ effect: StopSequence.Effect) -> Effect? {
    switch effect {
    case .signalLeader(let signal): return .signalLeader(signal)
    case .signalGroup(let signal): return .signalGroup(signal)
    case .schedule(let deadline): return .schedule(deadline)
    case .finished: return nil
    }
  }

  private mutating func conclude(forced: Bool, unkillable: Bool, at now: MonotonicInstant) -> [Effect] {
    if !unkillable { group = nil }
    let reason = self.reason
    if reason == .remains {
      if restartsAfterStop {
        restartsAfterStop = false
        return [.unschedule] + spawn()
      }
      return [.unschedule] + decide(lastStatus ?? .exited(0), ranFor: lastRun, at: now)
    }
    state = .stopped
    let told: [Effect] = [.unschedule, .stopped(reason, forced: forced, unkillable: unkillable)]
    guard reason == .restart || restartsAfterStop else { return told }
    restartsAfterStop = false
    return told + spawn()
  }
}

/// A small seeded generator (SplitMix64, Steele, Lea and Flood, 2014), so that jitter can be replayed.
struct SplitMix64: Sendable {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }

  /// A number from -1 to 1.
  mutating func nextUnit() -> Double {
    Double(next() >> 11) / Double(1 << 52) - 1
  }
}
