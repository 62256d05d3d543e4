import Foundation
import Glibc
import Testing

/// The graph of steps: order, failure, rollback, what is said about it.
@Suite("phases: steps", .drivesProcesses)
struct PhaseStepTests {
  @Test("DG-01, DG-02, C3-1: needs decide the order, and independent steps run at once under parallelism: 2")
  func parallel() throws {
    try withPhaseSite { site in
      // Each waits for the other: one after the other they would never end.
      let meet = { (name: String, other: String) in "touch \(site.path(name)); \(site.await(other))" }
      let settings = PhaseSettings(
        infrastructure: [
          site.note("last", "needs: [left, right], description: what the others prepared"),
          site.step("left", meet("l", "r")), site.step("right", meet("r", "l")),
        ], moreOfInfrastructure: ["parallelism: 2"])
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(0))
      #expect(site.lines() == ["last"])
    }
  }

  @Test("DG-01: parallelism is a limit, and among equals the file's order counts")
  func limit() throws {
    try withPhaseSite { site in
      let steps = ["a", "b", "c", "d", "e"].map { name in
        site.step(name, "mkdir \(site.path("busy")) && \(site.append(name)) && rmdir \(site.path("busy"))")
      }
      let outcome = try site.finishInit(PhaseSettings(infrastructure: steps))
      #expect(outcome.ending == .exited(0))
      #expect(site.lines() == ["a", "b", "c", "d", "e"])
    }
  }

  @Test(
    "DG-06, DG-07, C3-4: a completed step runs once, also when several need it and one of them is tried again"
  )
  func once() throws {
    try withPhaseSite { site in
      let flaky = site.append("flaky") + "; test $(grep -c flaky \(site.events)) = 3"
      let settings = PhaseSettings(infrastructure: [
        site.note("base"), site.note("one", "needs: [base]"), site.note("two", "needs: [base, one]"),
        site.step("flaky", flaky, "needs: [two], retries: 5, retry_delay: 1ms"),
      ])
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(0))
      #expect(site.lines() == ["base", "one", "two", "flaky", "flaky", "flaky"])
    }
  }

  @Test(
    "DG-08, BF-03, BF-04, BF-14, C2-8: the third of four fails: the fourth is not started, and it is said")
  func failure() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.note("one"), site.note("two", "needs: [one]"), site.step("warm", "exit 4", "needs: [two]"),
        site.note("four", "needs: [warm]"),
      ])
      let outcome = try site.finishRun(settings, app: site.append("app"))
      #expect(outcome.ending == .exited(76))
      #expect(site.lines() == ["one", "two"])
      #expect(outcome.errors.contains("infrastructure step four: not started: needs warm"))
      let lines = outcome.errors.split(separator: "\n")
      #expect(lines.contains { $0.contains("failed at step warm: exit code 4") })
      #expect(lines.last?.hasSuffix("exiting with code 76 (infrastructure_failed): step warm") == true)
      #expect(lines.dropLast().last?.hasSuffix("failed at step warm: exit code 4") == true)
      #expect(try exitReason(site) == "infrastructure_failed")
    }
  }

  @Test(
    "DG-08, C1-21, C2-4, C3-4: TERM stops the step, and neither the next one nor the app begins",
    arguments: ["run", "init"])
  func stop(command: String) throws {
    try withPhaseSite { site in
      let hang = site.step(
        "migrate",
        "trap '\(site.append("stopped")); exit 1' TERM; \(site.append("began")); \(site.await("never")) & wait"
      )
      let settings = PhaseSettings(infrastructure: [hang, site.note("next")], node: [site.note("node")])
      let launch =
        try command == "run" ? site.run(settings, app: site.append("app")) : site.initialize(settings)
      try Stage.run(launch) { stage in
        try site.wait(for: "began", [stage])
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
        try stage.waitForEndOfOutput()
        #expect(site.lines() == ["began", "stopped"])
        #expect(stage.errors.text.contains("infrastructure step migrate: interrupted after"))
        #expect(stage.errors.text.contains("infrastructure step next: not started: "))
        #expect(stage.adopted == [])
      }
      #expect(!site.record().contains("\nfailed "))
    }
  }

  @Test(
    "DG-09, DG-10, C3-2, C3-3, C3-7: rollbacks in reverse order of completion, all tried, the failed step's own first"
  )
  func rollback() throws {
    try withPhaseSite { site in
      let undo = { (name: String, more: String) in
        "rollback: \(RunSettings.shell(site.append("undo-\(name)") + more))"
      }
      let settings = PhaseSettings(
        infrastructure: [
          // Completed second, though first in the file.
          site.step(
            "slow", "until grep -q '^done quick ' \(site.state)/releases/*.release; do sleep 0.02; done",
            undo("slow", "")),
          site.step("quick", "true", undo("quick", "; exit 7")),
          site.note("plain", "needs: [slow, quick]"),
          site.step("third", "true", "needs: [plain], " + undo("third", "")),
          site.step("broken", "exit 1", "needs: [third], rollback_failed: true, " + undo("broken", "")),
          site.step("never", "true", "needs: [broken], " + undo("never", "")),
        ], moreOfInfrastructure: ["parallelism: 2"])
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(76))
      #expect(site.lines() == ["plain", "undo-broken", "undo-third", "undo-slow", "undo-quick"])
      #expect(outcome.errors.contains("infrastructure step quick: its rollback failed: exit code 7"))
      #expect(outcome.errors.contains("infrastructure step third: rolled back in"))
      #expect(outcome.errors.contains("failed at step broken: exit code 1"))
      // An undone step and what needs it are not done any more.
      #expect(!site.record().contains("\ndone "))
    }
  }

  @Test("DG-09: status lists what became of each rollback while the rest still run")
  func rollbackStatus() throws {
    try withPhaseSite { site in
      let undo = { (script: String) in "rollback: \(RunSettings.shell(script))" }
      let settings = PhaseSettings(infrastructure: [
        site.step("first", "true", undo(site.append("first") + "; " + site.await("go"))),
        site.step("second", "true", undo("exit 7")), site.step("third", "true", undo("true")),
        site.step("broken", "exit 1"),
      ])
      try Stage.run(site.run(settings, app: site.append("app"))) { stage in
        try site.wait(for: "first", [stage])
        let text = try site.status()
        for (step, state) in [
          ("first", "rolling_back"), ("second", "rollback_failed"), ("third", "rolled_back"),
          ("broken", "failed"),
        ] {
          #expect(text.contains(try Regex("\"name\": ?\"\(step)\",\\s*\"state\": ?\"\(state)\"")), "\(text)")
        }
        try site.open("go")
        #expect(try stage.waitForEnd() == .exited(76))
      }
    }
  }

  @Test("DG-09: a failed step is not rolled back unless it says so, and a stop rolls nothing back")
  func noRollback() throws {
    try withPhaseSite { site in
      let undo = "rollback: \(RunSettings.shell(site.append("undo")))"
      let failing = PhaseSettings(infrastructure: [site.step("broken", "exit 1", undo)])
      let outcome = try site.finishInit(failing)
      #expect(outcome.ending == .exited(76))
      let hang = site.step("hang", site.append("began") + "; " + site.await("never"))
      let stopped = PhaseSettings(runID: "r2", infrastructure: [site.step("done", "true", undo), hang])
      try Stage.run(site.initialize(stopped)) { stage in
        try site.wait(for: "began", [stage])
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
      }
      #expect(site.lines() == ["began"])
      #expect(site.record("r2").contains("\ndone done "))
    }
  }

  @Test(
    "DG-11, DG-12, C3-5, C3-6: readyz lists its checks; it is neither ready before a check's first answer nor sticky"
  )
  func readiness() throws {
    try withPhaseSite { site in
      let reservation = try Listener.reservation()
      defer { withExtendedLifetime(reservation) {} }
      let check = RunSettings.shell("test -e \(site.path("healthy"))")
      let settings = PhaseSettings(
        infrastructure: [site.note("migrate")], listen: "127.0.0.1:\(reservation.port)",
        more: ["app: {ready: {exec: \(check), interval: 50ms, failures: 1}}"])
      try Stage.run(site.run(settings, app: "exec sleep 1000")) { stage in
        func wait(_ code: Int) throws -> String {
          var body = ""
          try eventually("/readyz answers \(code)") {
            try stage.pump()
            guard let answer = try? HTTPAnswer.get("/readyz?verbose", port: reservation.port) else {
              return false
            }
            body = answer.body
            return answer.status == code && body.contains("app")
          }
          return body
        }
        #expect(try wait(503).contains("[fail] "))
        for _ in 1...2 {
          try site.open("healthy")
          #expect(try !wait(200).contains("[fail] "))
          unlink(site.path("healthy"))
          #expect(try wait(503).contains("[fail] "))
        }
      }
    }
  }

  @Test(
    "DG-13, BF-05: log.format json: one object a line, with time, level, phase, step, duration and reason")
  func jsonLines() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        infrastructure: [
          site.step("good", "true", "rollback: [/bin/true]"),
          site.step("bad", "exit 3", "needs: [good], retries: 1, retry_delay: 1ms"),
          site.step("left", "true", "needs: [bad]"),
        ], more: ["log: {format: json}"])
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(76))
      let lines = try outcome.errors.split(separator: "\n").map {
        try JSONDecoder().decode(LogLine.self, from: Data($0.utf8))
      }
      #expect(
        lines.allSatisfy { $0.run_id == "r1" && !$0.time.isEmpty && !$0.level.isEmpty && !$0.message.isEmpty }
      )
      let retry = try #require(lines.first { $0.message.contains("trying again in 1ms (1 try left)") })
      #expect(retry.phase == "infrastructure" && retry.step == "bad")
      let transitions = lines.filter { $0.step != nil && $0.event != nil }
      #expect(
        transitions.map { "\($0.event ?? "") \($0.step ?? "")" } == [
          "step_started good", "step_done good", "step_started bad", "step_failed bad",
          "step_not_started left",
          "step_rolling_back good", "step_rolled_back good",
        ])
      #expect(transitions.allSatisfy { $0.phase == "infrastructure" })
      #expect(
        transitions.filter { $0.event == "step_done" || $0.event == "step_failed" }.allSatisfy {
          $0.seconds != nil
        })
      #expect(transitions.first { $0.event == "step_failed" }?.reason == "exit code 3")
      #expect(transitions.first { $0.event == "step_not_started" }?.reason == "needs bad")
      let failed = try #require(lines.first { $0.event == "phase_failed" })
      #expect(failed.phase == "infrastructure" && failed.reason == "step bad: exit code 3")
      #expect(failed.exit_reason == "infrastructure_failed")
    }
  }

  private struct LogLine: Decodable {
    let time: String
    let level: String
    let message: String
    let run_id: String
    let event: String?
    let phase: String?
    let step: String?
    let seconds: Double?
    let reason: String?
    let exit_reason: String?
  }

  @Test("BF-05: log.format text: time, level, phase and step in every line about a step")
  func textLines() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.note("good"), site.step("bad", "exit 3")])
      let outcome = try site.finishInit(settings)
      let about = outcome.errors.split(separator: "\n").filter {
        $0.contains(" step ") && !$0.contains(" phase ") && !$0.contains("exiting with")
      }
      #expect(about.count == 4)
      for line in about {
        #expect(
          line.contains(#/^[-0-9]+T[:.0-9]+Z supervisor: (error: )?infrastructure step (good|bad): /#),
          "\(line)")
      }
    }
  }

  @Test("DG-14: a second supervisor on the same run_dir, or a taken port, is refused before any step")
  func preflight() throws {
    try withPhaseSite { site in
      let first = PhaseSettings(more: [])
      try Stage.run(site.run(first, app: "echo up; exec sleep 1000")) { stage in
        try stage.line("up")
        let second = PhaseSettings(infrastructure: [site.note("migrate")])
        let outcome = try site.finishRun(second, app: site.append("app"))
        #expect(outcome.ending == .exited(78))
        #expect(
          outcome.errors.contains(
            "another supervisor (pid \(stage.pid)) runs with run_dir \(site.path("run-node")): stop it, or give this one"
          ))
        // The first one has lost nothing by it.
        #expect(!site.exists("run-node/exit.json"))
        #expect(try site.status().contains("\"running\""))
      }
      let listener = try Listener()
      defer { listener.close() }
      let taken = PhaseSettings(infrastructure: [site.note("migrate")], listen: "127.0.0.1:\(listener.port)")
      let outcome = try site.finishRun(taken, app: site.append("app"), name: "other")
      #expect(outcome.ending == .exited(78))
      #expect(outcome.errors.contains("health.listen") && outcome.errors.contains("\(listener.port)"))
      #expect(try exitReason(site, "other") == "preflight_failed")
      #expect(site.lines() == [])
    }
  }

  @Test("BF-15, C2-3: a step over its timeout that ignores TERM is killed with its group, and fails")
  func timeout() throws {
    try withPhaseSite { site in
      let stubborn =
        "{name: migrate, run: \(RunSettings.probe("family", "--leader-ignores", "--member", "ignore")), "
        + "timeout: 1s, stop: {timeout: 500ms}}"
      let began = monotonicNow()
      try Stage.run(site.initialize(PhaseSettings(infrastructure: [stubborn]))) { stage in
        let member = try stage.number(after: "member 1 ")
        #expect(try stage.waitForEnd() == .exited(76))
        #expect(monotonicNow() - began >= 1.5)
        #expect(monotonicNow() - began < 10)
        let state = ProcessEntry(pid: member)?.state
        #expect(state == nil || state == "Z")
        #expect(stage.errors.text.contains("did not end within 1s"))
        #expect(stage.adopted == [])
      }
    }
  }

  @Test(
    "on_failure: stop ends what runs beside a failed step, finish lets it end", arguments: ["stop", "finish"])
  func onFailure(mode: String) throws {
    try withPhaseSite { site in
      let long =
        "trap '\(site.append("stopped")); exit 1' TERM; touch \(site.path("long")); "
        + (mode == "stop" ? "\(site.await("never")) & wait" : "sleep 0.3; \(site.append("finished"))")
      let settings = PhaseSettings(
        infrastructure: [site.step("long", long), site.step("bad", site.await("long") + "; exit 1")],
        moreOfInfrastructure: ["parallelism: 2", "on_failure: \(mode)"])
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(76))
      #expect(site.lines() == [mode == "stop" ? "stopped" : "finished"])
      #expect(site.record().contains("\ndone long ") == (mode == "finish"))
    }
  }

  private func exitReason(_ site: PhaseSite, _ node: String = "node") throws -> String {
    let text = try #require(readText(site.path("run-\(node)/exit.json")))
    return try JSONDecoder().decode(ExitRecord.self, from: Data(text.utf8)).reason
  }
}
