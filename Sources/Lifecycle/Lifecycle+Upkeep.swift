import EventLoop
import Journal
import Phases
import Processes

// While the app runs: steps that are checked and repeated. Nothing of it ends anything; what fails is said, shown, and,
// where `affects_ready` says so, makes the node not ready.
extension Lifecycle {
  mutating func beginUpkeep(at now: MonotonicInstant) -> [Effect] {
    guard stage == .running else { return [] }
    return feedUpkeep(
      of: .infrastructure, .begin(releaseOutputs, failedSteps: infrastructureView.failedSteps), at: now)
      + feedUpkeep(of: .node, .begin(releaseOutputs, failedSteps: nodeView.failedSteps), at: now)
  }

  /// It begins anew after it was ended in the middle.
  mutating func renewUpkeep() {
    infrastructureUpkeep = Upkeep(
      steps: plan.infrastructure.map(\.phase), rules: plan.infrastructureRules, needsPrimary: true,
      seed: plan.seed)
    nodeUpkeep = Upkeep(
      steps: plan.node.map(\.phase), rules: plan.infrastructureRules, needsPrimary: false,
      seed: plan.seed &+ 1)
  }

  mutating func endUpkeep(at now: MonotonicInstant) -> [Effect] {
    feedUpkeep(of: .infrastructure, .end, at: now) + feedUpkeep(of: .node, .end, at: now)
  }

  /// Whether no check and no errand is under way.
  var upkeepIsQuiet: Bool { infrastructureUpkeep.isQuiet && nodeUpkeep.isQuiet }

  mutating func feedUpkeep(of kind: PhaseKind, _ event: Upkeep.Event, at now: MonotonicInstant) -> [Effect] {
    let inner: [Upkeep.Effect]
    switch kind {
    case .infrastructure: inner = infrastructureUpkeep.handle(event, at: now)
    case .node: inner = nodeUpkeep.handle(event, at: now)
    }
    var effects: [Effect] = []
    for effect in inner { effects += perform(effect, of: kind, at: now) }
    // A stop may have waited for nothing but this.
    return effects + (stop == nil ? usersEnded(at: now) : resumeStop(at: now))
  }

  private mutating func perform(
    _ effect: Upkeep.Effect, of kind: PhaseKind, at now: MonotonicInstant
  ) -> [Effect] {
    switch effect {
    case .check(let step, let outputs): return runCommand(kind.id(of: step), .check, outputs, at: now)
    case .stopCheck(let step): return stopCommand(kind.id(of: step), at: now)
    case .schedule(let chore, let deadline): return [.schedule(timer(of: chore, in: kind), deadline)]
    case .unschedule(let chore): return [.unschedule(timer(of: chore, in: kind))]
    case .begin(let errand): return begin(errand, of: kind, at: now)
    case .stopErrand:
      switch kind {
      case .infrastructure: return feedInfrastructure(.interrupt, at: now)
      case .node: return feedNode(.interrupt, at: now)
      }
    case .changed(let step, let failure): return checkChanged(step, failure, in: kind, at: now)
    case .warning(let step, let text):
      let view = self[view: kind]
      let name = view.steps[step].name
      return [
        .log(
          .warning, "\(view.name) step \(name): \(text)",
          EventFields("step_upkeep_failed", phase: view.name, step: name, reason: text))
      ]
    }
  }

  private mutating func begin(_ errand: Errand, of kind: PhaseKind, at now: MonotonicInstant) -> [Effect] {
    switch kind {
    case .infrastructure:
      infrastructure = InfrastructurePhase(
        runID: plan.runID, steps: plan.infrastructure.map(\.phase), owner: plan.owner,
        rules: plan.infrastructureRules, errand: errand, wallClock: releaseClock)
      return feedInfrastructure(.begin, at: now)
    case .node:
      var rules = plan.nodeRules
      rules.awaitsRelease = false
      node = NodePhase(
        runID: plan.runID, steps: plan.node.map(\.phase), rules: rules, errand: errand, wallClock: wallClock)
      return feedNode(.begin(releaseOutputs), at: now)
    }
  }

  /// The infrastructure phase has come back from its errand.
  mutating func errandEnded(_ outcome: InfrastructurePhase.Outcome, at now: MonotonicInstant) -> [Effect] {
    infrastructureView.enter(.done, at: now)
    let result: Upkeep.ErrandResult =
      switch outcome {
      case .ready(ran: true, _): .done
      case .ready(ran: false, _): .notNeeded(age: infrastructure.ageOfRecord)
      case .failed(_, let reason): .failed(reason)
      case .timedOut(let text): .unsettled(text)
      case .storeUnusable(let failure): .unsettled(failure.text)
      case .lockLost: .unsettled("the infrastructure lock was lost; what ran was killed")
      case .interrupted: .interrupted
      }
    return feedUpkeep(of: .infrastructure, .errandEnded(result), at: now)
  }

  /// The node phase has come back from its errand.
  mutating func errandEnded(_ outcome: NodePhase.Outcome, at now: MonotonicInstant) -> [Effect] {
    nodeView.enter(.done, at: now)
    let result: Upkeep.ErrandResult =
      switch outcome {
      case .done(_, let failed) where !failed.isEmpty:
        .failed(node.errand.flatMap { nodeView.steps[$0.step].reason } ?? "it failed")
      case .done(ran: true, _): .done
      case .done(ran: false, _): .notNeeded(age: node.ageOfRecord)
      case .failed(_, let reason): .failed(reason)
      case .timedOut(let text): .unsettled(text)
      case .storeUnusable(let failure): .unsettled(failure.text)
      case .lockLost: .unsettled("the node lock was lost; what ran was killed")
      case .interrupted: .interrupted
      }
    return feedUpkeep(of: .node, .errandEnded(result), at: now)
  }

  private mutating func checkChanged(
    _ step: Int, _ failure: String?, in kind: PhaseKind, at now: MonotonicInstant
  ) -> [Effect] {
    self[view: kind].checked(step, failure: failure)
    let view = self[view: kind]
    let name = view.steps[step].name
    if let failure {
      return [
        .log(
          .warning, "\(view.name) step \(name) was done, but \(failure): doing it again",
          EventFields("recheck_failed", phase: view.name, step: name, reason: failure))
      ]
    }
    return [
      .log(
        .info, "\(view.name) step \(name): its check passes again",
        EventFields("recheck_passed", phase: view.name, step: name))
    ]
  }

  /// What `affects_ready` adds to `/readyz`.
  func stepChecks() -> [Snapshot.Check] {
    [PhaseKind.infrastructure, .node].flatMap { kind -> [Snapshot.Check] in
      let upkeep = kind == .infrastructure ? infrastructureUpkeep : nodeUpkeep
      let view = self[view: kind]
      return upkeep.decisiveSteps.map { step in
        let failure = upkeep.failures[step]
        return Snapshot.Check(
          name: "\(view.name) step \(view.steps[step].name)", isOK: failure == nil,
          detail: failure ?? "its check passes")
      }
    }
  }

  private func timer(of chore: Int, in kind: PhaseKind) -> TimerName {
    switch kind {
    case .infrastructure: .infrastructureChore(chore)
    case .node: .nodeChore(chore)
    }
  }
}
