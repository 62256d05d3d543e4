import Coordination
import EventLoop
import Phases

/// A step's command while it runs.
final class Command {
  unowned let world: World
  unowned let life: Life
  let phase: Life.PhaseName
  let step: Int
  let kind: StepCommand
  let plan: Scenario.Step
  private var isOver = false
  private var isEnding = false

  init(life: Life, phase: Life.PhaseName, step: Int, kind: StepCommand) {
    self.life = life
    self.phase = phase
    self.step = step
    self.kind = kind
    world = life.world
    plan = phase == .infrastructure ? life.release.infrastructure[step] : life.release.node[step]
  }

  var name: String { plan.step.name }
  /// Where what it does can be seen.
  var scope: String { world.scope(life, phase) }
  var text: String { "\(kind) of \(name) on \(life.name)" }

  func start() {
    life.commands.append(self)
    world.running.append(self)
    world.watch.started(self)
    switch kind {
    case .main: startMain()
    case .check:
      end(after: world.random.duration(.milliseconds(1)...(.milliseconds(200)))) { [self] in
        world.store.isApplied(scope, name) ? .succeeded() : .failed("exit code 1")
      }
    case .rollback:
      let fails = world.random.chance(10)
      end(after: world.random.duration(plan.duration)) { [self] in
        if fails { return .failed("exit code 2") }
        world.store.unapply(scope, name)
        return .succeeded()
      }
    }
  }

  private func startMain() {
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
      if fails { return .failed("exit code 1") }
      world.store.apply(scope, name)
      return .succeeded(outputs: [StepOutput(key: name, value: "\(before)")])
    }
  }

  private func end(after delay: Duration, _ result: @escaping () -> CommandResult) {
    world.after(delay) { [self] in
      guard !isOver, !isEnding else { return }
      over(result())
    }
  }

  private func over(_ result: CommandResult) {
    guard !isOver else { return }
    isOver = true
    life.commands.removeAll { $0 === self }
    world.running.removeAll { $0 === self }
    world.watch.ended(self, result)
    life.deliver(after: world.random.duration(.microseconds(50)...(.milliseconds(2)))) {
      [life, phase, step] in
      switch phase {
      case .infrastructure: life.feed(InfrastructurePhase.Event.commandEnded(step: step, result))
      case .node: life.feed(NodePhase.Event.commandEnded(step: step, result))
      }
    }
  }

  /// TERM: it ends soon, sometimes well and sometimes only by the KILL that follows.
  func stop() {
    world.after(world.random.duration(.milliseconds(1)...(.seconds(2)))) { [self] in
      endByForce("killed by TERM")
    }
  }

  func kill(within time: ClosedRange<Duration>) {
    isEnding = true
    world.after(world.random.duration(time)) { [self] in endByForce("killed by KILL") }
  }

  /// The host is gone, and it with it.
  func vanish() { endByForce("gone with its host") }

  private func endByForce(_ how: String) {
    guard !isOver else { return }
    world.watch.saw(.timedOut)
    // It may have done all that it was to do.
    if kind == .main, world.random.chance(20) { world.store.apply(scope, name) }
    over(.failed(how))
  }
}
