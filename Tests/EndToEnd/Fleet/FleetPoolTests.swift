import Glibc
import TestSupport
import Testing

/// Everything by way of PgBouncer in transaction mode: our lock, our record, and the project's own sessions.
@Suite("fleet: PgBouncer in transaction mode", .drivesProcesses, .serialized)
struct FleetPoolTests {
  /// Its pool is another one in each test.
  private static let server = Result { try PostgreSQLServer() }

  private func withPool(_ size: Int, _ body: (FleetSite) throws -> Void) throws {
    let server = try Self.server.get()
    try withFleetSite(server: server) { site in
      site.databasePort = try server.startBouncer(size: size)
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
