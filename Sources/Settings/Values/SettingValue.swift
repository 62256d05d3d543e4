/// A value as its key's type reads it.
enum SettingValue: Equatable {
  case text(String)
  case duration(Duration)
  /// A word instead of a duration: `none`, `auto`.
  case word(String)
  case boolean(Bool)
  case integer(Int)
  case number(Double)
  case size(UInt64)
  case command(Command)
  case signal(Int32)
  case listenAddress(ListenAddress)
  case httpTarget(HTTPTarget)
  case tcpTarget(SocketTarget)
  case umask(UInt32)
  case exitCodes(Set<Int32>)
  case texts([String])
  case wait(WaitSettings)
  case waits([WaitSettings])
  /// A map to be passed on, with its variables expanded; what stands for one word is a text.
  case map([YAMLNode.Entry])
  case environment([EnvironmentVariable])
  case limits([ResourceLimit])
  case signalMap([Int32: ProcessSettings.SignalAction])
}

/// Why a text is no value of its key's type, and what would be.
struct ValueProblem: Error, Equatable {
  var message: String
  var suggestion: String?
  /// Whether nothing is wrong but that this version cannot do it yet.
  var isPending = false

  init(_ message: String, _ suggestion: String? = nil) {
    self.message = message
    self.suggestion = suggestion
  }

  /// What is to be said about something a later version does.
  static func pending(_ subject: String? = nil, comesWith work: String, _ suggestion: String) -> ValueProblem
  {
    var problem = ValueProblem(
      "\(subject.map { "\($0) " } ?? "")is not supported yet by this version; it comes with \(work)",
      suggestion)
    problem.isPending = true
    return problem
  }
}

extension ValueType {
  /// Reads a single value; nil for types that are lists or maps.
  func parseScalar(_ text: String) throws(ValueProblem) -> SettingValue? {
    if text.isEmpty, self != .text(.any) {
      throw ValueProblem("is empty", "remove the key for its default, or give it a value")
    }
    switch self {
    case .text(let rule):
      try rule.check(text)
      return .text(text)
    case .duration(let minimum, let words):
      if words.contains(text) { return .word(text) }
      let duration = try Duration(settingsText: text, words: words)
      guard duration >= minimum else {
        throw ValueProblem(
          "must be more than zero",
          words.contains("none") ? "write none for no limit" : "write for instance 1s")
      }
      return .duration(duration)
    case .boolean: return .boolean(try Self.boolean(text))
    case .integer(let range): return .integer(try Self.integer(text, in: range))
    case .number(let range): return .number(try Self.number(text, in: range))
    case .size: return .size(try ByteCount.parse(text))
    case .choice(let words, let later, let never):
      if words.contains(text) { return .text(text) }
      if let refusal = never[text] { throw ValueProblem("\(quoted(text)) \(refusal.reason)", refusal.advice) }
      if let work = later[text] {
        throw .pending(quoted(text), comesWith: work, "until then it can only be \(listed(words))")
      }
      let near = nearest(to: text.lowercased(), among: words + later.keys.sorted())
      let expected =
        words.count == 1 ? "is not \(words[0])" : "is not one of \(words.joined(separator: ", "))"
      let meant = near ?? (text == "unless-stopped" && words.contains("always") ? "always" : nil)
      throw ValueProblem("\(quoted(text)) \(expected)", meant.map { "did you mean \($0)?" })
    case .signal: return .signal(try SignalName.parseForSending(text))
    case .listenAddress: return .listenAddress(try ListenAddress(settingsText: text))
    case .httpTarget: return .httpTarget(try HTTPTarget(settingsText: text))
    case .tcpTarget: return .tcpTarget(try SocketTarget(settingsText: text))
    case .umask: return .umask(try Self.umask(text))
    case .command, .exitCodes, .texts, .environment, .limits, .signalMap, .wait, .waits, .map: return nil
    }
  }

  private static func boolean(_ text: String) throws(ValueProblem) -> Bool {
    switch text {
    case "true": return true
    case "false": return false
    default:
      let lower = text.lowercased()
      let suggestion: String? =
        if ["yes", "on", "y", "1", "true", "t"].contains(lower) {
          "write true"
        } else if ["no", "off", "n", "0", "false", "f"].contains(lower) {
          "write false"
        } else {
          nil
        }
      throw ValueProblem("\(quoted(text)) is neither true nor false", suggestion)
    }
  }

  static func integer(_ text: String, in range: ClosedRange<Int>) throws(ValueProblem) -> Int {
    let digits = text.hasPrefix("-") ? text.dropFirst() : Substring(text)
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
      throw ValueProblem("\(quoted(text)) is not a whole number", "write a number from \(range.text)")
    }
    // Too many digits for an Int are out of every range.
    guard let value = Int(text), range.contains(value) else {
      throw ValueProblem("\(printable(text)) is out of range", "write a number from \(range.text)")
    }
    return value
  }

  private static func number(_ text: String, in range: ClosedRange<Double>) throws(ValueProblem) -> Double {
    let isPlain = text.utf8.allSatisfy { (0x30...0x39).contains($0) || $0 == 0x2E || $0 == 0x2D }
    guard isPlain, let value = Double(text), value.isFinite else {
      throw ValueProblem("\(quoted(text)) is not a number", "write a number from \(range.text), such as 1.5")
    }
    guard range.contains(value) else {
      throw ValueProblem("\(printable(text)) is out of range", "write a number from \(range.text)")
    }
    return value
  }

  private static func umask(_ text: String) throws(ValueProblem) -> UInt32 {
    let digits = text.hasPrefix("0o") ? text.dropFirst(2) : Substring(text)
    guard !digits.isEmpty, digits.utf8.count <= 4, digits.utf8.allSatisfy({ (0x30...0x37).contains($0) }),
      let value = UInt32(digits, radix: 8), value <= 0o777
    else {
      throw ValueProblem("\(quoted(text)) is not a file mode mask", "write three octal digits, such as 022")
    }
    return value
  }
}

extension ValueType.TextRule {
  func check(_ text: String) throws(ValueProblem) {
    switch self {
    case .any:
      break
    case .label:
      guard text.utf8.count <= 200, text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
      else {
        throw ValueProblem(
          "\(quoted(text)) is not a name", "use at most 200 bytes, without line breaks and control characters"
        )
      }
    case .path:
      break
    case .absolutePath:
      guard text.hasPrefix("/") else {
        throw ValueProblem("\(quoted(text)) is not an absolute path", "start it with '/'")
      }
    case .postgresConnection:
      // Not quoted, here and below: there may be a password in it.
      guard text.utf8.contains(0x3D), !text.lowercased().hasPrefix("postgres") else {
        try Self.postgresURL.check(text)
        return
      }
      try Self.checkPrintable(text)
    case .postgresURL:
      try Self.check(
        text, schemes: ["postgres", "postgresql"], example: "postgres://user@db:5432/name", needsHost: false)
    case .redisURL:
      try Self.check(text, schemes: ["redis", "rediss"], example: "redis://cache:6379/0", needsHost: true)
    case .webURL:
      try Self.check(text, schemes: ["http", "https"], example: "http://node-1:20202", needsHost: true)
    case .user:
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      let areWords = parts.allSatisfy { part in
        !part.isEmpty && !part.unicodeScalars.contains { $0.value <= 0x20 || $0.value == 0x7F || $0 == "/" }
      }
      guard parts.count <= 2, areWords else {
        throw ValueProblem("\(quoted(text)) is not a user", "write a name or number, or both as user:group")
      }
    }
  }
}

extension ValueType.TextRule {
  private static func checkPrintable(_ text: String) throws(ValueProblem) {
    guard text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) else {
      throw ValueProblem("has a line break or a control character in it", "remove it")
    }
  }

  private static func check(
    _ text: String, schemes: [String], example: String, needsHost: Bool
  ) throws(ValueProblem) {
    try checkPrintable(text)
    guard let scheme = schemes.first(where: { text.lowercased().hasPrefix("\($0)://") }) else {
      throw ValueProblem(
        "does not start with \(listed(schemes.map { "\($0)://" }))", "write for instance \(example)")
    }
    guard !text.contains(" ") else { throw ValueProblem("has a space in it", "escape it as in %20") }
    guard needsHost else { return }
    let authority = text.dropFirst(scheme.utf8.count + 3).prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let host = authority.lastIndex(of: "@").map { authority[authority.index(after: $0)...] } ?? authority
    guard !host.isEmpty, host.first != ":" else {
      throw ValueProblem("has no host", "write for instance \(example)")
    }
    // A placeholder such as {node} is filled in later.
    guard !host.contains("{") else { return }
    let parts = try HostAndPort(host)
    _ = try parts.portNumber(allowingZero: false)
  }
}

extension ClosedRange where Bound == Int {
  fileprivate var text: String { "\(lowerBound) to \(upperBound)" }
}

extension ClosedRange where Bound == Double {
  fileprivate var text: String { "\(shortText(lowerBound)) to \(shortText(upperBound))" }
}

private func shortText(_ number: Double) -> String {
  number == number.rounded() ? String(Int(number)) : String(number)
}

/// "a", "a or b", "a, b or c".
func listed(_ words: [String]) -> String {
  guard let last = words.last, words.count > 1 else { return words.first ?? "" }
  return words.dropLast().joined(separator: ", ") + " or " + last
}
