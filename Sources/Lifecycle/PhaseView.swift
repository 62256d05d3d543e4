import EventLoop
import Journal
import Phases

/// What `/status` shows of a phase.
struct PhaseView: Sendable {
  var name: String
  private(set) var state = Snapshot.Phase.State.pending
  private(set) var since: MonotonicInstant?
  private(set) var began: MonotonicInstant?
  var reason: String?
  var waitingFor: String?
  var steps: [StepView]

  struct StepView: Sendable {
    var name: String
    var state = Snapshot.Step.State.pending
    var attempts = 0
    var began: MonotonicInstant?
    var ended: MonotonicInstant?
    var reason: String?
  }

  init(name: String, steps: [String]) {
    self.name = name
    self.steps = steps.map { StepView(name: $0) }
  }

  /// Another state; a phase that is skipped skips its steps.
  mutating func enter(_ next: Snapshot.Phase.State, at now: MonotonicInstant) {
    if next != state { since = now }
    if began == nil { began = now }
    state = next
    if next != .waiting { waitingFor = nil }
    if next == .skipped { for index in steps.indices { steps[index].state = .skipped } }
  }

  mutating func stepBegan(_ index: Int, undoing: Bool, at now: MonotonicInstant) {
    enter(.running, at: now)
    steps[index].state = undoing ? .undoing : .running
    steps[index].began = now
    steps[index].ended = nil
  }

  mutating func stepEnded(_ index: Int, _ outcome: StepOutcome, attempts: Int, at now: MonotonicInstant) {
    if attempts > 0 { steps[index].attempts = attempts }
    if steps[index].began != nil { steps[index].ended = now }
    let (state, reason): (Snapshot.Step.State, String?) =
      switch outcome {
      case .done: (.done, nil)
      case .skipped(let why): (.skipped, why)
      case .failed(let why): (.failed, why)
      case .interrupted: (.interrupted, nil)
      case .notStarted(let why): (.notStarted, why)
      case .undone: (.undone, nil)
      case .undoFailed(let why): (.undoFailed, why)
      }
    steps[index].state = state
    // What it failed with stays known when it has been rolled back.
    if let reason { steps[index].reason = reason }
  }

  /// Its check has begun to fail while the app runs, or passes again.
  mutating func checked(_ index: Int, failure: String?) {
    steps[index].state = failure == nil ? .done : .failed
    steps[index].reason = failure
  }

  /// The names of those that failed.
  var failedSteps: [String] { steps.filter { $0.state == .failed }.map(\.name) }

  func duration(of index: Int) -> Duration? {
    guard let began = steps[index].began, let ended = steps[index].ended else { return nil }
    return ended - began
  }

  /// How long the phase has taken.
  func duration(at now: MonotonicInstant) -> Duration { began.map { now - $0 } ?? .zero }

  /// The line of the log for the end of a step.
  func line(_ index: Int, _ outcome: StepOutcome) -> (LogLevel, String, EventFields) {
    let duration = duration(of: index)
    let took = duration?.readable ?? "0s"
    let (level, what, event, reason): (LogLevel, String, String, String?) =
      switch outcome {
      case .done: (.info, "done in \(took)", "step_done", nil)
      case .skipped(let why): (.info, "skipped: \(why)", "step_skipped", why)
      case .failed(let why): (.error, "failed after \(took): \(why)", "step_failed", why)
      case .interrupted: (.warning, "interrupted after \(took)", "step_interrupted", nil)
      case .notStarted(let why): (.warning, "not started: \(why)", "step_not_started", why)
      case .undone: (.info, "rolled back in \(took)", "step_rolled_back", nil)
      case .undoFailed(let why): (.error, "its rollback failed: \(why)", "step_rollback_failed", why)
      }
    let step = steps[index].name
    return (
      level, "\(name) step \(step): \(what)",
      EventFields(event, phase: name, step: step, duration: duration, reason: reason)
    )
  }
}
