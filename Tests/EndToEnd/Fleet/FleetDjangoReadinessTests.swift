import Glibc
import TestSupport
import Testing

/// Readiness that django-autoinit and supervisor set for each other: Redis, the ledger, the node's marker, and what a
/// project's settings make of the key.
@Suite("fleet: readiness of a Django project", .drivesProcesses, .needsFleet)
struct FleetDjangoReadinessTests {
  private let ours = FleetNode(name: "ours", member: .supervisor)

  /// `supervisor WORDS` to its end.
  private func supervisor(_ site: FleetSite, _ words: String..., node: FleetNode? = nil) throws -> Outcome {
    try Stage.result(site.command(words, node ?? ours))
  }

  @Test(
    "AI-04, C1-25: supervisor's `ready` and django-autoinit's `set_ready` agree after each change of either")
  func readyAgrees() throws {
    try withFleetSite { site in
      func agree(_ isReady: Bool) throws {
        let said = try supervisor(site, "ready", "check")
        #expect(said.output == (isReady ? "READY\n" : "NOT READY\n"), "\(said.errors)")
        #expect(
          try site.manage("set_ready", "check").output.hasSuffix(isReady ? ": READY\n" : ": NOT READY\n"))
        #expect(try site.readiness() == (isReady ? "1" : nil))
      }
      #expect(try supervisor(site, "ready", "set").ending == .exited(0))
      try agree(true)
      #expect(try site.manage("set_ready", "clear").ending == .exited(0))
      // The record of ours stays, and says so again where it is asked.
      #expect(try supervisor(site, "ready", "clear").ending == .exited(0))
      try agree(false)
      #expect(try site.manage("set_ready", "set").ending == .exited(0))
      try agree(true)
      #expect(try supervisor(site, "ready", "clear").ending == .exited(0))
      try agree(false)
    }
  }

  @Test(
    "AI-07: what django-autoinit made ready is checked once, under the lock, and recorded; no hook is entered again"
  )
  func readyByAutoinit() throws {
    try withFleetSite { site in
      #expect(try site.manage("autoinit_infrastructure").ending == .exited(0))
      for count in 1...2 {
        try site.start([ours]) { stages in
          try eventually("app \(count): \(site.log(stages[0]))", within: FleetSite.patience) {
            try stages[0].pump()
            return site.lines("apps").count == count
          }
          try site.stop(stages)
        }
      }
      #expect(try site.findings([ours]) == [])
      #expect(try site.admin().value("SELECT completed_at IS NOT NULL FROM supervisor_release") == "t")
    }
  }

  @Test("C1-5: and what it made ready in a database that is gone is made again")
  func readyByAutoinitElsewhere() throws {
    try withFleetSite { site throws in
      #expect(try site.manage("set_ready", "set").ending == .exited(0))
      #expect(try site.startAndStop([ours]) == [])
    }
  }

  @Test("AI-07: what supervisor made ready, django-autoinit takes for ready")
  func readyBySupervisor() throws {
    try withFleetSite { site in
      #expect(try site.startAndStop([ours]) == [])
      let outcome = try site.manage("autoinit_infrastructure")
      #expect(
        outcome.ending == .exited(0) && outcome.output.hasSuffix("autoinit_infrastructure: completed\n"))
      #expect(site.entered("orders.infrastructure") == 1)
    }
  }

  @Test("AI-20, C1-8: the node's marker is the other's, too, both ways; who has it waits for no readiness")
  func markerBothWays() throws {
    try withFleetSite { site in
      for nodes in [[FleetMember.autoinit, .supervisor], [.supervisor, .autoinit]] {
        site.runID += "x"
        let before = site.entered("orders.node")
        #expect(try site.manage("set_ready", "set").ending == .exited(0))
        for member in nodes {
          // Of one name: one volume.
          let node = FleetNode(name: "both", member: member)
          let outcome =
            member == .autoinit
            ? try site.manage("autoinit_node", node: node)
            : try supervisor(site, "init", "node", node: node)
          #expect(outcome.ending == .exited(0), "\(outcome.errors)")
          #expect(site.entered("orders.node") == before + 1, "\(member) of \(nodes)")
        }
        #expect(try site.manage("set_ready", "clear").ending == .exited(0))
        let node = FleetNode(name: "both", member: .supervisor)
        #expect(try supervisor(site, "init", "node", "--timeout", "0", node: node).ending == .exited(0))
      }
    }
  }

  // MARK: By import alone

  @Test("AI-16: the cache's alias of the project's settings says which database of Redis has the key")
  func alias() throws {
    try withFleetSite { site throws in
      site.coordination = []
      site.variables = [
        "FLEET_REDIS_AUTOINIT": "redis://127.0.0.1:\(site.redis.port)/1", "FLEET_REDIS": "locmem",
      ]
      #expect(try site.startAndStop([ours]) == [])
      #expect(try site.redis.ask("-n", "1", "GET", site.readinessKey) == "1")
      #expect(try site.readiness() == nil)
    }
  }

  @Test("AI-17: and prefixes and version which key it is; django-autoinit finds it there")
  func prefix() throws {
    try withFleetSite { site throws in
      site.coordination = []
      site.variables = [
        "FLEET_KEY_PREFIX": "p", "FLEET_KEY_VERSION": "2", "FLEET_READINESS_PREFIX": "x:y",
      ]
      #expect(try site.startAndStop([ours]) == [])
      let key = "p:2:x:y:\(site.runID)"
      #expect(try site.readiness(key) == "1")
      #expect((86300...86400).contains(try #require(Int(try site.ask("TTL", key) ?? ""))))
      #expect(try site.manage("set_ready", "check").output.hasSuffix(": READY\n"))
      #expect(try site.manage("autoinit_infrastructure").ending == .exited(0))
      #expect(site.entered("orders.infrastructure") == 1)
    }
  }

  @Test(
    "AI-17: a KEY_FUNCTION of the project's makes the key, for each run ID anew; django-autoinit finds it there, and is found"
  )
  func keyFunction() throws {
    try withFleetSite { site throws in
      site.coordination = []
      site.variables = ["FLEET_KEY_FUNCTION": "fleet.keys.digest", "FLEET_KEY_PREFIX": "p"]
      let stem = site.runID
      var keys: Set<String> = []
      for release in ["a", "b"] {
        site.runID = stem + release
        let script =
          "from django.core.cache import cache; print('key', cache.make_key('autoinit:ready:\(site.runID)'))"
        let said = try site.manage("shell", "-c", script)
        let line = said.output.split(separator: "\n").first { $0.hasPrefix("key ") }
        let key = String(try #require(line, "\(said.errors)").dropFirst(4))
        #expect(key.hasPrefix("p/1/") && keys.insert(key).inserted, "\(key)")
        #expect(try site.readiness(key) == nil)
        try site.start([ours]) { stages in
          try site.wait(for: "the app", stages) { site.lines("apps").count == keys.count }
          #expect(try site.readiness(key) == "1")
          #expect((86300...86400).contains(try #require(Int(try site.ask("TTL", key) ?? ""))))
          #expect(try site.readiness() == nil && site.readiness("autoinit:ready:\(site.runID)") == nil)
          try site.stop(stages)
        }
        #expect(try site.manage("set_ready", "check").output.hasSuffix(": READY\n"))
        let entered = site.entered("orders.infrastructure")
        #expect(try site.manage("autoinit_infrastructure").ending == .exited(0))
        #expect(site.entered("orders.infrastructure") == entered)
      }
      // The other way round.
      site.runID = stem + "c"
      #expect(try supervisor(site, "ready", "check").output == "NOT READY\n")
      #expect(try site.manage("set_ready", "set").ending == .exited(0))
      #expect(try supervisor(site, "ready", "check").output == "READY\n")
    }
  }

  @Test(
    "AI-28, C1-9: Django's default cache, which no other node sees, is refused at once, with advice; readiness in PostgreSQL needs no cache"
  )
  func localCache() throws {
    try withFleetSite { site in
      site.coordination = []
      site.variables = ["FLEET_REDIS": "locmem"]
      let outcome = try supervisor(site, "init")
      #expect(outcome.ending == .exited(78), "\(outcome.errors)")
      #expect(
        outcome.errors.contains("LocMemCache") && outcome.errors.contains("coordination.readiness"),
        "\(outcome.errors)")
      #expect(site.events().isEmpty)
      site.coordination = ["readiness: postgres"]
      #expect(try site.startAndStop([ours]) == [])
    }
  }
}
