/// Sizes: `64MiB`, `1GB`, or whole bytes.
enum ByteCount {
  private static let units: [(name: String, bytes: UInt64)] = [
    ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
    ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000), ("B", 1), ("", 1),
  ]

  static func parse(_ text: String) throws(ValueProblem) -> UInt64 {
    let digits = text.prefix { $0.isASCIIDigit }
    let name = text.dropFirst(digits.count)
    guard !digits.isEmpty, let unit = units.first(where: { $0.name == name }) else {
      let letter = name.drop { $0 == " " }.first.map { String($0).uppercased() } ?? ""
      let known = units.first { $0.name == "\(letter)iB" }
      let suggestion =
        digits.isEmpty || known == nil
        ? "write for instance 64MiB, 1GB, or whole bytes" : "write \(digits)\(letter)iB"
      throw ValueProblem("\(quoted(text)) is not a size", suggestion)
    }
    guard let count = UInt64(digits) else { throw ValueProblem("\(printable(text)) is too large") }
    let (product, overflowed) = count.multipliedReportingOverflow(by: unit.bytes)
    guard !overflowed, product < UInt64(Int64.max) else {
      throw ValueProblem("\(printable(text)) is too large")
    }
    return product
  }
}
