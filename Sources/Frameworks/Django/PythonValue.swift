/// A value of a Django setting.
public indirect enum PythonValue: Equatable, Sendable {
  /// `None`.
  case none
  /// `True` or `False`.
  case boolean(Bool)
  /// A whole number.
  case integer(Int)
  /// Another number.
  case number(Double)
  /// Text; paths too.
  case text(String)
  /// A list, tuple or set.
  case list([PythonValue])
  /// A dict, in its order.
  case map([Entry])
  /// What has no form of its own here: the name of its type.
  case other(String)

  /// An entry of a dict.
  public struct Entry: Equatable, Sendable {
    /// Its key, as text.
    public var key: String
    /// Its value.
    public var value: PythonValue
  }

  /// Reads a value from fields in prefix order; nil when they are not exactly one value.
  init?(fields: [String]) {
    var rest = fields[...]
    guard let value = Self.take(&rest, depth: 0), rest.isEmpty else { return nil }
    self = value
  }

  private static func take(_ fields: inout ArraySlice<String>, depth: Int) -> PythonValue? {
    guard depth < 16, let field = fields.popFirst() else { return nil }
    switch field {
    case "n": return PythonValue.none
    case "t": return .boolean(true)
    case "f": return .boolean(false)
    default: break
    }
    let bytes = Array(field.utf8)
    guard bytes.count >= 2, bytes[1] == UInt8(ascii: ":") else { return nil }
    let body = String(decoding: bytes[2...], as: UTF8.self)
    switch bytes[0] {
    case UInt8(ascii: "i"):
      // One that is too large for us is still one.
      let digits = body.utf8.drop { $0 == UInt8(ascii: "-") }
      guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
      return Int(body).map { .integer($0) } ?? .other("int")
    case UInt8(ascii: "d"): return Double(body).map { .number($0) }
    case UInt8(ascii: "s"): return .text(body)
    case UInt8(ascii: "x"): return .other(body)
    case UInt8(ascii: "l"):
      guard let count = Int(body), count >= 0 else { return nil }
      var items: [PythonValue] = []
      for _ in 0..<min(count, fields.count) {
        guard let item = take(&fields, depth: depth + 1) else { return nil }
        items.append(item)
      }
      return items.count == count ? .list(items) : nil
    case UInt8(ascii: "m"):
      guard let count = Int(body), count >= 0 else { return nil }
      var entries: [Entry] = []
      for _ in 0..<min(count, fields.count) {
        guard case .text(let key)? = take(&fields, depth: depth + 1),
          let value = take(&fields, depth: depth + 1)
        else { return nil }
        entries.append(Entry(key: key, value: value))
      }
      return entries.count == count ? .map(entries) : nil
    default: return nil
    }
  }

  /// The entry of a dict; nil when there is none, or this is no dict.
  public subscript(key: String) -> PythonValue? {
    guard case .map(let entries) = self else { return nil }
    // The last one, as in a dict.
    return entries.last { $0.key == key }?.value
  }

  /// The text, when it is one.
  public var text: String? { if case .text(let value) = self { value } else { nil } }

  /// The items, when it is a list.
  public var items: [PythonValue]? { if case .list(let items) = self { items } else { nil } }

  /// Whether it stands for nothing: `None`, or an empty text, list or dict.
  public var isNothing: Bool {
    switch self {
    case .none, .text(""), .list([]), .map([]): true
    default: false
    }
  }

  /// As Python would print it, bounded, for messages.
  public var shown: String {
    let text =
      switch self {
      case .none: "None"
      case .boolean(let value): value ? "True" : "False"
      case .integer(let value): String(value)
      case .number(let value): String(value)
      case .text(let value): "\"\(Printable.text(value))\""
      case .list(let items): "[" + items.prefix(5).map(\.shown).joined(separator: ", ") + "]"
      case .map(let entries): "a dict of \(entries.count)"
      case .other(let type): "a value of type \(Printable.text(type))"
      }
    return text
  }
}

/// Somebody's text for a message of ours.
enum Printable {
  /// One line without control characters, of bounded length.
  static func text(_ text: String, limit: Int = 200) -> String {
    var result = ""
    for (index, scalar) in text.unicodeScalars.enumerated() {
      guard index < limit else { return result + "…" }
      let isUnsafe =
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        || (0x2028...0x202E).contains(scalar.value)
      result += isUnsafe ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }
    return result
  }
}
