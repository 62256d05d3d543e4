import Coordination
import EventLoop
import Lifecycle
import Phases
import Processes

/// A step's command while it runs.
final class Command: SimulatedProcess {
  let phase: LockKind
  let kind: StepCommand
  let plan: Scenario.Step
  /// What it found in its environment from earlier steps.
  let inputs: [String]
  private var outputs: [StepOutput] = []

  init(life: Life, id: ProcessID, incarnation: Int, kind: StepCommand, inputs: [StepOutput]) {
    self.kind = kind
    self.inputs = inputs.map(\.key)
    switch id {
    case .nodeStep(let index):
      phase = .node
      plan = life.release.node[index]
    case .infrastructureStep(let index):
      phase = .infrastructure
      plan = life.release.infrastructure[index]
    case .app, .service, .roleHook: preconditionFailure("no step")
    }
    super.init(life: life, id: id, incarnation: incarnation, behaviour: plan.process)
  }

  var name: String { plan.step.name }
  /// Where what it does can be seen.
  var scope: String { world.scope(life, phase) }
  override var text: String { "\(kind) of \(name) on \(life.name)" }

  override func start() {
    world.running.append(self)
    world.watch.started(self)
    super.start()
  }

  override func work() {
    switch kind {
    case .main: workMain()
    case .check:
      end(after: world.random.duration(.milliseconds(1)...(.milliseconds(200)))) { [self] in
        .exited(world.store.isApplied(scope, name) ? 0 : 1)
      }
    case .rollback:
      let fails = world.random.chance(10)
      end(after: world.random.duration(plan.duration)) { [self] in
        if fails { return .exited(2) }
        world.store.unapply(scope, name)
        return .exited(0)
      }
    }
  }

  private func workMain() {
    let before = world.store.countRun(scope, name)
    let fails: Bool
    switch plan.behaviour {
    case .succeeds: fails = false
    case .fails: fails = true
    case .failsAtFirst(let times): fails = before < times
    case .failsSometimes(let percent): fails = world.random.chance(percent)
    case .hangsAtFirst(let times):
      if before < times { return }
      fails = false
    }
    end(after: world.random.duration(plan.duration)) { [self] in
      if fails { return .exited(1) }
      world.store.apply(scope, name)
      outputs = [StepOutput(key: name, value: "\(before)")]
      return .exited(0)
    }
  }

  override func ended(_ status: ExitStatus) {
    if status != .exited(0) {
      if case .signaled = status { world.watch.saw(.timedOut) }
      // It may have done all that it was to do.
      if case .signaled = status, kind == .main, world.random.chance(20) { world.store.apply(scope, name) }
    }
    world.watch.ended(self, isSuccess: status == .exited(0))
  }

  override func groupEnded() {
    world.running.removeAll { $0 === self }
    world.watch.gone(self, phase)
  }

  override func tell(_ status: ExitStatus) {
    guard kind == .main, status == .exited(0) else { return }
    life.submit(.commandResult(id, .succeeded(outputs: outputs)))
  }
}

/// A service that only the primary may run.
final class PrimaryService: SimulatedProcess {
  override func start() {
    world.primaryServices.append(self)
    world.watch.started(self)
    super.start()
  }

  override func groupEnded() {
    world.primaryServices.removeAll { $0 === self }
    world.watch.gone(self, .leader)
  }
}
