import Glibc
import Testing

@Suite("exec: terminal", .drivesProcesses)
struct ExecTerminalTests {
  private func launch(
    _ words: [String], _ terminal: Terminal, options: ExecOptions = ExecOptions(), state: [String] = []
  ) throws -> Launch {
    try .probe(
      words, options: options, state: ["--controlling-terminal"] + state, streams: .terminal(terminal))
  }

  @Test("E54: in group mode the child's session has the terminal, the child is in its foreground")
  func session() throws {
    let state = try ChildState(text: Stage.result(launch(["state"], Terminal())).output)
    #expect(state["sid"] == state["pid"])
    #expect(state["terminal"] == "1")
    #expect(state["foreground"] == state["pgid"])
  }

  @Test("E54: in child mode the child's group is in the foreground of our terminal")
  func foreground() throws {
    let state = try ChildState(
      text: Stage.result(launch(["state"], Terminal(), options: ExecOptions(target: .child))).output)
    #expect(state["terminal"] == "1")
    #expect(state["foreground"] == state["pgid"])
  }

  @Test("E54: the HUP and CONT of the hand-over do not reach the child; later ones do", arguments: 0..<5)
  func handOver(round: Int) throws {
    try Stage.run(launch(["on-signal"], Terminal())) { stage in
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      try stage.send(SIGHUP)
      try stage.line("signal 1")
      try stage.send(SIGCONT)
      try stage.line("signal 18")
      #expect(stage.output.lines.dropFirst() == ["signal 10", "signal 1", "signal 18"])
    }
  }

  @Test("E54: Ctrl-C and Ctrl-\\ reach the child once each", arguments: [ExecOptions.Target.group, .child])
  func controlCharacters(target: ExecOptions.Target) throws {
    try Stage.run(launch(["on-signal"], Terminal(), options: ExecOptions(target: target))) { stage in
      try stage.line("ready")
      try stage.write([3])
      try stage.line("signal 2") { $0 == "signal 2" }
      try stage.write([28])
      try stage.line("signal 3") { $0 == "signal 3" }
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      #expect(stage.output.lines.dropFirst() == ["signal 2", "signal 3", "signal 10"])
    }
  }

  @Test("E54: a change of the window size reaches the child", arguments: [ExecOptions.Target.group, .child])
  func windowSize(target: ExecOptions.Target) throws {
    let terminal = try Terminal()
    try Stage.run(launch(["on-signal"], terminal, options: ExecOptions(target: target))) { stage in
      try stage.line("ready")
      try terminal.resize(rows: 40, columns: 132)
      try stage.line("signal 28")
    }
  }

  @Test("E54: an interactive shell has job control", arguments: [ExecOptions.Target.group, .child])
  func jobControl(target: ExecOptions.Target) throws {
    let options = ExecOptions(target: target)
    var launch = try Launch.exec(["/bin/bash", "--norc", "-i", "-c", "echo hello"], options: options)
    launch.streams = .terminal(try Terminal())
    launch.state = ["--controlling-terminal"]
    let outcome = try Stage.result(launch)
    #expect(outcome.ending == .exited(0))
    #expect(outcome.output.contains("hello"))
    #expect(!outcome.output.contains("job control"))
  }

  @Test("E54: a terminal that is not ours (no controlling terminal) is no trouble")
  func noControllingTerminal() throws {
    var launch = try Launch.probe(["exit", "3"])
    launch.streams = .terminal(try Terminal())
    let outcome = try Stage.result(launch)
    #expect(outcome.ending == .exited(3))
    #expect(outcome.output == "")
  }

  @Test(
    "E55: we may write to a terminal whose foreground is the child's, with TOSTOP set",
    arguments: [ExecOptions.Target.group, .child])
  func backgroundWriter(target: ExecOptions.Target) throws {
    let options = ExecOptions(target: target, isVerbose: true)
    let launch = try launch(
      ["on-signal", "--exit-on", "TERM=3"], Terminal(), options: options, state: ["--tostop"])
    try Stage.run(launch) { stage in
      try stage.line("ready") { $0.hasPrefix("ready") }
      try stage.send(SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(3))
      #expect(!stage.reports.contains { $0.hasPrefix("stopped") })
      #expect(stage.output.text.contains("USR1"))
    }
  }
}
