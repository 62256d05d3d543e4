import AgentProtocol
import Glibc
import Testing

@Suite("supervisor-agent: the process", .drivesProcesses)
struct AgentProcessTests {
  @Test("says hello first: its version, its role and its process ID")
  func hello() throws {
    try AgentRig.run { rig, hello in
      #expect(hello == .hello(version: Release.version, role: "coordination", pid: rig.pid))
    }
  }

  @Test("sends a heartbeat each second, also while a probe gets no answer")
  func heartbeats() throws {
    try withStandInServer(answering: nil) { server in
      try AgentRig.run { rig, _ in
        _ = try rig.start(.http(isSecure: false, host: "127.0.0.1", port: server.port, path: "/"))
        let start = monotonicNow()
        for _ in 0..<3 { _ = try rig.report("a heartbeat") { $0 == .heartbeat } }
        // At most one for the time before we looked.
        #expect(monotonicNow() - start > 1.5)
        #expect(monotonicNow() - start < 10)
      }
    }
  }

  @Test("has one thread when nothing blocks, and again when what blocked is over")
  func threads() throws {
    try AgentRig.run { rig, _ in
      #expect(try rig.probe(.dns(host: "localhost")).isReady)
      for _ in 0..<20 { _ = try rig.start(.file(path: "/etc")) }
      let reservation = try Listener.reservation()
      defer { withExtendedLifetime(reservation) {} }
      let port = reservation.port
      #expect(try rig.probe(.tcp(host: "127.0.0.1", port: port)).isNotYet)
      try eventually("one thread") { rig.threads == 1 }
    }
  }

  @Test("ends when the supervisor is gone")
  func orphan() throws {
    try AgentRig.run { rig, _ in
      rig.hangUp()
      let status = try rig.waitForEnd()
      #expect(status == 0)
    }
  }

  @Test("ends in order at TERM and INT, and when it is asked to", arguments: [SIGTERM, SIGINT, 0])
  func orderly(signal: CInt) throws {
    try AgentRig.run { rig, _ in
      if signal == 0 { try rig.send(.end) } else { kill(rig.pid, signal) }
      let last = try rig.report("the end") { if case .end = $0 { true } else { false } }
      #expect(
        last == .end(reason: signal == 0 ? "it was asked to end" : "it was asked to end by a signal"))
      #expect(try rig.waitForEnd() == 0)
    }
  }

  @Test(
    "is not ended by the signals that a terminal or a stop of other processes sends",
    arguments: [SIGHUP, SIGUSR1, SIGPIPE])
  func otherSignals(signal: CInt) throws {
    try AgentRig.run { rig, _ in
      kill(rig.pid, signal)
      let outcome = try rig.probe(.file(path: "/"))
      #expect(outcome.isReady)
    }
  }

  @Test("refuses what it cannot understand, and says what it was", arguments: [true, false])
  func garbage(isVersion: Bool) throws {
    try AgentRig.run { rig, _ in
      var bytes = AgentRequest.end.frame.bytes
      bytes[isVersion ? 4 : 0] = 0x41
      try rig.send(bytes)
      guard
        case .end(let reason) = try rig.report(
          "the end", where: { if case .end = $0 { true } else { false } })
      else { return }
      #expect(reason.hasPrefix("the supervisor cannot be understood: "))
      #expect(reason.contains(isVersion ? "speaks version 65.0" : "begins with 'AVAG"))
      #expect(try rig.waitForEnd() == 70 << 8)
    }
  }

  @Test("passes over requests that it does not know")
  func unknownRequest() throws {
    try AgentRig.run { rig, _ in
      try rig.send(Frame(kind: 0x01FF, payload: [1, 2, 3]).bytes)
      #expect(try rig.probe(.file(path: "/")).isReady)
    }
  }

  @Test(
    "started by hand it says who starts it",
    arguments: [
      [], ["--role", "coordination"], ["--role", "no", "--descriptor", "3"],
      ["--role", "coordination", "--descriptor", "1"],
      ["--role", "coordination", "--descriptor", "77"], ["--role", "coordination", "--descriptor"], ["x"],
    ])
  func usage(words: [String]) throws {
    let outcome = try Stage.result(Launch([Programs.agent] + words))
    #expect(outcome.ending == .exited(64))
    #expect(outcome.errors.hasPrefix("supervisor-agent: "))
  }

  @Test("has the version of supervisor")
  func version() throws {
    let agent = try Stage.result(Launch([Programs.agent, "--version"]))
    let supervisor = try Stage.result(Launch([Programs.supervisor, "--version"]))
    #expect(agent.ending == .exited(0))
    #expect(agent.output == supervisor.output.replacing("supervisor", with: "supervisor-agent"))
  }
}
