import Glibc
import Testing

/// What the phases promise, with real nodes on one shared state directory.
@Suite("run: phases", .drivesProcesses)
struct RunPhaseTests {
  private func step(_ name: String, _ command: String, _ more: String = "") -> String {
    "{name: \(name), run: \(command)\(more)}"
  }

  /// A second node: its own run_dir, markers and port, the first one's state_dir.
  private func launch(
    _ site: RunSite, sharing first: RunSite, _ app: [String], _ settings: RunSettings
  ) throws -> Launch {
    let launch = try site.probe(app, settings)
    let file = site.folder + "/supervisor.yml"
    let text = try #require(readText(file))
    try writeFile(file, text.replacing(site.folder + "/state", with: first.folder + "/state"))
    return launch
  }

  @Test("once per release: a second start runs neither phase, another run ID runs both")
  func oncePerRelease() throws {
    try withRunSite { site in
      var settings = RunSettings(
        infrastructure: [step("migrate", RunSettings.probe("echo", "migrate"))],
        node: [step("static", RunSettings.probe("echo", "static"))])
      for (release, lines) in [
        ("1", ["migrate", "static", "app"]), ("1", ["app"]), ("2", ["migrate", "static", "app"]),
      ] {
        settings.runID = "release-\(release)"
        let outcome = try Stage.result(site.probe(["echo", "app"], settings))
        #expect(outcome.ending == .exited(0))
        #expect(outcome.output.split(separator: "\n").map(String.init) == lines)
      }
    }
  }

  @Test("two nodes at once: one runs the infrastructure phase, both run their own node phase and the app")
  func twoNodes() throws {
    let settings = RunSettings(
      infrastructure: [step("migrate", RunSettings.probe("on-signal", "--exit-on", "USR1=0"))],
      node: [step("static", RunSettings.probe("echo", "static"))])
    try withRunSite { first in
      try Stage.run(first.probe(["echo", "app"], settings)) { one in
        let migration = try one.number(after: "ready ")
        try withRunSite { second in
          try Stage.run(launch(second, sharing: first, ["echo", "app"], settings)) { two in
            try second.waitForStatus("it waits", two) { $0.phases.first?.state == "waiting" }
            kill(migration, SIGUSR1)
            for stage in [one, two] {
              #expect(try stage.waitForEnd() == .exited(0))
              try stage.waitForEndOfOutput()
              #expect(stage.output.lines.suffix(2) == ["static", "app"])
            }
            #expect(two.output.lines.count == 2)
          }
        }
      }
    }
  }

  @Test("a failed step is 76 and names the step; the next try resumes after what was done")
  func failure() throws {
    try withRunSite { site in
      let flag = site.folder + "/fixed"
      let settings = RunSettings(
        infrastructure: [
          step("first", RunSettings.probe("echo", "first")),
          step("second", RunSettings.shell("echo second; test -e \(flag)")),
          step("third", RunSettings.probe("echo", "third")),
        ])
      let failed = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(failed.ending == .exited(76))
      #expect(failed.output == "first\nsecond\n")
      #expect(failed.errors.contains("second"))
      try writeFile(flag, "")
      let resumed = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(resumed.ending == .exited(0))
      #expect(resumed.output == "second\nthird\napp\n")
    }
  }

  @Test("a failing check fails the step that exited with 0")
  func check() throws {
    try withRunSite { site in
      let settings = RunSettings(infrastructure: [
        step("migrate", RunSettings.probe("echo", "migrate"), ", check: [/bin/false]")
      ])
      let outcome = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(outcome.ending == .exited(76))
      #expect(outcome.output == "migrate\n")
    }
  }

  @Test("timeout and retries of a step")
  func timeoutAndRetries() throws {
    try withRunSite { site in
      let hang = step(
        "migrate", RunSettings.shell("echo try; sleep 1000"),
        ", timeout: 4s, retries: 2, retry_delay: 10ms")
      let outcome = try Stage.result(site.probe(["echo", "app"], RunSettings(infrastructure: [hang])))
      #expect(outcome.ending == .exited(76))
      #expect(outcome.output == "try\ntry\ntry\n")
    }
  }

  @Test("a node step's failure is skipped, unless it is fatal", arguments: [false, true])
  func nodeFailure(isFatal: Bool) throws {
    try withRunSite { site in
      let settings = RunSettings(node: [
        step("broken", RunSettings.shell("echo broken; exit 3"), isFatal ? ", fatal: true" : ""),
        step("static", RunSettings.probe("echo", "static")),
      ])
      let outcome = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(outcome.ending == .exited(isFatal ? 76 : 0))
      #expect(outcome.output == (isFatal ? "broken\n" : "broken\nstatic\napp\n"))
    }
  }

  @Test(
    "the holder is killed: its step and all of the step's group end before the next node's step begins",
    arguments: ["ignore", "plain"])
  func killedHolder(member: String) throws {
    let settings = RunSettings(
      infrastructure: [step("migrate", RunSettings.probe("family", "--leader-ignores", "--member", member))],
      more: ["coordination: {poll_interval: 50ms}"])
    try withRunSite { first in
      try Stage.run(first.probe(["echo", "app"], settings)) { one in
        let member = try one.number(after: "member 1 ")
        let leader = try one.number(after: "ready ")
        try withRunSite { second in
          try Stage.run(launch(second, sharing: first, ["echo", "app"], settings)) { two in
            try second.waitForStatus("it waits", two) { $0.phases.first?.state == "waiting" }
            try one.send(SIGKILL)
            try two.line("ready")
            for pid in [leader, member] {
              let state = ProcessEntry(pid: pid)?.state
              #expect(state == nil || state == "Z")
            }
          }
        }
      }
    }
  }

  @Test("our lock helper is killed: the step is killed, and it is said")
  func killedHelper() throws {
    let settings = RunSettings(infrastructure: [
      step("migrate", RunSettings.probe("family", "--leader-ignores"))
    ])
    try Stage.node {
      try $0.probe(["echo", "app"], settings)
    } _: { stage, site in
      let leader = try stage.number(after: "ready ")
      for helper in ProcessEntry.children(of: stage.pid) where helper.pid != leader {
        kill(helper.pid, SIGKILL)
      }
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(75) || ending == .exited(70))
      #expect(!stage.output.lines.contains("app"))
      #expect(stage.adopted == [])
      #expect(stage.errors.text.contains("lock"))
    }
  }
}
