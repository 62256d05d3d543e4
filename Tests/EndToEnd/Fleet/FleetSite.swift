import Foundation
import Glibc
import TestSupport
import Testing

/// What starts a node.
enum FleetMember: Sendable {
  /// `supervisor run`.
  case supervisor
  /// django-autoinit's entrypoint: its commands one after the other, then the app in their place.
  case autoinit
}

/// A node of a fleet.
struct FleetNode {
  /// Also its folder's name, and what it writes when its app starts.
  let name: String
  var member: FleetMember
  /// The app: a shell script, which runs after the line that says that it was started.
  var app = "exec /bin/sleep 1000"
  /// On top of the fleet's.
  var variables: [String: String] = [:]
  /// Lines of its settings on top of the fleet's; `supervisor` only.
  var settings: [String] = []

  /// So many of one kind.
  static func several(_ count: Int, _ member: FleetMember) -> [FleetNode] {
    (1...count).map { FleetNode(name: "\(member)-\($0)", member: member) }
  }

  /// Half of each, in turns: neither kind comes first.
  static func mixed(_ count: Int) -> [FleetNode] {
    (1...count).map { number in
      let member: FleetMember = number.isMultiple(of: 2) ? .autoinit : .supervisor
      return FleetNode(name: "\(member)-\(number)", member: member)
    }
  }
}

/// One release of the project Tests/Fixtures/fleet: a database of its own on a real PostgreSQL server, a real Redis
/// server, and a folder for each node. See witness/record.py in the project for what it leaves behind.
final class FleetSite {
  let folder: String
  let server: PostgreSQLServer
  let redis: RedisServer
  let database: String
  /// Whom the project connects to: the server, or PgBouncer.
  var databasePort: UInt16
  var runID: String
  /// Of the project, in their order.
  var apps = "orders stock"
  /// For all nodes, on top of what says where everything is.
  var variables: [String: String] = [:]
  /// Members of `coordination`, for nodes with supervisor.
  var coordination: [String]
  /// Further lines of their settings at the top level.
  var settings: [String] = []
  /// Of nodes with supervisor.
  var framework = "django"
  /// What becomes of a start when nothing goes wrong; nil: what the project's apps have.
  var expected: FleetRecord.Expected?
  /// Whether they are on one host, as far as the node phase goes.
  var sharesMarkers = false
  /// Whether they share `state_dir`, as the backend `file` wants it.
  var sharesState = false

  var project: String { folder + "/project" }
  var witness: String { folder + "/witness" }
  var redisURL: String { "redis://127.0.0.1:\(redis.port)/0" }
  /// django-autoinit's key, unless settings change it.
  var readinessKey: String { ":1:autoinit:ready:\(runID)" }

  fileprivate init(folder: String, server: PostgreSQLServer, redis: RedisServer) throws {
    self.folder = folder
    self.server = server
    self.redis = redis
    database = try server.makeDatabase()
    databasePort = server.port
    // Servers are shared, and Redis knows no other name of this release.
    runID = "release-\(getpid())-\(database)"
    coordination = [
      "lock: postgres", "readiness: redis",
      "postgres: {url: \"host=127.0.0.1 port=\(server.port) user=postgres dbname=\(database)\"}",
      "redis: {url: \"redis://127.0.0.1:\(redis.port)/0\"}",
    ]
    try FileManager.default.copyItem(
      atPath: ProjectPython.root + "/Tests/Fixtures/fleet", toPath: folder + "/project")
    try FileSystem.makeDirectory(witness)
  }

  func path(_ name: String) -> String { folder + "/" + name }

  /// Where a node's markers are.
  func markers(_ node: String) -> String { path("markers-\(sharesMarkers ? "shared" : node)") }

  /// Direct, past any pool.
  func admin() throws -> Admin { try Admin(port: server.port, database: database) }

  /// What Redis has under this key, nil for nothing.
  func readiness(_ key: String? = nil) throws -> String? { try ask("GET", key ?? readinessKey) }

  /// Redis's answer to a command: a number, a text, nil for nothing.
  func ask(_ words: String...) throws -> String? {
    let connection = try Connection(port: redis.port)
    try connection.send(words.joined(separator: " ") + "\r\n")
    let answer = try connection.receive { bytes in
      let lines = bytes.count { $0 == UInt8(ascii: "\n") }
      // Only a text has a second line.
      return lines
        > (bytes.first == UInt8(ascii: "$") && bytes.dropFirst().first != UInt8(ascii: "-") ? 1 : 0)
    }
    let lines = String(decoding: answer, as: UTF8.self).split(separator: "\r\n")
    guard let first = lines.first, first.first != "-" else {
      throw HarnessError("Redis on \(words): \(String(decoding: answer, as: UTF8.self))")
    }
    if first.first == "$" { return lines.count > 1 ? String(lines[1]) : first == "$0" ? "" : nil }
    return String(first.dropFirst())
  }

  // MARK: Nodes

  /// The package `autoinit` that nodes of this kind have.
  static func package(_ member: FleetMember) -> String {
    switch member {
    case .supervisor: return ProjectPython.root + "/deploy/django"
    case .autoinit:
      guard let checkout = Programs.variable("DJANGO_AUTOINIT"), !checkout.isEmpty else {
        return ProjectPython.root + "/Tests/Autoinit"
      }
      let inner = checkout + "/src"
      return access(inner + "/autoinit/__init__.py", F_OK) == 0 ? inner : checkout
    }
  }

  func environment(_ node: FleetNode) -> [[UInt8]] {
    let plain = [
      "PATH": (ProjectPython.folders["fleet"] ?? "/nowhere") + ":/usr/bin:/bin", "LANG": "C.UTF-8",
      "HOME": folder, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": Self.package(node.member),
      "FLEET_NODE": node.name, "FLEET_WITNESS": witness, "FLEET_APPS": apps,
      "FLEET_DATABASE_PORT": "\(databasePort)", "FLEET_DATABASE_NAME": database, "FLEET_REDIS": redisURL,
      "FLEET_MARKERS": markers(node.name), "FLEET_STATIC": path("static-\(node.name)"),
      "AUTOINIT_RUN_ID": runID,
    ]
    let all = plain.merging(variables) { $1 }.merging(node.variables) { $1 }
    return all.map { Array("\($0)=\($1)".utf8) }
  }

  /// A program in the project's folder with a node's environment.
  func launch(_ words: [String], _ node: FleetNode) -> Launch {
    var launch = Launch(["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", project] + words)
    launch.environment = environment(node)
    return launch
  }

  /// The node's life.
  func start(_ node: FleetNode) throws -> Launch {
    let app = "echo \"$FLEET_NODE\" >> \"$FLEET_WITNESS/apps\"; " + node.app
    switch node.member {
    case .autoinit:
      let entrypoint =
        "set -e; python manage.py autoinit_infrastructure; python manage.py autoinit_node; exec \"$@\""
      return launch(["/bin/sh", "-c", entrypoint, "entrypoint", "/bin/sh", "-c", app], node)
    case .supervisor:
      let file = try write(node)
      return launch([Programs.supervisor, "run", "--settings", file, "--", "/bin/sh", "-c", app], node)
    }
  }

  /// `supervisor WORDS` with a node's settings.
  func command(_ words: [String], _ node: FleetNode) throws -> Launch {
    let file = try write(node)
    return launch([Programs.supervisor] + words + ["--settings", file], node)
  }

  /// `manage.py WORDS` to its end.
  func manage(_ words: String..., node: FleetNode = FleetNode(name: "hand", member: .autoinit)) throws
    -> Outcome
  {
    try Stage.result(launch(["python", "manage.py"] + words, node))
  }

  private func write(_ node: FleetNode) throws -> String {
    let state = path(sharesState ? "state" : "state-\(node.name)")
    let lines =
      [
        "run_dir: \(path("run-\(node.name)"))", "state_dir: \(state)", "run_id: \(runID)",
        "stop_timeout: 10s",
        "framework: {name: \(framework)}", "health: {listen: \"127.0.0.1:0\"}",
        "node: {marker_dir: \(markers(node.name))}",
      ] + (coordination.isEmpty ? [] : ["coordination:"] + coordination.map { "  " + $0 }) + settings
      + node.settings
    let file = path(node.name + ".yml")
    try writeFile(file, lines.joined(separator: "\n") + "\n")
    return file
  }
}

/// Runs `body` with a fresh release on the servers that all tests share, or on others.
func withFleetSite<Result>(
  server: PostgreSQLServer? = nil, redis: RedisServer? = nil, _ body: (FleetSite) throws -> Result
) throws -> Result {
  let server = try server ?? PostgreSQLServer.shared.get()
  let redis = try redis ?? RedisServer.shared.get()
  return try withTemporaryDirectory { try body(FleetSite(folder: $0, server: server, redis: redis)) }
}

extension Trait where Self == ConditionTrait {
  static var needsFleet: Self {
    .enabled(
      if: ProjectPython.folders["fleet"] != nil,
      "no Python for projects on PostgreSQL: Tests/Python/environment.sh makes one")
  }
}
