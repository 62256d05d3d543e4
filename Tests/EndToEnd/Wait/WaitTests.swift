import AgentProtocol
import Glibc
import Testing

@Suite("supervisor wait", .drivesProcesses)
struct WaitTests {
  private func launch(_ words: [String], agent: String? = nil) -> Launch {
    var launch = Launch([Programs.supervisor, "wait"] + words)
    if let agent { launch.environment.append(Array("SUPERVISOR_AGENT=\(agent)".utf8)) }
    return launch
  }

  /// The agent that the program under test has now, once it is another than `old`.
  private func agent(of stage: Stage, not old: pid_t = 0) throws -> pid_t {
    var found: pid_t = 0
    try eventually("an agent") {
      try stage.pump()
      let children = ProcessEntry.children(of: stage.pid).filter { $0.name.hasPrefix("supervisor-agen") }
      found = children.first { $0.pid != old && $0.state != "Z" }?.pid ?? 0
      return found != 0
    }
    return found
  }

  // MARK: What comes

  @Test("what is there needs no wait, and nothing is said about it")
  func ready() throws {
    let listener = try Listener()
    defer { listener.close() }
    let outcome = try Stage.result(launch(["file:/etc", "tcp://localhost:\(listener.port)"]))
    #expect(outcome.ending == .exited(0))
    #expect(outcome.errors == "" && outcome.output == "")
  }

  @Test("a file, a port and a page that come later, in any order")
  func late() throws {
    try withTemporaryDirectory { folder in
      try withStandInServer(answering: StandInServer.status("503 Starting")) { server in
        let reservation = try Listener.reservation()
        defer { withExtendedLifetime(reservation) {} }
        let port = reservation.port
        let words = [
          "file:\(folder)/ready", "tcp://127.0.0.1:\(port)", "http://127.0.0.1:\(server.port)/health",
        ]
        try Stage.run(launch(words)) { stage in
          // It has looked at all of them: the page is asked for, and says no.
          try eventually("the first look") { server.lastRequest.hasPrefix("GET /health") }
          let listener = try Listener(port: port)
          defer { listener.close() }
          try writeFile(folder + "/ready", "")
          server.set(StandInServer.status("200 OK"))
          #expect(try stage.waitForEnd() == .exited(0))
          try stage.waitUntilNobodyIsLeft()
        }
      }
    }
  }

  @Test("every five seconds it says what is missing and why, and in the end that it came")
  func progress() throws {
    try withTemporaryDirectory { folder in
      try Stage.run(launch(["file:\(folder)/ready", "file:/etc"])) { stage in
        let line = try stage.errorLine(containing: "still waiting after 5s")
        #expect(
          line
            == "supervisor wait: still waiting after 5s for file:\(folder)/ready (\(folder)/ready does not exist)"
        )
        try writeFile(folder + "/ready", "")
        try stage.errorLine(containing: "file:\(folder)/ready is there, after ")
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  // MARK: What does not come

  @Test("what does not come in time is 69, with every reason")
  func timeout() throws {
    let reservation = try Listener.reservation()
    defer { withExtendedLifetime(reservation) {} }
    let port = reservation.port
    let outcome = try Stage.result(
      launch(["file:/no/such", "tcp://127.0.0.1:\(port)", "file:/etc", "--timeout", "700ms"]))
    #expect(outcome.ending == .exited(69))
    #expect(
      outcome.errors
        == "supervisor wait: waited 700ms for file:/no/such (/no/such does not exist); tcp://127.0.0.1:\(port) "
        + "(127.0.0.1:\(port): connection refused)\n")
  }

  @Test("what refuses for good is 69 at once")
  func refused() throws {
    let outcome = try Stage.result(launch(["file:/no/such", "sqlite:/etc/passwd", "--timeout", "none"]))
    #expect(outcome.ending == .exited(69))
    #expect(
      outcome.errors
        == "supervisor wait: sqlite:/etc/passwd (/etc/passwd is not an SQLite database: it does not begin as one): "
        + "waiting will not change that\n")
  }

  @Test(
    "a command line that is wrong is 64, and says what to write",
    arguments: [
      ([], "Missing expected argument"), (["tcp://localhost"], "has no port"),
      (["/run/ready"], "write file:/run/ready"),
      (["postgres"], "write its URL"), (["file:/x", "--timeout", "soon"], "is not a duration"),
      (["file:/x", "--timeout", "0"], "is no time to wait"),
    ])
  func usage(words: [String], text: String) throws {
    let outcome = try Stage.result(launch(words))
    #expect(outcome.ending == .exited(64))
    #expect(outcome.errors.contains(text), "\(outcome.errors)")
  }

  @Test("a signal ends it, and its agent", arguments: [SIGINT, SIGTERM])
  func signal(number: CInt) throws {
    try Stage.run(launch(["file:/no/such"])) { stage in
      _ = try agent(of: stage)
      try stage.send(number)
      #expect(try stage.waitForEnd() == .exited(128 + number))
      try stage.waitUntilNobodyIsLeft()
    }
  }

  // MARK: The agent

  @Test("an agent that is killed, or killed again, is replaced, and the wait goes on")
  func killedAgent() throws {
    try withTemporaryDirectory { folder in
      try Stage.run(launch(["file:\(folder)/ready"])) { stage in
        var last: pid_t = 0
        for _ in 0..<3 {
          last = try agent(of: stage, not: last)
          kill(last, SIGKILL)
          try stage.errorLine(containing: "ended unasked, with killed by KILL")
        }
        try writeFile(folder + "/ready", "")
        #expect(try stage.waitForEnd() == .exited(0))
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }

  @Test("an agent that hangs is killed after three seconds and replaced")
  func hangingAgent() throws {
    try withTemporaryDirectory { folder in
      try Stage.run(launch(["file:\(folder)/ready"])) { stage in
        let first = try agent(of: stage)
        // It works: the first look is over, and it has been heard of.
        try eventually("the agent waits") { ProcessEntry(pid: first)?.state == "S" }
        kill(first, SIGSTOP)
        let line = try stage.errorLine(containing: "killing it")
        #expect(line.contains("said nothing for 3s") || line.contains("did not say hello for 5s"))
        #expect(try agent(of: stage, not: first) != first)
        try writeFile(folder + "/ready", "")
        #expect(try stage.waitForEnd() == .exited(0))
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }

  @Test("when the waiting program is killed its agent ends by itself")
  func orphanedAgent() throws {
    try Stage.run(launch(["file:/no/such"])) { stage in
      _ = try agent(of: stage)
      try stage.send(SIGKILL)
      #expect(try stage.waitForEnd() == .signaled(SIGKILL))
      try stage.waitUntilNobodyIsLeft()
    }
  }

  @Test("without an agent it says where it was looked for")
  func missingAgent() throws {
    let outcome = try Stage.result(launch(["file:/etc"], agent: "/no/such/agent"))
    #expect(outcome.ending == .exited(69))
    #expect(outcome.errors.contains("looked for it at /no/such/agent (SUPERVISOR_AGENT)"))
    try withTemporaryDirectory { folder in
      // A supervisor that was installed alone.
      let copy = try Stage.result(Launch(["/bin/cp", Programs.supervisor, folder]))
      #expect(copy.ending == .exited(0))
      let alone = try Stage.result(Launch([folder + "/supervisor", "wait", "file:/etc"]))
      #expect(alone.ending == .exited(69))
      #expect(
        alone.errors.contains(
          "looked for it at \(folder)/supervisor-agent, PATH (/usr/local/bin:/usr/bin:/bin)"))
    }
  }

  /// By a process of its own: were the file open for writing here, a test that forks meanwhile would hold it open too,
  /// and nobody can execute a file that is.
  private func writeProgram(_ path: String, _ text: String) throws {
    try writeFile(path + ".text", text, mode: 0o755)
    let copy = try Stage.result(Launch(["/bin/cp", path + ".text", path]))
    #expect(copy.ending == .exited(0))
  }

  /// A program that stands in for the agent.
  private func withFakeAgent(_ script: String, _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
      try writeProgram(folder + "/agent", "#!/bin/sh\n\(script)\n")
      try body(folder + "/agent")
    }
  }

  /// Bytes as a shell's printf writes them.
  private func printf(_ bytes: [UInt8]) -> String {
    "printf '\(bytes.map { "\\" + String($0 >> 6) + String($0 >> 3 & 7) + String($0 & 7) }.joined())' >&3"
  }

  @Test(
    "an agent that talks nonsense, crashes or closes its socket is given up, with its path and what it did",
    arguments: [
      (
        "echo 'Segmentation fault' >&3; exec sleep 1000",
        "failed 5 times within 1m: the last time it could not be understood: what it sent is not the agent protocol: it begins with 'Segmentation fau'"
      ),
      ("head -c 100000 /dev/urandom >&3; exec sleep 1000", "could not be understood"),
      ("kill -SEGV $$", "ended unasked, with killed by SEGV"),
      ("exit 3", "ended unasked, with exit code 3"),
      ("exec 3>&-; exec sleep 1000", "closed its socket"),
    ])
  func badAgent(script: String, reason: String) throws {
    try withFakeAgent(script) { path in
      try Stage.run(launch(["file:/etc"], agent: path)) { stage in
        #expect(try stage.waitForEnd() == .exited(69))
        try stage.waitForEndOfOutput()
        let last = try #require(stage.errors.lines.last)
        #expect(last.hasPrefix("supervisor wait: the agent \(path) ") && last.contains(reason), "\(last)")
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }

  @Test("an agent of another version, or one that cannot be executed, is given up at once")
  func hopelessAgent() throws {
    var hello = AgentReport.hello(version: "9.0", role: "coordination", pid: 1).frame.bytes
    hello[4] = 9
    try withFakeAgent(printf(hello) + "; exec sleep 1000") { path in
      let outcome = try Stage.result(launch(["file:/etc"], agent: path))
      #expect(outcome.ending == .exited(69))
      #expect(
        outcome.errors.contains("it speaks version 9.0 of the agent protocol, and this program version 1.0"))
      #expect(!outcome.errors.contains("again"))
    }
    try withTemporaryDirectory { folder in
      try writeProgram(folder + "/agent", "#!/no/such/shell\n")
      let outcome = try Stage.result(launch(["file:/etc"], agent: folder + "/agent"))
      #expect(outcome.ending == .exited(69))
      #expect(outcome.errors.contains("could not be started") && outcome.errors.contains("/no/such/shell"))
      #expect(!outcome.errors.contains("again"))
    }
  }

  @Test("an agent that says hello and then lies about probes nobody asked for is not believed")
  func lyingAgent() throws {
    let hello = AgentReport.hello(version: "0", role: "coordination", pid: 1).frame.bytes
    let lie = AgentReport.probeResult(id: 77, outcome: .ready("all is well")).frame.bytes
    let beat = "while \(printf(AgentReport.heartbeat.frame.bytes)); do sleep 0.2; done"
    try withFakeAgent("\(printf(hello)); \(printf(lie)); \(beat)") { path in
      let outcome = try Stage.result(launch(["file:/etc", "--timeout", "1s"], agent: path))
      #expect(outcome.ending == .exited(69))
      #expect(outcome.errors.contains("waited 1s for file:/etc (no answer yet)"))
    }
  }
}
