import Coordination
import EventLoop

/// What the phases need to know of a step; how it is run is its performer's matter.
public struct PhaseStep: Equatable, Sendable {
  /// Unique in its phase.
  public var name: String
  /// Of its definition: a changed step is a new step.
  public var hash: String
  /// Whether a check follows the command.
  public var hasCheck: Bool
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

/// How one run of a step's command, or of its check, ended.
public enum CommandResult: Equatable, Sendable {
  /// Exit code 0.
  case succeeded
  /// Another end; the text names it: `exit code 1`, `killed by KILL`, `alembic: not found in PATH (…)`.
  case failed(String)
}

/// Which command of a step.
public enum StepCommand: Equatable, Sendable {
  /// What it is for.
  case main
  /// What tells whether it is done.
  case check
}

/// How a step ended.
public enum StepOutcome: Equatable, Sendable {
  /// Its command exited 0 and its check, if any, passed.
  case done
  /// It failed, retries included.
  case failed(reason: String)
  /// It was stopped because the supervisor stops.
  case interrupted
}
