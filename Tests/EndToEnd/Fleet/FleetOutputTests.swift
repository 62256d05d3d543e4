import Glibc
import TestSupport
import Testing

/// What nodes say while they start together.
@Suite("fleet: output", .drivesProcesses)
struct FleetOutputTests {
  @Test(
    "AI-02: init infrastructure says once that it begins and once that it is complete, for which release; a waiter says the same"
  )
  func initialize() throws {
    try withServerSite { site in
      let runID = try #require(site.runID)
      for count in 1...2 {
        let outcome = try site.phases.finishInit(
          site.settings([site.phases.note("work")]), ["infrastructure"])
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        let lines = outcome.errors.split(separator: "\n")
        let starts = lines.filter {
          $0.contains("infrastructure phase: starting (run ID \(runID))")
        }
        let ends = lines.filter { $0.contains("infrastructure phase") && $0.contains("complete") }
        #expect(ends.count == 1 && ends[0].contains(runID), "\(count): \(outcome.errors)")
        #expect(starts.count == (count == 1 ? 1 : starts.count))
      }
      #expect(site.phases.lines() == ["work"])
    }
  }

  @Test(
    "AI-02, AI-12: a hook that raises is 76, with its app, its exception and where it was raised", .needsFleet
  )
  func raisingHook() throws {
    try withFleetSite { site in
      site.variables = ["FLEET_STOCK_INFRASTRUCTURE": "raise:sad"]
      let outcome = try Stage.result(
        site.command(["init", "infrastructure"], FleetNode(name: "one", member: .supervisor)))
      #expect(outcome.ending == .exited(76), "\(outcome.errors)")
      for part in [
        "stock.handle_infrastructure_init", "ValueError: sad", "Traceback (most recent call last)",
      ] {
        #expect(outcome.errors.contains(part), "\(outcome.errors)")
      }
      #expect(try site.readiness() == nil)
    }
  }

  @Test(
    "AI-32, C1-19, C1-25: a waiter says whom it waits for: the holder's node, PID and step, and since when")
  func waiting() throws {
    try withServerSite { site in
      let step = site.phases.step(
        "migrate", site.phases.append("migrate") + "; " + site.phases.await("go"))
      try Stage.run(site.phases.initialize(site.settings([step]), name: "holder")) { holder in
        try site.phases.wait(for: "migrate", [holder])
        try Stage.run(site.phases.run(site.settings([step]), app: "true", name: "waiter")) { waiter in
          let host = try #require(readText("/proc/sys/kernel/hostname")).split(separator: "\n")[0]
          let line = try waiter.errorLine(containing: "at step migrate")
          #expect(
            line.contains("waiting for \(host) (pid \(holder.pid)), at step migrate to finish"), "\(line)")
          #expect(line.contains(#/\(for [0-9.]+m?s now\)/#), "\(line)")
          let status = try site.phases.status("waiter", json: false)
          #expect(status.contains("(pid \(holder.pid)), at step migrate"), "\(status)")
          try site.phases.open("go")
          #expect(try holder.waitForEnd() == .exited(0))
          #expect(try waiter.waitForEnd() == .exited(0))
        }
      }
      #expect(site.phases.lines() == ["migrate"])
    }
  }

  @Test(
    "AI-32: of a holder that is no supervisor it says what the server knows: process, application_name, role, address, since when",
    .needsFleet)
  func autoinitHolder() throws {
    try withFleetSite { site in
      site.variables = [
        "FLEET_ORDERS_INFRASTRUCTURE": "await:\(site.path("gate"))", "PGAPPNAME": "the-other-one",
      ]
      let nodes = [
        FleetNode(name: "theirs", member: .autoinit), FleetNode(name: "ours", member: .supervisor),
      ]
      try Stage.run(site.start(nodes[0])) { holder in
        try eventually("it is in its hook") {
          try holder.pump()
          return site.entered("orders.infrastructure") == 1
        }
        let process = try site.admin().value(
          "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND classid = 1311669808 AND database = "
            + "(SELECT oid FROM pg_database WHERE datname = current_database())")
        try Stage.run(site.start(nodes[1])) { waiter in
          let line = try waiter.errorLine(containing: "waiting for ", within: 60)
          for part in [
            "\"the-other-one\"", "PostgreSQL process \(process)", "role ", "from 127.0.0.1", "connected for ",
          ] {
            #expect(line.contains(part), "\(line)")
          }
          try writeFile(site.path("gate"), "")
          try site.waitForApps(nodes, [holder, waiter])
          #expect(try site.findings(nodes) == [])
          try site.stop([holder, waiter])
        }
      }
    }
  }

  @Test(
    "C1-19: a migration that hangs ends with its step's timeout, here and in the server; all nodes end with 76 and its reason"
  )
  func hungMigration() throws {
    try withServerSite { site in
      let step = site.phases.step(
        "migrate",
        site.phases.append("migrate") + "; sleep 1000 & "
          + site.query("SELECT pg_try_advisory_lock(77)", "SELECT pg_sleep(1000)"),
        "timeout: 2s, stop: {timeout: 500ms}")
      let names = ["a", "b", "c"]
      let launches = try names.map {
        try site.phases.run(site.settings([step]), app: site.phases.append("app"), name: $0)
      }
      try withStages(launches) { stages in
        #expect(try endings(of: stages) == Array(repeating: .exited(76), count: 3))
        for stage in stages {
          try stage.waitForEndOfOutput()
          #expect(
            stage.errors.text.contains("failed at step migrate: it did not end within 2s"),
            "\(stage.errors.text)")
          try stage.waitUntilNobodyIsLeft()
        }
      }
      #expect(site.phases.lines() == ["migrate"])
      try site.waitUntilServerIsQuiet(try site.admin())
    }
  }
}
