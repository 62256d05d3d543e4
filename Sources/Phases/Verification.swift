import EventLoop

/// The checks of steps that count as done, one after the other: are they still?
struct Verification: Sendable {
  enum Effect: Sendable, Equatable {
    /// Run the check of this step.
    case run(Int)
    case step(Int, StepEffect)
    /// The check of this step failed.
    case failed(Int, reason: String)
    /// The check of this step passed, or was stopped.
    case passed(Int)
    /// Nothing is left to check.
    case finished
  }

  private var queue: [Int] = []
  /// The step whose check runs.
  private(set) var current: Int?
  private var runner: StepRunner?

  /// Whether a command runs, or is being stopped: its end is still to come.
  var commandRuns: Bool { runner?.commandRuns == true }

  /// Runs these steps' checks.
  mutating func begin(_ indexes: [Int], of steps: [PhaseStep], at now: MonotonicInstant) -> [Effect] {
    queue = indexes
    return next(of: steps, at: now)
  }

  /// Checks no further; what runs is its owner's to end.
  mutating func abandon() {
    queue = []
    runner = nil
    current = nil
  }

  /// The next of the checks.
  mutating func next(of steps: [PhaseStep], at now: MonotonicInstant) -> [Effect] {
    guard !queue.isEmpty else { return [.finished] }
    let index = queue.removeFirst()
    current = index
    runner = StepRunner(step: steps[index], task: .verification)
    return handle(.begin, at: now)
  }

  /// After `failed` or `passed` its owner decides whether it goes on, by `next`.
  mutating func handle(_ event: StepRunner.Event, at now: MonotonicInstant) -> [Effect] {
    guard let index = current, var runner else { return [] }
    let inner = runner.handle(event, at: now)
    self.runner = runner
    return inner.map { effect in
      if let passedOn = StepEffect(effect) { return .step(index, passedOn) }
      guard case .ended(let outcome, _) = effect else { return .run(index) }
      current = nil
      self.runner = nil
      if case .failed(let reason) = outcome { return .failed(index, reason: reason) }
      return .passed(index)
    }
  }
}
