import Testing

@testable import Settings

@Suite struct ImportTests {
  private static func django(_ path: String, _ text: String, _ name: String) -> ImportedValue {
    ImportedValue(path: path, text: text, origin: "django: \(name)")
  }

  private func load(
    _ text: String, imported: [ImportedValue], preset: [ImportedValue] = [],
    overrides: [String: String] = [:], environment: [String: String] = [:]
  ) -> (settings: EffectiveSettings?, report: [String]) {
    let outcome = SettingsLoader.load(
      bytes: Array(text.utf8), file: "supervisor.yml", overrides: overrides,
      environment: { environment[$0] }, imported: imported, preset: preset, files: .none)
    return switch outcome {
    case .settings(let settings, let notes): (settings, notes.map(\.description))
    case .failure(let problems): (nil, problems.map(\.description))
    }
  }

  struct Source: Sendable, CustomTestStringConvertible {
    var layers: Int
    var expected: Duration
    var origin: String
    var testDescription: String { origin }
  }

  @Test(arguments: [
    Source(layers: 5, expected: .seconds(5), origin: "--timeout"),
    Source(layers: 4, expected: .seconds(4), origin: "SUPERVISOR_TIMEOUT"),
    Source(layers: 3, expected: .seconds(3), origin: "supervisor.yml:1:10"),
    Source(layers: 2, expected: .seconds(2), origin: "django: AUTOINIT_TIMEOUT_SEC"),
    Source(layers: 1, expected: .seconds(1), origin: "django preset"),
    Source(layers: 0, expected: .seconds(300), origin: "default"),
  ])
  func theNextSourceCountsWhenOneSaysNothing(_ source: Source) throws {
    let (loaded, report) = load(
      source.layers >= 3 ? "timeout: 3s" : "timeout:",
      imported: source.layers >= 2 ? [Self.django("timeout", "2", "AUTOINIT_TIMEOUT_SEC")] : [],
      preset: source.layers >= 1 ? [ImportedValue(path: "timeout", text: "1s", origin: "django preset")] : [],
      overrides: source.layers >= 5 ? ["timeout": "5s"] : [:],
      environment: source.layers >= 4 ? ["SUPERVISOR_TIMEOUT": "4s"] : [:])
    #expect(report.isEmpty)
    let settings = try #require(loaded)
    #expect(settings.timeout == source.expected)
    #expect(settings.rendered().first { $0.key == "timeout" }?.origin == source.origin)
  }

  @Test func listsMapsAndLiteralTexts() throws {
    let (loaded, report) = load(
      "environment: {A: file}\nservices: {beat: {cwd: /file}}\n",
      imported: [
        Self.django("run_id", "a: ${B} \"c\"", "AUTOINIT_RUN_ID"),
        Self.django("framework.databases", "[default, other]", "DATABASES"),
        Self.django("environment", "{A: import, B: \"$${x}\"}", "ENVIRONMENT"),
        Self.django("services.beat.command", "[celery, beat]", "BEAT"),
        Self.django("node.marker_dir", "", "AUTOINIT_MARKER_DIR"),
      ])
    #expect(report.isEmpty)
    let settings = try #require(loaded)
    #expect(settings.runID == "a: ${B} \"c\"")
    #expect(settings.framework.databases == ["default", "other"])
    #expect(settings.environment.map(\.name) == ["A", "B"])
    #expect(settings.environment.map(\.value) == ["file", "$${x}"])
    #expect(settings.services[0].command == .arguments(["celery", "beat"]))
    #expect(settings.services[0].workingDirectory == "/file")
    #expect(settings.node.markerDirectory == "/tmp/autoinit")
    let origins = Dictionary(uniqueKeysWithValues: settings.rendered().map { ($0.key, $0.origin) })
    #expect(origins["environment.A"] == "supervisor.yml:1:18")
    #expect(origins["environment.B"] == "django: ENVIRONMENT")
  }

  @Test func presetStepsComeFirstAndTheFileReplacesThemByName() throws {
    let steps = "[{name: migrate, run: [migrate]}, {name: hooks, run: [hooks], needs: [migrate]}]"
    let (loaded, report) = load(
      "infrastructure: {steps: [{name: warm, run: [x], needs: [hooks]}, {name: migrate, run: [mine]}]}",
      imported: [],
      preset: [ImportedValue(path: "infrastructure.steps", text: steps, origin: "django preset")])
    #expect(report.isEmpty)
    let settings = try #require(loaded)
    #expect(settings.infrastructure.steps.map(\.name) == ["hooks", "warm", "migrate"])
    #expect(settings.infrastructure.steps.last?.run == .arguments(["mine"]))
    let shown = settings.rendered()
    #expect(shown.first { $0.key == "infrastructure.steps[0].run" }?.origin == "django preset")
  }

  @Test func wrongValuesAreErrorsWithTheirOrigin() {
    let (_, report) = load(
      "max_wait: 1s\n",
      imported: [
        Self.django("timeout", "soon", "AUTOINIT_TIMEOUT_SEC"),
        Self.django("max_wait", "what the file hides is not read", "X"),
        Self.django("timeuot", "1", "Y"),
        Self.django("framework.databases", "[a", "DATABASES"),
        Self.django("node.steps", "[{name: a}]", "HOOKS\u{1B}"),
      ])
    #expect(
      report == [
        "django: Y: error: timeuot: there is no such key",
        "django: DATABASES: error: framework.databases: the '[' opened in line 1, column 1 is not closed before this, or a ',' is missing; close it with ']', or put a ',' between the items",
        "django: AUTOINIT_TIMEOUT_SEC: error: timeout: \"soon\" is not a duration; write for instance 90s, 1h30m, 250ms, or whole seconds",
        "django: HOOKS\\u{1b}: error: node.steps[0]: the step has nothing to run; add 'run: [program, argument]'",
      ])
  }

  @Test func whatComesLaterIsANoteWhenItWasImported() throws {
    let (loaded, report) = load(
      "health: {compat: false}\n",
      imported: [
        Self.django("litefs.mode", "mount", "LITEFS"),
        Self.django("litefs.mount_path", "/litefs", "LITEFS['MOUNT_PATH']"),
        Self.django("coordination.redis.url", "redis://:hush@cache/0", "CACHES['default']"),
        Self.django("coordination.readiness", "redis", "AUTOINIT_BACKEND"),
        Self.django("log.capture", "true", "Z"),
      ])
    #expect(
      report
        == [
          "django: LITEFS: note: litefs: is not supported yet by this version; it comes with LiteFS support; it has no effect until then",
          "django: CACHES['default']: note: coordination.redis: is not supported yet by this version; it comes with the Redis backend; it has no effect until then",
          "django: AUTOINIT_BACKEND: note: coordination.readiness: \"redis\" is not supported yet by this version; it comes with the Redis backend; it has no effect until then",
          "django: Z: note: log.capture: is not supported yet by this version; it comes with log capture; it has no effect until then",
        ])
    #expect(loaded?.coordination.readiness == .file)
  }

  @Test func whatTheFileSaysItselfStaysAnError() {
    let (_, report) = load(
      "litefs: {compress: false}\n", imported: [Self.django("litefs.mode", "mount", "LITEFS")])
    #expect(
      report == [
        "supervisor.yml:1:1: error: litefs: is not supported yet by this version; it comes with LiteFS support; remove it until then"
      ])
  }

  /// First without the import, to learn what the framework is; then with it.
  @Test func loadingTwiceDiffersOnlyInWhatWasImported() throws {
    let text = "framework: {name: django}\nnode: {fatal_on_error: true}\n"
    let first = try #require(load(text, imported: []).settings)
    #expect(first.framework.name == .django)
    let second = try #require(load(text, imported: [Self.django("timeout", "30", "T")]).settings)
    let before = first.rendered().map { "\($0)" }
    let changed = second.rendered().filter { !before.contains("\($0)") }
    #expect(changed.map(\.key) == ["timeout"])
  }
}
