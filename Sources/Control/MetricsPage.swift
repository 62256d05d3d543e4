import EventLoop
import Journal

/// `/metrics` in the text format of Prometheus, version 0.0.4.
enum MetricsPage {
  static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  static func response(_ snapshot: Snapshot, _ journal: Journal) -> HTTPResponse {
    HTTPResponse(status: 200, contentType: contentType, body: text(snapshot, journal))
  }

  static func text(_ snapshot: Snapshot, _ journal: Journal) -> String {
    var exposition = Exposition()
    supervisor(snapshot, journal, &exposition)
    for process in snapshot.processes { add(process, &exposition) }
    for phase in snapshot.phases { add(phase, &exposition) }
    return exposition.text
  }

  private static func supervisor(_ snapshot: Snapshot, _ journal: Journal, _ out: inout Exposition) {
    out.add(
      "supervisor_info", .gauge, "Version, node and run ID of this supervisor; always 1.",
      [("version", snapshot.version), ("node", snapshot.nodeName), ("run_id", snapshot.runID ?? "")], "1")
    out.add(
      "supervisor_start_time_seconds", .gauge, "When this supervisor started, in seconds since 1970.", [],
      "\(snapshot.startedAt.wall.seconds)")
    out.add(
      "supervisor_uptime_seconds", .gauge, "How long this supervisor has run.", [],
      (snapshot.takenAt.monotonic - snapshot.startedAt.monotonic).decimalSeconds)
    out.addStates("supervisor_stage", "Stage of the life cycle: 1 for the present one.", [], snapshot.stage)
    out.addStates("supervisor_role", "Role of this node: 1 for the present one.", [], snapshot.role)
    out.add(
      "supervisor_ready", .gauge, "Whether this node may get traffic.", [], snapshot.isReady ? "1" : "0")
    for check in snapshot.checks {
      out.add(
        "supervisor_check_ok", .gauge, "Whether a condition of being ready holds.", [("check", check.name)],
        check.isOK ? "1" : "0")
    }
    out.add(
      "supervisor_stray_processes", .gauge, "Adopted processes that live outside every group of ours.", [],
      "\(snapshot.strays.count)")
    out.add(
      "supervisor_notes", .gauge, "How many things about this supervisor itself are not as they should be.",
      [],
      "\(snapshot.notes.count)")
    out.add(
      "supervisor_events_total", .counter, "Events recorded in the journal.", [],
      "\(journal.droppedCount + UInt64(journal.count))")
  }

  private static func add(_ process: Snapshot.Process, _ out: inout Exposition) {
    let labels = [("process", process.name), ("kind", process.kind.rawValue)]
    out.add(
      "supervisor_process_up", .gauge, "Whether the process is alive.", labels, process.pid == nil ? "0" : "1"
    )
    out.addStates(
      "supervisor_process_state", "State of a process: 1 for the present one.", labels, process.state)
    out.addStates(
      "supervisor_process_health", "Health of a process: 1 for the present one.", labels, process.health.state
    )
    out.add(
      "supervisor_process_spawns_total", .counter, "How often the process was spawned.", labels,
      "\(process.incarnation)")
    out.add(
      "supervisor_process_restarts_total", .counter, "How often the process was started again by itself.",
      labels, "\(process.restarts)")
    if let startedAt = process.startedAt {
      out.add(
        "supervisor_process_start_time_seconds", .gauge,
        "When the present or last incarnation started, in seconds since 1970.", labels,
        "\(startedAt.wall.seconds)")
    }
    if let exit = process.lastExit {
      out.add(
        "supervisor_process_last_exit_code", .gauge, "Code of the last exit; 128 + n after signal n.", labels,
        "\(exit.shellCode)")
    }
  }

  private static func add(_ phase: Snapshot.Phase, _ out: inout Exposition) {
    let labels = [("phase", phase.name)]
    out.addStates("supervisor_phase_state", "State of a phase: 1 for the present one.", labels, phase.state)
    for step in phase.steps {
      let labels = labels + [("step", step.name)]
      out.addStates("supervisor_step_state", "State of a step: 1 for the present one.", labels, step.state)
      out.add(
        "supervisor_step_attempts_total", .counter, "How often the step was started here.", labels,
        "\(step.attempts)")
      if let duration = step.duration {
        out.add(
          "supervisor_step_duration_seconds", .gauge, "How long the step's last attempt took.", labels,
          duration.decimalSeconds)
      }
    }
  }
}

/// The lines of an exposition. Samples of one metric must stand together, whatever the order of adding.
private struct Exposition {
  enum Kind: String {
    case gauge
    case counter
  }

  private var names: [String] = []
  private var lines: [String: String] = [:]

  mutating func add(
    _ name: String, _ kind: Kind, _ help: String, _ labels: [(String, String)], _ value: String
  ) {
    if lines[name] == nil {
      names.append(name)
      lines[name] = "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
    }
    let list = labels.map { "\($0.0)=\"\(Exposition.escape($0.1))\"" }.joined(separator: ",")
    lines[name, default: ""] += "\(name)\(list.isEmpty ? "" : "{\(list)}") \(value)\n"
  }

  /// One sample for each possible state, 1 for the present one.
  mutating func addStates<State: CaseIterable & RawRepresentable<String> & Equatable>(
    _ name: String, _ help: String, _ labels: [(String, String)], _ present: State
  ) {
    for state in State.allCases {
      add(name, .gauge, help, labels + [("state", state.rawValue)], state == present ? "1" : "0")
    }
  }

  var text: String { names.map { lines[$0, default: ""] }.joined() }

  private static func escape(_ value: String) -> String {
    var escaped = ""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\\": escaped += "\\\\"
      case "\"": escaped += "\\\""
      case "\n": escaped += "\\n"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}

extension Snapshot.Exit {
  /// The code as a shell would tell it.
  var shellCode: CInt {
    switch self {
    case .code(let code): code
    case .signal(let signal): 128 + signal.rawValue
    }
  }
}
