import Coordination
import EventLoop
import ReleaseRecords

/// What the phases need to know of a step; how it is run is its performer's matter.
public struct PhaseStep: Equatable, Sendable {
  /// Unique in its phase.
  public var name: String
  /// Of its definition: a changed step is a new step.
  public var hash: String
  /// Names of steps of the same phase that must be done before it.
  public var needs: [String] = []
  /// Whether a check follows the command.
  public var hasCheck: Bool
  /// Whether something undoes it.
  public var hasRollback = false
  /// Whether it is rolled back on a requested stop too.
  public var rollsBackOnStop = false
  /// Whether its own rollback runs when it fails itself.
  public var rollsBackWhenFailed = false
  /// Of one run of its command; nil: none.
  public var timeout: Duration?
  /// Further tries after the first.
  public var retries: Int
  /// Between two tries.
  public var retryDelay: Duration
  /// Whether its failure fails the phase.
  public var isFatal: Bool
  /// Whether a claim that ended in the middle of it fails the phase instead of running it again.
  public var failsWhenInterrupted: Bool
  /// Whether its check runs at every start, and the step again when that fails.
  public var rechecksOnStart = false
  /// How often its check runs while the app does; nil: never.
  public var rechecksAfter: Duration?
  /// Whether the node is not ready while that check fails.
  public var affectsReady = false
  /// Repeats the step while the app runs, when it was done this long ago; nil: never.
  public var repeatsAfter: Duration?

  /// A step.
  /// - Parameter definition: everything that makes it what it is, in any stable text form.
  public init(
    name: String, definition: String, hasCheck: Bool = false, timeout: Duration? = nil, retries: Int = 0,
    retryDelay: Duration = .seconds(1), isFatal: Bool = true, failsWhenInterrupted: Bool = false
  ) {
    self.name = name
    self.hash = MD5.hexadecimal(of: Array(definition.utf8))
    self.hasCheck = hasCheck
    self.timeout = timeout
    self.retries = retries
    self.retryDelay = retryDelay
    self.isFatal = isFatal
    self.failsWhenInterrupted = failsWhenInterrupted
  }
}

/// How one run of a step's command, check or rollback ended.
public enum CommandResult: Equatable, Sendable {
  /// Exit code 0, and what it gave to later steps.
  case succeeded(outputs: [StepOutput] = [])
  /// Another end; the text names it: `exit code 1`, `killed by KILL`, `alembic: not found in PATH (…)`.
  case failed(String)
  /// The system had no process for it, for now: nothing was run. The text says why.
  case notRun(String)
}

/// Which command of a step.
public enum StepCommand: Equatable, Sendable {
  /// What it is for.
  case main
  /// What tells whether it is done.
  case check
  /// What undoes it.
  case rollback
}

/// How a step ended.
public enum StepOutcome: Equatable, Sendable {
  /// Its command exited 0 and its check, if any, passed.
  case done
  /// Nothing was to be done; the text says why: `recorded done`, `its check passed`.
  case skipped(String)
  /// It failed, retries included.
  case failed(reason: String)
  /// It was stopped because the supervisor stops, or because another step failed.
  case interrupted
  /// It never began; the text says why: `needs migrate`.
  case notStarted(reason: String)
  /// It was done and has been rolled back.
  case undone
  /// Its rollback failed: what it left behind is not known.
  case undoFailed(reason: String)
}
