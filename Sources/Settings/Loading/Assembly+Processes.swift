extension Assembly {
  /// The app, or one service.
  mutating func process(_ name: String, _ section: Section) -> ProcessSettings {
    let isApp = section.pattern == "app"
    if !isApp, !isGiven(section, "command") {
      problem(
        section.path, at: resolution.mentioned[section.path] ?? .default, "the service has no command",
        "add 'command: [program, argument]'")
    }
    let process = ProcessSettings(
      name: name, command: command(section, "command"), workingDirectory: text(section, "cwd"),
      umask: optional(section, "umask") { if case .umask(let value) = $0 { value } else { nil } },
      user: text(section, "user"), groups: groups(section), environment: environment(section, "environment"),
      limits: optional(section, "limits") { if case .limits(let value) = $0 { value } else { nil } } ?? [],
      restart: choice(section, "restart", fallback: .never), backoff: backoff(section),
      startLimit: startLimit(section), onFailure: choice(section, "on_failure", fallback: .stopAll),
      successCodes: exitCodes(section, "success_codes"), stop: stop(section),
      signals: isApp
        ? optional(section, "signals") { if case .signalMap(let value) = $0 { value } else { nil } } ?? [:]
        : [:],
      healthCheck: healthCheck(section), dependencies: waits(section, "wait_for"),
      role: isApp ? .any : choice(section, "role", fallback: .any),
      start: isApp ? .withApp : choice(section, "start", fallback: .withApp))
    if process.role != .any, process.start != .withApp {
      problem(
        section.key("start"), at: origin(section, "start"),
        "who is the primary is known only after the phases, so a service with 'role: \(process.role.rawValue)' "
          + "cannot start before them",
        "remove start, or role")
    }
    if process.role == .replica, liteFSMode == nil, !presetFollows {
      problem(
        section.key("role"), at: origin(section, "role"),
        "there are replicas with LiteFS only, and litefs.mode is off", "set litefs.mode, or remove role")
    } else if process.role == .replica, liteFSMode == .directory {
      problem(
        section.key("role"), at: origin(section, "role"),
        "with 'litefs.mode: directory' this node is always the primary, so the service would never run",
        "remove the service, or role")
    }
    return process
  }

  private mutating func groups(_ section: Section) -> [String]? {
    guard let groups = texts(section, "groups") else { return nil }
    if groups.contains("") {
      problem(section.key("groups"), at: origin(section, "groups"), "a group's name is empty", "remove it")
    }
    return groups
  }

  private mutating func backoff(_ process: Section) -> BackoffSettings {
    let section = process.section("backoff")
    let backoff = BackoffSettings(
      initial: duration(section, "initial"), maximum: duration(section, "maximum"),
      factor: number(section, "factor"), jitter: number(section, "jitter"),
      resetAfter: duration(section, "reset_after"))
    let areRead = ["initial", "maximum"].allSatisfy { name in
      !isGiven(section, name) || resolution.values[section.key(name)] != nil
    }
    if areRead, backoff.initial > backoff.maximum {
      let culprit = isGiven(section, "initial") ? "initial" : "maximum"
      problem(
        section.key(culprit), at: origin(section, culprit),
        "the first delay (\(backoff.initial.settingsText)) is longer than the longest one "
          + "(\(backoff.maximum.settingsText))",
        "raise backoff.maximum, or lower backoff.initial")
    }
    return backoff
  }

  private mutating func startLimit(_ process: Section) -> StartLimit {
    let section = process.section("start_limit")
    return StartLimit(count: integer(section, "count"), within: duration(section, "within"))
  }

  private mutating func healthCheck(_ process: Section) -> HealthCheckSettings? {
    let section = process.section("ready")
    let kinds = ["http", "tcp", "exec"].filter { isGiven(section, $0) }
    let others = ["interval", "timeout", "failures", "successes", "start_period"]
    guard isGiven(process, "ready") || !kinds.isEmpty || others.contains(where: { isGiven(section, $0) })
    else {
      return nil
    }
    let place = resolution.mentioned[section.path]
    if kinds.isEmpty {
      // Kinds of later versions are reported by themselves.
      let isReported = resolution.diagnostics.contains { diagnostic in
        diagnostic.key == section.key("notify") || diagnostic.key == section.key("descriptor")
          || diagnostic.key == section.path
      }
      if !isReported {
        let given = others.first { isGiven(section, $0) }
        problem(
          section.path, at: place ?? given.map { origin(section, $0) } ?? .default,
          "does not say what to check",
          "add one of http, tcp or exec, as in 'http: \"http://127.0.0.1:8000/health\"'")
      }
    } else if kinds.count > 1 {
      problem(
        section.path, at: place ?? origin(section, kinds[1]),
        "says to check \(kinds.joined(separator: " and ")), and only one can be checked",
        "keep the one that tells most; an exec check can do several things")
    }
    let http: HTTPTarget? = optional(section, "http") {
      if case .httpTarget(let value) = $0 { value } else { nil }
    }
    let tcp: SocketTarget? = optional(section, "tcp") {
      if case .tcpTarget(let value) = $0 { value } else { nil }
    }
    let exec = command(section, "exec")
    let probe: HealthCheckSettings.Probe =
      if let http {
        .http(http)
      } else if let tcp {
        .tcp(tcp)
      } else {
        .exec(exec ?? .arguments([]))
      }
    return HealthCheckSettings(
      probe: probe, interval: duration(section, "interval"), timeout: duration(section, "timeout"),
      failures: integer(section, "failures"), successes: integer(section, "successes"),
      startPeriod: duration(section, "start_period"))
  }
}
