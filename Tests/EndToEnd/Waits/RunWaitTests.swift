import AgentProtocol
import Glibc
import Testing

/// `wait_for` of `run`: before the phases, of one process, and as a step.
@Suite("run: waits", .drivesProcesses)
struct RunWaitTests {
  private static let app = ["on-signal", "--exit-on", "TERM=0"]

  private func agents(of stage: Stage) -> [pid_t] {
    ProcessEntry.children(of: stage.pid).filter { $0.name.hasPrefix("supervisor-agen") && $0.state != "Z" }
      .map(\.pid)
  }

  /// The agent that is there now, once it is another than `old` and has come so far that it waits.
  private func agent(of stage: Stage, not old: pid_t = 0) throws -> pid_t {
    var found: pid_t = 0
    try eventually("an agent") {
      try stage.pump()
      found = agents(of: stage).first { $0 != old } ?? 0
      return found != 0 && ProcessEntry(pid: found)?.state == "S"
    }
    return found
  }

  private func settings(waitFor list: String, _ more: [String] = []) -> RunSettings {
    var settings = RunSettings(infrastructure: [
      "{name: migrate, run: \(RunSettings.probe("echo", "migrate"))}"
    ])
    settings.more = ["wait_for: [\(list)]"] + more
    return settings
  }

  private func waitForStage(_ name: String, _ stage: Stage, _ site: RunSite) throws {
    try site.waitForStatus("the stage \(name)", stage) { $0.stage == name }
  }

  @Test("no phase begins before what wait_for names is there; the agent is gone once nothing waits")
  func late() throws {
    try Stage.node {
      try $0.probe(Self.app, settings(waitFor: "\"file:\($0.folder)/one\", \"file:\($0.folder)/two\""))
    } _: { stage, site in
      try waitForStage("dependencies", stage, site)
      _ = try agent(of: stage)
      try writeFile(site.folder + "/one", "")
      #expect(try site.status().stage == "dependencies")
      #expect(!stage.output.text.contains("migrate"))
      try writeFile(site.folder + "/two", "")
      try stage.line("migrate")
      try stage.line("ready")
      try waitForStage("running", stage, site)
      try eventually("no process but the app") {
        try stage.pump()
        return ProcessEntry.children(of: stage.pid).allSatisfy { $0.name == "Probe" }
      }
    }
  }

  @Test("what never comes is 69 and all of it is named; nothing has run")
  func never() throws {
    try withRunSite { site in
      let outcome = try Stage.result(
        site.probe(
          Self.app, settings(waitFor: "\"file:/no/such\", \"tcp://127.0.0.1:1\"", ["timeout: 600ms"])))
      #expect(outcome.ending == .exited(69))
      #expect(outcome.output == "")
      #expect(
        outcome.errors.contains("file:/no/such (/no/such does not exist)")
          && outcome.errors.contains("tcp://127.0.0.1:1 (127.0.0.1:1: connection refused)"),
        "\(outcome.errors)")
      #expect(try site.exitRecord().reason == "dependency_timeout")
    }
  }

  @Test("what refuses for good is 69 at once")
  func refused() throws {
    try withRunSite { site in
      let outcome = try Stage.result(site.probe(Self.app, settings(waitFor: "\"sqlite:/etc/passwd\"")))
      #expect(outcome.ending == .exited(69))
      #expect(try site.exitRecord().reason == "dependency_refused")
    }
  }

  @Test(
    "TERM meanwhile is 143 at once, and no agent is left, not even one that hangs", arguments: [false, true])
  func stopped(agentHangs: Bool) throws {
    try Stage.node {
      try $0.probe(Self.app, settings(waitFor: "\"file:/no/such\""))
    } _: { stage, site in
      try waitForStage("dependencies", stage, site)
      let agent = try agent(of: stage)
      if agentHangs { kill(agent, SIGSTOP) }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd(within: 10) == .exited(143))
      try stage.waitUntilNobodyIsLeft()
      #expect(try site.exitRecord().reason == "stopped_before_app")
    }
  }

  @Test("BF-09: only the process with wait_for waits, and nobody waits for it")
  func oneProcess() throws {
    try Stage.node { site in
      var settings = RunSettings()
      settings.services = [
        "worker: {wait_for: [\"file:\(site.folder)/queue\"], command: \(RunSettings.shell("echo worker; exec sleep 1000"))}"
      ]
      return try site.probe(Self.app, settings)
    } _: { stage, site in
      try stage.line("ready")
      try site.waitFor("/readyz", 200, stage)
      let refused = try site.client("restart", "worker")
      #expect(
        refused.errors.contains("worker is not started yet: it waits for what it needs"), "\(refused.errors)")
      try writeFile(site.folder + "/queue", "")
      try stage.line("worker")
    }
  }

  @Test("an app that waits is no app yet: not ready, and TERM is 143; what it waits for never comes: 69")
  func app() throws {
    for target in ["file:/no/such", "sqlite:/etc/passwd"] {
      try Stage.node { site in
        var settings = RunSettings()
        settings.app = ["wait_for: [\"\(target)\"]"]
        settings.services = ["other: {command: \(RunSettings.shell("echo other; exec sleep 1000"))}"]
        return try site.probe(Self.app, settings)
      } _: { stage, site in
        if target == "file:/no/such" {
          try stage.line("other")
          #expect(try site.get("/readyz").status == 503)
          try stage.send(SIGTERM)
          #expect(try stage.waitForEnd() == .exited(143))
        } else {
          #expect(try stage.waitForEnd() == .exited(69))
          #expect(try site.exitRecord().reason == "dependency_refused")
        }
        #expect(!stage.output.text.contains("ready"))
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }

  @Test("a service that starts before the phases waits too, and the phases wait for it")
  func earlyService() throws {
    try Stage.node { site in
      var settings = RunSettings(infrastructure: [
        "{name: migrate, run: \(RunSettings.probe("echo", "migrate"))}"
      ])
      settings.services = [
        "db: {start: before_phases, wait_for: [\"file:\(site.folder)/disk\"], command: \(RunSettings.shell("echo db; exec sleep 1000"))}"
      ]
      return try site.probe(Self.app, settings)
    } _: { stage, site in
      _ = try agent(of: stage)
      #expect(!stage.output.text.contains("db"))
      try writeFile(site.folder + "/disk", "")
      try stage.line("ready")
      // The service says its line itself, so it may come after a step's.
      try eventually("all lines") {
        try stage.pump()
        return Set(stage.output.lines.prefix(2)) == ["db", "migrate"]
      }
    }
  }

  @Test("a step that waits holds up those that need it; TERM meanwhile is 143, and it is no failure")
  func step() throws {
    try withRunSite { site in
      let settings = RunSettings(infrastructure: [
        "{name: bus, wait_for: \"file:\(site.folder)/bus\"}",
        "{name: migrate, needs: [bus], run: \(RunSettings.probe("echo", "migrate"))}",
      ])
      try Stage.run(site.probe(Self.app, settings)) { stage in
        _ = try agent(of: stage)
        #expect(!stage.output.text.contains("migrate"))
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd(within: 10) == .exited(143))
        try stage.waitUntilNobodyIsLeft()
      }
      try Stage.run(site.probe(Self.app, settings)) { stage in
        _ = try agent(of: stage)
        try writeFile(site.folder + "/bus", "")
        try stage.line("migrate")
        try stage.line("ready")
      }
    }
  }

  @Test("a step that waits fails after its timeout: 76, with what did not come")
  func stepTimeout() throws {
    try withRunSite { site in
      let settings = RunSettings(infrastructure: [
        "{name: bus, wait_for: {target: \"file:/no/such\", timeout: 400ms}}"
      ])
      let outcome = try Stage.result(site.probe(Self.app, settings))
      #expect(outcome.ending == .exited(76))
      #expect(outcome.errors.contains("file:/no/such (/no/such does not exist)"), "\(outcome.errors)")
    }
  }

  // MARK: The agent

  @Test(
    "an agent that is killed or hangs is replaced, and /livez answers all the while",
    arguments: [SIGKILL, SIGSTOP])
  func lostAgent(signal: CInt) throws {
    try Stage.node {
      try $0.probe(Self.app, settings(waitFor: "\"file:\($0.folder)/ready\""))
    } _: { stage, site in
      let first = try agent(of: stage)
      kill(first, signal)
      var slowest = 0.0
      try eventually("another agent") {
        try stage.pump()
        let began = monotonicNow()
        #expect(try site.get("/livez", within: 5).status == 200)
        slowest = max(slowest, monotonicNow() - began)
        return agents(of: stage).contains { $0 != first }
      }
      #expect(slowest < 1)
      try writeFile(site.folder + "/ready", "")
      try stage.line("ready")
    }
  }

  @Test("an agent that talks nonsense is given up with its path: 69")
  func nonsense() throws {
    try withRunSite { site in
      try writeFile(
        site.folder + "/agent", "#!/bin/sh\necho nonsense nonsense >&3\nexec sleep 1000\n", mode: 0o755)
      var launch = try site.probe(Self.app, settings(waitFor: "\"file:/etc\""))
      launch.environment.append(Array("SUPERVISOR_AGENT=\(site.folder)/agent".utf8))
      try Stage.run(launch) { stage in
        #expect(try stage.waitForEnd() == .exited(69))
        try stage.waitForEndOfOutput()
        #expect(
          stage.errors.text.contains("the agent \(site.folder)/agent failed 5 times")
            && stage.errors.text.contains("could not be understood"))
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }

  @Test("no agent, and something to wait for: a preflight error that says where it was looked for")
  func missingAgent() throws {
    try withRunSite { site in
      var launch = try site.probe(Self.app, settings(waitFor: "\"file:/etc\""))
      launch.environment.append(Array("SUPERVISOR_AGENT=/no/such/agent".utf8))
      let outcome = try Stage.result(launch)
      #expect(outcome.ending == .exited(78))
      #expect(outcome.errors.contains("looked for it at /no/such/agent (SUPERVISOR_AGENT)"))
      #expect(outcome.output == "")
    }
  }
}
