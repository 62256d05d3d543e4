/// Keeps a value inside one field of one line: space, control characters and `%` become %XX; empty becomes `-`.
public enum FieldEscape {
  /// The field.
  public static func escaped(_ text: String) -> String {
    if text.isEmpty { return "-" }
    if text == "-" { return "%2D" }
    let digits = Array("0123456789ABCDEF".utf8)
    var result: [UInt8] = []
    for byte in text.utf8 {
      if byte <= 0x20 || byte == 0x7f || byte == UInt8(ascii: "%") {
        result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      } else {
        result.append(byte)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// The text, or nil when it is none of ours.
  public static func unescaped(_ text: String) -> String? {
    if text == "-" { return "" }
    var result: [UInt8] = []
    var bytes = Array(text.utf8)[...]
    while let byte = bytes.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        result.append(byte)
        continue
      }
      let pair = String(decoding: bytes.prefix(2), as: UTF8.self)
      // A sign would be taken for part of the number.
      guard bytes.count >= 2, pair.allSatisfy(\.isHexDigit), let value = UInt8(pair, radix: 16) else {
        return nil
      }
      result.append(value)
      bytes = bytes.dropFirst(2)
    }
    return String(decoding: result, as: UTF8.self)
  }
}
