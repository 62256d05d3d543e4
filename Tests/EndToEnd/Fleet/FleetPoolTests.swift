import Glibc
import TestSupport
import Testing

/// Everything by way of PgBouncer in transaction mode: our lock, our record, and the project's own sessions.
@Suite("fleet: PgBouncer in transaction mode", .drivesProcesses, .serialized)
struct FleetPoolTests {
  /// Its pool is another one in each test.
  private static let server = Result { try PostgreSQLServer() }

  private func withPool(_ size: Int, mode: String = "transaction", _ body: (FleetSite) throws -> Void) throws
  {
    let server = try Self.server.get()
    try withFleetSite(server: server) { site in
      site.databasePort = try server.startBouncer(size: size, mode: mode)
      defer { try? server.order("unbouncer") }
      try body(site)
    }
  }

  /// Sessions of the pool in the middle of a transaction.
  private static let transactions =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    + "AND state <> 'idle'"

  @Test(
    "BF-17, C1-4: twenty nodes and five connections: everything once, every app, no lock left",
    .tags(.floods), .needsFleet)
  func once() throws {
    try withPool(5) { site in
      site.coordinate(readiness: "redis")
      site.variables["FLEET_ORDERS_INFRASTRUCTURE"] = "await:\(site.path("gate"))"
      let nodes = FleetNode.several(20, .supervisor)
      let admin = try site.admin()
      var seen: Set<String> = []
      try site.start(nodes) { stages in
        try site.wait(for: "the lock", stages) {
          seen.formUnion(try site.locks(admin))
          return !seen.isEmpty
        }
        try writeFile(site.path("gate"), "")
        try site.waitForApps(nodes, stages)
        #expect(try site.findings(nodes) == [])
        try site.stop(stages)
      }
      // Nobody ever waits in a transaction: that would take the holder's connections.
      #expect(seen == ["ExclusiveLock t"])
      #expect(try site.locks(admin) == [])
      #expect(try admin.value(Self.transactions) == "0")
    }
  }

  @Test("C1-4: twenty nodes and three connections; the next node finds no lock that somebody left behind")
  func smallPool() throws {
    try withPool(3) { site in
      try site.becomePlain([.work("first", 0.1), .work("second", 0.1)])
      let nodes = FleetNode.several(20, .supervisor)
      #expect(try site.startAndStop(nodes, over: 1.5) == [])
      let admin = try site.admin()
      #expect(try site.locks(admin) == [])
      try site.wait(for: "a pool at rest", []) { try admin.value(Self.transactions) == "0" }
      // The pool keeps its sessions, and with them what belongs to a session.
      #expect(
        try Int(admin.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")) ?? 0
          > 1)
      try admin.run("DELETE FROM supervisor_release; DELETE FROM supervisor_step")
      let began = monotonicNow()
      #expect(
        try Stage.result(site.initialize(FleetNode(name: "next", member: .supervisor))).ending == .exited(0))
      #expect(monotonicNow() - began < 3)
      #expect(site.entered("first") == 2)
    }
  }

  @Test(
    "C1-4: a pooler is noticed without being named: the lock is a transaction's then, and a session's without one; nothing tells a pooler's session mode from the other",
    arguments: ["transaction", "session", "none"])
  func detected(mode: String) throws {
    func check(_ site: FleetSite) throws {
      try site.becomePlain([.noted("migrate", "until test -e \"$FLEET_WITNESS/gate\"; do sleep 0.02; done")])
      let nodes = FleetNode.several(3, .supervisor)
      let admin = try site.admin()
      try Stage.run(site.initialize(nodes[0])) { holder in
        try site.wait(for: "the step", [holder]) { site.lines("steps") == ["migrate"] }
        try withStages(nodes.dropFirst().map { try site.initialize($0) }) { waiters in
          for waiter in waiters { try waiter.errorLine(containing: "waiting for ") }
          let state =
            "SELECT state FROM pg_stat_activity WHERE pid IN (SELECT pid \(FleetSite.infrastructureLock) AND granted "
            + "AND mode = 'ExclusiveLock')"
          let expected = mode == "none" ? "idle" : "idle in transaction"
          // Now and then it is asked for a sign of life.
          try admin.eventually("the holder is \(expected)", state, is: expected)
          // For longer than any slice of a wait in the server.
          var waits: Set<String> = []
          let end = Deadline(in: 2)
          while !end.hasPassed {
            for waiter in waiters { try waiter.pump(10) }
            waits.formUnion(try site.locks(admin))
            let isTransaction = try admin.value(state) != "idle"
            #expect(mode == "none" || isTransaction, "a session's lock would stay in the pool")
          }
          // Whoever waits in the server behind a pool takes a connection that the holder may need.
          #expect(waits.contains("ShareLock f") == (mode == "none"), "\(waits)")
          try writeFile(site.witness + "/gate", "")
          #expect(try site.waitForEnds([holder] + waiters) == Array(repeating: .exited(0), count: 3))
        }
      }
      #expect(site.lines("steps") == ["migrate"])
      try site.wait(for: "no lock is left", []) { try site.locks(admin) == [] }
    }
    if mode == "none" { return try withFleetSite(server: Self.server.get(), check) }
    // In session mode each node needs one of its own for each of its connections.
    try withPool(mode == "session" ? 20 : 5, mode: mode, check)
  }

  @Test(
    "C1-4: the holder is killed, or PgBouncer is: what the server did is over before the next one begins",
    arguments: ["tree", "agent", "pool"])
  func killedHolder(what: String) throws {
    try withPool(5) { site in
      try site.becomePlain([.work("first"), .work("second", 20)])
      let nodes = FleetNode.several(3, .supervisor)
      try Stage.run(site.initialize(nodes[0])) { holder in
        try site.waitForEntering("second", [holder])
        site.variables["FLEET_SECONDS"] = "0"
        try withStages(nodes.dropFirst().map { try site.initialize($0) }) { waiters in
          for waiter in waiters { try waiter.errorLine(containing: "waiting for ") }
          switch what {
          case "tree": site.killTree(holder)
          case "agent": kill(try #require(site.agent(holder)), SIGKILL)
          default: try site.server.order("unbouncer")
          }
          if what == "pool" {
            // Its step's connection went first, and the holder may be the next one too.
            try site.server.order("bouncer \(site.databasePort) 5")
          }
          let ends = try site.waitForEnds(waiters)
          if what != "pool" { #expect(ends == [.exited(0), .exited(0)]) }
        }
      }
      #expect(site.entered("first") == 1)
      if what != "pool" {
        #expect(try site.findings([], wasDisturbed: true) == [])
      } else {
        #expect(!site.events().contains { $0.what == "overlap" || $0.what == "left-behind" })
      }
    }
  }
}
