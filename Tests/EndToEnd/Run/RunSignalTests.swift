import Glibc
import Testing

@Suite("run: signals", .drivesProcesses)
struct RunSignalTests {
  private func expect(
    _ sent: [Int32], toArriveAs heard: [Int32], app settings: [String] = [], state: [String] = []
  ) throws {
    try Stage.node {
      try $0.probe(["on-signal"], RunSettings(app: settings), state: state)
    } _: { stage, site in
      try stage.line("ready")
      for (index, signal) in sent.enumerated() {
        try stage.send(signal)
        // In order: each is answered before the next is sent, or followed by one that is.
        if heard.contains(signal) || settings != [] && index == sent.count - 1 {
          try stage.line("signal") { $0.hasPrefix("signal ") }
        }
      }
      try stage.send(64)
      try stage.line("signal 64")
      #expect(stage.output.lines.dropFirst() == (heard + [64]).map { "signal \($0)" }[...])
    }
  }

  @Test(
    "E42, E43, E45, E46: what is no stop is forwarded to the app: HUP, USR1, USR2, fault signals, real-time")
  func forwarded() throws {
    let signals: [Int32] = [
      1, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 23, 24, 25, 26, 27, 29, 30, 31, 34, 36, 38, 63,
    ]
    try expect(signals, toArriveAs: signals)
  }

  @Test("E41: without a terminal TTIN and TTOU are forwarded, and stop nobody")
  func workerCount() throws {
    try expect([SIGTTIN, SIGTTOU, SIGTTIN], toArriveAs: [SIGTTIN, SIGTTOU, SIGTTIN])
  }

  @Test("E44: without a terminal WINCH is not forwarded")
  func windowChange() throws {
    try expect([SIGWINCH, SIGUSR1], toArriveAs: [SIGUSR1])
  }

  @Test("E43: forwarded signals go to the main process only")
  func leaderOnly() throws {
    try Stage.node {
      try $0.probe(["family", "--member", "plain"])
    } _: { stage, site in
      let member = try stage.number(after: "member 1 ")
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      kill(member, SIGWINCH)
      try stage.line("member 1 signal 28")
      #expect(!stage.output.lines.contains("member 1 signal 10"))
    }
  }

  @Test("app.signals: drop and remap")
  func remapped() throws {
    try Stage.node {
      try $0.probe(["on-signal"], RunSettings(app: ["signals: {USR1: drop, HUP: USR2}"]))
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.send(SIGHUP)
      try stage.line("signal 12")
      try stage.send(SIGUSR2)
      try stage.line("signal 12")
      #expect(stage.output.lines.dropFirst() == ["signal 12", "signal 12"])
    }
  }

  @Test(
    "E40, E45: TERM, INT, QUIT and RTMIN+3 stop; the app gets its own stop signal, TERM, whatever came",
    arguments: [SIGTERM, SIGINT, SIGQUIT, 37])
  func stopSignals(signal: Int32) throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=6"])
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(signal)
      #expect(try stage.waitForEnd() == .exited(6))
      #expect(stage.output.lines.dropFirst().first == "signal 15")
      #expect(try site.exitRecord().reason == "stopped_on_request")
    }
  }

  @Test("E40: the stop signal is a property of the process")
  func ownStopSignal() throws {
    try Stage.node { site in
      try site.probe(["on-signal", "--exit-on", "QUIT=6"], RunSettings(app: ["stop: {signal: QUIT}"]))
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGINT)
      #expect(try stage.waitForEnd() == .exited(6))
      #expect(stage.output.lines.dropFirst().first == "signal 3")
    }
  }

  @Test(
    "E34: TERM during the infrastructure phase: the step gets it, readiness is not written, the app does not start"
  )
  func stopDuringStep() throws {
    try withRunSite { site in
      let step = RunSettings.probe("on-signal", "--exit-on", "TERM=0")
      let settings = RunSettings(infrastructure: ["{name: migrate, run: \(step)}"])
      let launch = try site.probe(["echo", "the app"], settings)
      for _ in 0..<2 {
        // The second start finds nothing done, and runs the step again.
        try Stage.run(launch) { stage in
          try stage.line("ready")
          try stage.send(SIGTERM)
          #expect(try stage.waitForEnd() == .exited(143))
          try stage.waitForEndOfOutput()
          #expect(stage.output.lines.contains("signal 15"))
          #expect(!stage.output.lines.contains("the app"))
          #expect(stage.adopted == [])
        }
      }
    }
  }

  @Test(
    "E34: a step that ignores TERM is killed after its grace, with its group, and the lock is free after it")
  func stopDuringStubbornStep() throws {
    try withRunSite { site in
      let step = RunSettings.probe("family", "--leader-ignores", "--member", "ignore")
      let settings = RunSettings(
        infrastructure: ["{name: migrate, run: \(step), stop: {timeout: 300ms}}"])
      let launch = try site.probe(["echo", "the app"], settings)
      for _ in 0..<2 {
        try Stage.run(launch) { stage in
          try stage.line("ready")
          try stage.send(SIGTERM)
          let ending = try stage.waitForEnd()
          #expect(ending == .exited(143))
          #expect(stage.adopted == [])
        }
      }
    }
  }

  @Test("E35: TERM while waiting for the lock ends us within a second", arguments: [SIGTERM, SIGINT])
  func stopWhileWaiting(signal: Int32) throws {
    try withRunSite { holder in
      let settings = RunSettings(
        infrastructure: ["{name: migrate, run: \(RunSettings.probe("on-signal"))}"])
      try Stage.run(holder.probe(["on-signal"], settings)) { first in
        try first.line("ready")
        try withRunSite { waiter in
          var launch = try waiter.probe(["on-signal"], settings)
          try writeFile(
            waiter.folder + "/supervisor.yml",
            #require(readText(waiter.folder + "/supervisor.yml")).replacing(
              waiter.folder + "/state", with: holder.folder + "/state"))
          launch.state = []
          let best = try quickest(of: 5, within: 1) {
            try Stage.run(launch) { second in
              try waiter.waitForStatus("it waits", second) { $0.phases.first?.state == "waiting" }
              let start = monotonicNow()
              try second.send(signal)
              #expect(try second.waitForEnd() == .exited(128 + signal))
              let duration = monotonicNow() - start
              #expect(second.adopted == [])
              return duration
            }
          }
          #expect(best < 1)
        }
      }
    }
  }

  @Test("E36: TERM during a backoff: at once, and no new start")
  func stopDuringBackoff() throws {
    try Stage.node { site in
      try site.probe(
        ["exit", "3"], RunSettings(app: ["restart: always", "backoff: {initial: 1h, maximum: 1h}"]))
    } _: { stage, site in
      try site.waitForStatus("the app waits for its restart", stage) {
        ($0["app"]?.incarnation ?? 0) == 1 && $0["app"]?.pid == nil
      }
      try stage.send(SIGTERM)
      // The backoff would take an hour.
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(3) || ending == .exited(143))
    }
  }

  @Test("E37: TERM in the same instant as the app's death: the stop wins, there is no restart")
  func stopAndDeath() throws {
    for _ in 0..<5 {
      try Stage.node { site in
        try site.probe(
          ["on-signal"],
          RunSettings(app: [
            "restart: always", "backoff: {initial: 1ms, maximum: 1ms}", "start_limit: {count: 1000000}",
            // One that a newborn app does not even notice: it would live to say “ready”.
            "stop: {signal: WINCH, timeout: 1s}",
          ]))
      } _: { stage, site in
        let app = try stage.number(after: "ready ")
        // Both are there when we are allowed to look.
        try stage.send(SIGSTOP)
        try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
        kill(app, SIGKILL)
        try eventually("the app is dead") { ProcessEntry(pid: app)?.state == "Z" }
        try stage.send(SIGTERM)
        try stage.send(SIGCONT)
        try stage.waitForEnd()
        try stage.waitForEndOfOutput()
        #expect(stage.output.lines.filter { $0.hasPrefix("ready") }.count == 1)
      }
    }
  }

  @Test("E38: the same stop twice is one stop; a second one half a second later kills the app")
  func escalation() throws {
    try Stage.node { site in
      try site.probe(["family", "--leader-ignores", "--member", "ignore"], RunSettings(stopTimeout: "60s"))
    } _: { stage, site in
      let member = try stage.number(after: "member 1 ")
      let app = try stage.number(after: "ready ")
      // Together, however long this test is kept waiting between them.
      try stage.send(SIGSTOP)
      try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
      try stage.send(SIGTERM)
      try stage.send(SIGINT)
      try stage.send(SIGCONT)
      try stage.line("signal 15") { $0 == "signal 15" }
      // Had that been an escalation, the app would be dead before it could answer.
      kill(app, SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      try letPass(seconds: 0.6, stage)
      kill(app, SIGUSR2)
      try stage.line("signal 12") { $0 == "signal 12" }
      let start = monotonicNow()
      try stage.send(SIGTERM)
      try stage.waitForEnd()
      // Its own grace ends 30 s after the first one.
      #expect(monotonicNow() - start < 20)
      #expect(ProcessEntry(pid: app) == nil && ProcessEntry(pid: member) == nil)
      #expect(stage.adopted == [])
    }
  }

  @Test("E38: the third stop signal kills strays too")
  func thirdSignal() throws {
    try Stage.node { site in
      try site.probe(
        ["family", "--leader-ignores", "--member", "setsid,ignore"], RunSettings(stopTimeout: "60s"))
    } _: { stage, site in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      let start = monotonicNow()
      try stage.send(SIGTERM)
      try stage.line("signal 15") { $0 == "signal 15" }
      for _ in 0..<2 where stage.ending == nil {
        try letPass(seconds: 0.6, stage)
        if stage.ending == nil { try stage.send(SIGTERM) }
      }
      try stage.waitForEnd()
      #expect(monotonicNow() - start < 20)
      #expect(ProcessEntry(pid: stray) == nil)
      #expect(stage.adopted == [])
    }
  }

  @Test(
    "E39: a storm of 100,000 signals: bounded memory, no line per signal, reaping goes on", .tags(.floods))
  func storm() throws {
    try Stage.node {
      try $0.probe(["orphans", "300", "stream"])
    } _: { stage, site in
      try stage.line("ready")
      let before = anonymousKilobytes(stage.pid)
      for _ in 0..<100 {
        for _ in 0..<1000 { kill(stage.pid, SIGUSR1) }
        try stage.pump()
      }
      try stage.line("done") { $0 == "done" }
      try stage.send(64)
      try stage.line("signal 64")
      try eventually("every orphan is reaped") { ProcessEntry.children(of: stage.pid).count == 1 }
      #expect(anonymousKilobytes(stage.pid) - before < 1024)
      #expect(stage.errors.lines.count < 20)
      #expect(try site.get("/livez").status == 200)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E50: an app that we may not signal (EPERM) is logged, and we go on", .needsRoot)
  func notPermitted() throws {
    try withPublicPrograms { _, probe in
      try Stage.node { site in
        try site.launch(
          [probe, "on-signal", "--exit-on", "USR2=6"], RunSettings(app: ["user: daemon"]),
          state: ["--drop-capability", "5"])
      } _: { stage, site in
        let app = try stage.number(after: "ready ")
        try stage.send(SIGUSR1)
        try stage.errorLine(containing: "not permitted")
        kill(app, SIGUSR2)
        #expect(try stage.waitForEnd() == .exited(6))
      }
    }
  }

  @Test("E52, E74: standard error closed by its reader: signals, health and stop go on, the app lives")
  func closedErrors() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=5"])
    } _: { stage, site in
      try stage.line("ready")
      stage.closeErrors()
      for signal in [SIGUSR1, SIGUSR2, SIGHUP] {
        try stage.send(signal)
        try stage.line("signal \(signal)") { $0 == "signal \(signal)" }
      }
      #expect(try site.get("/livez").status == 200)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(5))
      #expect(!stage.output.lines.contains("signal 13"))
    }
  }
}
