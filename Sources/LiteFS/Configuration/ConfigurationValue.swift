import Settings

/// A value in `litefs.yml`.
enum ConfigurationValue: Equatable {
  /// Text, always written in quotes, so that it cannot be taken for anything else.
  case text(String)
  /// A boolean, duration or number: LiteFS refuses some of them in quotes.
  case bare(String)
  case list([ConfigurationValue])
  case map([Entry])

  struct Entry: Equatable {
    var key: String
    var value: ConfigurationValue

    init(_ key: String, _ value: ConfigurationValue) {
      self.key = key
      self.value = value
    }
  }

  static func boolean(_ value: Bool) -> ConfigurationValue { .bare(value ? "true" : "false") }

  /// As Go writes it. LiteFS wants a unit, even for zero.
  static func duration(_ value: Duration) -> ConfigurationValue { .bare(value.settingsText) }

  /// What stands in a settings file: what was quoted there stays text, what was plain stays plain.
  init(_ node: YAMLNode) {
    switch node.content {
    case .scalar(let text, let isPlain):
      self = isPlain && Self.mayStandBare(text) ? .bare(text) : .text(text)
    case .sequence(let items): self = .list(items.map { ConfigurationValue($0) })
    case .mapping(let entries): self = .map(entries.map { Entry($0.key, ConfigurationValue($0.value)) })
    }
  }

  /// Whether a text without quotes is one plain word of YAML; variables may have put anything into it.
  private static func mayStandBare(_ text: String) -> Bool {
    guard let first = text.utf8.first, first != UInt8(ascii: "-") || text.utf8.count > 1 else { return false }
    return text.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
        || "._+-".utf8.contains(byte)
    } && !text.hasPrefix("---") && text != "..."
  }

  /// What is below a path; nil where there is nothing.
  subscript(path: String...) -> ConfigurationValue? {
    var value = self
    for name in path {
      guard case .map(let entries) = value, let next = entries.first(where: { $0.key == name })?.value else {
        return nil
      }
      value = next
    }
    return value
  }

  /// These values with others over them: maps are merged, everything else is replaced.
  func merged(with other: ConfigurationValue) -> ConfigurationValue {
    guard case .map(var entries) = self, case .map(let others) = other else { return other }
    for entry in others {
      if let index = entries.firstIndex(where: { $0.key == entry.key }) {
        entries[index].value = entries[index].value.merged(with: entry.value)
      } else {
        entries.append(entry)
      }
    }
    return .map(entries)
  }

  /// Without what is at a path.
  func removing(_ path: String...) -> ConfigurationValue { removing(path[...]) }

  private func removing(_ path: ArraySlice<String>) -> ConfigurationValue {
    guard case .map(let entries) = self, let name = path.first else { return self }
    return .map(
      entries.compactMap { entry in
        guard entry.key == name else { return entry }
        return path.count == 1 ? nil : Entry(entry.key, entry.value.removing(path.dropFirst()))
      })
  }

  /// With every text replaced that `replacement` has something else for; it gets the key and the text.
  func replacingTexts(key: String = "", _ replacement: (String, String) -> String) -> ConfigurationValue {
    switch self {
    case .text(let text): .text(replacement(key, text))
    case .bare(let text):
      // What stands for a secret is no word.
      replacement(key, text) == text ? self : .text(replacement(key, text))
    case .list(let items): .list(items.map { $0.replacingTexts(key: key, replacement) })
    case .map(let entries):
      .map(entries.map { Entry($0.key, $0.value.replacingTexts(key: $0.key, replacement)) })
    }
  }
}

// MARK: As YAML

extension ConfigurationValue {
  /// A map as the lines of a YAML document.
  func lines(indentation: String = "") -> [String] {
    guard case .map(let entries) = self else { return [] }
    return entries.flatMap { entry -> [String] in
      let key = "\(indentation)\(Self.key(entry.key)):"
      switch entry.value {
      case .text(let text): return ["\(key) \(Self.quoted(text))"]
      case .bare(let text): return ["\(key) \(text)"]
      case .list: return ["\(key) \(entry.value.flow)"]
      case .map(let children):
        return children.isEmpty ? ["\(key) {}"] : [key] + entry.value.lines(indentation: indentation + "  ")
      }
    }
  }

  /// In one line.
  private var flow: String {
    switch self {
    case .text(let text): Self.quoted(text)
    case .bare(let text): text
    case .list(let items): "[" + items.map(\.flow).joined(separator: ", ") + "]"
    case .map(let entries):
      "{" + entries.map { "\(Self.key($0.key)): \($0.value.flow)" }.joined(separator: ", ") + "}"
    }
  }

  private static func key(_ text: String) -> String {
    let isWord =
      !text.isEmpty
      && text.utf8.allSatisfy { (0x61...0x7A).contains($0) || "-_".utf8.contains($0) } && text.first != "-"
    return isWord && !["null", "true", "false", "yes", "no", "on", "off", "y", "n"].contains(text)
      ? text : quoted(text)
  }

  /// A scalar in double quotes (YAML 1.2, 7.3.1), with everything escaped that is not printable there (5.1).
  static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      default:
        let isUnsafe =
          scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
          || (0x2028...0x202E).contains(scalar.value) || [0xFEFF, 0xFFFE, 0xFFFF].contains(scalar.value)
        let digits = String(scalar.value, radix: 16)
        result +=
          isUnsafe
          ? "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits : String(scalar)
      }
    }
    return result + "\""
  }
}
