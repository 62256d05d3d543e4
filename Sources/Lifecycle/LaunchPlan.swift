import Checks
import Control
import EventLoop
import Glibc
import Phases
import Processes
import Settings

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

  /// A plan without processes.
  public init() {}
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

/// Makes the plans from settings and context, and collects everything that makes them impossible.
public struct Planner {
  private let settings: EffectiveSettings
  private let context: StartContext
  private let users: UserDatabase
  private let runID: RunID
  private let roleFile: String
  /// What is wrong, one sentence each.
  public private(set) var problems: [String] = []

  /// A planner.
  /// - Parameter runDirectory: for the role file that children are told of.
  public init(
    settings: EffectiveSettings, context: StartContext, users: UserDatabase, runDirectory: String
  ) {
    self.settings = settings
    self.context = context
    self.users = users
    runID = RunID(given: settings.runID, workingDirectory: context.directory?.bytes ?? [UInt8(ascii: "/")])
    roleFile = runDirectory + "/role"
  }

  /// Both plans. Meaningless when there are `problems`.
  public mutating func make() -> (LifecyclePlan, LaunchPlan) {
    var launch = LaunchPlan()
    var plan = LifecyclePlan(
      app: process(settings.app), runID: runID, owner: "\(context.hostName) (pid \(getpid()))")
    plan.services = settings.services.map { process($0) }
    launch.processes[.app] = appImage()
    for (index, service) in settings.services.enumerated() {
      launch.processes[.service(index)] = image(of: service, phase: "service")
    }
    for (index, step) in settings.infrastructure.steps.enumerated() {
      let id = ProcessID.infrastructureStep(index)
      plan.infrastructure.append(self.step(step, isFatal: true))
      if let command = step.run {
        launch.steps[id] = image(of: step, command, phase: "infrastructure")
      } else {
        problems.append(
          "infrastructure.steps: \(step.name): waiting as a step is not supported yet by this version")
      }
      if let check = step.check { launch.checks[id] = image(of: step, check, phase: "infrastructure") }
    }
    for (index, step) in settings.node.steps.enumerated() {
      let id = ProcessID.nodeStep(index)
      plan.node.append(self.step(step, isFatal: step.isFatal || settings.node.fatalOnError))
      if let command = step.run {
        launch.steps[id] = image(of: step, command, phase: "node")
      } else {
        problems.append("node.steps: \(step.name): waiting as a step is not supported yet by this version")
      }
      if let check = step.check { launch.checks[id] = image(of: step, check, phase: "node") }
    }
    plan.infrastructureRules.timeout = settings.timeout
    plan.infrastructureRules.maximumWait = settings.maximumWait
    plan.infrastructureRules.pollInterval = settings.coordination.pollInterval
    plan.nodeRules.timeout = settings.timeout
    plan.nodeRules.place = settings.node.markerDirectory
    plan.stopTimeout = settings.stopTimeout
    plan.drainDelay = settings.health.drainDelay
    plan.hasTerminal = context.hasTerminal
    for (number, action) in settings.app.signals {
      switch action {
      case .drop: plan.signals[Signal(rawValue: number)] = .drop
      case .send(let other): plan.signals[Signal(rawValue: number)] = .send(Signal(rawValue: other))
      }
    }
    return (plan, launch)
  }

  // MARK: Decisions

  private func process(_ settings: ProcessSettings) -> LifecyclePlan.Process {
    let mode: RestartPolicy.Mode
    switch settings.restart {
    case .always: mode = .always
    case .onFailure: mode = .onFailure
    case .never: mode = .never
    }
    let restart = RestartPolicy(
      mode: mode, initialDelay: settings.backoff.initial, maximumDelay: settings.backoff.maximum,
      factor: settings.backoff.factor, jitter: settings.backoff.jitter,
      resetAfter: settings.backoff.resetAfter,
      limitCount: settings.startLimit.count, limitWindow: settings.startLimit.within,
      successCodes: settings.successCodes)
    var plan = LifecyclePlan.Process(
      name: settings.name, restart: restart, stop: stopPolicy(settings.stop),
      check: settings.healthCheck.map(check))
    plan.startsEarly = settings.start != .withApp
    plan.stopsAllOnFailure = settings.onFailure == .stopAll
    return plan
  }

  private func stopPolicy(_ settings: StopSettings) -> StopPolicy {
    StopPolicy(
      signal: Signal(rawValue: settings.signal), timeout: settings.timeout,
      killTarget: settings.kill == .group ? .group : .leader)
  }

  private func check(_ settings: HealthCheckSettings) -> CheckDefinition {
    let method: CheckDefinition.Method
    switch settings.probe {
    case .http(let target): method = .http(HTTPCheckTarget(target))
    case .tcp(let target): method = .tcp(CheckEndpoint(target.host, port: target.port))
    case .exec(.arguments(let list)): method = .exec(.list(list))
    case .exec(.shell(let text)): method = .exec(.shell(text))
    }
    return CheckDefinition(
      method: method, interval: settings.interval, timeout: settings.timeout, failures: settings.failures,
      successes: settings.successes, startPeriod: settings.startPeriod)
  }

  private func step(_ settings: StepSettings, isFatal: Bool) -> LifecyclePlan.Step {
    let definition = [
      settings.run.map { "\($0)" } ?? "wait \(settings.wait?.text ?? "")",
      settings.check.map { "\($0)" } ?? "", settings.workingDirectory ?? "",
      settings.user ?? "",
    ].joined(separator: "\n")
    let phase = PhaseStep(
      name: settings.name, definition: definition, hasCheck: settings.check != nil, timeout: settings.timeout,
      retries: settings.retries, retryDelay: settings.retryDelay, isFatal: isFatal,
      failsWhenInterrupted: settings.onInterrupted == .fail)
    return LifecyclePlan.Step(phase: phase, stop: stopPolicy(settings.stop))
  }

  // MARK: Images

  private mutating func appImage() -> ProcessImage {
    if settings.app.command == nil, context.command.isEmpty {
      problems.append(
        "there is no app to run: give it after --, as in `supervisor run -- gunicorn mysite.wsgi`, or set app.command"
      )
    }
    var image = image(of: settings.app, phase: "app")
    if !context.command.isEmpty { image.arguments = context.command }
    // A group in the background that reads from a terminal is stopped by it, so without --tty there is none.
    image.standardInput = context.hasTerminal && !context.handsTerminalOver ? .null : .inherited
    image.takesTerminal = context.handsTerminalOver && context.hasTerminal
    return image
  }

  private mutating func image(of process: ProcessSettings, phase: String) -> ProcessImage {
    var image = base(
      process.command, user: process.user, groups: process.groups, directory: process.workingDirectory,
      environment: process.environment, key: process.name == "app" ? "app" : "services.\(process.name)",
      phase: phase)
    image.umask = process.umask
    image.limits = process.limits.map { ResourceLimit(resource: $0.resource, soft: $0.soft, hard: $0.hard) }
    image.deathSignal = Signal(rawValue: process.stop.signal)
    for limit in process.limits where geteuid() != 0 {
      var current = rlimit()
      guard getrlimit(__rlimit_resource_t(UInt32(limit.resource)), &current) == 0,
        limit.hard > current.rlim_max
      else { continue }
      problems.append(
        "\(process.name): limits.\(limit.name): \(limit.hard) is more than this user may have (\(current.rlim_max)): "
          + "start as root, or raise the limit of the container")
    }
    return image
  }

  private mutating func image(of step: StepSettings, _ command: Command, phase: String) -> ProcessImage {
    var image = base(
      command, user: step.user, groups: step.groups, directory: step.workingDirectory,
      environment: step.environment,
      key: "\(phase) step \(step.name)", phase: phase)
    image.deathSignal = .kill
    return image
  }

  private mutating func base(
    _ command: Command?, user: String?, groups: [String]?, directory: String?,
    environment: [EnvironmentVariable],
    key: String, phase: String
  ) -> ProcessImage {
    var variables = settings.clearEnvironment ? ProcessEnvironment() : context.environment
    var identity: Identity?
    if let user {
      do throws(UserDatabase.UnknownName) {
        let (found, entry) = try users.resolve(user: user, groups: groups)
        identity = found
        if let entry {
          variables.set("HOME", to: RawString(entry.home))
          variables.set("USER", to: RawString(entry.name))
          variables.set("LOGNAME", to: RawString(entry.name))
        } else {
          // Without an entry in /etc/passwd there is no home; HOME must not stay root's.
          variables.set("HOME", to: "/")
        }
      } catch {
        problems.append("\(key): \(error)")
      }
      if geteuid() != 0, identity?.user != geteuid() {
        problems.append("\(key): user \(user) needs root to change to, and this is user \(geteuid())")
      }
      // Changing to oneself needs no privilege, and setgroups would ask for one.
      if geteuid() != 0 { identity = nil }
    }
    for variable in settings.environment + environment {
      variables.set(variable.name, to: RawString(variable.value))
    }
    variables.set("SUPERVISOR_RUN_ID", to: RawString(runID.value))
    variables.set("AUTOINIT_RUN_ID", to: RawString(runID.value))
    variables.set("SUPERVISOR_PHASE", to: RawString(phase))
    variables.set("SUPERVISOR_ROLE", to: "none")
    // How strays of this process are told from those of others.
    variables.set(StrayMark.variable, to: RawString(key))
    variables.set("SUPERVISOR_ROLE_FILE", to: RawString(roleFile))
    var image = ProcessImage(arguments: arguments(command), environment: variables)
    image.identity = identity
    setDirectory(of: &image, directory)
    return image
  }

  private func arguments(_ command: Command?) -> [RawString] {
    switch command {
    case .arguments(let list): return list.map { RawString($0) }
    case .shell(let text): return ["/bin/sh", "-c", RawString(text)]
    case nil: return []
    }
  }

  private func setDirectory(of image: inout ProcessImage, _ directory: String?) {
    guard let directory else {
      image.directory = context.directory ?? "/"
      image.directoryIsOptional = true
      return
    }
    if directory.hasPrefix("/") {
      image.directory = RawString(directory)
    } else {
      var whole = context.directory ?? "/"
      whole.bytes += Array("/\(directory)".utf8)
      image.directory = whole
    }
  }

  /// The image of a health check's command: everything but the command is the process's own.
  public static func checkImage(_ command: CheckDefinition.Command, of process: ProcessImage) -> ProcessImage
  {
    var image = process
    switch command {
    case .list(let list): image.arguments = list.map { RawString($0) }
    case .shell(let text): image.arguments = ["/bin/sh", "-c", RawString(text)]
    }
    image.standardInput = .null
    image.takesTerminal = false
    image.deathSignal = .kill
    return image
  }
}

extension CheckEndpoint {
  fileprivate init(_ host: Settings.Host, port: UInt16) {
    switch host {
    case .address(.ipv4(let bytes)), .address(.ipv6(let bytes)): self.init(host: .address(bytes), port: port)
    case .localhost: self.init(host: .localhost, port: port)
    }
  }
}

extension HTTPCheckTarget {
  fileprivate init(_ target: HTTPTarget) {
    self.init(
      endpoint: CheckEndpoint(target.host, port: target.port), path: target.path,
      hostHeader: target.authority)
  }
}
