import CYAML
import Glibc
import Wire

/// litefs.yml, every key of it, with LiteFS's defaults. What nothing here acts on is checked all the same.
struct Configuration {
  var booleans: [String: Bool] = [
    "exit-on-error": true, "lease.candidate": true, "data.compress": true, "tracing.enabled": true,
  ]
  var strings: [String: String] = [
    "data.dir": "/var/lib/litefs", "fuse.dir": "/litefs", "http.addr": ":20202", "log.format": "text",
  ]
  /// In seconds.
  var durations: [String: Double] = [
    "lease.reconnect-delay": 1, "lease.consul.ttl": 10, "lease.consul.lock-delay": 1,
  ]
  var lists: [String: [String]] = [:]
  var commands: [(command: String, ifCandidate: Bool)] = []

  func flag(_ key: String) -> Bool { booleans[key] ?? false }
  func string(_ key: String) -> String { strings[key] ?? "" }

  enum Kind: String { case bool, string, time = "time.Duration", int, list = "[]string", exec, section }

  static let keys: [String: (String, [String: Kind])] = [
    "": (
      "main.Config",
      [
        "exit-on-error": .bool, "skip-sync": .bool, "strict-verify": .bool, "exec": .exec, "data": .section,
        "fuse": .section, "http": .section, "proxy": .section, "lease": .section, "backup": .section,
        "log": .section, "tracing": .section,
      ]
    ),
    "data.": (
      "main.DataConfig",
      ["dir": .string, "compress": .bool, "retention": .time, "retention-monitor-interval": .time]
    ),
    "fuse.": ("main.FUSEConfig", ["dir": .string, "allow-other": .bool, "debug": .bool]),
    "http.": ("main.HTTPConfig", ["addr": .string, "snapshot-timeout": .time]),
    "proxy.": (
      "main.ProxyConfig",
      [
        "addr": .string, "target": .string, "db": .string, "max-lag": .time, "debug": .bool,
        "passthrough": .list,
        "always-forward": .list, "primary-redirect-timeout": .time, "read-timeout": .time,
        "write-timeout": .time,
        "read-header-timeout": .time, "idle-timeout": .time,
      ]
    ),
    "lease.": (
      "main.LeaseConfig",
      [
        "type": .string, "hostname": .string, "advertise-url": .string, "candidate": .bool, "promote": .bool,
        "reconnect-delay": .time, "demote-delay": .time, "databases": .list, "consul": .section,
      ]
    ),
    "lease.consul.": ("struct", ["url": .string, "key": .string, "ttl": .time, "lock-delay": .time]),
    "backup.": (
      "main.BackupConfig",
      ["type": .string, "path": .string, "url": .string, "cluster": .string, "auth-token": .string]
    ),
    "log.": ("main.LogConfig", ["format": .string, "timestamp": .bool, "debug": .bool]),
    "tracing.": (
      "main.TracingConfig",
      ["enabled": .bool, "path": .string, "max-size": .int, "max-count": .int, "compress": .bool]
    ),
  ]

  /// The checks that come after the parse.
  func validate() throws {
    if string("fuse.dir").isEmpty { throw Failure("fuse directory required") }
    if string("data.dir").isEmpty { throw Failure("data directory required") }
    if string("fuse.dir") == string("data.dir") {
      throw Failure("fuse directory and data directory cannot be the same path")
    }
    if !["consul", "static"].contains(string("lease.type")) {
      throw Failure("invalid lease type, must be either 'consul' or 'static', got: '\(string("lease.type"))'")
    }
    if flag("lease.candidate"), !(lists["lease.databases"] ?? []).isEmpty {
      throw Failure("cannot specify a database replication filter on candidate nodes")
    }
  }

  /// Reads the file; strict in what LiteFS is strict about.
  init(yaml text: [UInt8], expandingEnvironment: Bool) throws {
    let text = expandingEnvironment ? Configuration.expand(text) : text
    var parser = yaml_parser_t()
    yaml_parser_initialize(&parser)
    defer { yaml_parser_delete(&parser) }
    var document = yaml_document_t()
    let loaded = text.withUnsafeBufferPointer {
      yaml_parser_set_input_string(&parser, $0.baseAddress, $0.count)
      return yaml_parser_load(&parser, &document)
    }
    if loaded == 0 {
      let scanner = parser.error == YAML_SCANNER_ERROR ? 1 : 0
      let line =
        [parser.context_mark.line, parser.problem_mark.line].first { $0 != 0 }.map { $0 + scanner } ?? 0
      let problem = parser.problem.map { String(cString: $0) } ?? "unknown problem"
      throw Failure("yaml: " + (line > 0 ? "line \(line): " : "") + problem)
    }
    defer { yaml_document_delete(&document) }
    guard let root = yaml_document_get_root_node(&document) else { throw Failure("EOF") }
    let reader = withUnsafeMutablePointer(to: &document) { document in
      var reader = Reader(document: document)
      reader.section(root, "", &self)
      return reader
    }
    if !reader.errors.isEmpty {
      throw Failure("yaml: unmarshal errors:\n  " + reader.errors.joined(separator: "\n  "))
    }
    if let failure = reader.failure { throw failure }
  }

  private struct Reader {
    var document: UnsafeMutablePointer<yaml_document_t>
    var errors: [String] = []
    var failure: Failure?
    typealias Node = UnsafeMutablePointer<yaml_node_t>

    func text(_ node: Node) -> String {
      guard node.pointee.type == YAML_SCALAR_NODE else { return "" }
      let scalar = node.pointee.data.scalar
      return String(decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
    }

    /// The tag that a plain scalar has by its looks.
    func tag(_ node: Node) -> String {
      if node.pointee.type == YAML_MAPPING_NODE { return "!!map" }
      if node.pointee.type == YAML_SEQUENCE_NODE { return "!!seq" }
      if node.pointee.data.scalar.style != YAML_PLAIN_SCALAR_STYLE { return "!!str" }
      let text = text(node)
      if ["", "~", "null", "Null", "NULL"].contains(text) { return "!!null" }
      if ["true", "True", "TRUE", "false", "False", "FALSE"].contains(text) { return "!!bool" }
      if Int(text) != nil { return "!!int" }
      return Double(text) != nil ? "!!float" : "!!str"
    }

    mutating func reject(_ node: Node, _ type: String) {
      var value = ""
      if node.pointee.type == YAML_SCALAR_NODE {
        let text = text(node)
        value = " `\(text.utf8.count > 10 ? text.prefix(7) + "..." : text[...])`"
      }
      errors.append(
        "line \(node.pointee.start_mark.line + 1): cannot unmarshal \(tag(node))\(value) into \(type)")
    }

    mutating func pairs(_ node: Node) -> [(Node, Node)] {
      var seen: [String: Int] = [:]
      var result: [(Node, Node)] = []
      var next = node.pointee.data.mapping.pairs.start
      while let pair = next, pair != node.pointee.data.mapping.pairs.top {
        defer { next = pair + 1 }
        guard let key = yaml_document_get_node(document, pair.pointee.key),
          let value = yaml_document_get_node(document, pair.pointee.value)
        else { continue }
        let line = Int(key.pointee.start_mark.line) + 1
        if let first = seen.updateValue(line, forKey: text(key)) {
          errors.append(
            "line \(line): mapping key \(JSON.quoted(text(key))) already defined at line \(first)")
        }
        result.append((key, value))
      }
      return result
    }

    func items(_ node: Node) -> [Node] {
      var result: [Node] = []
      var next = node.pointee.data.sequence.items.start
      while let item = next, item != node.pointee.data.sequence.items.top {
        if let node = yaml_document_get_node(document, item.pointee) { result.append(node) }
        next = item + 1
      }
      return result
    }

    mutating func section(_ node: Node, _ prefix: String, _ into: inout Configuration) {
      guard let (type, keys) = Configuration.keys[prefix], tag(node) != "!!null" else { return }
      guard node.pointee.type == YAML_MAPPING_NODE else { return reject(node, type) }
      for (key, value) in pairs(node) {
        let name = text(key)
        let path = prefix + name
        let scalar = value.pointee.type == YAML_SCALAR_NODE
        guard let kind = keys[name] else {
          errors.append("line \(key.pointee.start_mark.line + 1): field \(name) not found in type \(type)")
          continue
        }
        if tag(value) == "!!null" { continue }
        switch kind {
        case .section: section(value, path + ".", &into)
        case .exec: commands(value, &into)
        case .string:
          if scalar { into.strings[path] = text(value) } else { reject(value, kind.rawValue) }
        case .bool:
          let plain = scalar && value.pointee.data.scalar.style == YAML_PLAIN_SCALAR_STYLE
          switch plain ? text(value).lowercased() : "" {
          case "true", "yes", "on", "y": into.booleans[path] = true
          case "false", "no", "off", "n": into.booleans[path] = false
          default: reject(value, kind.rawValue)
          }
        case .time:
          if tag(value) == "!!str", let seconds = parseDuration(text(value)) {
            into.durations[path] = seconds
          } else {
            reject(value, kind.rawValue)
          }
        case .int:
          if tag(value) != "!!int" { reject(value, kind.rawValue) }
        case .list:
          if value.pointee.type == YAML_SEQUENCE_NODE {
            into.lists[path] = items(value).map(text)
          } else {
            reject(value, kind.rawValue)
          }
        }
      }
    }

    mutating func commands(_ node: Node, _ into: inout Configuration) {
      switch tag(node) {
      case "!!str": into.commands = [(text(node), false)]
      case "!!seq":
        for item in items(node) {
          guard item.pointee.type == YAML_MAPPING_NODE else {
            reject(item, "main.ExecConfig")
            continue
          }
          var command = ("", false)
          for (key, value) in pairs(item) {
            switch text(key) {
            case "cmd": command.0 = text(value)
            case "if-candidate": command.1 = text(value) == "true"
            default:
              errors.append(
                "line \(key.pointee.start_mark.line + 1): field \(text(key)) not found in type main.ExecConfig"
              )
            }
          }
          into.commands.append(command)
        }
      default: failure = Failure("invalid exec config format")
      }
    }
  }

  /// $NAME and ${NAME}, as Go's; ${NAME == 'text'} and != say true or false.
  static func expand(_ text: [UInt8]) -> [UInt8] {
    func isName(_ byte: UInt8) -> Bool {
      byte == UInt8(ascii: "_")
        || Character(Unicode.Scalar(byte)).isASCII
          && (byte | 0x20 >= 0x61 && byte | 0x20 <= 0x7a || byte >= 0x30 && byte <= 0x39)
    }
    func value(_ expression: String) -> String {
      for (sign, equal) in [("==", true), ("!=", false)] {
        let sides = expression.split(separator: sign, maxSplits: 1).map { $0.filter { $0 != " " } }
        guard sides.count == 2 else { continue }
        let quoted = sides[1].first == "'" || sides[1].first == "\""
        let right = quoted ? String(sides[1].dropFirst().dropLast()) : environment(sides[1]) ?? ""
        return ((environment(sides[0]) ?? "") == right) == equal ? "true" : "false"
      }
      return environment(expression.filter { $0 != " " }) ?? ""
    }
    var result: [UInt8] = []
    var rest = text[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "$") else {
        result.append(byte)
        continue
      }
      if rest.first == UInt8(ascii: "{"), let end = rest.firstIndex(of: UInt8(ascii: "}")) {
        result += Array(value(String(decoding: rest[(rest.startIndex + 1)..<end], as: UTF8.self)).utf8)
        rest = rest[(end + 1)...]
      } else {
        let name = rest.prefix { isName($0) }
        result += Array((environment(String(decoding: name, as: UTF8.self)) ?? "").utf8)
        rest = name.isEmpty ? rest.dropFirst() : rest.dropFirst(name.count)
      }
    }
    return result
  }
}
