import EventLoop

/// Everything the health page and `status` tell, at one moment: a value made by the life cycle, read by the pages.
public struct Snapshot: Sendable, Equatable {
  /// How far the life of this supervisor has come. The order is the order of life.
  public enum Stage: String, CaseIterable, Sendable, Comparable {
    /// Reading and validating the settings.
    case settings
    /// Looking for binaries, directories, ports.
    case preflight
    /// Starting services that the phases need.
    case earlyServices = "early_services"
    /// Waiting for databases and the like.
    case dependencies
    /// Starting LiteFS, until it is mounted, connected and has a role.
    case litefs
    /// The infrastructure phase.
    case infrastructure
    /// The node phase.
    case node
    /// App and services are supervised.
    case running
    /// A stop has begun.
    case draining
    /// Every process has ended.
    case stopped

    /// Earlier stages are less.
    public static func < (left: Stage, right: Stage) -> Bool { left.order < right.order }

    private var order: Int { Stage.allCases.firstIndex(of: self) ?? 0 }
  }

  /// Which part this node plays among the others.
  public enum Role: String, CaseIterable, Sendable {
    /// Nothing here gives a role.
    case none
    /// Something gives one, but which is not known now.
    case unknown
    /// This node may write.
    case primary
    /// This node follows another.
    case replica
  }

  /// One condition of being ready.
  public struct Check: Sendable, Equatable {
    /// Short and stable, as in `app`, `health:web`.
    public var name: String
    /// Whether it holds.
    public var isOK: Bool
    /// Why, in words; may be empty when it holds.
    public var detail: String

    /// A check with its outcome.
    public init(name: String, isOK: Bool, detail: String = "") {
      self.name = name
      self.isOK = isOK
      self.detail = detail
    }
  }

  /// Processes that left their group and were adopted.
  public struct Strays: Sendable, Equatable {
    /// How many live now.
    public var count: Int
    /// The names of some of them.
    public var names: [String]

    /// Strays with the names of some of them.
    public init(count: Int = 0, names: [String] = []) {
      self.count = count
      self.names = names
    }
  }

  /// When this snapshot was taken; every age and duration is counted up to here.
  public var takenAt: Moment
  /// The program's version.
  public var version: String
  /// The supervisor's own process ID.
  public var pid: CInt
  /// The node's name.
  public var nodeName: String
  /// The release; nil while it is not known.
  public var runID: String?
  /// How far life has come.
  public var stage: Stage
  /// When this supervisor started.
  public var startedAt: Moment
  /// The node's part.
  public var role: Role
  /// The app and the services, in start order.
  public var processes: [Process]
  /// The phases that are configured, in order.
  public var phases: [Phase]
  /// What being ready needs. That the stage is `running` need not be among them.
  public var checks: [Check]
  /// Adopted processes.
  public var strays: Strays
  /// What is not as it should be with this supervisor itself (`not a subreaper: …`).
  public var notes: [String]
  /// The settings file; nil when there is none.
  public var settingsPath: String?
  /// The private directory; nil when there is none.
  public var runDirectory: String?
  /// The shareable directory; nil when there is none.
  public var stateDirectory: String?

  /// A snapshot of a supervisor that has just begun, to be filled by its owner.
  public init(
    takenAt: Moment, version: String, pid: CInt, nodeName: String, runID: String? = nil, stage: Stage,
    startedAt: Moment, role: Role = .none, processes: [Process] = [], phases: [Phase] = [],
    checks: [Check] = [], strays: Strays = Strays(), notes: [String] = [], settingsPath: String? = nil,
    runDirectory: String? = nil, stateDirectory: String? = nil
  ) {
    self.takenAt = takenAt
    self.version = version
    self.pid = pid
    self.nodeName = nodeName
    self.runID = runID
    self.stage = stage
    self.startedAt = startedAt
    self.role = role
    self.processes = processes
    self.phases = phases
    self.checks = checks
    self.strays = strays
    self.notes = notes
    self.settingsPath = settingsPath
    self.runDirectory = runDirectory
    self.stateDirectory = stateDirectory
  }

  /// Everything that keeps this node from being ready: the stage, and each check that fails. Empty when ready.
  public var failures: [Check] {
    var failures: [Check] = []
    if stage != .running {
      failures.append(Check(name: "stage", isOK: false, detail: "the stage is \(stage.rawValue)"))
    } else if checks.isEmpty {
      failures.append(Check(name: "checks", isOK: false, detail: "nothing has been checked yet"))
    }
    return failures + checks.filter { !$0.isOK }
  }

  /// Whether this node may get traffic.
  public var isReady: Bool { failures.isEmpty }

  /// What keeps the start from being complete: phases that are not done, an app that was never spawned. Empty when
  /// it is, also later, while the app is down or draining.
  public var startFailures: [Check] {
    var failures: [Check] = []
    for phase in phases where phase.state != .done && phase.state != .skipped {
      let reason = phase.reason.map { ": \($0)" } ?? ""
      failures.append(
        Check(name: phase.name, isOK: false, detail: "the phase is \(phase.state.rawValue)\(reason)"))
    }
    for process in processes where process.kind == .app && process.incarnation == 0 {
      failures.append(Check(name: process.name, isOK: false, detail: "has not been started yet"))
    }
    if failures.isEmpty, stage < .running {
      failures.append(Check(name: "stage", isOK: false, detail: "the stage is \(stage.rawValue)"))
    }
    return failures
  }
}
