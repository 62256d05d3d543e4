import AgentProtocol

extension Golden {
  private static let record = Array("supervisor-release 1\nrun_id r1\nend\n".utf8)
  private static let now: UInt64 = 1_700_000_000_000_000_000

  private static func request(_ name: String, _ request: CoordinationRequest) -> Golden {
    Golden(name, .request(.coordination(request)))
  }

  private static func report(_ name: String, _ report: CoordinationReport) -> Golden {
    Golden(name, .report(.coordination(report)))
  }

  private static var everywhere: CoordinationScope {
    var scope = CoordinationScope(
      project: "shop", runID: "2026-11-21", owner: "web-1:7", takeoverDelay: .seconds(3))
    scope.postgres = CoordinationScope.PostgreSQL(
      connection: "host=db user=app", schema: "public", table: "supervisor")
    scope.redis = CoordinationScope.Redis(
      url: "redis://cache:6379/1", key: ":1:ready", timeToLive: .seconds(86400))
    return scope
  }

  static let coordinationRequests: [Golden] = [
    request("configure", .configure(everywhere)),
    request(
      "configure-nothing",
      .configure(CoordinationScope(project: "shop", runID: "r1", owner: "web-1:7", takeoverDelay: .zero))),
    request("record-read", .read(id: 1)),
    request("record-write", .write(id: 2, record: record, isLast: true)),
    request("record-remove", .remove(id: 3)),
    request("record-prune", .prune),
    request("lock-infrastructure", .lock(id: 4, .infrastructure)),
    request("lock-leader", .lock(id: 5, .leader)),
    request("lock-contend", .contend(id: 4)),
    request("lock-unlock", .unlock(id: 4, isOrderly: true)),
    request("lock-vanish", .unlock(id: 4, isOrderly: false)),
    request("group-guard", .guardGroup(id: 4, group: 4711)),
    request("group-unguard", .unguardGroup(id: 4, group: 4711)),
    request("readiness-read", .readReadiness(id: 6)),
    request("readiness-set", .writeReadiness(id: 7, isReady: true)),
    request("readiness-clear", .writeReadiness(id: 8, isReady: false)),
    request("readiness-watch", .watchReadiness(id: 9)),
    request("coordination-cancel", .cancel(id: 1)),
    request("step-remains", .endRemains(id: 10, step: "migrate")),
  ]

  static let coordinationReports: [Golden] = [
    report("record", .record(id: 1, record, now: now)),
    report("record-none", .record(id: 1, nil, now: now)),
    report("done", .done(id: 2)),
    report(
      "failed", .failed(id: 2, CoordinationFailure(.superseded, "web-2:9 has claimed run ID r1 since"))),
    report(
      "unavailable",
      .unavailable(
        id: 1,
        CoordinationFailure(.unavailable, "PostgreSQL at \"db\", port 5432: Connection refused"))),
    report("lock-busy", .lockBusy(id: 4, holder: "web-2:9")),
    report(
      "lock-unavailable", .lockUnavailable(id: 4, CoordinationFailure(.unavailable, "the server starts up"))),
    report("lock-free", .lockFree(id: 4, record: record, now: now)),
    report("lock-held", .lockHeld(id: 4, leftBy: "web-2:9")),
    report(
      "lock-failed",
      .lockFailed(id: 4, CoordinationFailure(.permission, "role \"app\" may not use the tables"))),
    report("lock-lost", .lockLost(id: 4, CoordinationFailure(.unavailable, "terminating connection"))),
    report("unlocked", .unlocked(id: 4)),
    report("readiness", .readiness(id: 6, isReady: false, text: "pickled: 'maybe'")),
    report("readiness-changed", .readinessChanged(id: 9)),
  ]
}
