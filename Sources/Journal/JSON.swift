import EventLoop

/// A JSON value to be written (RFC 8259). Swift strings are valid Unicode by construction, so what is written is too.
public enum JSON {
  /// `null`.
  case null
  /// `true` or `false`.
  case bool(Bool)
  /// A whole number.
  case integer(Int64)
  /// Written with milliseconds.
  case seconds(Duration)
  /// A text.
  case string(String)
  /// A list.
  case array([JSON])
  /// Members in the order in which they are written.
  case object([(String, JSON)])

  /// A string, or null.
  public static func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }

  /// An integer, or null.
  public static func optional(_ number: (some BinaryInteger)?) -> JSON {
    number.map { .integer(Int64(clamping: $0)) } ?? .null
  }

  /// The text, indented by two spaces a level.
  public var text: String {
    var text = ""
    write(to: &text, indent: 0)
    return text
  }

  /// The text in one line.
  public var line: String {
    switch self {
    case .null, .bool, .integer, .seconds, .string: return text
    case .array(let values): return "[" + values.map(\.line).joined(separator: ",") + "]"
    case .object(let members):
      return "{" + members.map { "\(JSON.string($0.0).text):\($0.1.line)" }.joined(separator: ",") + "}"
    }
  }

  private func write(to text: inout String, indent: Int) {
    switch self {
    case .null: text += "null"
    case .bool(let value): text += value ? "true" : "false"
    case .integer(let value): text += "\(value)"
    case .seconds(let duration): text += duration.decimalSeconds
    case .string(let value): JSON.write(value, to: &text)
    case .array(let values):
      JSON.writeList(values, "[", "]", to: &text, indent: indent) { value, text in
        value.write(to: &text, indent: indent + 1)
      }
    case .object(let members):
      JSON.writeList(members, "{", "}", to: &text, indent: indent) { member, text in
        JSON.write(member.0, to: &text)
        text += ": "
        member.1.write(to: &text, indent: indent + 1)
      }
    }
  }

  private static func writeList<Item>(
    _ items: [Item], _ open: String, _ close: String, to text: inout String, indent: Int,
    _ writeItem: (Item, inout String) -> Void
  ) {
    text += open
    for (index, item) in items.enumerated() {
      text += index == 0 ? "\n" : ",\n"
      text += String(repeating: "  ", count: indent + 1)
      writeItem(item, &text)
    }
    if !items.isEmpty { text += "\n" + String(repeating: "  ", count: indent) }
    text += close
  }

  private static func write(_ value: String, to text: inout String) {
    text += "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      default:
        // The line separators are legal, but break JavaScript that is not careful.
        let isUnsafe =
          scalar.value < 0x20 || scalar.value == 0x7f || scalar == "\u{2028}" || scalar == "\u{2029}"
        if isUnsafe {
          let digits = String(scalar.value, radix: 16)
          text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        } else {
          text.unicodeScalars.append(scalar)
        }
      }
    }
    text += "\""
  }
}

extension Duration {
  /// Seconds with three decimals, as in `12.045`.
  public var decimalSeconds: String {
    let nanoseconds = wholeNanoseconds
    let milliseconds = nanoseconds.magnitude / 1_000_000
    let rest = String(milliseconds % 1000)
    let sign = nanoseconds < 0 && milliseconds > 0 ? "-" : ""
    return "\(sign)\(milliseconds / 1000)." + String(repeating: "0", count: 3 - rest.count) + rest
  }
}
