extension Assembly {
  /// The steps of a phase.
  mutating func steps(
    _ phase: Section, app: ProcessSettings, isFatal: (inout Assembly, Section) -> Bool
  ) -> [StepSettings] {
    var steps: [StepSettings] = []
    var positions: [String: Origin] = [:]
    let amendable = presetSteps(of: phase)
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
      if !presetFollows { checkWork(of: section, name, amendable, at: place) }
      let user = text(section, "user")
      let step = StepSettings(
        name: name, description: text(section, "description"),
        run: command(section, "run"),
        wait: wait(section, "wait_for"),
        needs: texts(section, "needs") ?? [],
        workingDirectory: text(section, "cwd") ?? app.workingDirectory,
        environment: app.environment.overlaid(with: environment(section, "environment")),
        user: user ?? app.user,
        groups: user == nil ? app.groups : nil, timeout: optionalDuration(section, "timeout"),
        retries: integer(section, "retries"), retryDelay: duration(section, "retry_delay"),
        check: command(section, "check"), rollback: command(section, "rollback"),
        rollbackOnStop: boolean(section, "rollback_on_stop"),
        rollbackFailed: boolean(section, "rollback_failed"), recheck: recheck(section),
        affectsReady: boolean(section, "affects_ready"), every: optionalDuration(section, "every"),
        stop: stop(section), isFatal: isFatal(&self, section),
        onInterrupted: choice(section, "on_interrupted", fallback: .rerun))
      steps.append(step)
      if !presetFollows { checkAgreement(of: step, section) }
    }
    if !presetFollows { checkGraph(phase) }
    return steps
  }

  /// A step runs a command or waits, and not both.
  private mutating func checkWork(
    of step: Section, _ name: String, _ amendable: [String], at place: Origin
  ) {
    switch (isGiven(step, "run"), isGiven(step, "wait_for")) {
    case (false, false):
      var (message, advice) = ("the step has nothing to run", "add 'run: [program, argument]'")
      if !amendable.isEmpty {
        message += ", and the preset has no step of this name left to amend"
        advice =
          nearest(to: name, among: amendable).map { "did you mean \($0)?" }
          ?? "\(advice); the preset's steps are \(amendable.joined(separator: ", "))"
      }
      problem(step.path, at: place, message, advice)
    case (true, true):
      problem(
        step.key("wait_for"), at: origin(step, "wait_for"), "a step either runs a command or waits, not both",
        "make the wait a step of its own, and let this one need it")
    default: break
    }
  }

  /// The names of those that a preset brought.
  private func presetSteps(of phase: Section) -> [String] {
    (0..<(resolution.counts[phase.key("steps")] ?? 0)).compactMap { index in
      guard let given = resolution.values[phase.item("steps", index).key("name")],
        case .preset = given.origin,
        case .text(let name) = given.value
      else { return nil }
      return name
    }
  }

  private mutating func recheck(_ step: Section) -> StepSettings.Recheck {
    optional(step, "recheck") { value in
      switch value {
      case .duration(let interval): .every(interval)
      case .word("on_start"): .onStart
      case .word: .never
      default: nil
      }
    } ?? .never
  }

  /// Keys that do nothing without another one.
  private mutating func checkAgreement(of step: StepSettings, _ section: Section) {
    if step.recheck != .never, step.check == nil, !isGiven(section, "check") {
      problem(
        section.key("recheck"), at: origin(section, "recheck"), "the step has no check to run again",
        "add 'check: [program, argument]'")
    }
    var isRegular = false
    if case .every(let interval) = step.recheck {
      isRegular = true
      checkInterval(interval, "recheck", section)
    }
    if let interval = step.every { checkInterval(interval, "every", section) }
    if step.affectsReady, !isRegular {
      problem(
        section.key("affects_ready"), at: origin(section, "affects_ready"),
        "nothing looks at the step while the app runs", "add 'recheck: 60s'")
    }
    for (name, isSet) in [
      ("rollback_on_stop", step.rollbackOnStop), ("rollback_failed", step.rollbackFailed),
    ] where isSet && !isGiven(section, "rollback") {
      problem(
        section.key(name), at: origin(section, name), "the step has no rollback",
        "add 'rollback: [program, argument]'")
    }
  }

  private mutating func checkInterval(_ interval: Duration, _ key: String, _ section: Section) {
    guard interval < .seconds(1) else { return }
    problem(
      section.key(key), at: origin(section, key), "more often than once a second is not possible",
      "use '1s' or more")
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
