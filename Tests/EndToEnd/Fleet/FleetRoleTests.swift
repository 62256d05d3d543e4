import Glibc
import TestSupport
import Testing

/// Services that run only on the primary, with the leader lock in PostgreSQL.
@Suite("fleet: roles", .drivesProcesses)
struct FleetRoleTests {
  /// A node, and the process of its role-bound service.
  private struct Node {
    let name: String
    let stage: Stage
    let site: RunSite

    func isPrimary() throws -> Bool {
      try stage.pump()
      return (try? site.get("/primary").status) == 200
    }

    func beat() -> pid_t? { ProcessEntry.children(of: stage.pid).first { $0.name == "sleep" }?.pid }
  }

  /// What the nodes have in common.
  private struct Cluster {
    let nodes: [Node]
    let site: ServerSite

    /// What the service said, in the order of time.
    func entries() throws -> [String] {
      for node in nodes { try node.stage.pump() }
      return site.phases.lines()
    }

    func wait(for entries: [String], within seconds: Double = Deadline.usual) throws {
      try eventually("the entries \(entries): \(site.phases.lines())", within: seconds) {
        try self.entries() == entries
      }
    }

    /// Who has the leader lock, and who waits for it, by the server.
    func holders(_ admin: Admin) throws -> [String] {
      try admin.run(
        "SELECT a.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.locktype = 'advisory' AND "
          + "l.granted AND l.mode = 'ExclusiveLock' AND a.datname = current_database() AND "
          + "a.application_name LIKE 'supervisor/%/leader'"
      ).map { $0.joined() }
    }
  }

  /// The service takes a lock that lives as long as its processes, so that two at once are seen.
  private static func settings(_ site: ServerSite, _ node: String, takeover: String) -> RunSettings {
    let beat =
      "exec 9>>\(site.phases.path("claim")); flock -n 9 || \(site.phases.append("twice \(node)")); "
      + site.phases.append("enter \(node) $SUPERVISOR_ROLE") + "; exec sleep 1000"
    var settings = RunSettings()
    settings.services = ["beat: {role: primary, command: \(RunSettings.shell(beat))}"]
    settings.more = [
      "coordination: {project: shop, lock: postgres, takeover_delay: \(takeover), "
        + "postgres: {url: \"\(site.connection)\"}}"
    ]
    return settings
  }

  /// Nodes on one database, the first of which is the primary, and runs its service.
  private func withNodes(
    _ names: [String], takeover: String = "3s", asInit: Bool = false, _ body: (Cluster) throws -> Void
  ) throws {
    try withServerSite { site in
      func start(_ rest: ArraySlice<String>, _ nodes: [Node]) throws {
        guard let name = rest.first else { return try body(Cluster(nodes: nodes, site: site)) }
        try Stage.node {
          try $0.probe(
            ["on-signal", "--exit-on", "TERM=0"], Self.settings(site, name, takeover: takeover),
            asInit: asInit)
        } _: { stage, run in
          let node = Node(name: name, stage: stage, site: run)
          if nodes.isEmpty {
            try site.phases.wait(for: "enter \(name) primary", [stage])
            try run.waitFor("/primary", 200, stage)
          } else {
            try run.waitFor("/replica", 200, stage)
          }
          try start(rest.dropFirst(), nodes + [node])
        }
      }
      try start(names[...], [])
    }
  }

  @Test("BF-17: of three nodes one runs the service; who it is, is told; an orderly stop hands over at once")
  func oneOfThree() throws {
    try withNodes(["a", "b", "c"], takeover: "60s") { cluster in
      let nodes = cluster.nodes
      for node in nodes {
        #expect(try node.site.get("/primary").status == (node.name == "a" ? 200 : 503))
        #expect(try node.site.get("/replica").status == (node.name == "a" ? 503 : 200))
      }
      try eventually("the refusal names the primary") {
        let refused = try nodes[1].site.client("start", "beat")
        return refused.ending != .exited(0)
          && refused.errors.contains("beat runs only on the primary (")
          && refused.errors.contains("(pid \(nodes[0].stage.pid))")
      }
      let began = monotonicNow()
      try nodes[0].stage.send(SIGTERM)
      try eventually("another one runs it", within: 20) { try cluster.entries().count == 2 }
      // Nothing of it is left, and nobody waits for that.
      #expect(monotonicNow() - began < 20)
      _ = try nodes[0].stage.waitForEnd()
      let next = try #require(try nodes.dropFirst().first { try $0.isPrimary() })
      #expect(try cluster.entries() == ["enter a primary", "enter \(next.name) primary"])
      for node in nodes.dropFirst() {
        try node.stage.send(SIGTERM)
        _ = try node.stage.waitForEnd()
        try node.stage.waitUntilNobodyIsLeft()
      }
      try cluster.site.waitUntilServerIsQuiet(try cluster.site.admin())
    }
  }

  @Test(
    "BF-17: the primary is killed, with all of its node or alone: another one runs the service within 5 s, never both",
    arguments: [true, false])
  func killed(isInit: Bool) throws {
    if isInit, !Programs.isRoot { return }
    let seconds = try quickest(of: 3, within: 5) {
      var took = Double.infinity
      try withNodes(["a", "b"], asInit: isInit) { cluster in
        let began = monotonicNow()
        try cluster.nodes[0].stage.send(SIGKILL)
        try cluster.wait(for: ["enter a primary", "enter b primary"])
        took = monotonicNow() - began
      }
      return took
    }
    #expect(seconds < 5)
  }

  @Test(
    "BF-17: the server's process of the primary's lock is terminated: the service ends before another runs it"
  )
  func terminated() throws {
    try withNodes(["a", "b"]) { cluster in
      let admin = try cluster.site.admin()
      let old = try #require(cluster.nodes[0].beat())
      let holder = try #require(try cluster.holders(admin).first)
      #expect(try admin.value("SELECT pg_terminate_backend(\(holder))") == "t")
      try cluster.nodes[0].stage.errorLine(containing: "this node is not the primary any more")
      try eventually("the service is gone") {
        try cluster.nodes[0].stage.pump()
        let state = ProcessEntry(pid: old)?.state
        return state == nil || state == "Z"
      }
      try cluster.wait(for: ["enter a primary", "enter b primary"], within: 20)
      try eventually("roles") { try cluster.nodes[0].site.get("/replica").status == 200 }
      #expect(try cluster.holders(admin).count == 1)
    }
  }

  @Test("BF-17: the primary's agent is frozen: the service ends, then the agent, then another node runs it")
  func frozenAgent() throws {
    try withNodes(["a", "b"]) { cluster in
      kill(try cluster.nodes[0].stage.agent(), SIGSTOP)
      try eventually("one runs it again", within: 25) { try cluster.entries().count >= 2 }
      #expect(try cluster.entries().allSatisfy { !$0.hasPrefix("twice") }, "\(cluster.site.phases.lines())")
      let primaries = try cluster.nodes.filter { try $0.isPrimary() }
      #expect(primaries.count == 1)
    }
  }

  @Test("BF-17: the whole primary is frozen for a while: it stays the only one, or is none when it wakes up")
  func frozenNode() throws {
    try withNodes(["a", "b"], takeover: "500ms") { cluster in
      let frozen = [cluster.nodes[0].stage.pid, try cluster.nodes[0].stage.agent()]
      for pid in frozen { kill(pid, SIGSTOP) }
      // Longer than a supervisor waits for its agent.
      try letPass(seconds: 4, cluster.nodes[1].stage)
      #expect(try cluster.entries() == ["enter a primary"])
      for pid in frozen.reversed() { kill(pid, SIGCONT) }
      try eventually("one of them is the primary, and runs it") {
        let primaries = try cluster.nodes.filter { try $0.isPrimary() }
        return primaries.count == 1 && primaries[0].beat() != nil
      }
      #expect(try cluster.entries().allSatisfy { !$0.hasPrefix("twice") }, "\(cluster.site.phases.lines())")
    }
  }
}
