/// A JSON value, read and written.
package indirect enum JSON {
  case null
  case bool(Bool)
  case number(Double)
  case string(String)
  case array([JSON])
  case object([(String, JSON)])

  package subscript(key: String) -> JSON {
    if case .object(let members) = self { return members.last { $0.0 == key }?.1 ?? .null }
    return .null
  }

  package var string: String? {
    if case .string(let string) = self { return string }
    return nil
  }

  package var array: [JSON] {
    if case .array(let values) = self { return values }
    return []
  }

  package init(parsing bytes: [UInt8]) throws {
    var reader = Reader(bytes: bytes)
    self = try reader.value()
  }

  /// As text; with `indent`, a line for each member.
  package func text(indent: String? = nil, at margin: String = "") -> String {
    let inner = indent.map { "\n" + margin + $0 } ?? ""
    let outer = indent == nil ? "" : "\n" + margin
    let deeper = margin + (indent ?? "")
    switch self {
    case .null: return "null"
    case .bool(let bool): return bool ? "true" : "false"
    case .number(let number): return number == number.rounded() ? String(Int64(number)) : String(number)
    case .string(let string): return JSON.quoted(string)
    case .array(let values):
      if values.isEmpty { return "[]" }
      return "[" + values.map { inner + $0.text(indent: indent, at: deeper) }.joined(separator: ",") + outer
        + "]"
    case .object(let members):
      if members.isEmpty { return "{}" }
      let separator = indent == nil ? ":" : ": "
      return "{"
        + members.map { inner + JSON.quoted($0.0) + separator + $0.1.text(indent: indent, at: deeper) }
        .joined(separator: ",") + outer + "}"
    }
  }

  /// As a string with its quotes; Go's log lines use nearly the same form.
  package static func quoted(_ string: String) -> String {
    var result = "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case _ where scalar.value < 0x20:
        result += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  private struct Reader {
    let bytes: [UInt8]
    var at = 0

    mutating func peek() throws -> UInt8 {
      while at < bytes.count, [0x20, 0x0a, 0x0d, 0x09].contains(bytes[at]) { at += 1 }
      guard at < bytes.count else { throw Failure("the JSON ends early") }
      return bytes[at]
    }

    mutating func take(_ byte: UInt8) throws -> Bool {
      guard try peek() == byte else { return false }
      at += 1
      return true
    }

    mutating func word(_ word: String, _ value: JSON) throws -> JSON {
      guard bytes[at...].starts(with: word.utf8) else { throw Failure("bad JSON at byte \(at)") }
      at += word.utf8.count
      return value
    }

    mutating func value() throws -> JSON {
      switch try peek() {
      case UInt8(ascii: "{"):
        at += 1
        var members: [(String, JSON)] = []
        while try !take(UInt8(ascii: "}")) {
          let key = try text()
          guard try take(UInt8(ascii: ":")) else { throw Failure("bad JSON at byte \(at)") }
          members.append((key, try value()))
          _ = try take(UInt8(ascii: ","))
        }
        return .object(members)
      case UInt8(ascii: "["):
        at += 1
        var values: [JSON] = []
        while try !take(UInt8(ascii: "]")) {
          values.append(try value())
          _ = try take(UInt8(ascii: ","))
        }
        return .array(values)
      case UInt8(ascii: "\""): return .string(try text())
      case UInt8(ascii: "t"): return try word("true", .bool(true))
      case UInt8(ascii: "f"): return try word("false", .bool(false))
      case UInt8(ascii: "n"): return try word("null", .null)
      default:
        let start = at
        while at < bytes.count, "+-.eE0123456789".utf8.contains(bytes[at]) { at += 1 }
        guard let number = Double(String(decoding: bytes[start..<at], as: UTF8.self)) else {
          throw Failure("bad JSON at byte \(at)")
        }
        return .number(number)
      }
    }

    mutating func text() throws -> String {
      guard try take(UInt8(ascii: "\"")) else { throw Failure("bad JSON at byte \(at)") }
      var result: [UInt8] = []
      while at < bytes.count, bytes[at] != UInt8(ascii: "\"") {
        if bytes[at] == UInt8(ascii: "\\"), at + 1 < bytes.count {
          at += 1
          switch bytes[at] {
          case UInt8(ascii: "n"): result.append(0x0a)
          case UInt8(ascii: "t"): result.append(0x09)
          case UInt8(ascii: "r"): result.append(0x0d)
          case UInt8(ascii: "u"):
            let digits = String(
              decoding: bytes[min(at + 1, bytes.count)..<min(at + 5, bytes.count)], as: UTF8.self)
            guard let code = UInt32(digits, radix: 16), let scalar = Unicode.Scalar(code) else {
              throw Failure("bad JSON at byte \(at)")
            }
            result += Array(String(Character(scalar)).utf8)
            at += 4
          default: result.append(bytes[at])
          }
        } else {
          result.append(bytes[at])
        }
        at += 1
      }
      at += 1
      return String(decoding: result, as: UTF8.self)
    }
  }
}

/// Base64 as Consul's values have it.
package enum Base64 {
  private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  package static func encode(_ bytes: [UInt8]) -> String {
    var result: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits = group.reduce(0) { $0 << 8 | UInt32($1) }
      bits <<= UInt32(8 * (3 - group.count))
      for index in 0..<4 {
        let digit = alphabet[Int(bits >> UInt32(18 - 6 * index) & 63)]
        result.append(index <= group.count ? digit : UInt8(ascii: "="))
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  package static func decode(_ text: String) -> [UInt8] {
    var result: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in text.utf8 {
      guard let digit = alphabet.firstIndex(of: byte) else { break }
      bits = bits << 6 | UInt32(digit)
      count += 6
      if count >= 8 {
        count -= 8
        result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
      }
    }
    return result
  }
}
