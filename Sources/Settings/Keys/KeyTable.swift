/// Every key there is: the parser, `settings show` and the reference are made from this table.
public enum KeyTable {
  /// The rows, in the order in which they are shown.
  public static let keys: [KeyDescription] =
    general + coordination + phases + process(app: true) + process(app: false) + hooks + litefs + page

  /// What the sections are for, by path.
  static let sections: [String: String] = [
    "framework": "whose steps are made by themselves, and how its project is found",
    "coordination": "how nodes agree who prepares a release, and learn that it is ready",
    "coordination.postgres": "the PostgreSQL server of the lock, readiness and ledger",
    "coordination.redis": "the Redis server of readiness",
    "infrastructure": "what runs once per cluster and release, on one node, while the others wait",
    "infrastructure.steps": "the steps, in order",
    "infrastructure.steps[]":
      "each runs a command or waits; those that need nothing of each other may run at the same time",
    "infrastructure.steps[].stop": "how the step is told to stop",
    "node": "what runs once per node or volume and release",
    "node.steps": "the steps, in order",
    "node.steps[].stop": "how the step is told to stop",
    "app": "the main process, which usually follows -- on the command line",
    "app.backoff": "how long to wait between restarts",
    "app.start_limit": "how many starts in how much time are too many",
    "app.stop": "how it is told to stop",
    "app.ready": "how to learn whether it answers: one of http, tcp, exec, notify, descriptor",
    "services": "other processes beside the app, by name",
    "services.*.backoff": "how long to wait between restarts",
    "services.*.start_limit": "how many starts in how much time are too many",
    "services.*.stop": "how it is told to stop",
    "services.*.ready": "how to learn whether it answers: one of http, tcp, exec, notify, descriptor",
    "hooks": "commands that run when something happens",
    "litefs": "LiteFS, which replicates SQLite databases between nodes",
    "litefs.lease": "how the primary is chosen",
    "litefs.lease.consul": "leases in Consul",
    "health": "the page that orchestrators ask",
    "log": "our own lines on standard error",
  ]

  /// The rows by path.
  static let byPath: [String: KeyDescription] = Dictionary(
    keys.map { ($0.path, $0) }, uniquingKeysWith: { first, _ in first })

  /// The rows that a variable can set, with its name.
  static let settable: [(key: KeyDescription, variable: String)] = keys.compactMap { key in
    key.environmentName.map { (key, $0) }
  }

  static func key(
    _ path: String, _ type: ValueType, default defaultText: String? = nil, _ summary: String,
    secret: Bool = false,
    _ availability: Availability = .now
  ) -> KeyDescription {
    KeyDescription(
      path: path, type: type, defaultText: defaultText, summary: summary, isSecret: secret,
      availability: availability)
  }

  // Short names keep a row in a line.
  static let anyText = ValueType.text(.any)
  static let label = ValueType.text(.label)
  static let path = ValueType.text(.path)
  static let absolutePath = ValueType.text(.absolutePath)
  static let duration = ValueType.duration(atLeast: .zero, words: [])
  static let positiveDuration = ValueType.duration(atLeast: .nanoseconds(1), words: [])
  static func durationOr(_ words: String...) -> ValueType {
    .duration(atLeast: .nanoseconds(1), words: words)
  }
  static func choice(
    _ words: String..., later: [String: String] = [:], never: [String: ValueType.Refusal] = [:]
  ) -> ValueType {
    .choice(words, later: later, never: never)
  }

  // What later keys wait for.
  static let liteFSWork = "LiteFS support"
  static let notifyWork = "sd_notify support"
  static let captureWork = "log capture"

  private static let general: [KeyDescription] = [
    key("run_id", label, "the release: readiness, ledger and markers are versioned by it"),
    key(
      "timeout", duration, default: "300s",
      "how long a start waits, for dependencies, lock and readiness together, without progress"),
    key("max_wait", durationOr("none"), default: "none", "how long to wait for lock or readiness at all"),
    key(
      "stop_timeout", .duration(atLeast: .zero, words: ["auto"]), default: "auto",
      "budget of the whole stop; auto: 4.5s on Fly, 28s on Kubernetes, else 9.5s"),
    key("run_dir", absolutePath, "private directory: control socket, role file"),
    key("state_dir", absolutePath, "shareable directory: file lock, readiness, ledger"),
    key("include", .texts(.path), "globs of fragments to merge, relative to this file"),
    key("environment", .environment, "for every child"),
    key("clear_environment", .boolean, default: "false", "children do not inherit our environment"),
    key("wait_for", .waits, "dependencies to wait for, on every node, before the phases"),
    key(
      "framework.name", choice("auto", "django", "none"), default: "auto",
      "the framework whose steps are made by themselves; auto: django where a project asks for it"),
    key("framework.python", path, "the interpreter; found when not set"),
    key("framework.settings_module", label, "DJANGO_SETTINGS_MODULE; found when not set"),
    key(
      "framework.databases", .texts(.label), "aliases of the databases to migrate; default alone when not set"
    ),
  ]

  private static let lockInRedis = ValueType.Refusal(
    reason: "cannot be the lock: it may run out while a migration still works, and another node begins",
    advice: "write lock: postgres, or lock: file where the nodes share state_dir; readiness can be in redis")

  private static let coordination: [KeyDescription] = [
    key("coordination.project", label, "namespace in a shared backend; derived when not set"),
    key(
      "coordination.lock",
      .choice(["file", "postgres", "litefs"], later: [:], never: ["redis": lockInRedis]),
      "where the lock and the ledger are; when not set, litefs with LiteFS, else file"),
    key(
      "coordination.readiness", choice("file", "postgres", "redis", "litefs"),
      "where release readiness is; when not set, where the lock is"),
    key("coordination.readiness_key_prefix", label, default: "autoinit:ready", "prefix in Redis"),
    key("coordination.readiness_ttl", positiveDuration, default: "24h", "life of the key in Redis"),
    key(
      "coordination.retry_after", duration, default: "10s",
      "pause after a failure, doubled by each further one"),
    key(
      "coordination.takeover_delay", duration, default: "3s",
      "pause before taking over an unfinished claim"),
    key(
      "coordination.poll_interval", positiveDuration, default: "1s", "how often waiters look by themselves"),
    key(
      "coordination.postgres.url", .text(.postgresConnection),
      "connection string, as libpq reads it; when not set, libpq's own environment and files", secret: true),
    key("coordination.postgres.url_file", path, "file with the connection string"),
    key("coordination.postgres.schema", label, default: "public", "schema of our tables"),
    key("coordination.postgres.table", label, default: "supervisor", "prefix of our tables"),
    key("coordination.redis.url", .text(.redisURL), "redis:// or rediss:// URL", secret: true),
    key("coordination.redis.url_file", path, "file with the URL"),
  ]

  private static let phases: [KeyDescription] =
    [
      key("infrastructure.parallelism", .integer(1...64), default: "1", "how many steps may run at a time"),
      key(
        "infrastructure.on_failure", choice("finish", "stop"), default: "finish",
        "what running steps do when another one fails: end by themselves, or be stopped"
      ),
    ] + step("infrastructure.steps[]", isNode: false)
    + [
      key(
        "node.marker_dir", absolutePath, default: "/tmp/autoinit", "where the marker and the node's lock are"),
      key("node.fatal_on_error", .boolean, default: "false", "a failed node step ends the start"),
    ] + step("node.steps[]", isNode: true)

  private static let page: [KeyDescription] = [
    key("health.listen", .listenAddress, default: "127.0.0.1:8686", "where the health page listens"),
    key(
      "health.drain_delay", duration, default: "0s", "how long to stay up, not ready, before a requested stop"
    ),
    key("health.compat", .boolean, default: "false", "django-litefs's three paths too", .later(liteFSWork)),
    key(
      "log.format", choice("text", "json"), default: "text", "how our own lines look"),
    key(
      "log.level", choice("debug", "info", "warning", "error"), default: "info",
      "the least important line written"),
    key("log.prefix", .boolean, default: "false", "the process's name before each line", .later(captureWork)),
    key("log.timestamps", .boolean, default: "true", "the time before our own lines"),
    key(
      "log.capture", .boolean, default: "false", "keep the last output of each process", .later(captureWork)),
  ]
}
