import Testing

@testable import Settings

@Suite struct PrecedenceTests {
  struct RunID: Sendable, CustomTestStringConvertible {
    var file: String
    var overrides: [String: String] = [:]
    var environment: [String: String] = [:]
    var expected: String?
    var origin: String
    var testDescription: String { "\(expected ?? "none") from \(origin)" }
  }

  static let everything = ["SUPERVISOR_RUN_ID": "env", "AUTOINIT_RUN_ID": "auto"]

  @Test(arguments: [
    RunID(
      file: "run_id: file", overrides: ["run_id": "flag"], environment: everything, expected: "flag",
      origin: "--run-id"),
    RunID(file: "run_id: file", environment: everything, expected: "env", origin: "SUPERVISOR_RUN_ID"),
    RunID(
      file: "run_id: file", environment: ["AUTOINIT_RUN_ID": "auto"], expected: "file",
      origin: "supervisor.yml:1:9"),
    RunID(file: "", environment: ["AUTOINIT_RUN_ID": "auto"], expected: "auto", origin: "AUTOINIT_RUN_ID"),
    RunID(file: "", expected: nil, origin: "default"),
    RunID(
      file: "run_id: file", overrides: ["run_id": ""],
      environment: ["SUPERVISOR_RUN_ID": "", "AUTOINIT_RUN_ID": "auto"],
      expected: "file", origin: "supervisor.yml:1:9"),
    RunID(
      file: "run_id: ${R}", environment: ["R": "", "AUTOINIT_RUN_ID": "auto"], expected: "auto",
      origin: "AUTOINIT_RUN_ID"),
    RunID(file: "run_id: ''", environment: ["AUTOINIT_RUN_ID": ""], expected: nil, origin: "default"),
    RunID(
      file: "run_id:", environment: ["AUTOINIT_RUN_ID": "auto"], expected: "auto", origin: "AUTOINIT_RUN_ID"),
    RunID(file: "run_id: ${R}", environment: ["R": "v7"], expected: "v7", origin: "supervisor.yml:1:9"),
    // Flags and variables are taken literally.
    RunID(
      file: "", environment: ["SUPERVISOR_RUN_ID": "${R}", "R": "v7"], expected: "${R}",
      origin: "SUPERVISOR_RUN_ID"),
  ])
  func runIDs(_ id: RunID) throws {
    let settings = try settings(id.file, overrides: id.overrides, environment: id.environment)
    #expect(settings.runID == id.expected)
    #expect(settings.runIDOrigin.description == id.origin)
    #expect(settings.entries.first { $0.key == "run_id" }?.value == id.expected)
  }

  @Test func aBrokenRunIDIsNotReplacedByAnotherOne() {
    let report = report("run_id: [x]", environment: ["AUTOINIT_RUN_ID": "auto"])
    #expect(report == ["supervisor.yml:1:9: error: run_id: must be a single value, not a list"])
  }

  @Test func anInheritedRunIDIsCheckedToo() {
    let report = report("", environment: ["AUTOINIT_RUN_ID": "a\nb"])
    #expect(report.count == 1)
    #expect(report.first?.hasPrefix("AUTOINIT_RUN_ID: error: run_id: \"a\\nb\" is not a name") == true)
  }

  @Test func flagsThenVariablesThenTheFile() throws {
    let text = "timeout: 1s\nnode: {fatal_on_error: false}\nlog: {level: error}\napp: {cwd: /file}\n"
    let settings = try settings(
      text, overrides: ["timeout": "3s", "node.fatal_on_error": "true"],
      environment: [
        "SUPERVISOR_TIMEOUT": "2s", "SUPERVISOR_APP_CWD": "/env", "SUPERVISOR_HEALTH_LISTEN": ":99",
      ])
    #expect(settings.timeout == .seconds(3))
    #expect(settings.node.fatalOnError)
    #expect(settings.log.level == .error)
    #expect(settings.app.workingDirectory == "/env")
    #expect(settings.health.listen.port == 99)
    #expect(settings.health.listenWasSet)
    let origins = Dictionary(uniqueKeysWithValues: settings.rendered().map { ($0.key, $0.origin) })
    #expect(origins["timeout"] == "--timeout")
    #expect(origins["node.fatal_on_error"] == "--fatal-on-error")
    #expect(origins["log.level"] == "supervisor.yml:3:14")
    #expect(origins["app.cwd"] == "SUPERVISOR_APP_CWD")
    #expect(origins["app.restart"] == "default")
  }

  @Test func whatIsOverriddenIsNotRead() throws {
    // The file's own reference is not even a warning when something else decides.
    #expect(report("run_id: ${NOPE}", environment: ["SUPERVISOR_RUN_ID": "x"]) == [])
  }

  @Test func aVariableCanGiveTheCheckAndItsMapNeedNotExist() throws {
    let settings = try settings("", environment: ["SUPERVISOR_APP_READY_TCP": "127.0.0.1:80"])
    #expect(
      settings.app.healthCheck?.probe
        == .tcp(SocketTarget(host: .address(.loopback4), port: 80, text: "127.0.0.1:80")))
  }

  @Test func errorsNameFlagAndVariable() {
    let report = report(
      "timeout: 1s\nlog: {level: loud}\n", overrides: ["timeout": "x"],
      environment: [
        "SUPERVISOR_MAX_WAIT": "-1s", "SUPERVISOR_LITEFS_MODE": "mounted", "SUPERVISOR_LOG_PREFIX": "true",
      ])
    #expect(
      report == [
        "--timeout: error: timeout: \"x\" is not a duration; write for instance 90s, 1h30m, 250ms, or whole seconds",
        "SUPERVISOR_MAX_WAIT: error: max_wait: \"-1s\" is negative; durations count from zero",
        "SUPERVISOR_LITEFS_MODE: error: litefs.mode: \"mounted\" is not one of off, mount, directory, external; "
          + "did you mean mount?",
        "SUPERVISOR_LOG_PREFIX: error: log.prefix: is not supported yet by this version; it comes with log capture; "
          + "remove it until then",
        "supervisor.yml:2:14: error: log.level: \"loud\" is not one of debug, info, warning, error",
      ])
  }

  @Test func aFlagForNoKeyIsAnError() {
    #expect(report("", overrides: ["nope": "1"]) == ["error: nope: no key of this name can be set by a flag"])
    #expect(report("", overrides: ["app.command": "1"]).count == 1)
  }

  @Test func unknownVariablesAreNotes() {
    let notes = report(
      "",
      environment: [
        "SUPERVISOR_PORT": "tcp://10.0.0.1:80", "SUPERVISOR_TIMEUOT": "1s", "SUPERVISOR_ROLE": "primary",
        "SUPERVISOR_SETTINGS": "", "SUPERVISOR_PHASE": "node", "SUPERVISOR_PRIMARY": "a",
        "SUPERVISOR_ROLE_FILE": "/x",
        "SUPERVISOR_OUTPUT": "/y", "SUPERVISORX": "1", "OTHER": "1",
      ])
    #expect(
      notes == [
        "SUPERVISOR_PORT: note: this variable sets nothing",
        "SUPERVISOR_TIMEUOT: note: this variable sets nothing; did you mean SUPERVISOR_TIMEOUT?",
      ])
  }

  static let platforms: [([String: String], String, Duration, String)] = [
    ([:], "", .milliseconds(9500), "9.5s (auto)"),
    (["FLY_MACHINE_ID": "1"], "", .milliseconds(4500), "4.5s (auto, on Fly)"),
    (
      ["KUBERNETES_SERVICE_HOST": "10.0.0.1"], "stop_timeout: auto", .seconds(28), "28s (auto, on Kubernetes)"
    ),
    (["FLY_MACHINE_ID": "", "KUBERNETES_SERVICE_HOST": ""], "", .milliseconds(9500), "9.5s (auto)"),
    (
      ["FLY_MACHINE_ID": "1", "KUBERNETES_SERVICE_HOST": "x"], "", .milliseconds(4500), "4.5s (auto, on Fly)"
    ),
    (["FLY_MACHINE_ID": "1"], "stop_timeout: 20s", .seconds(20), "20s"),
    ([:], "stop_timeout: 0", .zero, "0"),
  ]

  @Test(arguments: platforms)
  func stopTimeouts(_ environment: [String: String], _ text: String, _ expected: Duration, _ shown: String)
    throws
  {
    let settings = try settings(text, environment: environment)
    #expect(settings.stopTimeout == expected)
    #expect(settings.entries.filter { $0.key == "stop_timeout" }.map(\.value) == [shown])
  }
}
