import Checks
import EventLoop
import Lifecycle
import Processes

// Processes, as a supervisor starts, signals, checks and reaps them.
extension Life {
  func perform(_ effect: SupervisedProcess.Effect, of id: ProcessID) {
    switch effect {
    case .spawn(let incarnation): spawn(id, incarnation)
    case .signalLeader(let signal):
      guard let pid = lifecycle.pid(of: id) else { return }
      processes.first { $0.pid == pid }?.signalLeader(signal)
      sabotageStop(of: id)
    case .signalGroup(let signal):
      guard let group = lifecycle.group(of: id) else { return }
      processes.first { $0.pid == group }?.signalGroup(signal)
    case .schedule(let deadline):
      schedule(.process(id), at: deadline) { [self] in submit(.process(id, .timer)) }
    case .unschedule: unschedule(.process(id))
    case .stopped, .willRestart, .ended: break
    }
  }

  /// A planted mistake: a lock goes while what it protects is still being stopped.
  private func sabotageStop(of id: ProcessID) {
    switch id {
    case .infrastructureStep where sabotage.releasesEarly: store?.giveUpLocks()
    case .service(let index) where sabotage.releasesLeaderEarly && plan.services[index].isForPrimary:
      leaderStore?.giveUpLocks()
    default: break
    }
  }

  private func spawn(_ id: ProcessID, _ incarnation: Int) {
    let process = make(id, incarnation)
    world.watch.spawned(process)
    if id == .app { appBegins() }
    if world.random.chance(process.behaviour.startFails) {
      if (process as? Command)?.kind == .check { world.watch.saw(.notRun) }
      let failure = SpawnFailure(stage: .clone, code: 11, command: lifecycleName(id))
      return submit(.process(id, .startFailed(failure)))
    }
    processes.append(process)
    guarding(id)?.guarded.append(process)
    guardGroup(of: process)
    process.start()
    submit(.process(id, .spawned(pid: process.pid)))
    if let command = process as? Command, sabotage.releasesErrandEarly(command) { store?.giveUpLocks() }
  }

  private func make(_ id: ProcessID, _ incarnation: Int) -> SimulatedProcess {
    switch id {
    case .infrastructureStep, .nodeStep:
      return Command(
        life: self, id: id, incarnation: incarnation, kind: commandKinds[id] ?? .main,
        inputs: inputs[id] ?? [], isUpkeepCheck: isUpkeepCheck(id))
    case .litefs: preconditionFailure("no scenario has LiteFS")
    case .app:
      return SimulatedProcess(
        life: self, id: id, incarnation: incarnation, behaviour: world.scenario.app.behaviour)
    case .roleHook:
      return SimulatedProcess(
        life: self, id: id, incarnation: incarnation, behaviour: world.scenario.hook)
    case .service(let index):
      let behaviour = world.scenario.services[index].behaviour
      return plan.services[index].isForPrimary
        ? PrimaryService(life: self, id: id, incarnation: incarnation, behaviour: behaviour)
        : SimulatedProcess(life: self, id: id, incarnation: incarnation, behaviour: behaviour)
    }
  }

  /// Whose lock goes after this process.
  private func guarding(_ id: ProcessID) -> FileHelper? {
    switch id {
    case .infrastructureStep: return store
    case .nodeStep: return nodeStore
    case .service(let index) where plan.services[index].isForPrimary: return leaderStore
    case .app, .service, .roleHook, .litefs: return nil
    }
  }

  private func unguard(_ process: SimulatedProcess) {
    guarding(process.id)?.guarded.removeAll { $0 === process }
    unguardGroup(of: process.id, process.pid)
  }

  /// The leader has ended.
  func reaped(_ process: SimulatedProcess, _ status: ExitStatus) {
    let groupIsEmpty = !process.groupRuns || sabotage.forgetsWorkers
    if groupIsEmpty { unguard(process) }
    forgetGone()
    if lifecycle.incarnation(of: process.id) == process.incarnation {
      process.tell(status)
      submit(.process(process.id, .ended(status, groupIsEmpty: groupIsEmpty)))
    }
    submit(.childrenChanged)
  }

  /// There was a process, but never its program.
  func notStarted(_ process: SimulatedProcess, _ failure: SpawnFailure) {
    unguard(process)
    forgetGone()
    if lifecycle.incarnation(of: process.id) == process.incarnation {
      submit(.process(process.id, .startFailed(failure)))
    }
    submit(.childrenChanged)
  }

  func forgetGone() { processes.removeAll(where: \.isGone) }

  func lookAtGroup(of id: ProcessID) {
    guard let group = lifecycle.group(of: id) else { return }
    let process = processes.first { $0.pid == group }
    if process?.groupRuns == true { return }
    if let process { unguard(process) }
    guarding(id)?.guarded.removeAll { $0.pid == group }
    unguardGroup(of: id, group)
    submit(.process(id, .groupLooked(isEmpty: true)))
  }

  // MARK: Those that are nobody's child by name

  func sweep(_ signals: [Signal]) {
    for process in processes { process.signalNameless(signals) }
    let count = processes.reduce(0) { $0 + $1.nameless }
    if count > 0 { world.watch.saw(.swept) }
    submit(.strays(count))
  }

  func findStrays(of id: ProcessID) {
    if sabotage.forgetsStrays { return submit(.straysFound(id, [])) }
    let adopted = processes.filter { !$0.leaderRuns && !$0.strays.isEmpty }
    guard !adopted.isEmpty else { return submit(.straysFound(id, [])) }
    // To read an environment may take as long as its process has no time.
    let longest: Duration = world.random.chance(3) ? .milliseconds(500) : .milliseconds(20)
    deliver(after: world.random.duration(.milliseconds(1)...longest)) { [self] in
      let found = processes.filter { $0.id == id && !$0.leaderRuns }.flatMap(\.strays)
      if !found.isEmpty { world.watch.saw(.strays) }
      submit(.straysFound(id, found))
    }
  }

  func present(_ pids: [CInt]) -> [CInt] {
    pids.filter { pid in processes.contains { $0.strays.contains(pid) } }
  }

  func signalStrays(_ pids: [CInt], _ signals: [Signal]) {
    for pid in pids {
      let process = processes.first { $0.strays.contains(pid) }
      for signal in signals { process?.signalStray(pid, signal) }
    }
  }

  // MARK: Health

  func perform(_ effect: ServiceHealth.Effect, of id: ProcessID) {
    switch effect {
    case .probe(let run, let timeout):
      guard let process = processes.first(where: { $0.pid == lifecycle.pid(of: id) }) else { return }
      let health = process.behaviour
      let isSlow = world.random.chance(health.checksHang)
      let delay = isSlow ? timeout : world.random.duration(.milliseconds(1)...(.milliseconds(50)))
      let passes = !isSlow && world.now - process.startedAt >= health.healthyAfter
      deliver(after: delay) { [self] in
        submit(.health(id, .result(run, passes ? .passed : .failed("connection refused"))))
      }
    case .cancelProbe, .changed: break
    case .scheduleTimer(let deadline):
      schedule(.health(id), at: deadline) { [self] in submit(.health(id, .timer)) }
    case .cancelTimer: unschedule(.health(id))
    }
  }

  // MARK: Waits

  func wait(_ id: WaitID) {
    let outcome: WaitOutcome =
      world.random.chance(world.scenario.waitsFail) ? .timedOut("database: no answer in time") : .ready
    schedule(.wait(id), at: world.now + world.random.duration(.milliseconds(1)...(.seconds(3)))) { [self] in
      submit(.waited(id, outcome))
    }
  }
}
