import Glibc
import TestSupport
import Testing

/// Release readiness with a lock in PostgreSQL: in its record, in Redis, on the node's disk; what is believed, and what
/// is repeated when one of them is lost.
@Suite("fleet: readiness", .drivesProcesses)
struct FleetReadinessTests {
  /// Runs `body` with an empty database and keys of its own on the Redis server that all tests share, or on another.
  func withSite<Result>(
    _ redis: RedisServer? = nil, server: PostgreSQLServer? = nil, _ body: (ServerSite) throws -> Result
  ) throws -> Result {
    try withServerSite(server: server) { site in
      site.redis = try redis ?? RedisServer.shared.get()
      return try body(site)
    }
  }

  func ask(_ site: ServerSite, _ words: String...) throws -> String {
    let redis = try #require(site.redis)
    switch words.count {
    case 1: return try redis.ask(words[0])
    case 2: return try redis.ask(words[0], words[1])
    default: return try redis.ask(words[0], words[1], words[2])
    }
  }

  func phase(_ site: ServerSite) -> PhaseSettings {
    site.settings([site.phases.note("infra")], node: [site.phases.note("node")])
  }

  /// A whole `run`, which has to end well.
  func start(_ site: ServerSite, _ settings: PhaseSettings, name: String = "node") throws -> Outcome {
    let outcome = try site.phases.finishRun(settings, app: site.phases.append("app"), name: name)
    #expect(outcome.ending == .exited(0), "\(outcome.errors)")
    return outcome
  }

  // MARK: Set, asked for, waited for

  @Test("AI-01, AI-13: a whole start sets readiness in Redis as django-autoinit does, with its time to live")
  func set() throws {
    try withSite { site in
      _ = try start(site, phase(site))
      #expect(site.phases.lines() == ["infra", "node", "app"])
      #expect(try ask(site, "GET", site.key) == "1")
      #expect((86300...86400).contains(try #require(Int(try ask(site, "TTL", site.key)))))
      _ = try start(site, phase(site), name: "other")
      #expect(site.phases.lines() == ["infra", "node", "app", "app"])
    }
  }

  @Test(
    "AI-03: init node without readiness is 75 in time, and names release, server and what was awaited, without a password"
  )
  func nodeAlone() throws {
    let redis = try RedisServer(["--requirepass", "right-secret"])
    defer { redis.end() }
    try withSite(redis) { site in
      site.redisLogin = ":right-secret@"
      let took = try quickest(of: 3, within: 2.5) {
        let began = monotonicNow()
        let outcome = try site.phases.finishInit(phase(site), ["node", "--timeout", "2s"])
        let took = monotonicNow() - began
        #expect(outcome.ending == .exited(75), "\(outcome.errors)")
        #expect(took >= 2)
        for part in [
          site.runID ?? "", "redis", "127.0.0.1:\(redis.port)", "nobody has begun it", "(readiness_timeout)",
        ] {
          #expect(outcome.errors.contains(part), "\(part) in \(outcome.errors)")
        }
        #expect(!(outcome.errors + outcome.output).contains("secret"))
        return took
      }
      #expect(took < 2.5)
      #expect(site.phases.lines() == [])
    }
  }

  @Test("AI-04: ready set, check and clear are about Redis, too, whoever changed it")
  func ready() throws {
    try withSite { site in
      let settings = phase(site)
      func say(_ verb: String) throws -> String { try site.phases.ready(settings, verb).output }
      #expect(try say("check") == "NOT READY\n")
      #expect(try say("set") == "SET\n")
      #expect(try ask(site, "GET", site.key) == "1")
      #expect(try say("check") == "READY\n")
      #expect(try say("clear") == "CLEARED\n")
      #expect(try ask(site, "EXISTS", site.key) == "0")
      #expect(try say("check") == "NOT READY\n")
      _ = try ask(site, "SET", site.key, "1")
      #expect(try say("check") == "READY\n")
    }
  }

  @Test(
    "AI-19: who waits for readiness goes on at once when supervisor says it, and within a poll when anybody else does",
    arguments: [true, false])
  func promptness(isOurs: Bool) throws {
    // The median of a few: a machine that is busy elsewhere makes any single one slow.
    let bound = isOurs ? 0.25 : 1.3
    let best = try quickest(of: 5, within: bound) {
      try withSite { site in
        let settings = phase(site)
        return try Stage.run(site.phases.initialize(settings, ["node"])) { waiter in
          try waiter.errorLine(containing: "waiting for ")
          let redis = try #require(site.redis)
          let file = try site.phases.write(settings, "ready")
          let set =
            isOurs
            ? Launch([Programs.supervisor, "ready", "set", "--settings", file])
            : Launch(["/usr/bin/redis-cli", "-p", "\(redis.port)", "SET", site.key, "1"])
          return try Stage.run(set) { setter in
            // Of a connection that is there already: a process for each look would take as long as what is measured.
            let connection = try Connection(port: redis.port)
            try eventually("readiness") {
              try connection.send("EXISTS \(site.key)\r\n")
              let answer = try connection.receive { $0.last == UInt8(ascii: "\n") }
              return String(decoding: answer, as: UTF8.self).hasSuffix(":1\r\n")
            }
            let ready = monotonicNow()
            try site.phases.wait(for: "node", [waiter])
            let took = monotonicNow() - ready
            #expect(try waiter.waitForEnd() == .exited(0))
            #expect(try setter.waitForEnd() == .exited(0))
            return took
          }
        }
      }
    }
    #expect(best < bound, "\(best)")
  }

  // MARK: Lost, and found

  @Test(
    "BF-16, C1-7: Redis is emptied: nothing that is recorded runs again, but for a step whose check says so; readiness is set again",
    arguments: ["FLUSHALL", "DEL", "PEXPIRE"])
  func emptied(command: String) throws {
    let own = command == "FLUSHALL" ? try RedisServer() : nil
    defer { own?.end() }
    try withSite(own) { site in
      let redis = try #require(site.redis)
      let warmth = "warmth-\(site.database)"
      let client = "redis-cli -p \(redis.port)"
      let settings = site.settings([
        site.phases.note("migrate"),
        site.phases.step(
          "warm", site.phases.append("warm") + "; \(client) SET \(warmth) 1",
          "recheck: on_start, check: \(RunSettings.shell("\(client) EXISTS \(warmth) | grep -q 1"))"),
      ])
      _ = try start(site, settings)
      switch command {
      case "FLUSHALL": _ = try ask(site, "FLUSHALL")
      case "DEL": _ = try ask(site, "DEL", site.key)
      default:
        _ = try ask(site, "PEXPIRE", site.key, "1")
        try redis.eventually("0", "EXISTS", site.key)
      }
      _ = try start(site, settings, name: "other")
      let again = command == "FLUSHALL" ? ["warm", "app"] : ["app"]
      #expect(site.phases.lines() == ["migrate", "warm", "app"] + again)
      #expect(try ask(site, "GET", site.key) == "1")
    }
  }

  @Test("C1-7: readiness that expires or goes while nodes wait for the holder changes nothing for them")
  func emptiedMeanwhile() throws {
    try withSite { site in
      let settings = site.settings([
        site.phases.step("migrate", site.phases.append("migrate") + "; " + site.phases.await("go")),
        site.phases.note("warm"),
      ])
      try Stage.run(site.phases.initialize(settings, name: "holder")) { holder in
        try site.phases.wait(for: "migrate", [holder])
        // What was said of an earlier start of the same release is nobody's business any more.
        _ = try ask(site, "SET", site.key, "1")
        try Stage.run(site.phases.run(settings, app: site.phases.append("app"), name: "waiter")) { waiter in
          try waiter.errorLine(containing: "waiting for ")
          _ = try ask(site, "DEL", site.key)
          try site.phases.open("go")
          #expect(try endings(of: [holder, waiter]) == [.exited(0), .exited(0)])
        }
      }
      #expect(site.phases.lines() == ["migrate", "warm", "app"])
      #expect(try ask(site, "GET", site.key) == "1")
    }
  }

  @Test("C1-5: a database that was made anew is migrated again, although Redis says ready")
  func newDatabase() throws {
    try withSite { site in
      // What `migrate --check` is to Django's.
      let settings = site.settings([
        site.phases.step(
          "migrate", site.phases.append("migrate") + "; " + site.query("CREATE TABLE orders (id int)"),
          "check: " + RunSettings.shell(site.query("SELECT count(*) FROM orders"))),
        site.phases.note("hook", "check: [/bin/true]"),
      ])
      _ = try start(site, settings)
      let admin = try Admin(port: site.server.port)
      try admin.run("DROP DATABASE \(site.database) WITH (FORCE)")
      try admin.run("CREATE DATABASE \(site.database)")
      #expect(try ask(site, "GET", site.key) == "1")
      _ = try start(site, settings, name: "other")
      #expect(site.phases.lines() == ["migrate", "hook", "app", "migrate", "hook", "app"])
      #expect(try site.admin().value("SELECT completed_at IS NOT NULL FROM supervisor_release") == "t")
    }
  }

  @Test("AI-07: of a release that is ready the node asks once, and for no lock")
  func bothComplete() throws {
    try withSite { site in
      let role = "role_\(site.database)"
      try site.admin().run(
        "CREATE ROLE \(role) LOGIN PASSWORD 'right-secret'; GRANT ALL ON SCHEMA public TO \(role); "
          + "ALTER ROLE \(role) SET log_statement = 'all'")
      site.login = "user=\(role) password=right-secret"
      func statements() -> [Substring] {
        (readText(site.server.folder + "/log.txt") ?? "").split(separator: "\n").filter {
          $0.contains("supervisor/shop/\(site.runID ?? "")/") && $0.contains("pg_advisory")
            || $0.contains("pg_try_advisory")
        }.filter { $0.contains(site.runID ?? "") }
      }
      _ = try start(site, phase(site))
      let before = statements().count
      #expect(before > 0)
      _ = try start(site, phase(site), name: "other")
      #expect(statements().count == before, "\(statements())")
      #expect(site.phases.lines() == ["infra", "node", "app", "app"])
    }
  }

  @Test("AI-26: another run ID runs the phases again; both releases are recorded")
  func otherRelease() throws {
    try withSite { site in
      let first = try #require(site.runID)
      _ = try start(site, phase(site))
      site.runID = first + "b"
      _ = try start(site, phase(site))
      #expect(site.phases.lines() == ["infra", "node", "app", "infra", "node", "app"])
      let admin = try site.admin()
      #expect(
        try admin.run(
          "SELECT run_id, completed_at IS NOT NULL FROM supervisor_release ORDER BY run_id")
          == [[first, "t"], [first + "b", "t"]])
      for runID in [first, first + "b"] { #expect(try ask(site, "GET", "autoinit:ready:" + runID) == "1") }
      site.runID = first
      _ = try start(site, phase(site))
      #expect(site.phases.lines().count == 7)
    }
  }

  @Test("C1-17: what releases left behind more than 30 days ago goes, and nothing else")
  func pruning() throws {
    try withSite { site in
      let first = try #require(site.runID)
      for name in ["old", "young"] {
        site.runID = first + name
        _ = try start(site, phase(site))
      }
      let admin = try site.admin()
      for (table, column) in [("release", "changed_at"), ("step", "done_at")] {
        try admin.run(
          "UPDATE supervisor_\(table) SET \(column) = now() - interval '31 days' WHERE run_id = '\(first)old'"
        )
      }
      site.runID = first + "new"
      _ = try start(site, phase(site))
      try admin.eventually(
        "the old one is gone", "SELECT string_agg(run_id, ',' ORDER BY run_id) FROM supervisor_release",
        is: "\(first)new,\(first)young")
      try admin.eventually(
        "its steps, too", "SELECT string_agg(DISTINCT run_id, ',') FROM supervisor_step",
        is: "\(first)new,\(first)young")
    }
  }

  // MARK: Run IDs

  @Test("AI-14: the run ID, wherever it was said, is that of the key and of the record")
  func runIDInKey() throws {
    try withSite { site in
      let stem = try #require(site.runID)
      for (words, file, environment, runID) in [
        (["--run-id", "a"], "f", ["SUPERVISOR_RUN_ID=b", "AUTOINIT_RUN_ID=c"], "a"),
        ([], "f", ["SUPERVISOR_RUN_ID=b", "AUTOINIT_RUN_ID=c"], "b"),
        ([], "f", ["AUTOINIT_RUN_ID=c"], "f"), ([], nil, ["AUTOINIT_RUN_ID=c"], "c"),
      ] as [([String], String?, [String], String)] {
        site.runID = file.map { stem + $0 }
        let outcome = try site.phases.finishInit(
          phase(site), words.map { $0.hasPrefix("-") ? $0 : stem + $0 },
          environment: environment.map { $0.replacing("=", with: "=" + stem) })
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        #expect(try ask(site, "GET", "autoinit:ready:" + stem + runID) == "1")
        #expect(
          try site.admin().value("SELECT count(*) FROM supervisor_release WHERE run_id = '\(stem + runID)'")
            == "1")
      }
    }
  }

  @Test(
    "AI-14, C1-6: without a run ID every start warns and runs the phases, whatever PostgreSQL and Redis say of it"
  )
  func developmentRunID() throws {
    try withSite { site in
      site.runID = nil
      let settings = site.settings([site.phases.step("told", site.phases.append("$SUPERVISOR_RUN_ID"))])
      for count in 1...3 {
        let outcome = try site.phases.finishInit(settings)
        #expect(
          outcome.ending == .exited(0) && outcome.errors.contains("warning: no run ID is set: using dev-"))
        #expect(site.phases.lines().count == count)
        let runID = try #require(site.phases.lines().last)
        #expect(runID.wholeMatch(of: #/dev-[0-9a-f]{8}/#) != nil)
        // Who believes Redis alone, as django-autoinit does, would now skip its phase.
        _ = try ask(site, "SET", "autoinit:ready:" + runID, "1")
      }
    }
  }

  @Test(
    "C1-16: a run ID is data: in SQL, in Redis, in names of sessions",
    arguments: [
      "../../esc/x", "it's; DROP TABLE supervisor_release --", "two words", "ü%s\\x", "a:b*c",
      String(repeating: "x", count: 190),
    ])
  func oddRunIDs(runID: String) throws {
    try withSite { site in
      site.runID = nil
      for _ in 1...2 {
        let outcome = try site.phases.finishInit(phase(site), ["--run-id", site.database + runID])
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      }
      #expect(site.phases.lines() == ["infra", "node"])
      #expect(try ask(site, "GET", "autoinit:ready:" + site.database + runID) == "1")
      #expect(try site.admin().value("SELECT run_id FROM supervisor_release") == site.database + runID)
      #expect(
        try FileSystem.names(in: site.phases.folder).filter { $0 != "state" && !$0.hasPrefix("run-") }
          == ["events", "markers", "node.yml"])
    }
  }
}
