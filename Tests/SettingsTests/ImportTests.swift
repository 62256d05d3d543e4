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

  @Test(arguments: [
    ("", [:], "settings", "django: AUTOINIT_RUN_ID"),
    ("", ["AUTOINIT_RUN_ID": ""], "settings", "django: AUTOINIT_RUN_ID"),
    ("", ["AUTOINIT_RUN_ID": "variable"], "variable", "AUTOINIT_RUN_ID"),
    ("run_id: file", ["AUTOINIT_RUN_ID": "variable"], "file", "supervisor.yml:1:9"),
    ("run_id: \"\"", ["AUTOINIT_RUN_ID": "variable"], "variable", "AUTOINIT_RUN_ID"),
    ("", ["AUTOINIT_RUN_ID": "variable", "SUPERVISOR_RUN_ID": "ours"], "ours", "SUPERVISOR_RUN_ID"),
  ])
  func theDeploymentNamesTheReleaseBeforeTheProjectDoes(
    text: String, environment: [String: String], expected: String, origin: String
  ) throws {
    let (loaded, report) = load(
      text, imported: [Self.django("run_id", "settings", "AUTOINIT_RUN_ID")], environment: environment)
    #expect(report == [])
    let settings = try #require(loaded)
    #expect(settings.runID == expected)
    let shown = settings.rendered().filter { $0.key == "run_id" }
    #expect(shown.map(\.value) == [expected])
    #expect(shown.map(\.origin) == [origin])
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

  private static let preset = [
    ImportedValue(
      path: "infrastructure.steps",
      text:
        "[{name: migrate, run: [m], check: [c], environment: {A: \"1\", B: \"1\"}}, {name: hooks, run: [h]}]",
      origin: "django preset"),
    ImportedValue(
      path: "node.steps", text: "[{name: collectstatic, run: [s], fatal: true}]", origin: "django preset"),
  ]

  @Test func aStepWithoutWorkAmendsThePresetsOfItsName() throws {
    let (loaded, report) = load(
      """
      infrastructure:
        steps:
          - {name: warm, run: [w], needs: [migrate]}
          - {name: migrate, run: null, timeout: 10m, retries: 2, recheck: on_start, environment: {B: "2", C: "2"}}
          - {name: hooks, needs: [warm], description: ours}
      node: {steps: [{name: collectstatic, fatal: false}]}
      """, imported: [], preset: Self.preset)
    #expect(report == [])
    let settings = try #require(loaded)
    let steps = settings.infrastructure.steps
    #expect(steps.map(\.name) == ["migrate", "hooks", "warm"])
    #expect(steps[0].run == .arguments(["m"]))
    #expect(steps[0].check == .arguments(["c"]))
    #expect(steps[0].timeout == .seconds(600))
    #expect(steps[0].retries == 2)
    #expect(steps[0].recheck == .onStart)
    #expect(steps[0].environment.map { "\($0.name)=\($0.value)" } == ["A=1", "B=2", "C=2"])
    #expect(steps[1].needs == ["warm"])
    #expect(settings.node.steps.map(\.isFatal) == [false])
    let origins = Dictionary(uniqueKeysWithValues: settings.rendered().map { ($0.key, $0.origin) })
    #expect(origins["infrastructure.steps[0].run"] == "django preset")
    #expect(origins["infrastructure.steps[0].timeout"]?.hasPrefix("supervisor.yml:4:") == true)
    #expect(origins["infrastructure.steps[0].environment.B"]?.hasPrefix("supervisor.yml:4:") == true)
  }

  @Test(arguments: [
    (
      "infrastructure: {steps: [{name: migrat, timeout: 1s}]}",
      "supervisor.yml:1:26: error: infrastructure.steps[2]: the step has nothing to run, and the preset has no step of this name left to amend; did you mean migrate?"
    ),
    (
      "infrastructure: {steps: [{name: collectstatic, timeout: 1s}]}",
      "supervisor.yml:1:26: error: infrastructure.steps[2]: the step has nothing to run, and the preset has no step of this name left to amend; add 'run: [program, argument]'; the preset's steps are migrate, hooks"
    ),
    (
      "infrastructure: {steps: [{name: migrate, fatal: false}]}",
      "supervisor.yml:1:42: error: infrastructure.steps[0].fatal: does not belong here: a failed infrastructure step always ends the start; only node steps have it; remove it"
    ),
    (
      "infrastructure: {steps: [{name: migrate, needs: [hoks]}]}",
      "supervisor.yml:1:50: error: infrastructure.steps[0].needs[0]: no step of this phase is called \"hoks\"; did you mean hooks?"
    ),
    (
      "infrastructure: {steps: [{name: hooks, timeout: 1s}, {name: hooks, timeout: 2s}]}",
      "supervisor.yml:1:54: error: infrastructure.steps[2]: the step has nothing to run, and the preset has no step of this name left to amend; did you mean hooks?"
    ),
  ])
  func whatAmendsNothingIsAnError(text: String, expected: String) {
    let (loaded, report) = load(text, imported: [], preset: Self.preset)
    #expect(loaded == nil)
    #expect(report.contains(expected), "\(report)")
  }

  @Test func beforeThePresetIsThereStepsAreNotJudged() {
    func outcome(_ text: String) -> SettingsOutcome {
      SettingsLoader.load(
        bytes: Array(text.utf8), file: "supervisor.yml", environment: { _ in nil }, presetFollows: true,
        files: .none)
    }
    let steps = "{name: migrate, recheck: on_start}, {name: warm, run: [w], needs: [hooks]}"
    guard case .settings = outcome("infrastructure: {steps: [\(steps)]}") else {
      Issue.record("refused")
      return
    }
    guard case .failure(let problems) = outcome("infrastructure: {steps: [\(steps), {nmae: x}]}") else {
      Issue.record("accepted")
      return
    }
    #expect(problems.contains { $0.message == "unknown key" })
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
      "health: {drain_delay: 0s}\n",
      imported: [
        Self.django("health.compat", "true", "Y"), Self.django("log.capture", "true", "Z"),
      ])
    #expect(
      report
        == [
          "django: Y: note: health.compat: is not supported yet by this version; it comes with LiteFS support; it has no effect until then",
          "django: Z: note: log.capture: is not supported yet by this version; it comes with log capture; it has no effect until then",
        ])
    #expect(loaded != nil)
  }

  /// A framework may still say what is missing: only what it left is judged.
  @Test func sharedBackendsMayBeImportedInParts() throws {
    let text = "coordination: {readiness: redis}\nwait_for: [redis]\n"
    let values = [
      Self.django("coordination.lock", "postgres", "D"),
      Self.django("coordination.postgres.url", "host='db' password='hush'", "D"),
      Self.django("coordination.redis.url", "redis://:hush@cache/0", "C"),
    ]
    #expect(load(text, imported: []).settings == nil)
    let settings = try #require(load(text, imported: values).settings)
    #expect(settings.coordination.lock == .postgres && settings.coordination.readiness == .redis)
    #expect(settings.coordination.postgres.url == "host='db' password='hush'")
    #expect(settings.coordination.redis?.key(of: "v7") == "autoinit:ready:v7")
    #expect(!settings.rendered().contains { $0.value.hasPart("hush") })
    let first = SettingsLoader.load(
      bytes: Array(text.utf8), file: "supervisor.yml", environment: { _ in nil }, presetFollows: true)
    guard case .settings(let early, _) = first else {
      Issue.record("\(first)")
      return
    }
    #expect(early.coordination.readiness == .redis && early.coordination.redis == nil)
  }

  /// A file that holds the secret takes the place of an imported one.
  @Test func aSecretsFileGoesBeforeTheImport() throws {
    let files = try TemporaryFiles()
    let path = try files.write("url", "postgres://own@db/n\n")
    let outcome = SettingsLoader.load(
      bytes: Array("coordination: {postgres: {url_file: \(path)}}\n".utf8), file: "supervisor.yml",
      environment: { _ in nil }, imported: [Self.django("coordination.postgres.url", "host='other'", "D")])
    guard case .settings(let settings, let notes) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(notes.isEmpty)
    #expect(settings.coordination.postgres.url == "postgres://own@db/n")
  }

  @Test func whatTheFileSaysItselfStaysAnError() {
    let (_, report) = load(
      "log: {capture: true}\n", imported: [Self.django("log.prefix", "true", "Z")])
    #expect(
      report == [
        "supervisor.yml:1:7: error: log.capture: is not supported yet by this version; it comes with log capture; remove it until then",
        "django: Z: note: log.prefix: is not supported yet by this version; it comes with log capture; it has no effect until then",
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
