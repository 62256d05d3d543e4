import EventLoop
import Phases

// What follows from a scenario: how long it may take, and whether anything can go wrong.
extension Scenario {
  /// Long after it started: everybody must have come to an end by then. One life's whole work, as slow as it may be,
  /// by as many lives as there can be, after the last fault and the longest pause after a failure.
  var bound: Duration {
    let steps = releases.flatMap { $0.infrastructure + $0.node }
    var work = steps.reduce(Duration.seconds(5)) { sum, plan in
      let one = min(plan.step.timeout ?? .seconds(10), .seconds(10)) + .seconds(3)
      let runs = plan.step.retries + 2
      return sum + (one + one) * runs + plan.step.retryDelay * plan.step.retries + .seconds(3)
    }
    // Each write and read at its slowest.
    let operations = steps.count * 4 + 12
    if store.slowPercent > 0 { work += store.slow.upperBound * operations / (100 / store.slowPercent) }
    if store.hangsPerMille > 0 { work += .seconds(60) }
    if database != nil { work += .seconds(30) }
    let lives = nodes * (1 + restartsAfterFailure) + faults.count * (nodes + 1)
    // Early services that are never healthy, and waits.
    if services.contains(where: \.process.startsEarly) { work += (rules.timeout ?? .zero) + .seconds(60) }
    work += .seconds(10)
    let pauses = faults.reduce(Duration.zero) { sum, item in
      switch item.fault {
      case .pause(let length), .killHelperOfPaused(let length), .diskFull(let length), .readError(let length),
        .markerFull(let length), .markerReadOnly(let length), .hangAgent(let length), .cut(let length),
        .restartServer(let length), .fewConnections(let length), .slowServer(let length),
        .redisAway(let length, _), .killAgentOfPaused(let length):
        sum + length
      default: sum
      }
    }
    return .seconds(60 + 8 * 4 + 40 + 310 + 60) + pauses + store.lease * faults.count
      + (work + rules.takeoverDelay + nodeRules.takeoverDelay) * lives
  }

  /// Nothing goes wrong, so everybody must start.
  var isHealthy: Bool {
    if let database, database.slowPercent > 0 { return false }
    guard faults.isEmpty, store.hangsPerMille == 0, store.slowPercent == 0 else { return false }
    guard rules.maximumWait == nil, rules.timeout.map({ $0 >= .seconds(60) }) ?? true else { return false }
    guard nodeRules.timeout.map({ $0 >= .seconds(60) }) ?? true, !redefines.contains(true) else {
      return false
    }
    if zip(onlyWaits, releaseOf).contains(where: { $0.0 }) { return false }
    if waitsFail > 0 || hasUnsteadyProcesses { return false }
    return releases.flatMap { $0.infrastructure + $0.node }.allSatisfy { plan in
      guard let timeout = plan.step.timeout else { return plan.behaviour == .succeeds }
      // What it leaves behind is a part of it.
      let isAlone = plan.process.workers == 0 && plan.process.leavesStrays == 0
      return plan.behaviour == .succeeds && isAlone && plan.duration.upperBound < timeout
    }
  }

  /// Something ends or fails without anybody's doing.
  private var hasUnsteadyProcesses: Bool {
    let processes =
      [app.behaviour] + services.map(\.behaviour)
      + releases.flatMap { $0.infrastructure + $0.node }.map(\.process)
    if processes.contains(where: { $0.startFails > 0 || $0.checksHang > 0 }) { return true }
    return (services + [app]).contains { $0.behaviour.runs != nil }
  }

  /// Whether a stop may have to wait for a file.
  var hasBadStore: Bool { hasBadDisk || database != nil || faults.contains { $0.fault == .stateVanishes } }

  /// The same, but for a directory that somebody removes.
  var hasBadDisk: Bool {
    if store.hangsPerMille > 0 || store.slowPercent > 0 || store.slowRepliesPercent > 0 { return true }
    return faults.contains { item in
      switch item.fault {
      case .diskFull, .readError, .markerFull, .markerReadOnly, .markerVanishes: return true
      default: return false
      }
    }
  }
}
