/// What a field may hold; the raw value is its shape on the wire.
enum FieldShape: UInt8 {
  case integer = 0x01
  case text = 0x81
  case bytes = 0x82
}

/// Collects the fields of one frame.
struct FieldWriter {
  private(set) var bytes: [UInt8] = []

  mutating func write(_ value: UInt64, as field: UInt8) {
    bytes += [field, FieldShape.integer.rawValue] + bigEndian(value, count: 8)
  }

  /// Texts are for people, or names that the settings limit: what is longer than 64 KiB is cut, at a character, so
  /// that no frame outgrows its limit.
  mutating func write(_ value: String, as field: UInt8) {
    var utf8 = Array(value.utf8.prefix(1 << 16))
    if utf8.count < value.utf8.count {
      while let last = utf8.last, last & 0xC0 == 0x80 { utf8.removeLast() }
      if let last = utf8.last, last >= 0x80 { utf8.removeLast() }
    }
    bytes += [field, FieldShape.text.rawValue] + bigEndian(UInt64(utf8.count), count: 4) + utf8
  }

  /// Bytes go whole: whoever writes them sees to it that they fit into a frame.
  mutating func write(_ value: [UInt8], as field: UInt8) {
    bytes += [field, FieldShape.bytes.rawValue] + bigEndian(UInt64(value.count), count: 4) + value
  }

  /// Durations go as nanoseconds; none is negative.
  mutating func write(_ value: Duration, as field: UInt8) {
    let (seconds, attoseconds) = value.components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carry) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
    write(overflow || carry ? UInt64(Int64.max) : UInt64(max(sum, 0)), as: field)
  }
}

/// The fields of one received frame. When a number comes twice the last one counts.
struct FieldReader {
  private enum Value {
    case integer(UInt64)
    case text(String)
    case bytes([UInt8])
    /// Of a shape that this program does not know.
    case other
  }

  private let kind: UInt16
  private var values: [UInt8: Value] = [:]

  init(_ frame: Frame) throws(FrameError) {
    kind = frame.kind
    var rest = frame.payload[...]
    while let field = rest.popFirst() {
      guard let shape = rest.popFirst() else { throw Self.cut(frame.kind) }
      var length = 8
      if shape >= 0x80 {
        guard rest.count >= 4 else { throw Self.cut(frame.kind) }
        length = Int(number(rest.prefix(4)))
        rest = rest.dropFirst(4)
      }
      guard rest.count >= length else { throw Self.cut(frame.kind) }
      let value = rest.prefix(length)
      rest = rest.dropFirst(length)
      switch FieldShape(rawValue: shape) {
      case .integer: values[field] = .integer(number(value))
      case .text:
        guard let text = String(validating: value, as: UTF8.self) else {
          throw .malformed(kind: frame.kind, reason: "has a text in field \(field) that is not UTF-8")
        }
        values[field] = .text(text)
      case .bytes: values[field] = .bytes(Array(value))
      case nil: values[field] = .other
      }
    }
  }

  func integer(_ field: UInt8) throws(FrameError) -> UInt64 {
    guard case .integer(let value) = values[field] else { throw missing(field, "a number") }
    return value
  }

  func text(_ field: UInt8) throws(FrameError) -> String {
    guard case .text(let value) = values[field] else { throw missing(field, "a text") }
    return value
  }

  func bytes(_ field: UInt8) throws(FrameError) -> [UInt8] {
    guard case .bytes(let value) = values[field] else { throw missing(field, "bytes") }
    return value
  }

  func has(_ field: UInt8) -> Bool { values[field] != nil }

  func flag(_ field: UInt8) throws(FrameError) -> Bool { try integer(field) != 0 }

  func duration(_ field: UInt8) throws(FrameError) -> Duration {
    .nanoseconds(Int64(clamping: try integer(field)))
  }

  func port(_ field: UInt8) throws(FrameError) -> UInt16 {
    guard let port = UInt16(exactly: try integer(field)), port > 0 else {
      throw .malformed(kind: kind, reason: "has no port in field \(field)")
    }
    return port
  }

  private func missing(_ field: UInt8, _ what: String) -> FrameError {
    .malformed(kind: kind, reason: "has no field \(field) that is \(what)")
  }

  private static func cut(_ kind: UInt16) -> FrameError {
    .malformed(kind: kind, reason: "ends within a field")
  }
}
