import Testing

@testable import Frameworks

/// The preset's steps, when there is one, and with which Python.
struct DjangoPresetTests {
  @Test func `a project with static files gets migrations, static files and hooks`() {
    let preset = DjangoPreset(.sample(apps: ["autoinit", "django.contrib.staticfiles"]), python: "python")
    #expect(preset.infrastructure.map(\.name) == ["migrate", "hooks"])
    #expect(preset.infrastructure.map(\.needs) == [[], ["migrate"]])
    #expect(preset.infrastructure[0].arguments == ["python", "manage.py", "migrate", "--noinput"])
    #expect(preset.infrastructure[0].check == ["python", "manage.py", "migrate", "--check"])
    #expect(preset.infrastructure[0].input == nil)
    #expect(preset.infrastructure[1].arguments == ["python", "-", "site_.settings", "infrastructure"])
    #expect(preset.infrastructure[1].input?.contains("django.setup()") == true)
    #expect(preset.infrastructure.map(\.isFatal) == [true, true])
    #expect(preset.infrastructure.map(\.reportsHooks) == [false, true])
    #expect(preset.node.map(\.name) == ["collectstatic", "hooks"])
    #expect(preset.node[0].arguments == ["python", "manage.py", "collectstatic", "--noinput"])
    #expect(preset.node.map(\.isFatal) == [true, false])
    #expect(preset.node[1].arguments == ["python", "-", "site_.settings", "node"])
    for step in preset.infrastructure + preset.node {
      #expect(step.environment.map(\.name) == ["DJANGO_SETTINGS_MODULE"])
      #expect(step.environment.map(\.value) == ["site_.settings"])
    }
  }

  @Test func `without staticfiles there is no collectstatic`() {
    #expect(
      DjangoPreset(.sample(apps: ["x.django.contrib.staticfiles"]), python: "p").node.map(\.name) == ["hooks"]
    )
    #expect(
      DjangoPreset(
        .sample(apps: ["django.contrib.staticfiles.apps.StaticFilesConfig"]), python: "p"
      ).node.map(\.name) == ["collectstatic", "hooks"])
  }

  @Test func `without manage.py Django is called as a module`() {
    var report = DjangoReport.sample()
    report.hasManagePy = false
    let preset = DjangoPreset(report, python: "/venv/bin/python")
    #expect(
      preset.infrastructure[0].arguments == ["/venv/bin/python", "-m", "django", "migrate", "--noinput"])
  }

  @Test func `databases that are listed are migrated one after the other`() {
    let preset = DjangoPreset(.sample(), python: "p", databases: ["default", "logs"])
    #expect(preset.infrastructure.map(\.name) == ["migrate", "migrate-logs", "hooks"])
    #expect(preset.infrastructure.map(\.needs) == [[], ["migrate"], ["migrate-logs"]])
    #expect(
      preset.infrastructure[1].check == ["p", "manage.py", "migrate", "--database", "logs", "--check"])
    let none = DjangoPreset(.sample(database: [:]), python: "p")
    #expect(none.infrastructure.map(\.name) == ["hooks"])
    #expect(none.infrastructure.map(\.needs) == [[]])
  }

  @Test func `failed hooks alone are called again, and fatal ones are fatal`() {
    let preset = DjangoPreset(
      .sample(), python: "p", isNodeFatal: true, retryOnly: ["a.handle_node_init", "b.handle_node_init"])
    #expect(
      preset.node.last?.arguments == [
        "p", "-", "site_.settings", "node", "--fatal", "--only", "a.handle_node_init", "--only",
        "b.handle_node_init",
      ])
    #expect(preset.node.last?.isFatal == true)
  }

  @Test func `a step that the user defined takes the preset's place`() {
    let preset = DjangoPreset(.sample(), python: "p")
    #expect(DjangoPreset.merged(preset.infrastructure, userNames: ["migrate", "x"]).map(\.name) == ["hooks"])
    #expect(DjangoPreset.merged(preset.infrastructure, userNames: []).map(\.name) == ["migrate", "hooks"])
  }

  @Test(
    arguments: [
      ("/opt/py", ["gunicorn"], "/venv", ["/opt/py"]), (nil, ["gunicorn"], nil, ["python", "python3"]),
      (
        nil, ["/app/.venv/bin/gunicorn", "x"], "/venv",
        ["/app/.venv/bin/python", "/venv/bin/python", "python", "python3"]
      ),
      (nil, ["python3.12", "-m", "uvicorn"], nil, ["python3.12", "python", "python3"]),
      (nil, ["/usr/bin/python3", "app.py"], "", ["/usr/bin/python3", "python", "python3"]),
      (nil, ["./run"], nil, ["./python", "python", "python3"]),
      ("", [], "/v", ["/v/bin/python", "python", "python3"]),
      (nil, ["/v/bin/uvicorn"], "/v", ["/v/bin/python", "python", "python3"]),
      (nil, ["python3.x"], nil, ["python", "python3"]),
    ] as [(String?, [String], String?, [String])])
  func `the interpreter is the project's own`(
    setting: String?, command: [String], environment: String?, expected: [String]
  ) {
    #expect(
      PythonCandidates.list(setting: setting, appCommand: command, virtualEnvironment: environment)
        == expected)
  }

  // MARK: framework.name

  @Test(
    arguments: [
      ("none", true, false), ("auto", false, false), ("auto", true, true), ("django", false, true),
      ("django", true, true), ("none", false, false),
    ])
  func `Python is asked only where there may be a project`(name: String, hasManagePy: Bool, asks: Bool) {
    #expect(DjangoDetection.needsPython(name: name, hasManagePy: hasManagePy) == asks)
  }

  @Test(
    arguments: [
      (["autoinit"], true), (["x", "litefs_django"], true), (["django_litefs.apps.Config"], true),
      (["autoinit_extras", "my.autoinit"], false), ([], false),
    ])
  func `auto is for projects whose start was arranged already`(apps: [String], isOurs: Bool) {
    let report = DjangoReport.sample(apps: apps)
    let decision = DjangoDetection.decide(name: "auto", outcome: .success(report))
    #expect((decision == .django(report)) == isOurs)
    if case .none(let note) = decision { #expect(note?.contains("framework.name: django") == true) }
    #expect(DjangoDetection.decide(name: "django", outcome: .success(report)) == .django(report))
  }

  @Test(arguments: DjangoFailure.Kind.allCases)
  func `a project that cannot be asked is left alone only where it is none`(kind: DjangoFailure.Kind) {
    let failure = DjangoFailure(kind, "why")
    #expect(DjangoDetection.decide(name: "django", outcome: .failure(failure)) == .refuse(failure))
    let isNone = [.noDjango, .noSettingsModule, .manageUnreadable].contains(kind)
    let decision = DjangoDetection.decide(name: "auto", outcome: .failure(failure))
    #expect((decision == .refuse(failure)) == !isNone)
  }
}
