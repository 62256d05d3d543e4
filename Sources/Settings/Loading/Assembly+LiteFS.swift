// litefs: the values, and what they cannot be together.

extension Assembly {
  private static let liteFS = Section.root.section("litefs")

  /// `litefs.mode`; nil when it is off.
  var liteFSMode: LiteFSSettings.Mode? {
    guard case .text(let word)? = resolution.values["litefs.mode"]?.value else { return nil }
    return LiteFSSettings.Mode(rawValue: word)
  }

  /// `litefs`; nil when it is off.
  mutating func litefs() -> LiteFSSettings? {
    let section = Self.liteFS
    _ = text(section, "mode")
    guard let mode = liteFSMode else {
      noteUnused(section)
      return nil
    }
    let lease = section.section("lease")
    let binaryPath = binaryPath(section)
    let mountPath = text(section, "mount_path") ?? ""
    let dataPath = text(section, "data_path") ?? ""
    let databaseName = text(section, "database_name") ?? ""
    let nodeName = nodeName(section)
    let httpAddress = httpAddress(section)
    let advertiseURL = advertiseURL(section, httpAddress)
    let peers = texts(section, "peers")
    let leaseType = choice(lease, "type", fallback: LiteFSSettings.LeaseType.static)
    let primary = text(lease, "primary")
    let isCandidate = boolean(lease, "candidate")
    let consul = consul(lease.section("consul"))
    let retention = optionalDuration(section, "retention")
    let retentionMonitorInterval = duration(section, "retention_monitor_interval")
    let compresses = boolean(section, "compress")
    let allowsOther: Bool? =
      switch text(section, "allow_other") {
      case "true": true
      case "false": false
      default: nil
      }
    let maximumLag = duration(section, "max_lag")
    let minimumFreeSpace: UInt64 =
      optional(section, "min_free_space") { if case .size(let value) = $0 { value } else { nil } } ?? 0
    let withoutPrimary = withoutPrimary(section)
    let onNewRelease = onNewRelease(section, leaseType)
    let handoffTimeout = duration(section, "handoff_timeout")
    let allowsLossyPromotion = boolean(section, "allow_lossy_promotion")
    let extra: [YAMLNode.Entry] =
      optional(section, "extra") { if case .map(let entries) = $0 { entries } else { nil } } ?? []
    var settings = LiteFSSettings(
      mode: mode, binaryPath: binaryPath, mountPath: mountPath, dataPath: dataPath,
      databaseName: databaseName,
      nodeName: nodeName, httpAddress: httpAddress, advertiseURL: advertiseURL, peers: peers,
      leaseType: leaseType, primary: primary, isCandidate: isCandidate, consul: consul, retention: retention,
      retentionMonitorInterval: retentionMonitorInterval, compresses: compresses, allowsOther: allowsOther,
      maximumLag: maximumLag, minimumFreeSpace: minimumFreeSpace, withoutPrimary: withoutPrimary,
      onNewRelease: onNewRelease, handoffTimeout: handoffTimeout, allowsLossyPromotion: allowsLossyPromotion,
      extra: extra)
    // Who imports from another system does not know all of it yet.
    if !presetFollows { check(settings, section) }
    // The mount table has them without what means nothing.
    settings.mountPath = FileAccess.none.resolved(mountPath)
    settings.dataPath = FileAccess.none.resolved(dataPath)
    return settings
  }

  /// Keys that do nothing because nobody switched LiteFS on. Who wrote `mode: off` knows.
  private mutating func noteUnused(_ section: Section) {
    guard !isGiven(section, "mode") else { return }
    let prefix = "\(section.path)."
    let given = resolution.values.filter { $0.key.hasPrefix(prefix) && !$0.value.origin.isImported }
    let reported = Set(resolution.diagnostics.compactMap(\.key))
    for (path, value) in given.sorted(by: { $0.key < $1.key }) where !reported.contains(path) {
      warning(path, at: value.origin, "has no effect: litefs.mode is off", "set litefs.mode, or remove this")
    }
  }

  // MARK: Values

  /// `binary_path`, or else what django-litefs calls the same.
  private mutating func binaryPath(_ section: Section) -> String {
    let inherited = (lookup("LITEFS_BINARY_PATH") ?? "").trimmed
    let isSaid = resolution.values[section.key("binary_path")].map { !$0.origin.isImported }
    if isSaid ?? isGiven(section, "binary_path") || inherited.isEmpty {
      return text(section, "binary_path") ?? ""
    }
    record(section.key("binary_path"), inherited, .environment("LITEFS_BINARY_PATH"))
    return inherited
  }

  /// `node_name`, or else what django-litefs calls the same.
  private mutating func nodeName(_ section: Section) -> String? {
    let key = section.key("node_name")
    let inherited = lookup("LITEFS_NODE_ID") ?? ""
    let isSaid = resolution.values[key].map { !$0.origin.isImported } ?? isGiven(section, "node_name")
    if isSaid || inherited.isEmpty { return text(section, "node_name") }
    let origin = Origin.environment("LITEFS_NODE_ID")
    let name = inherited.trimmed
    guard !name.isEmpty else {
      warning(
        key, at: origin, "is blank, so this node has the name of its host", "give it a name, or unset it")
      return nil
    }
    do throws(ValueProblem) {
      try ValueType.TextRule.label.check(name)
    } catch {
      problem(key, at: origin, error.message, error.suggestion)
    }
    record(key, name, origin)
    return name
  }

  private mutating func httpAddress(_ section: Section) -> ListenAddress {
    let unused = ListenAddress(address: .loopback4, port: 0, isAllInterfaces: false, text: "")
    return optional(section, "http_addr") { if case .listenAddress(let value) = $0 { value } else { nil } }
      ?? unused
  }

  private mutating func advertiseURL(_ section: Section, _ address: ListenAddress) -> String {
    if let given = text(section, "advertise_url") { return given }
    let url = "http://{node}:\(address.port)"
    if !isGiven(section, "advertise_url") { record(section.key("advertise_url"), url, .default) }
    return url
  }

  private mutating func consul(_ section: Section) -> LiteFSSettings.Consul? {
    let url = text(section, "url")
    _ = text(section, "url_file")
    let key = text(section, "key") ?? ""
    let timeToLive = duration(section, "ttl")
    let lockDelay = duration(section, "lock_delay")
    return url.map {
      LiteFSSettings.Consul(url: $0, key: key, timeToLive: timeToLive, lockDelay: lockDelay)
    }
  }

  private mutating func withoutPrimary(_ section: Section) -> LiteFSSettings.WithoutPrimary {
    optional(section, "without_primary") { value in
      switch value {
      case .duration(let time): .readyFor(time)
      case .word("ready"): .ready
      case .word: .notReady
      default: nil
      }
    } ?? .readyFor(.seconds(60))
  }

  /// `on_new_release`; what the lease allows, unless it was said.
  private mutating func onNewRelease(
    _ section: Section, _ lease: LiteFSSettings.LeaseType
  ) -> LiteFSSettings.OnNewRelease {
    let given: LiteFSSettings.OnNewRelease? = optional(section, "on_new_release") {
      if case .text(let word) = $0 { .init(rawValue: word) } else { nil }
    }
    if let given { return given }
    let choice: LiteFSSettings.OnNewRelease = lease == .static ? .start : .takeover
    if !isGiven(section, "on_new_release") {
      record(section.key("on_new_release"), choice.rawValue, origin(section.section("lease"), "type"))
    }
    return choice
  }

  // MARK: Checks

  private mutating func check(_ settings: LiteFSSettings, _ section: Section) {
    if settings.mode == .mount {
      checkRunID(section)
      checkLease(settings, section)
      checkExtra(settings, section)
    }
    checkPaths(settings, section)
    checkNames(settings, section)
    checkAddresses(settings, section)
    checkLimits(settings, section)
  }

  /// Under a development run ID, which is the same for every release, a replica would start on any schema.
  private mutating func checkRunID(_ section: Section) {
    let isWrong = resolution.diagnostics.contains { $0.key == "run_id" && $0.severity == .error }
    guard resolution.values["run_id"] == nil, (lookup("AUTOINIT_RUN_ID") ?? "").isEmpty, !isWrong else {
      return
    }
    problem(
      section.key("mode"), at: origin(section, "mode"),
      "replicas wait for the release that the primary has prepared, and no run ID says which one this is",
      "set run_id, for instance to ${RELEASE_ID}")
  }

  private mutating func checkPaths(_ settings: LiteFSSettings, _ section: Section) {
    var areGood = true
    for (name, path) in [("mount_path", settings.mountPath), ("data_path", settings.dataPath)]
    where !path.isEmpty {
      let parts = path.split(separator: "/")
      if parts.contains("..") {
        problem(
          section.key(name), at: origin(section, name), "\(quoted(path)) has a '..' in it",
          "write the path that is meant")
        areGood = false
      } else if parts.allSatisfy({ $0 == "." }) {
        problem(
          section.key(name), at: origin(section, name), "cannot be the root of the file system",
          "name a directory of its own")
        areGood = false
      }
    }
    // A directory that is not LiteFS's needs no other one.
    guard areGood, settings.mode != .directory, !settings.mountPath.isEmpty, !settings.dataPath.isEmpty else {
      return
    }
    let key = section.key(isGiven(section, "data_path") ? "data_path" : "mount_path")
    let place = isGiven(section, "data_path") ? origin(section, "data_path") : origin(section, "mount_path")
    let (mount, data) = (files.resolved(settings.mountPath), files.resolved(settings.dataPath))
    let isByLink =
      mount != FileAccess.none.resolved(settings.mountPath)
      || data != FileAccess.none.resolved(settings.dataPath)
    let followed =
      isByLink ? " (links followed: mount_path is \(quoted(mount)), data_path \(quoted(data)))" : ""
    if mount == data {
      problem(
        key, at: place, "mount_path and data_path are the same directory\(followed)",
        "keep LiteFS's own files elsewhere, for instance in /var/lib/litefs")
    } else if data.hasPrefix("\(mount)/") {
      problem(
        key, at: place, "data_path lies in mount_path, where LiteFS itself would have to serve it\(followed)",
        "keep LiteFS's own files elsewhere, for instance in /var/lib/litefs")
    } else if mount.hasPrefix("\(data)/") {
      problem(
        key, at: place, "mount_path lies in data_path, among LiteFS's own files\(followed)",
        "mount elsewhere, for instance at /litefs")
    }
  }

  private mutating func checkNames(_ settings: LiteFSSettings, _ section: Section) {
    let lease = section.section("lease")
    for (owner, name, value) in [
      (section, "node_name", settings.nodeName), (lease, "primary", settings.primary),
    ] {
      guard let value, value.trimmed != value || value.isEmpty else { continue }
      problem(
        owner.key(name), at: origin(owner, name), "\(quoted(value)) begins or ends with a blank",
        "remove it: other nodes compare the name")
    }
    let database = settings.databaseName
    let reserved = ["-journal", "-wal", "-shm", "-pos", "-lock"].first { database.hasSuffix($0) }
    if database.contains("/") {
      problem(
        section.key("database_name"), at: origin(section, "database_name"),
        "\(quoted(database)) has a '/' in it, and there are no directories in LiteFS",
        "write the file's name alone")
    } else if reserved != nil || [".", "..", ".lag", ".primary"].contains(database) {
      problem(
        section.key("database_name"), at: origin(section, "database_name"),
        "\(quoted(database)) is a name that LiteFS or SQLite uses for something else",
        "write for instance db.sqlite3")
    }
  }

  private mutating func checkAddresses(_ settings: LiteFSSettings, _ section: Section) {
    checkPlaceholders(settings.advertiseURL, ["node"], section, "advertise_url")
    if let consul = settings.consul {
      checkPlaceholders(consul.key, ["project"], section.section("lease").section("consul"), "key")
    }
    guard settings.mode == .mount, !settings.httpAddress.text.isEmpty else { return }
    if settings.httpAddress.port == 0 {
      problem(
        section.key("http_addr"), at: origin(section, "http_addr"),
        "port 0 is any port, and the other nodes must know which", "write for instance :20202")
    }
    let listen = resolution.values["health.listen"]?.value ?? KeyTable.byPath["health.listen"]?.defaultValue
    guard case .listenAddress(let page)? = listen, !isWrong(.root.section("health"), "listen"),
      page.port == settings.httpAddress.port,
      page.isAllInterfaces || settings.httpAddress.isAllInterfaces
        || page.address == settings.httpAddress.address
    else { return }
    problem(
      section.key("http_addr"), at: origin(section, "http_addr"),
      "has the port of the health page (health.listen is \(page.text))",
      "choose another one for one of the two")
  }

  /// Words in braces that nothing would fill in.
  private mutating func checkPlaceholders(
    _ text: String, _ known: [String], _ section: Section, _ name: String
  ) {
    for word in text.split(separator: "{", omittingEmptySubsequences: false).dropFirst() {
      let end = word.firstIndex(of: "}")
      let placeholder = String(word[..<(end ?? word.endIndex)])
      guard end == nil || !known.contains(placeholder) else { continue }
      problem(
        section.key(name), at: origin(section, name),
        "nothing fills in \(quoted("{\(placeholder)\(end == nil ? "" : "}")"))",
        "what can stand in braces here is \(known.map { "{\($0)}" }.joined(separator: ", "))")
    }
  }

  private mutating func checkLimits(_ settings: LiteFSSettings, _ section: Section) {
    if settings.maximumLag <= .seconds(1), !isWrong(section, "max_lag") {
      problem(
        section.key("max_lag"), at: origin(section, "max_lag"),
        "an idle primary is heard once a second, so \(settings.maximumLag.settingsText) behind is nothing to worry about",
        "write more than 1s, for instance 5s")
    }
    if settings.onNewRelease == .takeover, settings.leaseType == .static,
      isGiven(section, "on_new_release")
    {
      problem(
        section.key("on_new_release"), at: origin(section, "on_new_release"),
        "a static lease cannot be taken over",
        "write start or wait, or use a lease that moves (lease.type: consul)")
    }
  }

  /// Whether something was given that is no value, and reported.
  func isWrong(_ section: Section, _ name: String) -> Bool {
    isGiven(section, name) && resolution.values[section.key(name)] == nil
  }
}
