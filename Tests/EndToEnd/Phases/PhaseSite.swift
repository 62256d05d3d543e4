import Glibc

/// What nodes of one release are told to do.
struct PhaseSettings {
  var runID: String? = "r1"
  /// Flow mappings; see `PhaseSite.step`.
  var infrastructure: [String] = []
  var node: [String] = []
  /// Below the site's folder; nodes with the same one share a volume.
  var markers = "markers"
  /// Of `run`: where the health page listens.
  var listen = "127.0.0.1:0"
  /// Members of `coordination`.
  var coordination = "takeover_delay: 100ms, poll_interval: 50ms"
  /// Further members of `infrastructure` and `node`.
  var moreOfInfrastructure: [String] = []
  /// Further lines at the top level.
  var more: [String] = []
}

/// A folder that nodes share: its `state_dir`, and the file `events` to which steps append what they do.
final class PhaseSite {
  let folder: String
  var events: String { folder + "/events" }
  var state: String { folder + "/state" }
  var lock: String { state + "/infrastructure.lock" }

  init(folder: String) { self.folder = folder }

  func path(_ name: String) -> String { folder + "/" + name }

  // MARK: Steps

  /// A step that runs a script.
  func step(_ name: String, _ script: String, _ more: String = "") -> String {
    "{name: \(name), run: \(RunSettings.shell(script))\(more.isEmpty ? "" : ", " + more)}"
  }

  /// A step that appends its name to the events.
  func note(_ name: String, _ more: String = "") -> String { step(name, append(name), more) }

  /// Script: appends a line to the events.
  func append(_ line: String) -> String { "echo \(line) >>\(events)" }

  /// Script: waits until the test has made this file.
  func await(_ name: String) -> String { "until test -e \(path(name)); do sleep 0.02; done" }

  func open(_ name: String) throws { try writeFile(path(name), "") }

  func exists(_ name: String) -> Bool { access(path(name), F_OK) == 0 }

  /// What steps and apps have appended.
  func lines() -> [String] {
    (readText(events) ?? "").split(separator: "\n").map(String.init)
  }

  /// Waits until somebody has appended this line.
  func wait(for line: String, _ stages: [Stage]) throws {
    try eventually("the event “\(line)”") {
      for stage in stages { try stage.pump() }
      return lines().contains(line)
    }
  }

  func record(_ runID: String = "r1") -> String { readText(state + "/releases/\(runID).release") ?? "" }

  // MARK: Nodes

  /// Writes the settings of the node `name`, and returns the path.
  func write(_ settings: PhaseSettings, _ name: String = "node") throws -> String {
    var lines = [
      "run_dir: \(folder)/run-\(name)", "state_dir: \(state)", "stop_timeout: 10s",
      "health: {listen: \"\(settings.listen)\"}", "coordination: {\(settings.coordination)}",
      "infrastructure:",
    ]
    if let runID = settings.runID { lines.append("run_id: \(runID)") }
    let infrastructure =
      settings.infrastructure.isEmpty ? [] : ["steps:"] + settings.infrastructure.map { "  - " + $0 }
    let section = (settings.moreOfInfrastructure + infrastructure).map { "  " + $0 }
    lines.removeAll { $0 == "infrastructure:" }
    if !section.isEmpty { lines += ["infrastructure:"] + section }
    lines += ["node:", "  marker_dir: \(folder)/\(settings.markers)"]
    if !settings.node.isEmpty { lines += ["  steps:"] + settings.node.map { "    - " + $0 } }
    let file = path(name + ".yml")
    try writeFile(file, (lines + settings.more).joined(separator: "\n") + "\n")
    return file
  }

  /// `supervisor init WORDS` on the node `name`.
  func initialize(
    _ settings: PhaseSettings, _ words: [String] = [], name: String = "node", environment: [String] = []
  ) throws -> Launch {
    let file = try write(settings, name)
    var launch = Launch([Programs.supervisor, "init"] + words + ["--settings", file])
    launch.environment += environment.map { Array($0.utf8) }
    return launch
  }

  /// `supervisor run` on the node `name`, with a shell script as the app.
  func run(_ settings: PhaseSettings, app: String, name: String = "node") throws -> Launch {
    let file = try write(settings, name)
    return Launch([Programs.supervisor, "run", "--settings", file, "--", "/bin/sh", "-c", app])
  }

  /// `init` to its end.
  func finishInit(
    _ settings: PhaseSettings, _ words: [String] = [], name: String = "node", environment: [String] = []
  ) throws -> Outcome {
    try Stage.result(initialize(settings, words, name: name, environment: environment))
  }

  /// `run` to its end.
  func finishRun(_ settings: PhaseSettings, app: String, name: String = "node") throws -> Outcome {
    try Stage.result(run(settings, app: app, name: name))
  }

  /// `supervisor ready WORDS`.
  func ready(_ settings: PhaseSettings, _ words: String...) throws -> Outcome {
    let file = try write(settings, "ready")
    return try Stage.result(Launch([Programs.supervisor, "ready"] + words + ["--settings", file]))
  }

  /// `/status` of a running node, over its socket.
  func status(_ name: String = "node", json: Bool = true) throws -> String {
    let words = json ? ["status", "--json"] : ["status"]
    return try Stage.result(Launch([Programs.supervisor] + words + ["--run-dir", path("run-" + name)])).output
  }
}

/// Runs `body` with an empty folder for nodes to share.
func withPhaseSite<Result>(_ body: (PhaseSite) throws -> Result) throws -> Result {
  try withTemporaryDirectory { try body(PhaseSite(folder: $0)) }
}

/// Starts all of these at once and runs `body` with them, in the same order.
func withStages<Result>(_ launches: [Launch], _ body: ([Stage]) throws -> Result) throws -> Result {
  func start(_ rest: ArraySlice<Launch>, _ stages: [Stage]) throws -> Result {
    guard let next = rest.first else { return try body(stages) }
    return try Stage.run(next) { try start(rest.dropFirst(), stages + [$0]) }
  }
  return try start(launches[...], [])
}

/// Waits for the end of each, whatever their order.
func endings(of stages: [Stage]) throws -> [Ending] {
  try eventually("the end of all nodes") {
    for stage in stages { try stage.pump() }
    return stages.allSatisfy { $0.ending != nil }
  }
  return stages.compactMap(\.ending)
}

/// An flock that this test holds, as a stranger would.
final class ForeignLock {
  /// Whether somebody has the lock.
  static func isTaken(_ path: String) throws -> Bool { try ForeignLock(path) == nil }

  private let descriptor: Descriptor

  /// Takes the lock; nil when somebody has it.
  init?(_ path: String) throws {
    descriptor = try Descriptor(
      adopting: Glibc.open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644), from: "open \(path)")
    guard flock(descriptor.number, LOCK_EX | LOCK_NB) == 0 else { return nil }
  }

  func release() { descriptor.close() }
}

/// The few things that tests do with folders.
enum FileSystem {
  static func makeDirectory(_ path: String) throws {
    guard mkdir(path, 0o755) == 0 else { throw HarnessError.system("mkdir \(path)") }
  }

  /// What is in a folder, sorted.
  static func names(in path: String) throws -> [String] {
    guard let directory = opendir(path) else { throw HarnessError.system("opendir \(path)") }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != "." && name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// Makes a file look as if it had last been written that many days ago.
  static func age(_ path: String, days: Int) throws {
    var times = [
      timeval(tv_sec: time(nil) - days * 86400, tv_usec: 0),
      timeval(tv_sec: time(nil) - days * 86400, tv_usec: 0),
    ]
    guard utimes(path, &times) == 0 else { throw HarnessError.system("utimes \(path)") }
  }

  static func permissions(_ path: String) -> mode_t {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
  }
}
