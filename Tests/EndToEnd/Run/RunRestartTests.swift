import Glibc
import Testing

@Suite("run: restart", .drivesProcesses)
struct RunRestartTests {
  @Test(
    "E93: a crash loop backs off, gives up, and ends the whole with the app's code",
    arguments: [Int32(3), 137])
  func crashLoop(code: Int32) throws {
    try withRunSite { site in
      let settings = RunSettings(app: [
        "restart: on-failure", "backoff: {initial: 20ms, maximum: 5s, factor: 2, jitter: 0}",
        "start_limit: {count: 5}",
      ])
      let script = code > 128 ? "date +%s%N; kill -\(code - 128) $$" : "date +%s%N; exit \(code)"
      let outcome = try Stage.result(site.launch(["/bin/sh", "-c", script], settings))
      #expect(outcome.ending == .exited(code))
      #expect(try site.exitRecord().reason == "gave_up_restarting")
      let starts = outcome.output.split(separator: "\n").compactMap { Double($0).map { $0 / 1e9 } }
      #expect(starts.count >= 5 && starts.count <= 6)
      // 20, 40, 80, 160 ms at least; more on a busy machine.
      for (index, pair) in zip(starts, starts.dropFirst()).enumerated() {
        #expect(pair.1 - pair.0 >= 0.02 * Double(1 << index) * 0.95)
      }
    }
  }

  @Test(
    "E93: a service in a crash loop ends the container with its code, or is given up alone when told so",
    arguments: [true, false])
  func serviceCrashLoop(stopsAll: Bool) throws {
    try Stage.node { site in
      let policy = stopsAll ? "stop_all" : "ignore"
      let service =
        "web: {command: [/bin/sh, -c, \"exit 9\"], backoff: {initial: 5ms, maximum: 5ms}, start_limit: {count: 3}, on_failure: \(policy)}"
      return try site.probe(["on-signal", "--exit-on", "TERM=0"], RunSettings(services: [service]))
    } _: { stage, site in
      if stopsAll {
        #expect(try stage.waitForEnd() == .exited(9))
      } else {
        try site.waitForStatus("the service is given up", stage) { $0["web"]?.state == "failed" }
        #expect(try site.status()["app"]?.state == "running")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("E93: giving up on something that ended with 0 is 79")
  func giveUpOnSuccess() throws {
    try withRunSite { site in
      let settings = RunSettings(app: [
        "restart: always", "backoff: {initial: 5ms, maximum: 5ms}", "start_limit: {count: 3}",
      ])
      let outcome = try Stage.result(site.probe(["exit", "0"], settings))
      #expect(outcome.ending == .exited(79))
      #expect(try site.exitRecord().code == 79)
    }
  }

  @Test("E94: an app that runs longer than the reset each time is still given up: n within the window")
  func slowCrashLoop() throws {
    try withRunSite { site in
      let settings = RunSettings(app: [
        "restart: always", "backoff: {initial: 5ms, maximum: 5ms, reset_after: 20ms}",
        "start_limit: {count: 4, within: 10m}",
      ])
      let outcome = try Stage.result(
        site.launch(["/bin/sh", "-c", "echo start; sleep 0.1; exit 5"], settings))
      #expect(outcome.ending == .exited(5))
      let starts = outcome.output.split(separator: "\n").count
      #expect(starts >= 4 && starts <= 5)
    }
  }

  @Test("E94: what lies outside the window does not count")
  func windowPasses() throws {
    try Stage.node { site in
      try site.launch(
        ["/bin/sh", "-c", "echo start; sleep 0.1; exit 5"],
        RunSettings(app: [
          "restart: always", "backoff: {initial: 100ms, maximum: 100ms, factor: 1}",
          "start_limit: {count: 3, within: 200ms}",
        ]))
    } _: { stage, site in
      for _ in 0..<8 { try stage.line("start") }
    }
  }

  @Test("E95: an app that ends with 0 ends everything, with 0, and is not started again")
  func completed() throws {
    try Stage.node { site in
      try site.launch(
        ["/bin/sh", "-c", "echo app"],
        RunSettings(services: ["web: {command: \(RunSettings.probe("on-signal", "--exit-on", "TERM=0"))}"]))
    } _: { stage, site in
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitForEndOfOutput()
      #expect(stage.output.lines.filter { $0 == "app" }.count == 1)
      #expect(stage.adopted == [])
      #expect(try site.exitRecord().reason == "app_ended")
    }
  }

  @Test("E95: on-failure takes 0 and success_codes for done", arguments: [Int32(0), 42])
  func successCodes(code: Int32) throws {
    try withRunSite { site in
      let settings = RunSettings(app: ["restart: on-failure", "success_codes: [0, 42]"])
      let outcome = try Stage.result(site.launch(["/bin/sh", "-c", "echo app; exit \(code)"], settings))
      #expect(outcome.ending == .exited(code))
      #expect(outcome.output == "app\n")
    }
  }

  @Test("restarts do not repeat the phases")
  func phasesOnce() throws {
    try Stage.node { site in
      try site.probe(
        ["on-signal", "--exit-on", "USR1=3"],
        RunSettings(
          infrastructure: ["{name: a, run: \(RunSettings.probe("echo", "infrastructure"))}"],
          node: ["{name: b, run: \(RunSettings.probe("echo", "node"))}"],
          app: ["restart: always", "backoff: {initial: 5ms, maximum: 5ms}"]))
    } _: { stage, site in
      for _ in 0..<3 {
        try stage.line("ready")
        try stage.send(SIGUSR1)
        try stage.line("signal 10")
      }
      try stage.line("ready")
      #expect(
        stage.output.lines.filter { $0 == "infrastructure" || $0 == "node" } == ["infrastructure", "node"])
    }
  }

  @Test("E87: a thousand restarts do not make us grow")
  func memory() throws {
    try Stage.node { site in
      let service =
        "loop: {command: [/bin/true], backoff: {initial: 1ms, maximum: 1ms}, start_limit: {count: 1000000}}"
      return try site.probe(["on-signal"], RunSettings(services: [service], more: ["log: {level: error}"]))
    } _: { stage, site in
      try stage.line("ready")
      try site.waitForStatus("it has warmed up", stage, within: 120) { ($0["loop"]?.restarts ?? 0) > 200 }
      let before = anonymousKilobytes(stage.pid)
      try site.waitForStatus("a thousand restarts later", stage, within: 120) {
        ($0["loop"]?.restarts ?? 0) > 1200
      }
      #expect(anonymousKilobytes(stage.pid) - before < 512)
    }
  }
}
