import EventLoop
import ReleaseRecords

/// What keeps the steps of one complete phase done while the app runs: their checks (`recheck: 60s`) and their
/// repetition (`every: 12h`), as decisions.
///
/// A check runs here and without a lock; what it finds missing, and what is due, is an errand of the phase, which takes
/// the lock and looks again. One errand at a time.
public struct Upkeep: Sendable {
  /// What happens to it.
  public enum Event: Sendable {
    /// The phase is complete. What its steps gave to later ones, and the steps that were skipped after a failure.
    case begin([StepOutput], failedSteps: [String])
    /// Whether this node is the primary, from now on.
    case primary(Bool)
    /// The time of the last `schedule` of this chore has come.
    case timer(chore: Int)
    /// The check of this step ended.
    case commandEnded(step: Int, CommandResult)
    /// The errand has come to its end.
    case errandEnded(ErrandResult)
    /// No more of it: the supervisor stops.
    case end
  }

  /// How an errand ended.
  public enum ErrandResult: Equatable, Sendable {
    /// The step was done here and now.
    case done
    /// There was nothing to do: it is done, or not yet due, and was recorded so long ago; or the release is not ready.
    case notNeeded(age: Duration?)
    /// It failed.
    case failed(String)
    /// Lock or record could not be had.
    case unsettled(String)
    /// It was stopped.
    case interrupted
  }

  /// What is to be done.
  public enum Effect: Equatable, Sendable {
    /// Run the check of this step; answer with `commandEnded`.
    case check(step: Int, [StepOutput])
    /// Stop that check.
    case stopCheck(step: Int)
    /// Feed `timer` at this time; replaces an earlier wish for this chore.
    case schedule(chore: Int, MonotonicInstant)
    /// No timer is wanted for this chore any more.
    case unschedule(chore: Int)
    /// Begin this errand; answer with `errandEnded`.
    case begin(Errand)
    /// Stop it; it still answers.
    case stopErrand
    /// The check of this step has begun to fail, or passes again (nil).
    case changed(step: Int, failure: String?)
    /// What became of an errand is worth a warning.
    case warning(step: Int, String)
  }

  private enum Kind: Equatable, Sendable {
    case recheck(Duration)
    case repetition(Duration)
  }

  private enum State: Equatable, Sendable {
    /// Not begun, or, of a repetition, another node's matter.
    case idle
    /// For its time.
    case waiting
    case checking
    /// For other errands.
    case queued
    /// Its errand is under way.
    case underway
  }

  private struct Chore: Sendable {
    let step: Int
    let kind: Kind
    var state = State.idle
    var runner: StepRunner?
    /// In a row, of a repetition.
    var failures = 0
  }

  /// From a repair by another node to the check that says whether it helped here.
  static let shortly = Duration.seconds(1)
  /// From a repetition that has to wait for the release to be ready to the next look.
  static let unreadyPause = Duration.seconds(60)

  private let steps: [PhaseStep]
  private let rules: InfrastructureRules
  private let needsPrimary: Bool
  private var chores: [Chore]
  private var queue: [Int] = []
  private var outputs: [StepOutput] = []
  private var hasBegun = false
  private var isOver = false
  private var isPrimary = false
  private var random: UInt64
  /// Why the check of a step fails, by step.
  public private(set) var failures: [Int: String] = [:]

  /// The upkeep of a phase, not begun.
  /// - Parameters:
  ///   - rules: for the pause after a failed repetition.
  ///   - needsPrimary: whether only the primary repeats steps.
  ///   - seed: of the jitter that keeps the checks of many nodes apart.
  public init(steps: [PhaseStep], rules: InfrastructureRules, needsPrimary: Bool, seed: UInt64) {
    self.steps = steps
    self.rules = rules
    self.needsPrimary = needsPrimary
    random = seed
    chores = steps.indices.flatMap { index -> [Chore] in
      let step = steps[index]
      var found: [Chore] = []
      if let interval = step.rechecksAfter, step.hasCheck {
        found.append(Chore(step: index, kind: .recheck(interval)))
      }
      if let interval = step.repeatsAfter { found.append(Chore(step: index, kind: .repetition(interval))) }
      return found
    }
  }

  /// Whether neither a check nor an errand runs.
  public var isQuiet: Bool { !chores.contains { $0.state == .checking || $0.state == .underway } }

  /// Whether the command that runs for this step is its check, by our wish.
  public func isChecking(_ step: Int) -> Bool {
    chores.contains { $0.step == step && $0.state == .checking }
  }

  /// The steps whose check decides whether the node is ready.
  public var decisiveSteps: [Int] {
    steps.indices.filter { steps[$0].affectsReady && steps[$0].rechecksAfter != nil && steps[$0].hasCheck }
  }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .begin(let outputs, let failedSteps): return begin(outputs, failedSteps: failedSteps, at: now)
    case .primary(let isPrimary): return primary(isPrimary, at: now)
    case .timer(let chore): return timer(chore, at: now)
    case .commandEnded(let step, let result):
      guard let chore = chores.firstIndex(where: { $0.step == step && $0.state == .checking }) else {
        return []
      }
      return feedCheck(chore, .commandEnded(result), at: now)
    case .errandEnded(let result): return errandEnded(result, at: now)
    case .end: return end(at: now)
    }
  }

  private mutating func begin(
    _ outputs: [StepOutput], failedSteps: [String], at now: MonotonicInstant
  ) -> [Effect] {
    guard !hasBegun, !isOver else { return [] }
    hasBegun = true
    self.outputs = outputs
    for step in decisiveSteps where failedSteps.contains(steps[step].name) {
      failures[step] = "it failed at the start"
    }
    return chores.indices.flatMap { chore -> [Effect] in
      switch chores[chore].kind {
      case .recheck(let interval):
        // What was skipped after a failure is looked at again at once; the rest has just been checked, or run.
        let isFailed = failedSteps.contains(steps[chores[chore].step].name)
        return wait(chore, isFailed ? .zero : spread(interval), at: now)
      case .repetition: return mayRepeat ? want(chore) : []
      }
    }
  }

  private var mayRepeat: Bool { hasBegun && (isPrimary || !needsPrimary) }

  private mutating func primary(_ isPrimary: Bool, at now: MonotonicInstant) -> [Effect] {
    guard isPrimary != self.isPrimary, !isOver else { return [] }
    self.isPrimary = isPrimary
    guard needsPrimary else { return [] }
    return chores.indices.flatMap { chore -> [Effect] in
      guard case .repetition = chores[chore].kind else { return [] }
      switch chores[chore].state {
      case .idle: return mayRepeat ? want(chore) : []
      case .waiting where !isPrimary:
        chores[chore].state = .idle
        return [.unschedule(chore: chore)]
      case .queued where !isPrimary:
        chores[chore].state = .idle
        queue.removeAll { $0 == chore }
        return []
      // The next primary waits for the lock that it holds.
      case .underway where !isPrimary: return [.stopErrand]
      case .waiting, .queued, .underway, .checking: return []
      }
    }
  }

  private mutating func timer(_ chore: Int, at now: MonotonicInstant) -> [Effect] {
    guard chores.indices.contains(chore) else { return [] }
    switch (chores[chore].state, chores[chore].kind) {
    case (.checking, _): return feedCheck(chore, .timer, at: now)
    case (.waiting, .recheck(let interval)):
      // It is being done again right now.
      let step = chores[chore].step
      if chores.contains(where: { $0.step == step && $0.state == .underway }) {
        return wait(chore, spread(interval), at: now)
      }
      chores[chore].state = .checking
      chores[chore].runner = StepRunner(step: steps[step], task: .verification)
      return feedCheck(chore, .begin, at: now)
    case (.waiting, .repetition): return want(chore)
    case (.idle, _), (.queued, _), (.underway, _): return []
    }
  }

  private mutating func end(at now: MonotonicInstant) -> [Effect] {
    guard !isOver else { return [] }
    isOver = true
    queue = []
    return chores.indices.flatMap { chore -> [Effect] in
      switch chores[chore].state {
      case .idle: return []
      case .waiting, .queued:
        chores[chore].state = .idle
        return [.unschedule(chore: chore)]
      case .checking: return feedCheck(chore, .interrupt, at: now)
      case .underway: return [.stopErrand]
      }
    }
  }

  // MARK: Checks

  private mutating func feedCheck(
    _ chore: Int, _ event: StepRunner.Event, at now: MonotonicInstant
  ) -> [Effect] {
    guard var runner = chores[chore].runner else { return [] }
    let inner = runner.handle(event, at: now)
    chores[chore].runner = runner
    let step = chores[chore].step
    var effects: [Effect] = []
    for effect in inner {
      switch effect {
      case .run: effects.append(.check(step: step, outputs))
      case .stop: effects.append(.stopCheck(step: step))
      case .schedule(let deadline): effects.append(.schedule(chore: chore, deadline))
      case .unschedule: effects.append(.unschedule(chore: chore))
      case .note(let text): effects.append(.warning(step: step, text))
      case .ended(let outcome, _):
        chores[chore].runner = nil
        effects += checked(chore, outcome, at: now)
      }
    }
    return effects
  }

  private mutating func checked(_ chore: Int, _ outcome: StepOutcome, at now: MonotonicInstant) -> [Effect] {
    guard !isOver, case .recheck(let interval) = chores[chore].kind else {
      chores[chore].state = .idle
      return []
    }
    guard case .failed(let reason) = outcome else {
      return settled(chores[chore].step, failure: nil) + wait(chore, spread(interval), at: now) + next()
    }
    return settled(chores[chore].step, failure: reason) + want(chore)
  }

  private mutating func settled(_ step: Int, failure: String?) -> [Effect] {
    guard (failures[step] == nil) != (failure == nil) else {
      failures[step] = failure
      return []
    }
    failures[step] = failure
    return [.changed(step: step, failure: failure)]
  }

  // MARK: Errands

  /// Its errand is next, or after those that are before it.
  private mutating func want(_ chore: Int) -> [Effect] {
    chores[chore].state = .queued
    queue.append(chore)
    return next()
  }

  private mutating func next() -> [Effect] {
    // A step's check and its errand would be two commands of one step.
    guard !chores.contains(where: { $0.state == .underway }),
      let place = queue.firstIndex(where: { !isChecking(chores[$0].step) })
    else { return [] }
    let chore = queue.remove(at: place)
    chores[chore].state = .underway
    let reason: Errand.Reason = if case .recheck = chores[chore].kind { .checkFailed } else { .due }
    return [.begin(Errand(step: chores[chore].step, reason: reason))]
  }

  private mutating func errandEnded(_ result: ErrandResult, at now: MonotonicInstant) -> [Effect] {
    guard let chore = chores.firstIndex(where: { $0.state == .underway }) else { return [] }
    let step = chores[chore].step
    chores[chore].state = .idle
    guard !isOver else { return [] }
    var effects: [Effect] = []
    if case .done = result { effects += settled(step, failure: nil) }
    switch chores[chore].kind {
    case .recheck(let interval):
      switch result {
      case .done: effects += wait(chore, spread(interval), at: now)
      // It passed under the lock, or another node has done it: whether that helps here is seen by the check.
      case .notNeeded: effects += wait(chore, min(interval, Upkeep.shortly), at: now)
      case .failed(let reason), .unsettled(let reason):
        effects.append(.warning(step: step, reason))
        effects += wait(chore, spread(interval), at: now)
      case .interrupted: effects += wait(chore, spread(interval), at: now)
      }
    case .repetition(let interval): effects += repeated(chore, every: interval, result, at: now)
    }
    return effects + next()
  }

  private mutating func repeated(
    _ chore: Int, every interval: Duration, _ result: ErrandResult, at now: MonotonicInstant
  ) -> [Effect] {
    var effects: [Effect] = []
    var pause = interval
    switch result {
    case .done: chores[chore].failures = 0
    case .notNeeded(let age):
      chores[chore].failures = 0
      let rest = interval - (age ?? interval)
      // Overdue, but not to be done as long as the release is not ready.
      pause = rest > .zero ? max(rest, Upkeep.shortly) : min(interval, Upkeep.unreadyPause)
    case .failed(let reason), .unsettled(let reason):
      chores[chore].failures += 1
      pause = min(interval, max(rules.pause(after: chores[chore].failures), Upkeep.shortly))
      effects.append(
        .warning(
          step: chores[chore].step, "\(reason); what it did before stands, trying again in \(pause.readable)")
      )
    case .interrupted: pause = min(interval, Upkeep.shortly)
    }
    return effects + (mayRepeat ? wait(chore, pause, at: now) : [])
  }

  // MARK: Time

  private mutating func wait(_ chore: Int, _ pause: Duration, at now: MonotonicInstant) -> [Effect] {
    chores[chore].state = .waiting
    return [.schedule(chore: chore, now + pause)]
  }

  /// Up to a tenth earlier, so that nodes that started together do not check together for ever.
  private mutating func spread(_ interval: Duration) -> Duration {
    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return interval - interval * Int(random >> 33) / (10 << 31)
  }
}
