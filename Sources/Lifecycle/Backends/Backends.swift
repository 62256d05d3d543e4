import AgentProtocol
import AgentSupervision
import Coordination
import EventLoop
import Processes

/// The agent as its users here see it: there when it is wanted. Set once there is somebody who can start it.
final class SharedAgent {
  /// The agent, started when there is none; nil when there can be none.
  var open: () -> AgentConnection? = { nil }
  /// Ends it when nobody needs it.
  var endWhenIdle: () -> Void = {}
}

/// Chooses what performs lock, record and leader lock, by what the settings name.
struct Backends {
  let loop: EventLoop
  let table: ProcessTable
  let layout: FileLayout
  let plan: LifecyclePlan
  /// The servers; nil when none is named.
  let scope: CoordinationScope?
  let clock: ReleaseClock
  let agent: SharedAgent

  func release() -> any ReleaseBackend {
    let backend: any ReleaseBackend =
      scope?.postgres == nil
      ? FileRelease(
        loop: loop, table: table, layout: layout, owner: plan.owner,
        takeoverDelay: plan.infrastructureRules.takeoverDelay)
      : AgentRelease(runID: plan.runID.value, clock: clock, agent: agent)
    guard let redis = scope?.redis else { return backend }
    return MirroredRelease(backend, loop: loop, key: redis.key, runID: plan.runID, agent: agent)
  }

  func leader() -> any LeaderBackend {
    scope?.postgres == nil
      ? FileLeader(loop: loop, table: table, layout: layout, owner: plan.owner) : AgentLeader(agent: agent)
  }
}
