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
    _ = texts(root, "include")
    let environment = environment(root, "environment")
    let clearEnvironment = boolean(root, "clear_environment")
    let dependencies = waits(root, "wait_for")
    let framework = framework()
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
    let hooks = HookSettings(onRoleChange: command(root.section("hooks"), "on_role_change"))
    let litefs = litefs()
    _ = text(root, "forward")
    let health = health()
    let log = log()
    return EffectiveSettings(
      file: file, runID: runID, runIDOrigin: runIDOrigin, timeout: timeout, maximumWait: maximumWait,
      stopTimeout: stopTimeout, runDirectory: runDirectory, stateDirectory: stateDirectory,
      environment: environment, clearEnvironment: clearEnvironment, dependencies: dependencies,
      framework: framework,
      coordination: coordination,
      infrastructure: infrastructure, node: node, app: app, services: services, hooks: hooks,
      litefs: litefs, health: health, log: log,
      entries: entries)
  }

  /// `run_id`, or else what django-autoinit calls the same: the deployment's word before that of the project's settings.
  private mutating func runID() -> (String?, Origin) {
    let inherited = lookup("AUTOINIT_RUN_ID") ?? ""
    let isImported = resolution.values["run_id"]?.origin.isImported ?? false
    if inherited.isEmpty || !isImported, let given = text(.root, "run_id") {
      return (given, origin(.root, "run_id"))
    }
    // A broken run_id is reported already, and must not silently become another release.
    guard resolution.diagnostics.allSatisfy({ $0.key != "run_id" || $0.severity != .error }),
      !inherited.isEmpty
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

  private mutating func framework() -> FrameworkSettings {
    let section = Section.root.section("framework")
    return FrameworkSettings(
      name: choice(section, "name", fallback: .auto), python: text(section, "python"),
      settingsModule: text(section, "settings_module"), databases: texts(section, "databases"))
  }

  private mutating func infrastructure(app: ProcessSettings) -> InfrastructureSettings {
    let section = Section.root.section("infrastructure")
    let parallelism = integer(section, "parallelism")
    let onFailure = choice(section, "on_failure", fallback: InfrastructureSettings.FailureMode.finish)
    return InfrastructureSettings(
      steps: steps(section, app: app) { _, _ in true }, parallelism: parallelism, onFailure: onFailure)
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
}
