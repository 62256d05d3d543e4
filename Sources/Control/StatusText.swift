import EventLoop
import Journal

/// The status as a table for people: plain ASCII around the names, no colours, no line longer than the terminal.
enum StatusText {
  static let defaultWidth = 80
  static let eventLimit = 8

  static func render(_ snapshot: Snapshot, _ journal: Journal, width: Int = defaultWidth) -> String {
    let now = snapshot.takenAt.monotonic
    var lines = heading(snapshot)
    if !snapshot.processes.isEmpty {
      lines.append("")
      lines += processTable(snapshot.processes, now)
    }
    if !snapshot.phases.isEmpty {
      lines.append("")
      lines += phaseTable(snapshot.phases, now)
    }
    if snapshot.strays.count > 0 {
      let names = snapshot.strays.names.map(oneLine).joined(separator: ", ")
      lines += ["", "strays: \(snapshot.strays.count)\(names.isEmpty ? "" : " (\(names))")"]
    }
    if !snapshot.notes.isEmpty { lines += [""] + snapshot.notes.map { "note: \(oneLine($0))" } }
    let events = journal.newest(eventLimit)
    if !events.isEmpty { lines += ["", "latest events (UTC):"] + events.map(event) }
    let width = min(max(width, 40), 1000)
    return lines.map { cut($0, to: width) + "\n" }.joined()
  }

  private static func heading(_ snapshot: Snapshot) -> [String] {
    let uptime = (snapshot.takenAt.monotonic - snapshot.startedAt.monotonic).wholeSecondsReadable
    var first = "supervisor \(snapshot.version), pid \(snapshot.pid), up \(uptime), node \(snapshot.nodeName)"
    if let runID = snapshot.runID { first += ", run \(runID)" }
    var second = snapshot.stage.rawValue.replacingUnderscores
    second += snapshot.isReady ? ", ready" : ", not ready"
    if snapshot.role != .none { second += ", role \(snapshot.role.rawValue)" }
    let failures = snapshot.failures.filter { $0.name != "stage" }
    let reasons = failures.map {
      "  \(oneLine($0.name)): \(oneLine($0.detail.isEmpty ? "fails" : $0.detail))"
    }
    return [oneLine(first), second] + reasons
  }

  private static func processTable(_ processes: [Snapshot.Process], _ now: MonotonicInstant) -> [String] {
    var rows = [["PROCESS", "STATE", "PID", "UP", "RESTARTS", "HEALTH", "LAST EXIT"]]
    for process in processes {
      let uptime =
        process.pid == nil ? nil : process.startedAt.map { (now - $0.monotonic).wholeSecondsReadable }
      rows.append([
        oneLine(process.name), process.state.rawValue.replacingUnderscores,
        process.pid.map { "\($0)" } ?? "-",
        uptime ?? "-", "\(process.restarts)",
        process.health.state == .none ? "-" : process.health.state.rawValue,
        process.lastExit?.description ?? "-",
      ])
    }
    let table = aligned(rows)
    var lines = Array(table.prefix(1))
    for (process, line) in zip(processes, table.dropFirst()) {
      lines.append(line)
      if let reason = process.reason { lines.append("  \(oneLine(reason))") }
      if process.health.state != .healthy, let reason = process.health.reason {
        lines.append("  health: \(oneLine(reason))")
      }
      if let next = process.nextStartAt {
        lines.append("  next start in \(max(next - now, .zero).wholeSecondsReadable)")
      }
    }
    return lines
  }

  private static func phaseTable(_ phases: [Snapshot.Phase], _ now: MonotonicInstant) -> [String] {
    var rows = [["PHASE", "STATE", "TRIES", "TOOK", "EXIT"]]
    var details: [[String]] = [[]]
    for phase in phases {
      // How long a finished phase has been finished is nobody's question.
      let isMoving = phase.state == .waiting || phase.state == .running
      let age = isMoving ? phase.since.map { (now - $0.monotonic).wholeSecondsReadable } : nil
      rows.append([oneLine(phase.name), phase.state.rawValue, "", age ?? "", ""])
      details.append(
        [phase.waitingFor.map { "  waits for \(oneLine($0))" }, phase.reason.map { "  \(oneLine($0))" }]
          .compactMap { $0 })
      for step in phase.steps {
        rows.append([
          "  \(oneLine(step.name))", step.state.rawValue, "\(step.attempts)", step.duration?.readable ?? "-",
          step.exit?.description ?? "-",
        ])
        details.append(step.reason.map { ["    \(oneLine($0))"] } ?? [])
      }
    }
    return zip(aligned(rows), details).flatMap { [$0] + $1 }
  }

  private static func event(_ event: Journal.Event) -> String {
    let subject = event.subject.isEmpty ? "" : " \(oneLine(event.subject))"
    return "  \(event.moment.wall.clockTime) \(event.kind.rawValue)\(subject): \(oneLine(event.text))"
  }

  /// Columns as wide as their widest cell, but at most 28, two spaces between them.
  private static func aligned(_ rows: [[String]]) -> [String] {
    let limit = 28
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      min(rows.map { $0.indices.contains(column) ? $0[column].count : 0 }.max() ?? 0, limit)
    }
    return rows.map { row in
      var line = ""
      for (cell, width) in zip(row, widths) {
        let cell = cut(cell, to: limit)
        line += cell + String(repeating: " ", count: max(width - cell.count, 0) + 2)
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }

  private static func cut(_ line: String, to width: Int) -> String {
    line.count <= width ? line : line.prefix(width - 3) + "..."
  }
}

extension String {
  /// `backing_off` as people write it.
  var replacingUnderscores: String { String(map { $0 == "_" ? " " : $0 }) }
}

extension Duration {
  /// Like `readable`, without fractions of a second.
  var wholeSecondsReadable: String {
    let seconds = Duration.seconds(components.seconds)
    return seconds == .zero ? "0s" : seconds.readable
  }
}
