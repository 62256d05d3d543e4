/// The settings of one life of the supervisor: read, expanded, checked, with every default filled in.
public struct EffectiveSettings: Sendable, Equatable {
  /// The file they were read from; nil when there was none.
  public var file: String?
  /// `run_id`: the release; nil when nobody named it (the caller derives a development ID then).
  public var runID: String?
  /// Where `runID` comes from; `default` when it is nil.
  public var runIDOrigin: Origin
  /// `timeout`: how long to wait for the lock or readiness without progress.
  public var timeout: Duration
  /// `max_wait`: how long to wait at all; nil for no limit.
  public var maximumWait: Duration?
  /// `stop_timeout`: the budget of the whole stop, `auto` already resolved for the platform.
  public var stopTimeout: Duration
  /// `run_dir`: nil when not set (the caller looks for one).
  public var runDirectory: String?
  /// `state_dir`: nil when not set (the caller looks for one).
  public var stateDirectory: String?
  /// `environment`: for every child, before a process's own.
  public var environment: [EnvironmentVariable]
  /// `clear_environment`: children do not inherit our environment.
  public var clearEnvironment: Bool
  /// `wait_for`: what every node waits for before the phases.
  public var dependencies: [WaitSettings]
  /// `framework`.
  public var framework: FrameworkSettings
  /// `coordination`.
  public var coordination: CoordinationSettings
  /// `infrastructure`.
  public var infrastructure: InfrastructureSettings
  /// `node`.
  public var node: NodeSettings
  /// `app`.
  public var app: ProcessSettings
  /// `services`, in the order of the file.
  public var services: [ProcessSettings]
  /// `hooks`.
  public var hooks: HookSettings
  /// `litefs`; nil when it is off.
  public var litefs: LiteFSSettings?
  /// `health`.
  public var health: HealthPageSettings
  /// `log`.
  public var log: LogSettings
  /// Every value above with its origin, in the order of the table of keys.
  public var entries: [SettingEntry]

  /// Every value with its origin, as text, secrets masked: what `settings show` prints.
  public func rendered() -> [(key: String, value: String, origin: String)] {
    entries.map { ($0.key, $0.maskedValue, $0.origin.description) }
  }
}

/// One effective value and where it comes from.
public struct SettingEntry: Sendable, Equatable {
  /// The key's path, such as `infrastructure.steps[0].timeout`.
  public var key: String
  /// The value as text, after expansion. May be a secret.
  public var value: String
  /// Who set it.
  public var origin: Origin
  /// Whether the value must never be shown.
  public var isSecret: Bool

  /// The value, fit for any output: secrets are asterisks, and so are passwords in URLs.
  public var maskedValue: String { isSecret ? "****" : maskingPasswords(in: value) }
}

/// A variable for a child's environment.
public struct EnvironmentVariable: Sendable, Equatable {
  /// The name: not empty, no `=`, no NUL.
  public var name: String
  /// The value, no NUL.
  public var value: String

  /// Makes a variable.
  public init(name: String, value: String) {
    self.name = name
    self.value = value
  }
}

/// `framework`: whose steps are made by themselves.
public struct FrameworkSettings: Sendable, Equatable {
  /// The frameworks that are known.
  public enum Name: String, Sendable, CaseIterable {
    /// Django where a project in the working directory asks for it, else none.
    case auto
    /// Django.
    case django
    /// None.
    case none
  }

  /// `name`.
  public var name: Name
  /// `python`: the interpreter, a path or a name to search for; nil: to be found.
  public var python: String?
  /// `settings_module`: DJANGO_SETTINGS_MODULE; nil: to be found.
  public var settingsModule: String?
  /// `databases`: aliases to migrate; nil: all.
  public var databases: [String]?
}

/// `hooks`: commands that run when something happens.
public struct HookSettings: Sendable, Equatable {
  /// `on_role_change`: after this node's role changed.
  public var onRoleChange: Command?
}

/// `infrastructure`: what runs once per cluster and run ID.
public struct InfrastructureSettings: Sendable, Equatable {
  /// What happens to running steps when another one fails.
  public enum FailureMode: String, Sendable, CaseIterable {
    /// They end by themselves.
    case finish
    /// They are stopped.
    case stop
  }

  /// `steps`, in the order of the file.
  public var steps: [StepSettings]
  /// `parallelism`: how many steps may run at a time, at least 1.
  public var parallelism: Int
  /// `on_failure`.
  public var onFailure: FailureMode
}

/// `node`: what runs once per node or volume and run ID.
public struct NodeSettings: Sendable, Equatable {
  /// `steps`, in the order of the file.
  public var steps: [StepSettings]
  /// `marker_dir`: where the marker and the node's lock are; absolute.
  public var markerDirectory: String
  /// `fatal_on_error`: a failed node step ends the start.
  public var fatalOnError: Bool
}

/// `health`: the page that orchestrators ask.
public struct HealthPageSettings: Sendable, Equatable {
  /// `listen`.
  public var listen: ListenAddress
  /// Whether somebody chose the address: then a taken port is an error, otherwise only a warning.
  public var listenWasSet: Bool
  /// `drain_delay`: how long we stay up, not ready, before a requested stop begins.
  public var drainDelay: Duration
}

/// `log`: our own lines on standard error.
public struct LogSettings: Sendable, Equatable {
  /// The least important line that is written.
  public enum Level: String, Sendable, CaseIterable {
    /// Everything.
    case debug
    /// The course of events.
    case info
    /// What may go wrong.
    case warning
    /// What went wrong.
    case error
  }

  /// How lines look.
  public enum Format: String, Sendable, CaseIterable {
    /// For people.
    case text
    /// For programs: an object a line.
    case json
  }

  /// `format`.
  public var format: Format
  /// `level`.
  public var level: Level
  /// `timestamps`.
  public var timestamps: Bool
}
