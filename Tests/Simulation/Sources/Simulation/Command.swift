import AgentProtocol
import EventLoop
import Lifecycle
import Phases
import Processes
import ReleaseRecords

/// A step's command while it runs.
final class Command: SimulatedProcess {
  let phase: LockKind
  let kind: StepCommand
  let plan: Scenario.Step
  /// What it found in its environment from earlier steps.
  let inputs: [String]
  /// A check of the upkeep's own, which needs no lock.
  let isUpkeepCheck: Bool
  private var outputs: [StepOutput] = []
  /// What it does in the server.
  private var databaseWork: StepWork?
  /// The parts of its work that are done, some of them by earlier tries.
  private var partsDone: [String]

  init(
    life: Life, id: ProcessID, incarnation: Int, kind: StepCommand, inputs: [StepOutput], isUpkeepCheck: Bool
  ) {
    self.kind = kind
    self.isUpkeepCheck = isUpkeepCheck
    let known = inputs.first { $0.key == "SUPERVISOR_DONE" }?.value ?? ""
    partsDone = kind == .main ? known.split(separator: " ").map(String.init) : []
    self.inputs = inputs.map(\.key)
    switch id {
    case .nodeStep(let index):
      phase = .node
      plan = life.release.node[index]
    case .infrastructureStep(let index):
      phase = .infrastructure
      plan = life.release.infrastructure[index]
    case .app, .service, .roleHook, .litefs: preconditionFailure("no step")
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

  /// Some steps do all of it in the database, through the pooler where there is one.
  private func workMain() {
    guard phase == .infrastructure, let database = world.database,
      world.random.chance(database.settings.stepsInDatabase)
    else { return workOnMain() }
    let name = ApplicationName(project: Life.project, run: life.release.runID.value, step: plan.step.name)
      .text
    let begin = { [self] in
      databaseWork = StepWork(database, self, applicationName: name) { database.pooler?.giveBack() }
      workOnMain()
    }
    if let pooler = database.pooler {
      pooler.acquire { [self] in
        guard leaderRuns, database.isUp else {
          pooler.giveBack()
          if leaderRuns, !isStopping { end(after: .milliseconds(1)) { .exited(1) } }
          return
        }
        begin()
      }
    } else if database.isUp {
      begin()
    } else {
      end(after: world.random.duration(.milliseconds(1)...(.milliseconds(200)))) { .exited(1) }
    }
  }

  func forgetWork() { databaseWork = nil }

  /// The server has ended what it did there.
  func lostDatabase() {
    guard leaderRuns, !isStopping else { return }
    end(after: world.random.duration(.milliseconds(1)...(.milliseconds(100)))) { .exited(1) }
  }

  private func workOnMain() {
    let before = world.store.countRun(scope, name)
    let fails: Bool
    switch plan.behaviour {
    case .succeeds: fails = false
    case .fails: fails = true
    case .failsAtFirst(let times): fails = before < times
    case .failsSometimes(let percent): fails = world.random.chance(percent)
    case .failsLater(let percent): fails = before > 0 && world.random.chance(percent)
    case .hangsAtFirst(let times):
      if before < times { return }
      fails = false
    }
    if !partsDone.isEmpty { world.watch.saw(.laterParts) }
    if !plan.parts.isEmpty { return workPart(fails: fails, before) }
    end(after: world.random.duration(plan.duration)) { [self] in
      fails ? .exited(1) : succeeded(before)
    }
  }

  private func succeeded(_ before: Int) -> ExitStatus {
    world.store.apply(scope, name)
    outputs = [StepOutput(key: name, value: "\(before)")]
    return .exited(0)
  }

  /// The next part, unless it was done before; one that fails does so anywhere.
  private func workPart(fails: Bool, _ before: Int) {
    guard let part = plan.parts.first(where: { !partsDone.contains($0) }) else {
      return end(after: .milliseconds(1)) { [self] in fails ? .exited(1) : succeeded(before) }
    }
    if fails, world.random.chance(40) {
      return end(after: world.random.duration(plan.duration)) { .exited(1) }
    }
    world.watch.began(part, of: self)
    world.after(world.random.duration(plan.duration)) { [self] in
      guard leaderRuns, !isStopping else { return }
      partsDone.append(part)
      let done = partsDone
      // The file is watched; whoever is late reads all of it.
      life.deliver(after: world.random.duration(.microseconds(50)...(.milliseconds(5)))) { [self] in
        guard life.lifecycle.incarnation(of: id) == incarnation, leaderRuns else { return }
        tell(done)
      }
      workPart(fails: fails, before)
    }
  }

  private func tell(_ parts: [String]) {
    guard case .infrastructureStep(let index) = id, !parts.isEmpty else { return }
    life.submit(.infrastructure(.partsDone(step: index, parts)))
  }

  override func ended(_ status: ExitStatus) {
    if case .exited = status { databaseWork?.finish() } else { databaseWork?.clientKilled() }
    forgetWork()
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
    guard kind == .main else { return }
    tell(partsDone)
    guard status == .exited(0) else { return }
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
