import Checks
import EventLoop
import LiteFS
import Phases
import Processes

/// Names one thing that is run: the app, a service, or a step's command.
public enum ProcessID: Hashable, Sendable {
  /// The main process.
  case app
  /// A service, by its place in the settings file.
  case service(Int)
  /// A command of a step of the infrastructure phase.
  case infrastructureStep(Int)
  /// A command of a step of the node phase.
  case nodeStep(Int)
  /// What runs when the role changes.
  case roleHook
  /// The file system below everything that comes after it.
  case litefs
}

/// What the life cycle needs to know, made from the settings: no paths, no environment, nothing to perform.
public struct LifecyclePlan: Sendable {
  /// The app or a service.
  public struct Process: Sendable {
    /// Its name in settings, status and log.
    public var name: String
    /// When it is started again.
    public var restart: RestartPolicy
    /// How it is stopped.
    public var stop: StopPolicy
    /// How its health is asked for; nil: it is healthy when it runs.
    public var check: CheckDefinition?
    /// Started before the phases, and waited for.
    public var startsEarly = false
    /// Of those that start early: before LiteFS, too, and not touched by its loss.
    public var startsBeforeLiteFS = false
    /// Something is waited for before its start.
    public var waits = false
    /// It runs only while this node is the primary.
    public var isForPrimary = false
    /// Its giving up ends everything.
    public var stopsAllOnFailure = true

    /// A process with the defaults of a service.
    public init(
      name: String, restart: RestartPolicy, stop: StopPolicy = StopPolicy(), check: CheckDefinition? = nil
    ) {
      self.name = name
      self.restart = restart
      self.stop = stop
      self.check = check
    }
  }

  /// A step with what its performer's stop needs.
  public struct Step: Sendable {
    /// What the phase knows of it.
    public var phase: PhaseStep
    /// It is a wait: there is no command.
    public var waits = false
    /// How its command is stopped.
    public var stop: StopPolicy

    /// A step.
    public init(phase: PhaseStep, stop: StopPolicy = StopPolicy(timeout: .seconds(5))) {
      self.phase = phase
      self.stop = stop
    }
  }

  /// What is done with a signal that is not ours.
  public enum SignalAction: Sendable, Equatable {
    /// Nothing.
    case drop
    /// Send this one to the app's leader.
    case send(Signal)
  }

  /// LiteFS, where this supervisor runs or watches it.
  public struct LiteFS: Sendable {
    /// How it is started and waited for.
    public var rules: LiteFSRules
    /// How it is stopped: it takes TERM only while it is connected.
    public var stop: StopPolicy

    /// LiteFS with these rules.
    public init(rules: LiteFSRules = LiteFSRules(), stop: StopPolicy = StopPolicy(timeout: .seconds(3))) {
      self.rules = rules
      self.stop = stop
    }
  }

  /// How much of the life there is to be: `run` has all of it, `init` only phases.
  public enum Scope: Sendable, Equatable {
    /// Everything.
    case life
    /// Both phases, then the end.
    case phases
    /// The infrastructure phase, then the end.
    case infrastructure
    /// The node phase, which waits for the other by itself, then the end.
    case node
  }

  /// The main process.
  public var app: Process
  /// The services in the file's order.
  public var services: [Process] = []
  /// The infrastructure phase.
  public var infrastructure: [Step] = []
  /// The node phase.
  public var node: [Step] = []
  /// The release.
  public var runID: RunID
  /// How other nodes see us.
  public var owner: String
  /// How much of the life there is to be.
  public var scope = Scope.life
  /// LiteFS; nil: there is none.
  public var litefs: LiteFS?
  /// Something is waited for before the phases.
  public var waitsAtStart = false
  /// Something runs when the role changes.
  public var hasRoleHook = false
  /// How the infrastructure phase waits and works.
  public var infrastructureRules = InfrastructureRules()
  /// How the node phase waits.
  public var nodeRules = NodePhase.Rules()
  /// The whole stop.
  public var stopTimeout: Duration = .milliseconds(9500)
  /// Between turning not ready and stopping.
  public var drainDelay: Duration = .zero
  /// Remapping of forwarded signals.
  public var signals: [Signal: SignalAction] = [:]
  /// Whether descriptor 0 is a terminal.
  public var hasTerminal = false
  /// Of jitter.
  public var seed: UInt64 = 1

  /// A plan for an app.
  public init(app: Process, runID: RunID, owner: String) {
    self.app = app
    self.runID = runID
    self.owner = owner
  }

  /// Whether anything here depends on who is the primary.
  public var takesPartInElection: Bool {
    guard scope == .life else { return false }
    return hasRoleHook || litefs != nil || services.contains { $0.isForPrimary }
      || infrastructure.contains { $0.phase.repeatsAfter != nil }
  }

  /// The app's or a service's plan.
  func process(_ id: ProcessID) -> Process? {
    switch id {
    case .app: return app
    case .service(let index): return services.indices.contains(index) ? services[index] : nil
    case .infrastructureStep, .nodeStep, .roleHook, .litefs: return nil
    }
  }

  /// How messages name it.
  func name(_ id: ProcessID) -> String {
    switch id {
    case .app: return app.name
    case .service(let index): return services[index].name
    case .infrastructureStep(let index): return "step \(infrastructure[index].phase.name)"
    case .roleHook: return "hooks.on_role_change"
    case .litefs: return "litefs"
    case .nodeStep(let index): return "node step \(node[index].phase.name)"
    }
  }
}
