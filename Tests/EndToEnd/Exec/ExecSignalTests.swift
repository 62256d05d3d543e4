import Glibc
import Testing

@Suite("exec: signals", .drivesProcesses)
struct ExecSignalTests {
  /// All that are forwarded as they are: not KILL, STOP and CHLD, and not those of job control.
  static let plainSignals = (Int32(1)...31).filter { ![9, 17, 18, 19, 20, 21, 22].contains($0) }
  static let realTimeSignals = Array(Int32(34)...64)

  private func expectForwarded(_ signals: [Int32], options: ExecOptions) throws {
    try Stage.run(.probe(["on-signal"], options: options)) { stage in
      try stage.line("ready")
      for signal in signals {
        try stage.send(signal)
        try stage.line("signal \(signal)") { $0 == "signal \(signal)" }
      }
      #expect(stage.output.lines.dropFirst() == signals.map { "signal \($0)" }[...])
    }
  }

  @Test(
    "E46: 1 to 31 are forwarded once each, fault signals sent from outside included",
    arguments: [ExecOptions.Target.group, .child])
  func forwarded(target: ExecOptions.Target) throws {
    try expectForwarded(Self.plainSignals, options: ExecOptions(target: target))
  }

  @Test("E45: real-time signals are forwarded", arguments: [ExecOptions.Target.group, .child])
  func realTimeForwarded(target: ExecOptions.Target) throws {
    try expectForwarded(Self.realTimeSignals, options: ExecOptions(target: target))
  }

  @Test("CONT is forwarded")
  func resumes() throws {
    try expectForwarded([SIGCONT, SIGUSR1], options: ExecOptions())
  }

  @Test(
    "group target: every member of the group hears it; child target: the child alone",
    arguments: [ExecOptions.Target.group, .child])
  func target(target: ExecOptions.Target) throws {
    try Stage.run(.probe(["family", "--member", "plain"], options: ExecOptions(target: target))) { stage in
      let member = try stage.number(after: "member 1 ")
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      // A member takes its pending signals in order of their numbers: had it got 10, it would say so first.
      kill(member, SIGUSR2)
      try stage.line("member 1 signal 12")
      let heard = stage.output.lines.contains("member 1 signal 10")
      #expect(heard == (target == .group))
    }
  }

  @Test(
    "rewriting: the other signal arrives, names and numbers alike",
    arguments: ["15:3", "TERM:QUIT", "SIGTERM:SIGQUIT", "15:QUIT"])
  func rewrite(rule: String) throws {
    try Stage.run(.probe(["on-signal"], options: ExecOptions(rewrites: [rule]))) { stage in
      try stage.line("ready")
      try stage.send(SIGTERM)
      try stage.line("signal 3")
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      #expect(stage.output.lines.dropFirst() == ["signal 3", "signal 10"])
    }
  }

  @Test("rewriting: 0 drops, the last definition wins, others are untouched")
  func rewriteDrops() throws {
    let options = ExecOptions(rewrites: ["1:0", "15:3", "15:12", "10:0", "10:2"])
    try Stage.run(.probe(["on-signal"], options: options)) { stage in
      try stage.line("ready")
      try stage.send(SIGHUP)
      try stage.send(SIGTERM)
      try stage.line("signal 12")
      try stage.send(SIGUSR1)
      try stage.line("signal 2")
      try stage.send(SIGQUIT)
      try stage.line("signal 3")
      #expect(stage.output.lines.dropFirst() == ["signal 12", "signal 2", "signal 3"])
    }
  }

  @Test("E45: a real-time signal can be rewritten", arguments: ["37:15", "RTMIN+3:TERM"])
  func rewriteRealTime(rule: String) throws {
    try Stage.run(.probe(["on-signal", "--exit-on", "TERM=3"], options: ExecOptions(rewrites: [rule]))) {
      stage in
      try stage.line("ready")
      try stage.send(37)
      #expect(try stage.waitForEnd() == .exited(3))
    }
  }

  @Test(
    "TSTP, TTIN and TTOU: group mode stops the group and itself, CONT wakes both",
    arguments: [SIGTSTP, SIGTTIN, SIGTTOU])
  func jobControl(signal: Int32) throws {
    try Stage.run(.probe(["family", "--member", "plain"])) { stage in
      let member = try stage.number(after: "member 1 ")
      let child = try stage.number(after: "ready ")
      try stage.send(signal)
      try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
      try eventually("the group is stopped") {
        ProcessEntry(pid: child)?.state == "T" && ProcessEntry(pid: member)?.state == "T"
      }
      try stage.send(SIGCONT)
      try stage.report("the resumption") { $0 == "continued" }
      try stage.line("signal 18") { $0 == "signal 18" }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test(
    "TSTP, TTIN and TTOU: a rewrite replaces the STOP in group mode", arguments: [SIGTSTP, SIGTTIN, SIGTTOU])
  func jobControlRewritten(signal: Int32) throws {
    try Stage.run(.probe(["on-signal"], options: ExecOptions(rewrites: ["\(signal):10"]))) { stage in
      try stage.line("ready")
      try stage.send(signal)
      try stage.line("signal 10")
      try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
      try stage.send(SIGCONT)
      try stage.line("signal 18")
    }
  }

  @Test("TSTP, TTIN and TTOU: child mode forwards and stops itself", arguments: [SIGTSTP, SIGTTIN, SIGTTOU])
  func jobControlOfChild(signal: Int32) throws {
    try Stage.run(.probe(["on-signal"], options: ExecOptions(target: .child))) { stage in
      try stage.line("ready")
      try stage.send(signal)
      try stage.line("signal \(signal)") { $0 == "signal \(signal)" }
      try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
      try stage.send(SIGCONT)
      try stage.line("signal 18")
    }
  }

  @Test("E08: a stop that is already pending at our start reaches the child")
  func pendingStop() throws {
    for _ in 0..<20 {
      let outcome = try Stage.result(
        .exec(["/bin/sleep", "1000"], state: ["--block", "TERM", "--raise", "TERM"]))
      #expect(outcome.ending == .exited(128 + SIGTERM))
    }
  }

  @Test("E08: a pending stop as PID 1, where default actions do not count", .needsRoot)
  func pendingStopAsInit() throws {
    for _ in 0..<10 {
      let launch = try Launch.exec(
        ["/bin/sleep", "1000"], state: ["--block", "TERM", "--raise", "TERM"], asInit: true)
      #expect(try Stage.result(launch).ending == .exited(128 + SIGTERM))
    }
  }

  @Test("E08: a stop at any moment of the start ends the whole, it is never lost")
  func stopDuringStart() throws {
    for round in 0..<60 {
      try Stage.run(.exec(["/bin/sleep", "1000"])) { stage in
        var pause = timespec(tv_sec: 0, tv_nsec: round * 50_000)
        nanosleep(&pause, nil)
        try stage.send(SIGTERM)
        // Before our first statement the signal's default action is the right one.
        let ending = try stage.waitForEnd()
        #expect(ending == .exited(128 + SIGTERM) || ending == .signaled(SIGTERM))
      }
    }
  }

  @Test(
    "E39: a storm of 100,000 signals: nothing lost that matters, no memory, no starved reaping",
    .tags(.floods))
  func storm() throws {
    let options = ExecOptions(target: .child, isSubreaper: true)
    try Stage.run(.probe(["orphans", "300", "stream"], options: options)) { stage in
      try stage.line("ready")
      let before = anonymousKilobytes(stage.pid)
      for _ in 0..<100 {
        for _ in 0..<1000 { kill(stage.pid, SIGUSR1) }
        try stage.pump()
      }
      try stage.line("done") { $0 == "done" }
      try stage.send(SIGQUIT)
      try stage.line("signal 3") { $0 == "signal 3" }
      try eventually("every orphan is reaped") { ProcessEntry.children(of: stage.pid).count == 1 }
      #expect(anonymousKilobytes(stage.pid) - before < 1024)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E50: a child that we may not signal any more (EPERM) is no reason to end", .needsRoot)
  func notPermitted() throws {
    let launch = try Launch.probe(
      ["on-signal", "--uid", "65534", "--exit-on", "USR2=6"],
      options: ExecOptions(target: .child, isVerbose: true),
      state: ["--drop-capability", "5"])
    try Stage.run(launch) { stage in
      let child = try stage.number(after: "ready ")
      try stage.send(SIGUSR1)
      try stage.errorLine(containing: "not permitted")
      kill(child, SIGUSR2)
      #expect(try stage.waitForEnd() == .exited(6))
      #expect(!stage.output.lines.contains("signal 10"))
    }
  }

  @Test("E52: a closed standard error does not end us, whatever we want to say")
  func closedErrors() throws {
    let options = ExecOptions(isVerbose: true)
    try Stage.run(.probe(["on-signal", "--exit-on", "TERM=5"], options: options)) { stage in
      try stage.line("ready")
      stage.closeErrors()
      for signal in [SIGUSR1, SIGUSR2, SIGHUP] {
        try stage.send(signal)
        try stage.line("signal \(signal)") { $0 == "signal \(signal)" }
      }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(5))
    }
  }

  @Test("E52: the child keeps the default PIPE, and its death by it is 141")
  func pipeSignal() throws {
    let outcome = try Stage.result(.probe(["kill-self", "PIPE"]))
    #expect(outcome.ending == .exited(128 + SIGPIPE))
  }
}

/// Memory that the process really owns. The pages of its program come and go with what it does, and are the kernel's
/// to reclaim.
func anonymousKilobytes(_ pid: pid_t) -> Int {
  guard let text = readText("/proc/\(pid)/status") else { return 0 }
  let line = text.split(separator: "\n").first { $0.hasPrefix("RssAnon:") }
  return line.flatMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } } ?? 0
}
