import Glibc
import Testing

@Suite("run: stop", .drivesProcesses)
struct RunStopTests {
  @Test("E47: a stopped (SIGSTOP) app is woken by CONT after TERM, and the stop is quick")
  func stoppedApp() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=7"])
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      kill(app, SIGSTOP)
      try eventually("the app is stopped") { ProcessEntry(pid: app)?.state == "T" }
      try stage.send(SIGTERM)
      // It has ended by itself: at its deadline it would have been killed.
      #expect(try stage.waitForEnd() == .exited(7))
    }
  }

  @Test("E48: an app that ignores TERM is killed at its deadline, with its group")
  func stubbornApp() throws {
    try Stage.node { site in
      try site.probe(
        ["family", "--leader-ignores", "--member", "ignore"], RunSettings(app: ["stop: {timeout: 500ms}"]))
    } _: { stage, site in
      try stage.line("ready")
      let start = monotonicNow()
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(137))
      let duration = monotonicNow() - start
      #expect(duration >= 0.4 && duration < 15)
      #expect(stage.adopted == [])
    }
  }

  @Test("E48: the whole stop keeps to stop_timeout, however many ignore it")
  func stopBudget() throws {
    try Stage.node { site in
      let stubborn = RunSettings.probe("family", "--leader-ignores")
      return try site.probe(
        ["family", "--leader-ignores", "--member", "setsid,ignore"],
        RunSettings(
          stopTimeout: "2s",
          services: ["a: {command: \(stubborn)}", "b: {command: \(stubborn)}", "c: {command: \(stubborn)}"]))
    } _: { stage, site in
      for _ in 0..<4 { try stage.line("ready") }
      let start = monotonicNow()
      try stage.send(SIGTERM)
      try stage.waitForEnd()
      // Their own 30 s each are not what counts.
      #expect(monotonicNow() - start < 20)
      #expect(stage.adopted == [])
    }
  }

  @Test("E49: TERM goes to the leader only; the group gets KILL at the end")
  func mixed() throws {
    try Stage.node { site in
      try site.probe(
        ["family", "--leader-ignores", "--member", "plain"], RunSettings(app: ["stop: {timeout: 15s}"]))
    } _: { stage, site in
      let member = try stage.number(after: "member 1 ")
      try stage.line("ready")
      try stage.send(SIGTERM)
      try stage.line("signal 15") { $0 == "signal 15" }
      // Higher than 15: a TERM that had come would be said first.
      kill(member, SIGWINCH)
      try stage.line("member 1 signal 28")
      #expect(!stage.output.lines.contains("member 1 signal 15"))
      // A second one brings the end forward.
      try letPass(seconds: 0.6, stage)
      try stage.send(SIGTERM)
      try stage.waitForEnd()
      #expect(stage.adopted == [])
    }
  }

  @Test("services stop in reverse start order, the app first")
  func order() throws {
    try Stage.node { site in
      func service(_ name: String) -> String {
        "\(name): {command: \(RunSettings.shell("trap 'echo \(name) ends; exit 0' TERM; echo \(name) ready; while :; do sleep 0.05; done"))}"
      }
      return try site.launch(
        ["/bin/sh", "-c", "trap 'echo app ends; exit 0' TERM; echo app ready; while :; do sleep 0.05; done"],
        RunSettings(services: [service("first"), service("second")]))
    } _: { stage, site in
      for _ in 0..<3 { try stage.line("ready") { $0.hasSuffix(" ready") } }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitForEndOfOutput()
      #expect(
        stage.output.lines.filter { $0.hasSuffix("ends") } == ["app ends", "second ends", "first ends"])
    }
  }

  @Test(
    "E65: drain: not ready at once, the app still runs; then the stop; a second stop signal skips the wait",
    arguments: [true, false])
  func drain(isSkipped: Bool) throws {
    try Stage.node { site in
      try site.probe(
        ["on-signal", "--exit-on", "TERM=0"],
        RunSettings(
          stopTimeout: isSkipped ? "90s" : "20s", health: ["drain_delay: \(isSkipped ? "60s" : "8s")"]))
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      try site.waitFor("/readyz", 200, stage)
      let start = monotonicNow()
      try stage.send(SIGTERM)
      try site.waitFor("/readyz", 503, stage)
      #expect(try site.get("/livez").status == 200)
      kill(app, SIGWINCH)
      try stage.line("signal 28")
      #expect(!stage.output.lines.contains("signal 15"))
      if isSkipped {
        try letPass(seconds: 0.6, stage)
        try stage.send(SIGTERM)
      }
      try stage.waitForEnd()
      let duration = monotonicNow() - start
      if isSkipped { #expect(duration < 30) } else { #expect(duration >= 7.9) }
    }
  }

  @Test("E65: no drain when we were not ready")
  func noDrain() throws {
    try Stage.node { site in
      try site.probe(
        ["on-signal", "--exit-on", "TERM=0"],
        RunSettings(stopTimeout: "90s", app: ["ready: {exec: [/bin/false]}"], health: ["drain_delay: 60s"]))
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGTERM)
      // A drain would take longer than this waits.
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E66: a node that never became ready stops on the same path, without a complaint")
  func neverReady() throws {
    try Stage.node { site in
      try site.probe(
        ["on-signal", "--exit-on", "TERM=0"],
        RunSettings(app: ["ready: {tcp: \"127.0.0.1:1\", interval: 100ms}"]))
    } _: { stage, site in
      try stage.line("ready")
      #expect(try site.get("/readyz").status == 503)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(try site.exitRecord().reason == "stopped_on_request")
      #expect(!stage.errors.text.contains("error"))
    }
  }

  @Test("E67: an obedient app: the stop takes no time of its own")
  func cleanStop() throws {
    let best = try quickest(of: 20, within: 0.1) {
      try Stage.node {
        try $0.probe(["on-signal", "--exit-on", "TERM=0"])
      } _: { stage, site in
        try stage.line("ready")
        let start = monotonicNow()
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
        return monotonicNow() - start
      }
    }
    #expect(best < 0.1)
  }

  @Test("E70: every timer of ours runs on the monotonic clock")
  func monotonicTimers() throws {
    try Stage.node {
      try $0.probe(["on-signal"], RunSettings(app: ["ready: {exec: [/bin/true], interval: 1s}"]))
    } _: {
      stage, site in
      try stage.line("ready")
      try site.waitFor("/readyz", 200, stage)
      var clocks: [String] = []
      for number in 0..<64 {
        let lines = readText("/proc/\(stage.pid)/fdinfo/\(number)")?.split(separator: "\n") ?? []
        clocks += lines.filter { $0.hasPrefix("clockid:") }.map { $0.filter(\.isNumber) }
      }
      // 1 is CLOCK_MONOTONIC. No timer descriptor at all is right too: then the loop waits with a timeout.
      #expect(clocks.allSatisfy { $0 == "1" })
    }
  }

  @Test("E71: after a time in which we were stopped no check has failed, and no backlog of checks is run")
  func resumedLate() throws {
    try withTemporaryDirectory { folder in
      try Stage.node { site in
        let check = RunSettings.shell("echo x >>\(folder)/checks; sleep 0.2")
        return try site.probe(
          ["on-signal"],
          RunSettings(app: [
            "ready: {exec: \(check), interval: 100ms, timeout: 6s, failures: 1, start_period: 0s}"
          ]))
      } _: { stage, site in
        func checks() -> Int { readText(folder + "/checks")?.split(separator: "\n").count ?? 0 }
        let app = try stage.number(after: "ready ")
        try site.waitFor("/readyz", 200, stage)
        // As a frozen container: we and a check that has just begun stand still for longer than it may take.
        let begun = checks()
        try eventually("the next check begins") { checks() > begun }
        try stage.send(SIGSTOP)
        try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
        let frozen = ProcessEntry.children(of: stage.pid).filter { $0.pid != app && $0.state != "Z" }
        for check in frozen { kill(-check.group, SIGSTOP) }
        let before = checks()
        try letPass(seconds: 7.5, stage)
        for check in frozen { kill(-check.group, SIGCONT) }
        let resumed = monotonicNow()
        try stage.send(SIGCONT)
        #expect(try site.get("/readyz").status == 200)
        // One after the other, 0.2 s each, however late this looks; a backlog would be 25 of them.
        #expect(checks() - before <= 3 + Int((monotonicNow() - resumed) / 0.2))
        try eventually("checks go on") { checks() >= before + 6 }
        #expect(try site.get("/readyz").status == 200)
        #expect(!stage.errors.text.contains("unhealthy"))
      }
    }
  }

  @Test("E72: a second supervisor on the same run_dir is refused, and the first is not disturbed")
  func secondSupervisor() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=0"])
    } _: { stage, site in
      try stage.line("ready")
      let reservation = try Listener.reservation()
      let second = try Stage.result(
        site.probe(["echo", "second"], RunSettings(health: ["listen: \"127.0.0.1:\(reservation.port)\""])))
      #expect(second.ending == .exited(78))
      #expect(second.output == "")
      #expect(second.errors.contains(site.runDirectory))
      #expect(try site.client("health").ending == .exited(0))
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("stop, start, restart and signal over the control socket; a stopped app leaves us up, not ready")
  func control() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=0"])
    } _: { stage, site in
      try stage.line("ready")
      try site.waitFor("/readyz", 200, stage)
      #expect(try site.client("signal", "app", "USR1").ending == .exited(0))
      try stage.line("signal 10")
      #expect(try site.client("restart", "app").ending == .exited(0))
      try stage.line("signal 15")
      try stage.line("ready")
      #expect(try site.client("stop", "app").ending == .exited(0))
      try stage.line("signal 15")
      try site.waitFor("/readyz", 503, stage)
      #expect(try site.get("/livez").status == 200)
      #expect(try site.client("start", "app").ending == .exited(0))
      try stage.line("ready")
      try site.waitFor("/readyz", 200, stage)
      #expect(try site.client("restart", "nobody").ending != .exited(0))
    }
  }
}
