import Glibc
import Testing

/// What the phases of a Django project promise, with hooks that write down when they are called.
@Suite("Django: phases", .drivesProcesses, .needsDjango)
struct DjangoPhaseTests {
  private let stepOfUser = #"{name: migrate, run: [/bin/sh, -c, 'echo migrate >> "$EVENTS"']}"#

  private var everything: [String] {
    ["migrate"] + DjangoSite.whole("infrastructure") + DjangoSite.whole("node")
  }

  @Test(
    "AI-01, AI-25, AI-26: infrastructure, node, app; a step of the user's takes the preset's place; a second start adds the app alone, another run ID all"
  )
  func order() throws {
    try DjangoSite.with { site in
      for (release, events) in [("1", everything), ("1", []), ("2", everything)] {
        let settings = DjangoSite.settings {
          $0.infrastructure = [stepOfUser]
          $0.runID = release
        }
        let outcome = try Stage.result(site.run(settings))
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        #expect(site.takeEvents() == events + ["app"])
      }
    }
  }

  @Test(
    "AI-02, AI-12: a hook that raises is 76, with its app, exception and traceback; the third is never entered, the release is not ready; the next start completes it without calling what is done (C1-12)"
  )
  func raisingHook() throws {
    try DjangoSite.with { site in
      let failed = try Stage.result(
        site.run(DjangoSite.settings(), ["PROBE_SECOND_INFRASTRUCTURE": "raise:sad"]))
      #expect(failed.ending == .exited(76))
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure", ["first"]) + ["second.infrastructure enter"])
      for part in [
        "second.handle_infrastructure_init", "ValueError: sad", "Traceback (most recent call last)",
        "probe/hooks.py",
      ] {
        #expect(failed.errors.contains(part))
      }
      let ready = try Stage.result(site.command(["ready", "check"]))
      #expect(ready.ending == .exited(1))
      #expect(ready.output == "NOT READY\n")
      let resumed = try Stage.result(site.command(["init", "infrastructure"]))
      #expect(resumed.ending == .exited(0), "\(resumed.errors)")
      #expect(site.takeEvents() == DjangoSite.whole("infrastructure", ["second", "third"]))
      #expect(resumed.errors.contains("hook first.handle_infrastructure_init: recorded done"))
      let now = try Stage.result(site.command(["ready", "check"]))
      #expect(now.ending == .exited(0))
      #expect(now.output == "READY\n")
    }
  }

  @Test("C1-12: a hook that is recorded done is not called again, though everything is killed after it")
  func killedAfterHook() throws {
    try DjangoSite.with { site in
      let settings = DjangoSite.settings { $0.more.append("coordination: {takeover_delay: 100ms}") }
      try Stage.run(site.run(settings, ["PROBE_SECOND_INFRASTRUCTURE": "hang"])) { stage in
        let record = site.node.folder + "/state/releases/release-1.release"
        try eventually("the first hook is recorded") {
          try stage.pump()
          return readText(record)?.contains("first.handle_infrastructure_init") == true
        }
        try eventually("the second hook is entered") {
          readText(site.node.folder + "/events")?.contains("second.infrastructure enter") == true
        }
        try stage.send(SIGKILL)
        #expect(try stage.waitForEnd() == .signaled(SIGKILL))
        try stage.waitUntilNobodyIsLeft()
      }
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure", ["first"]) + ["second.infrastructure enter"])
      let resumed = try Stage.result(site.command(["init", "infrastructure"], settings))
      #expect(resumed.ending == .exited(0), "\(resumed.errors)")
      #expect(site.takeEvents() == DjangoSite.whole("infrastructure", ["second", "third"]))
    }
  }

  @Test(
    "C1-10: a hook that ends its process is a failure, whatever the exit code",
    arguments: ["exit:0", "vanish:0", "killed", "interrupt"])
  func endingHook(order: String) throws {
    try DjangoSite.with { site in
      let outcome = try Stage.result(
        site.command(
          ["init", "infrastructure"], DjangoSite.settings(), ["PROBE_FIRST_INFRASTRUCTURE": order])
      )
      #expect(outcome.ending == .exited(76))
      #expect(outcome.errors.contains("first.handle_infrastructure_init"))
      #expect(site.takeEvents() == ["first.infrastructure enter"])
    }
  }

  @Test(
    "a hook that does odd things and comes to its end disturbs nobody (AI-31: one that swallows its own error)",
    arguments: [
      "swallow:error", "fork", "fork:raise", "binary", "close", "silent", "descriptors", "chdir", "coroutine",
    ])
  func oddHook(order: String) throws {
    try DjangoSite.with { site in
      let outcome = try Stage.result(
        site.command(
          ["init", "infrastructure"], DjangoSite.settings(), ["PROBE_FIRST_INFRASTRUCTURE": order])
      )
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      let events = site.takeEvents()
      #expect(events.first == "first.infrastructure enter")
      // A fork comes back from its hook too, and goes no further.
      #expect(events.suffix(4) == DjangoSite.whole("infrastructure", ["second", "third"])[...])
      #expect(events.count(where: { $0.hasSuffix("enter") }) == 3)
      #expect(events.contains("swallowed error") == (order == "swallow:error"))
    }
  }

  @Test("a hook that hangs ends with a stop, and so does what it started")
  func hangingHook() throws {
    try DjangoSite.with { site in
      try Stage.run(
        site.run(DjangoSite.settings { $0.stopTimeout = "5s" }, ["PROBE_SECOND_INFRASTRUCTURE": "hang"])
      ) { stage in
        try eventually("the hook is entered") {
          try stage.pump()
          return readText(site.node.folder + "/events")?.contains("second.infrastructure enter") == true
        }
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
        #expect(try stage.survivors() == [])
        #expect(!site.takeEvents().contains("app"))
      }
    }
  }

  @Test(
    "AI-23: a node hook that raises is a warning; the app starts, status and metrics show it, and the next start calls that hook alone"
  )
  func raisingNodeHook() throws {
    try DjangoSite.with { site in
      let order = ["PROBE_SECOND_NODE": "raise:sad"]
      try Stage.run(
        site.run(DjangoSite.settings(), order, app: ["/bin/sh", "-c", "echo app; exec sleep 1000"])
      ) { stage in
        try stage.line("app")
        try site.node.waitForStatus("the app runs", stage) { $0["app"]?.state == "running" }
        let status = try site.node.get("/status").body
        #expect(status.contains("second.handle_node_init"))
        #expect(status.contains("ValueError: sad"))
        let metrics = try site.node.get("/metrics").body
        #expect(
          metrics.split(separator: "\n").contains {
            $0.hasPrefix("supervisor_step_state{") && $0.contains("node") && $0.contains("hooks")
              && $0.contains("failed") && $0.hasSuffix(" 1")
          })
        #expect(stage.errors.text.contains("Traceback (most recent call last)"))
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
      }
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure") + DjangoSite.whole("node", ["first"])
          + ["second.node enter"] + DjangoSite.whole("node", ["third"]))
      for events in [DjangoSite.whole("node", ["second"]), []] {
        let next = try Stage.result(site.run())
        #expect(next.ending == .exited(0), "\(next.errors)")
        #expect(site.takeEvents() == events + ["app"])
      }
    }
  }

  @Test("AI-24: with --fatal-on-error it is 76, the app does not start, and there is no marker")
  func fatalNodeHook() throws {
    try DjangoSite.with { site in
      let failed = try Stage.result(
        site.command(["init", "--fatal-on-error"], DjangoSite.settings(), ["PROBE_SECOND_NODE": "raise:sad"]))
      #expect(failed.ending == .exited(76), "\(failed.errors)")
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure") + DjangoSite.whole("node", ["first"])
          + ["second.node enter"])
      let next = try Stage.result(site.command(["init", "--fatal-on-error"]))
      #expect(next.ending == .exited(0))
      #expect(site.takeEvents() == DjangoSite.whole("node"))
    }
  }

  @Test("AI-24: the same with run, where the settings say so: the app does not start")
  func fatalNodeHookOfRun() throws {
    try DjangoSite.with { site in
      let variables = ["PROBE_SECOND_NODE": "raise:sad", "SUPERVISOR_NODE_FATAL_ON_ERROR": "true"]
      let failed = try Stage.result(site.run(DjangoSite.settings(), variables))
      #expect(failed.ending == .exited(76), "\(failed.errors)")
      #expect(failed.errors.contains("ValueError: sad"))
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure") + DjangoSite.whole("node", ["first"])
          + ["second.node enter"])
    }
  }

  @Test("AI-32: with Django's own logging, a node that waits says for whom, at which step, every few seconds")
  func waitingOutput() throws {
    try DjangoSite.with { site in
      let settings = DjangoSite.settings { $0.runID = "release-7" }
      let launch = try site.command(["init"], settings, ["PROBE_SECOND_INFRASTRUCTURE": "hang"])
      try Stage.run(launch) { holder in
        try eventually("the hook is entered") {
          try holder.pump()
          return readText(site.node.folder + "/events")?.contains("second.infrastructure enter") == true
        }
        try Stage.run(site.command(["init"], settings)) { waiter in
          try eventually("it has said it three times", within: 30) {
            try waiter.pump(50)
            return waiter.errors.text.split(separator: "\n").count { line in
              line.contains("waiting for ") && line.contains("at step hooks")
                && line.contains("to finish the infrastructure phase") && line.contains("(pid \(holder.pid))")
            } >= 3
          }
          #expect(waiter.errors.text.contains("release-7"))
          try waiter.send(SIGTERM)
          let ending = try waiter.waitForEnd()
          #expect(ending == .exited(143))
        }
      }
    }
  }

  @Test(
    "AI-11, C1-23: tables on SQLite in each listed database; migrate --check agrees"
  )
  func migrations() throws {
    try DjangoSite.with { site in
      try site.append(
        "DATABASES['other'] = {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'other.sqlite3'}")
      let apps = ["PROBE_APPS": "django.contrib.contenttypes django.contrib.auth first"]
      let settings = DjangoSite.settings {
        $0.infrastructure = []
        $0.more = ["framework: {name: django, databases: [default, other]}"]
      }
      let outcome = try Stage.result(site.command(["init", "infrastructure"], settings, apps))
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      for file in [site.node.folder + "/db.sqlite3", site.project + "/other.sqlite3"] {
        let script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('select * from auth_user')"
        #expect(try Stage.result(site.launch(["python", "-c", script, file])).ending == .exited(0))
      }
      for options in [[], ["--database", "other"]] {
        let check = try Stage.result(
          site.launch(["python", "manage.py", "migrate", "--check"] + options, apps))
        #expect(check.ending == .exited(0), "\(check.errors)")
      }
    }
  }

  @Test(
    "AI-22, C1-14: static files that cannot be collected are 76; a project without staticfiles has no such step"
  )
  func staticFiles() throws {
    try DjangoSite.with { site in
      let root = site.node.folder + "/in-the-way/static"
      try writeFile(site.node.folder + "/in-the-way", "a file")
      let variables = [
        "PROBE_APPS": "django.contrib.admin django.contrib.staticfiles first", "PROBE_STATIC_ROOT": root,
      ]
      // The admin's own models are of no interest; it brings files to collect.
      let needs = "INSTALLED_APPS += ['django.contrib.auth', 'django.contrib.contenttypes']"
      try site.append("if 'django.contrib.admin' in INSTALLED_APPS: \(needs)")
      let failed = try Stage.result(site.command(["init"], DjangoSite.settings(), variables))
      #expect(failed.ending == .exited(76))
      #expect(failed.errors.contains("collectstatic"))
      #expect(failed.errors.contains("in-the-way"))
      #expect(site.takeEvents() == DjangoSite.whole("infrastructure", ["first"]))
      unlink(site.node.folder + "/in-the-way")
      let next = try Stage.result(site.command(["init"], DjangoSite.settings(), variables))
      #expect(next.ending == .exited(0), "\(next.errors)")
      #expect(readText(root + "/admin/css/base.css") != nil)
      #expect(site.takeEvents() == DjangoSite.whole("node", ["first"]))
      let without = try Stage.result(site.command(["settings", "show"]))
      #expect(without.ending == .exited(0), "\(without.errors)")
      #expect(without.output.contains("handle_node_init") || without.output.contains("hooks"))
      #expect(!without.output.contains("collectstatic"))
    }
  }

  @Test(
    "AI-22: static files that cannot be collected are skipped with `fatal: false` of a step that amends the preset's; the status shows it"
  )
  func staticFilesThatMayFail() throws {
    try DjangoSite.with { site in
      try writeFile(site.node.folder + "/in-the-way", "a file")
      let variables = [
        "PROBE_APPS": "django.contrib.staticfiles first",
        "PROBE_STATIC_ROOT": site.node.folder + "/in-the-way/static",
      ]
      try site.append("STATICFILES_DIRS = [BASE_DIR / 'probe']")
      let settings = DjangoSite.settings { $0.node = ["{name: collectstatic, fatal: false}"] }
      try Stage.run(site.run(settings, variables, app: ["/bin/sh", "-c", "echo app; exec sleep 1000"])) {
        stage in
        try stage.line("app")
        try site.node.waitForStatus("the app runs", stage) { $0["app"]?.state == "running" }
        #expect(try site.node.get("/status").body.contains("collectstatic"))
        #expect(stage.errors.text.contains("node step collectstatic failed and is skipped (not fatal)"))
        let metrics = try site.node.get("/metrics").body
        #expect(
          metrics.split(separator: "\n").contains {
            $0.hasPrefix("supervisor_step_state{") && $0.contains("collectstatic") && $0.contains("failed")
              && $0.hasSuffix(" 1")
          })
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
      }
      #expect(
        site.takeEvents() == DjangoSite.whole("infrastructure", ["first"])
          + DjangoSite.whole("node", ["first"]))
    }
  }

  @Test(
    "a hook that takes longer than the step's timeout is 76, and what it started ends with it, also who left its group",
    arguments: ["run", "init"])
  func hookTimeout(command: String) throws {
    try DjangoSite.with { site in
      let settings = DjangoSite.settings {
        $0.infrastructure.append("{name: hooks, timeout: 2s, stop: {timeout: 300ms}}")
      }
      let order = ["PROBE_SECOND_INFRASTRUCTURE": "family"]
      try Stage.run(
        command == "run" ? site.run(settings, order) : site.command(["init"], settings, order)
      ) { stage in
        let ending = try stage.waitForEnd()
        let survivors = try stage.survivors()
        #expect(ending == .exited(76))
        #expect(survivors == [])
        #expect(stage.errors.text.contains("it did not end within 2s"), "\(stage.errors.text)")
        #expect(
          site.takeEvents() == DjangoSite.whole("infrastructure", ["first"]) + ["second.infrastructure enter"]
        )
      }
    }
  }

  @Test("a step that amends nothing: 78, also where the project is not Django")
  func amendsNothing() throws {
    try DjangoSite.with { site in
      for (name, part) in [
        ("django", "did you mean collectstatic?"), ("none", "add 'run: [program, argument]'"),
        // There is no autoinit among the apps.
        ("auto", "framework.name: django would migrate"),
      ] {
        let settings = DjangoSite.settings {
          $0.node = ["{name: colectstatic, fatal: false}"]
          $0.more = ["framework: {name: \(name)}"]
        }
        let outcome = try Stage.result(
          site.run(settings, ["PROBE_APPS": "django.contrib.staticfiles first"]))
        #expect(outcome.ending == .exited(78))
        #expect(outcome.errors.contains("the step has nothing to run"), "\(outcome.errors)")
        #expect(outcome.errors.contains(part), "\(outcome.errors)")
      }
    }
  }

  @Test("AI-32: with Django's own logging, our output alone names run ID, phase, step and hook")
  func output() throws {
    try DjangoSite.with { site in
      let outcome = try Stage.result(site.command(["init"], DjangoSite.settings { $0.runID = "release-7" }))
      #expect(outcome.ending == .exited(0))
      for part in ["release-7", "infrastructure", "node", "hooks", "first.handle_infrastructure_init: done"] {
        #expect(outcome.errors.contains(part), "\(outcome.errors)")
      }
    }
  }
}
