/// IP addresses as text (RFC 5952).
enum IPAddressText {
  /// The shortest form, IPv6 in brackets as it stands before a port.
  static func bracketed(_ bytes: [UInt8]) -> String {
    guard bytes.count == 16 else { return bytes.map { "\($0)" }.joined(separator: ".") }
    let words = stride(from: 0, to: 16, by: 2).map { UInt16(bytes[$0]) << 8 | UInt16(bytes[$0 + 1]) }
    var longest = 0..<0
    var start = 0
    while start < 8 {
      var end = start
      while end < 8, words[end] == 0 { end += 1 }
      if end - start > longest.count { longest = start..<end }
      start = max(end, start + 1)
    }
    func hex(_ range: Range<Int>) -> String {
      words[range].map { String($0, radix: 16) }.joined(separator: ":")
    }
    guard longest.count > 1 else { return "[\(hex(0..<8))]" }
    return "[\(hex(0..<longest.lowerBound))::\(hex(longest.upperBound..<8))]"
  }
}
