import AgentProtocol
import EventLoop

/// One thing that is waited for.
public struct Dependency: Hashable, Sendable {
  /// What is looked at.
  public var target: ProbeTarget
  /// How long it may take to come; nil: as long as the whole wait.
  public var timeout: Duration?
  /// Its name in messages, as in the settings.
  public var text: String

  /// A dependency of its parts.
  public init(target: ProbeTarget, timeout: Duration?, text: String) {
    self.target = target
    self.timeout = timeout
    self.text = text
  }
}

/// Waits for dependencies, all of them at once, each looked at again and again until it is there.
///
/// A value without I/O or a clock; `DependencyWaiter` performs the effects.
public struct DependencyWait: Sendable {
  /// One look at one dependency.
  public struct Attempt: Hashable, Sendable {
    /// Which dependency, by its place in the list.
    public var dependency: Int
    /// Counts from 1.
    public var number: Int
  }

  /// What happened.
  public enum Event: Sendable, Equatable {
    /// Begin.
    case start
    /// A look ended like this.
    case result(Attempt, ProbeOutcome)
    /// Nothing can be looked at, now or later.
    case unavailable(String)
    /// The scheduled time has come.
    case timer
  }

  /// What is to be done, in order.
  public enum Effect: Sendable, Equatable {
    /// Look at this, and tell how it ended.
    case probe(Attempt, ProbeTarget, timeout: Duration)
    /// The look is no longer of interest.
    case cancel(Attempt)
    /// Wake me at this time; replaces an earlier one.
    case schedule(MonotonicInstant)
    /// For the log: what came, and what is still missing.
    case say(String)
    /// It is over. Nothing follows.
    case finished(Outcome)
  }

  /// How the wait ended.
  public enum Outcome: Hashable, Sendable {
    /// Everything is there.
    case ready
    /// Something refused for good, or nothing can be looked at.
    case failed(String)
    /// Something did not come in time.
    case timedOut(String)
  }

  /// Between two looks, at first; doubled after each.
  static let firstDelay = Duration.milliseconds(250)
  /// Between two looks, at most: what comes is to be taken within a second.
  static let longestDelay = Duration.milliseconds(500)
  /// A look may take so long.
  static let probeTimeout = Duration.seconds(5)
  /// Whoever looks answers by itself; a look that is this much too late is given up.
  static let margin = Duration.seconds(10)
  /// How often it is said what is missing.
  static let sayEvery = Duration.seconds(5)

  private enum Stage: Sendable, Equatable {
    case idle(until: MonotonicInstant)
    case probing(lateAt: MonotonicInstant)
    case ready
  }

  private struct Entry: Sendable {
    let dependency: Dependency
    var stage: Stage
    var attempts = 0
    var delay = DependencyWait.firstDelay
    var endsAt: MonotonicInstant?
    var reason: String?
  }

  private let dependencies: [Dependency]
  private let timeout: Duration?
  private var entries: [Entry] = []
  private var startedAt = MonotonicInstant(nanoseconds: 0)
  private var sayAt = MonotonicInstant(nanoseconds: 0)
  private var hasComplained = false

  /// How it ended; nil while it goes on, or has not begun.
  public private(set) var outcome: Outcome?

  /// A wait for all of these.
  /// - Parameter timeout: for the whole; nil waits for ever.
  public init(_ dependencies: [Dependency], timeout: Duration?) {
    self.dependencies = dependencies
    self.timeout = timeout
  }

  /// What is missing, each with the reason as far as it is known; for status pages.
  public var missing: [String] {
    entries.filter { $0.stage != .ready }.map(Self.describe)
  }

  /// Takes in what happened, and says what to do.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    guard outcome == nil else { return [] }
    var effects: [Effect] = []
    switch event {
    case .start:
      guard entries.isEmpty else { return [] }
      startedAt = now
      sayAt = now + Self.sayEvery
      entries = dependencies.map { dependency in
        let own = dependency.timeout.map { now + $0 }
        return Entry(dependency: dependency, stage: .idle(until: now), endsAt: own)
      }
    case .result(let attempt, let result):
      effects = take(result, of: attempt, now)
    case .unavailable(let reason):
      return finish(.failed(reason))
    case .timer: break
    }
    if outcome == nil { effects += proceed(now) }
    return effects
  }

  // MARK: Looks

  private mutating func take(_ result: ProbeOutcome, of attempt: Attempt, _ now: MonotonicInstant) -> [Effect]
  {
    let index = attempt.dependency
    guard entries.indices.contains(index), entries[index].attempts == attempt.number,
      case .probing = entries[index].stage
    else { return [] }
    switch result {
    case .ready:
      entries[index].stage = .ready
      // Whoever was told that it is missing is told that it came.
      return hasComplained ? [.say("\(entries[index].dependency.text) is there, after \(waited(now))")] : []
    case .notYet(let reason):
      rest(index, reason, now)
      return []
    case .refused(let reason):
      rest(index, reason, now)
      return finish(.failed("\(Self.named(entries[index].dependency, reason)): waiting will not change that"))
    }
  }

  private mutating func rest(_ index: Int, _ reason: String, _ now: MonotonicInstant) {
    entries[index].reason = reason
    entries[index].stage = .idle(until: now + entries[index].delay)
    entries[index].delay = min(entries[index].delay * 2, Self.longestDelay)
  }

  private mutating func proceed(_ now: MonotonicInstant) -> [Effect] {
    if entries.allSatisfy({ $0.stage == .ready }) { return finish(.ready) }
    if let late = entries.firstIndex(where: { $0.stage != .ready && $0.endsAt.map { $0 <= now } == true }) {
      let time = entries[late].dependency.timeout ?? .zero
      return finish(.timedOut("waited \(time.readable) for \(Self.describe(entries[late]))"))
    }
    if let timeout, startedAt + timeout <= now {
      let list = missing.joined(separator: "; ")
      return finish(.timedOut("waited \(timeout.readable) for \(list)"))
    }
    var effects: [Effect] = []
    for index in entries.indices {
      if case .probing(let lateAt) = entries[index].stage, lateAt <= now {
        effects.append(.cancel(Attempt(dependency: index, number: entries[index].attempts)))
        rest(index, "the agent did not answer", now)
      }
      if case .idle(let until) = entries[index].stage, until <= now { effects.append(probe(index, now)) }
    }
    if sayAt <= now {
      hasComplained = true
      sayAt = now + Self.sayEvery
      effects.append(.say("still waiting after \(waited(now)) for \(missing.joined(separator: "; "))"))
    }
    return effects + [.schedule(nextTime())]
  }

  private mutating func probe(_ index: Int, _ now: MonotonicInstant) -> Effect {
    entries[index].attempts += 1
    // The last look ends just before the wait, so that its reason is known by then.
    let ends = [entries[index].endsAt, timeout.map { startedAt + $0 }].compactMap { $0 }
    let left = ends.map { $0 - now - .milliseconds(100) }.min() ?? Self.probeTimeout
    let time = max(min(left, Self.probeTimeout), .milliseconds(10))
    entries[index].stage = .probing(lateAt: now + time + Self.margin)
    return .probe(
      Attempt(dependency: index, number: entries[index].attempts), entries[index].dependency.target,
      timeout: time)
  }

  private func nextTime() -> MonotonicInstant {
    var times = [sayAt]
    if let timeout { times.append(startedAt + timeout) }
    for entry in entries {
      switch entry.stage {
      case .ready: continue
      case .idle(let until): times.append(until)
      case .probing(let lateAt): times.append(lateAt)
      }
      if let ends = entry.endsAt { times.append(ends) }
    }
    return times.min() ?? sayAt
  }

  // MARK: The end

  private mutating func finish(_ outcome: Outcome) -> [Effect] {
    self.outcome = outcome
    var effects: [Effect] = []
    for (index, entry) in entries.enumerated() {
      if case .probing = entry.stage {
        effects.append(.cancel(Attempt(dependency: index, number: entry.attempts)))
      }
    }
    return effects + [.finished(outcome)]
  }

  private func waited(_ now: MonotonicInstant) -> String {
    // In tenths, or a slow turn of the loop would show in every line.
    let tenths = (now - startedAt).wholeNanoseconds / 100_000_000
    return Duration.milliseconds(tenths * 100).readable
  }

  private static func describe(_ entry: Entry) -> String {
    named(entry.dependency, entry.reason ?? "no answer yet")
  }

  private static func named(_ dependency: Dependency, _ reason: String) -> String {
    "\(dependency.text) (\(reason))"
  }
}
