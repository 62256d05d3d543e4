import EventLoop
import Journal

/// A snapshot with something in every field, and text that each page must escape.
enum Sample {
  static let hostile = "<b>\"'&\\\n\r\t\u{1b}[31m\u{0}\u{2028}ä"

  static func moment(_ second: Double) -> Moment {
    let nanoseconds = UInt64(second * 1_000_000_000)
    return Moment(
      wall: WallTime(nanoseconds: 1_767_225_600_000_000_000 + nanoseconds),
      monotonic: MonotonicInstant(nanoseconds: 50_000_000_000 + nanoseconds))
  }

  static var running: Snapshot {
    Snapshot(
      takenAt: moment(200.5), version: "0.1.0", pid: 1, nodeName: "web-1", runID: "r42", stage: .running,
      startedAt: moment(0),
      processes: [
        .init(
          name: "app", kind: .app, state: .running, pid: 12, incarnation: 1, startedAt: moment(3),
          health: .init(.healthy, since: moment(4))),
        .init(
          name: "beat", kind: .service, state: .backingOff, incarnation: 3, startedAt: moment(180),
          restarts: 2,
          lastExit: .signal(.kill), nextStartAt: moment(204.5).monotonic,
          health: .init(.unhealthy, reason: "connection refused", since: moment(185))),
      ],
      phases: [
        .init(
          name: "infrastructure", state: .done, since: moment(2),
          steps: [
            .init(name: "migrate", state: .done, attempts: 2, duration: .milliseconds(1234), exit: .code(0))
          ]),
        .init(
          name: "node", state: .done, since: moment(3),
          steps: [
            .init(
              name: "static", state: .failed, attempts: 1, duration: .seconds(75), exit: .code(3),
              reason: "ended with exit 3")
          ]),
      ],
      checks: [.init(name: "app", isOK: true, detail: "up"), .init(name: "health:app", isOK: true)],
      strays: .init(count: 2, names: ["sleep", "sh"]), notes: ["not a subreaper: Operation not permitted"],
      settingsPath: "/etc/supervisor.yml", runDirectory: "/run/supervisor", stateDirectory: nil)
  }

  static var journal: Journal {
    var journal = Journal(capacity: 100)
    journal.append(.stage, "", "running", at: moment(3))
    journal.append(.process, "app", "started as 12", at: moment(3.25))
    return journal
  }

  static var hostileSnapshot: Snapshot {
    var snapshot = running
    snapshot.nodeName = hostile
    snapshot.runID = hostile
    snapshot.processes[0].name = hostile
    snapshot.processes[0].reason = hostile
    snapshot.processes[1].health.reason = hostile
    snapshot.phases[0].name = hostile
    snapshot.phases[0].reason = hostile
    snapshot.phases[0].waitingFor = hostile
    snapshot.phases[0].steps[0].name = hostile
    snapshot.phases[0].steps[0].reason = hostile
    snapshot.checks = [.init(name: hostile, isOK: false, detail: hostile)]
    snapshot.strays.names = [hostile]
    snapshot.notes = [hostile]
    return snapshot
  }

  static var hostileJournal: Journal {
    var journal = Journal()
    journal.append(.warning, hostile, hostile, at: moment(1))
    return journal
  }
}
