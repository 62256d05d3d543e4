import AgentProtocol
import AgentSupervision
import Processes

/// What only the performer needs: how each process and each step's command looks when it starts.
public struct LaunchPlan: Sendable {
  /// The app and the services.
  public var processes: [ProcessID: ProcessImage] = [:]
  /// The commands of the steps.
  public var steps: [ProcessID: ProcessImage] = [:]
  /// The checks of the steps.
  public var checks: [ProcessID: ProcessImage] = [:]
  /// What undoes the steps.
  public var rollbacks: [ProcessID: ProcessImage] = [:]

  /// What runs when the role changes.
  public var roleHook: ProcessImage?
  /// LiteFS; nil: this supervisor runs none.
  public var litefs: LiteFSLaunch?
  /// What is waited for.
  public var waits: [WaitID: [Dependency]] = [:]
  /// How long, where a wait has no time of its own.
  public var waitTimeout: Duration?
  /// The servers of lock, record and readiness, and the release; nil when they are files.
  public var coordination: CoordinationScope?
  /// The agent's program, when something needs it.
  public var agentProgram: RawString?
  /// What the agent gets.
  public var agentEnvironment = ProcessEnvironment()

  /// Steps that call a framework's hooks and tell of each.
  public var hookSteps: Set<ProcessID> = []

  /// A plan without processes.
  public init() {}
}

/// What a step of a framework's preset reads.
public struct StepInput: Sendable, Equatable {
  /// Whether it is a step of the node phase.
  public var isNode: Bool
  /// Its name.
  public var step: String
  /// Its standard input.
  public var text: String
  /// Whether it calls hooks, and tells of each.
  public var reportsHooks: Bool

  /// An input.
  public init(isNode: Bool, step: String, text: String, reportsHooks: Bool) {
    self.isNode = isNode
    self.step = step
    self.text = text
    self.reportsHooks = reportsHooks
  }
}

/// What we were started with, byte for byte.
public struct StartContext: Sendable {
  /// The command after `--`; empty when there is none.
  public var command: [RawString]
  /// Our environment.
  public var environment: ProcessEnvironment
  /// Our working directory; nil when it is gone or cannot be read.
  public var directory: RawString?
  /// `--tty`.
  public var handsTerminalOver: Bool
  /// Whether descriptor 0 is a terminal.
  public var hasTerminal: Bool
  /// The host's name.
  public var hostName: String

  /// A context.
  public init(
    command: [RawString], environment: ProcessEnvironment, directory: RawString?, handsTerminalOver: Bool,
    hasTerminal: Bool, hostName: String
  ) {
    self.command = command
    self.environment = environment
    self.directory = directory
    self.handsTerminalOver = handsTerminalOver
    self.hasTerminal = hasTerminal
    self.hostName = hostName
  }
}
