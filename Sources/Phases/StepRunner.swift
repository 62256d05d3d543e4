import EventLoop

/// Runs one step: command, timeout, retries, check. A value: its owner runs the commands.
struct StepRunner: Equatable, Sendable {
  enum Event: Equatable, Sendable {
    case begin
    case commandEnded(CommandResult)
    case timer
    case interrupt
  }

  enum Effect: Equatable, Sendable {
    /// Run it; answer with `commandEnded`.
    case run(StepCommand)
    /// Stop what runs; it still answers with `commandEnded`.
    case stop
    case schedule(MonotonicInstant)
    case unschedule
    /// Worth a line in the log.
    case note(String)
    case ended(StepOutcome)
  }

  private enum State: Equatable, Sendable {
    case idle
    case running(StepCommand)
    case timingOut(StepCommand)
    case interrupting
    case waitingToRetry
    case ended
  }

  let step: PhaseStep
  private var state = State.idle
  private(set) var attempts = 0

  init(step: PhaseStep) {
    self.step = step
  }

  /// Whether a command runs, or is being stopped: `commandEnded` is still to come.
  var commandRuns: Bool {
    switch state {
    case .running, .timingOut, .interrupting: true
    case .idle, .waitingToRetry, .ended: false
    }
  }

  mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch (event, state) {
    case (.begin, .idle): return run(.main, at: now)
    case (.commandEnded(let result), .running(let command)):
      guard case .failed(let reason) = result else {
        if command == .main, step.hasCheck { return run(.check, at: now) }
        return end(.done)
      }
      return fail(command == .check ? "its check failed: \(reason)" : reason, at: now)
    case (.commandEnded, .timingOut(let command)):
      let what = command == .check ? "its check" : "it"
      return fail("\(what) did not end within \(step.timeout?.readable ?? "its time")", at: now)
    case (.commandEnded, .interrupting): return end(.interrupted)
    case (.timer, .running(let command)):
      state = .timingOut(command)
      return [
        .note("step \(step.name): not done within \(step.timeout?.readable ?? "its time"), stopping it"),
        .stop,
      ]
    case (.timer, .waitingToRetry): return run(.main, at: now)
    case (.interrupt, .running), (.interrupt, .timingOut):
      let isStopping = if case .timingOut = state { true } else { false }
      state = .interrupting
      return [.unschedule] + (isStopping ? [] : [.stop])
    case (.interrupt, .waitingToRetry), (.interrupt, .idle): return end(.interrupted)
    default: return []
    }
  }

  private mutating func run(_ command: StepCommand, at now: MonotonicInstant) -> [Effect] {
    state = .running(command)
    if command == .main { attempts += 1 }
    guard let timeout = step.timeout else { return [.run(command)] }
    return [.run(command), .schedule(now + timeout)]
  }

  private mutating func fail(_ reason: String, at now: MonotonicInstant) -> [Effect] {
    guard attempts <= step.retries else { return end(.failed(reason: reason)) }
    state = .waitingToRetry
    let left = step.retries - attempts + 1
    return [
      .note(
        "step \(step.name): \(reason); trying again in \(step.retryDelay.readable) "
          + "(\(left) \(left == 1 ? "try" : "tries") left)"),
      .schedule(now + step.retryDelay),
    ]
  }

  private mutating func end(_ outcome: StepOutcome) -> [Effect] {
    state = .ended
    return [.unschedule, .ended(outcome)]
  }
}
