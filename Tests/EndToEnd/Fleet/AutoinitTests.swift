import Foundation
import Glibc
import TestSupport
import Testing

/// What the other half of mixed fleets does, by itself, on real servers: the stand-in for django-autoinit, or the
/// original when `DJANGO_AUTOINIT` names its checkout. What both halves share is asserted here.
@Suite("fleet: django-autoinit by itself", .drivesProcesses, .needsFleet)
struct AutoinitTests {
  private let node = FleetNode(name: "one", member: .autoinit)

  /// Its infrastructure lock as `pg_locks` shows it: mode and whether it is granted, the holder first.
  private func locks(_ admin: Admin) throws -> [String] {
    try admin.run(
      "SELECT mode, granted FROM pg_locks WHERE locktype = 'advisory' AND classid = 1311669808 "
        + "AND objid = 3514919506 AND objsubid = 1 AND database = (SELECT oid FROM pg_database WHERE datname = "
        + "current_database()) ORDER BY granted DESC"
    ).map { $0.joined(separator: " ") }
  }

  @Test(
    "the lock's key, readiness in Redis and the node's files are what supervisor takes them for; readiness is set before the lock goes"
  )
  func constants() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_STOCK_INFRASTRUCTURE": "await:\(site.path("gate"))"]
      let nodes = FleetNode.several(2, .autoinit)
      try site.start(nodes, over: 0.2) { stages in
        let admin = try site.admin()
        try eventually("one holds the lock, the other waits") {
          for stage in stages { try stage.pump() }
          return try locks(admin) == ["ExclusiveLock t", "ExclusiveLock f"]
        }
        try eventually("the holder is in its last hook") {
          for stage in stages { try stage.pump() }
          return site.entered("stock.infrastructure") == 1
        }
        #expect(try site.readiness() == nil)
        try writeFile(site.path("gate"), "")
        try site.waitForApps(nodes, stages)
        #expect(try locks(admin) == [])
        #expect(try site.findings(nodes) == [])
        #expect(try site.readiness() == "1")
        let ttl = try #require(Int(site.ask("TTL", site.readinessKey) ?? ""))
        #expect((86300...86400).contains(ttl))
        for node in nodes {
          #expect(access("\(site.markers(node.name))/.autoinit_node_\(site.runID).marker", F_OK) == 0)
          #expect(readText("\(site.markers(node.name))/.autoinit_node_\(site.runID).marker") == "")
        }
        try site.stop(stages)
      }
    }
  }

  @Test("cache alias, key prefix and version make the key in Redis")
  func keys() throws {
    try withFleetSite { site in
      site.variables = [
        "FLEET_REDIS_AUTOINIT": "redis://127.0.0.1:\(site.redis.port)/0", "FLEET_REDIS": "locmem",
        "FLEET_KEY_PREFIX": "p", "FLEET_KEY_VERSION": "2", "FLEET_READINESS_PREFIX": "x:y",
      ]
      let outcome = try site.manage("set_ready", "set")
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(try site.readiness("p:2:x:y:\(site.runID)") == "1")
      #expect(try site.readiness() == nil)
    }
  }

  @Test("set_ready says what there is, and its exit code says nothing")
  func setReady() throws {
    try withFleetSite { site throws in
      func say(_ action: String) throws -> String {
        let outcome = try site.manage("set_ready", action)
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        return outcome.output
      }
      let prefix = "autoinit readiness (run_id=\(site.runID)): "
      #expect(try say("check") == prefix + "NOT READY\n")
      #expect(try say("set") == prefix + "SET\n")
      #expect(try say("check") == prefix + "READY\n")
      #expect(try say("clear") == prefix + "CLEARED\n")
      #expect(try site.readiness() == nil)
    }
  }

  @Test("both phases by one command; again, nothing is done")
  func bothPhases() throws {
    try withFleetSite { site in
      for _ in 0..<2 {
        let outcome = try site.manage("autoinit", node: node)
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        #expect(outcome.output.hasPrefix("autoinit: starting (run_id=\(site.runID))\n"))
        #expect(outcome.output.hasSuffix("autoinit: completed\n"))
        #expect(site.entered("orders.infrastructure") == 1)
        #expect(site.entered("stock.node") == 1)
      }
      #expect(try site.findings([]) == [])
    }
  }

  @Test("the node's lock is an flock beside the marker, which stays; whoever has it keeps others out")
  func nodeLock() throws {
    try withFleetSite { site in
      #expect(try site.manage("set_ready", "set").ending == .exited(0))
      try FileSystem.makeDirectory(site.markers(node.name))
      let path = "\(site.markers(node.name))/.autoinit_node_\(site.runID).lock"
      let lock = try #require(try ForeignLock(path))
      let kept = try site.manage("autoinit_node", "--timeout", "1", node: node)
      #expect(kept.ending == .exited(1))
      #expect(kept.errors.contains("autoinit_node: FAILED - File lock acquisition timed out (timeout=1s)"))
      lock.release()
      #expect(try site.manage("autoinit_node", node: node).ending == .exited(0))
      #expect(site.entered("orders.node") == 1)
      let stem = ".autoinit_node_\(site.runID)"
      #expect(try FileSystem.names(in: site.markers(node.name)) == [stem + ".lock", stem + ".marker"])
    }
  }

  @Test("twelve nodes within three seconds: everything once, and every app", .tags(.floods))
  func twelve() throws {
    try withFleetSite { site throws in
      #expect(try site.startAndStop(FleetNode.several(12, .autoinit)) == [])
    }
  }

  @Test("the project's own site answers after the start")
  func gunicorn() throws {
    try withFleetSite { site in
      let reservation = try Listener.reservation()
      var node = node
      node.app = "exec gunicorn --workers 1 --bind 127.0.0.1:\(reservation.port) fleet.wsgi"
      try site.start([node]) { stages in
        try site.waitForApps([node], stages)
        try eventually("the site answers") {
          try stages[0].pump()
          let answer = try? HTTPAnswer.get("/health", port: reservation.port)
          return answer?.status == 200 && answer?.body == "{\"orders\": 100}"
        }
        try site.stop(stages)
      }
    }
  }
}
