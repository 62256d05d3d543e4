import Glibc
import Testing

/// Steps that are checked and repeated while the app runs.
@Suite("phases: upkeep", .drivesProcesses)
struct PhaseUpkeepTests {
  /// A step whose work is a file, which says what it does, and which sees it when two of it run at once.
  private func warm(_ site: PhaseSite, _ more: String) -> String {
    let script =
      "exec 9>>\(site.path("claim")); flock -n 9 || \(site.append("twice")); "
      + "echo warm $SUPERVISOR_ROLE $PPID >>\(site.events); touch \(site.path("cache"))"
    return site.step(
      "warm", script, "check: [/usr/bin/test, -e, \(site.path("cache"))], \(more)")
  }

  private func warmings(_ site: PhaseSite) -> [String] { site.lines().filter { $0.hasPrefix("warm") } }

  private func ready(
    _ code: Int, _ port: UInt16, containing text: String, _ stage: Stage
  ) throws {
    try eventually("/readyz answers \(code) \(text)") {
      try stage.pump()
      guard let answer = try? HTTPAnswer.get("/readyz?verbose", port: port) else { return false }
      return answer.status == code && answer.body.contains(text)
    }
  }

  @Test(
    "C2-5, C1-5: what was lost while the app runs makes the node not ready, is done again alone, and it is ready again",
    arguments: ["infrastructure", "node"])
  func recheck(phase: String) throws {
    try withPhaseSite { site in
      let reservation = try Listener.reservation()
      defer { withExtendedLifetime(reservation) {} }
      // The repair goes on when the test has seen that the node is not ready.
      let gate = site.step(
        "warm",
        "if test -e \(site.path("lost")); then \(site.await("repair")); fi; touch \(site.path("cache")); "
          + site.append("warm"),
        "check: [/usr/bin/test, -e, \(site.path("cache"))], recheck: 1s, affects_ready: true")
      var settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("static")])
      if phase == "node" { settings.node.append(gate) } else { settings.infrastructure.append(gate) }
      settings.listen = "127.0.0.1:\(reservation.port)"
      try Stage.run(site.run(settings, app: "exec sleep 1000")) { stage in
        try ready(200, reservation.port, containing: "\(phase) step warm", stage)
        try site.open("lost")
        unlink(site.path("cache"))
        try ready(503, reservation.port, containing: "\(phase) step warm: its check failed", stage)
        try site.open("repair")
        try ready(200, reservation.port, containing: "\(phase) step warm", stage)
        #expect(site.lines().filter { $0 == "warm" }.count == 2)
        #expect(site.lines().filter { $0 != "warm" }.sorted() == ["migrate", "static"])
        try stage.errorLine(
          containing: "\(phase) step warm was done, but its check failed: exit code 1: doing it again")
        try stage.errorLine(containing: "\(phase) step warm: its check passes again")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
        #expect(stage.adopted == [])
      }
      #expect(site.record().contains("\ncomplete"), "\(site.record())")
    }
  }

  @Test("a step that cannot be done again is shown, ends nothing, and fails the release for those that start")
  func beyondRepair() throws {
    try withPhaseSite { site in
      let broken = site.step(
        "warm", "\(site.append("warm")); test ! -e \(site.path("broken"))",
        "check: [/usr/bin/test, '!', -e, \(site.path("broken"))], recheck: 1s")
      let settings = PhaseSettings(infrastructure: [broken])
      try Stage.run(site.run(settings, app: "exec sleep 1000")) { stage in
        try stage.errorLine(containing: "started (pid ")
        try site.open("broken")
        try stage.errorLine(containing: "infrastructure step warm: exit code 1")
        #expect(try site.status().contains("\"failed\""))
        let other = try site.finishInit(settings, name: "other")
        #expect(other.ending == .exited(76) && other.errors.contains("failed at step warm: exit code 1"))
        unlink(site.path("broken"))
        #expect(try site.finishInit(settings, name: "other").ending == .exited(0))
        try stage.errorLine(containing: "infrastructure step warm: its check passes again")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
      }
    }
  }

  @Test("BF-16, C2-5: every repeats a step on the primary alone, and on the next one when it is killed")
  func every() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.note("migrate"), warm(site, "every: 1s")])
      let launches = try ["a", "b", "c"].map { try site.run(settings, app: "exec sleep 1000", name: $0) }
      try withStages(launches) { stages in
        try eventually("it is repeated three times") {
          for stage in stages { try stage.pump() }
          return warmings(site).count >= 4
        }
        let repeated = warmings(site).dropFirst().map { $0.split(separator: " ").map(String.init) }
        #expect(Set(repeated.map { $0[1] }) == ["primary"])
        #expect(Set(repeated.map { $0[2] }).count == 1, "\(repeated)")
        let primary = try #require(stages.first { "\($0.pid)" == repeated[0][2] })
        try primary.send(SIGKILL)
        _ = try primary.waitForEnd()
        try eventually("another node repeats it") {
          for stage in stages where stage.ending == nil { try stage.pump() }
          return warmings(site).contains { !$0.hasSuffix(" \(primary.pid)") && $0.contains("primary") }
        }
        for stage in stages where stage.ending == nil { try stage.send(SIGTERM) }
        for stage in stages where stage.ending == nil { _ = try stage.waitForEnd() }
      }
      #expect(!site.lines().contains("twice"))
      #expect(site.lines().filter { $0 == "migrate" }.count == 1)
      #expect(site.record().contains("\ncomplete"), "\(site.record())")
    }
  }

  @Test("a node step with every is repeated once for each volume, and its marker says when")
  func everyOnAVolume() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(node: [warm(site, "every: 2s")])
      let launches = try ["a", "b"].map { try site.run(settings, app: "exec sleep 1000", name: $0) }
      let began = ContinuousClock.now
      try withStages(launches) { stages in
        try eventually("it is repeated twice") {
          for stage in stages { try stage.pump() }
          return warmings(site).count >= 3
        }
        // Two nodes that each repeated it by themselves would have done so by now.
        let count = warmings(site).count
        #expect(count <= 1 + Int((ContinuousClock.now - began) / .seconds(2)), "\(warmings(site))")
        for stage in stages { try stage.send(SIGTERM) }
        for stage in stages { _ = try stage.waitForEnd() }
      }
      #expect(!site.lines().contains("twice"))
    }
  }

  @Test(
    "a stop ends a repetition that runs, in order; so does the death of the supervisor",
    arguments: [SIGTERM, SIGKILL])
  func stop(signal: CInt) throws {
    try withPhaseSite { site in
      let script =
        "if test -e \(site.path("again")); then trap '\(site.append("stopped")); exit 1' TERM; "
        + "sh -c 'echo $PPID' >\(site.path("pid")); \(site.append("began")); sleep 1000 & wait; fi; touch \(site.path("again"))"
      let settings = PhaseSettings(infrastructure: [site.step("warm", script, "every: 1s")])
      try Stage.run(site.run(settings, app: "exec sleep 1000")) { stage in
        try site.wait(for: "began", [stage])
        #expect(try ForeignLock.isTaken(site.lock))
        try stage.send(signal)
        _ = try stage.waitForEnd()
        try eventually("the lock is free") { try !ForeignLock.isTaken(site.lock) }
        let pid = try #require(pid_t((readText(site.path("pid")) ?? "").filter(\.isNumber)))
        #expect(kill(pid, 0) != 0, "the step went before the lock")
      }
      #expect(site.lines() == (signal == SIGTERM ? ["began", "stopped"] : ["began"]))
      // What was done once stays done: the next start is at once ready.
      let next = try site.finishInit(settings)
      #expect(next.ending == .exited(0) && site.lines().filter { $0 == "began" }.count == 1)
    }
  }
}
