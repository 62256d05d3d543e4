import Glibc
import Testing

/// `supervisor init` and `supervisor ready`, as an init container and its operator use them.
@Suite("init and ready", .drivesProcesses)
struct PhaseInitTests {
  @Test("AI-01, AI-25, BF-13: both phases, then the app; a second start adds nothing but the app")
  func order() throws {
    try withPhaseSite { (site) throws in
      let settings = PhaseSettings(infrastructure: [site.note("infra")], node: [site.note("node")])
      for lines in [["infra", "node", "app"], ["infra", "node", "app", "app"]] {
        #expect(try site.finishRun(settings, app: site.append("app")).ending == .exited(0))
        #expect(site.lines() == lines)
      }
      #expect(try site.finishInit(settings).ending == .exited(0))
      #expect(site.lines().count == 4)
    }
  }

  @Test("AI-01, BF-13: after a failed infrastructure phase there is no app")
  func failureKeepsTheAppAway() throws {
    try withPhaseSite { (site) throws in
      let settings = PhaseSettings(infrastructure: [site.step("infra", "exit 1")], node: [site.note("node")])
      #expect(try site.finishRun(settings, app: site.append("app")).ending == .exited(76))
      #expect(site.lines() == [])
    }
  }

  @Test(
    "AI-02, BF-01: init infrastructure says once that it begins and once that it is complete, for which release"
  )
  func infrastructure() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        runID: nil, infrastructure: [site.note("migrate")], node: [site.note("static")])
      let outcome = try site.finishInit(settings, ["infrastructure", "--run-id", "r9"])
      #expect(outcome.ending == .exited(0))
      #expect(site.lines() == ["migrate"])
      let lines = outcome.errors.split(separator: "\n")
      let starts = lines.filter { $0.contains("infrastructure phase: starting (run ID r9)") }
      let ends = lines.filter {
        $0.contains(#/infrastructure phase complete for run ID r9 \(\d+(\.\d+)?m?s\)/#)
      }
      #expect(starts.count == 1 && ends.count == 1 && lines.first == starts.first && lines.last == ends.first)
    }
  }

  @Test("AI-02, AI-34: a failing init infrastructure names step and reason, and ends with 76")
  func infrastructureFailure() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.step("migrate", "echo the traceback >&2; exit 9")])
      let outcome = try site.finishInit(settings, ["infrastructure"])
      #expect(outcome.ending == .exited(76))
      #expect(outcome.errors.contains("the traceback\n"))
      #expect(outcome.errors.contains("run ID r1 failed at step migrate: exit code 9"))
      #expect(outcome.errors.hasSuffix("exiting with code 76 (infrastructure_failed): step migrate\n"))
    }
  }

  @Test(
    "AI-03: init node without readiness is 75 in time, and says which release, where, and what was awaited")
  func nodeWithoutReadiness() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("static")])
      let began = monotonicNow()
      let outcome = try site.finishInit(settings, ["node", "--run-id", "never", "--timeout", "1s"])
      let took = monotonicNow() - began
      #expect(outcome.ending == .exited(75))
      #expect(took >= 1 && took < 8)
      for part in [
        "infrastructure phase of run ID never", "file backend", site.state, "nobody has begun it",
        "(readiness_timeout)",
      ] {
        #expect(outcome.errors.contains(part), "\(part)")
      }
      #expect(site.lines() == [])
    }
  }

  @Test("AI-03: init node alone runs the node phase of a ready release, and only that")
  func nodeAlone() throws {
    try withPhaseSite { (site) throws in
      let settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("static")])
      #expect(try site.ready(settings, "set").output == "SET\n")
      #expect(try site.finishInit(settings, ["node"]).ending == .exited(0))
      #expect(site.lines() == ["static"])
    }
  }

  @Test("AI-04, C1-25: ready set, check, clear; check's exit code is the answer")
  func ready() throws {
    try withPhaseSite { (site) throws in
      let settings = PhaseSettings(runID: nil, infrastructure: [site.note("migrate")])
      func ready(_ verb: String) throws -> (Ending, String) {
        let outcome = try site.ready(settings, verb, "--run-id", "r")
        return (outcome.ending, outcome.output)
      }
      for (verb, code, text) in [
        ("check", 1, "NOT READY\n"), ("set", 0, "SET\n"), ("check", 0, "READY\n"), ("clear", 0, "CLEARED\n"),
        ("check", 1, "NOT READY\n"),
      ] as [(String, Int32, String)] {
        #expect(try ready(verb) == (.exited(code), text), "\(verb)")
      }
      #expect(site.lines() == [])
    }
  }

  @Test("AI-04: what was declared by hand is believed, except for a step whose check says otherwise")
  func declared() throws {
    try withPhaseSite { (site) throws in
      let settings = PhaseSettings(infrastructure: [
        site.note("believed"),
        site.note("checked", "check: [/bin/sh, -c, \"grep -q checked \(site.events)\"]"),
      ])
      #expect(try site.ready(settings, "set").ending == .exited(0))
      #expect(try site.finishInit(settings).ending == .exited(0))
      #expect(site.lines() == ["checked"])
    }
  }

  @Test("AI-13: not ready while the last step runs; never is the lock free before the release is ready")
  func readinessBeforeTheLock() throws {
    try withPhaseSite { site in
      let last = site.step("last", site.append("last") + "; " + site.await("go"))
      let settings = PhaseSettings(infrastructure: [site.note("first"), last])
      try Stage.run(site.initialize(settings)) { stage in
        try site.wait(for: "last", [stage])
        #expect(try site.ready(settings, "check").ending == .exited(1))
        #expect(try ForeignLock.isTaken(site.lock))
        try site.open("go")
        try eventually("the lock is free") { try !ForeignLock.isTaken(site.lock) }
        #expect(site.record().contains("\ncomplete "))
        #expect(try stage.waitForEnd() == .exited(0))
      }
      #expect(try site.ready(settings, "check").ending == .exited(0))
    }
  }

  @Test("AI-14, C2-7: the run ID's order, an empty one falls through, and children are told it")
  func runID() throws {
    try withPhaseSite { site in
      let steps = [site.step("told", "echo $SUPERVISOR_RUN_ID $AUTOINIT_RUN_ID")]
      let ours = ["SUPERVISOR_RUN_ID=b", "AUTOINIT_RUN_ID=c"]
      for (words, file, environment, runID) in [
        (["--run-id", "a"], "f", ours, "a"), ([], "f", ours, "b"),
        ([], "f", ["SUPERVISOR_RUN_ID=", "AUTOINIT_RUN_ID=c"], "f"), ([], nil, ["AUTOINIT_RUN_ID=c"], "c"),
      ] as [([String], String?, [String], String)] {
        let settings = PhaseSettings(runID: file, infrastructure: steps)
        let outcome = try site.finishInit(settings, words, environment: environment)
        #expect(outcome.output == "\(runID) \(runID)\n")
        #expect(!outcome.errors.contains("no run ID is set"))
      }
      let settings = try site.write(PhaseSettings(runID: nil, infrastructure: steps))
      var show = Launch([Programs.supervisor, "settings", "show", "--settings", settings])
      show.environment.append(Array("AUTOINIT_RUN_ID=c".utf8))
      #expect(try Stage.result(show).output.contains(#/run_id: c +\(AUTOINIT_RUN_ID\)/#))
    }
  }

  @Test(
    "AI-14, C1-6: without a run ID every start warns and runs the phases, and nothing recorded is believed")
  func developmentRunID() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        runID: nil, infrastructure: [site.step("told", site.append("$SUPERVISOR_RUN_ID"))])
      for count in 1...2 {
        let outcome = try site.finishInit(settings)
        #expect(outcome.ending == .exited(0))
        #expect(outcome.errors.contains("warning: no run ID is set: using dev-"))
        #expect(site.lines().count == count)
      }
      let id = try #require(site.lines().first)
      #expect(id.wholeMatch(of: #/dev-[0-9a-f]{8}/#) != nil)
      #expect(site.lines().last == id)
    }
  }

  @Test(
    "C1-16: no run ID becomes a path",
    arguments: [
      "../../esc/x", "..", "/", "a/b", ".hidden", "two words", "ü", String(repeating: "x", count: 200),
    ])
  func oddRunIDs(runID: String) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        runID: nil, infrastructure: [site.note("infra")], node: [site.note("node")])
      for _ in 1...2 {
        let outcome = try site.finishInit(settings, ["--run-id", runID])
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      }
      #expect(site.lines() == ["infra", "node"])
      #expect(try names(in: site.folder) == ["events", "markers", "node.yml", "state"])
      #expect(try names(in: site.state) == ["infrastructure.lock", "releases"])
      #expect(try names(in: site.state + "/releases").count == 1)
      #expect(try names(in: site.path("markers")).count == 2)
    }
  }

  @Test(
    "C1-16: a run ID of several lines, or of 300 bytes, is refused before anything is made",
    arguments: ["a\ndone infra x 1", String(repeating: "x", count: 300)])
  func refusedRunIDs(runID: String) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(runID: nil, infrastructure: [site.note("infra")])
      let outcome = try site.finishInit(settings, environment: ["SUPERVISOR_RUN_ID=" + runID])
      #expect(outcome.ending == .exited(78))
      #expect(outcome.errors.contains("run_id") && outcome.errors.contains("at most 200 bytes"))
      #expect(try names(in: site.folder) == ["node.yml"])
    }
  }

  @Test(
    "BF-02: a missing program is 76, with the shell's 127 in the reason or “not found”",
    arguments: [true, false])
  func missingProgram(throughShell: Bool) throws {
    try withPhaseSite { site in
      let run = throughShell ? "no-such-alembic upgrade head" : "[no-such-alembic, upgrade, head]"
      let outcome = try site.finishInit(PhaseSettings(infrastructure: ["{name: migrate, run: \(run)}"]))
      #expect(outcome.ending == .exited(76))
      #expect(outcome.errors.contains("at step migrate: "))
      #expect(outcome.errors.contains(throughShell ? "127" : "not found"))
    }
  }

  @Test("BF-02, C2-2: a step runs in its folder, and its output appears while it still runs")
  func liveOutput() throws {
    try withPhaseSite { site in
      try FileSystem.makeDirectory(site.path("api"))
      let migrate = site.step(
        "migrate", "pwd; echo line >&2; \(site.await("go"))", "cwd: \(site.path("api"))")
      try Stage.run(site.initialize(PhaseSettings(infrastructure: [migrate]))) { stage in
        try stage.line(site.path("api"))
        try stage.errorLine(containing: "line")
        #expect(stage.ending == nil)
        try site.open("go")
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("BF-10: a failed init, repaired, completes under the same run ID, after what was done")
  func repair() throws {
    try withPhaseSite { site in
      let migrate = site.step("migrate", site.append("migrate") + "; test -e \(site.path("fixed"))")
      let settings = PhaseSettings(infrastructure: [site.note("first"), migrate, site.note("warm")])
      #expect(try site.finishInit(settings).ending == .exited(76))
      #expect(try site.ready(settings, "check").ending == .exited(1))
      try site.open("fixed")
      #expect(try site.finishInit(settings).ending == .exited(0))
      #expect(site.lines() == ["first", "migrate", "migrate", "warm"])
      #expect(try site.ready(settings, "check").ending == .exited(0))
      #expect(site.record().split(separator: "\n").filter { $0.hasPrefix("complete ") }.count == 1)
    }
  }

  /// The names in a folder, sorted.
  private func names(in path: String) throws -> [String] { try FileSystem.names(in: path) }
}
