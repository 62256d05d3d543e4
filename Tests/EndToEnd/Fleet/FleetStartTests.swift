import Foundation
import Glibc
import TestSupport
import Testing

/// What a server, or the settings, refuse for good, and how that is said.
struct Refusal: Sendable, CustomTestStringConvertible {
  let what: String
  let code: Int32
  let reason: String
  let texts: [String]
  /// Behind host, port and database; `ROLE` is a role that may log in with `right-secret`.
  var login = "user=ROLE password=right-secret"
  var coordination: [String] = []
  /// As the superuser, before the start.
  var sql = ""

  var testDescription: String { what }

  static let all = [
    Refusal(
      what: "no such database", code: 69, reason: "state_refused",
      texts: ["database \"no_such_database\" does not exist"],
      login: "user=ROLE password=right-secret dbname=no_such_database"),
    Refusal(
      what: "wrong password", code: 69, reason: "state_refused",
      texts: ["password authentication failed for user \"ROLE\""], login: "user=ROLE password=wr0ng-secret"),
    Refusal(
      what: "no such role", code: 69, reason: "state_refused",
      texts: ["password authentication failed for user \"nobody_here\""],
      login: "user=nobody_here password=right-secret"),
    Refusal(
      what: "certificate of another host", code: 69, reason: "state_refused",
      texts: ["server certificate for \"db.example\" does not match host name \"127.0.0.1\""],
      login: "user=ROLE password=right-secret sslmode=verify-full sslrootcert=CERTIFICATE"),
    Refusal(
      what: "unknown option", code: 78, reason: "state_misconfigured",
      texts: ["postgresql://USER:PASSWORD@HOST"],
      login: "user=ROLE password=right-secret nonsense=1"),
    Refusal(
      what: "tables of a later version", code: 70, reason: "state_unusable",
      texts: ["\"supervisor_release\" has version 9, from a later supervisor; this one knows version 1"],
      sql: "CREATE TABLE supervisor_release (CONSTRAINT supervisor_version_9 CHECK (true))"),
    Refusal(
      what: "tables of an earlier version", code: 70, reason: "state_unusable",
      texts: ["\"supervisor_step\" has version 0, from an earlier supervisor; this one needs version 1"],
      sql: "CREATE TABLE supervisor_step (CONSTRAINT supervisor_version_0 CHECK (true))"),
    Refusal(
      what: "a stranger's table", code: 70, reason: "state_unusable",
      texts: ["\"supervisor_lock\" was not made by supervisor", "coordination.postgres.table"],
      sql: "CREATE TABLE supervisor_lock (secrets text)"),
  ]
}

/// Servers that come late, and servers that refuse: what is waited for, what is not, and what is said of it.
@Suite("fleet: start", .drivesProcesses)
struct FleetStartTests {
  /// A role of this site's own, for which the server wants a password.
  private func makeRole(_ site: ServerSite) throws -> String {
    let role = "role_\(site.database)"
    try site.admin().run("CREATE ROLE \(role) LOGIN PASSWORD 'right-secret'")
    return role
  }

  private func steps(_ site: ServerSite) -> [String] { [site.phases.note("work")] }

  private func exitRecord(_ site: ServerSite) throws -> ExitRecord {
    try JSONDecoder().decode(
      ExitRecord.self, from: Data(try #require(readText(site.phases.path("run-node/exit.json"))).utf8))
  }

  /// A whole `run`; how it ended, and how long it took.
  private func run(_ site: ServerSite, _ more: [String] = []) throws -> (outcome: Outcome, seconds: Double) {
    let began = monotonicNow()
    let outcome = try site.phases.finishRun(
      site.settings(steps(site), more), app: site.phases.append("app"))
    return (outcome, monotonicNow() - began)
  }

  // MARK: Refused

  @Test(
    "AI-06, AI-34, C1-20: what the server refuses for good is said within 3 s, with its reason and without a password",
    arguments: Refusal.all)
  func permanent(refusal: Refusal) throws {
    try withServerSite { site in
      let role = try makeRole(site)
      if !refusal.sql.isEmpty { try site.admin().run(refusal.sql) }
      site.login = refusal.login.replacing("ROLE", with: role)
        .replacing("CERTIFICATE", with: site.server.folder + "/server.crt")
      if !refusal.sql.isEmpty { site.login = "user=postgres" }
      let seconds = try quickest(of: 3, within: 3) {
        let (outcome, seconds) = try run(site)
        #expect(outcome.ending == .exited(refusal.code), "\(outcome.errors)")
        for text in refusal.texts {
          #expect(outcome.errors.contains(text.replacing("ROLE", with: role)), "\(outcome.errors)")
        }
        let record = try exitRecord(site)
        #expect(record.reason == refusal.reason && record.code == refusal.code)
        #expect(!outcome.errors.contains("secret") && !outcome.output.contains("secret"), "\(outcome.errors)")
        #expect(readText(site.phases.path("run-node/exit.json"))?.contains("secret") == false)
        return seconds
      }
      #expect(seconds < 3)
      #expect(site.phases.lines() == [])
    }
  }

  /// What somebody has to run, by the message.
  private func remedy(_ errors: String) -> String? {
    errors.firstMatch(of: /let their owner run: ([^;]+);/).map { String($0.output.1) }
  }

  @Test(
    "AI-06: a missing privilege is said with the statement that grants it; once that was run, the node starts",
    arguments: [
      ("", "public", "GRANT USAGE, CREATE ON SCHEMA \"public\" TO \"ROLE\""),
      ("CREATE SCHEMA closed", "closed", "GRANT USAGE, CREATE ON SCHEMA \"closed\" TO \"ROLE\""),
      ("", "absent", "CREATE SCHEMA \"absent\" AUTHORIZATION \"ROLE\""),
    ])
  func privilege(sql: String, schema: String, statement: String) throws {
    try withServerSite { site in
      let role = try makeRole(site)
      let admin = try site.admin()
      if !sql.isEmpty { try admin.run(sql) }
      site.login = "user=\(role) password=right-secret"
      // settings() names the server; the schema belongs beside it.
      let settings = {
        var settings = site.settings(steps(site))
        settings.coordination = settings.coordination.replacing("\"}", with: "\", schema: \(schema)}")
        return settings
      }
      let refused = try site.phases.finishRun(settings(), app: site.phases.append("app"))
      #expect(refused.ending == .exited(77), "\(refused.errors)")
      #expect(try exitRecord(site).reason == "state_not_permitted")
      #expect(remedy(refused.errors) == statement.replacing("ROLE", with: role), "\(refused.errors)")
      try admin.run(try #require(remedy(refused.errors)))
      let started = try site.phases.finishRun(settings(), app: site.phases.append("app"))
      #expect(started.ending == .exited(0), "\(started.errors)")
      #expect(site.phases.lines() == ["work", "app"])
    }
  }

  @Test("AI-06: tables that another role made, too, with the GRANT for them")
  func privilegeOnTables() throws {
    try withServerSite { site in
      #expect(try run(site).outcome.ending == .exited(0))
      let role = try makeRole(site)
      site.login = "user=\(role) password=right-secret"
      let refused = try run(site).outcome
      #expect(refused.ending == .exited(77), "\(refused.errors)")
      let names = ["release", "step", "lock"].map { "\"public\".\"supervisor_\($0)\"" }
      let statement =
        "GRANT SELECT, INSERT, UPDATE, DELETE ON \(names.joined(separator: ", ")) TO \"\(role)\""
      #expect(remedy(refused.errors) == statement, "\(refused.errors)")
      try site.admin().run(try #require(remedy(refused.errors)))
      #expect(try run(site).outcome.ending == .exited(0))
      #expect(site.phases.lines() == ["work", "app", "app"])
    }
  }

  // MARK: Waited for

  @Test(
    "AI-06, C1-18: a server that does not run, or has no connection to give, is waited for and said; the app is there within a second of its coming"
  )
  func lateServer() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try withServerSite(server: server) { site in
      try site.admin().run("ALTER SYSTEM SET max_connections = 6")
      let seconds = try quickest(of: 3, within: 1) {
        try server.order("stop")
        return try Stage.run(
          site.phases.run(site.settings(steps(site)), app: site.phases.append("app") + "; exec sleep 1000")
        ) { stage in
          let line = try stage.errorLine(containing: "waiting: ")
          #expect(line.contains("127.0.0.1") && line.contains("\(server.port)") && line.contains("refused"))
          let before = site.phases.lines().count
          try server.order("start")
          let came = monotonicNow()
          try eventually("the app") {
            try stage.pump()
            return site.phases.lines().count > before && site.phases.lines().last == "app"
          }
          return monotonicNow() - came
        }
      }
      #expect(seconds < 1)
      // Now it is full.
      var others: [Admin] = []
      try eventually("it is full") {
        do {
          others.append(try site.admin())
          return false
        } catch { return "\(error)".contains("too many clients") }
      }
      let before = site.phases.lines()
      try Stage.run(site.phases.run(site.settings(steps(site)), app: site.phases.append("app"))) { stage in
        let line = try stage.errorLine(containing: "waiting: ")
        #expect(line.contains("too many clients"), "\(line)")
        others.removeLast(2)
        #expect(try stage.waitForEnd() == .exited(0))
      }
      #expect(site.phases.lines() == before + ["app"])
    }
  }

  @Test("AI-06: a standby is waited for, and is said to be one; promoted, it is used")
  func standby() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try withServerSite(server: server) { site in
      try server.order("fast")
      try server.order("standby")
      try Stage.run(site.phases.run(site.settings(steps(site)), app: site.phases.append("app"))) { stage in
        let line = try stage.errorLine(containing: "waiting: ")
        #expect(line.contains("a standby") && line.contains("the lock needs the primary"), "\(line)")
        #expect(try site.admin().value("SELECT pg_promote()") == "t")
        #expect(try stage.waitForEnd() == .exited(0), "\(stage.errors.text)")
      }
      #expect(site.phases.lines() == ["work", "app"])
    }
  }

  @Test(
    "AI-06: a full disk is waited for and said; when there is room again, the node goes on",
    .enabled(if: SmallDisk.isPossible, "no file system can be mounted here"))
  func fullDisk() throws {
    let disk = try SmallDisk()
    defer { disk.remove() }
    try withServerSite { site in
      let place = "disk_\(site.database)"
      try site.admin().run("CREATE TABLESPACE \(place) LOCATION '\(disk.folder)'")
      let maintenance = try Admin(port: site.server.port)
      defer {
        _ = try? maintenance.run("DROP DATABASE IF EXISTS \(site.database) WITH (FORCE)")
        _ = try? maintenance.run("DROP TABLESPACE IF EXISTS \(place)")
      }
      try maintenance.run("ALTER DATABASE \(site.database) SET TABLESPACE \(place)")
      try disk.fill()
      try Stage.run(site.phases.run(site.settings(steps(site)), app: site.phases.append("app"))) { stage in
        let line = try stage.errorLine(containing: "waiting: ")
        #expect(line.contains("No space left on device"), "\(line)")
        try disk.empty()
        #expect(try stage.waitForEnd() == .exited(0), "\(stage.errors.text)")
      }
      #expect(site.phases.lines() == ["work", "app"])
    }
  }

  // MARK: The budget

  @Test("AI-15, C1-19: one budget for the server that comes late and the lock that is taken then")
  func oneBudget() throws {
    try withServerSite { site in
      let role = try makeRole(site)
      let admin = try site.admin()
      try admin.run(
        "GRANT ALL ON SCHEMA public TO \(role); ALTER ROLE \(role) CONNECTION LIMIT 0")
      site.login = "user=\(role) password=right-secret"
      let began = monotonicNow()
      try Stage.run(
        site.phases.run(site.settings(steps(site), ["timeout: 3s"]), app: site.phases.append("app"))
      ) { stage in
        let line = try stage.errorLine(containing: "waiting: ")
        #expect(line.contains("too many connections for role"), "\(line)")
        try letPass(seconds: 1, stage)
        try admin.run("SELECT pg_advisory_lock(5633578932025518674)")
        try admin.run("ALTER ROLE \(role) CONNECTION LIMIT -1")
        #expect(try stage.waitForEnd() == .exited(75), "\(stage.errors.text)")
        let took = monotonicNow() - began
        #expect(took >= 2.9 && took < 8, "\(took)")
        #expect(try exitRecord(site).reason == "lock_timeout")
      }
      #expect(site.phases.lines() == [])
    }
  }

  @Test("AI-15, AI-34: --timeout 0 is one try, of a lock that is taken as of a server that is not there")
  func oneTry() throws {
    try withServerSite { site in
      let admin = try site.admin()
      try admin.run("SELECT pg_advisory_lock(5633578932025518674)")
      let taken = try run(site, ["timeout: 0s"])
      #expect(taken.outcome.ending == .exited(75) && taken.seconds < 8, "\(taken)")
      #expect(try exitRecord(site).reason == "lock_timeout")
      try admin.run("SELECT pg_advisory_unlock_all()")
      #expect(try run(site, ["timeout: 0s"]).outcome.ending == .exited(0))
      let reservation = try Listener.reservation()
      site.port = reservation.port
      let missing = try run(site, ["timeout: 0s"])
      #expect(missing.outcome.ending == .exited(69) && missing.seconds < 8, "\(missing)")
      #expect(try exitRecord(site).reason == "state_unavailable")
    }
  }

  // MARK: Secrets

  @Test(
    "no password, wherever one looks: output, /status, arguments, what the node writes, what its children are told"
  )
  func passwords() throws {
    try withServerSite { site in
      let role = try makeRole(site)
      let admin = try site.admin()
      try admin.run("GRANT ALL ON SCHEMA public TO \(role); ALTER ROLE \(role) CONNECTION LIMIT 0")
      site.login = "user=\(role) password=right-secret"
      let settings = site.settings(
        [site.phases.step("work", site.phases.append("work") + "; env >\(site.phases.path("environment"))")],
        ["log: {level: debug}"])
      try Stage.run(site.phases.run(settings, app: site.phases.append("app") + "; exec sleep 1000")) {
        stage in
        try stage.errorLine(containing: "waiting: ")
        var seen = try site.phases.status() + site.phases.status(json: false)
        try admin.run("ALTER ROLE \(role) CONNECTION LIMIT -1")
        try site.phases.wait(for: "app", [stage])
        seen += try site.phases.status() + site.phases.status(json: false)
        for process in ProcessEntry.all() where process.parent == stage.pid || process.pid == stage.pid {
          seen += readText("/proc/\(process.pid)/cmdline") ?? ""
          if process.name == "sleep" { seen += readText("/proc/\(process.pid)/environ") ?? "" }
        }
        seen += try Stage.result(
          Launch([Programs.supervisor, "settings", "show", "--settings", site.phases.path("node.yml")])
        ).output
        try stage.send(SIGTERM)
        _ = try stage.waitForEnd()
        try stage.waitForEndOfOutput()
        seen += stage.output.text + stage.errors.text
        seen += readText(site.phases.path("environment")) ?? ""
        for file in try FileSystem.names(in: site.phases.path("run-node")) {
          seen += readText(site.phases.path("run-node/" + file)) ?? ""
        }
        #expect(seen.contains("SUPERVISOR_RUN_ID") && seen.contains("waiting: ") && seen.contains("sleep"))
        #expect(
          !seen.contains("right-secret"), "\(seen.split(separator: "\n").filter { $0.contains("secret") })")
      }
    }
  }
}

/// A file system of a few MB, to be filled.
private struct SmallDisk {
  static let isPossible: Bool = {
    guard Programs.isRoot, let disk = try? SmallDisk() else { return false }
    disk.remove()
    return true
  }()

  let mount: String
  var folder: String { mount + "/place" }

  init() throws {
    var template = Array("/tmp/supervisor-disk-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw HarnessError.system("mkdtemp") }
    mount = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let script =
      "mount -t tmpfs -o size=24m,mode=755 tmpfs \(mount) && mkdir \(folder) && chown postgres \(folder)"
    let outcome = try Stage.result(Launch(["/bin/sh", "-c", script]))
    guard outcome.ending == .exited(0) else {
      rmdir(mount)
      throw HarnessError(outcome.errors)
    }
  }

  func fill() throws {
    _ = try Stage.result(Launch(["/bin/sh", "-c", "cat /dev/zero >\(mount)/filler"]))
  }

  func empty() throws {
    guard unlink(mount + "/filler") == 0 else { throw HarnessError.system("unlink") }
  }

  func remove() {
    _ = try? Stage.result(Launch(["/bin/sh", "-c", "umount \(mount) || umount --lazy \(mount)"]))
    rmdir(mount)
  }
}
