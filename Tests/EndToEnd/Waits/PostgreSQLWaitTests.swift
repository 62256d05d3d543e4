import AgentProtocol
import Glibc
import TestSupport
import Testing

/// Waits for a PostgreSQL server, on real ones.
@Suite("waits: PostgreSQL", .drivesProcesses)
struct PostgreSQLWaitTests {
  /// The agent is given no variables of libpq's, nor a home with files of its.
  private func launch(_ words: [String], environment: [String] = []) -> Launch {
    var launch = Launch([Programs.supervisor, "wait"] + words)
    launch.environment += environment.map { Array($0.utf8) }
    return launch
  }

  private func url(_ server: PostgreSQLServer) -> String {
    "postgres://postgres@127.0.0.1:\(server.port)/postgres"
  }

  @Test("a server that takes connections needs no wait, in each of the ways to name it; nor does a standby")
  func ready() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    let urls = [url(server), "postgresql://127.0.0.1:\(server.port)/postgres?user=postgres"]
    let outcome = try Stage.result(launch(urls))
    #expect(outcome.ending == .exited(0) && outcome.errors == "" && outcome.output == "")
    let variables = ["PGHOST=127.0.0.1", "PGPORT=\(server.port)", "PGUSER=postgres"]
    let byEnvironment = try Stage.result(launch(["postgres:///postgres"], environment: variables))
    #expect(byEnvironment.ending == .exited(0), "\(byEnvironment.errors)")
    try server.order("stop")
    try server.order("standby")
    let standby = try Stage.result(launch([url(server)]))
    #expect(standby.ending == .exited(0), "\(standby.errors)")
  }

  @Test("AI-06, BF-08: a server that comes later is taken within a second of taking connections")
  func late() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try server.order("stop")
    try Stage.run(launch([url(server)])) { stage in
      let line = try stage.errorLine(containing: "still waiting after 5s")
      #expect(line.contains("Connection refused"), "\(line)")
      try server.order("start")
      let accepting = monotonicNow()
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(monotonicNow() - accepting < 1)
      try stage.waitUntilNobodyIsLeft()
    }
  }

  @Test(
    "BF-08: a server that listens and still recovers is waited for, and taken within a second of taking connections"
  )
  func recovering() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try server.order("stop")
    try server.order("recovering")
    try AgentRig.run { rig, _ in
      let outcome = try rig.probe(.postgres(connection: url(server)))
      guard case .notYet(let text) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(text.contains("the database system is"), "\(text)")
    }
    try Stage.run(launch([url(server)])) { stage in
      let line = try stage.errorLine(containing: "still waiting after 5s")
      #expect(line.contains("the database system is"), "\(line)")
      try server.order("promote")
      let accepting = monotonicNow()
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(monotonicNow() - accepting < 1)
    }
  }

  @Test(
    "AI-06: what only a person can change is 69 in less than three seconds, with the reason and without the password",
    arguments: [
      ("postgres://somebody:wr0ng-secret@127.0.0.1:PORT/postgres", "password authentication failed"),
      ("postgres://postgres@127.0.0.1:PORT/no_such_database", "\"no_such_database\" does not exist"),
      (
        "postgres://postgres:wr0ng-secret@localhost:PORT/postgres?sslmode=verify-full&sslrootcert=/etc/hostname",
        "certificate"
      ),
      ("postgres://postgres:wr0ng-secret@127.0.0.1:PORT/postgres?nonsense=1", "cannot be understood"),
    ])
  func refused(url: String, reason: String) throws {
    let server = try PostgreSQLServer.shared.get()
    let began = monotonicNow()
    let outcome = try Stage.result(launch([url.replacing("PORT", with: "\(server.port)"), "file:/no/such"]))
    let took = monotonicNow() - began
    #expect(outcome.ending == .exited(69))
    #expect(took < 3)
    // Once is not believed: it may be in the making.
    #expect(took > 1)
    #expect(outcome.errors.contains(reason), "\(outcome.errors)")
    #expect(outcome.errors.contains("waiting will not change that"), "\(outcome.errors)")
    #expect(!outcome.errors.contains("wr0ng-secret"), "\(outcome.errors)")
  }

  @Test("a database that is being made while it is looked for is waited for")
  func inTheMaking() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try AgentRig.run { rig, _ in
      let probe = try rig.start(
        .postgres(connection: "host=127.0.0.1 port=\(server.port) user=postgres dbname=shop"))
      try eventually("the first look") {
        readText(server.folder + "/log.txt")?.contains("\"shop\" does not exist") == true
      }
      try Admin(port: server.port).run("CREATE DATABASE shop")
      guard case .ready(let text) = try rig.outcome(of: probe) else {
        Issue.record("refused")
        return
      }
      #expect(text.hasSuffix("takes connections"), "\(text)")
    }
  }

  @Test(
    "a server that takes the connection and says nothing is no answer; a probe that is not wanted leaves nothing"
  )
  func silent() throws {
    let listener = try SilentListener()
    defer { withExtendedLifetime(listener) {} }
    let target = ProbeTarget.postgres(connection: "postgres://me:hush@127.0.0.1:\(listener.port)/n")
    try AgentRig.run { rig, _ in
      let outcome = try rig.probe(target, timeout: .milliseconds(400))
      guard case .notYet(let text) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(text.contains("no answer") && !text.contains("hush"), "\(text)")
      let unwanted = try rig.start(target, timeout: .seconds(20))
      try rig.send(.cancelProbe(id: unwanted))
      // The next one is answered, and that of the other is not among what came before it.
      #expect(try rig.probe(.file(path: "/etc")).text != "")
    }
  }

  @Test(
    "wait_for: postgres is the server of coordination.postgres, before the phases, as a step and of a process"
  )
  func ofCoordination() throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    try server.order("stop")
    try Stage.node { site in
      try writeFile(site.folder + "/url", "postgres://postgres:hush@127.0.0.1:\(server.port)/postgres\n")
      var settings = RunSettings(infrastructure: [
        "{name: database, wait_for: postgres}",
        "{name: migrate, needs: [database], run: \(RunSettings.probe("echo", "migrate"))}",
      ])
      settings.services = [
        "worker: {wait_for: [postgres], command: \(RunSettings.shell("echo worker; exec sleep 1000"))}"
      ]
      settings.more = [
        "wait_for: [postgres]", "coordination: {postgres: {url_file: \"\(site.folder)/url\"}}",
      ]
      return try site.probe(["on-signal", "--exit-on", "TERM=0"], settings)
    } _: { stage, site in
      try site.waitForStatus("the dependency", stage) { $0.stage == "dependencies" }
      try stage.errorLine(containing: "still waiting after 5s for postgres (")
      #expect(!stage.output.text.contains("migrate"))
      try server.order("start")
      try stage.line("migrate")
      try eventually("app and worker") {
        try stage.pump()
        return ["ready", "worker"].allSatisfy { stage.output.text.contains($0) }
      }
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(!stage.errors.text.contains("hush"))
    }
  }
}
