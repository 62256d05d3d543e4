/// The reference of all settings for people, made from the table of keys.
public enum ReferencePage {
  /// The page in Markdown, ending in a line end.
  public static func text() -> String {
    var lines = [introduction]
    for section in sections {
      lines.append("## \(section.title)\n")
      if let summary = KeyTable.sections[section.places[0].prefix] {
        lines.append("\(capitalized(summary)).\n")
      }
      lines.append("| key | type | default | environment | meaning | availability |")
      lines.append("| --- | --- | --- | --- | --- | --- |")
      lines += rows(of: section)
      lines.append("")
    }
    return lines.joined(separator: "\n")
  }

  private static let introduction = """
    # Settings reference

    Made from the table of keys in `Sources/Settings/Keys`; a test fails when this page differs from it. The same table
    makes the parser, `supervisor settings show` and `supervisor.schema.json`.

    The file is YAML, found at `--settings`, `$SUPERVISOR_SETTINGS`, `./supervisor.yml` or `/etc/supervisor.yml`. A value
    comes from a flag, else its environment form, the file, a framework's own settings, a preset, or its default.
    `${VAR}`, `${VAR:-default}` and `${VAR:?message}` are expanded in values, `$$` is a dollar; commands that are
    strings go to `/bin/sh -c` untouched. ● marks a secret: it is never shown, and `KEY_file` names a file to read it
    from. Fragments (`include`) are merged in order: maps are merged, steps and dependencies are appended, and nothing
    may be set twice. A key that is not there yet is refused with what it comes with.

    A step with the name of one of a preset's steps takes its place. Without `run` and `wait_for` it amends that step: what
    it says counts, the rest stays. `{name: migrate, timeout: 10m}` is enough to give Django's migrations ten minutes.

    """

  // MARK: Sections

  /// A table: rows of one or more places that have the same keys.
  struct Section: Sendable {
    var title: String
    /// What stands before the keys, and what to call the place where it differs from the others.
    var places: [(prefix: String, name: String)]
  }

  static let sections: [Section] = {
    var sections = [Section(title: "General", places: [("", "")])]
    for key in KeyTable.keys where key.path.contains(".") {
      let place = prefix(of: key.path)
      if sections.contains(where: { $0.places.contains { $0.prefix == place } }) { continue }
      switch place {
      case "infrastructure.steps[]":
        sections.append(
          Section(
            title: "Steps: `infrastructure.steps`, `node.steps`",
            places: [(place, "infrastructure"), ("node.steps[]", "node")]))
      case "app":
        sections.append(
          Section(title: "`app`, `services.NAME`", places: [(place, "app"), ("services.*", "services")]))
      default: sections.append(Section(title: "`\(place)`", places: [(place, "")]))
      }
    }
    return sections
  }()

  /// Which table a key is in: its first name, or the item of a list or a map with any names.
  static func prefix(of path: String) -> String {
    let names = path.split(separator: ".").map { String($0) }
    if names.count == 1 { return "" }
    if names[1].hasSuffix("[]") || names[1] == "*" { return names[0] + "." + names[1] }
    return names[0]
  }

  private static func rows(of section: Section) -> [String] {
    let keys = section.places.map { place in
      KeyTable.keys.filter { prefix(of: $0.path) == place.prefix }
    }
    return keys[0].indices.map { index in
      row(
        zip(section.places, keys).compactMap { place, keys in
          keys.indices.contains(index) ? (place.prefix, place.name, keys[index]) : nil
        })
    }
  }

  private static func row(_ places: [(prefix: String, name: String, key: KeyDescription)]) -> String {
    let here = places.filter { if case .misplaced = $0.key.availability { false } else { true } }
    guard let first = here.first else { return "" }
    let prefix = first.prefix.isEmpty ? "" : first.prefix + "."
    let name = "`\(first.key.path.dropFirst(prefix.utf8.count))`" + (first.key.isSecret ? " ●" : "")
    let defaults = here.map(\.key.defaultText)
    let defaultText: String =
      if defaults.allSatisfy({ $0 == defaults[0] }) {
        defaults[0].map { "`\($0)`" } ?? ""
      } else {
        here.map { "`\($0.key.defaultText ?? "")` (\($0.name))" }.joined(separator: ", ")
      }
    let variables = here.compactMap { $0.key.environmentName.map { "`\($0)`" } }.joined(separator: ", ")
    let meaning = first.key.summary + (here.count < places.count ? "; only in \(first.name)" : "")
    let since =
      switch first.key.availability {
      case .now, .misplaced: "now"
      case .later(let work): "later: \(work)"
      }
    return "| "
      + [name, describe(first.key.type), defaultText, variables, meaning, since]
      .map { $0.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|") }
      .joined(separator: " | ") + " |"
  }

  private static func capitalized(_ text: String) -> String { text.prefix(1).uppercased() + text.dropFirst() }

  // MARK: Types

  private static func describe(_ type: ValueType) -> String {
    switch type {
    case .text(let rule): describe(rule)
    case .duration(_, let words): words.isEmpty ? "duration" : "duration, " + codes(words)
    case .boolean: "`true`, `false`"
    case .integer(let range): "\(range.lowerBound) to \(range.upperBound)"
    case .number(let range): "number, \(Int(range.lowerBound)) to \(Int(range.upperBound))"
    case .size: "size"
    case .choice(let words, let later, _):
      codes(words)
        + later.sorted { $0.key < $1.key }.map { "; later `\($0.key)`: \($0.value)" }.joined()
    case .command: "command"
    case .signal: "signal"
    case .listenAddress: "address"
    case .httpTarget: "http URL"
    case .tcpTarget: "host:port"
    case .umask: "octal"
    case .exitCodes: "list of exit codes"
    case .texts(let rule): "list of \(describe(rule))s"
    case .environment: "map"
    case .limits: "map of limits"
    case .signalMap: "map of signals"
    case .wait: "target"
    case .waits: "list of targets"
    case .map(let words): "map" + (words.isEmpty ? "" : ", " + codes(words))
    }
  }

  private static func describe(_ rule: ValueType.TextRule) -> String {
    switch rule {
    case .any: "text"
    case .label: "name"
    case .path: "path"
    case .absolutePath: "absolute path"
    case .postgresConnection: "connection string"
    case .postgresURL: "PostgreSQL URL"
    case .redisURL: "Redis URL"
    case .webURL: "URL"
    case .user: "user"
    }
  }

  private static func codes(_ words: [String]) -> String { words.map { "`\($0)`" }.joined(separator: ", ") }
}
