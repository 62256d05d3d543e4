/// What a project's settings say, as `DjangoProgram.settings` reports it.
public struct DjangoReport: Equatable, Sendable {
  /// A file that the settings depend on, as it was.
  public struct FileStamp: Equatable, Sendable {
    /// Its absolute path.
    public var path: String
    /// Its time of modification in Unix nanoseconds, and its size in bytes; nil when it was not there.
    public var state: State?

    /// When it changed, and its size.
    public struct State: Equatable, Sendable {
      /// Unix nanoseconds.
      public var modifiedAt: Int64
      /// Bytes.
      public var size: Int64

      /// A state.
      public init(modifiedAt: Int64, size: Int64) {
        self.modifiedAt = modifiedAt
        self.size = size
      }
    }

    /// A stamp.
    public init(path: String, state: State?) {
      self.path = path
      self.state = state
    }
  }

  /// A thing that could not be reported, and why.
  public struct Skipped: Equatable, Sendable {
    /// What.
    public var name: String
    /// The error's last line.
    public var reason: String
  }

  /// A key in Redis, as the project's cache makes it.
  public struct RunKey: Equatable, Sendable {
    /// The release that it is of.
    public var runID: String
    /// The whole key.
    public var key: String

    /// A key.
    public init(runID: String, key: String) {
      self.runID = runID
      self.key = key
    }
  }

  /// Python's version, `3.11.7`.
  public var pythonVersion = ""
  /// `sys.executable`.
  public var pythonPath = ""
  /// Django's version.
  public var djangoVersion = ""
  /// The working directory of the program.
  public var directory = ""
  /// Whether `manage.py` is there.
  public var hasManagePy = false
  /// DJANGO_SETTINGS_MODULE.
  public var settingsModule = ""
  /// What named it: `environment`, `setting`, or a file: `manage.py`.
  public var settingsModuleOrigin = ""
  /// AUTOINIT_*, INSTALLED_APPS, STATIC_ROOT and LITEFS, as far as they are set.
  public var settings: [PythonValue.Entry] = []
  /// DATABASES by alias, in order: ENGINE, NAME, HOST, PORT, USER. Of `default` on PostgreSQL also PASSWORD and what of
  /// OPTIONS is needed to reach it.
  public var databases: [PythonValue.Entry] = []
  /// CACHES by alias, in order: BACKEND, LOCATION, KEY_PREFIX, VERSION, KEY_FUNCTION (whether there is one), and what of
  /// OPTIONS is needed to reach it. May hold a password.
  public var caches: [PythonValue.Entry] = []
  /// The readiness key in Redis, with `{run_id}` for the run ID; nil when the cache is not in Redis.
  public var redisKey: String?
  /// The readiness key of the release that the program was asked for, or that the settings name; nil without one.
  public var redisRunKey: RunKey?
  /// What could not be reported.
  public var skipped: [Skipped] = []
  /// What the settings were made from.
  public var files: [FileStamp] = []
  /// The variables that the settings looked at.
  public var variables: [String] = []
  /// Why this must not be cached; nil when it may.
  public var isUncacheableBecause: String?

  /// A setting's value; nil when it is not set.
  public func setting(_ name: String) -> PythonValue? { settings.last { $0.key == name }?.value }

  /// INSTALLED_APPS.
  public var installedApps: [String] { (setting("INSTALLED_APPS")?.items ?? []).compactMap(\.text) }

  /// Whether an app is installed, by its package or by an AppConfig within.
  public func hasApp(_ package: String) -> Bool {
    installedApps.contains { $0 == package || $0.hasPrefix(package + ".") }
  }

  /// Whether there is a `collectstatic` command.
  public var hasStaticFiles: Bool { hasApp("django.contrib.staticfiles") }
}

/// Why there is no report: the text says what happened and where, the remedy what to do.
public struct DjangoFailure: Error, Equatable, Sendable {
  /// The kinds. Raw values are the program's words.
  public enum Kind: String, Sendable, CaseIterable {
    /// The interpreter has no Django, or a broken one.
    case noDjango = "no_django"
    /// Nothing names the settings module.
    case noSettingsModule = "no_settings_module"
    /// `manage.py` is not Python.
    case manageUnreadable = "manage_unreadable"
    /// There is no module of that name.
    case settingsNotFound = "settings_not_found"
    /// It raised an error.
    case settingsFailed = "settings_failed"
    /// It ended the process.
    case settingsExit = "settings_exit"
    /// `django.setup()` raised an error.
    case setupFailed = "setup_failed"
    /// It ended the process.
    case setupExit = "setup_exit"
    /// The program ended before its report did.
    case noResult
    /// What it left is no report of ours.
    case malformed
  }

  /// Which.
  public var kind: Kind
  /// The traceback's last line, or a sentence.
  public var message: String
  /// The file that the error points to; empty when none.
  public var file: String
  /// Its line; 0 when none.
  public var line: Int
  /// The settings module, when it was known.
  public var settingsModule: String

  /// A failure.
  public init(_ kind: Kind, _ message: String, file: String = "", line: Int = 0, settingsModule: String = "")
  {
    self.kind = kind
    self.message = message
    self.file = file
    self.line = line
    self.settingsModule = settingsModule
  }
}

extension DjangoFailure: CustomStringConvertible {
  /// One line: where, what, and what to do.
  public var description: String {
    let place = file.isEmpty ? "" : Printable.text(file) + (line > 0 ? ":\(line)" : "") + ": "
    let message = Printable.text(message, limit: 500)
    let module = Printable.text(settingsModule)
    return switch kind {
    case .noDjango:
      "\(place)the interpreter cannot import Django (\(message)); set framework.python to the project's own"
    case .noSettingsModule:
      "\(place)cannot tell which settings module the project uses: \(message); set framework.settings_module or DJANGO_SETTINGS_MODULE"
    case .manageUnreadable: "\(place)manage.py cannot be read as Python: \(message)"
    case .settingsNotFound:
      "the settings module \(module) is not there (\(message)); check DJANGO_SETTINGS_MODULE, framework.settings_module and the working directory"
    case .settingsFailed: "\(place)the settings module \(module) fails: \(message)"
    case .settingsExit: "\(place)the settings module \(module) ends the process: \(message)"
    case .setupFailed: "\(place)django.setup() fails: \(message)"
    case .setupExit: "\(place)django.setup() ends the process: \(message)"
    case .noResult, .malformed: "\(place)\(message)"
    }
  }
}

extension DjangoReport {
  /// Reads what the program left.
  ///
  /// - Parameters:
  ///   - bytes: of the result file; empty when there is none.
  ///   - ending: how the program ended, for the message when its report is not complete: `exit code 3`.
  public static func decode(_ bytes: [UInt8], ending: String) throws(DjangoFailure) -> DjangoReport {
    guard let lines = ResultLines.read(bytes), lines.isEmpty || lines[0] == ["supervisor-django", "1"] else {
      throw DjangoFailure(
        .malformed, "the program that reads the project's settings left something unreadable")
    }
    var report = DjangoReport()
    for (index, line) in lines.enumerated().dropFirst() {
      if line == ["end"], index == lines.count - 1, !report.settingsModule.isEmpty,
        !report.djangoVersion.isEmpty
      {
        return report
      }
      if line.count == 5, line[0] == "error", let kind = DjangoFailure.Kind(rawValue: line[1]),
        let number = Int(line[4])
      {
        throw DjangoFailure(
          kind, line[2], file: line[3], line: number, settingsModule: report.settingsModule)
      }
      guard report.take(line) else {
        throw DjangoFailure(
          .malformed, "the program that reads the project's settings left an unreadable line \(index + 1)")
      }
    }
    let module =
      report.settingsModule.isEmpty
      ? "the settings" : "the settings module \(Printable.text(report.settingsModule))"
    throw DjangoFailure(
      .noResult, "reading \(module) came to no end (\(ending)); its last output says more",
      settingsModule: report.settingsModule)
  }

  private mutating func take(_ line: [String]) -> Bool {
    switch (line.first ?? "", line.count) {
    case ("python", 3): (pythonVersion, pythonPath) = (line[1], line[2])
    case ("directory", 2): directory = line[1]
    case ("manage", 2): hasManagePy = line[1] == "yes"
    case ("module", 3): (settingsModule, settingsModuleOrigin) = (line[1], line[2])
    case ("django", 3): djangoVersion = line[1]
    case ("redis_key", 2): redisKey = line[1]
    case ("redis_run_key", 3): redisRunKey = RunKey(runID: line[1], key: line[2])
    case ("skipped", 3): skipped.append(Skipped(name: line[1], reason: line[2]))
    case ("uncacheable", 2): isUncacheableBecause = line[1]
    case ("variable", 2): variables.append(line[1])
    case ("absent", 2): files.append(FileStamp(path: line[1], state: nil))
    case ("file", 4):
      guard let time = Int64(line[2]), let size = Int64(line[3]) else { return false }
      files.append(FileStamp(path: line[1], state: FileStamp.State(modifiedAt: time, size: size)))
    case ("setting", 3...), ("database", 3...), ("cache", 3...):
      guard let value = PythonValue(fields: Array(line.dropFirst(2))) else { return false }
      let entry = PythonValue.Entry(key: line[1], value: value)
      switch line[0] {
      case "setting": settings.append(entry)
      case "database": databases.append(entry)
      default: caches.append(entry)
      }
    default: return false
    }
    return true
  }
}
