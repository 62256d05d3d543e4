// The rows that steps share, and those that the app and the services share.

extension KeyTable {
  static func step(_ prefix: String, isNode: Bool) -> [KeyDescription] {
    func row(
      _ name: String, _ type: ValueType, default defaultText: String? = nil, _ summary: String,
      _ availability: Availability = .now
    ) -> KeyDescription {
      key("\(prefix).\(name)", type, default: defaultText, summary, availability)
    }
    return [
      row("name", label, "unique in its phase; required"),
      row("description", anyText, "for people"),
      row(
        "run", .command, "what it does; this or wait_for is required, but for a step that amends a preset's"),
      row("wait_for", .wait, "what it waits for, instead of running a command"),
      row("needs", .texts(.label), "names of steps of this phase that must be done before"),
      row("cwd", path, "working directory; the app's when not set"),
      row("environment", .environment, "on top of the app's"),
      row("user", .text(.user), "user; the app's when not set"),
      row("timeout", durationOr("none"), default: "none", "how long one attempt may take"),
      row("retries", .integer(0...1000), default: "0", "further attempts after the first"),
      row("retry_delay", duration, default: "1s", "from one attempt to the next"),
      row("check", .command, "must pass for the step to be done"),
      row("rollback", .command, "undoes the step when a later one fails"),
      row("rollback_on_stop", .boolean, default: "false", "roll back on a requested stop too"),
      row("rollback_failed", .boolean, default: "false", "roll back the step when it fails itself too"),
      row(
        "fatal", .boolean, "its failure ends the start; node.fatal_on_error when not set",
        isNode
          ? .now : .misplaced("a failed infrastructure step always ends the start; only node steps have it")),
      row(
        "recheck", durationOr("never", "on_start"), default: "never",
        "when its check runs again: at every start, or also this often while the app runs; the step again if it fails"
      ),
      row(
        "affects_ready", .boolean, default: "false",
        "the node is not ready while that check fails"),
      row(
        "every", positiveDuration,
        isNode
          ? "repeats the step this often while the app runs, once for each volume"
          : "repeats the step this often while the app runs, on the primary"
      ),
    ] + stop("\(prefix).stop", timeout: "5s") + [
      row(
        "on_interrupted", choice("rerun", "fail"), default: "rerun",
        "what becomes of a step that was begun, not done")
    ]
  }

  private static func stop(_ prefix: String, timeout: String) -> [KeyDescription] {
    [
      key("\(prefix).signal", .signal, default: "TERM", "the signal that asks it to stop"),
      key("\(prefix).timeout", duration, default: timeout, "how long it may take; cut to the budget"),
      key("\(prefix).kill", choice("group", "leader"), default: "group", "who is killed after that"),
    ]
  }

  static func process(app: Bool) -> [KeyDescription] {
    let prefix = app ? "app" : "services.*"
    func row(
      _ name: String, _ type: ValueType, default defaultText: String? = nil, _ summary: String,
      _ availability: Availability = .now
    ) -> KeyDescription {
      key("\(prefix).\(name)", type, default: defaultText, summary, availability)
    }
    return [
      row("command", .command, app ? "what to run when nothing follows --" : "what to run; required"),
      row("cwd", path, "working directory"),
      row("umask", .umask, "file mode mask, octal"),
      row("user", .text(.user), "user, or user:group"),
      row("groups", .texts(.any), "supplementary groups; the user's own when not set"),
      row("environment", .environment, "on top of the top-level one"),
      row("limits", .limits, "resource limits: {nofile: 65536}"),
      row(
        "restart", choice("always", "on-failure", "never"), default: app ? "never" : "always",
        "when to start it again"),
      row("backoff.initial", positiveDuration, default: "500ms", "the first delay before a restart"),
      row("backoff.maximum", positiveDuration, default: "30s", "the longest delay"),
      row("backoff.factor", .number(1...100), default: "2", "growth from one delay to the next"),
      row("backoff.jitter", .number(0...1), default: "0.1", "random spread, as a part of the delay"),
      row("backoff.reset_after", duration, default: "60s", "a process that ran this long starts over"),
      row("start_limit.count", .integer(1...1_000_000), default: "10", "starts that are allowed"),
      row("start_limit.within", positiveDuration, default: "10m", "the time they are counted in"),
      row("on_failure", choice("stop_all", "ignore"), default: "stop_all", "after giving up"),
      row("success_codes", .exitCodes, default: "[0]", "exit codes that are no failure"),
    ] + stop("\(prefix).stop", timeout: "30s") + [
      row(
        "signals", .signalMap, "what becomes of forwarded signals: {USR1: drop, HUP: USR2}",
        app ? .now : .misplaced("signals are only forwarded to the app")),
      row("ready.http", .httpTarget, "healthy when this URL answers"),
      row("ready.tcp", .tcpTarget, "healthy when this address accepts a connection"),
      row("ready.exec", .command, "healthy when this command exits with 0"),
      row("ready.notify", .boolean, "healthy when it says so with sd_notify", .later(notifyWork)),
      row(
        "ready.descriptor", .integer(3...1023), "healthy when it writes to this descriptor",
        .later(notifyWork)),
      row("ready.interval", positiveDuration, default: "5s", "from one check to the next"),
      row("ready.timeout", positiveDuration, default: "2s", "how long an answer may take"),
      row("ready.failures", .integer(1...1000), default: "3", "failures in a row that make it unhealthy"),
      row("ready.successes", .integer(1...1000), default: "1", "answers in a row that make it healthy"),
      row("ready.start_period", duration, default: "60s", "how long after the start failures do not count"),
      row("watchdog", positiveDuration, "sd_notify WATCHDOG=1 at least this often", .later(notifyWork)),
      row("wait_for", .waits, "what to wait for before this process starts"),
      row(
        "role", choice("any", "primary", "replica"), default: "any",
        "the role it runs in", app ? .misplaced("the app runs in every role; bind a service to a role") : .now
      ),
      row(
        "start", choice("before_litefs", "before_phases", "with_app"), default: "with_app",
        "when it is started",
        app ? .misplaced("the app always starts after the phases; only services have it") : .now),
    ]
  }
}
