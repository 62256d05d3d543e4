import EventLoop
import Phases
import Processes

/// The search for processes that left the group of one process (setsid, daemons), and their stop.
///
/// They are known by what is in their environment, see `Supervision`; those that cannot be told apart are left for the
/// sweep at the end of the whole stop.
struct StrayHunt: Sendable {
  enum Step: Sendable, Equatable {
    case looking
    case terminating
    case killing
  }

  var step = Step.looking
  /// Whether they are asked to stop before they are killed.
  var hasGrace = true
  var pids: [CInt] = []
  /// The result of the step's command, which is told only when nobody of the step is left.
  var result: CommandResult?
}

extension Lifecycle {
  /// Looks for strays of a process that is being stopped, or of a step whose command has ended with `result`.
  mutating func hunt(_ id: ProcessID, result: CommandResult?, at now: MonotonicInstant) -> [Effect] {
    let isHurried = hurriedCommands.remove(id) != nil || (stop?.escalations ?? 0) > 0
    hunts[id] = StrayHunt(hasGrace: !isHurried, result: result)
    return [.findStrays(id)]
  }

  mutating func straysFound(_ id: ProcessID, _ pids: [CInt], at now: MonotonicInstant) -> [Effect] {
    guard var current = hunts[id] else { return [] }
    current.pids = pids
    hunts[id] = current
    if pids.isEmpty { return endHunt(id, at: now) }
    guard current.step == .looking else { return [] }
    current.step = .terminating
    hunts[id] = current
    let grace = stopPolicy(of: id).timeout
    let deadline = min(now + grace, stop?.deadline ?? now + grace)
    if !current.hasGrace { return strayTimer(id, at: now) }
    let what = pids.count == 1 ? "1 process" : "\(pids.count) processes"
    return [
      .log(.warning, "\(plan.name(id)): left \(what) behind outside of its process group: stopping them"),
      .signalStrays(id, pids, [.terminate, .resume]), .schedule(.strays(id), deadline),
    ]
  }

  mutating func strayTimer(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    guard var current = hunts[id] else { return [] }
    switch current.step {
    case .looking: return []
    case .terminating:
      current.step = .killing
      hunts[id] = current
      return [
        .signalStrays(id, current.pids, [.kill]), .schedule(.strays(id), now + StopSequence.unkillableAfter),
      ]
    case .killing:
      return [.log(.error, "\(plan.name(id)): what it left behind does not end even by KILL; going on")]
        + endHunt(id, at: now)
    }
  }

  /// No more grace for what a step left behind.
  mutating func hurryHunt(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    hunts[id]?.hasGrace = false
    return hunts[id]?.step == .terminating ? strayTimer(id, at: now) : []
  }

  private mutating func endHunt(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    let result = hunts.removeValue(forKey: id)?.result
    let effects: [Effect] = [.unschedule(.strays(id))]
    guard let result else { return effects + usersEnded(at: now) }
    return effects + commandEnded(id, result, at: now)
  }

  private func stopPolicy(of id: ProcessID) -> StopPolicy {
    switch id {
    case .app, .service: return plan.process(id)?.stop ?? StopPolicy()
    case .infrastructureStep(let index): return plan.infrastructure[index].stop
    case .nodeStep(let index): return plan.node[index].stop
    case .roleHook, .litefs: return processes[id]?.stopPolicy ?? StopPolicy()
    }
  }
}
