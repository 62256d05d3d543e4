import Glibc
import Testing

@Suite("run: health", .drivesProcesses)
struct RunHealthTests {
  @Test("/livez, /startupz, /readyz, /status, /metrics: what they answer and when")
  func pages() throws {
    try Stage.node { site in
      let step = RunSettings.probe("on-signal", "--exit-on", "USR1=0")
      return try site.probe(["on-signal"], RunSettings(infrastructure: ["{name: migrate, run: \(step)}"]))
    } _: { stage, site in
      let step = try stage.number(after: "ready ")
      #expect(try site.get("/livez").status == 200)
      #expect(try site.get("/startupz").status == 503)
      #expect(try site.get("/readyz").status == 503)
      #expect(try site.status().stage == "infrastructure")
      kill(step, SIGUSR1)
      try stage.line("ready")
      try site.waitFor("/readyz", 200, stage)
      #expect(try site.get("/startupz").status == 200)
      #expect(try site.get("/metrics").status == 200)
      #expect(try site.get("/nowhere").status == 404)
      #expect(try site.client("health", "ready").ending == .exited(0))
    }
  }

  @Test(
    "E89: 1,500 slow clients and garbage: probes are answered, nothing grows without bound", .tags(.floods))
  func manyClients() throws {
    try Stage.node {
      try $0.probe(["on-signal"])
    } _: { stage, site in
      try stage.line("ready")
      try site.waitFor("/readyz", 200, stage)
      let before = anonymousKilobytes(stage.pid)
      var connections: [Connection] = []
      for index in 0..<1500 {
        guard let connection = try? Connection(port: site.port) else { continue }
        // Half of them never finish their request, the others send what is none.
        try? connection.send(
          index.isMultiple(of: 2) ? "GET /readyz HTTP/1.1\r\nHos" : "\u{16}\u{3}\u{1} ~~ \r\n\r\n")
        connections.append(connection)
      }
      // More than it keeps: the oldest of them are pushed out, not the probes.
      #expect(connections.count > 1400)
      var best = 1.0
      for _ in 0..<20 {
        let start = monotonicNow()
        #expect(try site.get("/readyz").status == 200)
        best = min(best, monotonicNow() - start)
      }
      #expect(best < 0.1)
      #expect(anonymousKilobytes(stage.pid) - before < 8192)
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      #expect(try site.client("health").ending == .exited(0))
    }
  }

  @Test(
    "E89: malformed requests are answered or closed, and never hurt",
    arguments: [
      "\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
      "POST /readyz HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
      "GET /" + String(repeating: "a", count: 100_000) + " HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\n" + String(repeating: "X: y\r\n", count: 20_000) + "\r\n",
      "GET /%00%ff%zz HTTP/1.1\r\n\r\n",
      "GET /../../etc/passwd HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\0\0\0\0\r\n\r\n",
    ])
  func malformed(request: String) throws {
    try Stage.node {
      try $0.probe(["on-signal"])
    } _: { stage, site in
      try stage.line("ready")
      let connection = try Connection(port: site.port)
      try? connection.send(request)
      let answer = (try? connection.receive(within: 20)).flatMap { HTTPAnswer($0) }
      if let answer { #expect(answer.status >= 200 && answer.status < 600 && !answer.body.contains("root:")) }
      #expect(try site.get("/livez").status == 200)
    }
  }

  @Test("changing calls do not exist on the port")
  func readOnlyPort() throws {
    try Stage.node {
      try $0.probe(["on-signal"])
    } _: { stage, site in
      try stage.line("ready")
      let connection = try Connection(port: site.port)
      try connection.send(
        "POST /processes/app/stop HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
      let answer = HTTPAnswer(try connection.receive())
      #expect([403, 404, 405].contains(answer?.status))
      try stage.send(64)
      try stage.line("signal 64")
      #expect(!stage.output.lines.contains("signal 15"))
    }
  }

  @Test("E90: a port that was chosen and is taken fails the start, before any step runs")
  func portTaken() throws {
    try withRunSite { site in
      let listener = try Listener()
      let settings = RunSettings(
        infrastructure: ["{name: migrate, run: [/bin/echo, step]}"],
        health: ["listen: \"127.0.0.1:\(listener.port)\""])
      let outcome = try Stage.result(site.launch(["/bin/echo", "app"], settings))
      #expect(outcome.ending == .exited(78))
      #expect(outcome.output == "")
      #expect(outcome.errors.contains("\(listener.port)"))
    }
  }

  @Test("E90: the default port taken is a warning")
  func defaultPortTaken() throws {
    // Somebody else's use of the port does as well as ours.
    let listener = try? Listener(port: 8686)
    defer { listener?.close() }
    try withTemporaryDirectory { folder in
      try writeFile(folder + "/s.yml", "run_id: r\nrun_dir: \(folder)/run\nstate_dir: \(folder)/state\n")
      let outcome = try Stage.result(
        Launch([Programs.supervisor, "run", "--settings", folder + "/s.yml", "--", "/bin/sh", "-c", "exit 3"])
      )
      #expect(outcome.ending == .exited(3))
      #expect(outcome.errors.contains("8686") && outcome.errors.contains("warning"))
    }
  }

  @Test(
    "E91: a check that hangs, with children that ignore TERM, is killed with its group; checks do not overlap"
  )
  func hangingCheck() throws {
    try withTemporaryDirectory { folder in
      try Stage.node { site in
        let check = RunSettings.shell("echo begin >>\(folder)/log; (trap '' TERM; sleep 1000) & sleep 1000")
        return try site.probe(
          ["on-signal"],
          RunSettings(app: [
            "ready: {exec: \(check), interval: 50ms, timeout: 200ms, failures: 1, start_period: 0s}"
          ]))
      } _: { stage, site in
        let app = try stage.number(after: "ready ")
        for round in 1...3 {
          try eventually("check \(round) runs") {
            (readText(folder + "/log")?.split(separator: "\n").count ?? 0) >= round
          }
          let others = try stage.childrenAtOneMoment().filter { $0.pid != app }
          // One shell with its two sleeps, or what is left of it; never two checks.
          #expect(Set(others.map(\.group)).count <= 1)
        }
        #expect(try site.get("/readyz").status == 503)
        try stage.send(SIGTERM)
        try stage.waitUntilNobodyIsLeftAfterKill(app)
      }
    }
  }

  @Test("E91: a check that leaves a process behind: it is gone, and is no zombie")
  func forkingCheck() throws {
    try Stage.node { site in
      let check = RunSettings.shell("sleep 1000 & exit 0")
      return try site.probe(
        ["on-signal"], RunSettings(app: ["ready: {exec: \(check), interval: 50ms, timeout: 1s}"]))
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      try site.waitFor("/readyz", 200, stage)
      // Were they left, there would be more with every check.
      try letPass(seconds: 1, stage)
      #expect(try stage.childrenAtOneMoment().filter { $0.pid != app }.count <= 3)
    }
  }

  @Test("E92: a check that began with the previous incarnation says nothing about the new one")
  func checkOfPreviousIncarnation() throws {
    try withTemporaryDirectory { folder in
      for number in 1...3 { mkfifo("\(folder)/gate\(number)", 0o600) }
      try Stage.node { site in
        // Each check waits at a gate of its own: the first at gate1, the next at gate2.
        let check = RunSettings.shell(
          "n=$(($(cat \(folder)/count 2>/dev/null || echo 0)+1)); echo $n >\(folder)/count; read x <\(folder)/gate$n"
        )
        return try site.probe(
          ["on-signal", "--exit-on", "USR1=3"],
          RunSettings(app: [
            "restart: always", "backoff: {initial: 5ms, maximum: 5ms}",
            "ready: {exec: \(check), interval: 50ms, timeout: 60s, start_period: 0s}",
          ]))
      } _: { stage, site in
        try stage.line("ready")
        try eventually("the first check waits") { readText(folder + "/count") == "1\n" }
        try stage.send(SIGUSR1)
        try stage.line("signal 10")
        try stage.line("ready")
        // The gate opens for the first check, if it is still there.
        _ = openGate(folder + "/gate1")
        try eventually("the second check waits") { readText(folder + "/count") == "2\n" }
        #expect(try site.get("/readyz").status == 503)
        #expect(try site.status()["app"]?.incarnation == 2)
        try eventually("the second gate opens") { openGate(folder + "/gate2") }
        try site.waitFor("/readyz", 200, stage)
      }
    }
  }

  @Test("ready by tcp and http: follows the port; thresholds count")
  func tcpCheck() throws {
    let reservation = try Listener.reservation()
    let port = reservation.port
    try Stage.node { site in
      try site.probe(
        ["on-signal"],
        RunSettings(app: [
          "ready: {tcp: \"127.0.0.1:\(port)\", interval: 50ms, timeout: 1s, failures: 2, start_period: 0s}"
        ]))
    } _: { stage, site in
      try stage.line("ready")
      #expect(try site.get("/readyz").status == 503)
      let listener = try Listener(port: port)
      try site.waitFor("/readyz", 200, stage)
      listener.close()
      try site.waitFor("/readyz", 503, stage)
    }
  }
}

/// Writes a line to a FIFO if somebody reads it.
private func openGate(_ path: String) -> Bool {
  let gate = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC)
  guard gate >= 0 else { return false }
  defer { close(gate) }
  return write(gate, "go\n", 3) == 3
}

extension Stage {
  /// Ends an app that ignores the stop, and waits for the whole tree.
  func waitUntilNobodyIsLeftAfterKill(_ app: pid_t) throws {
    kill(app, SIGKILL)
    try waitForEnd()
    try waitUntilNobodyIsLeft()
    guard adopted.isEmpty else { throw HarnessError("left behind: \(adopted)") }
  }
}
