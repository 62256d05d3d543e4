/// The JSON Schema of a settings file, made from the table of keys: for editors, and for checks before there is a
/// supervisor. It accepts whatever the parser does, and refuses much of what the parser refuses.
public enum SettingsSchema {
  /// The schema as text, draft 2020-12, ending in a line end.
  public static func text() -> String {
    var members: [(String, JSONText)] = [
      ("$schema", "https://json-schema.org/draft/2020-12/schema"),
      ("title", "supervisor settings"),
      ("description", "Made from the table of keys; `supervisor settings schema` prints it."),
    ]
    guard case .object(let root) = section(Schema.root, path: "") else { return "" }
    members += root
    members.append(("$defs", .object(definitions)))
    return JSONText.object(members).pretty() + "\n"
  }

  // MARK: Sections

  private static func section(_ schema: Schema, path: String) -> JSONText {
    if let key = schema.key { return value(of: key) }
    if let item = schema.item.first {
      return [
        "type": ["array", "null"], "description": .string(title(of: path)),
        "items": section(item, path: "\(path)[]"),
      ]
    }
    var members: [(String, JSONText)] = [
      ("type", path.hasSuffix("[]") ? "object" : ["object", "null"])
    ]
    if !path.isEmpty, !path.hasSuffix("[]"), !path.hasSuffix("*") {
      members.append(("description", .string(title(of: path))))
    }
    if let wildcard = schema.wildcard.first {
      let pattern = "^(?!app$)[A-Za-z0-9_-]{1,64}$"
      members.append(("patternProperties", .object([(pattern, section(wildcard, path: "\(path).*"))])))
    } else {
      let properties = schema.order.compactMap { name -> (String, JSONText)? in
        guard let child = schema.children[name], !isMisplaced(child) else { return nil }
        return (name, section(child, path: path.isEmpty ? name : "\(path).\(name)"))
      }
      members.append(("properties", .object(properties)))
    }
    members.append(("additionalProperties", false))
    if path.hasSuffix("steps[]") {
      members.append(("required", ["name"]))
      // Neither: it amends a step of a preset.
      members.append(("not", ["required": ["run", "wait_for"]]))
    } else if path == "services.*" {
      members[0] = ("type", "object")
      members.append(("required", ["command"]))
    }
    return .object(members)
  }

  private static func isMisplaced(_ schema: Schema) -> Bool {
    if case .misplaced? = schema.key?.availability { true } else { false }
  }

  private static func title(of path: String) -> String { KeyTable.sections[path] ?? path }

  // MARK: Values

  private static func value(of key: KeyDescription) -> JSONText {
    var summary = key.summary
    if case .later(let work) = key.availability { summary += " (not yet: it comes with \(work))" }
    if let name = key.environmentName { summary += " [\(name)]" }
    var members: [(String, JSONText)] = [("description", .string(summary))]
    if let text = key.defaultText { members.append(("default", defaultValue(text, key.type))) }
    members += type(key.type)
    return .object(members)
  }

  private static func defaultValue(_ text: String, _ type: ValueType) -> JSONText {
    switch type {
    case .boolean: .boolean(text == "true")
    case .integer, .number: .number(text)
    case .exitCodes: [0]
    default: .string(text)
    }
  }

  private static func reference(_ name: String) -> JSONText { ["$ref": .string("#/$defs/\(name)")] }

  /// What a single value may be, or what it may not be without `${…}` in it.
  private static func orVariable(_ alternatives: [JSONText]) -> [(String, JSONText)] {
    [("anyOf", .array(alternatives + [reference("variable"), ["type": "null"]]))]
  }

  private static func type(_ type: ValueType) -> [(String, JSONText)] {
    switch type {
    case .text(let rule): orVariable([text(rule)])
    case .duration(_, let words):
      orVariable([reference("duration")] + (words.isEmpty ? [] : [["enum": strings(words)]]))
    case .boolean: orVariable([["enum": [true, false, "true", "false"]]])
    case .integer(let range):
      orVariable([
        [
          "type": "integer", "minimum": .number(String(range.lowerBound)),
          "maximum": .number(String(range.upperBound)),
        ],
        ["type": "string", "pattern": "^[0-9]+$"],
      ])
    case .number(let range):
      orVariable([
        [
          "type": "number", "minimum": .number(String(Int(range.lowerBound))),
          "maximum": .number(String(Int(range.upperBound))),
        ],
        ["type": "string", "pattern": "^[0-9.]+$"],
      ])
    case .size: orVariable([reference("size")])
    case .choice(let words, let later, _):
      orVariable([["enum": .array((words + later.keys.sorted()).flatMap(spellings))]])
    case .command: [("anyOf", [reference("command"), ["type": "null"]])]
    case .signal: orVariable([reference("signal")])
    case .listenAddress, .tcpTarget: orVariable([["type": "string", "pattern": ":[0-9]{1,5}$"]])
    case .httpTarget: orVariable([["type": "string", "pattern": "^[Hh][Tt][Tt][Pp]://[^ ]+$"]])
    case .umask:
      orVariable([["type": "string", "pattern": "^(0o)?[0-7]{1,4}$"], ["type": "integer", "minimum": 0]])
    case .exitCodes:
      list(["anyOf": [["type": "integer", "minimum": 0, "maximum": 255], reference("variable")]])
    case .texts(let rule): list(["anyOf": [text(rule), reference("variable")]])
    case .environment: [("anyOf", [reference("environment"), ["type": "null"]])]
    case .limits: [("anyOf", [reference("limits"), ["type": "null"]])]
    case .signalMap:
      [("type", ["object", "null"]), ("additionalProperties", reference("scalar"))]
    case .wait: [("anyOf", [reference("wait"), ["type": "null"]])]
    case .waits: list(reference("wait"))
    case .map(let words):
      words.isEmpty
        ? [("type", ["object", "null"])]
        : [("anyOf", [["type": ["object", "null"]], ["enum": .array(words.flatMap(spellings))]])]
    }
  }

  private static func list(_ items: JSONText) -> [(String, JSONText)] {
    [("type", ["array", "null"]), ("items", items)]
  }

  private static func strings(_ words: [String]) -> JSONText { .array(words.map { .string($0) }) }

  /// A word, and what an editor's YAML makes of it.
  private static func spellings(_ word: String) -> [JSONText] {
    switch word {
    case "true": [.string(word), true]
    case "false", "off": [.string(word), false]
    default: [.string(word)]
    }
  }

  private static func text(_ rule: ValueType.TextRule) -> JSONText {
    switch rule {
    case .any: reference("scalar")
    case .label: ["type": ["string", "number", "boolean"], "maxLength": 200]
    case .path: ["type": ["string", "number"], "minLength": 1]
    case .absolutePath: ["type": "string", "pattern": "^/"]
    case .postgresConnection: ["type": "string", "pattern": "^postgres(ql)?://|="]
    case .postgresURL: ["type": "string", "pattern": "^postgres(ql)?://"]
    case .redisURL: ["type": "string", "pattern": "^rediss?://"]
    case .webURL: ["type": "string", "pattern": "^https?://"]
    case .user: ["type": ["string", "integer"], "pattern": "^[^:/ ]+(:[^:/ ]+)?$"]
    }
  }

  private static let definitions: [(String, JSONText)] = [
    ("variable", ["type": "string", "pattern": "\\$\\{", "description": "has a ${VARIABLE} in it"]),
    ("scalar", ["type": ["string", "number", "boolean"]]),
    (
      "duration",
      [
        "description": "1h30m, 250ms, or whole seconds",
        "anyOf": [
          ["type": "integer", "minimum": 0],
          [
            "type": "string",
            "pattern": "^([0-9]+|(([0-9]+(\\.[0-9]*)?|\\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$",
          ],
        ],
      ]
    ),
    (
      "size",
      [
        "description": "64MiB, 1GB, or whole bytes",
        "anyOf": [
          ["type": "integer", "minimum": 0],
          ["type": "string", "pattern": "^[0-9]+([KMGT]iB|kB|[MGT]B|B)?$"],
        ],
      ]
    ),
    (
      "signal",
      [
        "description": "TERM, SIGTERM, RTMIN+3, 15",
        "anyOf": [
          ["type": "integer", "minimum": 1, "maximum": 64],
          ["type": "string", "pattern": "^[A-Za-z][A-Za-z0-9+-]*$|^[0-9]+$"],
        ],
      ]
    ),
    (
      "command",
      [
        "description": "[program, argument], or a string for /bin/sh -c",
        "anyOf": [
          ["type": "array", "minItems": 1, "items": reference("scalar")],
          ["type": ["string", "number", "boolean"], "minLength": 1],
        ],
      ]
    ),
    (
      "environment",
      [
        "type": "object", "propertyNames": ["pattern": "^[^=]+$"],
        "additionalProperties": reference("scalar"),
      ]
    ),
    (
      "limit",
      ["anyOf": [["const": "unlimited"], reference("size"), reference("variable")]]
    ),
    (
      "limits",
      [
        "type": "object", "propertyNames": ["enum": strings(ResourceLimit.resources.keys.sorted())],
        "additionalProperties": [
          "anyOf": [
            reference("limit"),
            [
              "type": "object", "properties": ["soft": reference("limit"), "hard": reference("limit")],
              "required": ["soft", "hard"], "additionalProperties": false,
            ],
            ["type": "null"],
          ]
        ],
      ]
    ),
    (
      "target",
      [
        "description":
          "tcp://h:p, http(s)://…, file:/p, sqlite:/p, postgres, redis, or a URL of one of the two",
        "type": "string",
        "pattern":
          "^(postgres|redis)$|^(tcp|https?|postgres|postgresql|rediss?)://|^(file|sqlite3?):(/|///)|\\$\\{",
      ]
    ),
    (
      "wait",
      [
        "anyOf": [
          reference("target"),
          [
            "type": "object",
            "properties": [
              "target": reference("target"),
              "timeout": ["anyOf": [reference("duration"), reference("variable"), ["type": "null"]]],
            ], "required": ["target"], "additionalProperties": false,
          ],
        ]
      ]
    ),
  ]
}
