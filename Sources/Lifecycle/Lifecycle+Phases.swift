import EventLoop
import Journal
import Phases
import Processes
import ReleaseRecords

extension Lifecycle {
  mutating func beginPhases(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    if plan.runID.isDevelopment, !plan.infrastructure.isEmpty || !plan.node.isEmpty {
      effects.append(
        .log(
          .warning,
          "no run ID is set: using \(plan.runID.value), under which nothing that is recorded is trusted and every start "
            + "runs the phases; set run_id, --run-id or SUPERVISOR_RUN_ID to the release"))
    }
    if plan.scope == .node { return effects + beginNode([], at: now) }
    return effects + enter(.infrastructure)
      + started(infrastructureView, hasSteps: !plan.infrastructure.isEmpty)
      + feedInfrastructure(.begin, at: now)
  }

  private mutating func beginNode(_ outputs: [StepOutput], at now: MonotonicInstant) -> [Effect] {
    enter(.node) + started(nodeView, hasSteps: !plan.node.isEmpty) + feedNode(.begin(outputs), at: now)
  }

  /// Where the phases are all that was asked for, their beginning is worth a line.
  private func started(_ view: PhaseView, hasSteps: Bool) -> [Effect] {
    guard hasSteps else { return [] }
    return [
      .log(
        plan.scope == .life ? .debug : .info, "\(view.name) phase: starting (run ID \(plan.runID.value))",
        EventFields("phase_started", phase: view.name))
    ]
  }

  /// The line for a phase that is complete.
  private func completed(_ view: PhaseView, ran: Bool, at now: MonotonicInstant) -> Effect {
    let duration = view.duration(at: now)
    let text =
      ran
      ? "\(view.name) phase complete for run ID \(plan.runID.value) (\(duration.readable))"
      : "\(view.name) phase of run ID \(plan.runID.value) was complete already: nothing to do (\(duration.readable))"
    return .log(.info, text, EventFields("phase_done", phase: view.name, duration: duration))
  }

  // MARK: Infrastructure

  mutating func feedInfrastructure(_ event: InfrastructurePhase.Event, at now: MonotonicInstant) -> [Effect] {
    if infrastructureView.began == nil { infrastructureView.enter(.pending, at: now) }
    let effects = infrastructure.handle(event, at: now)
    return effects.flatMap { infrastructureEffect($0, at: now) }
  }

  private mutating func infrastructureEffect(
    _ effect: InfrastructurePhase.Effect, at now: MonotonicInstant
  ) -> [Effect] {
    switch effect {
    case .step(let index, let effect): return perform(effect, step: index, of: .infrastructure, at: now)
    case .note(let text): return [.log(.info, text, EventFields(phase: "infrastructure"))]
    case .waiting(let holder): return wait(for: holder, in: .infrastructure, at: now)
    // Nobody looks at record or lock any more.
    case .finished(let outcome):
      return [.infrastructure(.abandonLock)] + infrastructureFinished(outcome, at: now)
    case .read, .write, .lock, .contend, .abandonLock, .unlock, .endRemains, .schedule, .awaitChange,
      .unschedule,
      .scheduleHeartbeat:
      return [.infrastructure(effect)]
    }
  }

  private mutating func infrastructureFinished(
    _ outcome: InfrastructurePhase.Outcome, at now: MonotonicInstant
  ) -> [Effect] {
    if infrastructure.errand != nil { return errandEnded(outcome, at: now) }
    if case .ready(let ran, let outputs) = outcome {
      releaseOutputs = outputs
      node.waitedBefore = infrastructure.waited
      infrastructureView.enter(ran ? .done : .skipped, at: now)
      let line: [Effect] =
        plan.infrastructure.isEmpty ? [] : [completed(infrastructureView, ran: ran, at: now)]
      if stop != nil { return line + phasesInterrupted(at: now) }
      switch plan.scope {
      case .life, .phases: return line + beginNode(outputs, at: now)
      case .infrastructure: return line + phasesDone(at: now)
      case .node: return line + feedNode(.released(outputs), at: now)
      }
    }
    infrastructureView.enter(.failed, at: now)
    let ending: Ending
    switch outcome {
    case .ready, .interrupted: return phasesInterrupted(at: now)
    case .failed(let step, let reason):
      infrastructureView.reason = "step \(step): \(reason)"
      ending = Ending(
        code: 76, reason: "infrastructure_failed",
        text: "the infrastructure phase of run ID \(plan.runID.value) failed at step \(step): \(reason)",
        step: step)
    case .timedOut(let text):
      ending = Ending(
        code: 75, reason: plan.scope == .node ? "readiness_timeout" : "lock_timeout", text: text)
    case .storeUnusable(let failure):
      ending = Ending(code: failure.exitCode, reason: "state_\(failure.word)", text: failure.text)
    case .lockLost:
      ending = Ending(
        code: 75, reason: "lock_lost",
        text:
          plan.infrastructureRules.startsOver
          ? "the infrastructure lock was lost; what ran was killed"
          : "the infrastructure lock was lost (its helper process ended, or its file was removed); what ran was killed"
      )
    }
    return phaseFailed(infrastructureView, ending, at: now)
  }

  // MARK: Node

  mutating func feedNode(_ event: NodePhase.Event, at now: MonotonicInstant) -> [Effect] {
    if nodeView.began == nil { nodeView.enter(.pending, at: now) }
    let effects = node.handle(event, at: now)
    return effects.flatMap { nodeEffect($0, at: now) }
  }

  private mutating func nodeEffect(_ effect: NodePhase.Effect, at now: MonotonicInstant) -> [Effect] {
    switch effect {
    case .step(let index, let effect): return perform(effect, step: index, of: .node, at: now)
    case .note(let text): return [.log(.info, text, EventFields(phase: "node"))]
    case .waiting(let holder): return wait(for: holder, in: .node, at: now)
    case .awaitRelease:
      nodeView.enter(.waiting, at: now)
      nodeView.waitingFor = "the infrastructure phase"
      return feedInfrastructure(.begin, at: now)
    case .finished(let outcome): return [.node(.abandonLock)] + nodeFinished(outcome, at: now)
    case .read, .write, .lock, .abandonLock, .unlock, .schedule, .unschedule: return [.node(effect)]
    }
  }

  private mutating func nodeFinished(_ outcome: NodePhase.Outcome, at now: MonotonicInstant) -> [Effect] {
    if node.errand != nil { return errandEnded(outcome, at: now) }
    if case .done(let ran, let failed) = outcome {
      nodeView.enter(ran ? .done : .skipped, at: now)
      if !failed.isEmpty { nodeView.reason = "skipped after a failure: \(failed.joined(separator: ", "))" }
      let line: [Effect] = plan.node.isEmpty ? [] : [completed(nodeView, ran: ran, at: now)]
      return line + phasesDone(at: now)
    }
    nodeView.enter(.failed, at: now)
    let ending: Ending
    switch outcome {
    case .done, .interrupted: return phasesInterrupted(at: now)
    case .failed(let step, let reason):
      nodeView.reason = "step \(step): \(reason)"
      ending = Ending(
        code: 76, reason: "node_failed",
        text: "the node phase of run ID \(plan.runID.value) failed at step \(step): \(reason)", step: step)
    case .timedOut(let text): ending = Ending(code: 75, reason: "node_lock_timeout", text: text)
    case .storeUnusable(let failure):
      ending = Ending(code: failure.exitCode, reason: "marker_\(failure.word)", text: failure.text)
    case .lockLost:
      ending = Ending(
        code: 75, reason: "lock_lost",
        text:
          "the node lock was lost (its helper process ended, or its file was removed); what ran was killed")
    }
    return phaseFailed(nodeView, ending, at: now)
  }

  // MARK: Both

  private mutating func phaseFailed(
    _ view: PhaseView, _ ending: Ending, at now: MonotonicInstant
  ) -> [Effect] {
    var fields = EventFields("phase_failed", phase: view.name, reason: view.reason ?? ending.text)
    fields.exitReason = ending.reason
    if stop != nil {
      // It was being stopped anyway; the reason of the stop stands.
      return [.log(.error, ending.text, fields)] + phasesInterrupted(at: now)
    }
    return end(ending, fields, at: now)
  }

  private mutating func phasesInterrupted(at now: MonotonicInstant) -> [Effect] {
    stopProcesses(at: now)
  }
}

extension StoreFailure {
  /// The second half of the stable reason of an end.
  fileprivate var word: String {
    switch kind {
    case .unusable: "unusable"
    case .permission: "not_permitted"
    case .unavailable: "unavailable"
    case .refused: "refused"
    case .settings: "misconfigured"
    }
  }
}
