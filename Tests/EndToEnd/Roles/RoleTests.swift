import Glibc
import Testing

/// Services that run only on the primary, with the leader lock of the `file` backend: several nodes on one `state_dir`.
@Suite("run: roles", .drivesProcesses)
struct RoleTests {
  private static let app = ["on-signal", "--exit-on", "TERM=0"]

  /// What a node's role-bound service does: it takes a lock that lives as long as its process, so that two at once
  /// are seen, and says that it began, and as what.
  private static func beat(_ folder: String, _ node: String) -> String {
    "exec 9>>\(folder)/claim; flock -n 9 || echo twice \(node) >>\(folder)/log; "
      + "echo enter \(node) $SUPERVISOR_ROLE >>\(folder)/log; exec sleep 1000"
  }

  private static func settings(_ folder: String, _ node: String, takeover: String) -> RunSettings {
    var settings = RunSettings()
    settings.stateDirectory = folder + "/shared"
    settings.services = ["beat: {role: primary, command: \(RunSettings.shell(beat(folder, node)))}"]
    settings.more = ["coordination: {takeover_delay: \(takeover)}"]
    return settings
  }

  private struct Node {
    let name: String
    let stage: Stage
    let site: RunSite

    func isPrimary() throws -> Bool {
      try stage.pump()
      return (try? site.get("/primary").status) == 200
    }

    /// The role-bound service's process; nil when it does not run.
    func beat() -> pid_t? { ProcessEntry.children(of: stage.pid).first { $0.name == "sleep" }?.pid }
  }

  private func entries(_ folder: String) -> [String] {
    (readText(folder + "/log") ?? "").split(separator: "\n").map(String.init)
  }

  /// Nodes on one state_dir, the first of which is the primary.
  private func withNodes(
    _ names: [String], takeover: String, asInit: Bool = false, _ body: ([Node], String) throws -> Void
  ) throws {
    try withTemporaryDirectory { folder in
      func start(_ rest: ArraySlice<String>, _ nodes: [Node]) throws {
        guard let name = rest.first else { return try body(nodes, folder) }
        try Stage.node {
          try $0.probe(Self.app, Self.settings(folder, name, takeover: takeover), asInit: asInit)
        } _: { stage, site in
          let node = Node(name: name, stage: stage, site: site)
          if nodes.isEmpty {
            try eventually("\(name) is the primary") { try node.isPrimary() }
          } else {
            try site.waitFor("/replica", 200, stage)
          }
          try start(rest.dropFirst(), nodes + [node])
        }
      }
      try start(names[...], [])
    }
  }

  @Test("BF-17: of three nodes one runs the service; roles are told everywhere; a stop hands over at once")
  func oneOfThree() throws {
    try withNodes(["a", "b", "c"], takeover: "60s") { nodes, folder in
      try eventually("it runs") { entries(folder) == ["enter a primary"] }
      for node in nodes {
        #expect(try node.site.get("/primary").status == (node.name == "a" ? 200 : 503))
        #expect(try node.site.get("/replica").status == (node.name == "a" ? 503 : 200))
        #expect(readText(node.site.runDirectory + "/role") == (node.name == "a" ? "primary\n" : "replica\n"))
      }
      for command in ["start", "restart"] {
        let refused = try nodes[1].site.client(command, "beat")
        #expect(refused.ending != .exited(0))
        #expect(
          refused.errors.contains("beat runs only on the primary (")
            && refused.errors.contains("(pid \(nodes[0].stage.pid))"),
          "\(refused.errors)")
      }
      let accepted = try nodes[0].site.client("restart", "beat")
      #expect(accepted.ending == .exited(0), "\(accepted.errors)")
      try eventually("it runs again") { entries(folder).count == 2 }
      // The primary stops in order: no delay, for it says that nothing of it is left.
      try nodes[0].stage.send(SIGTERM)
      try eventually("another one runs it", within: 20) { entries(folder).count == 3 }
      #expect(try nodes[0].stage.waitForEnd() != .exited(70))
      let next = try #require(try nodes.dropFirst().first { try $0.isPrimary() })
      let last = try #require(nodes.dropFirst().first { $0.name != next.name })
      #expect(entries(folder) == ["enter a primary", "enter a primary", "enter \(next.name) primary"])
      #expect(readText(next.site.runDirectory + "/role") == "primary\n")
      // Who still waits learns of the new one.
      try eventually("the refusal names the new primary") {
        try last.site.client("start", "beat").errors.contains("(pid \(next.stage.pid))")
      }
    }
  }

  @Test("stopped by hand, it is not started when the role is won again, but by hand")
  func stoppedByHand() throws {
    try withNodes(["a"], takeover: "0s") { nodes, folder in
      try eventually("it runs") { entries(folder).count == 1 }
      let stopped = try nodes[0].site.client("stop", "beat")
      #expect(stopped.ending == .exited(0), "\(stopped.errors)")
      try eventually("it has ended") { nodes[0].beat() == nil }
      for helper in ProcessEntry.children(of: nodes[0].stage.pid).filter({ $0.name == "supervisor-file" }) {
        kill(helper.pid, SIGKILL)
      }
      try nodes[0].stage.errorLine(containing: "this node is not the primary any more")
      try nodes[0].stage.errorLine(
        containing: "beat: was stopped on request, and stays so until `supervisor start beat`")
      #expect(entries(folder).count == 1)
      let started = try nodes[0].site.client("start", "beat")
      #expect(started.ending == .exited(0), "\(started.errors)")
      try eventually("it runs again") { entries(folder).count == 2 }
    }
  }

  @Test("somebody removes the lock's file: what the primary runs ends before another node runs it")
  func removedLock() throws {
    try withNodes(["a", "b"], takeover: "500ms") { nodes, folder in
      try eventually("it runs") { entries(folder) == ["enter a primary"] }
      // Who comes to the lock only now makes a new file, and is let in at once.
      try eventually("the other one waits") {
        try nodes[1].site.client("start", "beat").errors.contains("(pid \(nodes[0].stage.pid))")
      }
      #expect(unlink(folder + "/shared/leader.lock") == 0)
      try eventually("it runs elsewhere, or here again") { entries(folder).count >= 2 }
      #expect(!entries(folder).contains { $0.hasPrefix("twice") })
      try nodes[0].stage.errorLine(containing: "this node is not the primary any more")
    }
  }

  @Test("the primary's supervisor is killed: its service ends, another node runs it, never both")
  func killedSupervisor() throws {
    try withNodes(["a", "b", "c"], takeover: "500ms") { nodes, folder in
      try eventually("it runs") { entries(folder) == ["enter a primary"] }
      let old = try #require(nodes[0].beat())
      try nodes[0].stage.send(SIGKILL)
      try eventually("another one runs it") { entries(folder).count == 2 }
      let state = ProcessEntry(pid: old)?.state
      #expect(state == nil || state == "Z")
      #expect(!entries(folder).contains { $0.hasPrefix("twice") })
    }
  }

  @Test(
    "the primary's whole PID namespace is killed: another node runs it", .needsRoot)
  func killedNamespace() throws {
    try withNodes(["a", "b"], takeover: "500ms", asInit: true) { nodes, folder in
      try eventually("it runs") { entries(folder) == ["enter a primary"] }
      try nodes[0].stage.send(SIGKILL)
      // Its helper may have had the time to end the service and give the lock back, or may have vanished with it.
      try eventually("the other one runs it") { entries(folder) == ["enter a primary", "enter b primary"] }
    }
  }

  @Test(
    "the process that holds the leader lock is killed: the service is killed, and another node takes over later"
  )
  func killedHelper() throws {
    try withNodes(["a", "b"], takeover: "1s") { nodes, folder in
      try eventually("it runs") { entries(folder) == ["enter a primary"] }
      let old = try #require(nodes[0].beat())
      let helpers = ProcessEntry.children(of: nodes[0].stage.pid).filter { $0.name == "supervisor-file" }
      #expect(helpers.count == 1)
      for helper in helpers { kill(helper.pid, SIGKILL) }
      try nodes[1].stage.errorLine(containing: "was the primary and vanished: waiting 1s")
      try nodes[0].stage.errorLine(containing: "the leader lock was lost")
      try eventually("the service is gone") {
        try nodes[0].stage.pump()
        let state = ProcessEntry(pid: old)?.state
        return state == nil || state == "Z"
      }
      try eventually("the other one runs it") { entries(folder) == ["enter a primary", "enter b primary"] }
      try eventually("roles") {
        try nodes[0].site.get("/replica").status == 200
          && readText(nodes[0].site.runDirectory + "/role") == "replica\n"
      }
    }
  }

  @Test(
    "stopped while it waits for a vanished primary's service to end, a node leaves the next one the same wait"
  )
  func stoppedDuringTakeover() throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/shared", 0o755)
      try writeFile(folder + "/shared/leader.lock", "ghost (pid 1)")
      for _ in 0..<2 {
        try Stage.node {
          try $0.probe(Self.app, Self.settings(folder, "a", takeover: "60s"))
        } _: { stage, _ in
          try stage.errorLine(containing: "was the primary and vanished: waiting 1m")
          try stage.send(SIGTERM)
          _ = try stage.waitForEnd()
        }
      }
      #expect(entries(folder) == [])
    }
  }

  @Test("hooks.on_role_change is told the role; one that hangs ends with the node")
  func hook() throws {
    try withTemporaryDirectory { folder in
      var settings = Self.settings(folder, "a", takeover: "1s")
      let script = "echo hook $SUPERVISOR_ROLE >>\(folder)/hooks; exec sleep 1000"
      settings.more.append("hooks: {on_role_change: \(RunSettings.shell(script))}")
      try Stage.node {
        try $0.probe(Self.app, settings)
      } _: { stage, site in
        try eventually("the hook runs") {
          try stage.pump()
          return readText(folder + "/hooks") == "hook primary\n"
        }
        try stage.send(SIGTERM)
        _ = try stage.waitForEnd()
        #expect(try stage.survivors() == [])
        #expect(readText(site.runDirectory + "/role") == "none\n")
      }
    }
  }
}
