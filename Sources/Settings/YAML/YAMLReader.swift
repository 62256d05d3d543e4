import CYAML

/// Reads one YAML document into a tree of nodes, by libyaml's events.
///
/// Everything that grows is bounded, because the reader runs in PID 1: the size of the text, the depth of
/// nesting, and the number of nodes after every alias is written out.
public struct YAMLReader: Sendable {
  /// The longest text that is read: 1 MiB.
  public static let maximumSize = 1 << 20
  /// The deepest nesting of lists and maps.
  public static let maximumDepth = 64
  /// The most nodes, each alias counted with all it stands for.
  public static let maximumNodes = 100_000

  private let file: String
  private let text: SourceText
  private var anchors: [String: YAMLNode] = [:]
  private var openAnchors: Set<String> = []
  private var nodeCount = 0

  /// Reads a document.
  ///
  /// - Parameters:
  ///   - bytes: the text, UTF-8, with or without a byte order mark, with any line ends.
  ///   - file: the name to use in positions.
  /// - Returns: the document's root; nil when there is nothing but comments.
  /// - Throws: a `Diagnostic` with the first thing that is wrong.
  public static func read(_ bytes: [UInt8], file: String) throws(Diagnostic) -> YAMLNode? {
    guard bytes.count <= maximumSize else {
      throw Diagnostic(
        .error, at: .file(SourcePosition(file: file, line: 1, column: 1)),
        "the file is larger than 1 MiB", suggestion: "is this the right file?")
    }
    if bytes.starts(with: [0xFF, 0xFE]) || bytes.starts(with: [0xFE, 0xFF]) {
      throw Diagnostic(
        .error, at: .file(SourcePosition(file: file, line: 1, column: 1)), "the file is UTF-16",
        suggestion: "save it as UTF-8")
    }
    let content = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
    var reader = YAMLReader(file: file, content: content)
    // A typed throw cannot leave the closure of a rethrowing function, so the outcome is a value.
    let outcome = content.withUnsafeBufferPointer { buffer -> Result<YAMLNode?, Diagnostic> in
      let events = EventSource(buffer)
      do throws(Diagnostic) {
        return .success(try reader.document(events))
      } catch {
        return .failure(error)
      }
    }
    return try outcome.get()
  }

  private init(file: String, content: [UInt8]) {
    self.file = file
    text = SourceText(content)
  }

  // MARK: Productions

  private mutating func document(_ events: borrowing EventSource) throws(Diagnostic) -> YAMLNode? {
    _ = try next(events)  // start of the stream
    let start = try next(events)
    guard start.kind != YAML_STREAM_END_EVENT else { return nil }
    let first = try next(events)
    let root = try node(from: first, events, depth: 0)
    _ = try next(events)  // end of the document
    let end = try next(events)
    guard end.kind == YAML_STREAM_END_EVENT else {
      throw problem(
        at: end.position, "a second document starts here, and only one is read",
        suggestion: "remove the '---' and keep everything in one document")
    }
    return root.isNull ? nil : root
  }

  private mutating func node(
    from event: Event, _ events: borrowing EventSource, depth: Int
  ) throws(Diagnostic) -> YAMLNode {
    try count(1, at: event.position)
    if event.kind == YAML_ALIAS_EVENT { return try alias(event, depth: depth) }
    if let tag = event.tag {
      throw problem(
        at: event.position, "the tag \(printable(Self.shortened(tag))) is not supported",
        suggestion: "remove it: the type of a value comes from its key")
    }
    if event.kind == YAML_SCALAR_EVENT {
      let scalar = YAMLNode(
        content: .scalar(event.text, isPlain: event.isPlain), position: event.position, expandedCount: 1,
        depth: 0)
      if let anchor = event.anchor { anchors[anchor] = scalar }
      return scalar
    }
    guard depth < Self.maximumDepth else {
      throw problem(
        at: event.position, "lists and maps are nested more than \(Self.maximumDepth) deep",
        suggestion: "no setting needs that: is this the right file?")
    }
    if let anchor = event.anchor {
      anchors[anchor] = nil
      openAnchors.insert(anchor)
    }
    var result: YAMLNode
    if event.kind == YAML_SEQUENCE_START_EVENT {
      result = try sequence(event, events, depth: depth)
    } else {
      result = try mapping(event, events, depth: depth)
    }
    result.depth += 1
    if let anchor = event.anchor {
      openAnchors.remove(anchor)
      anchors[anchor] = result
    }
    return result
  }

  private mutating func sequence(
    _ start: Event, _ events: borrowing EventSource, depth: Int
  ) throws(Diagnostic) -> YAMLNode {
    var items: [YAMLNode] = []
    var result = YAMLNode(content: .sequence([]), position: start.position, expandedCount: 1, depth: 0)
    while true {
      let event = try next(events)
      if event.kind == YAML_SEQUENCE_END_EVENT { break }
      let item = try node(from: event, events, depth: depth + 1)
      result.absorb(item)
      items.append(item)
    }
    result.content = .sequence(items)
    return result
  }

  private mutating func mapping(
    _ start: Event, _ events: borrowing EventSource, depth: Int
  ) throws(Diagnostic) -> YAMLNode {
    var entries: [YAMLNode.Entry] = []
    var seen: [String: SourcePosition] = [:]
    var result = YAMLNode(content: .mapping([]), position: start.position, expandedCount: 1, depth: 0)
    while true {
      let event = try next(events)
      if event.kind == YAML_MAPPING_END_EVENT { break }
      let key = try keyText(event)
      if let earlier = seen.updateValue(event.position, forKey: key) {
        throw problem(
          at: event.position, "the key \(quoted(key)) was already set in line \(earlier.line)",
          suggestion: "keep one of the two")
      }
      try count(1, at: event.position)
      let value = try node(from: try next(events), events, depth: depth + 1)
      result.absorb(value)
      result.expandedCount += 1
      entries.append(YAMLNode.Entry(key: key, position: event.position, value: value))
    }
    result.content = .mapping(entries)
    return result
  }

  private func keyText(_ event: Event) throws(Diagnostic) -> String {
    guard event.kind == YAML_SCALAR_EVENT else {
      throw problem(
        at: event.position, "a key must be a single word, not a list, a map or an alias",
        suggestion: "if a value that starts with '{', '[' or '*' was meant, put it in quotes")
    }
    if event.text == "<<", event.isPlain {
      throw problem(
        at: event.position, "the merge key '<<' is not supported",
        suggestion: "put an anchor on a whole value (key: &name …) and use it with *name")
    }
    guard !event.text.isEmpty else {
      throw problem(at: event.position, "a key is missing before ':'", suggestion: "write 'key: value'")
    }
    return event.text
  }

  private mutating func alias(_ event: Event, depth: Int) throws(Diagnostic) -> YAMLNode {
    let name = event.anchor ?? ""
    guard let target = anchors[name] else {
      if openAnchors.contains(name) {
        throw problem(
          at: event.position, "*\(printable(name)) stands inside its own anchor",
          suggestion: "a value cannot contain itself")
      }
      let near = nearest(to: name, among: anchors.keys.sorted()).map { "did you mean *\($0)?" }
      throw problem(
        at: event.position, "*\(printable(name)) refers to an anchor that is not defined above it",
        suggestion: near
          ?? "define it with &\(printable(name)), or put the text in quotes if '*' belongs to it")
    }
    try count(target.expandedCount - 1, at: event.position)
    guard depth + target.depth <= Self.maximumDepth else {
      throw problem(
        at: event.position,
        "lists and maps are nested more than \(Self.maximumDepth) deep through this alias",
        suggestion: "write the value out")
    }
    return target
  }

  /// `!!str` for `tag:yaml.org,2002:str`, as it was written.
  private static func shortened(_ tag: String) -> String {
    let prefix = "tag:yaml.org,2002:"
    return tag.hasPrefix(prefix) ? "!!" + tag.dropFirst(prefix.count) : tag
  }

  private mutating func count(_ added: Int, at position: SourcePosition) throws(Diagnostic) {
    nodeCount += added
    guard nodeCount <= Self.maximumNodes else {
      throw problem(
        at: position, "the file has more than \(Self.maximumNodes) values, aliases written out",
        suggestion: "no setting needs that: is this the right file?")
    }
  }

  // MARK: Events

  private func next(_ events: borrowing EventSource) throws(Diagnostic) -> Event {
    guard let event = events.next(file: file) else { throw text.advice(for: events.failure, file: file) }
    return event
  }

  private func problem(
    at position: SourcePosition, _ message: String, suggestion: String?
  ) -> Diagnostic {
    Diagnostic(.error, at: .file(position), message, suggestion: suggestion)
  }
}

extension YAMLNode {
  fileprivate mutating func absorb(_ child: YAMLNode) {
    expandedCount += child.expandedCount
    depth = max(depth, child.depth)
  }
}
