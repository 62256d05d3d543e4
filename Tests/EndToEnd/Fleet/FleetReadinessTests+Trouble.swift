import TestSupport
import Testing

// Servers in trouble, and strangers.
extension FleetReadinessTests {
  @Test(
    "a stranger's value under our key is no readiness; it is said, and replaced when the release is ready")
  func strangersValue() throws {
    try withSite { site in
      _ = try ask(site, "SET", site.key, "b'what-is-this'")
      let outcome = try start(site, phase(site))
      #expect(site.phases.lines() == ["infra", "node", "app"])
      #expect(outcome.errors.contains("under the Redis key \(site.key) stands "), "\(outcome.errors)")
      #expect(try ask(site, "GET", site.key) == "1")
    }
  }

  @Test("a stranger's list under our key, too")
  func strangersList() throws {
    try withSite { site in
      _ = try ask(site, "RPUSH", site.key, "x")
      _ = try start(site, phase(site))
      #expect(site.phases.lines() == ["infra", "node", "app"])
      #expect(try ask(site, "GET", site.key) == "1")
    }
  }

  @Test("C1-18: Redis that still loads is waited for, and said so; then what it says is believed")
  func loading() throws {
    let redis = try RedisServer()
    defer { redis.end() }
    try withSite(redis) { site in
      try redis.ask("DEBUG", "POPULATE", "6000")
      #expect(try redis.ask("SAVE") == "OK")
      try redis.kill()
      try redis.start(["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"])
      let outcome = try start(site, phase(site))
      #expect(outcome.errors.contains("LOADING"), "\(outcome.errors)")
      #expect(site.phases.lines() == ["infra", "node", "app"])
      #expect(try ask(site, "GET", site.key) == "1")
    }
  }

  @Test(
    "C1-18: Redis is killed, or frozen, and comes back while nodes wait and the holder works: all start, and readiness is set",
    arguments: [true, false])
  func hiccup(isKilled: Bool) throws {
    let redis = try RedisServer()
    defer { redis.end() }
    try withSite(redis) { site in
      let step = site.phases.step(
        "migrate", site.phases.append("migrate") + "; " + site.phases.await("go"))
      let settings = site.settings([step])
      let launches = try (1...3).map {
        try site.phases.run(settings, app: site.phases.append("app"), name: "n\($0)")
      }
      try withStages(launches) { stages in
        try site.phases.wait(for: "migrate", stages)
        if isKilled { try redis.kill() } else { try redis.freeze() }
        try site.phases.open("go")
        try eventually("the record says so") {
          for stage in stages { try stage.pump() }
          return try site.admin().value("SELECT completed_at IS NOT NULL FROM supervisor_release") == "t"
        }
        if isKilled { try redis.start() } else { try redis.thaw() }
        #expect(try endings(of: stages) == Array(repeating: .exited(0), count: 3))
      }
      #expect(site.phases.lines() == ["migrate", "app", "app", "app"])
      // By the holder in time, or by whoever starts next.
      _ = try start(site, settings, name: "late")
      #expect(try ask(site, "GET", site.key) == "1")
    }
  }

  @Test(
    "C1-5: Redis is away while the claim is written, and comes back with the yes of an earlier start: it is taken away before the next step"
  )
  func staleYes() throws {
    let redis = try RedisServer()
    defer { redis.end() }
    try withSite(redis) { site in
      // Said of a database that is gone.
      _ = try ask(site, "SET", site.key, "1")
      #expect(try redis.ask("SAVE") == "OK")
      let check =
        site.phases.append("checking") + "; " + site.phases.await("checked")
        + "; test -e \(site.phases.path("made"))"
      let settings = site.settings([
        site.phases.step(
          "first",
          site.phases.append("first") + "; " + site.phases.await("go")
            + "; touch \(site.phases.path("made"))",
          "check: " + RunSettings.shell(check)),
        site.phases.step(
          "second", site.phases.append("second") + "; " + site.phases.await("end"), "needs: [first]"),
      ])
      try Stage.run(site.phases.initialize(settings)) { stage in
        try site.phases.wait(for: "checking", [stage])
        try redis.kill()
        try site.phases.open("checked")
        try site.phases.wait(for: "first", [stage])
        try redis.start()
        #expect(try ask(site, "GET", site.key) == "1")
        try site.phases.open("go")
        try site.phases.wait(for: "second", [stage])
        #expect(try ask(site, "GET", site.key) == "", "\(stage.errors.text)")
        try site.phases.open("end")
        #expect(try stage.waitForEnd() == .exited(0))
        #expect(try ask(site, "GET", site.key) == "1")
      }
    }
  }

  @Test("C1-18: PostgreSQL is restarted in order while nodes wait for readiness and for the lock: all start")
  func restartedServer() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try withSite(server: server) { site in
      let settings = phase(site)
      let admin = try Admin(port: server.port, database: site.database)
      try admin.run("SELECT pg_advisory_lock(5633578932025518674)")
      let launches = try (1...4).map {
        try site.phases.run(settings, app: site.phases.append("app"), name: "n\($0)")
      }
      try withStages(launches) { stages in
        for stage in stages { try stage.errorLine(containing: "waiting for ") }
        try server.order("fast")
        try server.order("start")
        #expect(try endings(of: stages) == Array(repeating: .exited(0), count: 4))
      }
      #expect(site.phases.lines().sorted() == ["app", "app", "app", "app", "infra", "node"])
    }
  }
}
