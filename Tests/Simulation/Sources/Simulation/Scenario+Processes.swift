import Checks
import EventLoop
import Lifecycle
import Phases
import Processes

/// How a process behaves that is no step's, and a step's command apart from what it does.
struct Behaviour {
  /// How long it runs by itself; nil: until it is stopped.
  var runs: ClosedRange<Duration>?
  var exitCode: CInt = 1
  /// From the stop signal to its end; nil: it ignores it.
  var obeysWithin: ClosedRange<Duration>? = .milliseconds(1)...(.milliseconds(300))
  /// How it ends then.
  var stopStatus = ExitStatus.exited(0)
  /// How many workers it has in its group; in so many percent they outlive it.
  var workers = 0
  var leavesWorkers = 0
  /// In so many percent of all starts it has a child with a session of its own.
  var leavesStrays = 0
  /// In so many percent there is no process to be had.
  var startFails = 0
  /// From when on it passes its check, and how often the check hangs all the same.
  var healthyAfter = Duration.zero
  var checksHang = 0
}

extension Scenario {
  /// Workers and strays.
  static func chooseCompany(_ behaviour: inout Behaviour, _ random: inout SeededGenerator) {
    if random.chance(15) {
      behaviour.workers = random.number(1...4)
      behaviour.leavesWorkers = random.pick([0, 30, 100])
    }
    if random.chance(8) { behaviour.leavesStrays = random.pick([20, 100]) }
    if random.chance(2) { behaviour.startFails = 20 }
  }

  mutating func chooseProcesses(_ random: inout SeededGenerator) {
    app.process.stop = StopPolicy(timeout: random.pick([.seconds(30), .seconds(3), .milliseconds(500)]))
    if random.chance(15) {
      app.process.restart = Scenario.restart(random.pick([.onFailure, .always]), &random)
    }
    Scenario.choose(&app, &random)
    for index in 0..<random.pick([0, 0, 1, 1, 2, 3]) {
      var process = LifecyclePlan.Process(
        name: "service-\(index)",
        restart: Scenario.restart(random.pick([.never, .onFailure, .always]), &random),
        stop: StopPolicy(timeout: random.pick([.seconds(30), .seconds(3), .milliseconds(200)])))
      if random.chance(10) { process.stop.killTarget = .leader }
      process.stopsAllOnFailure = random.chance(60)
      process.waits = random.chance(10)
      process.isForPrimary = random.chance(60)
      process.startsEarly = !process.isForPrimary && random.chance(25)
      var service = Service(process: process)
      Scenario.choose(&service, &random)
      // With no limit to its patience a start waits for it as long as it takes.
      if process.startsEarly, rules.timeout == nil { service.behaviour.checksHang = 0 }
      services.append(service)
    }
    hasRoleHook = random.chance(15)
    if random.chance(20) { hook.runs = nil }
    if random.chance(20) { hook.obeysWithin = nil }
    waitsAtStart = random.chance(8)
    waitsFail = random.pick([0, 0, 10])
    stopTimeout = random.pick([.milliseconds(9500), .milliseconds(9500), .seconds(2), .seconds(30)])
    drainDelay = random.pick([.zero, .zero, .milliseconds(500), .seconds(20)])
    quietTime = services.isEmpty ? .seconds(1) : random.pick([.seconds(1), .seconds(10), .seconds(30)])
  }

  private static func restart(_ mode: RestartPolicy.Mode, _ random: inout SeededGenerator) -> RestartPolicy {
    RestartPolicy(
      mode: mode, initialDelay: random.pick([.milliseconds(50), .milliseconds(500), .seconds(3)]),
      maximumDelay: .seconds(10), limitCount: random.pick([10, 5]))
  }

  private static func choose(_ service: inout Service, _ random: inout SeededGenerator) {
    if random.chance(15) {
      let low: Duration = random.pick([.milliseconds(1), .seconds(1), .seconds(8)])
      service.behaviour.runs = low...(low * 3)
      service.behaviour.exitCode = random.pick([0, 1, 1, 3])
    }
    switch random.number(0...9) {
    case 0: service.behaviour.obeysWithin = nil
    case 1...2: service.behaviour.obeysWithin = .milliseconds(100)...(.seconds(6))
    default: break
    }
    if random.chance(30) { service.behaviour.stopStatus = .signaled(.terminate) }
    chooseCompany(&service.behaviour, &random)
    guard random.chance(25) else { return }
    service.process.check = CheckDefinition(
      method: .exec(.list(["check"])), interval: .seconds(5), timeout: .seconds(2),
      startPeriod: random.pick([.zero, .seconds(10)]))
    service.behaviour.healthyAfter = random.duration(.zero...(.seconds(4)))
    if random.chance(20) { service.behaviour.checksHang = random.pick([10, 100]) }
  }

  /// What a node is told by its settings.
  func plan(node: Int, release: Release, owner: String) -> LifecyclePlan {
    var plan = LifecyclePlan(app: app.process, runID: release.runID, owner: owner)
    plan.scope = scopes.isEmpty ? .life : scopes[node]
    plan.infrastructure = release.infrastructure.map { LifecyclePlan.Step(phase: $0.step, stop: $0.stop) }
    plan.node = release.node.map { LifecyclePlan.Step(phase: $0.step, stop: $0.stop) }
    plan.infrastructureRules = rules
    plan.nodeRules = nodeRules
    if onlyWaits[node] {
      plan.infrastructureRules.onlyWaits = true
      // Perhaps everybody else has given up for good.
      plan.infrastructureRules.timeout = rules.timeout ?? .seconds(120)
      plan.nodeRules.awaitsRelease = true
    }
    plan.waitsAtStart = waitsAtStart
    plan.stopTimeout = stopTimeout
    plan.drainDelay = drainDelay
    plan.seed = seed &+ UInt64(node)
    guard plan.scope == .life else {
      plan.infrastructureRules.retryAfter = nil
      return plan
    }
    plan.services = services.map(\.process)
    plan.hasRoleHook = hasRoleHook
    return plan
  }
}
