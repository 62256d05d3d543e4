import Glibc
import TestSupport
import Testing

/// The infrastructure phase of a real Django project on real servers: what hooks may do to the lock and to the record.
@Suite("fleet: hooks and migrations", .drivesProcesses, .needsFleet)
struct FleetHookTests {
  private let nodes = FleetNode.several(2, .supervisor)

  /// How often somebody entered the project's hooks, by the file.
  private func hooks(_ site: FleetSite) -> [Int] {
    [site.entered("orders.infrastructure"), site.entered("stock.infrastructure")]
  }

  @Test(
    "C1-1: a hook that closes the database's connection lets nobody in", arguments: ["close", "close-old"])
  func closingHook(order: String) throws {
    try withFleetSite { site in
      site.coordinate(readiness: "postgres")
      site.variables = [
        "FLEET_ORDERS_INFRASTRUCTURE": order, "FLEET_STOCK_INFRASTRUCTURE": "await:\(site.path("gate"))",
      ]
      try withStages(nodes.map { try site.initialize($0) }) { stages in
        try site.waitForEntering("stock.infrastructure", stages)
        let admin = try site.admin()
        try site.wait(for: "the other waits for the lock", stages) { try site.locks(admin).count == 2 }
        try writeFile(site.path("gate"), "")
        #expect(try site.waitForEnds(stages) == [.exited(0), .exited(0)])
      }
      #expect(try site.findings([]) == [])
    }
  }

  @Test(
    "AI-31, C1-10: a hook that exits with 0 has failed, and the phase with it; one that swallows what it raised has not"
  )
  func exitingHook() throws {
    try withFleetSite { site in
      site.coordinate(readiness: "redis")
      site.variables = [
        "FLEET_ORDERS_INFRASTRUCTURE": "swallow:sad", "FLEET_STOCK_INFRASTRUCTURE": "exit:0",
      ]
      let failed = try Stage.result(site.initialize(nodes[0]))
      #expect(failed.ending == .exited(76), "\(failed.errors)")
      #expect(
        failed.errors.hasSuffix("exiting with code 76 (infrastructure_failed): step hooks\n"),
        "\(failed.errors)")
      #expect(try site.readiness() == nil)
      #expect(
        try site.admin().value("SELECT failed_step FROM supervisor_release WHERE run_id = '\(site.runID)'")
          != "")
      #expect(hooks(site) == [1, 1])
      // Mended: what is recorded done is not entered again.
      site.variables["FLEET_STOCK_INFRASTRUCTURE"] = ""
      #expect(try Stage.result(site.initialize(nodes[1])).ending == .exited(0))
      #expect(hooks(site) == [1, 2])
      #expect(try site.readiness() == "1")
    }
  }

  @Test(
    "AI-12: hooks run in the order of the apps; one that raises ends the phase, and is where the next one goes on"
  )
  func order() throws {
    try withFleetSite { site in
      site.coordinate(readiness: "postgres")
      site.variables["FLEET_STOCK_INFRASTRUCTURE"] = "raise:sad"
      let failed = try Stage.result(site.initialize(nodes[0]))
      #expect(failed.ending == .exited(76), "\(failed.errors)")
      #expect(failed.errors.contains("ValueError: sad") || failed.output.contains("ValueError: sad"))
      site.variables["FLEET_STOCK_INFRASTRUCTURE"] = ""
      #expect(try Stage.result(site.initialize(nodes[1])).ending == .exited(0))
      #expect(hooks(site) == [1, 2])
      let left = try site.record().hooks.filter { $0.what == "leave" }.map(\.name)
      #expect(left == ["orders.infrastructure", "stock.infrastructure"])
      #expect(try site.findings([], wasDisturbed: true) == [])
    }
  }

  @Test("C1-12: the tree of a holder is killed in a migration: no migration that is recorded runs again")
  func killedBetween() throws {
    try withFleetSite { site in
      site.coordinate(readiness: "postgres")
      site.variables["FLEET_ORDERS_0003"] = "await:\(site.path("gate"))"
      try Stage.run(site.initialize(nodes[0])) { holder in
        try site.waitForEntering("orders.0003", [holder])
        site.killTree(holder)
        try writeFile(site.path("gate"), "")
        #expect(try Stage.result(site.initialize(nodes[1])).ending == .exited(0))
      }
      #expect(try site.findings([], wasDisturbed: true) == [])
      #expect(site.entered("orders.0002") == 1)
      #expect(site.entered("orders.0003") == 2)
    }
  }

  @Test("AI-08: django-autoinit and supervisor have one lock, whoever comes first", arguments: [true, false])
  func sharedLock(isOursFirst: Bool) throws {
    try withFleetSite { site in
      site.variables["FLEET_STOCK_INFRASTRUCTURE"] = "await:\(site.path("gate"))"
      func launch(_ isOurs: Bool) throws -> Launch {
        isOurs
          ? try site.initialize(FleetNode(name: "ours", member: .supervisor))
          : site.launch(
            ["python", "manage.py", "autoinit_infrastructure"], FleetNode(name: "theirs", member: .autoinit))
      }
      try Stage.run(launch(isOursFirst)) { first in
        try site.waitForEntering("stock.infrastructure", [first])
        try Stage.run(launch(!isOursFirst)) { second in
          let admin = try site.admin()
          try site.wait(for: "the second waits", [first, second]) {
            let locks = try site.locks(admin)
            return locks.count == 2 && locks[0] == "ExclusiveLock t" && locks[1].hasSuffix(" f")
          }
          try writeFile(site.path("gate"), "")
          #expect(try site.waitForEnds([first, second]) == [.exited(0), .exited(0)])
        }
      }
      #expect(hooks(site) == [1, 1])
      #expect(try site.findings([]) == [])
    }
  }

  @Test("TERM at any moment of a warm start ends it, also while what is known of the project is read")
  func stopOfWarmStart() throws {
    try withFleetSite { site in
      site.coordination = ["lock: file", "readiness: file"]
      let node = FleetNode(name: "one", member: .supervisor)
      #expect(try Stage.result(site.command(["init"], node)).ending == .exited(0))
      let run = try site.command(["run"], node)
      for milliseconds in stride(from: 0.0, to: 40, by: 1) {
        var launch = run
        // Without the shell: the program itself has to be there.
        launch.command = [Array(Programs.supervisor.utf8)] + run.command.drop { $0 != Array("run".utf8) }
        launch.command += ["--", "/bin/sleep", "1000"].map { Array($0.utf8) }
        launch.command.insert(contentsOf: ["/usr/bin/env", "-C", site.project].map { Array($0.utf8) }, at: 0)
        try Stage.run(launch) { stage in
          try letPass(seconds: milliseconds / 1000, stage)
          try stage.send(SIGTERM)
          let ending = try stage.waitForEnd(within: 10)
          #expect(ending == .exited(143) || ending == .signaled(SIGTERM), "after \(milliseconds) ms")
        }
      }
    }
  }
}
