import Glibc
import TestSupport
import Testing

/// The lock on a real PostgreSQL server: who has it, who waits, and what waiters do when it goes.
@Suite("fleet: the lock", .drivesProcesses)
struct FleetLockTests {
  private static let gate = "until test -e \"$FLEET_WITNESS/gate\"; do sleep 0.02; done"

  /// Nodes of a release whose one step waits for the file `gate`, the first of them in it, the others waiting.
  private func withHolder<Result>(
    _ count: Int, step: (String) -> PlainStep = { .noted("migrate", $0) }, settings: [String] = [],
    _ body: (FleetSite, [Stage]) throws -> Result
  ) throws -> Result {
    try withFleetSite { site in
      try site.becomePlain([step(Self.gate)])
      site.settings += settings
      let nodes = FleetNode.several(count, .supervisor)
      return try Stage.run(site.initialize(nodes[0])) { holder in
        try site.wait(for: "the holder in its step", [holder]) { site.lines("steps") == ["migrate"] }
        return try withStages(nodes.dropFirst().map { try site.initialize($0) }) { waiters in
          for waiter in waiters {
            try waiter.errorLine(containing: "(pid \(holder.pid))")
          }
          return try body(site, [holder] + waiters)
        }
      }
    }
  }

  @Test(
    "AI-10, AI-13, C1-23: waiters that find the work done run nothing of it, and go on when the holder does")
  func secondLook() throws {
    try withHolder(4) { site, stages in
      #expect(try site.locks(site.admin()).first == "ExclusiveLock t")
      try writeFile(site.witness + "/gate", "")
      #expect(try site.waitForEnds(stages) == Array(repeating: .exited(0), count: 4))
      #expect(site.lines("steps") == ["migrate"])
      #expect(try site.locks(site.admin()) == [])
    }
  }

  @Test("AI-09: a stranger's session has the lock: 75 when --timeout is over, and who it is")
  func stranger() throws {
    try withFleetSite { site in
      try site.becomePlain([.noted("migrate")])
      let stranger = try Admin(port: site.server.port, database: site.database, name: "admin-by-hand")
      let key = "(1311669808::bigint << 32) | 3514919506"
      let pid = try stranger.run("SELECT pg_advisory_lock(\(key)), pg_backend_pid()")[0][1]
      #expect(try site.locks(site.admin()) == ["ExclusiveLock t"])
      let node = FleetNode(name: "one", member: .supervisor)
      let began = monotonicNow()
      // Long enough to look who has it a second time, which is no sign of life.
      let outcome = try Stage.result(site.initialize(node, ["--timeout", "5s"]))
      let took = monotonicNow() - began
      #expect(outcome.ending == .exited(75))
      #expect(took >= 5 && took < 7, "\(took)")
      #expect(outcome.errors.contains("admin-by-hand") && outcome.errors.contains(pid), "\(outcome.errors)")
      #expect(outcome.errors.hasSuffix("exiting with code 75 (lock_timeout)\n"), "\(outcome.errors)")
      try stranger.run("SELECT pg_advisory_unlock(\(key))")
      #expect(try Stage.result(site.initialize(node, ["--timeout", "2s"])).ending == .exited(0))
      #expect(site.lines("steps") == ["migrate"])
    }
  }

  @Test("AI-09: max_wait ends the wait for a lively holder; --timeout does not")
  func maximumWait() throws {
    try withHolder(1) { site, stages in
      var hurried = FleetNode(name: "hurried", member: .supervisor)
      // Several looks of the other, whose time would be over by then.
      hurried.settings = ["max_wait: 4s"]
      let patient = FleetNode(name: "patient", member: .supervisor)
      try Stage.run(site.initialize(patient, ["--timeout", "1s"])) { waiter in
        let outcome = try Stage.result(site.initialize(hurried))
        #expect(outcome.ending == .exited(75))
        #expect(
          outcome.errors.contains("(max_wait) for the infrastructure lock"), "\(outcome.errors)")
        #expect(outcome.errors.contains("(pid \(stages[0].pid))"), "\(outcome.errors)")
        try waiter.pump()
        #expect(waiter.ending == nil, "\(waiter.errors.text)")
        try writeFile(site.witness + "/gate", "")
        #expect(try site.waitForEnds([waiter] + stages) == [.exited(0), .exited(0)])
      }
    }
  }

  @Test("AI-09, C1-3: waiters whose sessions are terminated again and again wait on")
  func terminatedWaiter() throws {
    try withHolder(3) { site, stages in
      let admin = try site.admin()
      var ended = 0
      try site.wait(for: "ten terminated sessions", stages) {
        ended +=
          Int(
            try admin.value(
              "SELECT count(pg_terminate_backend(pid)) \(FleetSite.infrastructureLock) AND NOT granted")) ?? 0
        return ended >= 10
      }
      try writeFile(site.witness + "/gate", "")
      #expect(try site.waitForEnds(stages) == Array(repeating: .exited(0), count: 3))
      #expect(site.lines("steps") == ["migrate"])
      for stage in stages { #expect(!stage.errors.text.contains("timed out")) }
    }
  }

  @Test("AI-13: readiness is there before the lock is free", arguments: ["postgres", "redis"])
  func readinessFirst(readiness: String) throws {
    let redis = try RedisServer()
    defer { redis.end() }
    try withFleetSite(redis: redis) { site in
      try site.becomePlain([.noted("first"), .noted("last", Self.gate)], readiness: readiness)
      let admin = try site.admin()
      func isReady() throws -> Bool {
        readiness == "redis"
          ? try site.readiness("autoinit:ready:\(site.runID)") == "1"
          : try admin.value(
            "SELECT count(*) FROM supervisor_release WHERE run_id = '\(site.runID)' AND completed_at IS NOT NULL"
          )
            == "1"
      }
      try Stage.run(site.initialize(FleetNode(name: "one", member: .supervisor))) { stage in
        try site.wait(for: "the last step", [stage]) { site.lines("steps").last == "last" }
        #expect(try !isReady())
        #expect(try site.locks(admin) == ["ExclusiveLock t"])
        if readiness == "redis" { try redis.freeze() }
        try writeFile(site.witness + "/gate", "")
        if readiness == "redis" {
          try site.wait(for: "the record", [stage]) {
            try admin.value("SELECT count(*) FROM supervisor_release WHERE completed_at IS NOT NULL") == "1"
          }
          // What would take the lock away too early would do so now.
          try letPass(seconds: 0.5, stage)
          #expect(try site.locks(admin) == ["ExclusiveLock t"])
          try redis.thaw()
        }
        // The lock first: what was free then has to be ready.
        try site.wait(for: "the lock is free", [stage]) { try site.locks(admin).isEmpty }
        #expect(try isReady())
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("C1-3: CREATE INDEX CONCURRENTLY under the lock goes through while others wait for it")
  func concurrentIndex() throws {
    let index = "psql -X -q -c 'CREATE INDEX CONCURRENTLY by_name ON migration_runs (name)'"
    try withHolder(6, step: { .noted("migrate", $0 + "; " + index) }) { site, stages in
      let admin = try site.admin()
      try site.wait(for: "five that wait", stages) {
        try site.locks(admin).filter { $0.hasSuffix(" f") }.count == 5
      }
      try writeFile(site.witness + "/gate", "")
      #expect(try site.waitForEnds(stages) == Array(repeating: .exited(0), count: 6))
      #expect(
        try admin.value("SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass") == "t")
      #expect(site.lines("steps") == ["migrate"])
    }
  }

  @Test("C1-11: a failure ends all that wait, with its reason, and nobody tries it again")
  func failureIsShared() throws {
    try withHolder(6, step: { .noted("migrate", $0 + "; exit 5") }) { site, stages in
      try writeFile(site.witness + "/gate", "")
      #expect(try site.waitForEnds(stages) == Array(repeating: .exited(76), count: 6))
      for stage in stages.dropFirst() {
        #expect(stage.errors.text.contains("failed at step migrate: exit code 5"), "\(stage.errors.text)")
      }
      #expect(site.lines("steps") == ["migrate"])
      #expect(try site.locks(site.admin()) == [])
    }
  }

  @Test(
    "AI-12, C1-12: the tree of a holder is killed between two steps: the next goes on after what is recorded done"
  )
  func killedBetween() throws {
    try withFleetSite { site in
      try site.becomePlain([.work("first"), .noted("second", Self.gate), .work("third")])
      let nodes = FleetNode.several(2, .supervisor)
      try Stage.run(site.initialize(nodes[0])) { holder in
        try site.wait(for: "the second step", [holder]) { site.lines("steps") == ["second"] }
        site.killTree(holder)
        try writeFile(site.witness + "/gate", "")
        let next = try Stage.result(site.initialize(nodes[1]))
        #expect(next.ending == .exited(0))
        #expect(next.errors.contains("(pid \(holder.pid))"), "\(next.errors)")
      }
      #expect(site.lines("steps") == ["second", "second"])
      #expect(site.entered("first") == 1)
      #expect(try site.findings([], wasDisturbed: true) == [])
    }
  }
}
