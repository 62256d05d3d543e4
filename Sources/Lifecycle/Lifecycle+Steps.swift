import EventLoop
import Journal
import Phases
import Processes
import ReleaseRecords

/// One of the two phases.
enum PhaseKind: Sendable {
  case infrastructure
  case node

  /// The process that a command of its step is.
  func id(of step: Int) -> ProcessID {
    switch self {
    case .infrastructure: .infrastructureStep(step)
    case .node: .nodeStep(step)
    }
  }
}

// The steps of both phases: their commands, and what is said and shown of them.
extension Lifecycle {
  subscript(view kind: PhaseKind) -> PhaseView {
    get {
      switch kind {
      case .infrastructure: infrastructureView
      case .node: nodeView
      }
    }
    set {
      switch kind {
      case .infrastructure: infrastructureView = newValue
      case .node: nodeView = newValue
      }
    }
  }

  mutating func perform(
    _ effect: StepEffect, step index: Int, of kind: PhaseKind, at now: MonotonicInstant
  ) -> [Effect] {
    let id = kind.id(of: index)
    switch effect {
    case .run(let command, let outputs): return runCommand(id, command, outputs, at: now)
    case .stop: return stopCommand(id, at: now)
    case .kill: return killCommand(id, at: now)
    case .schedule(let deadline): return [.schedule(.step(id), deadline)]
    case .unschedule: return [.unschedule(.step(id))]
    case .began: return stepBegan(index, of: kind, undoing: false, at: now)
    case .rollbackBegan: return stepBegan(index, of: kind, undoing: true, at: now)
    case .note(let text):
      let view = self[view: kind]
      return [.log(.info, text, EventFields(phase: view.name, step: view.steps[index].name))]
    case .ended(let outcome, let attempts):
      self[view: kind].stepEnded(index, outcome, attempts: attempts, at: now)
      let (level, text, fields) = self[view: kind].line(index, outcome)
      return [.log(level, text, fields)]
    }
  }

  private mutating func stepBegan(
    _ index: Int, of kind: PhaseKind, undoing: Bool, at now: MonotonicInstant
  ) -> [Effect] {
    self[view: kind].stepBegan(index, undoing: undoing, at: now)
    let view = self[view: kind]
    let step = view.steps[index].name
    return [
      .log(
        .info, "\(view.name) step \(step): \(undoing ? "rolling back" : "started")",
        EventFields(undoing ? "step_rolling_back" : "step_started", phase: view.name, step: step))
    ]
  }

  mutating func wait(for holder: String, in kind: PhaseKind, at now: MonotonicInstant) -> [Effect] {
    self[view: kind].enter(.waiting, at: now)
    self[view: kind].waitingFor = holder
    let fields = EventFields("phase_waiting", phase: self[view: kind].name, reason: holder)
    return [.log(.debug, "waits for \(holder)", fields)]
  }

  mutating func stepTimer(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    switch id {
    case .infrastructureStep(let index): return feedInfrastructure(.stepTimer(step: index), at: now)
    case .nodeStep(let index): return feedNode(.stepTimer(step: index), at: now)
    case .app, .service, .roleHook, .litefs: return []
    }
  }

  // MARK: Commands

  mutating func runCommand(
    _ id: ProcessID, _ command: StepCommand, _ outputs: [StepOutput], at now: MonotonicInstant
  ) -> [Effect] {
    let step: LifecyclePlan.Step
    switch id {
    case .infrastructureStep(let index): step = plan.infrastructure[index]
    case .nodeStep(let index): step = plan.node[index]
    case .app, .service, .roleHook, .litefs: return []
    }
    if step.waits, command == .main {
      waits.insert(.process(id))
      return [.wait(.process(id))]
    }
    // A rollback that a stop leads to, and comes to when its time is over.
    let isTooLate = stop?.isOverdue == true
    processes[id] = SupervisedProcess(
      restartPolicy: RestartPolicy(mode: .never), stopPolicy: step.stop, seed: plan.seed)
    commandResults[id] = nil
    return [.command(id, command, outputs)] + feed(id, .start, at: now)
      + (isTooLate ? killCommand(id, at: now) : [])
  }

  mutating func stopCommand(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    if let effects = stopWaiting(id, at: now) { return effects }
    // Those that were asked already have had their time; those not found yet are asked first.
    if let hunt = hunts[id] { return hunt.step == .terminating ? hurryHunt(id, at: now) : [] }
    return feed(id, .stop(.command, deadline: stop?.deadline), at: now)
  }

  /// The lock is gone or cannot be relied on: no grace.
  private mutating func killCommand(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    if let effects = stopWaiting(id, at: now) { return effects }
    if hunts[id] != nil { return hurryHunt(id, at: now) }
    hurriedCommands.insert(id)
    return feed(id, .stop(.command, deadline: now), at: now) + feed(id, .kill, at: now)
  }

  /// A step's command is over, with its group.
  mutating func commandEnded(_ id: ProcessID, _ result: CommandResult, at now: MonotonicInstant) -> [Effect] {
    if id == .litefs { return litefsEnded(at: now) }
    processes[id] = nil
    switch id {
    case .infrastructureStep(let step) where infrastructureUpkeep.isChecking(step):
      return feedUpkeep(of: .infrastructure, .commandEnded(step: step, result), at: now)
    case .nodeStep(let step) where nodeUpkeep.isChecking(step):
      return feedUpkeep(of: .node, .commandEnded(step: step, result), at: now)
    case .infrastructureStep(let step):
      return feedInfrastructure(.commandEnded(step: step, result), at: now)
    case .nodeStep(let step): return feedNode(.commandEnded(step: step, result), at: now)
    case .roleHook: return roleHookEnded(result, at: now)
    case .app, .service, .litefs: return []
    }
  }
}
