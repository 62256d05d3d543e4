import Checks
import Phases
import Processes

@testable import Lifecycle

extension LifecyclePlan {
  /// An app `web` with these services, steps and node steps.
  static func simple(
    services: [Process] = [], steps: [String] = [], node: [String] = [],
    appRestart: RestartPolicy.Mode = .never, change: (inout LifecyclePlan) -> Void = { _ in }
  ) -> LifecyclePlan {
    var plan = LifecyclePlan(
      app: Process(name: "web", restart: RestartPolicy(mode: appRestart, jitter: 0)),
      runID: RunID(given: "r1", workingDirectory: [47]), owner: "us")
    plan.services = services
    plan.infrastructure = steps.map { Step(phase: PhaseStep(name: $0, definition: $0)) }
    plan.node = node.map { Step(phase: PhaseStep(name: $0, definition: $0)) }
    change(&plan)
    return plan
  }

}

extension LifecyclePlan.Process {
  /// A service without jitter.
  static func service(
    _ name: String, early: Bool = false, mode: RestartPolicy.Mode = .always, limit: Int = 10,
    check: CheckDefinition? = nil, ignored: Bool = false
  ) -> LifecyclePlan.Process {
    var process = LifecyclePlan.Process(
      name: name, restart: RestartPolicy(mode: mode, jitter: 0, limitCount: limit),
      check: check)
    process.stopsAllOnFailure = !ignored
    process.startsEarly = early
    return process
  }
}
