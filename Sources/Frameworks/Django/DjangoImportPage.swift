import Settings

/// `settings import-django`: a settings file that says what the import would, with the rest as comments.
public enum DjangoImportPage {
  /// The page. It reads back as a settings file of this version.
  ///
  /// - Parameters:
  ///   - found: the import.
  ///   - report: what it was made from.
  ///   - hooks: what `--show-hooks` found; nil when it was not asked for.
  public static func text(_ found: DjangoImport, report: DjangoReport, hooks: [HookResults.Hook]? = nil)
    -> String
  {
    var lines = [
      "# From the settings of \(comment(report.settingsModule)) (\(comment(report.settingsModuleOrigin))), "
        + "Django \(comment(report.djangoVersion)), Python \(comment(report.pythonVersion)).",
      "# With framework.name: django this happens by itself at each start; a line here goes before it.",
    ]
    for finding in found.problems + found.notes { lines.append("# " + comment("\(finding)", limit: 1000)) }
    if !found.values.isEmpty { lines += [""] + tree(found.values.map(Line.init)) }
    if !found.pending.isEmpty {
      lines += ["", "# For a later version, which has the work named behind each line:"]
      for item in found.pending {
        lines.append(
          "#   \(item.value.path): \(shown(item.value))   # \(comment(item.value.origin)); \(item.work)")
      }
    }
    if !found.unmapped.isEmpty {
      lines += ["", "# Not taken over:"]
      for item in found.unmapped {
        lines.append("#   \(comment(item.name)): \(comment(item.reason, limit: 1000))")
      }
    }
    if let hooks {
      lines += ["", hooks.isEmpty ? "# No app has hooks." : "# Hooks, in the order they are called:"]
      for phase in ["infrastructure", "node"] {
        for (index, hook) in hooks.filter({ $0.phase == phase }).enumerated() {
          lines.append("#   \(phase) \(index + 1): \(comment(hook.name))   # \(comment(hook.type))")
        }
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  private struct Line {
    var path: [Substring]
    var text: String
    var origin: String
    var isSecret: Bool

    init(_ value: ImportedValue) {
      isSecret = KeyTable.isSecret(value.path)
      path = value.path.split(separator: ".")
      text = DjangoImportPage.shown(value)
      origin = value.origin
    }
  }

  /// Nested maps, from dotted paths. A key appears once, where its first value stands.
  private static func tree(_ lines: [Line], indentation: String = "") -> [String] {
    var result: [String] = []
    var seen: Set<Substring> = []
    for line in lines {
      guard let key = line.path.first, seen.insert(key).inserted else { continue }
      let same = lines.filter { $0.path.first == key }
      if line.path.count == 1 {
        // The last one counts, as when they are applied.
        let last = same.last ?? line
        result.append(
          last.isSecret
            ? "\(indentation)# \(key): a secret, taken from the project at each start (\(comment(last.origin))); "
              + "to say it here, name a file with it in \(key)_file"
            : "\(indentation)\(key): \(last.text)   # \(comment(last.origin))")
      } else {
        result.append("\(indentation)\(key):")
        result += tree(
          same.map { child in
            var child = child
            child.path.removeFirst()
            return child
          }, indentation: indentation + "  ")
      }
    }
    return result
  }

  /// A value as YAML; a secret is not shown.
  fileprivate static func shown(_ value: ImportedValue) -> String {
    if KeyTable.isSecret(value.path) { return "\"****\"" }
    // Lists are written as such already.
    return value.text.hasPrefix("[") && value.text.hasSuffix("]") ? value.text : YAMLText.scalar(value.text)
  }

  /// A text that cannot leave its comment.
  private static func comment(_ text: String, limit: Int = 200) -> String {
    Printable.text(text, limit: limit)
  }
}

/// Texts in YAML.
enum YAMLText {
  /// A scalar that reads back as the same text: plain where that is safe, else in double quotes. `$` is doubled, since
  /// a settings file expands variables.
  static func scalar(_ text: String) -> String {
    let isPlain =
      text.utf8.first.map { isLetter($0) || isDigit($0) || $0 == UInt8(ascii: "/") } == true
      && text.utf8.allSatisfy { isLetter($0) || isDigit($0) || "._-/".utf8.contains($0) }
      && !["true", "false", "null", "yes", "no", "on", "off", "y", "n"].contains(text.lowercased())
    if isPlain { return text }
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "$": result += "$$"
      default:
        let isUnsafe =
          scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
          || (0x2028...0x202E).contains(scalar.value)
          || scalar.value == 0xFEFF
        let digits = String(scalar.value, radix: 16)
        result +=
          isUnsafe
          ? "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits : String(scalar)
      }
    }
    return result + "\""
  }

  private static func isLetter(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
      || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
  }

  private static func isDigit(_ byte: UInt8) -> Bool {
    (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
  }
}
