import EventLoop
import ReleaseRecords

/// Runs one step: command, timeout, retries, check; or its check alone; or its rollback. A value: its owner runs the
/// commands.
struct StepRunner: Equatable, Sendable {
  enum Task: Equatable, Sendable {
    /// The command and then the check.
    case step
    /// Only the check: is it still done?
    case verification
    /// The rollback.
    case rollback
  }

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
    case ended(StepOutcome, outputs: [StepOutput])
  }

  private enum State: Equatable, Sendable {
    case idle
    case running(StepCommand)
    case timingOut(StepCommand)
    case interrupting
    case waitingToRetry
    case ended
  }

  /// A step without a timeout that takes longer than this is worth a line.
  static let longAfter = Duration.seconds(600)
  /// How often, and after which pause, a check is tried again that the system had no process for: that it could not be
  /// run says nothing of the step.
  static let mostUnrunChecks = 10
  static let unrunPause = Duration.seconds(1)

  let step: PhaseStep
  let task: Task
  private var state = State.idle
  private(set) var attempts = 0
  /// Whether a failed try may be followed by another.
  var mayRetry = true
  private var unrunChecks = 0
  private var outputs: [StepOutput] = []
  private var startedAt: MonotonicInstant?

  init(step: PhaseStep, task: Task = .step) {
    self.step = step
    self.task = task
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
    case (.begin, .idle): return begin(at: now)
    case (.commandEnded(let result), .running(let command)): return commandEnded(command, result, at: now)
    case (.commandEnded, .timingOut(let command)):
      let what =
        switch command {
        case .main: "it"
        case .check: "its check"
        case .rollback: "its rollback"
        }
      return fail("\(what) did not end within \(step.timeout?.readable ?? "its time")", at: now)
    case (.commandEnded, .interrupting): return end(.interrupted)
    case (.timer, .running(let command)): return timer(command, at: now)
    case (.timer, .waitingToRetry): return begin(at: now)
    case (.interrupt, .running), (.interrupt, .timingOut):
      let isStopping = if case .timingOut = state { true } else { false }
      state = .interrupting
      return [.unschedule] + (isStopping ? [] : [.stop])
    case (.interrupt, .waitingToRetry), (.interrupt, .idle): return end(.interrupted)
    default: return []
    }
  }

  private mutating func begin(at now: MonotonicInstant) -> [Effect] {
    switch task {
    case .step: return run(.main, at: now)
    case .verification: return run(.check, at: now)
    case .rollback: return run(.rollback, at: now)
    }
  }

  private mutating func run(_ command: StepCommand, at now: MonotonicInstant) -> [Effect] {
    state = .running(command)
    startedAt = now
    if command == .main { attempts += 1 }
    return [.run(command), .schedule(now + (step.timeout ?? StepRunner.longAfter))]
  }

  private mutating func commandEnded(
    _ command: StepCommand, _ result: CommandResult, at now: MonotonicInstant
  ) -> [Effect] {
    switch (result, command) {
    case (.succeeded(let outputs), .main):
      self.outputs = outputs
      return step.hasCheck ? run(.check, at: now) : end(.done)
    case (.succeeded, .check): return end(task == .step ? .done : .skipped("its check passed"))
    case (.succeeded, .rollback): return end(.undone)
    case (.notRun(let reason), .check)
    where task == .verification && unrunChecks < StepRunner.mostUnrunChecks:
      unrunChecks += 1
      state = .waitingToRetry
      return [
        .note(
          "step \(step.name): its check could not be run: \(reason); trying again in \(StepRunner.unrunPause.readable)"
        ),
        .schedule(now + StepRunner.unrunPause),
      ]
    case (.failed(let reason), .check), (.notRun(let reason), .check):
      return fail("its check failed: \(reason)", at: now)
    case (.failed(let reason), _), (.notRun(let reason), _): return fail(reason, at: now)
    }
  }

  private mutating func timer(_ command: StepCommand, at now: MonotonicInstant) -> [Effect] {
    guard let timeout = step.timeout else {
      let running = startedAt.map { (now - $0).readable } ?? "long"
      return [
        .note(
          "step \(step.name): runs for \(running) now and has no timeout: set one if that is not what it should take"
        ),
        .schedule(now + StepRunner.longAfter),
      ]
    }
    state = .timingOut(command)
    return [.note("step \(step.name): not done within \(timeout.readable), stopping it"), .stop]
  }

  private mutating func fail(_ reason: String, at now: MonotonicInstant) -> [Effect] {
    switch task {
    case .rollback: return end(.undoFailed(reason: reason))
    case .verification: return end(.failed(reason: reason))
    case .step: break
    }
    guard attempts <= step.retries, mayRetry else { return end(.failed(reason: reason)) }
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
    return [.unschedule, .ended(outcome, outputs: outcome == .done ? outputs : [])]
  }
}
