// Maps that are passed on as they are.

extension Resolver {
  mutating func map(_ node: YAMLNode, words: [String], path: String) throws(ValueProblem) {
    if case .scalar(let text, _) = node.content {
      guard !words.isEmpty else { throw ValueProblem("must be a map, not a single value") }
      guard words.contains(text) else {
        throw ValueProblem("must be a map or \(listed(words)), not \(quoted(text))")
      }
      set(.text(text), text: text, at: node, path: path)
      return
    }
    let entries = try mapping(node, example: path == "forward" ? "listen: \":8081\"" : "key: value")
    if path == "forward", let listen = entries.first(where: { $0.key == "listen" })?.value {
      guard let text = try scalar(listen, path: "\(path).listen") else { return }
      do throws(ValueProblem) {
        _ = try ValueType.listenAddress.parseScalar(text)
      } catch {
        report(error, at: listen.position, path: "\(path).listen")
        return
      }
    }
    guard words.isEmpty else { return set(.map(entries), text: "{…}", at: node, path: path) }
    guard let content = expandedEntries(entries, path: path) else { return }
    set(
      .map(content), text: content.isEmpty ? "{}" : "", at: node, path: path,
      parts: content.flatMap { $0.value.leaves($0.key) })
  }

  /// A map that is passed on: variables are expanded, entries of nothing left out. Nil when one has a problem.
  private mutating func expandedEntries(_ entries: [YAMLNode.Entry], path: String) -> [YAMLNode.Entry]? {
    var result: [YAMLNode.Entry] = []
    var isGood = true
    for entry in entries where !entry.value.isNull {
      if let value = expanded(entry.value, path: "\(path).\(entry.key)") {
        result.append(YAMLNode.Entry(key: entry.key, position: entry.position, value: value))
      } else {
        isGood = false
      }
    }
    return isGood ? result : nil
  }

  private mutating func expanded(_ node: YAMLNode, path: String) -> YAMLNode? {
    var result = node
    switch node.content {
    case .scalar(_, let isPlain):
      do throws(ValueProblem) {
        guard let text = try scalar(node, path: path) else { return nil }
        result.content = .scalar(text, isPlain: isPlain)
      } catch {
        report(error, at: node.position, path: path)
        return nil
      }
    case .sequence(let items):
      let found = items.enumerated().compactMap { expanded($1, path: "\(path)[\($0)]") }
      guard found.count == items.count else { return nil }
      result.content = .sequence(found)
    case .mapping(let entries):
      guard let found = expandedEntries(entries, path: path) else { return nil }
      result.content = .mapping(found)
    }
    return result
  }
}

extension YAMLNode {
  /// Every single value in it, with the path that leads there, to show one by one.
  fileprivate func leaves(_ path: String) -> [Resolution.Part] {
    switch content {
    case .scalar(let text, _): [Resolution.Part(name: path, text: text, origin: .at(position))]
    case .sequence(let items): items.enumerated().flatMap { $1.leaves("\(path)[\($0)]") }
    case .mapping(let entries): entries.flatMap { $0.value.leaves("\(path).\($0.key)") }
    }
  }
}
