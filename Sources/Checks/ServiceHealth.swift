import EventLoop

/// Whether a process answers its check: decides when to check, and what the results mean.
///
/// Rules:
/// - A result counts only for the run it belongs to, and a run belongs to one incarnation of the process: an answer
///   that an earlier process still gave says nothing about the present one.
/// - Runs never overlap. There is one timer: between runs it starts the next, during a run it ends one that nobody
///   ended.
/// - In the start period failures are not counted. A first pass, or its time, ends it.
/// - In the start period the first run is at once, and each pause is a quarter of the time since the start (at least
///   100 ms, at most the interval), so that an app is seen to be up at most a quarter later than it is.
/// - A check that could not run counts neither way. So does one that was overdue because we did not run ourselves
///   (stopped, frozen, starved), and such time is added to the start period.
public struct ServiceHealth: Sendable {
  /// Counts the starts of one service; every start has a number that no other start of it has.
  public typealias Incarnation = UInt64

  /// What is known about a service.
  public enum State: Hashable, Sendable {
    /// It is not running.
    case none
    /// It runs, and there is no verdict yet.
    case unknown
    /// It runs and passes its check, or has none.
    case healthy
    /// It runs and fails its check, for this reason.
    case unhealthy(String)
  }

  /// One run of the check.
  public struct Run: Hashable, Sendable {
    /// The start of the process that is checked.
    public let incarnation: Incarnation
    /// Tells the runs of one `ServiceHealth` apart.
    public let serial: UInt64
  }

  /// What happened.
  public enum Event: Hashable, Sendable {
    /// The process was spawned.
    case started(Incarnation)
    /// The process has ended, or is being stopped: its health is of no interest any more.
    case stopped
    /// The time given in the last `scheduleTimer` has come.
    case timer
    /// A run has ended.
    case result(Run, CheckOutcome)
  }

  /// What is to be done about it, in this order.
  public enum Effect: Hashable, Sendable {
    /// Run the check once and report a `result`, by the timeout at the latest. Always the last effect of an event, so
    /// a result may be reported while it is performed.
    case probe(Run, timeout: Duration)
    /// End this run, its processes with it; a result that comes nevertheless is not counted.
    case cancelProbe(Run)
    /// Set the one timer, in place of what it was set to before.
    case scheduleTimer(MonotonicInstant)
    /// Clear the one timer.
    case cancelTimer
    /// The state is another one now (a new reason for the same verdict is no change).
    case changed(from: State, to: State, reason: String)
  }

  private enum Phase {
    case idle
    case waiting(until: MonotonicInstant)
    case probing(Run, started: MonotonicInstant)
  }

  /// How much later than its timeout a run is ended from here when the probe itself did not report.
  static let reportingGrace: Duration = .milliseconds(250)
  static let shortestPause: Duration = .milliseconds(100)

  /// The check; nil when the service has none.
  public let definition: CheckDefinition?
  /// What is known about the service.
  public private(set) var state: State = .none
  /// How the last run of this incarnation that counted, or could not run, ended; nil before the first.
  public private(set) var lastOutcome: CheckOutcome?
  /// When the verdict became what it is.
  public private(set) var since: MonotonicInstant?
  /// The present start of the process; nil when it is not running.
  public private(set) var incarnation: Incarnation?

  private var phase = Phase.idle
  private var startedAt = MonotonicInstant(nanoseconds: 0)
  /// Nil once it is over.
  private var startPeriodEnd: MonotonicInstant?
  private var failuresInRow = 0
  private var passesInRow = 0
  private var lastSerial: UInt64 = 0

  /// The health of a service that is not running yet. Without a definition it is healthy as soon as it runs.
  public init(definition: CheckDefinition?) {
    self.definition = definition
  }

  /// Whether the service may count as ready.
  public var isHealthy: Bool { state == .healthy }

  /// The state in a few words, for a page or a log line: `healthy`, `starting; last check: connection refused at …`.
  public var summary: String {
    switch state {
    case .none: return "not running"
    case .healthy: return definition == nil ? "running" : "healthy"
    case .unhealthy(let reason): return "unhealthy: \(reason)"
    case .unknown:
      switch lastOutcome {
      case nil: return "starting; not checked yet"
      case .passed: return "starting; last check: passed"
      case .failed(let reason): return "starting; last check: \(reason)"
      case .couldNotRun(let reason): return "starting; last check could not run: \(reason)"
      }
    }
  }

  /// Takes an event and says what to do about it. `now` must not run backwards.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .started(let incarnation): started(incarnation, at: now)
    case .stopped: stopped(at: now)
    case .timer: timerFired(at: now)
    case .result(let run, let outcome): ended(run, outcome, at: now)
    }
  }

  private mutating func started(_ new: Incarnation, at now: MonotonicInstant) -> [Effect] {
    if incarnation == new { return [] }
    var effects = endActivity()
    incarnation = new
    lastOutcome = nil
    failuresInRow = 0
    passesInRow = 0
    startedAt = now
    guard let definition else {
      return effects + change(to: .healthy, "running; no check is defined", at: now)
    }
    startPeriodEnd = definition.startPeriod > .zero ? now + definition.startPeriod : nil
    effects += change(to: .unknown, "started; not checked yet", at: now)
    return effects + beginRun(definition, at: now)
  }

  private mutating func stopped(at now: MonotonicInstant) -> [Effect] {
    let effects = endActivity()
    incarnation = nil
    lastOutcome = nil
    return effects + change(to: .none, "not running", at: now)
  }

  private mutating func timerFired(at now: MonotonicInstant) -> [Effect] {
    guard let definition else { return [] }
    switch phase {
    case .idle:
      return []
    case .waiting(let due):
      // A timer that was set before the present one may still be delivered.
      if now < due { return [.scheduleTimer(due)] }
      excuseAbsence(from: due, to: now)
      return beginRun(definition, at: now)
    case .probing(let run, let start):
      let deadline = start + (definition.timeout + ServiceHealth.reportingGrace)
      if now < deadline { return [.scheduleTimer(deadline)] }
      let outcome = CheckOutcome.failed("no result within \(definition.timeout.readable)")
      return [.cancelProbe(run)] + ended(run, outcome, at: now)
    }
  }

  private mutating func ended(_ run: Run, _ outcome: CheckOutcome, at now: MonotonicInstant) -> [Effect] {
    guard let definition, case .probing(run, let start) = phase else { return [] }
    let deadline = start + definition.timeout
    var outcome = outcome
    // A pass is a pass, however late it is read; a failure that was noticed long after its time is our own absence.
    if case .failed = outcome, excuseAbsence(from: deadline, to: now) {
      outcome = .couldNotRun(
        "its time ended while this supervisor was not running (\((now - deadline).readable) ago)")
    }
    lastOutcome = outcome
    var effects: [Effect] = []
    switch outcome {
    case .passed:
      startPeriodEnd = nil
      failuresInRow = 0
      passesInRow += 1
      if passesInRow >= definition.successes { effects += change(to: .healthy, "check passed", at: now) }
    case .failed(let reason):
      passesInRow = 0
      // By the start of the run: one that began in the start period is a part of it.
      if !isInStartPeriod(at: start) {
        failuresInRow += 1
        if failuresInRow >= definition.failures { effects += change(to: .unhealthy(reason), reason, at: now) }
      }
    case .couldNotRun:
      break
    }
    let next = now + pause(definition, at: now)
    phase = .waiting(until: next)
    return effects + [.scheduleTimer(next)]
  }

  private mutating func beginRun(_ definition: CheckDefinition, at now: MonotonicInstant) -> [Effect] {
    guard let incarnation else { return [] }
    lastSerial += 1
    let run = Run(incarnation: incarnation, serial: lastSerial)
    phase = .probing(run, started: now)
    // The timer is set a little after the timeout: the probe knows better than we do what it was waiting for.
    return [
      .scheduleTimer(now + (definition.timeout + ServiceHealth.reportingGrace)),
      .probe(run, timeout: definition.timeout),
    ]
  }

  /// Stops what goes on for the present incarnation.
  private mutating func endActivity() -> [Effect] {
    defer {
      phase = .idle
      startPeriodEnd = nil
    }
    switch phase {
    case .idle: return []
    case .waiting: return [.cancelTimer]
    case .probing(let run, _): return [.cancelProbe(run), .cancelTimer]
    }
  }

  private mutating func change(to new: State, _ reason: String, at now: MonotonicInstant) -> [Effect] {
    let old = state
    state = new
    switch (old, new) {
    case (.none, .none), (.unknown, .unknown), (.healthy, .healthy), (.unhealthy, .unhealthy): return []
    default:
      since = now
      return [.changed(from: old, to: new, reason: reason)]
    }
  }

  private func isInStartPeriod(at moment: MonotonicInstant) -> Bool {
    guard let startPeriodEnd else { return false }
    return moment < startPeriodEnd
  }

  private func pause(_ definition: CheckDefinition, at now: MonotonicInstant) -> Duration {
    // Outside the start period the thresholds are meant in intervals, so the quick pace ends with it.
    guard state == .unknown, passesInRow > 0 || isInStartPeriod(at: now) else { return definition.interval }
    return min(max((now - startedAt) / 4, ServiceHealth.shortestPause), definition.interval)
  }

  /// Whether we come so late to `due` that we cannot have been running; such time is no part of the start period.
  @discardableResult
  private mutating func excuseAbsence(from due: MonotonicInstant, to now: MonotonicInstant) -> Bool {
    guard let definition else { return false }
    let lateness = now - due
    guard lateness > max(definition.timeout / 4, ServiceHealth.reportingGrace * 2) else { return false }
    if let end = startPeriodEnd { startPeriodEnd = end + lateness }
    return true
  }
}
