/// The text of a file, cut into lines when a message needs them.
struct SourceText: Sendable {
  private let bytes: [UInt8]

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
  }

  /// A line's text without its end; empty when there is no such line. Counts from 1.
  func line(_ number: Int) -> String {
    var current = 1
    var start = 0
    var index = 0
    while index < bytes.count, current <= number {
      let byte = bytes[index]
      if byte == 0x0A || byte == 0x0D {
        if current == number { break }
        if byte == 0x0D, index + 1 < bytes.count, bytes[index + 1] == 0x0A { index += 1 }
        current += 1
        start = index + 1
      }
      index += 1
    }
    guard current == number, start <= index else { return "" }
    return String(decoding: bytes[start..<index], as: UTF8.self)
  }

  /// The line and column, from 1, of a byte.
  func position(ofByte offset: Int, file: String) -> SourcePosition {
    var line = 1
    var column = 1
    for index in 0..<min(offset, bytes.count) {
      let byte = bytes[index]
      let isLineEnd = byte == 0x0A || (byte == 0x0D && !(index + 1 < bytes.count && bytes[index + 1] == 0x0A))
      if isLineEnd {
        line += 1
        column = 1
      } else if byte & 0xC0 != 0x80, byte != 0x0D {
        column += 1
      }
    }
    return SourcePosition(file: file, line: line, column: column)
  }

  /// The character in a line, both from 1; nil past its end.
  func character(line number: Int, column: Int) -> Unicode.Scalar? {
    line(number).unicodeScalars.dropFirst(column - 1).first
  }

  /// A byte; nil past the end.
  func byte(at offset: Int) -> UInt8? {
    bytes.indices.contains(offset) ? bytes[offset] : nil
  }
}
