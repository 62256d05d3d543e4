/// Makes the settings from what was given and the table's defaults, and checks what no single key can show.
struct Assembly {
  let resolution: Resolution
  /// Looks an environment variable up.
  let lookup: (String) -> String?
  /// Whether steps are still missing, so that none can be judged.
  let presetFollows: Bool
  /// How symbolic links are followed.
  let files: FileAccess
  private(set) var entries: [SettingEntry] = []
  private(set) var problems: [Diagnostic] = []

  init(
    _ resolution: Resolution, lookup: @escaping (String) -> String?, presetFollows: Bool = false,
    files: FileAccess = .none
  ) {
    self.resolution = resolution
    self.lookup = lookup
    self.presetFollows = presetFollows
    self.files = files
  }

  /// A part of the tree: its path, and its path in the table.
  struct Section {
    var path: String
    var pattern: String

    static let root = Section(path: "", pattern: "")

    func key(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
    func row(_ name: String) -> String { pattern.isEmpty ? name : "\(pattern).\(name)" }

    func section(_ name: String) -> Section { Section(path: key(name), pattern: row(name)) }
    func item(_ list: String, _ index: Int) -> Section {
      Section(path: "\(key(list))[\(index)]", pattern: "\(row(list))[]")
    }
    func named(_ name: String) -> Section { Section(path: key(name), pattern: row("*")) }
  }

  // MARK: Values

  /// What was given, else the default, else nil. Each call adds the value to what `settings show` prints.
  private mutating func value(_ section: Section, _ name: String) -> SettingValue? {
    let path = section.key(name)
    guard let row = KeyTable.byPath[section.row(name)] else {
      inconsistent(path, "it is not in the table of keys")
      return nil
    }
    if let given = resolution.values[path] {
      for part in given.parts {
        record(
          "\(path).\(part.name)", part.text, part.origin,
          isSecret: row.isSecret || Self.isSecretName(part.name))
      }
      if given.parts.isEmpty, !given.text.isEmpty {
        record(path, given.text, given.origin, isSecret: row.isSecret)
      }
      return given.value
    }
    guard let text = row.defaultText else { return nil }
    record(path, text, .default)
    return row.defaultValue
  }

  mutating func record(_ key: String, _ value: String, _ origin: Origin, isSecret: Bool = false) {
    entries.append(SettingEntry(key: key, value: value, origin: origin, isSecret: isSecret))
  }

  /// The table and the code that reads it disagree. Tests exclude it; if they missed one, it is an error
  /// message instead of a crash or a silent zero.
  private mutating func inconsistent(_ path: String, _ what: String) {
    problems.append(
      Diagnostic(.error, at: nil, key: path, "internal error: \(what)", suggestion: "please report it"))
  }

  /// The value of a type; `fallback` only after an error that is reported anyway.
  private mutating func value<Value>(
    _ section: Section, _ name: String, fallback: Value, _ extract: (SettingValue) -> Value?
  ) -> Value {
    optional(section, name, extract) ?? missing(section.key(name), fallback)
  }

  private mutating func missing<Value>(_ path: String, _ fallback: Value) -> Value {
    // A wrong value was given and reported: then nothing is missing.
    if resolution.mentioned[path] == nil { inconsistent(path, "it has no default") }
    return fallback
  }

  mutating func optional<Value>(
    _ section: Section, _ name: String, _ extract: (SettingValue) -> Value?
  ) -> Value? {
    guard let value = value(section, name) else { return nil }
    if let result = extract(value) { return result }
    if case .word = value { return nil }
    inconsistent(section.key(name), "its type differs from the table's")
    return nil
  }

  mutating func duration(_ section: Section, _ name: String) -> Duration {
    value(section, name, fallback: .zero) { if case .duration(let value) = $0 { value } else { nil } }
  }

  /// A duration that can also be the word `none`.
  mutating func optionalDuration(_ section: Section, _ name: String) -> Duration? {
    optional(section, name) { if case .duration(let value) = $0 { value } else { nil } }
  }

  mutating func boolean(_ section: Section, _ name: String) -> Bool {
    value(section, name, fallback: false) { if case .boolean(let value) = $0 { value } else { nil } }
  }

  mutating func integer(_ section: Section, _ name: String) -> Int {
    value(section, name, fallback: 0) { if case .integer(let value) = $0 { value } else { nil } }
  }

  mutating func number(_ section: Section, _ name: String) -> Double {
    value(section, name, fallback: 0) { if case .number(let value) = $0 { value } else { nil } }
  }

  mutating func signal(_ section: Section, _ name: String) -> Int32 {
    value(section, name, fallback: 0) { if case .signal(let value) = $0 { value } else { nil } }
  }

  mutating func text(_ section: Section, _ name: String) -> String? {
    optional(section, name) { if case .text(let value) = $0 { value } else { nil } }
  }

  /// One of an enumeration's words; the table's words and the enumeration's raw values are the same.
  mutating func choice<Value: RawRepresentable>(
    _ section: Section, _ name: String, fallback: Value
  ) -> Value where Value.RawValue == String {
    value(section, name, fallback: fallback) {
      if case .text(let word) = $0 { Value(rawValue: word) } else { nil }
    }
  }

  mutating func command(_ section: Section, _ name: String) -> Command? {
    optional(section, name) { if case .command(let value) = $0 { value } else { nil } }
  }

  mutating func texts(_ section: Section, _ name: String) -> [String]? {
    optional(section, name) { if case .texts(let value) = $0 { value } else { nil } }
  }

  mutating func waits(_ section: Section, _ name: String) -> [WaitSettings] {
    let waits: [WaitSettings] =
      optional(section, name) { if case .waits(let value) = $0 { value } else { nil } } ?? []
    let items = resolution.values[section.key(name)]?.items ?? []
    return waits.enumerated().map { index, wait in
      connected(
        wait, "\(section.key(name))[\(index)]",
        at: items.indices.contains(index) ? items[index] : origin(section, name))
    }
  }

  mutating func wait(_ section: Section, _ name: String) -> WaitSettings? {
    let wait: WaitSettings? = optional(section, name) { if case .wait(let value) = $0 { value } else { nil } }
    return wait.map { connected($0, section.key(name), at: origin(section, name)) }
  }

  mutating func environment(_ section: Section, _ name: String) -> [EnvironmentVariable] {
    optional(section, name) { if case .environment(let value) = $0 { value } else { nil } } ?? []
  }

  mutating func exitCodes(_ section: Section, _ name: String) -> Set<Int32> {
    value(section, name, fallback: []) { if case .exitCodes(let value) = $0 { value } else { nil } }
  }

  // MARK: Presence

  /// Whether anything was given for a key.
  func isGiven(_ section: Section, _ name: String) -> Bool { resolution.mentioned[section.key(name)] != nil }

  /// Where a key was given.
  func origin(_ section: Section, _ name: String) -> Origin {
    resolution.values[section.key(name)]?.origin ?? resolution.mentioned[section.key(name)] ?? .default
  }

  mutating func problem(_ key: String, at origin: Origin, _ message: String, _ suggestion: String?) {
    problems.append(Diagnostic(.error, at: origin, key: key, message, suggestion: suggestion))
  }

  mutating func warning(_ key: String, at origin: Origin, _ message: String, _ suggestion: String?) {
    problems.append(Diagnostic(.warning, at: origin, key: key, message, suggestion: suggestion))
  }

  /// Environment variables have no row of their own that could say they are secret, so their names tell.
  private static func isSecretName(_ name: String) -> Bool {
    let upper = name.uppercased()
    let words = upper.split { $0 == "_" || $0 == "." || $0 == "-" }
    return ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL"].contains {
      upper.hasPart($0)
    }
      || words.contains { ["KEY", "PASS", "DSN", "PRIVATE", "AUTH"].contains($0) }
      || upper.hasSuffix("APIKEY")
  }
}

extension KeyDescription {
  /// The default as a value; nil when there is none.
  var defaultValue: SettingValue? {
    guard let defaultText else { return nil }
    if type == .exitCodes {
      let codes = defaultText.split { "[], ".contains($0) }.compactMap { Int32($0) }
      return .exitCodes(Set(codes))
    }
    if case .map = type { return .text(defaultText) }
    return (try? type.parseScalar(defaultText)) ?? nil
  }
}
