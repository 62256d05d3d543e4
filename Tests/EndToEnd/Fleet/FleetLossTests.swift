import Glibc
import TestSupport
import Testing

/// Holders that lose the lock, or stop, while a real PostgreSQL server works for them.
@Suite("fleet: holders that go", .drivesProcesses)
struct FleetLossTests {
  /// How long the server works for the first holder.
  private static let seconds = 20.0

  /// A release whose one step takes long, by itself; two nodes, the first of them in that step, the second waiting.
  private func withLongStep(
    more: [String] = [], asInit: Bool = false, _ body: (FleetSite, [Stage]) throws -> Void
  ) throws {
    try withFleetSite { site in
      // The second has no time to lose: what is left behind would still be there.
      try site.becomePlain([.work("migrate", Self.seconds)], more: more)
      let nodes = FleetNode.several(2, .supervisor)
      var first = try site.initialize(nodes[0])
      first.isInitOfNamespace = asInit
      try Stage.run(first) { holder in
        try site.waitForEntering("migrate", [holder])
        let admin = try site.admin()
        try site.wait(for: "the server's work", [holder]) {
          try admin.value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
          )
            == "1"
        }
        try Stage.run(shortened(site).initialize(nodes[1])) { waiter in
          try waiter.errorLine(containing: "waiting for ")
          try body(site, [holder, waiter])
        }
      }
    }
  }

  /// The same release for nodes to come, but for the time that the step takes.
  private func shortened(_ site: FleetSite) -> FleetSite {
    site.variables["FLEET_SECONDS"] = "0"
    return site
  }

  /// One is through with the work; what is wrong with how.
  private func check(_ site: FleetSite, _ waiter: Stage) throws {
    #expect(try waiter.waitForEnd() == .exited(0))
    #expect(try site.findings([], wasDisturbed: true) == [])
    #expect(site.entered("migrate") == 2)
    #expect(try site.record().migrations.map(\.node) == ["supervisor-2"])
  }

  @Test(
    "C1-2: a holder whose session is terminated: its step is killed, and what the server did for it is over before the next begins"
  )
  func terminatedHolder() throws {
    try withLongStep { site, stages in
      let admin = try site.admin()
      #expect(
        try admin.value(
          "SELECT count(pg_terminate_backend(pid)) \(FleetSite.infrastructureLock) AND granted "
            + "AND mode = 'ExclusiveLock'") == "1")
      try check(site, stages[1])
      _ = try site.waitForEnds(stages)
      #expect(site.events().filter { $0.who.hasPrefix("supervisor-1 ") }.map(\.what) == ["enter"])
    }
  }

  @Test(
    "C1-21: TERM in a step: it is ended, then the lock goes, and another one completes the phase", .needsRoot)
  func stopped() throws {
    try withLongStep(asInit: true) { site, stages in
      try stages[0].send(SIGTERM)
      #expect(try stages[0].waitForEnd() == .exited(143))
      try check(site, stages[1])
    }
  }

  @Test("C1-12: the whole tree of a holder is killed: the server's work is over before the next begins")
  func killedTree() throws {
    try withLongStep { site, stages in
      site.killTree(stages[0])
      try check(site, stages[1])
    }
  }

  @Test("the agent of a holder is killed: its step goes first")
  func killedAgent() throws {
    try withLongStep { site, stages in
      let agent = try #require(site.agent(stages[0]))
      kill(agent, SIGKILL)
      try check(site, stages[1])
      _ = try site.waitForEnds(stages)
    }
  }

  @Test(
    "C1-26: PID 1 alone is frozen, while its step runs and for long after: its agent keeps the lock, and it goes on where it was"
  )
  func frozenSupervisor() throws {
    try withFleetSite { site in
      // It ends while nobody can hear of it.
      try site.becomePlain([.work("first", 4), .work("second")])
      let nodes = FleetNode.several(3, .supervisor)
      try Stage.run(site.initialize(nodes[0])) { holder in
        try site.waitForEntering("first", [holder])
        kill(holder.pid, SIGSTOP)
        defer { kill(holder.pid, SIGCONT) }
        try withStages(nodes.dropFirst().map { try site.initialize($0) }) { waiters in
          for waiter in waiters { try waiter.errorLine(containing: "waiting for ") }
          let admin = try site.admin()
          let session =
            "SELECT l.pid, clock_timestamp() - a.state_change < '2 s' FROM (SELECT pid \(FleetSite.infrastructureLock) "
            + "AND granted AND mode = 'ExclusiveLock') l JOIN pg_stat_activity a USING (pid)"
          let first = try admin.run(session)
          // Beyond all times after which an agent, a connection or a heartbeat counts as lost.
          let end = Deadline(in: 13)
          while !end.hasPassed {
            for waiter in waiters { try letPass(seconds: 0.1, waiter) }
            #expect(try admin.run(session).map { $0[0] } == first.map { $0[0] }, "its session has the lock")
          }
          #expect(try admin.run(session).first?[1] == "t", "and is pinged")
          #expect(site.events().map(\.what) == ["enter", "leave"], "nobody else is at it: \(site.events())")
          for waiter in waiters { #expect(waiter.ending == nil, "\(waiter.errors.text)") }
          kill(holder.pid, SIGCONT)
          #expect(try site.waitForEnds([holder] + waiters) == Array(repeating: .exited(0), count: 3))
        }
      }
      #expect(try site.findings([]) == [])
      #expect(site.entered("first") == 1 && site.entered("second") == 1)
      #expect(Set(site.events().map(\.who)).allSatisfy { $0.hasPrefix("supervisor-1 ") })
    }
  }

  @Test(
    "C1-26: a holder that is frozen: another goes on, and what thaws writes nothing",
    arguments: ["agent", "both"])
  func frozenHolder(who: String) throws {
    try withLongStep { site, stages in
      let agent = try #require(site.agent(stages[0]))
      let frozen = who == "both" ? [stages[0].pid, agent] : [agent]
      for pid in frozen { kill(pid, SIGSTOP) }
      defer { for pid in frozen { kill(pid, SIGCONT) } }
      if who == "both" {
        // Their sessions live on, since the kernel answers for them: the lock stays, and so does the step.
        try letPass(seconds: 1, stages[1])
        #expect(stages[1].ending == nil)
        for pid in frozen { kill(pid, SIGCONT) }
        kill(stages[0].pid, SIGKILL)
      }
      try check(site, stages[1])
      for pid in frozen { kill(pid, SIGCONT) }
      _ = try site.waitForEnds(stages)
      #expect(try site.record().migrations.count == 1)
    }
  }
}
