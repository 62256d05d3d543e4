import EventLoop
import ReleaseRecords

/// What a phase wants done about one of its steps.
public enum StepEffect: Sendable, Equatable {
  /// Run a command of it, with these variables; answer with `commandEnded`.
  case run(StepCommand, [StepOutput])
  /// Stop the command that runs.
  case stop
  /// End the command that runs at once: the lock is gone.
  case kill
  /// Feed `stepTimer` at this time; replaces an earlier wish for this step.
  case schedule(MonotonicInstant)
  /// No timer is wanted for this step any more.
  case unschedule
  /// It has begun.
  case began
  /// Its rollback has begun.
  case rollbackBegan
  /// It, or its rollback, has ended.
  case ended(StepOutcome, attempts: Int)
  /// Worth a line in the log.
  case note(String)

  /// What one that runs the step wants; nil for what says more than that.
  init?(_ effect: StepRunner.Effect) {
    switch effect {
    case .stop: self = .stop
    case .schedule(let deadline): self = .schedule(deadline)
    case .unschedule: self = .unschedule
    case .note(let text): self = .note(text)
    case .run, .ended: return nil
    }
  }
}
