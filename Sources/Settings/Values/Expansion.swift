/// Replaces `${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$` in scalars. A dollar before anything else
/// stays.
struct Expansion {
  /// What all expansions of a file may yield together: 4 MiB.
  static let maximumSize = 4 << 20
  private static let maximumDepth = 8

  /// Looks a variable up; nil when it is not set.
  let lookup: (String) -> String?
  private var remaining = maximumSize
  /// Variables of the last `expand` that were used although they are not set.
  private(set) var unset: [String] = []

  init(lookup: @escaping (String) -> String?) {
    self.lookup = lookup
  }

  /// Expands one scalar.
  mutating func expand(_ text: String) throws(ValueProblem) -> String {
    unset = []
    guard text.utf8.contains(0x24) else { return text }
    return try expand(Array(text.utf8)[...], depth: 0)
  }

  private mutating func expand(_ text: ArraySlice<UInt8>, depth: Int) throws(ValueProblem) -> String {
    guard depth <= Self.maximumDepth else { throw ValueProblem("defaults are nested too deep") }
    var result: [UInt8] = []
    var index = text.startIndex
    while index < text.endIndex {
      let following = index + 1 < text.endIndex ? text[index + 1] : nil
      if text[index] == 0x24, following == 0x24 {
        result.append(0x24)
        index += 2
      } else if text[index] == 0x24, following == 0x7B {
        let end = try closingBrace(in: text, from: index + 2)
        result += Array(try reference(text[(index + 2)..<end], depth: depth).utf8)
        index = end + 1
      } else {
        result.append(text[index])
        index += 1
      }
      if result.count > remaining { throw Self.tooLarge }
    }
    remaining -= result.count
    return String(decoding: result, as: UTF8.self)
  }

  private static let tooLarge = ValueProblem(
    "the variables in this file expand to more than 4 MiB", "is one of them a whole file?")

  /// The brace that closes a reference; references in its default have their own.
  private func closingBrace(in text: ArraySlice<UInt8>, from start: Int) throws(ValueProblem) -> Int {
    var open = 1
    var index = start
    while index < text.endIndex {
      if text[index] == 0x24, index + 1 < text.endIndex, text[index + 1] == 0x7B {
        open += 1
        index += 1
      } else if text[index] == 0x7D {
        open -= 1
        if open == 0 { return index }
      }
      index += 1
    }
    throw ValueProblem("a '${' has no '}'", "close it, or write '$${' for a dollar and a brace")
  }

  /// What stands between the braces: a name, with a default or a message.
  private mutating func reference(_ inner: ArraySlice<UInt8>, depth: Int) throws(ValueProblem) -> String {
    let name = inner.prefix { byte in
      (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || (0x30...0x39).contains(byte)
        || byte == 0x5F
    }
    let rest = inner[name.endIndex...]
    let text = String(decoding: name, as: UTF8.self)
    guard let first = name.first, !(0x30...0x39).contains(first),
      rest.isEmpty || rest.starts(with: ":-".utf8) || rest.starts(with: ":?".utf8)
    else {
      throw ValueProblem(
        "\(quoted("${" + String(decoding: inner, as: UTF8.self) + "}")) is not understood",
        "write ${VAR}, ${VAR:-default} or ${VAR:?message}, or '$${' for a dollar and a brace")
    }
    let value = lookup(text)
    if rest.isEmpty {
      if value == nil, !unset.contains(text) { unset.append(text) }
      return value ?? ""
    }
    if let value, !value.isEmpty { return value }
    let argument = rest.dropFirst(2)
    if rest.starts(with: ":-".utf8) { return try expand(argument, depth: depth + 1) }
    let message = String(decoding: argument, as: UTF8.self)
    throw ValueProblem(
      "the environment variable \(printable(text)) is \(value == nil ? "not set" : "empty")",
      message.isEmpty ? "set it" : printable(message, limit: 300))
  }
}
