import Glibc
import TestSupport

/// A step of a release without Django.
struct PlainStep {
  let name: String
  /// Words of the settings' `run`.
  let run: String
  /// Further members.
  let more: String
  /// Whether it leaves a row in migration_runs.
  let isRecorded: Bool

  private init(_ name: String, _ run: String, _ more: String, isRecorded: Bool) {
    self.name = name
    self.run = run
    self.more = more
    self.isRecorded = isRecorded
  }

  /// Tests/Fixtures/fleet/work.sh: a transaction that takes that long in the server.
  static func work(_ name: String, _ seconds: Double = 0, _ more: String = "") -> PlainStep {
    PlainStep(name, "[sh, work.sh, \(name), \"\(seconds)\"]", more, isRecorded: true)
  }

  /// A script.
  static func script(_ name: String, _ script: String, _ more: String = "") -> PlainStep {
    PlainStep(name, RunSettings.shell(script), more, isRecorded: false)
  }

  /// Appends a line to `lines("steps")`, and runs a script.
  static func noted(_ name: String, _ script: String = "", _ more: String = "") -> PlainStep {
    self.script(name, "echo \(name) >> \"$FLEET_WITNESS/steps\"; " + script, more)
  }

  fileprivate var line: String { "{name: \(name), run: \(run)\(more.isEmpty ? "" : ", " + more)}" }
}

extension FleetSite {
  /// Makes it a release without Django, which costs no second of the processor for each node.
  ///
  /// - Parameter readiness: the backend.
  func becomePlain(_ steps: [PlainStep], readiness: String = "postgres", more: [String] = []) throws {
    framework = "none"
    apps = ""
    expected = FleetRecord.Expected(migrations: Set(steps.filter(\.isRecorded).map(\.name)))
    coordinate(readiness: readiness, more)
    settings = ["infrastructure:", "  steps:"] + steps.map { "    - " + $0.line }
    for (name, value) in [
      "PGHOST": "127.0.0.1", "PGPORT": "\(databasePort)", "PGUSER": "postgres", "PGDATABASE": database,
    ] { variables[name] = value }
    let admin = try admin()
    try admin.run(
      """
      CREATE TABLE migration_runs (id bigserial PRIMARY KEY, name text, node text, pid int, at timestamptz);
      CREATE TABLE hook_events (id bigserial PRIMARY KEY, name text, what text, node text, pid int, at timestamptz)
      """)
  }

  /// Lock in PostgreSQL, by way of `databasePort`.
  func coordinate(readiness: String, _ more: [String] = []) {
    coordination =
      [
        "lock: postgres", "readiness: \(readiness)",
        "postgres: {url: \"host=127.0.0.1 port=\(databasePort) user=postgres dbname=\(database)\"}",
      ] + (readiness == "redis" ? ["redis: {url: \"\(redisURL)\"}"] : []) + more
  }

  /// `supervisor init infrastructure` on a node.
  func initialize(_ node: FleetNode, _ words: [String] = []) throws -> Launch {
    try command(["init", "infrastructure"] + words, node)
  }

  /// The infrastructure lock in `pg_locks`: mode and whether it is granted, the holder first.
  func locks(_ admin: Admin) throws -> [String] {
    try admin.run(
      "SELECT mode, granted " + Self.infrastructureLock + " ORDER BY granted DESC, mode"
    ).map { $0.joined(separator: " ") }
  }

  /// Rows of `pg_locks`, for the end of a statement.
  static let infrastructureLock =
    "FROM pg_locks WHERE locktype = 'advisory' AND classid = 1311669808 AND objid = 3514919506 AND objsubid = 1 "
    + "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"

  /// Waits for something while the output of all is read.
  func wait(for what: String, _ stages: [Stage], within seconds: Double = 60, _ isThere: () throws -> Bool)
    throws
  {
    let deadline = Deadline(in: seconds)
    while true {
      for stage in stages { try stage.pump() }
      if try isThere() { return }
      guard !deadline.hasPassed else {
        throw HarnessError("not within \(seconds) s: \(what); " + stages.map(log).joined(separator: "\n"))
      }
      poll(nil, 0, 5)
    }
  }

  /// Waits until somebody has entered this.
  func waitForEntering(_ name: String, _ stages: [Stage], times: Int = 1) throws {
    try wait(for: "somebody in \(name)", stages) { entered(name) >= times }
  }

  /// Waits for the end of all, and of what they say.
  func waitForEnds(_ stages: [Stage]) throws -> [Ending] {
    try wait(for: "the end of all", stages) { stages.allSatisfy { $0.ending != nil } }
    for stage in stages { try stage.waitForEndOfOutput() }
    return stages.compactMap(\.ending)
  }

  /// A node's agent.
  func agent(_ stage: Stage) -> pid_t? {
    ProcessEntry.children(of: stage.pid).first { $0.name.hasPrefix("supervisor-age") }?.pid
  }

  /// Ends a node, its agent, and all that they started, at once and without a word.
  func killTree(_ stage: Stage) {
    guard stage.ending == nil else { return }
    kill(stage.pid, SIGSTOP)
    var tree = [stage.pid]
    var next = 0
    let all = ProcessEntry.all()
    while next < tree.count {
      let parent = tree[next]
      tree += all.filter { $0.parent == parent }.map(\.pid)
      next += 1
    }
    for pid in tree.reversed() { kill(pid, SIGKILL) }
  }
}
