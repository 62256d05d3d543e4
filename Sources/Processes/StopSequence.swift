import EventLoop

/// How a process is stopped.
public struct StopPolicy: Sendable, Equatable {
  /// Whom the final KILL is for.
  public enum KillTarget: Sendable, Equatable {
    /// The leader and everybody in its process group.
    case group
    /// The leader alone.
    case leader
  }

  /// The signal that asks it to stop; to the leader only, so that graceful masters can end their workers in order.
  public var signal: Signal
  /// From that signal to KILL.
  public var timeout: Duration
  /// Whom the final KILL is for.
  public var killTarget: KillTarget

  /// A way to stop.
  public init(
    signal: Signal = .terminate, timeout: Duration = .seconds(30), killTarget: KillTarget = .group
  ) {
    self.signal = signal
    self.timeout = timeout
    self.killTarget = killTarget
  }
}

/// The stop of one process and its group, decided step by step: stop signal to the leader, CONT (a stopped process
/// cannot obey otherwise), the grace, KILL; and the wait until the whole group is gone.
public struct StopSequence: Sendable, Equatable {
  /// What it is told.
  public enum Event: Sendable, Equatable {
    /// The leader has been reaped. `groupIsEmpty`: nobody else is in its group.
    case leaderEnded(groupIsEmpty: Bool)
    /// Some child ended after the leader.
    case groupLooked(isEmpty: Bool)
    /// The time of the last `schedule` has come.
    case timer
    /// No more grace.
    case kill
    /// A shorter grace than before.
    case shorten(deadline: MonotonicInstant)
  }

  /// What it wants done.
  public enum Effect: Sendable, Equatable {
    /// Send to the leader.
    case signalLeader(Signal)
    /// Send to everybody in the group.
    case signalGroup(Signal)
    /// Come back at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// All are gone, or, `unkillable`, KILL did not end them within two seconds (uninterruptible sleep).
    case finished(unkillable: Bool)
  }

  private enum Step: Sendable, Equatable {
    case grace
    case killing
    case finished
  }

  private let policy: StopPolicy
  private var step = Step.grace
  private var leaderIsGone = false
  private var deadline: MonotonicInstant
  /// Whether KILL had to be used.
  public private(set) var wasForced = false

  /// How long KILL may take before we go on without the process.
  public static let unkillableAfter = Duration.seconds(2)

  /// A sequence and its first effects.
  /// - Parameters:
  ///   - leaderIsGone: the leader ended by itself, and only others of its group are left.
  ///   - deadline: no grace beyond this, whatever the policy says.
  public static func begin(
    _ policy: StopPolicy, leaderIsGone: Bool, at now: MonotonicInstant, deadline: MonotonicInstant?
  ) -> (StopSequence, [Effect]) {
    let graceEnd = now + policy.timeout
    let sequence = StopSequence(
      policy: policy, leaderIsGone: leaderIsGone, deadline: deadline.map { min($0, graceEnd) } ?? graceEnd)
    let signals: [Effect] =
      leaderIsGone
      ? [.signalGroup(.terminate), .signalGroup(.resume)]
      : [.signalLeader(policy.signal), .signalLeader(.resume)]
    return (sequence, signals + [.schedule(sequence.deadline)])
  }

  private init(policy: StopPolicy, leaderIsGone: Bool, deadline: MonotonicInstant) {
    self.policy = policy
    self.leaderIsGone = leaderIsGone
    self.deadline = deadline
  }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    if step == .finished { return [] }
    switch event {
    case .leaderEnded(let groupIsEmpty):
      leaderIsGone = true
      if groupIsEmpty || policy.killTarget == .leader { return finish(unkillable: false) }
      // Those left have lost their master: nobody else will tell them.
      if step == .grace { return [.signalGroup(.terminate), .signalGroup(.resume)] }
      return [.signalGroup(.kill)]
    case .groupLooked(let isEmpty):
      return leaderIsGone && isEmpty ? finish(unkillable: false) : []
    case .kill:
      return step == .grace ? kill(at: now) : []
    case .shorten(let earlier):
      guard step == .grace, earlier < deadline else { return [] }
      deadline = earlier
      return [.schedule(earlier)]
    case .timer:
      if now < deadline { return [.schedule(deadline)] }
      return step == .grace ? kill(at: now) : finish(unkillable: true)
    }
  }

  private mutating func kill(at now: MonotonicInstant) -> [Effect] {
    step = .killing
    wasForced = true
    deadline = now + StopSequence.unkillableAfter
    var effects: [Effect] = leaderIsGone ? [] : [.signalLeader(.kill)]
    if policy.killTarget == .group { effects.append(.signalGroup(.kill)) }
    return effects + [.schedule(deadline)]
  }

  private mutating func finish(unkillable: Bool) -> [Effect] {
    step = .finished
    return [.finished(unkillable: unkillable)]
  }
}
