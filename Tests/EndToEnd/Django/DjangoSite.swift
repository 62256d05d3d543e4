import Foundation
import Testing

/// The interpreter that the projects of tests have.
enum ProjectPython {
  static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent().path

  /// The folders with the interpreters that Tests/Python/environment.sh has made, by name.
  static let folders: [String: String] = {
    let list = try? String(contentsOfFile: root + "/.build-tests/python/environments", encoding: .utf8)
    let pairs = (list ?? "").split(separator: "\n").compactMap { line -> (String, String)? in
      let words = line.split(separator: " ")
      guard words.count > 1, words[1].hasSuffix("/python") else { return nil }
      return (String(words[0]), String(words[1].dropLast("/python".count)))
    }
    return Dictionary(pairs, uniquingKeysWith: { first, _ in first })
  }()

  /// The folder of the one with Django 5.2.
  static let folder = folders["django-5.2"]
}

extension Trait where Self == ConditionTrait {
  static var needsDjango: Self {
    .enabled(
      if: ProjectPython.folder != nil, "no Python with Django: Tests/Python/environment.sh makes one")
  }
}

/// A node with a copy of Tests/Fixtures/probe as its project.
struct DjangoSite {
  let node: RunSite
  var project: String { node.folder + "/project" }
  var settingsFile: String { node.folder + "/supervisor.yml" }

  static func with<Result>(_ body: (DjangoSite) throws -> Result) throws -> Result {
    try withRunSite { node in
      let site = DjangoSite(node: node)
      try FileManager.default.copyItem(
        atPath: ProjectPython.root + "/Tests/Fixtures/probe", toPath: site.project)
      return try body(site)
    }
  }

  /// The preset, without its own migration: Python starts slowly, and most tests are about the hooks.
  static func settings(_ change: (inout RunSettings) -> Void = { _ in }) -> RunSettings {
    var settings = RunSettings(
      infrastructure: ["{name: migrate, run: [/bin/true]}"], more: ["framework: {name: django}"])
    change(&settings)
    return settings
  }

  /// Any program in the project's folder, with the project's interpreter first in PATH.
  func launch(_ words: [String], _ variables: [String: String] = [:]) -> Launch {
    var launch = Launch(["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", project] + words)
    let plain = [
      "PATH": (ProjectPython.folder ?? "/nowhere") + ":/usr/bin:/bin", "LANG": "C.UTF-8",
      "PYTHONDONTWRITEBYTECODE": "1", "EVENTS": node.folder + "/events",
      "PROBE_DATABASE": node.folder + "/db.sqlite3", "PROBE_STATIC_ROOT": node.folder + "/static",
    ]
    launch.environment = plain.merging(variables) { $1 }.map { Array("\($0)=\($1)".utf8) }
    return launch
  }

  /// `supervisor run`; the app writes a line to the events unless another one is given.
  func run(
    _ settings: RunSettings = settings(), _ variables: [String: String] = [:], app: [String]? = nil,
    options: [String] = []
  ) throws -> Launch {
    try write(settings)
    return launch(
      [Programs.supervisor, "run", "--settings", settingsFile] + options + ["--"]
        + (app ?? ["/bin/sh", "-c", "echo app >> \"$EVENTS\""]), variables)
  }

  /// `supervisor COMMAND` with these settings.
  func command(
    _ words: [String], _ settings: RunSettings = settings(), _ variables: [String: String] = [:]
  ) throws -> Launch {
    try write(settings)
    return launch([Programs.supervisor] + words + ["--settings", settingsFile], variables)
  }

  private func write(_ settings: RunSettings) throws { _ = try node.launch([], settings) }

  /// What hooks and app wrote since the last look: `first.node enter`, without time and PID.
  func takeEvents() -> [String] {
    let path = node.folder + "/events"
    let text = readText(path) ?? ""
    unlink(path)
    return text.split(separator: "\n").map { line in
      let words = line.split(separator: " ")
      return words.count == 4 ? "\(words[2]) \(words[3])" : String(line)
    }
  }

  /// The events of hooks that came to their end.
  static func whole(_ phase: String, _ apps: [String] = ["first", "second", "third"]) -> [String] {
    apps.flatMap { ["\($0).\(phase) enter", "\($0).\(phase) leave"] }
  }

  /// An interpreter that writes a line for each of its starts, for `framework.python`.
  func countingPython() throws -> String {
    let path = node.folder + "/python"
    try writeFile(
      path,
      "#!/bin/sh\necho start >> \(node.folder)/starts\nexec \(ProjectPython.folder ?? "")/python \"$@\"\n",
      mode: 0o755)
    return path
  }

  /// How often it was started since the last look.
  func takeStarts() -> Int {
    let path = node.folder + "/starts"
    defer { unlink(path) }
    return (readText(path) ?? "").split(separator: "\n").count
  }

  /// PATH with another one of the interpreters first.
  static func path(_ name: String) -> [String: String] {
    ["PATH": (ProjectPython.folders[name] ?? "/nowhere") + ":/usr/bin:/bin"]
  }

  /// More lines for the project's settings module.
  func append(_ lines: String) throws {
    let path = project + "/probe/settings.py"
    try writeFile(path, (readText(path) ?? "") + lines + "\n")
  }
}
