extension Assembly {
  /// All settings; `problems` tells whether they may be used.
  mutating func settings(file: String?) -> EffectiveSettings {
    let root = Section.root
    let (runID, runIDOrigin) = runID()
    let timeout = duration(root, "timeout")
    let maximumWait = optionalDuration(root, "max_wait")
    let stopTimeout = stopTimeout()
    let runDirectory = text(root, "run_dir")
    let stateDirectory = text(root, "state_dir")
    let environment = environment(root, "environment")
    let clearEnvironment = boolean(root, "clear_environment")
    _ = text(root.section("framework"), "name")
    let coordination = coordination()

    // Steps inherit from the app, but stand above it in what is shown.
    var appAssembly = self
    let appDefaults = appAssembly.process("app", root.section("app"))
    let infrastructure = infrastructure(app: appDefaults)
    let node = node(app: appDefaults)
    let app = process("app", root.section("app"))
    let services = (resolution.names["services"] ?? []).map { name in
      process(name, root.section("services").named(name))
    }
    _ = text(root.section("litefs"), "mode")
    let health = health()
    let log = log()
    return EffectiveSettings(
      file: file, runID: runID, runIDOrigin: runIDOrigin, timeout: timeout, maximumWait: maximumWait,
      stopTimeout: stopTimeout, runDirectory: runDirectory, stateDirectory: stateDirectory,
      environment: environment, clearEnvironment: clearEnvironment, coordination: coordination,
      infrastructure: infrastructure, node: node, app: app, services: services, health: health, log: log,
      entries: entries)
  }

  /// `run_id`, or else what django-autoinit calls the same.
  private mutating func runID() -> (String?, Origin) {
    if let given = text(.root, "run_id") { return (given, origin(.root, "run_id")) }
    // A broken run_id is reported already, and must not silently become another release.
    guard resolution.diagnostics.allSatisfy({ $0.key != "run_id" || $0.severity != .error }),
      let inherited = lookup("AUTOINIT_RUN_ID"), !inherited.isEmpty
    else { return (nil, .default) }
    let origin = Origin.environment("AUTOINIT_RUN_ID")
    do throws(ValueProblem) {
      try ValueType.TextRule.label.check(inherited)
    } catch {
      problem("run_id", at: origin, error.message, error.suggestion)
    }
    record("run_id", inherited, origin)
    return (inherited, origin)
  }

  /// `stop_timeout`; `auto` stays a little below the time after which the platform kills everything.
  private mutating func stopTimeout() -> Duration {
    if case .duration(let given) = resolution.values["stop_timeout"]?.value {
      return optionalDuration(.root, "stop_timeout") ?? given
    }
    let (budget, reason): (Duration, String) =
      if let id = lookup("FLY_MACHINE_ID"), !id.isEmpty {
        (.milliseconds(4500), "auto, on Fly")
      } else if let host = lookup("KUBERNETES_SERVICE_HOST"), !host.isEmpty {
        (.seconds(28), "auto, on Kubernetes")
      } else {
        (.milliseconds(9500), "auto")
      }
    record(
      "stop_timeout", "\(budget.settingsText) (\(reason))",
      resolution.values["stop_timeout"]?.origin ?? .default)
    return budget
  }

  private mutating func coordination() -> CoordinationSettings {
    let section = Section.root.section("coordination")
    return CoordinationSettings(
      lock: choice(section, "lock", fallback: .file),
      readiness: choice(section, "readiness", fallback: .file),
      retryAfter: duration(section, "retry_after"), pollInterval: duration(section, "poll_interval"))
  }

  private mutating func infrastructure(app: ProcessSettings) -> InfrastructureSettings {
    let section = Section.root.section("infrastructure")
    let onFailure = choice(section, "on_failure", fallback: InfrastructureSettings.FailureMode.finish)
    return InfrastructureSettings(steps: steps(section, app: app) { _, _ in true }, onFailure: onFailure)
  }

  private mutating func node(app: ProcessSettings) -> NodeSettings {
    let section = Section.root.section("node")
    let markerDirectory = text(section, "marker_dir") ?? ""
    let fatalOnError = boolean(section, "fatal_on_error")
    let steps = steps(section, app: app) { assembly, step in
      assembly.optional(step, "fatal") { if case .boolean(let value) = $0 { value } else { nil } }
        ?? fatalOnError
    }
    return NodeSettings(steps: steps, markerDirectory: markerDirectory, fatalOnError: fatalOnError)
  }

  private mutating func health() -> HealthPageSettings {
    let section = Section.root.section("health")
    let unused = ListenAddress(address: .loopback4, port: 0, isAllInterfaces: false, text: "")
    let listen =
      optional(section, "listen") { if case .listenAddress(let value) = $0 { value } else { nil } } ?? unused
    return HealthPageSettings(
      listen: listen, listenWasSet: isGiven(section, "listen"), drainDelay: duration(section, "drain_delay"))
  }

  private mutating func log() -> LogSettings {
    let section = Section.root.section("log")
    return LogSettings(
      format: choice(section, "format", fallback: .text), level: choice(section, "level", fallback: .info),
      timestamps: boolean(section, "timestamps"))
  }

  // MARK: Steps

  private mutating func steps(
    _ phase: Section, app: ProcessSettings, isFatal: (inout Assembly, Section) -> Bool
  ) -> [StepSettings] {
    var steps: [StepSettings] = []
    var positions: [String: Origin] = [:]
    for index in 0..<(resolution.counts[phase.key("steps")] ?? 0) {
      let section = phase.item("steps", index)
      // An item that is no map is reported already.
      guard let place = resolution.mentioned[section.path] else { continue }
      let name = text(section, "name") ?? ""
      if !isGiven(section, "name") {
        problem(
          section.path, at: place, "the step has no name", "add 'name: …', unique among its phase's steps")
      } else if !name.isEmpty {
        let here = origin(section, "name")
        if let earlier = positions.updateValue(here, forKey: name) {
          problem(
            section.key("name"), at: here, "the name \(quoted(name)) is taken by the step at \(earlier)",
            "give each step of a phase its own name")
        }
      }
      if !isGiven(section, "run") {
        problem(section.path, at: place, "the step has nothing to run", "add 'run: [program, argument]'")
      }
      let user = text(section, "user")
      let step = StepSettings(
        name: name, description: text(section, "description"),
        run: command(section, "run") ?? .arguments([]),
        workingDirectory: text(section, "cwd") ?? app.workingDirectory,
        environment: app.environment.overlaid(with: environment(section, "environment")),
        user: user ?? app.user,
        groups: user == nil ? app.groups : nil, timeout: optionalDuration(section, "timeout"),
        retries: integer(section, "retries"), retryDelay: duration(section, "retry_delay"),
        check: command(section, "check"), stop: stop(section), isFatal: isFatal(&self, section),
        onInterrupted: choice(section, "on_interrupted", fallback: .rerun))
      steps.append(step)
    }
    return steps
  }

  mutating func stop(_ owner: Section) -> StopSettings {
    let section = owner.section("stop")
    return StopSettings(
      signal: signal(section, "signal"), timeout: duration(section, "timeout"),
      kill: choice(section, "kill", fallback: .group))
  }
}

extension [EnvironmentVariable] {
  /// These variables, with others added or taking their place.
  func overlaid(with others: [EnvironmentVariable]) -> [EnvironmentVariable] {
    let names = Set(others.map(\.name))
    return filter { !names.contains($0.name) } + others
  }
}
