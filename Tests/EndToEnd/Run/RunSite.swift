import Foundation
import Glibc

/// The settings of one `run`, as YAML in flow style.
struct RunSettings {
  var runID: String? = "release-1"
  /// Instead of those in the site's folder.
  var stateDirectory: String?
  var markerDirectory: String?
  var stopTimeout = "20s"
  /// Flow mappings: `{name: migrate, run: [/bin/true]}`.
  var infrastructure: [String] = []
  var node: [String] = []
  var app: [String] = []
  var services: [String] = []
  var health: [String] = []
  /// Further lines at the top level.
  var more: [String] = []

  /// A command list of the probe, quoted for YAML.
  static func probe(_ words: String...) -> String { list([Programs.probe] + words) }

  static func shell(_ script: String) -> String { list(["/bin/sh", "-c", script]) }

  static func list(_ words: [String]) -> String {
    // JSON is YAML, and its quoting is exact.
    let quoted = words.map { word in
      "\"" + word.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"").replacing("\n", with: "\\n")
        + "\""
    }
    return "[" + quoted.joined(separator: ", ") + "]"
  }
}

/// The folders and the port of one node under test, and a client for it.
final class RunSite {
  let folder: String
  var port: UInt16 { reservation.port }
  private let reservation: Listener
  var runDirectory: String { folder + "/run" }

  fileprivate init(folder: String) throws {
    self.folder = folder
    reservation = try Listener.reservation()
  }

  /// `supervisor run` with these settings; without `app` the settings name it. A peer under test (`E2E_PEER`) has
  /// no settings: it gets the app alone, and the scenarios that need no more show how it does.
  func launch(
    _ app: [String] = [], _ settings: RunSettings = RunSettings(), options: [String] = [],
    state: [String] = [],
    asInit: Bool = false, streams: Streams = .pipes
  ) throws -> Launch {
    if Programs.underTest != .supervisor {
      return try .exec(
        app, options: ExecOptions(target: .child), state: state, asInit: asInit, streams: streams)
    }
    try writeFile(folder + "/supervisor.yml", text(settings))
    let words = [Programs.supervisor, "run", "--settings", folder + "/supervisor.yml"] + options
    var launch = Launch(words + (app.isEmpty ? [] : ["--"] + app))
    launch.state = state
    launch.isInitOfNamespace = asInit
    launch.streams = streams
    return launch
  }

  /// The same with a part of the probe as the app.
  func probe(
    _ app: [String], _ settings: RunSettings = RunSettings(), options: [String] = [], state: [String] = [],
    asInit: Bool = false, streams: Streams = .pipes
  ) throws -> Launch {
    try launch(
      [Programs.probe] + app, settings, options: options, state: state, asInit: asInit, streams: streams)
  }

  private func text(_ settings: RunSettings) -> String {
    var lines = [
      "run_dir: \(folder)/run", "state_dir: \(settings.stateDirectory ?? folder + "/state")",
      "stop_timeout: \(settings.stopTimeout)",
    ]
    if let runID = settings.runID { lines.append("run_id: \(runID)") }
    func section(_ name: String, _ entries: [String]) {
      if !entries.isEmpty { lines += ["\(name):"] + entries.map { "  " + $0 } }
    }
    let listens = settings.health.contains { $0.hasPrefix("listen:") }
    section("health", settings.health + (listens ? [] : ["listen: \"127.0.0.1:\(port)\""]))
    section(
      "infrastructure",
      settings.infrastructure.isEmpty ? [] : ["steps:"] + settings.infrastructure.map { "  - " + $0 })
    section(
      "node",
      ["marker_dir: \(settings.markerDirectory ?? folder + "/markers")"]
        + (settings.node.isEmpty ? [] : ["steps:"] + settings.node.map { "  - " + $0 }))
    section("app", settings.app)
    section("services", settings.services)
    return (lines + settings.more).joined(separator: "\n") + "\n"
  }

  // MARK: Looking

  func get(_ path: String, within seconds: Double = Deadline.usual) throws -> HTTPAnswer {
    try HTTPAnswer.get(path, port: port, within: seconds)
  }

  func status() throws -> RunStatus {
    try JSONDecoder().decode(RunStatus.self, from: Data(get("/status").body.utf8))
  }

  /// Waits until the health page answers `path` with this status code.
  func waitFor(_ path: String, _ code: Int, _ stage: Stage, within seconds: Double = Deadline.usual) throws {
    try eventually("\(path) answers \(code)", within: seconds) {
      try stage.pump()
      return (try? get(path).status) == code
    }
  }

  /// Waits until `/status` says so.
  func waitForStatus(
    _ what: String, _ stage: Stage, within seconds: Double = Deadline.usual, _ condition: (RunStatus) -> Bool
  ) throws {
    try eventually(what, within: seconds) {
      try stage.pump()
      guard let status = try? status() else { return false }
      return condition(status)
    }
  }

  /// A command of the client: `client("stop", "web")`.
  func client(_ words: String...) throws -> Outcome {
    try Stage.result(Launch([Programs.supervisor] + words + ["--run-dir", runDirectory]))
  }

  /// What the supervisor recorded about its end.
  func exitRecord() throws -> ExitRecord {
    guard let text = readText(runDirectory + "/exit.json") else { throw HarnessError("no exit.json") }
    return try JSONDecoder().decode(ExitRecord.self, from: Data(text.utf8))
  }
}

struct ExitRecord: Decodable {
  let code: Int32
  let reason: String
}

/// The parts of `/status` that tests look at.
struct RunStatus: Decodable {
  struct Process: Decodable {
    struct Health: Decodable { let state: String }
    let name: String
    let state: String
    let pid: Int32?
    let incarnation: Int
    let restarts: Int
    let health: Health
  }
  struct Strays: Decodable {
    let count: Int
    let names: [String]
  }
  struct Phase: Decodable {
    let name: String
    let state: String
  }
  let stage: String
  let ready: Bool
  let processes: [Process]
  let phases: [Phase]
  let strays: Strays
  let notes: [String]

  subscript(name: String) -> Process? { processes.first { $0.name == name } }
}

/// Runs `body` with a node's own folders and port.
func withRunSite<Result>(_ body: (RunSite) throws -> Result) throws -> Result {
  try withTemporaryDirectory { try body(RunSite(folder: $0)) }
}

extension Stage {
  /// Runs one node: its folders, its port, its process.
  static func node<Result>(
    _ launch: (RunSite) throws -> Launch, _ body: (Stage, RunSite) throws -> Result
  ) throws -> Result {
    try withRunSite { site in
      try run(launch(site)) { try body($0, site) }
    }
  }

  /// That nobody of the program's tree outlived it: nothing came to the stage manager to be adopted.
  var adopted: [String] { reports.filter { $0.hasPrefix("orphan ") } }
}

extension Stage {
  /// The program's children that are no zombies, all at one moment: it is stopped meanwhile, so that none of them is
  /// replaced while /proc is read.
  func childrenAtOneMoment() throws -> [ProcessEntry] {
    try send(SIGSTOP)
    try report("the stop") { $0 == "stopped \(SIGSTOP)" }
    let children = ProcessEntry.children(of: pid).filter { $0.state != "Z" }
    try send(SIGCONT)
    try report("the resumption") { $0 == "continued" }
    return children
  }
}

/// How long `body` takes at best. A machine that is busy elsewhere makes any single try slow; a program that is slow
/// itself is so each time.
func quickest(of tries: Int, within bound: Double, _ body: () throws -> Double) throws -> Double {
  var best = Double.infinity
  for _ in 0..<tries where best >= bound { best = min(best, try body()) }
  return best
}

/// Time that is itself the subject of a test (a delay that must have passed); never used to wait for an event.
func letPass(seconds: Double, _ stage: Stage) throws {
  let deadline = Deadline(in: seconds)
  while !deadline.hasPassed { try stage.pump(min(deadline.milliseconds, 50)) }
}
