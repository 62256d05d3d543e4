/// A JSON value that keeps the order of its members, to be written into a file that people compare.
indirect enum JSONText: Sendable {
  case string(String)
  /// A number as it is written.
  case number(String)
  case boolean(Bool)
  case array([JSONText])
  case object([(String, JSONText)])

  /// Two blanks a level; what fits into a line stays in one.
  func pretty(indent: String = "", column: Int = 0) -> String {
    let short = compact
    if indent.utf8.count + column + short.utf8.count <= 110 { return short }
    let inner = indent + "  "
    switch self {
    case .string, .number, .boolean: return short
    case .array(let items):
      return "[\n" + items.map { inner + $0.pretty(indent: inner) }.joined(separator: ",\n") + "\n\(indent)]"
    case .object(let members):
      let lines = members.map { name, value in
        let start = "\(Self.quoted(name)): "
        return inner + start + value.pretty(indent: inner, column: start.utf8.count)
      }
      return "{\n" + lines.joined(separator: ",\n") + "\n\(indent)}"
    }
  }

  private var compact: String {
    switch self {
    case .string(let text): Self.quoted(text)
    case .number(let text): text
    case .boolean(let value): value ? "true" : "false"
    case .array(let items): "[" + items.map(\.compact).joined(separator: ", ") + "]"
    case .object(let members):
      "{" + members.map { "\(Self.quoted($0)): \($1.compact)" }.joined(separator: ", ") + "}"
    }
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      default:
        if scalar.value < 0x20 {
          let digits = String(scalar.value, radix: 16)
          result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result + "\""
  }
}

extension JSONText: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
  init(stringLiteral text: String) { self = .string(text) }
  init(integerLiteral number: Int) { self = .number(String(number)) }
  init(booleanLiteral value: Bool) { self = .boolean(value) }
}

extension JSONText: ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral {
  init(arrayLiteral items: JSONText...) { self = .array(items) }
  init(dictionaryLiteral members: (String, JSONText)...) { self = .object(members) }
}
