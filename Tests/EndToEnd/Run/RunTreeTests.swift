import Glibc
import Testing

/// The promise that no wrapper keeps: when we are gone, nobody of ours is left.
@Suite("run: tree", .drivesProcesses)
struct RunTreeTests {
  @Test(
    "E21: 10,000 orphans dying at once as PID 1: no zombie stays, signals are answered meanwhile", .needsRoot,
    .tags(.floods))
  func orphanBurst() throws {
    try Stage.run(Launch([Programs.probe, "on-signal"])) { bystander in
      try bystander.line("ready")
      try Stage.node {
        try $0.probe(["orphans", "10000", "burst"], asInit: true)
      } _: { stage, site in
        try stage.line("ready", within: 60)
        #expect(ProcessEntry.children(of: stage.pid).count > 10_000)
        try stage.send(SIGUSR2)
        try stage.line("done")
        var (slowest, machine) = (0.0, 0.0)
        repeat {
          slowest = max(slowest, try stage.secondsToAnswer())
          machine = max(machine, try bystander.secondsToAnswer())
        } while ProcessEntry.children(of: stage.pid).count > 1
        // How fast is for the benchmarks to say; here nobody may go without an answer.
        #expect(slowest - machine < 10)
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("E22: a service's old PID is taken by a stray: nothing is mixed up", .needsRoot)
  func reusedPID() throws {
    try Stage.node { site in
      let settings = RunSettings(services: [
        "web: {command: \(RunSettings.probe("on-signal")), backoff: {initial: 1h, maximum: 1h}, ready: {exec: [/bin/true]}}"
      ])
      return try site.probe(["claim"], settings, asInit: true, streams: .pipesWithInput)
    } _: { stage, site in
      try stage.line("ready")
      try stage.line("ready")
      let outside = try #require(
        ProcessEntry.children(of: stage.pid).first { (commandLine($0.pid).last ?? "") == "on-signal" })
      let inside = try #require(try site.status()["web"]?.pid)
      kill(outside.pid, SIGKILL)
      try site.waitForStatus("the service waits for its restart", stage) {
        $0["web"]?.state == "backing-off" || $0["web"]?.pid == nil
      }
      // The input is the app's own: the supervisor passes it on.
      try stage.write(Array("\(inside)\n".utf8))
      try stage.line("claimed \(inside)")
      // A stop of the service must not hit the stray that has its number.
      #expect(try site.client("stop", "web").ending == .exited(0))
      var found: ProcessEntry?
      try eventually("the stray is adopted") {
        found = ProcessEntry.children(of: stage.pid).first {
          (commandLine($0.pid).last ?? "") == "claim" && $0.pid != $0.group
        }
        return found != nil
      }
      let stray = try #require(found)
      kill(stray.pid, SIGWINCH)
      try stage.line("claimant signal 28")
      #expect(!stage.output.lines.contains { $0 == "claimant signal 15" || $0 == "claimant signal 18" })
      // The stray's end, with a code of its own, is not the service's.
      kill(stray.pid, SIGTERM)
      try eventually("the stray is reaped") { ProcessEntry(pid: stray.pid) == nil }
      #expect(try site.status()["web"]?.incarnation == 1)
      #expect(try site.status()["web"]?.state == "stopped")
      #expect(try site.client("start", "web").ending == .exited(0))
      try stage.line("ready")
      #expect(try site.status()["web"]?.incarnation == 2)
    }
  }

  @Test(
    "E23: a leader that double-forks and ends: the service has ended, the stray is counted and stopped with us"
  )
  func daemonizing() throws {
    try Stage.node { site in
      let settings = RunSettings(services: [
        "web: {command: \(RunSettings.probe("family", "--member", "daemon", "--exit", "0")), restart: never}"
      ])
      return try site.probe(["on-signal", "--exit-on", "TERM=0"], settings)
    } _: { stage, site in
      let stray = try stage.number(after: "member 1 ")
      try site.waitForStatus("the service has ended and the stray is counted", stage) {
        $0["web"]?.pid == nil && $0.strays.count == 1 && $0.strays.names.contains { $0.contains("Probe") }
      }
      #expect(ProcessEntry(pid: stray)?.parent == stage.pid)
      try stage.send(SIGTERM)
      try stage.line("member 1 signal 15")
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitUntilNobodyIsLeft()
      #expect(stage.adopted == [])
    }
  }

  @Test(
    "E24: a grandchild with a session of its own that ignores TERM is found and killed",
    arguments: ["setsid,ignore", "daemon,ignore", "setpgid,ignore"])
  func strayThatIgnores(member: String) throws {
    try Stage.node { site in
      try site.probe(["family", "--member", member])
    } _: { stage, site in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      try stage.send(SIGTERM)
      try stage.line("member 1 signal 15")
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitUntilNobodyIsLeft()
      #expect(stage.adopted == [])
      #expect(ProcessEntry(pid: stray) == nil)
    }
  }

  @Test("E24: a stray that is stopped (SIGSTOP) gets its TERM too")
  func stoppedStray() throws {
    try Stage.node {
      try $0.probe(["family", "--member", "setsid"])
    } _: { stage, site in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      kill(stray, SIGSTOP)
      try stage.send(SIGTERM)
      try stage.line("member 1 signal 15")
      try stage.waitForEnd()
      #expect(stage.adopted == [])
    }
  }

  @Test(
    "E25: without the right to be a subreaper that is said once, in the log and on the status page",
    arguments: ["ENOSYS", "EPERM"])
  func noSubreaper(error: String) throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=0"], state: ["--seccomp", "prctl-subreaper:\(error)"])
    } _: { stage, site in
      try stage.line("ready")
      #expect(stage.errors.lines.filter { $0.contains("subreaper") }.count == 1)
      #expect(try site.status().notes.filter { $0.contains("subreaper") }.count == 1)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test(
    "E26: as PID 1 and under another init the same stop, and nobody is left", .needsRoot,
    arguments: [true, false])
  func doubleInit(asInit: Bool) throws {
    try Stage.node { site in
      let words = ["family", "--member", "setsid", "--member", "daemon", "--member", "plain"]
      var launch = try site.probe(words, asInit: true)
      if !asInit {
        // A wrapper that only passes signals on is PID 1.
        launch.command =
          [Programs.supervisor, "exec", "--signal-target", "child", "--"].map { Array($0.utf8) }
          + launch.command
      }
      return launch
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGTERM)
      for _ in 1...3 {
        try stage.line("a member's TERM") { $0.hasPrefix("member ") && $0.hasSuffix("signal 15") }
      }
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test(
    "E27: the leader ends on TERM, a member of its group ignores it: it is waited for, killed at the deadline"
  )
  func memberThatIgnores() throws {
    try Stage.node { site in
      try site.probe(["family", "--member", "ignore"], RunSettings(app: ["stop: {timeout: 4s}"]))
    } _: { stage, site in
      let member = try stage.number(after: "member 1 ")
      try stage.line("ready")
      let start = monotonicNow()
      try stage.send(SIGTERM)
      try stage.line("signal 15") { $0 == "signal 15" }
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(monotonicNow() - start >= 3.9)
      #expect(stage.adopted == [])
      #expect(ProcessEntry(pid: member) == nil)
    }
  }

  @Test("E28: a member that needs 0.7 s after its leader has gone gets them")
  func memberThatCleansUp() throws {
    try Stage.node {
      try $0.probe(["family", "--member", "linger=700"])
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(stage.output.lines.contains("member 1 cleaned"))
      #expect(stage.adopted == [])
    }
  }

  @Test("E28: the same when the leader ends by itself")
  func memberThatCleansUpUnasked() throws {
    try Stage.node {
      try $0.probe(["family", "--member", "linger=700", "--exit", "3"])
    } _: { stage, site in
      #expect(try stage.waitForEnd() == .exited(3))
      try stage.waitForEndOfOutput()
      #expect(stage.output.lines.contains("member 1 cleaned"))
      #expect(stage.adopted == [])
    }
  }

  @Test("E29: an app that is stopped or continued has not ended")
  func stoppedApp() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=4"])
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      kill(app, SIGSTOP)
      try eventually("the app is stopped") { ProcessEntry(pid: app)?.state == "T" }
      #expect(try site.status()["app"]?.pid == app)
      kill(app, SIGCONT)
      try stage.line("signal 18")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(4))
    }
  }

  @Test("E30: a stray that holds the app's output does not keep us")
  func heldOutput() throws {
    try Stage.node { site in
      try site.probe(["family", "--member", "setsid,ignore", "--exit", "2"], RunSettings(stopTimeout: "1s"))
    } _: { stage, site in
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(2))
      #expect(stage.adopted == [])
    }
  }

  @Test("E31: a child that we did not start is reaped and is never a service")
  func foreignChild() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=3"], state: ["--foreign-child", "9"])
    } _: { stage, site in
      let foreign = try stage.number(after: "foreign ")
      try stage.line("ready")
      #expect(try site.status().processes.map(\.name) == ["app"])
      kill(foreign, SIGUSR1)
      try eventually("the foreign child is reaped") { ProcessEntry(pid: foreign) == nil }
      #expect(try site.status()["app"]?.state == "running")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(3))
    }
  }

  @Test(
    "E68: a step that leaves a process behind: it is gone before the next step starts",
    arguments: ["plain", "setsid", "daemon"])
  func stepLeavesProcess(member: String) throws {
    try Stage.node { site in
      try site.probe(
        ["on-signal"],
        RunSettings(infrastructure: [
          "{name: first, run: \(RunSettings.probe("family", "--member", member, "--exit", "0"))}",
          "{name: second, run: \(RunSettings.probe("echo", "second"))}",
        ]))
    } _: { stage, site in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("second")
      #expect(ProcessEntry(pid: stray) == nil)
      #expect(stage.output.lines.contains("member 1 signal 15"))
    }
  }
}

private func commandLine(_ pid: pid_t) -> [String] {
  (readText("/proc/\(pid)/cmdline") ?? "").split(separator: "\0").map(String.init)
}

extension Stage {
  /// How long the forwarded USR1 takes to be answered.
  func secondsToAnswer() throws -> Double {
    let start = monotonicNow()
    try send(SIGUSR1)
    try line("signal 10") { $0 == "signal 10" }
    return monotonicNow() - start
  }
}
