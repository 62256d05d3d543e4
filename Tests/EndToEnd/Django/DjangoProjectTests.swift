import Foundation
import Glibc
import Testing

/// How a project is found and asked, what is kept of its answer, and what becomes of one that cannot be asked.
@Suite("Django: project", .drivesProcesses, .needsDjango)
struct DjangoProjectTests {
  private func counting(_ site: DjangoSite, runID: String? = "release-1") throws -> RunSettings {
    let python = try site.countingPython()
    return DjangoSite.settings {
      $0.runID = runID
      $0.more = ["framework: {name: django, python: \(python)}"]
    }
  }

  @Test("AI-05, C1-27: a warm init starts no Python, nor any program, and is quick")
  func warm() throws {
    try DjangoSite.with { site in
      let settings = try counting(site)
      let cold = try Stage.result(site.command(["init"], settings))
      #expect(cold.ending == .exited(0), "\(cold.errors)")
      // The settings and the hooks of either phase.
      #expect(site.takeStarts() == 3)
      let seconds = try quickest(of: 5, within: 1) {
        let began = monotonicNow()
        let again = try Stage.result(site.command(["init"], settings))
        #expect(again.ending == .exited(0), "\(again.errors)")
        return monotonicNow() - began
      }
      #expect(seconds < 1)
      #expect(site.takeStarts() == 0)
      #expect(site.takeEvents().count == 12)

      guard access("/usr/bin/strace", X_OK) == 0 else { return }
      let trace = site.node.folder + "/trace"
      var words = ["/usr/bin/strace", "-f", "-qq", "-e", "trace=execve", "-o", trace]
      words += [Programs.supervisor, "init", "--settings", site.settingsFile]
      let traced = try Stage.result(site.launch(words))
      // Where nobody may be traced there is nothing to see.
      guard traced.ending == .exited(0) else { return }
      #expect((readText(trace) ?? "").split(separator: "\n").count(where: { $0.contains("execve(") }) == 1)
    }
  }

  @Test(
    "the project's answer is kept for its run ID, as long as its files are as they were; never for a dev ID")
  func cache() throws {
    try DjangoSite.with { site in
      func starts(_ runID: String?) throws -> Int {
        let shown = try Stage.result(site.command(["settings", "show"], counting(site, runID: runID)))
        #expect(shown.ending == .exited(0), "\(shown.errors)")
        return site.takeStarts()
      }
      let first = try [starts("1"), starts("1"), starts("2")]
      #expect(first == [1, 0, 1])
      utimes(site.project + "/probe/settings.py", [timeval(), timeval()])
      let touched = try [starts("1"), starts("1")]
      #expect(touched == [1, 0])
      let dev = try [starts(nil), starts(nil)]
      #expect(dev == [1, 1])
    }
  }

  @Test("framework.name auto without autoinit: a note, and no steps")
  func notOurs() throws {
    try DjangoSite.with { site in
      let settings = DjangoSite.settings {
        $0.infrastructure = []
        $0.more = []
      }
      let outcome = try Stage.result(site.run(settings))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(outcome.errors.contains("note: "))
      #expect(outcome.errors.contains("framework.name: django would migrate"))
      #expect(site.takeEvents() == ["app"])
    }
  }

  @Test("no manage.py, and nothing else that names the settings: 78")
  func noManagePy() throws {
    try DjangoSite.with { site in
      unlink(site.project + "/manage.py")
      let outcome = try Stage.result(site.run())
      #expect(outcome.ending == .exited(78))
      #expect(outcome.errors.contains("there is no manage.py"))
      #expect(site.takeEvents() == [])
    }
  }

  @Test(
    "settings that fail: 78, with file and line, also when Django is only found",
    arguments: ["raise ValueError('sad')", "import nothing_like_it", "x = (", "import sys; sys.exit(0)"],
    ["django", "auto"])
  func brokenSettings(line: String, name: String) throws {
    try DjangoSite.with { site in
      try writeFile(site.project + "/probe/settings.py", "SECRET_KEY = 'x'\n\(line)\n")
      let outcome = try Stage.result(
        site.run(DjangoSite.settings { $0.more = ["framework: {name: \(name)}"] }))
      #expect(outcome.ending == .exited(78))
      #expect(outcome.errors.contains("probe/settings.py:2"), "\(outcome.errors)")
      #expect(site.takeEvents() == [])
    }
  }

  private struct Refusal: Sendable {
    var lines: String
    var settings: String
    var reason: String
    var fix: String
  }

  private static let server =
    "DATABASES = {'default': {'ENGINE': 'django.db.backends.postgresql', 'NAME': 'app', 'HOST': 'db.invalid'}}"

  @Test(
    "AI-28: readiness that cannot be where the project or the settings want it is refused at once, with reason and fix",
    arguments: [
      Refusal(
        lines: server, settings: "framework: {name: auto}",
        reason: "release readiness cannot be in LocMemCache, which no other process sees",
        fix: "give the project a Redis cache"),
      Refusal(
        lines: server + "; CACHES = {'default': {'BACKEND': 'django.core.cache.backends.db.DatabaseCache'}}",
        settings: "framework: {name: django}",
        reason: "release readiness cannot be in DatabaseCache, only in Redis",
        fix: "set coordination.readiness"),
      Refusal(
        lines: "", settings: "coordination: {readiness: redis}",
        reason: "coordination.readiness: no Redis server is named", fix: "set coordination.redis.url"),
      Refusal(
        lines: "", settings: "coordination: {readiness: postgres}",
        reason: "coordination.readiness: cannot be in postgres while the lock is in files",
        fix: "write lock: postgres"),
    ])
  private func unsuitableCache(_ refusal: Refusal) throws {
    try DjangoSite.with { site in
      try site.append(refusal.lines)
      let variables = [
        "PROBE_APPS": "autoinit first second", "PYTHONPATH": ProjectPython.root + "/deploy/django",
      ]
      let began = monotonicNow()
      let outcome = try Stage.result(
        site.run(DjangoSite.settings { $0.more = [refusal.settings] }, variables))
      #expect(outcome.ending == .exited(78))
      #expect(outcome.errors.contains(refusal.reason), "\(outcome.errors)")
      #expect(outcome.errors.contains(refusal.fix), "\(outcome.errors)")
      #expect(monotonicNow() - began < 10)
      #expect(site.takeEvents() == [])
    }
  }

  @Test(
    "AI-33: a project on an older Python, without pglock and filelock, works",
    arguments: ["python-3.8", "python-3.10"].filter { ProjectPython.folders[$0] != nil })
  func olderPython(name: String) throws {
    try DjangoSite.with { site in
      let path = DjangoSite.path(name)
      for module in ["pglock", "filelock"] {
        let missing = try Stage.result(site.launch(["python", "-c", "import \(module)"], path))
        #expect(missing.ending == .exited(1))
      }
      let settings = DjangoSite.settings { $0.infrastructure = [] }
      let variables = path.merging(["PROBE_APPS": "django.contrib.contenttypes first"]) { $1 }
      let outcome = try Stage.result(site.run(settings, variables))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure", ["first"])
          + DjangoSite.whole("node", ["first"]) + ["app"])
    }
  }

  @Test("settings that hang: a stop meanwhile is 143, and nobody is left")
  func hangingSettings() throws {
    try DjangoSite.with { site in
      // With a child in its group.
      try site.append(
        """
        import subprocess, time
        subprocess.Popen(["sleep", "1000"])
        print("hangs", flush=True)
        time.sleep(1000)
        """)
      try Stage.run(site.run()) { stage in
        // Whichever stream it goes to.
        try eventually("the settings are imported") {
          try stage.pump()
          return (stage.output.text + stage.errors.text).contains("hangs")
        }
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
        try stage.waitUntilNobodyIsLeft()
        #expect(stage.errors.text.contains("received while the Django project's settings were imported"))
      }
    }
  }

  /// Starts one process in the group, one in a session of its own, and a daemon proper, and goes on when all are there.
  private static let startsDaemons = """
    import os, subprocess, sys
    subprocess.Popen(["sleep", "1000"])
    subprocess.Popen(["sleep", "1000"], start_new_session=True)
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(writing, b"x")
            os.execvp("sleep", ["sleep", "1000"])
        os._exit(0)
    os.read(reading, 1)
    """

  @Test(
    "a settings module that starts daemons leaves nobody behind, and what an entrypoint started stays",
    arguments: [["show"], ["import-django"]])
  func daemonsOfCommands(words: [String]) throws {
    try DjangoSite.with { site in
      try site.append(Self.startsDaemons)
      let options = words == ["show"] ? ["--settings", site.settingsFile] : []
      _ = try site.command([])
      try Stage.run(besideASleep(site, [Programs.supervisor, "settings"] + words + options)) { stage in
        let own = try stage.number(after: "")
        let ending = try stage.waitForEnd()
        let survivors = try stage.survivors()
        #expect(ending == .exited(0), "\(stage.errors.text)")
        #expect(survivors == ["\(own):sleep"])
        _ = kill(own, SIGKILL)
      }
    }
  }

  @Test("nor are they there when the app runs, as PID 1 either", arguments: [false, true])
  func daemonsBeforeTheApp(asInit: Bool) throws {
    guard !asInit || Programs.isRoot else { return }
    try DjangoSite.with { site in
      try site.append(Self.startsDaemons)
      _ = try site.command([])
      let run = [Programs.supervisor, "run", "--settings", site.settingsFile, "--", "/bin/sleep", "1000"]
      var launch = besideASleep(site, run)
      launch.isInitOfNamespace = asInit
      try Stage.run(launch) { stage in
        try site.node.waitForStatus("the app runs", stage) { $0["app"]?.state == "running" }
        #expect(try site.node.status().strays.names == ["sleep"])
        try stage.send(SIGTERM)
        let ending = try stage.waitForEnd()
        let survivors = try stage.survivors()
        #expect(ending == .exited(143))
        #expect(survivors == [])
      }
    }
  }

  /// As an entrypoint starts it that has started something else before.
  private func besideASleep(_ site: DjangoSite, _ words: [String]) -> Launch {
    site.launch(["/bin/sh", "-c", "sleep 999 & echo $!; exec \"$@\"", "sh"] + words)
  }

  @Test("what a project prints while it is imported is no part of our output", arguments: ["show", "check"])
  func prints(command: String) throws {
    try DjangoSite.with { site in
      try writeFile(site.project + "/sitecustomize.py", "print('early noise', flush=True)\n")
      try site.append("import os; print('noise'); os.system('echo noise of a child')")
      let outcome = try Stage.result(
        site.command(["settings", command], DjangoSite.settings(), ["PYTHONPATH": site.project]))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(!outcome.output.contains("noise"))
      for text in ["early noise\n", "noise\n", "noise of a child\n"] {
        #expect(outcome.errors.contains(text))
      }
    }
  }

  @Test("B5: settings of django-autoinit are ours, and say where they come from")
  func importedSettings() throws {
    try DjangoSite.with { site in
      try site.append("AUTOINIT_TIMEOUT_SEC = 77")
      let outcome = try Stage.result(site.command(["settings", "show"]))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      let line = outcome.output.split(separator: "\n").first { $0.hasPrefix("timeout: ") }
      #expect(line?.contains("django: AUTOINIT_TIMEOUT_SEC") == true, "\(outcome.output)")
      #expect(outcome.output.contains("preset: django"))
    }
  }
}

/// A project written for django-autoinit, with our package of that name instead.
@Suite("Django: autoinit", .drivesProcesses, .needsDjango)
struct DjangoAutoinitTests {
  /// Two hooks with the mixin, and `autoinit` installed.
  private func variables(_ site: DjangoSite) throws -> [String: String] {
    try writeFile(
      site.project + "/first/apps.py",
      """
      from autoinit import AutoInitMixin
      from django.apps import AppConfig

      from probe.hooks import run


      class FirstConfig(AutoInitMixin, AppConfig):
          name = "first"

          def handle_infrastructure_init(self):
              run("first", "infrastructure")

          def handle_node_init(self):
              run("first", "node")
      """)
    return [
      "PROBE_APPS": "autoinit first second", "PYTHONPATH": ProjectPython.root + "/deploy/django",
      "SUPERVISOR_PROGRAM": Programs.supervisor, "SUPERVISOR_SETTINGS": site.settingsFile,
    ]
  }

  private var settings: RunSettings { DjangoSite.settings { $0.more = [] } }

  private func manage(_ site: DjangoSite, _ words: String...) throws -> Outcome {
    try Stage.result(site.launch(["python", "manage.py"] + words, variables(site)))
  }

  @Test(
    "B5: with the entrypoint replaced, the events are those of the two commands and the app one after the other"
  )
  func entrypoint() throws {
    let expected =
      DjangoSite.whole("infrastructure", ["first", "second"]) + DjangoSite.whole("node", ["first", "second"])
      + ["app"]
    try DjangoSite.with { site in
      let old =
        "set -e; python manage.py autoinit_infrastructure; python manage.py autoinit_node; exec \"$@\""
      _ = try site.run(settings)
      let app = ["/bin/sh", "-c", "echo app >> \"$EVENTS\""]
      let outcome = try Stage.result(
        site.launch(["/bin/sh", "-c", old, "entrypoint"] + app, variables(site)))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(site.takeEvents() == expected)
    }
    try DjangoSite.with { site in
      let outcome = try Stage.result(site.run(settings, variables(site)))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(site.takeEvents() == expected)
    }
  }

  @Test("AI-04: the commands of the package: both phases, and release readiness")
  func commands() throws {
    try DjangoSite.with { site in
      _ = try site.run(settings)
      #expect(try manage(site, "set_ready", "check").output == "NOT READY\n")
      let both = try manage(site, "autoinit", "--timeout", "20")
      #expect(both.ending == .exited(0), "\(both.errors)")
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure", ["first", "second"])
          + DjangoSite.whole("node", ["first", "second"]))
      let ready = try manage(site, "set_ready", "check")
      #expect(ready.ending == .exited(0))
      #expect(ready.output == "READY\n")
      #expect(try manage(site, "set_ready", "clear").output == "CLEARED\n")
      #expect(try manage(site, "set_ready", "check").ending == .exited(1))
      #expect(try manage(site, "set_ready", "set", "--run-id", "other").output == "SET\n")
      #expect(try manage(site, "set_ready", "check", "--run-id", "other").output == "READY\n")
    }
  }
}
