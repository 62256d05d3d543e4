import Settings

/// A `litefs.yml` that somebody wrote, as settings of ours: every key of it becomes one, goes into `litefs.extra`, or is
/// said to be left out and why.
public struct LiteFSImport {
  /// The settings, as they stand in a file.
  var settings = ConfigurationValue.map([])
  /// What became none, and what is different from now on.
  public private(set) var findings: [Diagnostic] = []
  /// What `exec` becomes, in order; the last one is the app.
  private(set) var commands: [Command] = []
  /// `proxy` as it stood there, for a comment.
  private(set) var proxy: ConfigurationValue?

  /// An entry of `exec`.
  struct Command: Equatable {
    var arguments: [String]
    var isForCandidates: Bool
  }

  private var isStatic = true
  private var hasHostName = false

  /// Imports a file.
  ///
  /// - Parameters:
  ///   - bytes: its content.
  ///   - file: its name, for positions.
  /// - Throws: what is wrong with it as YAML.
  public init(_ bytes: [UInt8], file: String) throws(Diagnostic) {
    guard let root = try YAMLReader.read(bytes, file: file), case .mapping(let entries) = root.content else {
      throw Diagnostic(
        .error, at: .file(SourcePosition(file: file, line: 1, column: 1)),
        "this is no litefs.yml: it is not a map",
        suggestion: "name LiteFS's own file")
    }
    set("mode", .bare("mount"))
    let lease = Self.entries(of: "lease", in: entries)
    hasHostName = lease.contains { $0.key == "hostname" && !$0.value.isNull }
    if let type = lease.first(where: { $0.key == "type" }), case .scalar("consul", _) = type.value.content {
      isStatic = false
    }
    for entry in entries where !entry.value.isNull { top(entry) }
    // Where nothing was said, the two differ.
    if settings["litefs", "retention"] == nil { set("retention", .bare("10m")) }
  }

  private static func entries(of key: String, in entries: [YAMLNode.Entry]) -> [YAMLNode.Entry] {
    guard case .mapping(let found)? = entries.first(where: { $0.key == key })?.value.content else {
      return []
    }
    return found
  }

  // MARK: Keys

  /// Those with a key of our own, by what follows `litefs.` in its path.
  private static let renamed = [
    "data.dir": "data_path", "data.compress": "compress", "data.retention": "retention",
    "data.retention-monitor-interval": "retention_monitor_interval", "fuse.dir": "mount_path",
    "fuse.allow-other": "allow_other", "http.addr": "http_addr", "lease.type": "lease.type",
    "lease.advertise-url": "advertise_url", "lease.consul.url": "lease.consul.url",
    "lease.consul.key": "lease.consul.key", "lease.consul.ttl": "lease.consul.ttl",
    "lease.consul.lock-delay": "lease.consul.lock_delay",
  ]

  private mutating func top(_ entry: YAMLNode.Entry) {
    switch entry.key {
    case "exec": exec(entry)
    case "proxy":
      proxy = value(entry.value, "proxy")
      note(
        entry, "proxy",
        "not taken over: off Fly it answers a replica's write with an empty 200, and the write is lost",
        "a write forwarder comes with a later version; behind Fly's own proxy this can go into litefs.extra")
    default: entryOrSection(entry, "")
    }
  }

  private mutating func entryOrSection(_ entry: YAMLNode.Entry, _ parent: String) {
    let path = parent.isEmpty ? entry.key : "\(parent).\(entry.key)"
    if ["data", "fuse", "http", "lease", "lease.consul", "backup", "log", "tracing"].contains(path),
      case .mapping(let entries) = entry.value.content
    {
      for child in entries where !child.value.isNull { entryOrSection(child, path) }
    } else {
      single(entry, path)
    }
  }

  private mutating func single(_ entry: YAMLNode.Entry, _ path: String) {
    let text: String? = if case .scalar(let text, _) = entry.value.content { text } else { nil }
    switch (path, text) {
    case ("exit-on-error", "true"), ("skip-sync", "false"), ("log.format", "text"): break
    case ("exit-on-error", _):
      note(entry, path, "not taken over: a LiteFS that failed to start is restarted", nil)
    case ("skip-sync", _):
      note(entry, path, "not taken over: the app starts when the databases are there", nil)
    case ("log.format", _):
      note(
        entry, path, "not taken over: LiteFS's lines are read as text",
        "for our own lines there is log.format")
    case ("lease.promote", _):
      note(
        entry, path,
        "not taken over: under load it kills the primary, and commits that were acknowledged are lost",
        "litefs.on_new_release: takeover, the default with Consul, moves the lease in order")
    case ("lease.candidate", _): candidate(entry)
    case ("lease.hostname", _): set(isStatic ? "lease.primary" : "node_name", entry, path)
    case ("data.retention", .some(let given)) where given.allSatisfy({ "0hmsnuµ.".contains($0) }):
      set("retention", .bare("forever"))
    case ("lease.consul.lock-delay", .some(let given)) where given.allSatisfy({ "0hmsnuµ.".contains($0) }):
      note(entry, path, "left out: LiteFS takes zero for its default, 1s", nil)
    case ("lease.consul.url", .some(let given))
    where SecretText.password(in: given).map(Self.isLiteral) == true:
      note(
        entry, path, "not shown, since it has a token in it",
        "put it into a file, and name that in litefs.lease.consul.url_file")
    case ("backup.auth-token", .some(let given)) where Self.isLiteral(given):
      note(
        entry, path, "a secret, not shown",
        "write it into litefs.extra as \"${NAME}\", from a variable (the service it was for ended in 2024)")
    default:
      if let name = Self.renamed[path] { return set(name, entry, path) }
      guard let value = value(entry.value, path) else { return }
      set("extra.\(path)", value)
    }
  }

  private static func isLiteral(_ text: String) -> Bool {
    GoExpansion.pieces(of: text).contains { if case .literal = $0 { true } else { false } }
  }

  /// With a static lease `candidate` says who the primary is, and the same settings are for all nodes here.
  private mutating func candidate(_ entry: YAMLNode.Entry) {
    let path = "lease.candidate"
    guard case .scalar(let text, _) = entry.value.content else { return }
    let pieces = GoExpansion.pieces(of: text)
    if isStatic {
      if case .comparison(let test)? = pieces.first, pieces.count == 1, test.name == "HOSTNAME",
        test.isEquality,
        test.isLiteral
      {
        return set("lease.primary", .text(Self.doubled(test.other)))
      }
      note(
        entry, path, "is computed: the node that litefs.lease.primary names is the primary",
        hasHostName ? nil : "set litefs.lease.primary to its node name")
      return
    }
    if pieces.contains(where: { if case .variable = $0 { false } else { $0 != .literal(text) } }) {
      note(
        entry, path, "not taken over: nothing is compared here (it was \(text))",
        "set SUPERVISOR_LITEFS_LEASE_CANDIDATE to true or false where the nodes are started")
      return
    }
    set("lease.candidate", entry, path)
  }

  // MARK: Exec

  private mutating func exec(_ entry: YAMLNode.Entry) {
    switch entry.value.content {
    case .scalar:
      if let command = self.command(entry.value) {
        commands = [Command(arguments: command, isForCandidates: false)]
      }
    case .sequence(let items):
      for item in items {
        guard case .mapping(let keys) = item.content,
          let line = keys.first(where: { $0.key == "cmd" })?.value, let arguments = command(line)
        else { continue }
        let condition = keys.first { $0.key == "if-candidate" }?.value.content
        let isForCandidates = if case .scalar("true", _)? = condition { true } else { false }
        commands.append(Command(arguments: arguments, isForCandidates: isForCandidates))
      }
    case .mapping: break
    }
    note(
      entry, "exec",
      commands.isEmpty
        ? "not taken over: it has no command"
        : "LiteFS does not run the app any more: see what it becomes, below",
      nil)
  }

  private mutating func command(_ node: YAMLNode) -> [String]? {
    guard case .scalar(let text, _) = node.content, let expanded = expanded(text, node, "exec") else {
      return nil
    }
    let (words, rest) = Self.words(expanded)
    if !rest.isEmpty {
      findings.append(
        Diagnostic(
          .warning, at: .file(node.position), key: "exec", "LiteFS has never run what follows: \(rest)",
          suggestion: "for a shell's work write the command as one string"))
    }
    return words.isEmpty ? nil : words
  }

  /// The words of a command as LiteFS splits them: quotes and backslashes, no shell. It stops at the first sign that
  /// means something to a shell.
  static func words(_ text: String) -> (words: [String], rest: String) {
    var words: [String] = []
    var word: String?
    var quote: Character?
    var rest = text[...]
    while let character = rest.first {
      if quote == nil, ";&|<>".contains(character) { break }
      rest = rest.dropFirst()
      switch (quote, character) {
      case (nil, " "), (nil, "\t"), (nil, "\n"):
        if let word { words.append(word) }
        word = nil
      case (nil, "'"), (nil, "\""):
        quote = character
        word = word ?? ""
      case (.some(let open), character) where open == character: quote = nil
      case (nil, "\\"), (.some("\""), "\\"):
        if let next = rest.popFirst() { word = (word ?? "") + String(next) }
      default: word = (word ?? "") + String(character)
      }
    }
    if let word { words.append(word) }
    return (words, String(rest))
  }

  // MARK: Values

  /// Sets a key of ours, unless its value cannot be.
  private mutating func set(_ name: String, _ entry: YAMLNode.Entry, _ path: String) {
    guard let value = value(entry.value, path) else { return }
    switch value {
    case .text(let text), .bare(let text):
      // What has variables in it is judged when they are known.
      if !text.contains("$"),
        case .wrong(let message, let suggestion) = KeyTable.judge(text, for: "litefs.\(name)")
      {
        return note(entry, path, "not taken over: \(message)", suggestion)
      }
    case .list, .map: return note(entry, path, "not taken over: it must be a single value", nil)
    }
    set(name, value)
  }

  private mutating func set(_ name: String, _ value: ConfigurationValue) {
    let path = ["litefs"] + name.split(separator: ".").map { String($0) }
    let tree = path.reversed().reduce(value) { .map([ConfigurationValue.Entry($1, $0)]) }
    settings = settings.merged(with: tree)
  }

  /// A value with LiteFS's variables written as ours; nil when that cannot be, which is said.
  private mutating func value(_ node: YAMLNode, _ path: String) -> ConfigurationValue? {
    switch node.content {
    case .scalar(let text, let isPlain):
      guard let expanded = expanded(text, node, path) else { return nil }
      var copy = node
      copy.content = .scalar(expanded, isPlain: isPlain)
      return ConfigurationValue(copy)
    case .sequence(let items): return .list(items.compactMap { value($0, path) })
    case .mapping(let entries):
      return .map(
        entries.compactMap { entry in
          value(entry.value, "\(path).\(entry.key)").map { ConfigurationValue.Entry(entry.key, $0) }
        })
    }
  }

  private mutating func expanded(_ text: String, _ node: YAMLNode, _ path: String) -> String? {
    var result = ""
    for piece in GoExpansion.pieces(of: text) {
      switch piece {
      case .literal(let literal): result += Self.doubled(literal)
      case .variable(let name): result += "${\(name)}"
      case .nothing(let sign):
        findings.append(
          Diagnostic(
            .warning, at: .file(node.position), key: path,
            "LiteFS makes nothing of \(sign), and so it is left out",
            suggestion: nil))
      case .comparison:
        findings.append(
          Diagnostic(
            .warning, at: .file(node.position), key: path,
            "not taken over: nothing is compared here (it was \(text))",
            suggestion: "set a variable where the nodes are started, and write ${NAME}"))
        return nil
      }
    }
    return result
  }

  /// With its dollars as they are written in a settings file.
  private static func doubled(_ text: String) -> String {
    text.map { $0 == "$" ? "$$" : String($0) }.joined()
  }

  private mutating func note(
    _ entry: YAMLNode.Entry, _ path: String, _ message: String, _ suggestion: String?
  ) {
    findings.append(
      Diagnostic(.note, at: .file(entry.position), key: path, message, suggestion: suggestion))
  }
}
