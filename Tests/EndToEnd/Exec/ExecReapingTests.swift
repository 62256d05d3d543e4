import Glibc
import Testing

@Suite("exec: reaping", .drivesProcesses)
struct ExecReapingTests {
  @Test("at the child's end the rest of its group gets TERM, and we do not wait for it")
  func restOfGroup() throws {
    let words = ["family", "--member", "linger=5000", "--member", "setsid", "--exit", "4"]
    try Stage.run(.probe(words)) { stage in
      let outsider = try stage.number(after: "member 2 ")
      #expect(try stage.waitForEnd() == .exited(4))
      // It still cleans up: we were gone before it was done.
      #expect(!stage.output.lines.contains("member 1 cleaned"))
      try stage.line("member 1 signal 15")
      try stage.line("member 1 cleaned")
      // Higher than 15: a TERM that had come would be said first.
      kill(outsider, SIGWINCH)
      try stage.line("member 2 signal 28")
      #expect(!stage.output.lines.contains("member 2 signal 15"))
    }
  }

  @Test("child target: at the child's end nobody else is told")
  func childTargetTellsNobody() throws {
    let launch = try Launch.probe(
      ["family", "--member", "plain", "--exit", "4"], options: ExecOptions(target: .child))
    try Stage.run(launch) { stage in
      let member = try stage.number(after: "member 1 ")
      #expect(try stage.waitForEnd() == .exited(4))
      kill(member, SIGWINCH)
      try stage.line("member 1 signal 28")
      #expect(!stage.output.lines.contains("member 1 signal 15"))
    }
  }

  @Test("E25: as a subreaper it adopts and reaps what loses its parent, and names it with --warn-on-reap")
  func subreaper() throws {
    let options = ExecOptions(isSubreaper: true, warnsOnReap: true)
    try Stage.run(.probe(["family", "--member", "daemon"], options: options)) { stage in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      #expect(ProcessEntry(pid: stray)?.parent == stage.pid)
      kill(stray, SIGKILL)
      try stage.errorLine(containing: "\(stray)")
      try eventually("the stray is reaped") { ProcessEntry(pid: stray) == nil }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("without --warn-on-reap a reaped stray is not mentioned")
  func silentReaping() throws {
    try Stage.run(.probe(["family", "--member", "daemon"], options: ExecOptions(isSubreaper: true))) {
      stage in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      kill(stray, SIGKILL)
      try eventually("the stray is reaped") { ProcessEntry(pid: stray) == nil }
      try stage.send(SIGTERM)
      try stage.waitForEnd()
      #expect(stage.errors.text == "")
    }
  }

  @Test("E22: what a stray ended with is never taken for the child's code")
  func strayStatus() throws {
    let options = ExecOptions(target: .child, isSubreaper: true)
    try Stage.run(.probe(["family", "--member", "daemon,code=9"], options: options)) { stage in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      kill(stray, SIGTERM)
      try eventually("the stray is reaped") { ProcessEntry(pid: stray) == nil }
      try stage.send(SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test(
    "E21: 10,000 orphans dying at once as PID 1: none stays a zombie, signals are answered meanwhile",
    .needsRoot, .tags(.floods))
  func orphanBurst() throws {
    let launch = try Launch.probe(
      ["orphans", "10000", "burst"], options: ExecOptions(target: .child), asInit: true)
    // A process of nobody's: what it needs for an answer meanwhile is the machine's doing, not ours.
    try Stage.run(Launch([Programs.probe, "on-signal"])) { bystander in
      try bystander.line("ready")
      func secondsToAnswer(_ stage: Stage) throws -> Double {
        let start = monotonicNow()
        try stage.send(SIGUSR1)
        try stage.line("signal 10") { $0 == "signal 10" }
        return monotonicNow() - start
      }
      try Stage.run(launch) { stage in
        try stage.line("ready", within: 60)
        #expect(ProcessEntry.children(of: stage.pid).count > 10_000)
        try stage.send(SIGUSR2)
        try stage.line("done")
        var (slowest, machine) = (0.0, 0.0)
        repeat {
          slowest = max(slowest, try secondsToAnswer(stage))
          machine = max(machine, try secondsToAnswer(bystander))
        } while ProcessEntry.children(of: stage.pid).count > 1
        // How fast is for the benchmarks to say; here nobody may go without an answer.
        #expect(slowest - machine < 10)
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("orphans as they come, as PID 1: none stays a zombie", .needsRoot, .tags(.floods))
  func orphanStream() throws {
    let launch = try Launch.probe(
      ["orphans", "2000", "stream"], options: ExecOptions(target: .child), asInit: true)
    try Stage.run(launch) { stage in
      try stage.line("done", within: 60)
      try eventually("all are reaped") { ProcessEntry.children(of: stage.pid).count == 1 }
    }
  }

  @Test("E26: under another init it does the same: code, signals, strays reaped", .needsRoot)
  func underAnotherInit() throws {
    var launch = try Launch.probe(["family", "--member", "daemon"], options: ExecOptions(isSubreaper: true))
    launch.command = [Programs.supervisor, "exec", "--"].map { Array($0.utf8) } + launch.command
    launch.isInitOfNamespace = true
    try Stage.run(launch) { stage in
      try stage.line("ready")
      let inner = try #require(ProcessEntry.children(of: stage.pid).first)
      // The stray is the one that leads no group.
      let stray = try #require(ProcessEntry.children(of: inner.pid).first { $0.pid != $0.group })
      kill(stray.pid, SIGKILL)
      try eventually("the inner one reaps the stray") { ProcessEntry(pid: stray.pid) == nil }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E29: a child that is stopped or continued has not ended")
  func stoppedChild() throws {
    try Stage.run(.probe(["kill-self", "STOP"])) { stage in
      try eventually("the child is stopped") { ProcessEntry.children(of: stage.pid).first?.state == "T" }
      #expect(try stage.survivors() == ["\(stage.pid):\(ProcessEntry(pid: stage.pid)?.name ?? "")"])
      try stage.send(SIGCONT)
      try stage.line("survived 19")
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E31: a child that we did not start is reaped, and its code is not ours")
  func foreignChild() throws {
    let launch = try Launch.probe(["on-signal", "--exit-on", "TERM=3"], state: ["--foreign-child", "9"])
    try Stage.run(launch) { stage in
      let foreign = try stage.number(after: "foreign ")
      try stage.line("ready")
      kill(foreign, SIGUSR1)
      try eventually("the foreign child is reaped") { ProcessEntry(pid: foreign) == nil }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(3))
    }
  }

  @Test("E30: a stray that holds the output open does not delay our end")
  func heldOutput() throws {
    try Stage.run(.probe(["family", "--member", "setsid,ignore", "--exit", "2"])) { stage in
      #expect(try stage.waitForEnd() == .exited(2))
      // The stray lives and holds the pipe: the end was decided by wait, not by end of file.
      let survivors = try stage.survivors()
      #expect(survivors.count == 1)
    }
  }
}
