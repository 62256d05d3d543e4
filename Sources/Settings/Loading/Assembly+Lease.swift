// litefs.lease and litefs.extra: what LiteFS would refuse, or would do other than meant.

extension Assembly {
  /// What the kind of lease needs.
  mutating func checkLease(_ settings: LiteFSSettings, _ section: Section) {
    let lease = section.section("lease")
    guard !isWrong(lease, "type") else { return }
    switch settings.leaseType {
    case .static: checkStaticLease(settings, section, lease)
    case .consul: checkConsulLease(settings, lease)
    }
  }

  private mutating func checkStaticLease(_ settings: LiteFSSettings, _ section: Section, _ lease: Section) {
    if settings.primary == nil, !isWrong(lease, "primary") {
      let place = isGiven(lease, "type") ? origin(lease, "type") : origin(section, "mode")
      problem(
        lease.key("primary"), at: place,
        "a static lease has one primary for good, and nothing says which node it is",
        "set litefs.lease.primary to its node name, or use a lease that moves (lease.type: consul)")
    }
    if let node = settings.nodeName, let primary = settings.primary, isGiven(lease, "candidate"),
      !isWrong(lease, "candidate"), settings.isCandidate != (node == primary)
    {
      warning(
        lease.key("candidate"), at: origin(lease, "candidate"),
        "has no effect: with a static lease the node that lease.primary names is the primary, and no other",
        "remove it")
    }
    if settings.allowsLossyPromotion {
      problem(
        section.key("allow_lossy_promotion"), at: origin(section, "allow_lossy_promotion"),
        "a static lease cannot be taken", "remove it, or use a lease that moves (lease.type: consul)")
    }
  }

  private mutating func checkConsulLease(_ settings: LiteFSSettings, _ lease: Section) {
    let section = lease.section("consul")
    if settings.primary != nil {
      problem(
        lease.key("primary"), at: origin(lease, "primary"),
        "names a primary for good, while Consul's lease moves", "remove it, or write lease.type: static")
    }
    guard let consul = settings.consul else {
      if !isGiven(section, "url"), !isGiven(section, "url_file") {
        problem(
          section.key("url"), at: origin(lease, "type"), "no Consul server is named",
          "set litefs.lease.consul.url or .url_file, for instance to http://consul:8500/myapp")
      }
      return
    }
    // Consul itself accepts a session of 10 s to a day.
    if !(.seconds(10)...(.seconds(86400))).contains(consul.timeToLive), !isWrong(section, "ttl") {
      problem(
        section.key("ttl"), at: origin(section, "ttl"),
        "Consul refuses a lease of \(consul.timeToLive.settingsText)", "write 10s to 24h")
    }
    if consul.lockDelay > .seconds(60) {
      problem(
        section.key("lock_delay"), at: origin(section, "lock_delay"),
        "Consul refuses a pause of \(consul.lockDelay.settingsText)", "write at most 60s")
    }
  }

  // MARK: Extra

  /// `extra`, entry by entry: LiteFS ends with exit code 2 on what it does not understand.
  mutating func checkExtra(_ settings: LiteFSSettings, _ section: Section) {
    let path = section.key("extra")
    for entry in settings.extra { checkExtra(entry, [], path, settings) }
  }

  private mutating func checkExtra(
    _ entry: YAMLNode.Entry, _ parents: [String], _ parent: String, _ settings: LiteFSSettings
  ) {
    let names = parents + [entry.key]
    let name = names.joined(separator: ".")
    let path = "\(parent).\(printable(entry.key))"
    let place = Origin.at(entry.position)
    if let reason = LiteFSKeys.refused[name] {
      return problem(path, at: place, reason.message, reason.suggestion)
    }
    if let owner = LiteFSKeys.owners[name] {
      return problem(path, at: place, "is what litefs.\(owner) says", "set that instead")
    }
    if name == "proxy" {
      warning(
        path, at: place,
        "LiteFS's proxy answers a write on a replica with an empty 200 and a header that only Fly acts on: elsewhere the write is lost",
        "remove it, unless every write goes through Fly's own proxy")
    }
    guard let kind = LiteFSKeys.kinds[name] else {
      let siblings = LiteFSKeys.kinds.keys.filter { key in
        key.split(separator: ".").dropLast().map { String($0) } == parents
      }.map { String($0.split(separator: ".").last ?? "") }.sorted()
      // A later LiteFS may have more keys.
      return warning(
        path, at: place, "LiteFS 0.5.14 has no such key, and does not start with one that it does not know",
        nearest(to: entry.key, among: siblings).map { "did you mean \($0)?" }
          ?? "the keys here are \(siblings.joined(separator: ", "))")
    }
    if kind == .section {
      guard case .mapping(let entries) = entry.value.content else {
        return problem(path, at: .at(entry.value.position), "must be a map, not \(entry.value.kind)", nil)
      }
      for child in entries { checkExtra(child, names, path, settings) }
      return
    }
    if let wrong = kind.problem(with: entry.value) {
      return problem(path, at: .at(entry.value.position), wrong.message, wrong.suggestion)
    }
    checkMeaning(name, entry.value, path, settings)
  }

  /// Values that LiteFS takes, and with which it does what is not meant.
  private mutating func checkMeaning(
    _ name: String, _ value: YAMLNode, _ path: String, _ settings: LiteFSSettings
  ) {
    let place = Origin.at(value.position)
    switch (name, LiteFSKeys.boolean(value)) {
    case ("exit-on-error", false?):
      problem(
        path, at: place, "a LiteFS that failed to start would stay there, without mount and without API",
        "remove it: it is restarted")
    case ("skip-sync", true?):
      problem(
        path, at: place, "LiteFS would count as ready before it has the databases", "remove it")
    case ("lease.promote", true?) where settings.leaseType == .static:
      problem(path, at: place, "a static lease cannot be taken", "remove it")
    case ("lease.promote", true?) where !settings.isCandidate:
      problem(
        path, at: place, "this node is no candidate (litefs.lease.candidate is false)",
        "remove one of the two")
    case ("lease.promote", true?) where !settings.allowsLossyPromotion:
      problem(
        path, at: place,
        "each start would take the lease: under load that kills the primary, and commits that were acknowledged are lost",
        "remove it (litefs.on_new_release: takeover does it in order), or set litefs.allow_lossy_promotion: true too"
      )
    case ("lease.databases", _) where settings.leaseType == .consul && settings.isCandidate:
      problem(
        path, at: place, "only a node that never becomes the primary can have a part of the databases",
        "remove it, or set litefs.lease.candidate: false")
    case ("log.format", _):
      if case .scalar("json", _) = value.content {
        problem(
          path, at: place, "LiteFS's lines are read to learn what it does, and only as text",
          "remove it; for our own lines there is log.format")
      }
    default: break
    }
  }
}

/// The keys of litefs.yml (LiteFS 0.5.14).
enum LiteFSKeys {
  /// What LiteFS makes of a value.
  enum Kind {
    case section, text, boolean, duration, integer, texts
  }

  static let kinds: [String: Kind] = [
    "exit-on-error": .boolean, "skip-sync": .boolean, "strict-verify": .boolean,
    "data": .section, "fuse": .section, "fuse.debug": .boolean,
    "http": .section, "http.snapshot-timeout": .duration,
    "proxy": .section, "proxy.addr": .text, "proxy.target": .text, "proxy.db": .text,
    "proxy.max-lag": .duration, "proxy.debug": .boolean, "proxy.passthrough": .texts,
    "proxy.always-forward": .texts, "proxy.primary-redirect-timeout": .duration,
    "proxy.read-timeout": .duration, "proxy.write-timeout": .duration,
    "proxy.read-header-timeout": .duration, "proxy.idle-timeout": .duration,
    "lease": .section, "lease.promote": .boolean, "lease.reconnect-delay": .duration,
    "lease.demote-delay": .duration, "lease.databases": .texts, "lease.consul": .section,
    "backup": .section, "backup.type": .text, "backup.path": .text, "backup.url": .text,
    "backup.cluster": .text, "backup.auth-token": .text,
    "log": .section, "log.format": .text, "log.timestamp": .boolean, "log.debug": .boolean,
    "tracing": .section, "tracing.enabled": .boolean, "tracing.path": .text, "tracing.max-size": .integer,
    "tracing.max-count": .integer, "tracing.compress": .boolean,
  ]

  /// Those that a key of ours says, by what follows `litefs.` in its path.
  static let owners: [String: String] = [
    "data.dir": "data_path", "data.compress": "compress", "data.retention": "retention",
    "data.retention-monitor-interval": "retention_monitor_interval", "fuse.dir": "mount_path",
    "fuse.allow-other": "allow_other", "http.addr": "http_addr", "lease.type": "lease.type",
    "lease.hostname": "node_name", "lease.advertise-url": "advertise_url",
    "lease.candidate": "lease.candidate", "lease.consul.url": "lease.consul.url",
    "lease.consul.key": "lease.consul.key", "lease.consul.ttl": "lease.consul.ttl",
    "lease.consul.lock-delay": "lease.consul.lock_delay",
  ]

  static let refused: [String: ValueProblem] = [
    "exec": ValueProblem(
      "LiteFS would run the app itself, and so would we",
      "remove it: migrations are infrastructure.steps, the app follows -- or is app.command")
  ]

  /// What LiteFS reads as `true` or `false`, and only without quotes.
  static func boolean(_ value: YAMLNode) -> Bool? {
    guard case .scalar(let text, isPlain: true) = value.content else { return nil }
    switch text {
    case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y": return true
    case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N": return false
    default: return nil
    }
  }
}

extension LiteFSKeys.Kind {
  func problem(with value: YAMLNode) -> ValueProblem? {
    switch self {
    case .section: return nil
    case .texts:
      guard case .sequence(let items) = value.content else {
        return ValueProblem("must be a list, not \(value.kind)", "start each item with '- '")
      }
      for item in items {
        if let wrong = Self.text.problem(with: item) { return wrong }
      }
      return nil
    case .text, .boolean, .duration, .integer: break
    }
    guard case .scalar(let text, _) = value.content else {
      return ValueProblem("must be a single value, not \(value.kind)")
    }
    switch self {
    case .boolean where LiteFSKeys.boolean(value) == nil:
      return ValueProblem("\(quoted(text)) is neither true nor false", "write true or false, without quotes")
    case .duration where !Self.isDuration(text):
      return ValueProblem(
        "\(quoted(text)) is not a duration for LiteFS", "write for instance 10s, with the unit")
    case .integer where Int32(text) == nil:
      return ValueProblem("\(quoted(text)) is not a whole number", nil)
    default: return nil
    }
  }

  /// LiteFS wants a unit, even for zero.
  private static func isDuration(_ text: String) -> Bool {
    guard !text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return false }
    return (try? Duration(settingsText: text)) != nil
  }
}
