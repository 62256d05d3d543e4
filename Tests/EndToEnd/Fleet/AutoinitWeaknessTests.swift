import Foundation
import Glibc
import TestSupport
import Testing

/// What goes wrong with django-autoinit, seen again: were it not, the same trouble would prove nothing about supervisor.
@Suite("fleet: weaknesses of django-autoinit", .drivesProcesses, .needsFleet)
struct AutoinitWeaknessTests {
  private let node = FleetNode(name: "one", member: .autoinit)
  private let nodes = FleetNode.several(2, .autoinit)

  /// Runs two infrastructure phases, the second when the first is in `hook`; both endings, and what they wrote to the
  /// standard error.
  private func two(
    _ site: FleetSite, hook: String, _ body: ([Stage]) throws -> Void = { _ in }
  ) throws -> [Outcome] {
    let launches = nodes.map { site.launch(["python", "manage.py", "autoinit_infrastructure"], $0) }
    return try Stage.run(launches[0]) { first in
      try eventually("the first is in \(hook)") {
        try first.pump()
        return site.entered(hook) == 1
      }
      return try Stage.run(launches[1]) { second in
        try body([first, second])
        return try zip([first, second], endings(of: [first, second])).map { stage, ending in
          try stage.waitForEndOfOutput()
          return Outcome(ending: ending, output: stage.output.text, errors: stage.errors.text)
        }
      }
    }
  }

  /// Waits until so many wait for the lock, and ends the servers' processes of holder or waiters.
  private func terminate(_ site: FleetSite, granted: Bool, _ stages: [Stage]) throws {
    let admin = try site.admin()
    let locks =
      "FROM pg_locks WHERE locktype = 'advisory' AND classid = 1311669808 AND NOT granted "
      + "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    try eventually("the second waits") {
      for stage in stages { try stage.pump() }
      return try admin.value("SELECT count(*) " + locks) == "1"
    }
    let victims = granted ? locks.replacing("NOT granted", with: "granted") : locks
    try admin.run("SELECT pg_terminate_backend(pid) " + victims)
  }

  @Test(
    "C1-1: a hook that closes the connection lets the next node in beside it",
    arguments: ["close", "close-old"])
  func closedConnection(order: String) throws {
    try withFleetSite { site in
      // Closed by the first hook; the second, which is slow, is then entered by both.
      site.variables = [
        "FLEET_ORDERS_INFRASTRUCTURE": order, "FLEET_STOCK_INFRASTRUCTURE": "await:\(site.path("gate"))",
      ]
      let outcomes = try two(site, hook: "stock.infrastructure") { stages in
        try eventually("the second is there too") {
          for stage in stages { try stage.pump() }
          return site.entered("stock.infrastructure") == 2
        }
        try writeFile(site.path("gate"), "")
      }
      #expect(outcomes.map(\.ending) == [.exited(0), .exited(0)])
      let findings = try site.findings([])
      #expect(findings.contains { $0.hasPrefix("overlap of stock.infrastructure") }, "\(findings)")
    }
  }

  @Test("C1-2: so does a terminated connection of the holder, which says ready all the same")
  func terminatedHolder() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_ORDERS_INFRASTRUCTURE": "await:\(site.path("gate"))"]
      let outcomes = try two(site, hook: "orders.infrastructure") { stages in
        try terminate(site, granted: true, stages)
        try eventually("the second is there too") {
          for stage in stages { try stage.pump() }
          return site.entered("orders.infrastructure") == 2
        }
        try writeFile(site.path("gate"), "")
      }
      #expect(outcomes.map(\.ending) == [.exited(1), .exited(0)])
      let findings = try site.findings([])
      #expect(findings.contains { $0.hasPrefix("overlap of orders.infrastructure") }, "\(findings)")
    }
  }

  @Test("C1-3: a waiter whose connection is terminated says that its time is over")
  func terminatedWaiter() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_ORDERS_INFRASTRUCTURE": "await:\(site.path("gate"))"]
      let outcomes = try two(site, hook: "orders.infrastructure") { stages in
        try terminate(site, granted: false, stages)
        _ = try stages[1].waitForEnd()
        try writeFile(site.path("gate"), "")
      }
      #expect(outcomes.map(\.ending) == [.exited(0), .exited(1)])
      #expect(outcomes[1].errors.contains("FAILED - Lock acquisition timed out (timeout=300s)"))
    }
  }

  @Test(
    "CREATE INDEX CONCURRENTLY in a migration and a node that waits are a deadlock to the server: the release is not reached, and an invalid index stays"
  )
  func concurrentIndex() throws {
    try withFleetSite { site in
      site.apps = "search orders stock"
      site.variables = ["FLEET_ORDERS_0003": "await:\(site.path("gate"))"]
      let outcomes = try two(site, hook: "orders.0003") { stages in
        let admin = try site.admin()
        try eventually("the second has waited for longer than deadlock_timeout") {
          for stage in stages { try stage.pump() }
          return try admin.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory' "
              + "AND clock_timestamp() - query_start > '1.5 s'") == "1"
        }
        try writeFile(site.path("gate"), "")
      }
      #expect(outcomes.map(\.ending) == [.exited(1), .exited(1)])
      // Who begins to wait last looks for deadlocks, and is the victim: had the second begun to wait within the last
      // second, it would say that its time is over, and the first would be through.
      #expect(outcomes[0].errors.contains("deadlock detected"))
      #expect(outcomes[1].errors.contains("\"search_entry_text\" already exists"))
    }
  }

  @Test(
    "C1-4: behind a pool in transaction mode the lock is the pool's: with one connection, everybody has it")
  func pool() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try withFleetSite(server: server) { site in
      site.databasePort = try server.startBouncer(size: 1)
      site.variables = ["FLEET_ORDERS_INFRASTRUCTURE": "await:\(site.path("gate"))"]
      let outcomes = try two(site, hook: "orders.infrastructure") { stages in
        try eventually("the second is there too") {
          for stage in stages { try stage.pump() }
          return site.entered("orders.infrastructure") == 2
        }
        try writeFile(site.path("gate"), "")
      }
      #expect(outcomes.map(\.ending) == [.exited(0), .exited(0)])
      let findings = try site.findings([])
      #expect(findings.contains { $0.hasPrefix("overlap of orders.infrastructure") }, "\(findings)")
    }
  }

  @Test("C1-5: readiness outlives a database that was made anew")
  func newDatabase() throws {
    try withFleetSite { site in
      #expect(try site.manage("autoinit_infrastructure", node: node).ending == .exited(0))
      let admin = try Admin(port: site.server.port)
      try admin.run("DROP DATABASE \(site.database) WITH (FORCE)")
      try admin.run("CREATE DATABASE \(site.database)")
      let again = try site.manage("autoinit_infrastructure", node: node)
      #expect(again.ending == .exited(0))
      #expect(again.output.hasSuffix("autoinit_infrastructure: completed\n"))
      #expect(try site.admin().value("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == "0")
    }
  }

  @Test("C1-7: when the cache is emptied, what runs once runs again")
  func emptiedCache() throws {
    try withFleetSite { site throws in
      for times in 1...2 {
        #expect(try site.manage("autoinit_infrastructure", node: node).ending == .exited(0))
        #expect(site.entered("orders.infrastructure") == times)
        #expect(try site.manage("set_ready", "clear").ending == .exited(0))
      }
    }
  }

  @Test("C1-8: a node that has its marker waits for readiness all the same")
  func markerLast() throws {
    try withFleetSite { site in
      #expect(try site.manage("autoinit", node: node).ending == .exited(0))
      #expect(try site.manage("set_ready", "clear").ending == .exited(0))
      let again = try site.manage("autoinit_node", "--timeout", "1", node: node)
      #expect(again.ending == .exited(1))
      #expect(
        again.errors.contains(
          "autoinit_node: FAILED - Timeout waiting for infrastructure readiness (run_id=\(site.runID), timeout=1s)"
        ))
    }
  }

  @Test("C1-9: Django's default cache is taken, and no node ever sees readiness in it")
  func defaultCache() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_REDIS": "locmem"]
      #expect(try site.manage("autoinit_infrastructure", node: node).ending == .exited(0))
      let outcome = try site.manage("autoinit_node", "--timeout", "1", node: node)
      #expect(outcome.ending == .exited(1))
      #expect(outcome.errors.contains("Timeout waiting for infrastructure readiness"))
    }
  }

  @Test("C1-10: a hook that exits with 0 ends the phase as if it were complete")
  func exitingHook() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_ORDERS_INFRASTRUCTURE": "exit:0"]
      let outcome = try site.manage("autoinit_infrastructure", node: node)
      #expect(outcome.ending == .exited(0))
      #expect(try site.readiness() == nil)
      #expect(site.entered("stock.infrastructure") == 0)
    }
  }

  @Test("C1-11: each node tries again what failed")
  func repeatedFailure() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_ORDERS_INFRASTRUCTURE": "raise:sad"]
      for times in 1...3 {
        let outcome = try site.manage("autoinit_infrastructure", node: node)
        #expect(outcome.ending == .exited(1))
        #expect(outcome.errors.contains("autoinit_infrastructure: FAILED - Infrastructure init failed: sad"))
        #expect(site.entered("orders.infrastructure") == times)
      }
    }
  }

  @Test("C1-13: a node hook that failed is never tried again; with --fatal-on-error it is")
  func failedNodeHook() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_ORDERS_NODE": "raise:sad"]
      let fatal = try site.manage("autoinit", "--fatal-on-error", node: node)
      #expect(fatal.ending == .exited(1))
      #expect(fatal.errors.contains("ValueError: sad"))
      for _ in 0..<2 {
        let outcome = try site.manage("autoinit", node: node)
        #expect(outcome.ending == .exited(0))
        #expect(site.entered("orders.node") == 2)
      }
    }
  }
}
