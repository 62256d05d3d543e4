extension Duration {
  /// Longer durations are taken for mistakes; far below where the arithmetic of clocks ends.
  private static let settingsMaximum = 100 * 366 * 24 * 3600 as Int64

  private static let units: [(name: String, nanoseconds: UInt64)] = [
    ("ns", 1), ("us", 1_000), ("µs", 1_000), ("μs", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000),
    ("m", 60_000_000_000), ("h", 3_600_000_000_000),
  ]

  /// Reads `1h30m`, `250ms`, `1.5s` (as Go's `time.ParseDuration` does) or whole seconds.
  init(settingsText text: String, words: [String] = []) throws(ValueProblem) {
    let tooLong = ValueProblem(
      "\(printable(text)) is longer than 100 years", words.contains("none") ? "write none for no limit" : nil)
    if text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), !text.isEmpty {
      guard let seconds = Int64(text), seconds <= Self.settingsMaximum else { throw tooLong }
      self = .seconds(seconds)
      return
    }
    var rest = Substring(text)
    var total: UInt64 = 0
    guard !rest.isEmpty else { throw Self.problem(text, words) }
    while !rest.isEmpty {
      let whole = rest.prefix { $0.isASCIIDigit }
      rest = rest.dropFirst(whole.count)
      var fraction = Substring()
      if rest.first == "." {
        fraction = rest.dropFirst().prefix { $0.isASCIIDigit }
        rest = rest.dropFirst(1 + fraction.count)
      }
      let name = rest.prefix { !$0.isASCIIDigit && $0 != "." }
      rest = rest.dropFirst(name.count)
      guard !(whole.isEmpty && fraction.isEmpty),
        let unit = Self.units.first(where: { $0.name == name })?.nanoseconds
      else { throw Self.problem(text, words) }
      guard let count = UInt64(whole.isEmpty ? "0" : whole) else { throw tooLong }
      let (product, overflowed) = count.multipliedReportingOverflow(by: unit)
      let (sum, sumOverflowed) = total.addingReportingOverflow(product)
      let (all, allOverflowed) = sum.addingReportingOverflow(Self.part(fraction, of: unit))
      guard !overflowed, !sumOverflowed, !allOverflowed,
        all <= UInt64(Self.settingsMaximum) * 1_000_000_000
      else { throw tooLong }
      total = all
    }
    self = .nanoseconds(Int64(total))
  }

  /// The part of a unit that digits behind the point make, rounded down. Digits past the 18th are too small
  /// to matter.
  private static func part(_ digits: Substring, of unit: UInt64) -> UInt64 {
    var fraction: UInt64 = 0
    var scale: UInt64 = 1
    for digit in digits.utf8.prefix(18) {
      fraction = fraction * 10 + UInt64(digit - 0x30)
      scale *= 10
    }
    // fraction < scale, so the quotient is less than the unit.
    return scale.dividingFullWidth(unit.multipliedFullWidth(by: fraction)).quotient
  }

  private static func problem(_ text: String, _ words: [String]) -> ValueProblem {
    let alternatives = words.isEmpty ? "" : ", or \(words.joined(separator: " or "))"
    let compact = text.filter { $0 != " " }.lowercased()
    let message = "\(quoted(text)) is not a duration"
    if text.hasPrefix("-") { return ValueProblem("\(quoted(text)) is negative", "durations count from zero") }
    if let near = nearest(to: text, among: words) { return ValueProblem(message, "did you mean \(near)?") }
    if let days = wholeNumber(compact, before: ["d", "day", "days"]) {
      let (hours, overflowed) = days.multipliedReportingOverflow(by: 24)
      if !overflowed { return ValueProblem(message, "write \(hours)h: days are no unit") }
    }
    if let minutes = wholeNumber(compact, before: ["min", "mins", "minute", "minutes"]) {
      return ValueProblem(message, "write \(minutes)m")
    }
    if let seconds = wholeNumber(compact, before: ["sec", "secs", "second", "seconds", "s"]) {
      return ValueProblem(message, "write \(seconds)s")
    }
    if let number = Double(compact), number.isFinite, number >= 0 {
      return ValueProblem(message, "give it a unit, such as \(printable(compact))s")
    }
    return ValueProblem(message, "write for instance 90s, 1h30m, 250ms, or whole seconds\(alternatives)")
  }

  private static func wholeNumber(_ text: String, before suffixes: [String]) -> Int64? {
    let digits = text.prefix { $0.isASCIIDigit }
    guard suffixes.contains(String(text.dropFirst(digits.count))) else { return nil }
    return Int64(digits)
  }

  /// The shortest form that reads back to the same duration: `5m`, `1h30m`, `1.5s`, `250ms`, `0s`.
  public var settingsText: String {
    let (seconds, attoseconds) = components
    let nanoseconds = attoseconds / 1_000_000_000
    if seconds == 0, nanoseconds != 0 {
      for (unit, size) in [("ms", 1_000_000 as Int64), ("us", 1_000)] where nanoseconds % size == 0 {
        return "\(nanoseconds / size)\(unit)"
      }
      return "\(nanoseconds)ns"
    }
    var text = ""
    if seconds >= 3600 { text += "\(seconds / 3600)h" }
    if seconds % 3600 >= 60 { text += "\(seconds % 3600 / 60)m" }
    if seconds % 60 != 0 || nanoseconds != 0 || text.isEmpty {
      text += "\(seconds % 60)"
      if nanoseconds != 0 {
        var digits = String(nanoseconds)
        digits = String(repeating: "0", count: max(0, 9 - digits.count)) + digits
        while digits.hasSuffix("0") { digits.removeLast() }
        text += ".\(digits)"
      }
      text += "s"
    }
    return text
  }
}

extension Character {
  var isASCIIDigit: Bool { ("0"..."9").contains(self) && isASCII }
}
