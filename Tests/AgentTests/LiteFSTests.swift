import AgentProtocol
import CSQLite
import Foundation
import LiteFS
import TestSupport
import Testing

@Suite(
  "supervisor-agent: LiteFS", .serialized,
  .disabled(if: LiteFSNode.obstacle != nil, "\(LiteFSNode.obstacle ?? "")"))
struct LiteFSTests {
  private func agent(_ node: LiteFSNode, port: UInt16? = nil) throws -> AgentProcess {
    let agent = try AgentProcess(role: .litefs)
    try agent.send(
      .litefs(
        .watch(
          LiteFSPlace(
            mountPath: node.mount, dataPath: node.data, host: "127.0.0.1", port: port ?? node.port))))
    return agent
  }

  /// One that has seen that it works.
  private func running(_ node: LiteFSNode, port: UInt16? = nil) throws -> AgentProcess {
    let agent = try agent(node, port: port)
    try agent.send(.litefs(.running(true)))
    try agent.waitFor(.works)
    return agent
  }

  @Test("mount, role, lag, positions and variables are reported, and each transaction's trace")
  func facts() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    let found: (LiteFSInfo, String, String, Duration) = try agent.liteFS("the answer of /info") {
      guard case .info(let body, let nodeID, let clusterID, let age) = $0 else { return nil }
      return LiteFSInfo(json: body).map { ($0, nodeID, clusterID, age) }
    }
    #expect(found.0.isPrimary && found.0.clusterID == found.2 && found.1.count == 16)
    #expect(found.3 < .seconds(2))
    let first: LiteFSEvent = try agent.liteFS("the first event") {
      if case .event(let line) = $0 { LiteFSEvent(line: line) } else { nil }
    }
    #expect(first == .role(isPrimary: true, primary: nil))
    let lag: Lag? = try agent.liteFS("the lag") { if case .lag(let text, _) = $0 { Lag(text) } else { nil } }
    #expect(lag == .behind(.zero))
    try execute("CREATE TABLE t (x); INSERT INTO t VALUES (1);", in: node.mount + "/app.db")
    let written: Position = try agent.liteFS("the transaction", within: 2) {
      guard case .event(let line) = $0, case .transaction("app.db", let position)? = LiteFSEvent(line: line),
        position.transaction == 2
      else { return nil }
      return position
    }
    try agent.liteFS("its variables", within: 2) {
      guard case .variables(let body, _) = $0 else { return nil as Void? }
      return LiteFSVariables(json: body)?.positions == Positions(["app.db": written]) ? () : nil
    }
    try agent.liteFS("its position", within: 2) {
      guard case .positions(let texts) = $0 else { return nil as Void? }
      return texts["app.db"].flatMap { Position($0) } == written ? () : nil
    }
  }

  @Test("while nothing changes everything comes with the heartbeat, so that PID 1 is woken once a second")
  func idle() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    let first = agent.heartbeatCount
    try eventually("the second heartbeat") { agent.heartbeatCount >= first + 2 }
    _ = agent.liteFSRest
    let (beats, arrivals) = (agent.heartbeatCount, agent.arrivalCount)
    try eventually("five more") { agent.heartbeatCount >= beats + 5 }
    #expect(agent.arrivalCount - arrivals <= agent.heartbeatCount - beats + 1)
    let kinds = agent.liteFSRest.map(Self.kind)
    for kind in ["mount", "lag", "info", "positions"] { #expect(kinds.filter { $0 == kind }.count >= 4) }
    #expect(kinds.filter { $0 == "variables" }.count >= 2)
  }

  private static func kind(_ report: LiteFSReport) -> String {
    switch report {
    case .mount: "mount"
    case .lag: "lag"
    case .info: "info"
    case .positions: "positions"
    case .variables: "variables"
    default: "\(report)"
    }
  }

  @Test("hundreds of transactions make a handful of reports")
  func writes() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    let began = Date()
    try execute("CREATE TABLE t (x);", in: node.mount + "/app.db")
    for _ in 0..<200 { try execute("INSERT INTO t VALUES (1);", in: node.mount + "/app.db") }
    try agent.liteFS("the last transaction") {
      guard case .event(let line) = $0, case .transaction(_, let position)? = LiteFSEvent(line: line) else {
        return nil as Void?
      }
      return position.transaction == 201 ? () : nil
    }
    let fifths = Int(Date().timeIntervalSince(began) * 5)
    let told = agent.liteFSRest.filter {
      if case .event(let line) = $0, case .transaction? = LiteFSEvent(line: line) { true } else { false }
    }
    #expect(told.count <= fifths + 2)
  }

  @Test("a replica that loses its primary says so within 1.5 seconds")
  func roleChange() throws {
    let primary = try LiteFSNode("node-1")
    defer { primary.end() }
    let replica = try LiteFSNode("node-2", following: primary)
    defer { replica.end() }
    let agent = try running(replica)
    try agent.liteFS("the primary") { Self.says($0, isPrimary: false, primary: "node-1") ? () : nil }
    try primary.kill()
    try agent.liteFS("its loss", within: 1.5) { Self.says($0, isPrimary: false, primary: nil) ? () : nil }
    try primary.start()
    try agent.liteFS("its return", within: 5) {
      Self.says($0, isPrimary: false, primary: "node-1") ? () : nil
    }
  }

  private static func says(_ report: LiteFSReport, isPrimary: Bool, primary: String?) -> Bool {
    switch report {
    case .info(let body, _, _, _):
      LiteFSInfo(json: body).map { $0.isPrimary == isPrimary && $0.primary == primary } ?? false
    case .event(let line): LiteFSEvent(line: line) == .role(isPrimary: isPrimary, primary: primary)
    default: false
    }
  }

  @Test("a LiteFS that is killed, and one whose mount is taken away, are told apart within 2 seconds")
  func troubles() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    try node.kill()
    try agent.waitFor(.dead, within: 2)
    try agent.liteFS("that the API is gone", within: 2) {
      if case .infoFailed(let text) = $0, text.contains("refused") { () } else { nil }
    }
    try agent.liteFS("the end of the stream", within: 2) { if case .streamEnded = $0 { () } else { nil } }
    try agent.clear()
    try agent.waitFor(.emptyDirectory, within: 2)
    try node.start()
    try agent.waitFor(.works)
    try agent.liteFS("the stream again") { if case .event = $0 { () } else { nil } }
    try node.unmount()
    try agent.waitFor(.emptyDirectory, within: 2)
    // LiteFS itself knows nothing of it.
    _ = agent.liteFSRest
    try agent.send(.litefs(.look))
    try agent.liteFS("an answer all the same", within: 2) {
      Self.says($0, isPrimary: true, primary: "node-1") ? () : nil
    }
  }

  @Test(
    "a mount that hangs and an API that hangs are reported in time, and the heart beats on",
    .disabled(if: !LiteFSNode.takesOrders, "a real LiteFS hangs by no order"))
  func hanging() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    try node.order("hang-fuse")
    try node.order("hang-api")
    try agent.waitFor(.hung, within: 2)
    try agent.liteFS("that the API hangs", within: 4) {
      if case .infoFailed("no answer within 2s") = $0 { () } else { nil }
    }
    let (beats, began) = (agent.heartbeatCount, Date())
    let threads = agent.threadCount
    try eventually("five heartbeats") { agent.heartbeatCount >= beats + 5 }
    #expect(Date().timeIntervalSince(began) < 6.5)
    #expect(agent.threadCount <= threads + 1)
    try node.revoke("hang-fuse")
    try agent.waitFor(.works, within: 3)
    try node.revoke("hang-api")
    try agent.liteFS("an answer again", within: 4) { if case .info = $0 { () } else { nil } }
  }

  @Test(
    "while LiteFS does not run nothing is looked at, but on demand; `paused` says when the last look is over")
  func paused() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    try agent.send(.litefs(.running(false)))
    try agent.liteFS("the pause", within: 2) { if case .paused = $0 { () } else { nil } }
    _ = agent.liteFSRest
    let beats = agent.heartbeatCount
    try eventually("three heartbeats") { agent.heartbeatCount >= beats + 3 }
    #expect(agent.liteFSRest.isEmpty)
    // Nothing of the agent's keeps the mount busy.
    try node.stop()
    try agent.send(.litefs(.look))
    try agent.waitFor(.emptyDirectory, within: 2)
  }

  @Test("a stale mount that is in use: who holds it is found, and it is cleared all the same")
  func stale() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    let shell = Process()
    shell.executableURL = URL(fileURLWithPath: "/bin/bash")
    shell.arguments = ["-c", "cd '\(node.mount)' && echo ok && exec sleep 600"]
    let output = Pipe()
    shell.standardOutput = output
    try shell.run()
    defer {
      kill(shell.processIdentifier, SIGKILL)
      shell.waitUntilExit()
    }
    _ = output.fileHandleForReading.readData(ofLength: 3)
    try node.kill()
    try agent.waitFor(.dead, within: 2)
    try agent.send(.litefs(.holders(id: 7)))
    let holders: [LiteFSHolder] = try agent.liteFS("the holders", within: 6) {
      if case .holders(7, let holders) = $0 { holders } else { nil }
    }
    #expect(holders == [LiteFSHolder(pid: shell.processIdentifier, what: "cwd \(node.mount)")])
    try agent.clear()
    try node.start()
    try agent.waitFor(.works, within: 3)
  }

  @Test("promote and hand-off end with LiteFS's own words when they fail")
  func orders() throws {
    let primary = try LiteFSNode("node-1")
    defer { primary.end() }
    let replica = try LiteFSNode("node-2", following: primary)
    defer { replica.end() }
    let (leader, follower) = (try running(primary), try running(replica))
    try leader.send(.litefs(.promote(id: 1)))
    #expect(try leader.end(of: 1) == nil)
    try follower.send(.litefs(.promote(id: 2)))
    #expect(try follower.end(of: 2)?.contains("409 Conflict: not eligible to become primary") == true)
    try leader.send(.litefs(.handoff(id: 3, nodeID: "00000000000000FF")))
    #expect(try leader.end(of: 3)?.contains("not currently connected") == true)
    try leader.send(.litefs(.handoff(id: 4, nodeID: "1&x=2")))
    #expect(try leader.end(of: 4)?.contains("is not the ID of a node") == true)
    try leader.send(.litefs(.running(false)))
    try leader.send(.litefs(.promote(id: 5)))
    #expect(try leader.end(of: 5) == "LiteFS does not run")
  }

  @Test("it ends in order, at once, and leaves the mount alone")
  func end() throws {
    let node = try LiteFSNode()
    defer { node.end() }
    let agent = try running(node)
    try agent.send(.end)
    let reason: String = try agent.report("the end", within: 2) {
      if case .end(let reason) = $0 { reason } else { nil }
    }
    #expect(reason == "it was asked to end")
    #expect(agent.waitForEnd() == 0)
    let next = try running(node)
    next.hangUp()
    #expect(next.waitForEnd() == 0)
    #expect(access(node.mount + "/.lag", R_OK) == 0)
  }

  /// Waits for something that nobody tells.
  private func eventually(_ what: String, within seconds: Double = 20, _ condition: () -> Bool) throws {
    let end = Date().addingTimeInterval(seconds)
    while !condition() {
      guard Date() < end else { throw HarnessError("not within \(seconds) s: \(what)") }
      usleep(5000)
    }
  }

  private func execute(_ statement: String, in path: String) throws {
    var database: OpaquePointer?
    defer { sqlite3_close(database) }
    guard sqlite3_open(path, &database) == SQLITE_OK,
      sqlite3_exec(database, statement, nil, nil, nil) == SQLITE_OK
    else { throw HarnessError("\(path): \(String(cString: sqlite3_errmsg(database)))") }
  }
}

extension AgentProcess {
  /// The next report of LiteFS that is made something of.
  fileprivate func liteFS<Value>(
    _ what: String, within seconds: Double = 20, _ take: (LiteFSReport) -> Value?
  ) throws -> Value {
    try report(what, within: seconds) { report in
      if case .litefs(let inner) = report { take(inner) } else { nil }
    }
  }

  /// Waits until the mount is reported to be so, and forgets how it was before.
  fileprivate func waitFor(_ state: LiteFSMount.State, within seconds: Double = 20) throws {
    func isMount(_ report: AgentReport) -> Bool { if case .litefs(.mount) = report { true } else { false } }
    try report("a mount that is \(state)", within: seconds, forgetting: isMount) {
      if case .litefs(.mount(let mount)) = $0, mount.state == state { () } else { nil }
    }
  }

  fileprivate func clear(abort: Bool = false) throws {
    try send(.litefs(.clear(id: 99, abort: abort)))
    try liteFS("the clearing", within: 6) { if case .cleared(99) = $0 { () } else { nil } }
  }

  /// How a request ended; nil: it is done.
  fileprivate func end(of id: UInt64) throws -> String? {
    try liteFS("the end of request \(id)", within: 4) { report -> String?? in
      switch report {
      case .done(id): .some(nil)
      case .failed(id, let text): text
      default: nil
      }
    }
  }

  /// What was reported and not taken; it is now.
  fileprivate var liteFSRest: [LiteFSReport] {
    takeAll().compactMap { if case .litefs(let report) = $0 { report } else { nil } }
  }

  fileprivate var threadCount: Int {
    (try? FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/task").count) ?? 0
  }
}
