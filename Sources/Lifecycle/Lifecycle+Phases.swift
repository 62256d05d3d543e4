import EventLoop
import Journal
import Phases
import Processes

/// What `/status` shows of a phase.
struct PhaseView: Sendable {
  var name: String
  private(set) var state = Snapshot.Phase.State.pending
  private(set) var since: MonotonicInstant?
  var reason: String?
  var waitingFor: String?
  var steps: [StepView]

  struct StepView: Sendable {
    var name: String
    var state = Snapshot.Step.State.pending
    var attempts = 0
    var began: MonotonicInstant?
    var ended: MonotonicInstant?
    var reason: String?
  }

  init(name: String, steps: [String]) {
    self.name = name
    self.steps = steps.map { StepView(name: $0) }
  }

  /// Another state; a phase that is skipped skips its steps.
  mutating func enter(_ next: Snapshot.Phase.State, at now: MonotonicInstant) {
    if next != state { since = now }
    state = next
    if next != .waiting { waitingFor = nil }
    if next == .skipped { for index in steps.indices { steps[index].state = .skipped } }
  }

  mutating func began(_ index: Int, at now: MonotonicInstant) {
    enter(.running, at: now)
    steps[index].state = .running
    steps[index].began = now
  }

  mutating func ended(
    _ index: Int, _ outcome: StepOutcome, attempts: Int, skipped: Bool, at now: MonotonicInstant
  ) {
    steps[index].attempts = attempts
    steps[index].ended = now
    switch outcome {
    case .done: steps[index].state = skipped ? .skipped : .done
    case .failed(let reason):
      steps[index].state = .failed
      steps[index].reason = reason
    case .interrupted:
      steps[index].state = .failed
      steps[index].reason = "interrupted"
    }
  }

  func duration(of index: Int) -> String {
    guard let began = steps[index].began, let ended = steps[index].ended else { return "0s" }
    return (ended - began).readable
  }
}

extension Lifecycle {
  mutating func beginInfrastructure(at now: MonotonicInstant) -> [Effect] {
    var effects = enter(.infrastructure)
    if plan.runID.isDevelopment, !plan.infrastructure.isEmpty || !plan.node.isEmpty {
      effects.append(
        .log(
          .warning,
          "no run ID is set: using \(plan.runID.value), under which nothing that is recorded is trusted and every start "
            + "runs the phases; set run_id, --run-id or SUPERVISOR_RUN_ID to the release"))
    }
    return effects + feedInfrastructure(.begin, at: now)
  }

  // MARK: Infrastructure

  mutating func feedInfrastructure(_ event: InfrastructurePhase.Event, at now: MonotonicInstant) -> [Effect] {
    let effects = infrastructure.handle(event, at: now)
    return effects.flatMap { infrastructureEffect($0, at: now) }
  }

  private mutating func infrastructureEffect(
    _ effect: InfrastructurePhase.Effect, at now: MonotonicInstant
  ) -> [Effect] {
    switch effect {
    case .run(let step, let command): return runCommand(.infrastructureStep(step), command, at: now)
    case .stopCommand(let step): return stopCommand(.infrastructureStep(step), at: now)
    case .killCommand(let step): return killCommand(.infrastructureStep(step), at: now)
    case .note(let text): return [.log(.info, text)]
    case .waiting(let holder):
      infrastructureView.enter(.waiting, at: now)
      infrastructureView.waitingFor = holder
      return []
    case .stepBegan(let step):
      infrastructureView.began(step, at: now)
      return [.log(.info, "infrastructure step \(infrastructureView.steps[step].name): started")]
    case .stepEnded(let step, let outcome, let attempts, let skipped):
      infrastructureView.ended(step, outcome, attempts: attempts, skipped: skipped, at: now)
      return stepLine("infrastructure", infrastructureView, step, outcome, skipped: skipped)
    case .finished(let outcome): return infrastructureFinished(outcome, at: now)
    case .read, .write, .lock, .abandonLock, .unlock, .schedule, .unschedule, .scheduleHeartbeat:
      return [.infrastructure(effect)]
    }
  }

  private func stepLine(
    _ phase: String, _ view: PhaseView, _ index: Int, _ outcome: StepOutcome, skipped: Bool
  ) -> [Effect] {
    let name = view.steps[index].name
    switch outcome {
    case .done where skipped: return [.log(.info, "\(phase) step \(name): already done, skipped")]
    case .done: return [.log(.info, "\(phase) step \(name): done in \(view.duration(of: index))")]
    case .failed(let reason):
      return [.log(.error, "\(phase) step \(name): failed after \(view.duration(of: index)): \(reason)")]
    case .interrupted:
      return [.log(.warning, "\(phase) step \(name): interrupted after \(view.duration(of: index))")]
    }
  }

  private mutating func infrastructureFinished(
    _ outcome: InfrastructurePhase.Outcome, at now: MonotonicInstant
  ) -> [Effect] {
    if case .ready(let ran) = outcome {
      infrastructureView.enter(ran ? .done : .skipped, at: now)
      let line: [Effect] =
        plan.infrastructure.isEmpty
        ? []
        : [
          .log(
            .info,
            ran
              ? "infrastructure phase complete for run ID \(plan.runID.value)"
              : "infrastructure phase of run ID \(plan.runID.value) was complete already: nothing to do")
        ]
      if stop != nil { return line + phasesInterrupted(at: now) }
      return line + enter(.node) + feedNode(.begin, at: now)
    }
    infrastructureView.enter(.failed, at: now)
    let ending: Ending
    switch outcome {
    case .ready, .interrupted: return phasesInterrupted(at: now)
    case .failed(let step, let reason):
      infrastructureView.reason = "step \(step): \(reason)"
      ending = Ending(
        code: 76, reason: "infrastructure_failed",
        text: "the infrastructure phase of run ID \(plan.runID.value) failed at step \(step): \(reason)")
    case .timedOut(let text): ending = Ending(code: 75, reason: "lock_timeout", text: text)
    case .storeUnusable(let text): ending = Ending(code: 70, reason: "state_unusable", text: text)
    case .lockLost:
      ending = Ending(
        code: 75, reason: "lock_lost",
        text: "the infrastructure lock was lost (its helper process ended); the step that ran was killed")
    }
    return phaseFailed(ending, at: now)
  }

  // MARK: Node

  mutating func feedNode(_ event: NodePhase.Event, at now: MonotonicInstant) -> [Effect] {
    let effects = node.handle(event, at: now)
    return effects.flatMap { nodeEffect($0, at: now) }
  }

  private mutating func nodeEffect(_ effect: NodePhase.Effect, at now: MonotonicInstant) -> [Effect] {
    switch effect {
    case .run(let step, let command): return runCommand(.nodeStep(step), command, at: now)
    case .stopCommand(let step): return stopCommand(.nodeStep(step), at: now)
    case .killCommand(let step): return killCommand(.nodeStep(step), at: now)
    case .note(let text): return [.log(.info, text)]
    case .waiting(let holder):
      nodeView.enter(.waiting, at: now)
      nodeView.waitingFor = holder
      return []
    case .stepBegan(let step):
      nodeView.began(step, at: now)
      return [.log(.info, "node step \(nodeView.steps[step].name): started")]
    case .stepEnded(let step, let outcome, let attempts, let skipped):
      nodeView.ended(step, outcome, attempts: attempts, skipped: skipped, at: now)
      return stepLine("node", nodeView, step, outcome, skipped: skipped)
    case .finished(let outcome): return nodeFinished(outcome, at: now)
    case .read, .write, .lock, .abandonLock, .unlock, .schedule, .unschedule: return [.node(effect)]
    }
  }

  private mutating func nodeFinished(_ outcome: NodePhase.Outcome, at now: MonotonicInstant) -> [Effect] {
    if case .done(let ran, let failed) = outcome {
      nodeView.enter(ran ? .done : .skipped, at: now)
      if !failed.isEmpty { nodeView.reason = "skipped after a failure: \(failed.joined(separator: ", "))" }
      let line: [Effect] =
        plan.node.isEmpty
        ? []
        : [
          .log(
            .info,
            ran
              ? "node phase complete for run ID \(plan.runID.value)"
              : "node phase of run ID \(plan.runID.value) was complete already: nothing to do")
        ]
      if stop != nil { return line + phasesInterrupted(at: now) }
      return line + beginRunning(at: now)
    }
    nodeView.enter(.failed, at: now)
    let ending: Ending
    switch outcome {
    case .done, .interrupted: return phasesInterrupted(at: now)
    case .failed(let step, let reason):
      nodeView.reason = "step \(step): \(reason)"
      ending = Ending(
        code: 76, reason: "node_failed",
        text: "the node phase of run ID \(plan.runID.value) failed at step \(step): \(reason)")
    case .timedOut(let text): ending = Ending(code: 75, reason: "node_lock_timeout", text: text)
    case .storeUnusable(let text): ending = Ending(code: 70, reason: "marker_unusable", text: text)
    case .lockLost:
      ending = Ending(
        code: 75, reason: "lock_lost",
        text: "the node lock was lost (its helper process ended); the step that ran was killed")
    }
    return phaseFailed(ending, at: now)
  }

  // MARK: Both

  private mutating func phaseFailed(_ ending: Ending, at now: MonotonicInstant) -> [Effect] {
    if stop != nil {
      // It was being stopped anyway; the reason of the stop stands.
      return [.log(.error, ending.text)] + phasesInterrupted(at: now)
    }
    return end(ending, at: now)
  }

  private mutating func phasesInterrupted(at now: MonotonicInstant) -> [Effect] {
    stopProcesses(at: now)
  }

  private mutating func runCommand(
    _ id: ProcessID, _ command: StepCommand, at now: MonotonicInstant
  ) -> [Effect] {
    let step: LifecyclePlan.Step
    switch id {
    case .infrastructureStep(let index): step = plan.infrastructure[index]
    case .nodeStep(let index): step = plan.node[index]
    case .app, .service: return []
    }
    processes[id] = SupervisedProcess(
      restartPolicy: RestartPolicy(mode: .never), stopPolicy: step.stop, seed: plan.seed)
    return [.command(id, command)] + feed(id, .start, at: now)
  }

  private mutating func stopCommand(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    // Those that were asked already have had their time; those not found yet are asked first.
    if let hunt = hunts[id] { return hunt.step == .terminating ? hurryHunt(id, at: now) : [] }
    return feed(id, .stop(.command, deadline: stop?.deadline), at: now)
  }

  /// The lock is gone or cannot be relied on: no grace.
  private mutating func killCommand(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    if hunts[id] != nil { return hurryHunt(id, at: now) }
    hurriedCommands.insert(id)
    return feed(id, .stop(.command, deadline: now), at: now) + feed(id, .kill, at: now)
  }

  /// A step's command is over, with its group.
  mutating func commandEnded(_ id: ProcessID, _ result: CommandResult, at now: MonotonicInstant) -> [Effect] {
    processes[id] = nil
    switch id {
    case .infrastructureStep: return feedInfrastructure(.commandEnded(result), at: now)
    case .nodeStep: return feedNode(.commandEnded(result), at: now)
    case .app, .service: return []
    }
  }
}
