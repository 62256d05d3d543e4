import Coordination
import EventLoop
import Journal
import LiteFS
import Phases
import Processes

// Role-bound services: they run only while this node is the primary.
extension Lifecycle {
  /// What this node is, as far as anything here gives a role.
  var role: Snapshot.Role {
    guard plan.takesPartInElection else { return .none }
    if let litefs { return Self.role(litefs.role) }
    return leader.isLeading ? .primary : .replica
  }

  private static func role(_ role: LiteFSRole) -> Snapshot.Role {
    switch role {
    case .primary: .primary
    case .replica: .replica
    case .none, .unknown: .none
    }
  }

  mutating func feedLeader(_ event: LeaderElection.Event, at now: MonotonicInstant) -> [Effect] {
    leader.handle(event, at: now).flatMap { effect -> [Effect] in
      switch effect {
      case .note(let text): return [.log(.info, text, EventFields("leader"))]
      case .won: return won(at: now)
      case .lost: return lost(at: now)
      case .lock, .release, .abandon, .schedule, .unschedule: return [.leader(effect)]
      }
    }
  }

  private var boundServices: [ProcessID] {
    plan.services.indices.filter { plan.services[$0].isForPrimary }.map { .service($0) }
  }

  private mutating func won(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = [
      .log(.info, "this node is the primary now", EventFields("role_changed", reason: "primary")),
      .role(.primary),
    ]
    guard stop == nil else { return effects }
    for id in boundServices {
      if stoppedByHand.contains(id) {
        let name = plan.name(id)
        effects.append(
          .log(.info, "\(name): was stopped on request, and stays so until `supervisor start \(name)`"))
      } else if startOrder.contains(id) {
        effects += feed(id, .start, at: now)
      } else {
        effects += startWhenPossible(id, at: now)
      }
    }
    return effects + runRoleHook(at: now) + feedUpkeep(of: .infrastructure, .primary(true), at: now)
  }

  /// Another node may be the primary at any moment: no grace.
  private mutating func lost(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = [
      .log(
        .warning, "this node is not the primary any more: killing what only the primary may run",
        EventFields("role_changed", reason: "replica")),
      .role(.replica),
    ]
    for id in boundServices {
      if waits.remove(.process(id)) != nil { effects.append(.cancelWait(.process(id))) }
      if hunts[id] != nil { effects += hurryHunt(id, at: now) }
      guard let process = processes[id], process.isAlive || isWaitingToRestart(process) else { continue }
      // Nor for what left its group.
      hurriedCommands.insert(id)
      effects += feed(id, .stop(.command, deadline: now), at: now) + feed(id, .kill, at: now)
      // Whatever its `stop.kill` says of an orderly stop.
      effects.append(.process(id, .signalGroup(.kill)))
    }
    effects += feedUpkeep(of: .infrastructure, .primary(false), at: now)
    return effects + (stop == nil ? runRoleHook(at: now) : [])
  }

  private mutating func runRoleHook(at now: MonotonicInstant) -> [Effect] {
    guard plan.hasRoleHook else { return [] }
    guard processes[.roleHook] == nil else {
      return [.log(.info, "hooks.on_role_change still runs for the last change: it runs again after that")]
    }
    hookedRole = role
    processes[.roleHook] = SupervisedProcess(
      restartPolicy: RestartPolicy(mode: .never), stopPolicy: StopPolicy(timeout: .seconds(5)),
      seed: plan.seed)
    return [.command(.roleHook, .main, [])] + feed(.roleHook, .start, at: now)
  }

  mutating func roleHookEnded(_ result: CommandResult, at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    switch result {
    case .failed(let reason), .notRun(let reason):
      effects.append(
        .log(.warning, "hooks.on_role_change: \(reason)", EventFields("role_hook_failed", reason: reason)))
    case .succeeded: break
    }
    if stop != nil { return effects + resumeStop(at: now) }
    if losingLiteFS != nil { return effects + usersEnded(at: now) }
    // What it was told is of yesterday when the role has changed since.
    return effects + (hookedRole == role ? [] : runRoleHook(at: now))
  }
}
