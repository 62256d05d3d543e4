@testable import Frameworks

// Python's literals, for tests.

extension PythonValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral,
  ExpressibleByNilLiteral
{
  /// A text.
  public init(stringLiteral value: String) { self = .text(value) }
  /// A whole number.
  public init(integerLiteral value: Int) { self = .integer(value) }
  /// True or False.
  public init(booleanLiteral value: Bool) { self = .boolean(value) }
  /// A number.
  public init(floatLiteral value: Double) { self = .number(value) }
  /// A list.
  public init(arrayLiteral elements: PythonValue...) { self = .list(elements) }
  /// A dict.
  public init(dictionaryLiteral elements: (String, PythonValue)...) {
    self = .map(elements.map { Entry(key: $0, value: $1) })
  }
  /// None.
  public init(nilLiteral: ()) { self = .none }
}

extension DjangoReport {
  static let sqlite: PythonValue = ["ENGINE": "django.db.backends.sqlite3", "NAME": "/data/db.sqlite3"]
  static let postgres: PythonValue = [
    "ENGINE": "django.db.backends.postgresql", "NAME": "app", "HOST": "db", "PORT": "5432", "USER": "me",
    "PASSWORD": "hunter2",
  ]
  static let redis: PythonValue = [
    "BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://redis:6379/1",
  ]
  static let localMemory: PythonValue = ["BACKEND": "django.core.cache.backends.locmem.LocMemCache"]

  /// A report of a project in /app.
  static func sample(
    apps: [String] = ["autoinit"], database: PythonValue = sqlite, cache: PythonValue = localMemory,
    _ settings: PythonValue = [:]
  ) -> DjangoReport {
    var report = DjangoReport()
    report.pythonVersion = "3.11.7"
    report.djangoVersion = "5.2.19"
    report.directory = "/app"
    report.hasManagePy = true
    report.settingsModule = "site_.settings"
    report.settingsModuleOrigin = "manage.py"
    report.databases = [PythonValue.Entry(key: "default", value: database)]
    report.caches = [PythonValue.Entry(key: "default", value: cache)]
    if case .map(let entries) = settings { report.settings = entries }
    report.settings.append(PythonValue.Entry(key: "INSTALLED_APPS", value: .list(apps.map { .text($0) })))
    return report
  }
}

extension DjangoImport {
  /// An import on the node `host`.
  init(_ report: DjangoReport, environment: [String: String] = [:], given: [String: String] = [:]) {
    self.init(report, context: Context(environment: { environment[$0] }, hostName: "host", given: given))
  }

  /// What a key is set to, now or later.
  subscript(path: String) -> String? {
    (values + pending.map(\.value)).last { $0.path == path }?.text
  }

  /// The origin of a key.
  func origin(of path: String) -> String? {
    (values + pending.map(\.value)).last { $0.path == path }?.origin
  }

  var problemTexts: [String] { problems.map { "\($0)" } }
}
