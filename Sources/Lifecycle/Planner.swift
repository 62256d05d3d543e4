import AgentSupervision
import Checks
import Control
import EventLoop
import Glibc
import Phases
import Processes
import Settings

/// Makes the plans from settings and context, and collects everything that makes them impossible.
public struct Planner {
  let settings: EffectiveSettings
  let context: StartContext
  let users: UserDatabase
  let runID: RunID
  let roleFile: String
  /// The namespace in shared backends.
  let project: String?
  private let stateDirectory: String
  let runDirectory: String
  let scope: LifecyclePlan.Scope
  private let inputs: [StepInput]
  /// What is wrong, one sentence each.
  public internal(set) var problems: [String] = []

  /// A planner.
  /// - Parameters:
  ///   - scope: how much of the life there is to be.
  ///   - runDirectory: for the role file that children are told of.
  ///   - stateDirectory: where lock and record are, for messages.
  ///   - inputs: what the steps of a framework's preset read.
  public init(
    settings: EffectiveSettings, context: StartContext, users: UserDatabase,
    scope: LifecyclePlan.Scope = .life,
    runDirectory: String, stateDirectory: String, inputs: [StepInput] = []
  ) {
    self.scope = scope
    self.inputs = inputs
    self.stateDirectory = stateDirectory
    self.settings = settings
    self.context = context
    self.users = users
    project =
      settings.coordination.isShared
      ? ProjectName(settings, workingDirectory: context.directory?.bytes ?? [UInt8(ascii: "/")]).value : nil
    runID = RunID(given: settings.runID, workingDirectory: context.directory?.bytes ?? [UInt8(ascii: "/")])
    self.runDirectory = runDirectory
    roleFile = runDirectory + "/role"
  }

  /// Both plans. Meaningless when there are `problems`.
  public mutating func make() -> (LifecyclePlan, LaunchPlan) {
    var launch = LaunchPlan()
    var plan = LifecyclePlan(
      app: process(settings.app), runID: runID, owner: "\(context.hostName) (pid \(getpid()))")
    plan.scope = scope
    plan.services = settings.services.map { process($0) }
    if scope == .life { launch.processes[.app] = appImage() }
    for (index, service) in settings.services.enumerated() {
      launch.processes[.service(index)] = image(of: service, phase: "service")
    }
    for (index, step) in settings.infrastructure.steps.enumerated() {
      plan.infrastructure.append(add(step, .infrastructureStep(index), isFatal: true, to: &launch))
    }
    for (index, step) in settings.node.steps.enumerated() {
      let isFatal = step.isFatal || settings.node.fatalOnError
      plan.node.append(add(step, .nodeStep(index), isFatal: isFatal, to: &launch))
    }
    setRules(&plan)
    addLiteFS(&plan, &launch)
    addWaits(&plan, &launch)
    if let hook = settings.hooks.onRoleChange, scope == .life {
      plan.hasRoleHook = true
      launch.roleHook = base(
        hook, user: nil, groups: nil, directory: nil, environment: [], key: "hooks.on_role_change",
        phase: "hook")
    }
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
    plan.startsBeforeLiteFS = settings.start == .beforeLiteFS
    plan.stopsAllOnFailure = settings.onFailure == .stopAll
    plan.waits = !settings.dependencies.isEmpty
    plan.isForPrimary = settings.role == .primary
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

  /// What is waited for, and by whom; and the agent, when there is anything.
  private mutating func addWaits(_ plan: inout LifecyclePlan, _ launch: inout LaunchPlan) {
    func add(_ id: WaitID, _ list: [WaitSettings]) {
      if !list.isEmpty { launch.waits[id] = list.compactMap { Dependency($0) } }
    }
    add(.start, settings.dependencies)
    plan.waitsAtStart = !settings.dependencies.isEmpty
    if scope == .life {
      add(.process(.app), settings.app.dependencies)
      for (index, service) in settings.services.enumerated() {
        add(.process(.service(index)), service.dependencies)
      }
    }
    launch.waitTimeout = settings.timeout
    launch.coordination = Planner.coordination(
      settings, runID: runID, owner: plan.owner, workingDirectory: context.directory)
    guard !launch.waits.isEmpty || launch.coordination != nil || launch.litefs != nil else { return }
    launch.agentEnvironment = context.environment
    do throws(AgentPath.Missing) {
      launch.agentProgram = try AgentPath.find(environment: context.environment)
    } catch {
      problems.append("\(launch.coordination == nil ? "wait_for" : "coordination") needs it, but \(error)")
    }
  }

  /// How the phases wait and work.
  private func setRules(_ plan: inout LifecyclePlan) {
    let coordination = settings.coordination
    plan.infrastructureRules.timeout = settings.timeout
    plan.infrastructureRules.maximumWait = settings.maximumWait
    plan.infrastructureRules.pollInterval = coordination.pollInterval
    // Whoever asks for the phases alone wants them tried now.
    plan.infrastructureRules.retryAfter = scope == .life ? coordination.retryAfter : nil
    plan.infrastructureRules.takeoverDelay = coordination.takeoverDelay
    plan.infrastructureRules.parallelism = settings.infrastructure.parallelism
    plan.infrastructureRules.stopsOnFailure = settings.infrastructure.onFailure == .stop
    plan.infrastructureRules.onlyWaits = scope == .node
    plan.infrastructureRules.startsOver = coordination.lock == .postgres
    plan.infrastructureRules.endsRemains = coordination.lock == .postgres
    switch coordination.lock {
    case .file: plan.infrastructureRules.place = "file backend, state_dir \(stateDirectory)"
    case .postgres: plan.infrastructureRules.place = "postgres backend, project \(project ?? "")"
    case .litefs: plan.infrastructureRules.place = "litefs backend, \(settings.litefs?.mountPath ?? "")"
    }
    if scope == .node, coordination.readiness == .redis, let redis = coordination.redis {
      plan.infrastructureRules.place += "; \(Planner.place(of: redis, runID: plan.runID))"
    }
    plan.nodeRules.timeout = settings.timeout
    plan.nodeRules.takeoverDelay = coordination.takeoverDelay
    plan.nodeRules.awaitsRelease = scope == .node && !settings.infrastructure.steps.isEmpty
    plan.nodeRules.place = "node.marker_dir \(settings.node.markerDirectory)"
  }

  /// What the phases know of a step, as its record names it.
  public static func phaseStep(_ settings: StepSettings, isFatal: Bool) -> PhaseStep {
    let definition = [
      settings.run.map { "\($0)" } ?? "wait \(settings.wait?.text ?? "")",
      settings.check.map { "\($0)" } ?? "", settings.workingDirectory ?? "",
      settings.user ?? "",
    ].joined(separator: "\n")
    var phase = PhaseStep(
      name: settings.name, definition: definition, hasCheck: settings.check != nil, timeout: settings.timeout,
      retries: settings.retries, retryDelay: settings.retryDelay, isFatal: isFatal,
      failsWhenInterrupted: settings.onInterrupted == .fail)
    phase.needs = settings.needs
    phase.hasRollback = settings.rollback != nil
    phase.rollsBackOnStop = settings.rollbackOnStop
    phase.rollsBackWhenFailed = settings.rollbackFailed
    phase.rechecksOnStart = settings.recheck != .never
    if case .every(let interval) = settings.recheck { phase.rechecksAfter = interval }
    phase.affectsReady = settings.affectsReady
    phase.repeatsAfter = settings.every
    return phase
  }

  private mutating func add(
    _ step: StepSettings, _ id: ProcessID, isFatal: Bool, to launch: inout LaunchPlan
  ) -> LifecyclePlan.Step {
    let phase = if case .nodeStep = id { "node" } else { "infrastructure" }
    if let command = step.run {
      launch.steps[id] = image(of: step, command, phase: phase)
    } else if let wait = step.wait {
      launch.waits[.process(id)] = [wait].compactMap { Dependency($0) }
    }
    let isNode = if case .nodeStep = id { true } else { false }
    if let input = inputs.first(where: { $0.isNode == isNode && $0.step == step.name }) {
      launch.steps[id]?.standardInput = .text(Array(input.text.utf8))
      if input.reportsHooks { launch.hookSteps.insert(id) }
    }
    if let check = step.check { launch.checks[id] = image(of: step, check, phase: phase, isCheck: true) }
    if let rollback = step.rollback { launch.rollbacks[id] = image(of: step, rollback, phase: phase) }
    var planned = LifecyclePlan.Step(
      phase: Planner.phaseStep(step, isFatal: isFatal), stop: stopPolicy(step.stop))
    planned.waits = step.run == nil
    return planned
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
