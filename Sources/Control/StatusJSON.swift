import EventLoop
import Journal

/// `/status`: the whole snapshot and the newest events, for programs.
enum StatusJSON {
  /// How many events are shown.
  static let eventLimit = 100

  static func response(_ snapshot: Snapshot, _ journal: Journal) -> HTTPResponse {
    let text = value(snapshot, journal).text + "\n"
    return HTTPResponse(status: 200, contentType: HTTPResponse.json, body: text)
  }

  static func value(_ snapshot: Snapshot, _ journal: Journal) -> JSON {
    let now = snapshot.takenAt.monotonic
    return .object([
      ("version", .string(snapshot.version)),
      ("pid", .integer(Int64(snapshot.pid))),
      ("node", .string(snapshot.nodeName)),
      ("run_id", .optional(snapshot.runID)),
      ("stage", .string(snapshot.stage.rawValue)),
      ("role", .string(snapshot.role.rawValue)),
      ("ready", .bool(snapshot.isReady)),
      ("time", .string(snapshot.takenAt.wall.iso8601)),
      ("started_at", .string(snapshot.startedAt.wall.iso8601)),
      ("uptime_seconds", .seconds(now - snapshot.startedAt.monotonic)),
      ("processes", .array(snapshot.processes.map { process($0, now) })),
      ("phases", .array(snapshot.phases.map { phase($0, now) })),
      ("checks", .array(snapshot.checks.map(check))),
      ("failures", .array(snapshot.failures.map(check))),
      (
        "strays",
        .object([
          ("count", .integer(Int64(snapshot.strays.count))),
          ("names", .array(snapshot.strays.names.map { .string($0) })),
        ])
      ),
      ("notes", .array(snapshot.notes.map { .string($0) })),
      ("settings", .optional(snapshot.settingsPath)),
      ("run_dir", .optional(snapshot.runDirectory)),
      ("state_dir", .optional(snapshot.stateDirectory)),
      ("events", .array(journal.newest(eventLimit).map(event))),
      ("events_dropped", .integer(Int64(clamping: journal.droppedCount))),
    ])
  }

  private static func check(_ check: Snapshot.Check) -> JSON {
    .object([("name", .string(check.name)), ("ok", .bool(check.isOK)), ("detail", .string(check.detail))])
  }

  private static func exit(_ exit: Snapshot.Exit?) -> JSON {
    switch exit {
    case nil: .null
    case .code(let code): .object([("code", .integer(Int64(code)))])
    case .signal(let signal): .object([("signal", .string(signal.description))])
    }
  }

  private static func process(_ process: Snapshot.Process, _ now: MonotonicInstant) -> JSON {
    let age = process.startedAt.map { JSON.seconds(now - $0.monotonic) } ?? .null
    return .object([
      ("name", .string(process.name)),
      ("kind", .string(process.kind.rawValue)),
      ("state", .string(process.state.rawValue)),
      ("reason", .optional(process.reason)),
      ("pid", .optional(process.pid)),
      ("incarnation", .integer(Int64(process.incarnation))),
      ("started_at", .optional(process.startedAt?.wall.iso8601)),
      ("uptime_seconds", process.pid == nil ? .null : age),
      ("restarts", .integer(Int64(process.restarts))),
      ("last_exit", exit(process.lastExit)),
      ("next_start_in_seconds", process.nextStartAt.map { .seconds(max($0 - now, .zero)) } ?? .null),
      (
        "health",
        .object([
          ("state", .string(process.health.state.rawValue)),
          ("reason", .optional(process.health.reason)),
          ("since", .optional(process.health.since?.wall.iso8601)),
        ])
      ),
    ])
  }

  private static func phase(_ phase: Snapshot.Phase, _ now: MonotonicInstant) -> JSON {
    .object([
      ("name", .string(phase.name)),
      ("state", .string(phase.state.rawValue)),
      ("reason", .optional(phase.reason)),
      ("waiting_for", .optional(phase.waitingFor)),
      ("since", .optional(phase.since?.wall.iso8601)),
      ("seconds_in_state", phase.since.map { .seconds(now - $0.monotonic) } ?? .null),
      (
        "steps",
        .array(
          phase.steps.map { step in
            .object([
              ("name", .string(step.name)),
              ("state", .string(step.state.rawValue)),
              ("attempts", .integer(Int64(step.attempts))),
              ("duration_seconds", step.duration.map { .seconds($0) } ?? .null),
              ("exit", exit(step.exit)),
              ("reason", .optional(step.reason)),
            ])
          })
      ),
    ])
  }

  private static func event(_ event: Journal.Event) -> JSON {
    .object([
      ("number", .integer(Int64(clamping: event.number))),
      ("time", .string(event.moment.wall.iso8601)),
      ("kind", .string(event.kind.rawValue)),
      ("subject", .string(event.subject)),
      ("text", .string(event.text)),
    ])
  }
}
