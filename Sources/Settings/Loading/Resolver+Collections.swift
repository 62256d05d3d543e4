import Glibc

// Values that are lists or maps. Each reports what is wrong with its items and goes on.

extension Resolver {
  mutating func command(_ node: YAMLNode, path: String) throws(ValueProblem) {
    switch node.content {
    case .scalar:
      guard let text = try scalar(node, path: path, expanding: false) else { return }
      guard !text.trimmed.isEmpty else { throw ValueProblem("is empty", "write the command to run") }
      set(.command(.shell(text)), text: text, at: node, path: path)
    case .sequence(let items):
      guard !items.isEmpty else { throw ValueProblem("is an empty list", "write the command to run") }
      guard let arguments = strings(items, path: path) else { return }
      guard arguments.first != "" else {
        report(ValueProblem("the program's name is empty"), at: items[0].position, path: "\(path)[0]")
        return
      }
      set(.command(.arguments(arguments)), text: flowText(arguments), at: node, path: path)
    case .mapping:
      throw ValueProblem("must be a list or a string, not a map", "write it as [program, argument]")
    }
  }

  mutating func texts(
    _ node: YAMLNode, each rule: ValueType.TextRule, path: String
  ) throws(ValueProblem) {
    guard let items = try sequence(node), let texts = strings(items, path: path) else { return }
    var areGood = true
    for (index, text) in texts.enumerated() {
      do throws(ValueProblem) {
        _ = try ValueType.text(rule).parseScalar(text)
      } catch {
        report(error, at: items[index].position, path: "\(path)[\(index)]")
        areGood = false
      }
    }
    guard areGood else { return }
    set(
      .texts(texts), text: flowText(texts), at: node, path: path, items: items.map { .at($0.position) })
  }

  mutating func exitCodes(_ node: YAMLNode, path: String) throws(ValueProblem) {
    guard let items = try sequence(node), let texts = strings(items, path: path) else { return }
    var codes: Set<Int32> = []
    for (item, text) in zip(items, texts) {
      do throws(ValueProblem) {
        codes.insert(Int32(try ValueType.integer(text, in: 0...255)))
      } catch {
        report(error, at: item.position, path: path)
      }
    }
    set(.exitCodes(codes), text: flowText(texts), at: node, path: path)
  }

  mutating func environment(_ node: YAMLNode, path: String) throws(ValueProblem) {
    var variables: [EnvironmentVariable] = []
    var parts: [Resolution.Part] = []
    for entry in try mapping(node, example: "NAME: value") {
      guard !resolution.isFull else { return }
      let itemPath = "\(path).\(entry.key)"
      guard !entry.key.utf8.contains(0x3D), !entry.key.utf8.contains(0) else {
        report(
          ValueProblem("\(quoted(entry.key)) is not the name of a variable", "remove the '='"),
          at: entry.position,
          path: itemPath)
        continue
      }
      if entry.value.isNull {
        report(
          ValueProblem("has no value", "write \"\" for an empty one, or remove the line"),
          at: entry.value.position,
          path: itemPath)
        continue
      }
      do throws(ValueProblem) {
        guard let text = try scalar(entry.value, path: itemPath) else { continue }
        variables.append(EnvironmentVariable(name: entry.key, value: text))
        parts.append(Resolution.Part(name: entry.key, text: text, origin: .at(entry.value.position)))
      } catch {
        report(error, at: entry.value.position, path: itemPath)
      }
    }
    set(.environment(variables), text: "", at: node, path: path, parts: parts)
  }

  mutating func limits(_ node: YAMLNode, path: String) throws(ValueProblem) {
    var limits: [ResourceLimit] = []
    var parts: [Resolution.Part] = []
    for entry in try mapping(node, example: "nofile: 65536") where !entry.value.isNull {
      guard !resolution.isFull else { return }
      let itemPath = "\(path).\(entry.key)"
      guard let resource = ResourceLimit.resources[entry.key] else {
        let name = entry.key.lowercased()
        let known = ResourceLimit.resources.keys.sorted()
        let bare = name.hasPrefix("rlimit_") ? String(name.dropFirst(7)) : name
        report(
          ValueProblem(
            "\(quoted(entry.key)) is not a resource limit",
            nearest(to: bare, among: known).map { "did you mean \($0)?" }
              ?? "write one of \(known.joined(separator: ", "))"),
          at: entry.position, path: itemPath)
        continue
      }
      guard let (soft, hard) = limitPair(entry.value, path: itemPath) else { continue }
      limits.append(ResourceLimit(name: entry.key, resource: resource, soft: soft, hard: hard))
      let text = soft == hard ? limitText(soft) : "{soft: \(limitText(soft)), hard: \(limitText(hard))}"
      parts.append(Resolution.Part(name: entry.key, text: text, origin: .at(entry.value.position)))
    }
    set(.limits(limits), text: "", at: node, path: path, parts: parts)
  }

  mutating func signalMap(_ node: YAMLNode, path: String) throws(ValueProblem) {
    var actions: [Int32: ProcessSettings.SignalAction] = [:]
    var parts: [Resolution.Part] = []
    for entry in try mapping(node, example: "USR1: drop") where !entry.value.isNull {
      guard !resolution.isFull else { return }
      let itemPath = "\(path).\(entry.key)"
      let signal: Int32
      do throws(ValueProblem) {
        signal = try SignalName.parseForwarded(entry.key)
      } catch {
        report(error, at: entry.position, path: itemPath)
        continue
      }
      guard actions[signal] == nil else {
        report(
          ValueProblem("\(SignalName.text(signal)) is set twice", "keep one of the two"), at: entry.position,
          path: itemPath)
        continue
      }
      do throws(ValueProblem) {
        guard let text = try scalar(entry.value, path: itemPath) else { continue }
        actions[signal] = text == "drop" ? .drop : .send(try SignalName.parseAny(text))
        parts.append(Resolution.Part(name: entry.key, text: text, origin: .at(entry.value.position)))
      } catch {
        report(error, at: entry.value.position, path: itemPath)
      }
    }
    set(.signalMap(actions), text: "", at: node, path: path, parts: parts)
  }

  // MARK: Waits

  mutating func wait(_ node: YAMLNode, path: String) throws(ValueProblem) {
    if case .sequence = node.content {
      throw ValueProblem("must be one target, not a list", "make each wait a step of its own")
    }
    guard let wait = waitTarget(node, path: path) else { return }
    set(.wait(wait), text: Self.shown(wait), at: node, path: path)
  }

  mutating func waits(_ node: YAMLNode, path: String) throws(ValueProblem) {
    guard let items = try sequence(node) else { return }
    var waits: [WaitSettings] = []
    for (index, item) in items.enumerated() {
      guard !resolution.isFull else { return }
      if let wait = waitTarget(item, path: "\(path)[\(index)]") { waits.append(wait) }
    }
    guard waits.count == items.count else { return }
    set(
      .waits(waits), text: "[" + waits.map(Self.shown).joined(separator: ", ") + "]", at: node, path: path,
      items: items.map { .at($0.position) })
  }

  /// A target, or `{target, timeout}`; nil after a problem.
  private mutating func waitTarget(_ node: YAMLNode, path: String) -> WaitSettings? {
    var target: YAMLNode? = node
    var timeout: Duration?
    var isGood = true
    if case .mapping(let entries) = node.content {
      target = nil
      for entry in entries where !entry.value.isNull {
        switch entry.key {
        case "target": target = entry.value
        case "timeout":
          do throws(ValueProblem) {
            guard let text = try scalar(entry.value, path: "\(path).timeout") else { return nil }
            if case .duration(let value)? = try KeyTable.positiveDuration.parseScalar(text) {
              timeout = value
            }
          } catch {
            report(error, at: entry.value.position, path: "\(path).timeout")
            isGood = false
          }
        default:
          let near = nearest(to: entry.key.lowercased(), among: ["target", "timeout"])
          report(
            ValueProblem(
              "unknown key", near.map { "did you mean \($0)?" } ?? "the keys here are target, timeout"),
            at: entry.position, path: "\(path).\(entry.key)")
          isGood = false
        }
      }
    }
    guard let target else {
      report(
        ValueProblem("does not say what to wait for", "write {target: \"tcp://db:5432\", timeout: 30s}"),
        at: node.position, path: path)
      return nil
    }
    do throws(ValueProblem) {
      guard let text = try scalar(target, path: path) else { return nil }
      guard !text.isEmpty else { throw ValueProblem("is empty", "write for instance tcp://db:5432") }
      let value = try WaitTarget(settingsText: text)
      return isGood ? WaitSettings(target: value, timeout: timeout, text: maskingPasswords(in: text)) : nil
    } catch {
      report(error, at: target.position, path: path)
      return nil
    }
  }

  private static func shown(_ wait: WaitSettings) -> String {
    wait.timeout.map { "{target: \"\(wait.text)\", timeout: \($0.settingsText)}" } ?? "\"\(wait.text)\""
  }

  // MARK: Parts

  private func sequence(_ node: YAMLNode) throws(ValueProblem) -> [YAMLNode]? {
    switch node.content {
    case .sequence(let items): return items
    case .scalar(let text, _):
      throw ValueProblem("must be a list, not a single value", "write [\(printable(text))]")
    case .mapping: throw ValueProblem("must be a list, not a map", "start each item with '- '")
    }
  }

  func mapping(_ node: YAMLNode, example: String) throws(ValueProblem) -> [YAMLNode.Entry] {
    guard case .mapping(let entries) = node.content else {
      throw ValueProblem("must be a map, not \(node.kind)", "write it as {\(example)}")
    }
    return entries
  }

  /// The expanded texts of a list; nil when one of them has a problem.
  private mutating func strings(_ items: [YAMLNode], path: String) -> [String]? {
    var result: [String] = []
    for (index, item) in items.enumerated() {
      let itemPath = "\(path)[\(index)]"
      if item.isNull {
        let (message, suggestion) =
          if case .scalar("", _) = item.content {
            ("is empty", "write \"\" for an empty text, or remove the item")
          } else {
            ("means nothing at all in YAML", "put it in quotes")
          }
        report(ValueProblem(message, suggestion), at: item.position, path: itemPath)
        continue
      }
      do throws(ValueProblem) {
        if let text = try scalar(item, path: itemPath) { result.append(text) }
      } catch {
        report(error, at: item.position, path: itemPath)
      }
    }
    return result.count == items.count ? result : nil
  }

  private mutating func limitPair(_ node: YAMLNode, path: String) -> (UInt64, UInt64)? {
    do throws(ValueProblem) {
      guard case .mapping(let entries) = node.content else {
        guard let text = try scalar(node, path: path) else { return nil }
        let value = try limitValue(text)
        return (value, value)
      }
      var values: [String: UInt64] = [:]
      for entry in entries {
        guard entry.key == "soft" || entry.key == "hard" else {
          report(
            ValueProblem("unknown key", "the keys here are soft, hard"), at: entry.position,
            path: "\(path).\(entry.key)")
          return nil
        }
        if let text = try scalar(entry.value, path: "\(path).\(entry.key)") {
          values[entry.key] = try limitValue(text)
        }
      }
      guard let soft = values["soft"], let hard = values["hard"] else {
        throw ValueProblem("needs both limits", "write {soft: 1024, hard: 65536}")
      }
      guard soft <= hard else {
        throw ValueProblem("the soft limit is above the hard one", "raise hard or lower soft")
      }
      return (soft, hard)
    } catch {
      report(error, at: node.position, path: path)
      return nil
    }
  }

  private func limitValue(_ text: String) throws(ValueProblem) -> UInt64 {
    if text == "unlimited" { return ResourceLimit.unlimited }
    if ["-1", "infinity", "inf", "none", "max"].contains(text.lowercased()) {
      throw ValueProblem("\(quoted(text)) is not a limit", "write unlimited")
    }
    guard text.first?.isASCIIDigit == true else {
      throw ValueProblem(
        "\(quoted(text)) is not a limit", "write a number, a size such as 64MiB, or unlimited")
    }
    return try ByteCount.parse(text)
  }

  private func limitText(_ value: UInt64) -> String {
    value == ResourceLimit.unlimited ? "unlimited" : String(value)
  }
}

/// A list as it could stand in a file, in one line.
private func flowText(_ items: [String]) -> String {
  let words = items.map { item -> String in
    let isPlain =
      !item.isEmpty
      && item.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || [0x2E, 0x2F, 0x5F].contains(byte)
      }
    if isPlain { return item }
    return "\"" + item.map { ["\\", "\""].contains($0) ? "\\\($0)" : String($0) }.joined() + "\""
  }
  return "[" + words.joined(separator: ", ") + "]"
}

extension ResourceLimit {
  /// The numbers behind the names.
  static let resources: [String: Int32] = [
    "as": Int32(RLIMIT_AS.rawValue), "core": Int32(RLIMIT_CORE.rawValue), "cpu": Int32(RLIMIT_CPU.rawValue),
    "data": Int32(RLIMIT_DATA.rawValue), "fsize": Int32(RLIMIT_FSIZE.rawValue),
    "locks": Int32(__RLIMIT_LOCKS.rawValue), "memlock": Int32(__RLIMIT_MEMLOCK.rawValue),
    "msgqueue": Int32(__RLIMIT_MSGQUEUE.rawValue), "nice": Int32(__RLIMIT_NICE.rawValue),
    "nofile": Int32(RLIMIT_NOFILE.rawValue), "nproc": Int32(__RLIMIT_NPROC.rawValue),
    "rss": Int32(__RLIMIT_RSS.rawValue), "rtprio": Int32(__RLIMIT_RTPRIO.rawValue),
    "rttime": Int32(__RLIMIT_RTTIME.rawValue), "sigpending": Int32(__RLIMIT_SIGPENDING.rawValue),
    "stack": Int32(RLIMIT_STACK.rawValue),
  ]
}
