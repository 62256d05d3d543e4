import Testing

@testable import Settings

@Suite struct FragmentTests {
  /// Loads `main` with fragments beside it; the report has paths relative to their directory.
  private func load(
    _ main: String, _ fragments: [String: String], environment: [String: String] = [:]
  ) throws -> (settings: EffectiveSettings?, report: [String]) {
    let files = try TemporaryFiles()
    let path = try files.write("main.yml", main)
    for (name, text) in fragments { try files.write(name, text) }
    let outcome = SettingsLoader.load(path: path, environment: { environment[$0] })
    let relative = { (text: String) in text.replacing("\(files.path)/", with: "") }
    return switch outcome {
    case .settings(let settings, let notes): (settings, notes.map { relative($0.description) })
    case .failure(let problems): (nil, problems.map { relative($0.description) })
    }
  }

  @Test func appsRegisterTheirStepsAndServices() throws {
    let (loaded, report) = try load(
      """
      include: [conf.d/*.yml, "${EXTRA}"]
      environment: {A: main}
      infrastructure: {steps: [{name: one, run: [x]}]}
      wait_for: ["tcp://a:1"]
      services:
        first: {command: [x]}
      """,
      [
        "conf.d/20-b.yml": "infrastructure: {steps: [{name: three, run: [x], needs: [two, one]}]}\n",
        "conf.d/10-a.yml":
          "infrastructure: {parallelism: 2, steps: [{name: two, run: [x]}]}\nservices: {second: {command: [y]}}\n",
        "conf.d/.hidden.yml": "nonsense: 1\n",
        "conf.d/notes.txt": "nonsense: 1\n",
        "extra.yaml": "environment: {B: extra}\nwait_for: [\"tcp://b:1\"]\nservices: {first: {cwd: /x}}\n",
      ], environment: ["EXTRA": "./extra.yaml"])
    #expect(report.isEmpty)
    let settings = try #require(loaded)
    #expect(settings.infrastructure.steps.map(\.name) == ["one", "two", "three"])
    #expect(settings.infrastructure.parallelism == 2)
    #expect(settings.services.map(\.name) == ["first", "second"])
    #expect(settings.services[0].workingDirectory == "/x")
    #expect(settings.environment.map(\.value) == ["main", "extra"])
    #expect(settings.dependencies.map(\.text) == ["tcp://a:1", "tcp://b:1"])
    let shown = settings.rendered().first { $0.key == "infrastructure.parallelism" }
    #expect(shown?.origin.hasSuffix("conf.d/10-a.yml:1:31") == true)
    #expect(settings.rendered().contains { $0.key == "include" })
  }

  @Test func everyErrorNamesItsFile() throws {
    let (_, report) = try load(
      """
      include: [a.yml, b.yml, missing.yml, none-*.yml]
      run_id: main
      tiemout: 5s
      """,
      [
        "a.yml": "run_id: a\nservices: {web: {command: [x], restart: alway}}\n",
        "b.yml":
          "include: [c.yml]\nservices: {web: {command: [y]}}\nnode: {steps: [{name: n, run: [x], needs: [q]}]}\n",
      ])
    // A fragment that is missing ends the reading: what it would have set is not known.
    #expect(
      report == [
        "main.yml:1:25: error: include: the fragment missing.yml cannot be opened: No such file or directory; a path counts from the directory of the settings file",
        "main.yml:1:38: note: include: no file matches \"none-*.yml\"; patterns count from the directory of the settings file",
        "main.yml:3:1: error: tiemout: unknown key; did you mean timeout?",
        "a.yml:1:9: error: run_id: is set at main.yml:2:9 already; keep one of the two: which one counts would be a guess",
        "a.yml:2:41: error: services.web.restart: \"alway\" is not one of always, on-failure, never; did you mean always?",
        "b.yml:1:1: error: include: a fragment cannot include others; name all fragments in the include of the settings file",
        "b.yml:2:27: error: services.web.command: is set at a.yml:2:27 already; keep one of the two: which one counts would be a guess",
      ])
  }

  @Test func brokenFragmentsAreAllNamed() throws {
    let (_, report) = try load(
      "include: [\"*.yaml\"]\n",
      ["a.yaml": "a: [\n", "b.yaml": "- 1\n", "c.yaml": "", "d.yaml": "timeout: x\n"])
    #expect(report.count == 3)
    #expect(report.first?.hasPrefix("a.yaml:") == true)
    #expect(
      report.dropFirst() == [
        "b.yaml:1:1: error: the fragment is a list instead of a map of settings; write 'key: value' lines",
        "d.yaml:1:10: error: timeout: \"x\" is not a duration; write for instance 90s, 1h30m, 250ms, or whole seconds",
      ])
  }

  @Test func theFileItselfIsNoFragmentAndNoneCountsTwice() throws {
    let (loaded, report) = try load(
      "include: [\"*.yml\", a.yml]\nrun_id: main\n", ["a.yml": "timeout: 5s\n"])
    #expect(report.isEmpty)
    #expect(loaded?.timeout == .seconds(5))
  }

  @Test func endlessFragmentsAreRefused() throws {
    let access = FileAccess(
      contents: { _ in .success(Array("run_dir: /x".utf8)) }, names: { _ in (0..<300).map { "\($0).yml" } })
    let outcome = SettingsLoader.load(
      bytes: Array("include: ['*']".utf8), file: "main.yml", environment: { _ in nil }, files: access)
    guard case .failure(let problems) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(
      problems.contains {
        $0.description
          == "main.yml:1:11: error: include: more than 200 files are included; is the pattern right?"
      })
  }

  @Test(
    arguments: [
      ("*.yml", ["a.yml", "b.yml"]), ("conf.d/*", ["conf.d/x"]), ("[b]*", ["b.yml"]), ("?", []),
      ("*/x", ["a.yml/x", "b.yml/x", "conf.d/x"]), ("/etc/*.yml", []), ("nowhere/*", []), (".*", [".h.yml"]),
    ] as [(String, [String])])
  func patterns(_ pattern: String, _ expected: [String]) {
    let access = FileAccess(
      contents: { _ in .success([]) },
      names: { [".": ["b.yml", "a.yml", ".h.yml", "conf.d"], "conf.d/": ["x"]][$0] })
    #expect(access.matches(pattern) == expected)
  }
}
