import Glibc
import Testing

@Suite("run: terminal", .drivesProcesses)
struct RunTerminalTests {
  private let controlling = ["--controlling-terminal"]

  @Test("E53: Ctrl-C is one stop: each process gets one TERM, from us, and no INT from the kernel")
  func interrupt() throws {
    let terminal = try Terminal()
    try Stage.node { site in
      let service = "web: {command: \(RunSettings.probe("family"))}"
      return try site.probe(
        ["on-signal", "--exit-on", "TERM=0"], RunSettings(services: [service]), state: controlling,
        streams: .terminal(terminal))
    } _: { stage, site in
      try stage.line("ready")
      try stage.line("ready")
      try stage.write([3])
      #expect(try stage.waitForEnd() == .exited(0))
      let signals = stage.output.lines.filter { $0.hasPrefix("signal ") }
      #expect(signals.filter { $0 == "signal 15" }.count == 2)
      #expect(!signals.contains("signal 2"))
    }
  }

  @Test("E53: --tty hands the terminal over: Ctrl-C is the app's, and does not stop us")
  func handedOver() throws {
    let terminal = try Terminal()
    try Stage.node { site in
      try site.probe(
        ["on-signal", "--exit-on", "TERM=0"], options: ["--tty"], state: controlling,
        streams: .terminal(terminal))
    } _: { stage, site in
      try stage.line("ready")
      try stage.write([3])
      try stage.line("signal 2") { $0 == "signal 2" }
      try stage.write([28])
      try stage.line("signal 3") { $0 == "signal 3" }
      #expect(stage.ending == nil)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E44: with a terminal a change of the window size reaches the app")
  func windowSize() throws {
    let terminal = try Terminal()
    try Stage.node {
      try $0.probe(["on-signal"], state: controlling, streams: .terminal(terminal))
    } _: {
      stage, site in
      try stage.line("ready")
      try terminal.resize(rows: 40, columns: 132)
      try stage.line("signal 28")
    }
  }

  @Test("E41: with a terminal TTIN and TTOU are not forwarded")
  func terminalStops() throws {
    let terminal = try Terminal()
    try Stage.node {
      try $0.probe(["on-signal"], state: controlling, streams: .terminal(terminal))
    } _: {
      stage, site in
      try stage.line("ready")
      try stage.send(SIGTTIN)
      try stage.send(SIGTTOU)
      try stage.send(64)
      try stage.line("signal 64")
      #expect(stage.output.lines.filter { $0.hasPrefix("signal ") } == ["signal 64"])
    }
  }

  @Test("E55: with TOSTOP we log to the terminal from the background and are not stopped")
  func backgroundWriter() throws {
    let terminal = try Terminal()
    try Stage.node { site in
      try site.probe(
        ["on-signal", "--exit-on", "TERM=3"], options: ["--tty"], state: controlling + ["--tostop"],
        streams: .terminal(terminal))
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(3))
      #expect(!stage.reports.contains { $0.hasPrefix("stopped") })
      #expect(stage.output.text.contains("stopping"))
    }
  }

  @Test("E56: the terminal vanishes: an orderly stop, and no spinning on a dead log")
  func hangUp() throws {
    let terminal = try Terminal()
    try withTemporaryDirectory { folder in
      try Stage.node { site in
        let app = "exec >\(folder)/log 2>&1; exec \(Programs.probe) on-signal --exit-on TERM=4"
        return try site.launch(["/bin/sh", "-c", app], state: controlling, streams: .terminal(terminal))
      } _: { stage, site in
        try site.waitForStatus("the app runs", stage) { $0["app"]?.pid != nil }
        try eventually("the app listens") { readText(folder + "/log")?.contains("ready") == true }
        let before = processorSeconds(stage.pid)
        stage.hangUp()
        #expect(try stage.waitForEnd() == .exited(4))
        #expect(before < 5)
        #expect(readText(folder + "/log")?.contains("signal 15") == true)
        #expect(readText(folder + "/log")?.contains("signal 1\n") == false)
      }
    }
  }
}

/// Processor time used so far, in seconds.
func processorSeconds(_ pid: pid_t) -> Double {
  guard let text = readText("/proc/\(pid)/stat"), let close = text.lastIndex(of: ")") else { return 0 }
  let fields = text[text.index(after: close)...].split(separator: " ")
  guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return 0 }
  return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
}
