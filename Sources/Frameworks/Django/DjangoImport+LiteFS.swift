import Settings

// LITEFS, in both of its dialects: the early one (CONSUL_URL, LEASE_URL, AUTO_START, BINARY_PATH and defaults for all) and
// today's (LEADER_ELECTION, PRIMARY_HOSTNAME, PROXY, FORWARDING, ENABLED). Their keys do not contradict each other, so
// each is taken where it stands.

extension DjangoImport {
  private static let known = [
    "MOUNT_PATH", "DATA_PATH", "DATABASE_NAME", "CONSUL_URL", "LEASE_URL", "PROXY_ADDR", "AUTO_START",
    "BINARY_PATH", "RETENTION", "RETENTION_MONITOR_INTERVAL", "LEADER_ELECTION", "ENABLED", "DEV_MODE",
    "PRIMARY_HOSTNAME", "RAFT_SELF_ADDR", "RAFT_PEERS", "PROXY", "FORWARDING",
  ]

  mutating func liteFS(_ litefs: PythonValue) {
    guard case .map(let entries) = litefs else {
      if !litefs.isNothing { refuse("LITEFS", "\(litefs.shown) is not a dict", nil) }
      return
    }
    guard !isOff(litefs) else {
      let name = litefs["DEV_MODE"] == nil ? "LITEFS[\"ENABLED\"]" : "LITEFS[\"DEV_MODE\"]"
      set("litefs.mode", "off", name)
      if entries.count > 1 { leave("LITEFS", "it is turned off, so the rest of it means nothing") }
      return
    }
    unknownKeys(entries, Self.known, in: "LITEFS")
    set(
      "litefs.mode", litefs["AUTO_START"].map(Self.isFalse) == true ? "external" : "mount",
      litefs["AUTO_START"].map(Self.isFalse) == true ? "LITEFS[\"AUTO_START\"]" : "LITEFS")
    paths(litefs)
    database(litefs)
    take(litefs, "RETENTION", "litefs.retention")
    take(litefs, "RETENTION_MONITOR_INTERVAL", "litefs.retention_monitor_interval")
    lease(litefs, node: nodeName())
    forward(litefs)
  }

  // MARK: On and off

  /// DEV_MODE decides when it is set, else ENABLED. Texts count as they read: in the original "false" meant yes.
  private func isOff(_ litefs: PythonValue) -> Bool {
    if let development = litefs["DEV_MODE"], development != .none { return !Self.isFalse(development) }
    return litefs["ENABLED"].map(Self.isFalse) ?? false
  }

  private static func isFalse(_ value: PythonValue) -> Bool {
    switch value {
    case .boolean(let flag): !flag
    case .integer(let number): number == 0
    case .number(let number): number == 0
    case .text(let text):
      ["", "0", "false", "no", "off", "f", "n"].contains(text.trimmingSpaces.lowercased())
    case .list, .map, .none: value.isNothing
    case .other: false
    }
  }

  // MARK: Paths and names

  private mutating func paths(_ litefs: PythonValue) {
    for (key, path) in [
      ("MOUNT_PATH", "litefs.mount_path"), ("DATA_PATH", "litefs.data_path"),
      ("BINARY_PATH", "litefs.binary_path"),
    ] {
      if let problem = litefs[key]?.text.flatMap(Self.pathProblem) {
        refuse("LITEFS[\"\(key)\"]", problem, "write an absolute path without ..")
      } else {
        take(litefs, key, path)
      }
    }
    if let mount = litefs["MOUNT_PATH"]?.text, let data = litefs["DATA_PATH"]?.text,
      Self.withoutSlash(mount) == Self.withoutSlash(data)
    {
      refuse("LITEFS[\"DATA_PATH\"]", "it is the same as MOUNT_PATH", "LiteFS keeps its own files elsewhere")
    }
    if let path = context.environment("LITEFS_BINARY_PATH"), !path.trimmingSpaces.isEmpty {
      set("litefs.binary_path", path, "LITEFS_BINARY_PATH")
    }
  }

  private static func pathProblem(_ path: String) -> String? {
    if path.utf8.contains(0) { return "there is a NUL in the path" }
    if !path.hasPrefix("/") { return "\"\(Printable.text(path))\" is not an absolute path" }
    if path.split(separator: "/").contains("..") { return "\"\(Printable.text(path))\" has .. in it" }
    return nil
  }

  private static func withoutSlash(_ path: String) -> String {
    "/" + path.split(separator: "/").joined(separator: "/")
  }

  /// The file that is really used is the one that DATABASES names: its backend looks for NAME in the mount.
  private mutating func database(_ litefs: PythonValue) {
    let given = litefs["DATABASE_NAME"]
    if let given, given != .none {
      guard let name = given.text, !name.trimmingSpaces.isEmpty, !name.contains("/"), !name.utf8.contains(0)
      else {
        refuse(
          "LITEFS[\"DATABASE_NAME\"]", "\(given.shown) is not the name of a file",
          "write for instance db.sqlite3")
        return
      }
    }
    let mount = Self.withoutSlash(litefs["MOUNT_PATH"]?.text ?? "/litefs")
    for entry in report.databases {
      guard let engine = entry.value["ENGINE"]?.text, Self.isSQLite(engine),
        let full = entry.value["NAME"]?.text, !full.isEmpty
      else { continue }
      let isInside = full.hasPrefix(mount + "/")
      guard Self.isLiteFS(engine) || isInside else { continue }
      let name = String(full.split(separator: "/").last ?? "")
      let origin = "DATABASES[\"\(Printable.text(entry.key))\"][\"NAME\"]"
      if let other = given?.text, other != name {
        warn(
          origin,
          "the database is \(Printable.text(name)) in the mount, while LITEFS[\"DATABASE_NAME\"] says \(Printable.text(other)); the first is taken",
          "make them the same")
      }
      set("litefs.database_name", name, origin)
      return
    }
    take(litefs, "DATABASE_NAME", "litefs.database_name")
  }

  private mutating func nodeName() -> String {
    guard let given = context.environment("LITEFS_NODE_ID") else { return context.hostName }
    let name = given.trimmingSpaces
    guard !name.isEmpty else {
      note(
        "LITEFS_NODE_ID",
        "it is blank: this node is called by its host name, \(Printable.text(context.hostName))")
      return context.hostName
    }
    set("litefs.node_name", name, "LITEFS_NODE_ID")
    return name
  }

  // MARK: The lease

  private mutating func lease(_ litefs: PythonValue, node: String) {
    for key in ["RAFT_SELF_ADDR", "RAFT_PEERS"] where litefs[key].map({ !$0.isNothing }) == true {
      leave("LITEFS[\"\(key)\"]", "LiteFS knows no raft; the lease takes its place")
    }
    let urls = ["CONSUL_URL", "LEASE_URL"].compactMap { key in
      litefs[key].flatMap { $0.isNothing ? nil : (key: key, value: $0) }
    }
    for (key, value) in urls where value.text == nil {
      refuse("LITEFS[\"\(key)\"]", "\(value.shown) is not a URL", "write it as a string")
      return
    }
    if urls.count == 2, urls[0].value != urls[1].value {
      refuse(
        "LITEFS[\"LEASE_URL\"]", "it differs from CONSUL_URL, and there is one lease", "keep one of the two")
      return
    }
    let election = litefs["LEADER_ELECTION"].flatMap { $0.isNothing ? nil : $0 }
    let lease = "LITEFS[\"LEADER_ELECTION\"]"
    switch election {
    case .text("raft")?:
      refuse(
        lease, "LiteFS knows no raft, and no configuration with it was ever accepted",
        "use a lease: static (PRIMARY_HOSTNAME), or consul (CONSUL_URL)")
      return
    case .text("static")?:
      if let url = urls.first {
        refuse(lease, "it says static, while \(url.key) asks for a lease in Consul", "keep one of the two")
        return
      }
      staticLease(litefs, node: node, isRequired: true)
    case .text("consul")? where urls.isEmpty:
      refuse(lease, "it says consul, and nothing says where that is", "add CONSUL_URL")
    case nil where urls.isEmpty:
      staticLease(litefs, node: node, isRequired: false)
    case nil, .text("consul")?:
      guard let url = urls.first, let text = url.value.text else { return }
      set("litefs.lease.type", "consul", "LITEFS[\"\(url.key)\"]")
      set("litefs.lease.consul.url", text, "LITEFS[\"\(url.key)\"]")
    case let other?:
      refuse(lease, "\(other.shown) is no kind of lease", "it can be static, or consul with CONSUL_URL")
    }
  }

  private mutating func staticLease(_ litefs: PythonValue, node: String, isRequired: Bool) {
    let name = "LITEFS[\"PRIMARY_HOSTNAME\"]"
    guard let given = litefs["PRIMARY_HOSTNAME"], !given.isNothing else {
      if isRequired {
        refuse(name, "it is missing, and a static lease needs it", "name the node that is the primary")
      } else {
        warn(
          "LITEFS", "nothing says which node is the primary",
          "set litefs.lease.primary, or CONSUL_URL for a lease that moves")
      }
      return
    }
    guard let primary = given.text, primary == primary.trimmingSpaces,
      primary.unicodeScalars.allSatisfy({ $0.value > 0x20 && $0.value != 0x7F })
    else {
      refuse(name, "\(given.shown) is not the name of a node", "write it without blanks")
      return
    }
    set("litefs.lease.type", "static", "LITEFS[\"LEADER_ELECTION\"]")
    set("litefs.lease.primary", primary, name)
    set("litefs.lease.candidate", node == primary ? "true" : "false", name)
    // LiteFS reads a static replica's own URL as the primary's, so it is the same on every node.
    set("litefs.advertise_url", "http://\(primary):20202", name)
    if node != primary, node.lowercased() == primary.lowercased() {
      warn(
        name,
        "this node is called \(Printable.text(node)): only case differs from \(Printable.text(primary)), so it is a replica",
        "write both the same way")
    }
  }

  // MARK: For the parts

  /// Takes a text, or a number of seconds where a duration belongs.
  mutating func take(_ map: PythonValue, _ key: String, _ path: String, in name: String = "LITEFS") {
    guard let value = map[key], value != .none else { return }
    let origin = "\(name)[\"\(key)\"]"
    switch value {
    case .text(let text): set(path, text, origin)
    case .integer(let number): set(path, String(number), origin)
    case .boolean(let flag): set(path, flag ? "true" : "false", origin)
    case .number: set(path, Self.seconds(value) ?? value.shown, origin)
    case .list(let items):
      let texts = items.compactMap(\.text)
      if texts.count == items.count {
        set(path, "[" + texts.map(YAMLText.scalar).joined(separator: ", ") + "]", origin)
      } else {
        leave(origin, "not all of it is text")
      }
    default: leave(origin, "it is \(value.shown)")
    }
  }

  mutating func unknownKeys(_ entries: [PythonValue.Entry], _ known: [String], in name: String) {
    for entry in entries where !known.contains(entry.key) {
      let near = KeyTable.nearest(to: entry.key, among: known)
      refuse(
        "\(name)[\"\(Printable.text(entry.key))\"]", "unknown key",
        near.map { "did you mean \($0)?" } ?? "the keys are \(known.sorted().joined(separator: ", "))")
    }
  }
}
