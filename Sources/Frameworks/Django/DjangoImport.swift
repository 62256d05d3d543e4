import Settings

/// A project's own settings as ours: what `AUTOINIT_*`, `CACHES`, `DATABASES` and `LITEFS` mean here.
///
/// The lock is in the database `default` where that is PostgreSQL, with `autoinit` or without; else in files in
/// `state_dir`.
///
/// Where release readiness is kept, when the user's file does not say it (`coordination.readiness`):
/// - `autoinit` is not installed: where the lock is, since nothing asks for anything else;
/// - the cache of AUTOINIT_CACHE_ALIAS is in Redis: there, as django-autoinit has it;
/// - it is not, and `default` is SQLite: in files in `state_dir`, since such a project lives on one host (or on LiteFS);
/// - it is not, and the database is a server: refused. Several hosts are likely then, and what the project asks for,
///   readiness in a cache that only one process sees, has never worked.
public struct DjangoImport: Sendable {
  /// What the import needs to know beside the report.
  public struct Context: Sendable {
    /// Looks an environment variable up; nil when it is not set.
    public var environment: @Sendable (String) -> String?
    /// This host's name.
    public var hostName: String
    /// What the user set by flag, variable or file, by key: what is decided is not refused. May hold secrets.
    public var given: [String: String]

    /// A context.
    public init(
      environment: @escaping @Sendable (String) -> String?, hostName: String,
      given: [String: String] = [:]
    ) {
      self.environment = environment
      self.hostName = hostName
      self.given = given
    }
  }

  /// A value for a key that only a later version acts on.
  public struct Pending: Equatable, Sendable {
    /// The value.
    public var value: ImportedValue
    /// What it comes with.
    public var work: String
  }

  /// A setting that becomes none of ours, and why.
  public struct Unmapped: Equatable, Sendable {
    /// As it would be written in Python: `LITEFS["RAFT_PEERS"]`.
    public var name: String
    /// The reason.
    public var reason: String
  }

  /// What the project says in settings that this version acts on.
  public private(set) var values: [ImportedValue] = []
  /// What it says in settings that only a later version acts on.
  public private(set) var pending: [Pending] = []
  /// What has no place here.
  public private(set) var unmapped: [Unmapped] = []
  /// Warnings and notes.
  public private(set) var notes: [Diagnostic] = []
  /// The readiness key in Redis of one release, where the project's KEY_FUNCTION makes it otherwise than of a prefix and
  /// the run ID.
  public internal(set) var readinessKey: DjangoReport.RunKey?
  /// Why the project's settings cannot be used: exit code 78.
  public private(set) var problems: [Diagnostic] = []

  let report: DjangoReport
  let context: Context

  /// Imports from a report.
  public init(_ report: DjangoReport, context: Context) {
    self.report = report
    self.context = context
    framework()
    autoinit()
    coordination()
    if let litefs = report.setting("LITEFS") { liteFS(litefs) }
    for skipped in report.skipped {
      unmapped.append(
        Unmapped(name: skipped.name, reason: "it could not be read: \(Printable.text(skipped.reason))"))
    }
  }

  // MARK: The parts

  private mutating func framework() {
    set("framework.name", "django", "INSTALLED_APPS")
    let origin = report.settingsModuleOrigin
    if origin != "setting" {
      set(
        "framework.settings_module", report.settingsModule,
        origin == "environment" ? "DJANGO_SETTINGS_MODULE" : origin)
    }
    let aliases = DjangoPreset.migratedByDefault(report)
    set("framework.databases", "[" + aliases.map(YAMLText.scalar).joined(separator: ", ") + "]", "DATABASES")
    let others = report.databases.map(\.key).filter { !aliases.contains($0) }
    if !others.isEmpty, context.given["framework.databases"] == nil {
      leave(
        "DATABASES",
        "only default is migrated, as before; list more in framework.databases: "
          + others.map { Printable.text($0) }.joined(separator: ", "))
    }
  }

  private mutating func autoinit() {
    let known = [
      "AUTOINIT_TIMEOUT_SEC", "AUTOINIT_CACHE_ALIAS", "AUTOINIT_MARKER_DIR", "AUTOINIT_READINESS_KEY_PREFIX",
      "AUTOINIT_RUN_ID",
    ]
    for entry in report.settings where entry.key.hasPrefix("AUTOINIT_") && !known.contains(entry.key) {
      let near = known.first { $0.hasPrefix(entry.key) } ?? KeyTable.nearest(to: entry.key, among: known)
      leave(
        Printable.text(entry.key),
        "django-autoinit has no such setting" + (near.map { "; did you mean \($0)?" } ?? ""))
    }
    if let value = report.setting("AUTOINIT_TIMEOUT_SEC"), !value.isNothing {
      if let seconds = Self.seconds(value) {
        set("timeout", seconds, "AUTOINIT_TIMEOUT_SEC")
      } else {
        refuse("AUTOINIT_TIMEOUT_SEC", "\(value.shown) is not a number of seconds", "write for instance 300")
      }
    }
    if let value = report.setting("AUTOINIT_MARKER_DIR"), !value.isNothing {
      if let path = value.text {
        // Relative ones counted from the working directory.
        let base = report.directory == "/" ? "" : report.directory
        set("node.marker_dir", path.hasPrefix("/") ? path : base + "/" + path, "AUTOINIT_MARKER_DIR")
      } else {
        refuse("AUTOINIT_MARKER_DIR", "\(value.shown) is not a path", "write it as a string")
      }
    }
    if let value = report.setting("AUTOINIT_RUN_ID"), !value.isNothing {
      // What Django's settings take from this variable needs no detour.
      guard let text = value.text else {
        refuse("AUTOINIT_RUN_ID", "\(value.shown) is not a text", "write it as a string")
        return
      }
      set("run_id", text, "AUTOINIT_RUN_ID")
    }
  }

  // MARK: For the parts

  /// Seconds as a duration of ours; nil when it is no such number. Texts come from the environment.
  static func seconds(_ value: PythonValue) -> String? {
    switch value {
    case .integer(let count) where count >= 0: return "\(count)s"
    case .number(let count) where count >= 0 && count < 1e9:
      let milliseconds = Int((count * 1000).rounded())
      return milliseconds % 1000 == 0 ? "\(milliseconds / 1000)s" : "\(milliseconds)ms"
    case .text(let text):
      if let count = Int(text) { return seconds(.integer(count)) }
      return Double(text).flatMap { seconds(.number($0)) }
    default: return nil
    }
  }

  /// Takes a value over, or says what is wrong with it.
  mutating func set(_ path: String, _ text: String, _ name: String) {
    let value = ImportedValue(path: path, text: text, origin: "django: \(name)")
    switch KeyTable.judge(text, for: path) {
    case .good: values.append(value)
    case .later(let work): pending.append(Pending(value: value, work: work))
    case .wrong(let message, let suggestion): refuse(name, "\(path): \(message)", suggestion)
    }
  }

  mutating func leave(_ name: String, _ reason: String) {
    unmapped.append(Unmapped(name: name, reason: reason))
  }

  mutating func refuse(_ name: String, _ message: String, _ suggestion: String?) {
    problems.append(Diagnostic(.error, at: nil, key: "django: \(name)", message, suggestion: suggestion))
  }

  mutating func warn(_ name: String, _ message: String, _ suggestion: String? = nil) {
    notes.append(Diagnostic(.warning, at: nil, key: "django: \(name)", message, suggestion: suggestion))
  }

  mutating func note(_ name: String, _ message: String, _ suggestion: String? = nil) {
    notes.append(Diagnostic(.note, at: nil, key: "django: \(name)", message, suggestion: suggestion))
  }
}
