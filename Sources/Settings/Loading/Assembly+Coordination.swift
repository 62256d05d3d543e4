extension Assembly {
  mutating func coordination() -> CoordinationSettings {
    let section = Section.root.section("coordination")
    let project = text(section, "project")
    let lock = lock(section)
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

  /// `lock`; LiteFS where there is one, unless something else was said.
  private mutating func lock(_ section: Section) -> CoordinationSettings.Backend {
    let given: CoordinationSettings.Backend? = optional(section, "lock") {
      if case .text(let word) = $0 { .init(rawValue: word) } else { nil }
    }
    if let given { return given }
    let lock: CoordinationSettings.Backend = liteFSMode == nil ? .file : .litefs
    if !isGiven(section, "lock") { record(section.key("lock"), lock.rawValue, .default) }
    return lock
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
    return switch lock {
    case .file: .file
    case .postgres: .postgres
    case .litefs: .litefs
    }
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
    checkLiteFS(section, lock, readiness)
    let key = section.key("readiness")
    let place = origin(section, "readiness")
    switch (lock, readiness) {
    case (.file, .file), (.postgres, .postgres), (.litefs, .litefs): break
    case (.litefs, .file), (.litefs, .postgres):
      problem(
        key, at: place, "cannot be in \(readiness.rawValue) while the lock is LiteFS's primary",
        "remove it (readiness is then in LiteFS too), or write redis")
    case (_, .litefs):
      // Without LiteFS that is what was said.
      guard liteFSMode != nil else { break }
      problem(
        key, at: place, "cannot be in litefs while the lock is not",
        "write lock: litefs too, or remove both: with LiteFS that is the default")
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

  /// What lock and readiness have to do with LiteFS.
  private mutating func checkLiteFS(
    _ section: Section, _ lock: CoordinationSettings.Backend,
    _ readiness: CoordinationSettings.ReadinessBackend
  ) {
    guard let mode = liteFSMode else {
      for (name, isLiteFS) in [("lock", lock == .litefs), ("readiness", readiness == .litefs)]
      where isLiteFS && isGiven(section, name) {
        problem(
          section.key(name), at: origin(section, name), "there is no LiteFS: litefs.mode is off",
          "set litefs.mode, or remove this")
      }
      return
    }
    // A directory has one node, which may have its lock anywhere.
    guard mode != .directory else { return }
    switch lock {
    case .litefs: break
    case .file:
      problem(
        section.key("lock"), at: origin(section, "lock"),
        "with LiteFS each node has files of its own, and only the primary can migrate",
        "remove it: the lock is then being the primary")
    case .postgres:
      // There may be databases on that server too.
      warning(
        section.key("lock"), at: origin(section, "lock"),
        "whoever has this lock need not be LiteFS's primary, and only that can migrate a database in the mount",
        "remove it if the databases are in LiteFS: the lock is then being the primary")
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
