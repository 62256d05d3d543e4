/// Puts imported values below a file: where the file says nothing, they count.
struct ImportedLayer {
  let source: SourcePosition.Source
  private(set) var problems: [Diagnostic] = []

  init(_ source: SourcePosition.Source) {
    self.source = source
  }

  /// The tree with the values added that it does not have. Of several values for one key the first counts.
  mutating func lay(_ values: [ImportedValue], under root: YAMLNode) -> YAMLNode {
    var result = root
    for value in values where !value.text.isEmpty {
      let position = SourcePosition(source: source, text: value.origin)
      guard let schema = Self.schema(of: value.path), schema.key != nil || !schema.item.isEmpty else {
        fail(value, "there is no such key")
        continue
      }
      guard let node = node(value, schema, position) else { continue }
      let path = value.path.split(separator: ".").map { String($0) }
      result = Self.added(node, to: result, at: path[...], position)
    }
    return result
  }

  private mutating func fail(_ value: ImportedValue, _ message: String, _ suggestion: String? = nil) {
    problems.append(
      Diagnostic(
        .error, at: .at(SourcePosition(source: source, text: value.origin)),
        key: printable(value.path, limit: 120), message, suggestion: suggestion))
  }

  private static func schema(of path: String) -> Schema? {
    var schema = Schema.root
    for name in path.split(separator: ".") {
      guard let child = schema.children[String(name)] ?? schema.wildcard.first else { return nil }
      schema = child
    }
    return schema
  }

  /// The value as a node: a single value is the text itself, lists and maps are YAML.
  private mutating func node(
    _ value: ImportedValue, _ schema: Schema, _ position: SourcePosition
  ) -> YAMLNode? {
    if let key = schema.key, key.type.isSingleValue {
      return YAMLNode(
        content: .scalar(value.text, isPlain: false), position: position, expandedCount: 1, depth: 0)
    }
    do throws(Diagnostic) {
      return try YAMLReader.read(Array(value.text.utf8), file: "")?.moved(to: position)
    } catch {
      fail(value, error.message, error.suggestion)
      return nil
    }
  }

  private static func added(
    _ node: YAMLNode, to root: YAMLNode, at path: ArraySlice<String>, _ position: SourcePosition
  ) -> YAMLNode {
    guard let name = path.first else { return filled(root, with: node) }
    var result = root
    if root.isNull { result.content = .mapping([]) }
    // Something else than a map is wrong there, and reported.
    guard case .mapping(var entries) = result.content else { return root }
    if let index = entries.firstIndex(where: { $0.key == name }) {
      if entries[index].value.isNull { entries[index].position = position }
      entries[index].value = added(node, to: entries[index].value, at: path.dropFirst(), position)
    } else {
      let empty = YAMLNode(
        content: .scalar("", isPlain: true), position: position, expandedCount: 1, depth: 0)
      let value = added(node, to: empty, at: path.dropFirst(), position)
      entries.append(YAMLNode.Entry(key: name, position: position, value: value))
    }
    result.content = .mapping(entries)
    return result
  }

  /// What stands there already, with what is missing: further entries of a map; steps that no step of the same
  /// name replaces, before the others. A step that does nothing by itself amends the one of its name.
  private static func filled(_ present: YAMLNode, with node: YAMLNode) -> YAMLNode {
    if present.isNull { return node }
    var result = present
    switch (present.content, node.content) {
    case (.mapping(let entries), .mapping(let others)):
      let names = Set(entries.map(\.key))
      result.content = .mapping(entries + others.filter { !names.contains($0.key) })
    case (.sequence(let items), .sequence(let others)):
      guard items.allSatisfy({ $0.stepName != nil || $0.isMapping }), others.allSatisfy(\.isMapping) else {
        return present
      }
      let replaced = Set(items.filter(\.doesWork).compactMap(\.stepName))
      var own = items
      let kept = others.filter { !replaced.contains($0.stepName ?? "") }.map { step in
        // A second one of the same name is a mistake, and reported.
        guard let index = own.firstIndex(where: { $0.stepName == step.stepName }) else { return step }
        return step.amended(by: own.remove(at: index))
      }
      result.content = .sequence(kept + own)
    default: break
    }
    return result
  }
}

extension YAMLNode {
  fileprivate var isMapping: Bool { if case .mapping = content { true } else { false } }

  /// The `name` of a step.
  fileprivate var stepName: String? {
    guard case .mapping(let entries) = content,
      case .scalar(let text, _)? = entries.first(where: { $0.key == "name" })?.value.content
    else { return nil }
    return text
  }

  /// Whether a step says what it does, and is not there to amend another one.
  fileprivate var doesWork: Bool {
    guard case .mapping(let entries) = content else { return true }
    return entries.contains { ["run", "wait_for"].contains($0.key) && !$0.value.isNull }
  }

  /// A step with the keys of another one instead of its own; what is a map in both (`environment`) has the entries of
  /// both. The name stays its own, to tell whose step it is.
  fileprivate func amended(by other: YAMLNode, isStep: Bool = true) -> YAMLNode {
    guard case .mapping(var entries) = content, case .mapping(let others) = other.content else {
      return other
    }
    for entry in others where !entry.value.isNull && !(isStep && entry.key == "name") {
      if let index = entries.firstIndex(where: { $0.key == entry.key }) {
        entries[index].position = entry.position
        entries[index].value = entries[index].value.amended(by: entry.value, isStep: false)
      } else {
        entries.append(entry)
      }
    }
    var result = self
    result.content = .mapping(entries)
    return result
  }

  /// The same, with everything in it at one place.
  fileprivate func moved(to position: SourcePosition) -> YAMLNode {
    var result = self
    result.position = position
    switch content {
    case .scalar: break
    case .sequence(let items): result.content = .sequence(items.map { $0.moved(to: position) })
    case .mapping(let entries):
      result.content = .mapping(
        entries.map { Entry(key: $0.key, position: position, value: $0.value.moved(to: position)) })
    }
    return result
  }
}
