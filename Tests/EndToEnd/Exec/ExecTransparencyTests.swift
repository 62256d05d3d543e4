import Glibc
import Testing

/// Section by section what tini and dumb-init promise about one command: nobody notices that they are there.
@Suite("exec: transparency", .drivesProcesses)
struct ExecTransparencyTests {
  @Test("exactly one process, with one thread, stands between parent and child")
  func oneProcess() throws {
    try Stage.run(.probe(["on-signal"])) { stage in
      let child = try stage.number(after: "ready ")
      #expect(ProcessEntry(pid: child)?.parent == stage.pid)
      #expect(ProcessEntry(pid: stage.pid)?.threads == 1)
      #expect(ProcessEntry.children(of: stage.pid).map(\.pid) == [child])
    }
  }

  @Test("standard input and output pass untouched, and nothing is added to either stream")
  func streams() throws {
    let bytes = (0..<(1 << 18)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
    try Stage.run(.probe(["copy"], streams: .pipesWithInput)) { stage in
      for start in stride(from: 0, to: bytes.count, by: 4096) {
        try stage.write(Array(bytes[start..<(start + 4096)]))
        try stage.pump()
      }
      stage.closeInput()
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitForEndOfOutput()
      #expect(stage.output.bytes == bytes)
      #expect(stage.errors.text == "end of input\n")
    }
  }

  @Test("forwarding signals says nothing unless asked to")
  func silence() throws {
    try Stage.run(.probe(["on-signal", "--exit-on", "TERM=9"])) { stage in
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(9))
      try stage.waitForEndOfOutput()
      #expect(stage.errors.text == "")
      #expect(stage.output.lines.dropFirst() == ["signal 10", "signal 15"])
    }
  }

  @Test("--verbose speaks on standard error only")
  func verbose() throws {
    try Stage.run(.probe(["on-signal", "--exit-on", "TERM=0"], options: ExecOptions(isVerbose: true))) {
      stage in
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      try stage.send(SIGTERM)
      try stage.waitForEnd()
      try stage.waitForEndOfOutput()
      #expect(stage.output.lines.dropFirst() == ["signal 10", "signal 15"])
      #expect(stage.errors.text.contains("USR1") || stage.errors.text.contains("signal 10"))
    }
  }

  @Test("its own working folder is / after the start, the child keeps the one it has")
  func workingFolder() throws {
    try withTemporaryDirectory { folder in
      try Stage.run(.probe(["on-signal"], state: ["--cwd", folder])) { stage in
        let child = try stage.number(after: "ready ")
        #expect(readLink("/proc/\(child)/cwd") == folder)
        try eventually("the supervisor has moved to /") { readLink("/proc/\(stage.pid)/cwd") == "/" }
      }
    }
  }

  @Test("in group mode the child leads a session; in child mode a group")
  func sessions() throws {
    let grouped = try ChildState(text: Stage.result(.probe(["state"])).output)
    #expect(grouped["sid"] == grouped["pid"] && grouped["pgid"] == grouped["pid"])
    let alone = try ChildState(
      text: Stage.result(.probe(["state"], options: ExecOptions(target: .child))).output)
    #expect(alone["pgid"] == alone["pid"])
  }

  @Test("not PID 1 and no subreaper: one warning, in verbose mode only")
  func reapingWarning() throws {
    let verbose = try Stage.result(.probe(["exit", "0"], options: ExecOptions(isVerbose: true)))
    #expect(verbose.errors.split(separator: "\n").count { $0.contains("reaping won't work") } == 1)
    let subreaper = ExecOptions(isSubreaper: true, isVerbose: true)
    #expect(!(try Stage.result(.probe(["exit", "0"], options: subreaper)).errors.contains("won't work")))
    #expect(try Stage.result(.probe(["exit", "0"])).errors == "")
  }

  @Test("as PID 1 there is no such warning", .needsRoot)
  func noWarningAsInit() throws {
    let outcome = try Stage.result(
      .probe(["exit", "3"], options: ExecOptions(isVerbose: true), asInit: true))
    #expect(outcome.ending == .exited(3))
    #expect(!outcome.errors.contains("won't work"))
  }

  @Test("--parent-death-signal: the kernel tells us when the parent has gone, and the child hears of it")
  func parentDeathSignal() throws {
    var launch = try Launch.probe(["on-signal"], options: ExecOptions(parentDeathSignal: "USR1"))
    launch.command = [Programs.probe, "parent"].map { Array($0.utf8) } + launch.command
    try Stage.run(launch) { stage in
      try stage.line("ready")
      try stage.send(SIGKILL)
      try stage.line("signal 10")
    }
  }

  @Test("--help explains itself and exits 0")
  func help() throws {
    let outcome = try Stage.result(Launch([Programs.supervisor, "exec", "--help"]))
    #expect(outcome.ending == .exited(0))
    for option in [
      "--signal-target", "--rewrite", "--subreaper", "--warn-on-reap", "--expect-exit", "--verbose",
    ] {
      #expect((outcome.output + outcome.errors).contains(option))
    }
  }

  @Test(
    "a wrong command line exits 64, names what is wrong, and starts nothing",
    arguments: [
      (["exec"], "command"),
      (["exec", "--"], "command"),
      (["exec", "--bogus", "--", "/bin/true"], "--bogus"),
      (["exec", "--rewrite", "15", "--", "/bin/true"], "15"),
      (["exec", "--rewrite", "15:99", "--", "/bin/true"], "15:99"),
      (["exec", "--rewrite", "99:1", "--", "/bin/true"], "99:1"),
      (["exec", "--rewrite", ":", "--", "/bin/true"], "rewrite"),
      (["exec", "--rewrite", "-1:2", "--", "/bin/true"], "-1:2"),
      (["exec", "--signal-target", "both", "--", "/bin/true"], "both"),
      (["exec", "--expect-exit", "256", "--", "/bin/true"], "256"),
      (["exec", "--expect-exit", "x", "--", "/bin/true"], "x"),
      (["exec", "--parent-death-signal", "NOPE", "--", "/bin/true"], "NOPE"),
    ])
  func usage(words: [String], named: String) throws {
    let outcome = try Stage.result(Launch([Programs.supervisor] + words))
    #expect(outcome.ending == .exited(64))
    #expect(outcome.output == "")
    #expect(outcome.errors.split(separator: "\n").first?.contains(named) == true)
  }

  @Test("options of the command are its own, with and without --")
  func separator() throws {
    let binary = Programs.supervisor
    for words in [["--", Programs.probe, "echo", "--verbose"], [Programs.probe, "echo", "--verbose"]] {
      let outcome = try Stage.result(Launch([binary, "exec"] + words))
      #expect(outcome.output == "--verbose\n")
      #expect(outcome.errors == "")
    }
  }
}
