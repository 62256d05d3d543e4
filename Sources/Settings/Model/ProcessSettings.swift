/// A command as a settings file has it.
public enum Command: Sendable, Equatable {
  /// A list: the program and its arguments, never empty, variables expanded.
  case arguments([String])
  /// A string, for `/bin/sh -c`, untouched.
  case shell(String)
}

/// How a process or step is told to stop.
public struct StopSettings: Sendable, Equatable {
  /// Who is killed when the grace is over.
  public enum KillScope: String, Sendable, CaseIterable {
    /// The whole process group.
    case group
    /// Only the process itself.
    case leader
  }

  /// The signal that asks for the stop.
  public var signal: Int32
  /// How long it may take.
  public var timeout: Duration
  /// `kill`.
  public var kill: KillScope
}

/// `app`, or one of `services`.
public struct ProcessSettings: Sendable, Equatable {
  /// When an ended process is started again.
  public enum Restart: String, Sendable, CaseIterable {
    /// However it ended.
    case always
    /// When it failed.
    case onFailure = "on-failure"
    /// Never.
    case never
  }

  /// What follows when restarting was given up.
  public enum GivingUp: String, Sendable, CaseIterable {
    /// Everything stops.
    case stopAll = "stop_all"
    /// The rest goes on.
    case ignore
  }

  /// When a service is started.
  public enum Start: String, Sendable, CaseIterable {
    /// Before LiteFS, hence before the phases.
    case beforeLiteFS = "before_litefs"
    /// Before the phases.
    case beforePhases = "before_phases"
    /// After the phases, with the app.
    case withApp = "with_app"
  }

  /// The role that a service runs in.
  public enum Role: String, Sendable, CaseIterable {
    /// Any.
    case any
    /// While this node is the primary: it holds the leader lock.
    case primary
    /// While another node is the primary.
    case replica
  }

  /// What happens to a signal that would be forwarded to the app.
  public enum SignalAction: Sendable, Equatable {
    /// It goes no further.
    case drop
    /// This signal is sent instead.
    case send(Int32)
  }

  /// `app`, or the service's name.
  public var name: String
  /// `command`; nil only for the app, which usually follows `--` on the command line.
  public var command: Command?
  /// `cwd`; nil: ours.
  public var workingDirectory: String?
  /// `umask`, 0 to 0o777; nil: ours.
  public var umask: UInt32?
  /// `user`: a name or a number, with `:group` where one was given; nil: ours.
  public var user: String?
  /// `groups`: supplementary groups, names or numbers; nil: the user's own.
  public var groups: [String]?
  /// `environment`: on top of the top-level one.
  public var environment: [EnvironmentVariable]
  /// `limits`.
  public var limits: [ResourceLimit]
  /// `restart`.
  public var restart: Restart
  /// `backoff`.
  public var backoff: BackoffSettings
  /// `start_limit`.
  public var startLimit: StartLimit
  /// `on_failure`.
  public var onFailure: GivingUp
  /// `success_codes`: exit codes that are no failure.
  public var successCodes: Set<Int32>
  /// `stop`.
  public var stop: StopSettings
  /// `signals`: what becomes of forwarded signals; the app only.
  public var signals: [Int32: SignalAction]
  /// `ready`; nil: the process is healthy while it runs.
  public var healthCheck: HealthCheckSettings?
  /// `wait_for`: what is waited for before this process starts.
  public var dependencies: [WaitSettings] = []
  /// `role`; always `.any` for the app.
  public var role: Role = .any
  /// `start`; always `.withApp` for the app.
  public var start: Start
}

/// How long to wait between restarts.
public struct BackoffSettings: Sendable, Equatable {
  /// The first delay.
  public var initial: Duration
  /// No delay is longer, jitter aside.
  public var maximum: Duration
  /// What each delay is multiplied with for the next one; at least 1.
  public var factor: Double
  /// How far a delay is spread at random, as a part of it; 0 to 1.
  public var jitter: Double
  /// A process that has run this long starts over with `initial`.
  public var resetAfter: Duration
}

/// How many starts in how much time are too many.
public struct StartLimit: Sendable, Equatable {
  /// The starts that are allowed.
  public var count: Int
  /// The time they are counted in.
  public var within: Duration
}

/// `ready`: how to learn whether a process answers.
public struct HealthCheckSettings: Sendable, Equatable {
  /// The question that is asked.
  public enum Probe: Sendable, Equatable {
    /// A GET that must be answered with a status from 200 to 399.
    case http(HTTPTarget)
    /// A connection that must be accepted.
    case tcp(SocketTarget)
    /// A command that must exit with 0.
    case exec(Command)
  }

  /// The question.
  public var probe: Probe
  /// From one question to the next.
  public var interval: Duration
  /// How long an answer may take.
  public var timeout: Duration
  /// How many failures in a row make it unhealthy.
  public var failures: Int
  /// How many answers in a row make it healthy.
  public var successes: Int
  /// How long after its start failures do not count.
  public var startPeriod: Duration
}

/// A resource limit, see setrlimit(2).
public struct ResourceLimit: Sendable, Equatable {
  /// The value that means no limit.
  public static let unlimited = UInt64.max

  /// The name in lower case, without RLIMIT_: `nofile`.
  public var name: String
  /// The number of RLIMIT_…
  public var resource: Int32
  /// What applies; `unlimited` for no limit.
  public var soft: UInt64
  /// What the process may raise it to; `unlimited` for no limit.
  public var hard: UInt64
}

/// One step of a phase.
public struct StepSettings: Sendable, Equatable {
  /// What happens to a step that was begun but not recorded as done.
  public enum Interrupted: String, Sendable, CaseIterable {
    /// It runs again.
    case rerun
    /// It counts as failed.
    case fail
  }

  /// When the check of a step that is done runs again.
  public enum Recheck: Sendable, Equatable {
    /// Never.
    case never
    /// At every start.
    case onStart
    /// At every start, and this often while the app runs.
    case every(Duration)
  }

  /// `name`, unique in its phase.
  public var name: String
  /// `description`.
  public var description: String?
  /// `run`; nil when the step waits instead.
  public var run: Command?
  /// `wait_for`; nil when the step runs a command. One of the two is there.
  public var wait: WaitSettings?
  /// `needs`: names of steps of the same phase, which exist and form no cycle.
  public var needs: [String] = []
  /// `cwd`, or the app's.
  public var workingDirectory: String?
  /// The app's `environment` with the step's own on top.
  public var environment: [EnvironmentVariable]
  /// `user`, or the app's.
  public var user: String?
  /// The app's `groups` when the user is the app's too; nil: the user's own.
  public var groups: [String]?
  /// `timeout` of one attempt; nil for no limit.
  public var timeout: Duration?
  /// `retries`: further attempts after the first.
  public var retries: Int
  /// `retry_delay`: from one attempt to the next.
  public var retryDelay: Duration
  /// `check`: must pass for the step to be done.
  public var check: Command?
  /// `rollback`: undoes the step.
  public var rollback: Command?
  /// `rollback_on_stop`: roll back on a requested stop too.
  public var rollbackOnStop: Bool = false
  /// `rollback_failed`: roll back this step too when it is the one that failed.
  public var rollbackFailed: Bool = false
  /// `recheck`.
  public var recheck: Recheck = .never
  /// `affects_ready`: a failed recheck makes the node not ready.
  public var affectsReady: Bool = false
  /// `every`: how often the step is repeated; nil: never.
  public var every: Duration?
  /// `stop`.
  public var stop: StopSettings
  /// Whether its failure ends the start: always in the infrastructure phase; in the node phase `fatal`, or
  /// else `node.fatal_on_error`.
  public var isFatal: Bool
  /// `on_interrupted`.
  public var onInterrupted: Interrupted
}
