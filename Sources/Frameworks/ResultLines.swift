/// Lines of percent-escaped fields, as our Python programs write them: read strictly, since what a project's own process
/// can write to is not to be trusted to be whole.
///
/// A field is visible ASCII, in which `%` stands only before two hexadecimal digits; `-` alone is the empty text. One
/// space is between two fields, and each line ends with a line feed.
enum ResultLines {
  /// Longer results are somebody else's.
  static let limit = 16 << 20

  /// The lines that are complete, each with its fields; nil at the first that is no such line.
  static func read(_ bytes: [UInt8]) -> [[String]]? {
    guard bytes.count <= limit else { return nil }
    var lines: [[String]] = []
    var rest = bytes[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      var fields: [String] = []
      for field in rest[..<end].split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false) {
        guard let text = unescaped(field) else { return nil }
        fields.append(text)
      }
      lines.append(fields)
      rest = rest[(end + 1)...]
    }
    return lines
  }

  /// The field for a text.
  static func escaped(_ text: String) -> String {
    if text.isEmpty { return "-" }
    if text == "-" { return "%2D" }
    let digits = Array("0123456789ABCDEF".utf8)
    var result: [UInt8] = []
    for byte in text.utf8 {
      if byte <= 0x20 || byte >= 0x7f || byte == UInt8(ascii: "%") {
        result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      } else {
        result.append(byte)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// The text of a field; nil when it is none.
  static func unescaped(_ field: ArraySlice<UInt8>) -> String? {
    if field.elementsEqual("-".utf8) { return "" }
    guard !field.isEmpty else { return nil }
    var result: [UInt8] = []
    var bytes = field
    while let byte = bytes.popFirst() {
      guard byte > 0x20, byte < 0x7f else { return nil }
      guard byte == UInt8(ascii: "%") else {
        result.append(byte)
        continue
      }
      guard let high = bytes.popFirst().flatMap(digit), let low = bytes.popFirst().flatMap(digit) else {
        return nil
      }
      result.append(high << 4 | low)
    }
    return String(decoding: result, as: UTF8.self)
  }

  /// A hexadecimal digit's value; capitals only, as written.
  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
