import Glibc
import TestSupport
import Testing

/// That what judges fleets would see what is to be found, and that fleets of supervisor start on the project.
@Suite("fleet: the judge")
struct FleetRecordTests {
  private func event(_ name: String, _ what: String, _ who: String = "a 1") -> FleetRecord.Event {
    FleetRecord.Event(name: name, what: what, who: who)
  }

  private func call(_ name: String, _ who: String = "a 1") -> [FleetRecord.Event] {
    [event(name, "enter", who), event(name, "leave", who)]
  }

  private var good: FleetRecord {
    FleetRecord(
      migrations: ["witness.0001", "stock.0001", "stock.0002"].map {
        FleetRecord.Migration(name: $0, node: "a")
      },
      hooks: call("stock.infrastructure"),
      events: call("stock.0001") + call("stock.infrastructure") + call("stock.node")
        + [event("stock.node", "enter", "a 2"), event("stock.node", "enter", "b 3")], apps: ["a", "b"])
  }

  private func findings(_ wasDisturbed: Bool = false, _ change: (inout FleetRecord) -> Void) -> [String] {
    var record = good
    change(&record)
    return record.findings(
      FleetRecord.expected(apps: "stock"), nodes: ["a", "b"], wasDisturbed: wasDisturbed)
  }

  @Test("nothing is wrong with a good start; node hooks may overlap")
  func nothing() {
    #expect(findings { _ in } == [])
  }

  @Test("a migration too often, not at all, unknown")
  func migrations() {
    #expect(
      findings { $0.migrations.append($0.migrations[1]) } == ["migration stock.0001 is recorded 2 times"])
    #expect(findings(true) { $0.migrations.removeLast() } == ["migration stock.0002 is recorded 0 times"])
    #expect(
      findings { $0.migrations += [.init(name: "x", node: "a"), .init(name: "x", node: "b")] }
        == ["migration x is recorded 2 times"])
  }

  @Test("a hook too often, not at all, not left")
  func hooks() {
    let name = "stock.infrastructure"
    #expect(findings { $0.hooks += call(name) } == ["hook \(name) was entered 2 times and left 2 times"])
    #expect(findings(true) { $0.hooks = [] } == ["hook \(name) was entered 0 times and left 0 times"])
    #expect(
      findings { $0.hooks.removeLast() } == ["hook \(name) was entered 1 times and left 0 times"])
    #expect(findings(true) { $0.hooks.insert(event(name, "enter", "b 2"), at: 0) } == [])
  }

  @Test("two at a time: by the order of rows, of lines, by the locks that the witness takes")
  func overlaps() {
    let name = "stock.infrastructure"
    let one = call(name)
    let two = call("other.infrastructure", "b 2")
    let mixed = [one[0], two[0], one[1], two[1]]
    #expect(
      findings { $0.hooks = mixed } == ["other.infrastructure at b 2 overlaps \(name) at a 1 in hook_events"])
    #expect(
      findings { $0.events = mixed } == ["other.infrastructure at b 2 overlaps \(name) at a 1 in events"])
    for what in ["overlap", "left-behind"] {
      #expect(
        findings(true) { $0.events.append(event("stock.0002", what)) } == ["\(what) of stock.0002 at a 1"])
    }
  }

  @Test("a node without its app")
  func apps() {
    #expect(findings(true) { $0.apps = ["b", "b"] } == ["the app of a was not started"])
  }
}

@Suite("fleet: supervisor on a project with PostgreSQL", .drivesProcesses, .needsFleet)
struct FleetTests {
  @Test("four nodes that share state_dir: everything once, and every app")
  func sharedState() throws {
    try withFleetSite { site throws in
      site.coordination = ["lock: file", "readiness: file", "poll_interval: 200ms"]
      site.sharesState = true
      #expect(try site.startAndStop(FleetNode.several(4, .supervisor), over: 0.5) == [])
    }
  }

  @Test("AI-01, AI-11: twenty nodes within three seconds: everything once, and every app", .tags(.floods))
  func twentyNodes() throws {
    try withFleetSite { site in
      let nodes = FleetNode.several(20, .supervisor)
      #expect(try site.startAndStop(nodes) == [])
      let admin = try site.admin()
      #expect(try site.locks(admin) == [])
      #expect(try admin.value(Self.sessions) == "0")
      #expect(try site.readiness() == "1")
    }
  }

  @Test("AI-01: twenty nodes, half of them still on django-autoinit", .tags(.floods))
  func mixed() throws {
    try withFleetSite { site throws in
      #expect(try site.startAndStop(FleetNode.mixed(20)) == [])
    }
  }

  @Test("AI-11, AI-25: the same nodes once more: nothing is done again but the apps; no migration is missing")
  func again() throws {
    try withFleetSite { site in
      site.apps = "search orders stock"
      let nodes = FleetNode.several(3, .supervisor)
      #expect(try site.startAndStop(nodes, over: 0.3) == [])
      let before = try site.record()
      #expect(try site.manage("migrate", "--check").ending == .exited(0))
      #expect(try site.startAndStop(nodes, over: 0.3) == [])
      let after = try site.record()
      #expect(after.migrations == before.migrations)
      #expect(after.hooks == before.hooks)
      #expect(after.events == before.events)
      #expect(after.apps.sorted() == nodes.flatMap { [$0.name, $0.name] })
    }
  }

  @Test("C1-24: two databases: both are migrated once, one after the other, by the lock in the default one")
  func twoDatabases() throws {
    try withFleetSite { site in
      let other = try site.server.makeDatabase()
      site.variables = [
        "FLEET_DATABASE_OTHER": other, "FLEET_STOCK_INFRASTRUCTURE": "await:\(site.path("gate"))",
      ]
      site.framework = "django, databases: [default, other]"
      let nodes = FleetNode.several(5, .supervisor)
      let second = try Admin(port: site.server.port, database: other)
      try site.start(nodes, over: 0.5) { stages in
        try site.waitForEntering("stock.infrastructure", stages)
        #expect(try site.locks(site.admin()).first == "ExclusiveLock t")
        #expect(try site.locks(second) == [])
        try writeFile(site.path("gate"), "")
        try site.waitForApps(nodes, stages)
        try site.stop(stages)
      }
      #expect(try site.findings(nodes) == [])
      let names = try site.record().migrations.map(\.name)
      #expect(try second.run("SELECT name FROM migration_runs ORDER BY id").map { $0[0] } == names)
      #expect(try second.value("SELECT count(*) FROM orders_order") == "100")
      #expect(
        try second.value("SELECT to_regclass('supervisor_release') IS NULL") == "t",
        "the record is in the default one")
    }
  }

  @Test(
    "AI-25, C1-27: the whole fleet once more, all at once: no lock is asked for, no step and no Python runs")
  func warm() throws {
    try withFleetSite { site in
      // Whatever is run in a start notes it.
      let folder = site.path("bin")
      try FileSystem.makeDirectory(folder)
      let python = try #require(ProjectPython.folders["fleet"])
      try writeFile(
        folder + "/python",
        "#!/bin/sh\necho \"$FLEET_NODE $*\" >> \"$FLEET_WITNESS/pythons\"\nexec \(python)/python \"$@\"\n")
      chmod(folder + "/python", 0o755)
      site.variables["PATH"] = "\(folder):\(python):/usr/bin:/bin"
      let nodes = FleetNode.several(12, .supervisor)
      #expect(try site.startAndStop(nodes, over: 1) == [])
      let before = try site.record()
      let pythons = site.lines("pythons").count
      #expect(pythons >= nodes.count)
      let admin = try site.admin()
      let ledger = "SELECT string_agg(r::text, ' ') FROM supervisor_release r"
      let record = try admin.value(ledger)
      try admin.run("ALTER DATABASE \(site.database) SET log_statement = 'all'")
      func questions() -> [Substring] {
        (readText(site.server.folder + "/log.txt") ?? "").split(separator: "\n").filter {
          $0.contains(site.runID)
        }
      }
      #expect(try site.startAndStop(nodes, over: 0) == [])
      let after = try site.record()
      #expect(after.migrations == before.migrations && after.hooks == before.hooks)
      #expect(after.events == before.events)
      #expect(after.apps.count == 2 * nodes.count)
      #expect(site.lines("pythons").dropFirst(pythons) == [])
      #expect(try admin.value(ledger) == record)
      #expect(!questions().isEmpty, "what they ask is seen")
      #expect(questions().filter { $0.contains("advisory") } == [])
    }
  }

  @Test("AI-30: web, worker and beat of one image: everything once, and the web app answers")
  func roles() throws {
    try withFleetSite { site in
      let port = try freePort()
      let nodes = [
        FleetNode(
          name: "web", member: .supervisor,
          app: "exec gunicorn --bind 127.0.0.1:\(port) --workers 1 --log-level warning fleet.wsgi"),
        FleetNode(name: "worker", member: .supervisor), FleetNode(name: "beat", member: .supervisor),
      ]
      try site.start(nodes, over: 0.2) { stages in
        try site.waitForApps(nodes, stages)
        #expect(try site.findings(nodes) == [])
        var answer = ""
        try site.wait(for: "the web app", stages) {
          guard let connection = try? Connection(port: port) else { return false }
          try connection.send("GET /health HTTP/1.0\r\n\r\n")
          answer = String(decoding: try connection.receive { $0.last == UInt8(ascii: "}") }, as: UTF8.self)
          return true
        }
        #expect(answer.hasPrefix("HTTP/1.0 200") || answer.hasPrefix("HTTP/1.1 200"), "\(answer)")
        #expect(answer.hasSuffix("{\"orders\": 100}"), "\(answer)")
        try site.stop(stages)
      }
    }
  }

  @Test(
    "AI-21, AI-27: nodes on one host, of both kinds: each node hook once, also when the one in it is killed")
  func sharedMarkers() throws {
    try withFleetSite { site in
      site.sharesMarkers = true
      var nodes = FleetNode.mixed(6)
      nodes[0].variables["FLEET_ORDERS_NODE"] = "await:\(site.path("never"))"
      try Stage.run(site.start(nodes[0])) { first in
        try site.waitForEntering("orders.node", [first])
        try site.start(Array(nodes[1...]), over: 0.2) { stages in
          let others = Array(nodes[1...])
          try stages[1].errorLine(containing: "to finish the node phase")
          site.killTree(first)
          try site.waitForApps(others, stages)
          #expect(site.entered("orders.node") == 2)
          #expect(site.entered("stock.node") == 1)
          #expect(try site.findings(others) == [])
          try site.stop(stages)
        }
      }
    }
  }

  private static let sessions =
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
}
