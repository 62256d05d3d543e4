import Foundation
import TestSupport

/// What a fleet left behind in its database and in its folder, and what is wrong with it.
struct FleetRecord {
  struct Migration: Equatable {
    let name: String
    let node: String
  }

  struct Event: Equatable {
    let name: String
    /// `enter`, `leave`, `overlap` (somebody else was at it), `left-behind` (the server still was).
    let what: String
    /// Who: node and PID.
    let who: String
  }

  /// Rows of migration_runs, in their order.
  var migrations: [Migration] = []
  /// Rows of hook_events, in their order.
  var hooks: [Event] = []
  /// Lines of the file `events`, in their order.
  var events: [Event] = []
  /// Nodes whose app was started, each as often as it was.
  var apps: [String] = []

  /// What there is to be done once.
  struct Expected {
    var migrations: Set<String> = []
    var hooks: Set<String> = []
  }

  /// What the project's apps have, by their names.
  static func expected(apps: String) -> Expected {
    let migrations = [
      "orders": ["orders.0001", "orders.0002", "orders.0003"], "stock": ["stock.0001", "stock.0002"],
      "search": ["search.0001", "search.0002"],
    ]
    let names = apps.split(separator: " ").map(String.init)
    return Expected(
      migrations: Set(["witness.0001"] + names.flatMap { migrations[$0] ?? [] }),
      hooks: Set(names.filter { $0 != "search" }.map { $0 + ".infrastructure" }))
  }

  /// Everything that is not as it has to be after a fleet's start.
  ///
  /// - Parameter wasDisturbed: somebody was killed: a hook may have been entered again, but never while somebody was
  ///   in it.
  func findings(_ expected: Expected, nodes: [String], wasDisturbed: Bool = false) -> [String] {
    var findings: [String] = []
    let runs = Dictionary(grouping: migrations, by: \.name).mapValues(\.count)
    for name in expected.migrations.union(runs.keys).sorted() where runs[name] != 1 {
      findings.append("migration \(name) is recorded \(runs[name] ?? 0) times")
    }
    for name in expected.hooks.union(hooks.map(\.name)).sorted() {
      let left = hooks.count { $0.name == name && $0.what == "leave" }
      let entered = hooks.count { $0.name == name && $0.what == "enter" }
      if left < 1 || (!wasDisturbed && (left, entered) != (1, 1)) {
        findings.append("hook \(name) was entered \(entered) times and left \(left) times")
      }
    }
    if !wasDisturbed { findings += Self.overlaps(hooks, "hook_events") }
    let shared = events.filter { !$0.name.hasSuffix(".node") }
    if !wasDisturbed { findings += Self.overlaps(shared, "events") }
    for event in shared where event.what == "overlap" || event.what == "left-behind" {
      findings.append("\(event.what) of \(event.name) at \(event.who)")
    }
    for node in nodes where !apps.contains(node) { findings.append("the app of \(node) was not started") }
    return findings
  }

  /// Work of one that lies between entering and leaving of another: it all belongs to one lock.
  private static func overlaps(_ events: [Event], _ place: String) -> [String] {
    var inside: [String] = []
    var findings: [String] = []
    for event in events {
      let work = "\(event.name) at \(event.who)"
      if event.what == "enter" {
        if let other = inside.last { findings.append("\(work) overlaps \(other) in \(place)") }
        inside.append(work)
      } else if event.what == "leave" {
        inside.removeAll { $0 == work }
      }
    }
    return findings
  }
}

extension FleetSite {
  /// Lines of a file in the witness's folder.
  func lines(_ name: String) -> [String] {
    (readText(witness + "/" + name) ?? "").split(separator: "\n").map(String.init)
  }

  /// What hooks and migrations wrote beside the database.
  func events() -> [FleetRecord.Event] {
    lines("events").compactMap { line in
      let words = line.split(separator: " ").map(String.init)
      guard words.count == 5 else { return nil }
      return FleetRecord.Event(name: words[3], what: words[4], who: "\(words[1]) \(words[2])")
    }
  }

  /// How often somebody entered this, by the file.
  func entered(_ name: String) -> Int { events().count { $0.name == name && $0.what == "enter" } }

  /// Everything, as it is now.
  func record() throws -> FleetRecord {
    let admin = try admin()
    var record = FleetRecord()
    if try admin.value("SELECT to_regclass('migration_runs') IS NOT NULL") == "t" {
      record.migrations = try admin.run("SELECT name, node FROM migration_runs ORDER BY id").map {
        FleetRecord.Migration(name: $0[0], node: $0[1])
      }
      record.hooks = try admin.run("SELECT name, what, node, pid FROM hook_events ORDER BY id").map {
        FleetRecord.Event(name: $0[0], what: $0[1], who: "\($0[2]) \($0[3])")
      }
    }
    record.events = events()
    record.apps = lines("apps")
    return record
  }

  /// What is wrong; see `FleetRecord.findings`.
  func findings(_ nodes: [FleetNode], wasDisturbed: Bool = false) throws -> [String] {
    try record().findings(
      expected ?? FleetRecord.expected(apps: apps), nodes: nodes.map(\.name), wasDisturbed: wasDisturbed)
  }
}
