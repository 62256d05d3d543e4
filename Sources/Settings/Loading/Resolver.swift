/// Walks a file along the table of keys. Goes on after an error, so that one run shows them all.
struct Resolver {
  private(set) var resolution = Resolution()
  /// The `_file` twins of secrets that were given.
  private(set) var secretFiles: [String: (path: String, origin: Origin)] = [:]
  private var expansion: Expansion
  private var overridden: Set<String> = []
  /// Inside a section that a later version reads: what was set there, reported once for the whole section.
  private var pendingUses: [Origin]?

  init(lookup: @escaping (String) -> String?) {
    expansion = Expansion(lookup: lookup)
  }

  // MARK: Flags and variables

  /// Takes a value from a flag or variable, literally; it hides what the file says about the key.
  mutating func override(_ key: KeyDescription, with text: String, origin: Origin) {
    overridden.insert(key.path)
    resolution.mentioned[key.path] = origin
    if case .misplaced(let reason) = key.availability {
      resolution.report(
        ValueProblem("does not belong here: \(reason)", "remove it"), at: origin, key: key.path)
      return
    }
    do throws(ValueProblem) {
      if let value = try key.type.parseScalar(text) {
        noteSecretFile(key.path, text, origin)
        if refuse(key, value, at: origin, path: key.path) { return }
        resolution.values[key.path] = Resolution.Given(value: value, text: text, origin: origin)
      }
    } catch {
      resolution.report(error, at: origin, key: key.path)
    }
  }

  /// Whether a value cannot be obeyed yet; says so then, so that no key is ever ignored in silence.
  private mutating func refuse(
    _ key: KeyDescription, _ value: SettingValue?, at origin: Origin, path: String
  ) -> Bool {
    guard case .later(let work) = key.availability else { return false }
    // What says `no` to something that is not there gets what it wants.
    if value == .boolean(false) && key.defaultText == "false" || value == .text("off") { return false }
    report(.pending(comesWith: work, "remove it until then"), at: origin, path: path)
    return true
  }

  // MARK: The file

  /// The patterns of `include`, which must be known before the rest can be read.
  mutating func includes(_ root: YAMLNode) -> [(text: String, origin: Origin)] {
    guard case .mapping(let entries) = root.content,
      let include = entries.first(where: { $0.key == "include" })?.value, !include.isNull,
      let key = KeyTable.byPath["include"]
    else { return [] }
    resolution.mentioned["include"] = .at(include.position)
    read(include, as: key.type, path: "include")
    guard let given = resolution.values["include"], case .texts(let patterns) = given.value else { return [] }
    return Array(zip(patterns, given.items)).map { (text: $0.0, origin: $0.1) }
  }

  /// Takes everything from a file.
  mutating func read(_ root: YAMLNode) {
    guard case .mapping(let entries) = root.content else {
      resolution.report(
        ValueProblem("the file is \(root.kind) instead of a map of settings", "write 'key: value' lines"),
        at: .at(root.position), key: "")
      return
    }
    walk(entries, Schema.root, path: "")
  }

  private mutating func walk(_ entries: [YAMLNode.Entry], _ schema: Schema, path: String) {
    // `includes` has read it.
    for entry in entries where !path.isEmpty || entry.key != "include" {
      guard !resolution.isFull else { return }
      let childPath = path.isEmpty ? entry.key : "\(path).\(entry.key)"
      if let child = schema.children[entry.key] {
        visit(entry.value, child, path: childPath, keyPosition: entry.position)
      } else if let child = schema.wildcard.first {
        named(entry, child, path: path)
      } else {
        resolution.report(
          ValueProblem("unknown key", Self.suggestion(for: entry.key, in: schema, path: path)),
          at: .at(entry.position), key: childPath)
      }
    }
  }

  private mutating func visit(
    _ node: YAMLNode, _ schema: Schema, path: String, keyPosition: SourcePosition
  ) {
    guard !node.isNull else { return }
    if schema.key == nil, let work = schema.pendingWork, pendingUses == nil {
      pendingUses = []
      visit(node, schema, path: path, keyPosition: keyPosition)
      let uses = pendingUses ?? []
      pendingUses = nil
      if let first = uses.first {
        // What somebody wrote into the file comes before what was imported.
        let place = uses.allSatisfy(\.isImported) ? first : .at(keyPosition)
        report(.pending(comesWith: work, "remove it until then"), at: place, path: path)
      }
      return
    }
    if !overridden.contains(path) { resolution.mentioned[path] = .at(node.position) }
    if let key = schema.key {
      if case .misplaced(let reason) = key.availability {
        report(
          ValueProblem("does not belong here: \(reason)", "remove it"), at: .at(keyPosition), path: path)
      } else if !overridden.contains(path) {
        read(node, as: key.type, path: path)
        if refuse(key, resolution.values[path]?.value, at: .at(keyPosition), path: path) {
          resolution.values[path] = nil
        }
      }
    } else if let item = schema.item.first {
      items(node, item, path: path)
    } else if case .mapping(let entries) = node.content {
      walk(entries, schema, path: path)
    } else {
      let keys =
        schema.wildcard.isEmpty ? schema.children.keys.sorted().prefix(3).joined(separator: ", ") : nil
      resolution.report(
        ValueProblem(
          "must be a map, not \(node.kind)",
          keys.map { "its keys are \($0)\(schema.children.count > 3 ? ", …" : "")" }
            ?? "write one entry for each name, as in 'name: {command: […]}'"),
        at: .at(node.position), key: path)
    }
  }

  /// A service: any name, with some rules.
  private mutating func named(_ entry: YAMLNode.Entry, _ schema: Schema, path: String) {
    let name = entry.key
    let childPath = "\(path).\(name)"
    let isWord = name.utf8.allSatisfy { byte in
      (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
        || byte == 0x5F || byte == 0x2D
    }
    if name == "app" {
      resolution.report(
        ValueProblem("a service cannot be called app", "choose another name, or use the top-level key app"),
        at: .at(entry.position), key: childPath)
      return
    }
    guard isWord, name.utf8.count <= 64 else {
      resolution.report(
        ValueProblem("\(quoted(name)) is not a name", "use letters, digits, '_' and '-', at most 64"),
        at: .at(entry.position), key: childPath)
      return
    }
    resolution.names[path, default: []].append(name)
    // An empty service is one without a command, not one that is not set: what follows reports it.
    resolution.mentioned[childPath] = .at(entry.position)
    guard !entry.value.isNull else { return }
    if case .mapping(let entries) = entry.value.content {
      walk(entries, schema, path: childPath)
    } else {
      resolution.mentioned["\(childPath).command"] = .at(entry.position)
      resolution.report(
        ValueProblem("must be a map, not \(entry.value.kind)", "write it as '\(name): {command: […]}'"),
        at: .at(entry.value.position), key: childPath)
    }
  }

  private mutating func items(_ node: YAMLNode, _ schema: Schema, path: String) {
    guard case .sequence(let nodes) = node.content else {
      resolution.report(
        ValueProblem("must be a list, not \(node.kind)", "start each item with '- '"),
        at: .at(node.position),
        key: path)
      return
    }
    resolution.counts[path] = nodes.count
    for (index, item) in nodes.enumerated() {
      guard !resolution.isFull else { return }
      let itemPath = "\(path)[\(index)]"
      guard case .mapping(let entries) = item.content else {
        resolution.report(
          ValueProblem("must be a map, not \(item.kind)", "write it as '- name: …' with 'run: …' below"),
          at: .at(item.position), key: itemPath)
        continue
      }
      resolution.mentioned[itemPath] = .at(item.position)
      walk(entries, schema, path: itemPath)
    }
  }

  private static func suggestion(for key: String, in schema: Schema, path: String) -> String? {
    if let near = nearest(to: key.lowercased(), among: schema.children.keys.sorted()) {
      return "did you mean \(near)?"
    }
    if let advice = ForeignKeys.advice(on: key, keys: schema.children.keys) { return advice }
    // Right name, wrong place: `listen` at the top is `health.listen`.
    if let place = KeyTable.keys.first(where: { row in
      row.availability == .now && row.hasFixedPath && row.path.hasSuffix(".\(key)")
    }) {
      return "did you mean \(place.path)?"
    }
    if key == "steps", path.isEmpty { return "did you mean infrastructure.steps or node.steps?" }
    let keys = schema.children.filter { $0.value.pendingWork == nil }.keys.sorted()
    return keys.count <= 20 ? "the keys here are \(keys.joined(separator: ", "))" : nil
  }

  // MARK: Values

  private mutating func read(_ node: YAMLNode, as type: ValueType, path: String) {
    let origin = Origin.at(node.position)
    do throws(ValueProblem) {
      switch type {
      case .command: try command(node, path: path)
      case .texts(let rule): try texts(node, each: rule, path: path)
      case .wait: try wait(node, path: path)
      case .waits: try waits(node, path: path)
      case .map(let words): try map(node, words: words, path: path)
      case .exitCodes: try exitCodes(node, path: path)
      case .environment: try environment(node, path: path)
      case .limits: try limits(node, path: path)
      case .signalMap: try signalMap(node, path: path)
      default:
        guard let text = try scalar(node, path: path) else { return }
        // A run ID that expands to nothing is not set: the next source counts.
        if text.isEmpty, path == "run_id" { return }
        if let value = try type.parseScalar(text) {
          noteSecretFile(path, text, origin)
          resolution.values[path] = Resolution.Given(value: value, text: text, origin: origin)
        }
      }
    } catch {
      report(error, at: origin, path: path)
    }
  }

  /// The expanded text of a scalar; nil when a problem was reported.
  mutating func scalar(
    _ node: YAMLNode, path: String, expanding: Bool = true
  ) throws(ValueProblem) -> String? {
    guard case .scalar(let text, _) = node.content else {
      throw ValueProblem("must be a single value, not \(node.kind)")
    }
    guard !text.utf8.contains(0) else { throw ValueProblem("has a NUL character", "remove the \\0") }
    // What was imported has its final value.
    guard expanding, node.position.source == .file else { return text }
    let expanded = try expansion.expand(text)
    for name in expansion.unset {
      resolution.warn(
        ValueProblem(
          "the environment variable \(printable(name)) is not set, so it counts as empty",
          "set it, or write ${\(printable(name)):-default}"), at: .at(node.position), key: path)
    }
    return expanded
  }

  mutating func set(
    _ value: SettingValue, text: String, at node: YAMLNode, path: String, parts: [Resolution.Part] = [],
    items: [Origin] = []
  ) {
    resolution.values[path] = Resolution.Given(
      value: value, text: text, origin: .at(node.position), parts: parts, items: items)
  }

  /// Takes a secret that was read from a file, unless its key waits for a later version.
  mutating func set(_ value: SettingValue, secret text: String, _ key: KeyDescription, origin: Origin) {
    guard key.availability == .now else { return }
    resolution.mentioned[key.path] = origin
    resolution.values[key.path] = Resolution.Given(value: value, text: text, origin: origin)
  }

  private mutating func noteSecretFile(_ path: String, _ text: String, _ origin: Origin) {
    if path.hasSuffix("_file"), KeyTable.byPath[String(path.dropLast(5))]?.isSecret == true {
      secretFiles[path] = (text, origin)
    }
  }

  mutating func report(_ problem: ValueProblem, at position: SourcePosition, path: String) {
    report(problem, at: .at(position), path: path)
  }

  /// Adds an error, or counts it where the whole section is reported once.
  mutating func report(_ problem: ValueProblem, at origin: Origin, path: String) {
    if problem.isPending, pendingUses != nil {
      pendingUses?.append(origin)
    } else if problem.isPending, origin.isImported {
      resolution.note(problem.message, "it has no effect until then", at: origin, key: path)
    } else {
      resolution.report(problem, at: origin, key: path)
    }
  }
}
