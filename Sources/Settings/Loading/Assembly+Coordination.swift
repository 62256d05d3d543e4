extension Assembly {
  mutating func coordination() -> CoordinationSettings {
    let section = Section.root.section("coordination")
    let project = text(section, "project")
    let lock = choice(section, "lock", fallback: CoordinationSettings.Backend.file)
    let readiness = readiness(section, lock)
    let keyPrefix = text(section, "readiness_key_prefix") ?? ""
    let timeToLive = duration(section, "readiness_ttl")
    let retryAfter = duration(section, "retry_after")
    let takeoverDelay = duration(section, "takeover_delay")
    let pollInterval = duration(section, "poll_interval")
    let postgres = postgres(section.section("postgres"))
    let url = text(section.section("redis"), "url")
    _ = text(section.section("redis"), "url_file")
    let redis = url.map { RedisSettings(url: $0, keyPrefix: keyPrefix, key: nil, timeToLive: timeToLive) }
    // Who imports from another system does not know all of it yet.
    if !presetFollows { check(section, lock, readiness) }
    return CoordinationSettings(
      project: project, lock: lock, readiness: readiness, retryAfter: retryAfter,
      takeoverDelay: takeoverDelay,
      pollInterval: pollInterval, postgres: postgres, redis: redis)
  }

  /// `readiness`; where the lock is, unless it was said.
  private mutating func readiness(
    _ section: Section, _ lock: CoordinationSettings.Backend
  ) -> CoordinationSettings.ReadinessBackend {
    let given: CoordinationSettings.ReadinessBackend? = optional(section, "readiness") {
      if case .text(let word) = $0 { .init(rawValue: word) } else { nil }
    }
    if let given { return given }
    if !isGiven(section, "readiness") {
      record(section.key("readiness"), lock.rawValue, origin(section, "lock"))
    }
    return lock == .file ? .file : .postgres
  }

  private mutating func postgres(_ section: Section) -> PostgreSQLSettings {
    let url = text(section, "url") ?? ""
    _ = text(section, "url_file")
    let schema = text(section, "schema") ?? ""
    let table = text(section, "table") ?? ""
    // PostgreSQL cuts longer names, and two of them might become one.
    for (name, value, limit) in [("schema", schema, 63), ("table", table, 63 - "_release".utf8.count)]
    where value.utf8.count > limit {
      problem(
        section.key(name), at: origin(section, name),
        "\(quoted(value)) is too long for PostgreSQL", "use at most \(limit) bytes")
    }
    return PostgreSQLSettings(url: url, schema: schema, table: table)
  }

  /// What lock and readiness cannot be together.
  private mutating func check(
    _ section: Section, _ lock: CoordinationSettings.Backend,
    _ readiness: CoordinationSettings.ReadinessBackend
  ) {
    // A wrong word is reported already.
    guard resolution.values["coordination.lock"] != nil || !isGiven(section, "lock"),
      resolution.values["coordination.readiness"] != nil || !isGiven(section, "readiness")
    else { return }
    let key = section.key("readiness")
    let place = origin(section, "readiness")
    switch (lock, readiness) {
    case (.file, .file), (.postgres, .postgres): break
    case (.postgres, .file):
      problem(
        key, at: place, "files on this host tell the other nodes nothing, and the lock is in postgres",
        "remove it (readiness is then where the lock is), or write redis")
    case (.file, .postgres):
      problem(
        key, at: place, "cannot be in postgres while the lock is in files: the tables are the lock holder's",
        "write lock: postgres too")
    case (_, .redis):
      if !isGiven(section.section("redis"), "url"), !isGiven(section.section("redis"), "url_file") {
        problem(
          key, at: place, "no Redis server is named",
          "set coordination.redis.url or .url_file, for instance to redis://cache:6379/0")
      }
    }
  }

  /// A wait for `postgres` or `redis` with the connection that `coordination` says.
  mutating func connected(_ wait: WaitSettings, _ key: String, at origin: Origin) -> WaitSettings {
    let target: WaitTarget
    switch wait.target {
    case .postgres(nil):
      // Without one it is libpq's own environment and files.
      guard let url = coordinationURL("postgres") else { return wait }
      target = .postgres(url: url)
    case .redis(nil):
      guard let url = coordinationURL("redis") else {
        let section = Section.root.section("coordination").section("redis")
        if !presetFollows, !isGiven(section, "url"), !isGiven(section, "url_file") {
          problem(
            key, at: origin, "no Redis server is named",
            "set coordination.redis.url, or write for instance redis://cache:6379/0 here")
        }
        return wait
      }
      target = .redis(url: url)
    default: return wait
    }
    return WaitSettings(target: target, timeout: wait.timeout, text: wait.text)
  }

  private func coordinationURL(_ backend: String) -> String? {
    if case .text(let url)? = resolution.values["coordination.\(backend).url"]?.value { url } else { nil }
  }
}
