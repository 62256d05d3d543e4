import Settings
import Testing

@testable import Frameworks

/// What `settings import-django` prints.
struct DjangoPageTests {
  /// Its secrets still come from the project.
  static func errors(_ page: String, _ values: [ImportedValue] = []) -> [Diagnostic] {
    switch SettingsLoader.load(
      bytes: Array(page.utf8), file: "page.yml", environment: { _ in nil }, imported: values)
    {
    case .settings(_, let notes): notes.filter { $0.severity != .note }
    case .failure(let findings): findings
    }
  }

  @Test func `the page is a settings file, with the rest as comments`() {
    var report = DjangoReport.sample(
      database: DjangoReport.postgres,
      cache: ["BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://:hunter2@redis/1"],
      [
        "AUTOINIT_TIMEOUT_SEC": 600, "AUTOINIT_MARKER_DIR": "/m/$HOME \"q\" #x", "AUTOINIT_RUN_ID": "null",
        "LITEFS": LiteFSImportTests.today, "AUTOINIT_X": 1,
      ])
    report.redisKey = ":1:autoinit:ready:{run_id}"
    let found = DjangoImport(report)
    let page = DjangoImportPage.text(found, report: report)
    // PostgreSQL has the lock, and there is LiteFS too: what that means is said.
    let findings = Self.errors(page, found.values)
    #expect(findings.map(\.key) == ["coordination.lock"], "\(findings)\n\(page)")
    #expect(findings.allSatisfy { $0.severity == .warning })
    guard
      case .settings(let settings, _) = SettingsLoader.load(
        bytes: Array(page.utf8), file: "page.yml", environment: { _ in nil }, imported: found.values)
    else { return }
    #expect(settings.coordination.postgres.url == found["coordination.postgres.url"])
    #expect(settings.timeout == .seconds(600))
    #expect(settings.runID == "null")
    #expect(settings.node.markerDirectory == "/m/$HOME \"q\" #x")
    #expect(!page.contains("hunter2"))
    #expect(settings.coordination.lock == .postgres && settings.coordination.readiness == .redis)
    #expect(page.contains("\n    # url: a secret, taken from the project at each start (django: DATABASES"))
    #expect(page.contains("timeout: 600s   # django: AUTOINIT_TIMEOUT_SEC\n"))
    #expect(page.contains("#   AUTOINIT_X: django-autoinit has no such setting"))
    #expect(page.contains("litefs:\n  mode: mount") && page.contains("\n  mount_path: /litefs"))
    #expect(settings.litefs?.primary == "node1")
    #expect(page.contains("forward.listen: \":8080\""))
  }

  @Test func `hooks are listed by phase, in order`() {
    let hooks = ["b", "a"].flatMap { app in
      ["node", "infrastructure"].map { phase in
        HookResults.Hook(name: "\(app).handle_\(phase)_init", phase: phase, app: app, type: "\(app).apps.X")
      }
    }
    let report = DjangoReport.sample()
    let page = DjangoImportPage.text(DjangoImport(report), report: report, hooks: hooks)
    #expect(
      page.hasSuffix(
        """
        # Hooks, in the order they are called:
        #   infrastructure 1: b.handle_infrastructure_init   # b.apps.X
        #   infrastructure 2: a.handle_infrastructure_init   # a.apps.X
        #   node 1: b.handle_node_init   # b.apps.X
        #   node 2: a.handle_node_init   # a.apps.X

        """))
    #expect(
      DjangoImportPage.text(DjangoImport(report), report: report, hooks: []).contains("# No app has hooks."))
    #expect(!DjangoImportPage.text(DjangoImport(report), report: report).contains("ooks"))
  }

  /// Texts that would leave their comment or their line.
  @Test(arguments: [
    "a\nrun_id: evil", "\r\nrun_id: evil", "\u{85}run_id: evil", "\u{2028}run_id: evil", "# x", "'", "\u{0}",
  ])
  func `no text of a project's leaves its place`(text: String) {
    var report = DjangoReport.sample([
      "AUTOINIT_MARKER_DIR": .text("/" + text), "LITEFS": [text: "x", "LEADER_ELECTION": .text(text)],
    ])
    report.settings.append(PythonValue.Entry(key: "AUTOINIT_" + text, value: 1))
    report.settingsModule = text
    report.settingsModuleOrigin = text
    report.djangoVersion = text
    report.databases.append(PythonValue.Entry(key: text, value: [:]))
    report.skipped = [DjangoReport.Skipped(name: text, reason: text)]
    let hook = HookResults.Hook(name: text, phase: "node", app: text, type: text)
    let page = DjangoImportPage.text(DjangoImport(report), report: report, hooks: [hook])
    #expect(!page.split(whereSeparator: \.isNewline).contains { $0.hasPrefix("run_id") }, "\(page)")
    if case .settings(let settings, _) = SettingsLoader.load(
      bytes: Array(page.utf8), file: "page.yml", environment: { _ in nil })
    {
      #expect(settings.runID == nil)
    }
  }

  @Test func `problems stand at the top of the page`() {
    let report = DjangoReport.sample(["AUTOINIT_TIMEOUT_SEC": "banana"])
    let page = DjangoImportPage.text(DjangoImport(report), report: report)
    #expect(page.contains("\n# error: django: AUTOINIT_TIMEOUT_SEC: \"banana\" is not a number of seconds"))
  }

  @Test(
    arguments: [
      ("a/b-c.d", "a/b-c.d"), ("true", "\"true\""), ("No", "\"No\""), ("", "\"\""), ("a b", "\"a b\""),
      ("$x", "\"$$x\""), ("a\"\\", "\"a\\\"\\\\\""), ("\u{1}", "\"\\u0001\""), ("-x", "\"-x\""),
      ("a:", "\"a:\""),
    ])
  func `a scalar is quoted where it must be`(text: String, expected: String) {
    #expect(YAMLText.scalar(text) == expected)
  }
}
