import AgentProtocol
import Coordination
import EventLoop
import Lifecycle
import Phases

// Lock, record and readiness in servers: the product's own backends and agent, carried by a simulated one. What is done
// with the effects is what `Supervision` does.
extension Life {
  static let project = "app"

  func openBackends(_ settings: Scenario.Database) {
    let shared = SharedAgent()
    shared.open = { [weak self] in self?.openAgent() }
    shared.endWhenIdle = { [weak self] in self?.endAgentWhenIdle() }
    var backend: any ReleaseBackend = AgentRelease(
      runID: plan.runID.value, clock: releaseClock ?? ReleaseClock(world, node: node, local: clock),
      agent: shared)
    if settings.hasRedis {
      backend = MirroredRelease(
        backend, loop: EventLoop(self), key: "ready:\(plan.runID.value)", runID: plan.runID, agent: shared)
    }
    let leader = AgentLeader(agent: shared)
    backend.onEvent = { [weak self] in self?.heard($0) }
    backend.onNote = { [weak self] _, text in self?.world.trace("\(self?.name ?? "")   \(text)") }
    leader.onEvent = { [weak self] event in
      guard let self else { return }
      var event = event
      if case .lockHeld = event, sabotage.skipsLeaderTakeover { event = .lockHeld(leftBy: "") }
      if event == .lockLost, sabotage.keepsRole { return }
      submit(.leader(event))
    }
    (releaseBackend, leaderBackend) = (backend, leader)
  }

  private func heard(_ event: InfrastructurePhase.Event) {
    switch event {
    case .record(let found), .lockFree(let found):
      if found?.isHearsay == true {
        world.watch.saw(.hearsay)
        sawHearsay = true
      }
      sabotage.seen(found)
    case .written where sabotage.answersBeforeDurable: return
    default: break
    }
    feed(event)
  }

  // MARK: The agent

  private func openAgent() -> AgentConnection? {
    if let agent { return agent }
    guard isAlive else { return nil }
    var scope = CoordinationScope(
      project: Life.project, runID: plan.runID.value, owner: owner,
      takeoverDelay: plan.infrastructureRules.takeoverDelay)
    scope.postgres = CoordinationScope.PostgreSQL(connection: "", schema: "public", table: "supervisor")
    if let settings = world.scenario.database, settings.hasRedis {
      scope.redis = CoordinationScope.Redis(url: "", key: "", timeToLive: settings.timeToLive)
    }
    let agent = AgentConnection(self, scope)
    self.agent = agent
    return agent
  }

  private var agentStays: Bool { plan.takesPartInElection && !lifecycle.isStopping }

  func endAgentWhenIdle() {
    guard let ending = agent, !ending.isCoordinating, !agentStays else { return }
    agent = nil
    leavingAgents.append(ending)
    ending.stop { [weak self] in self?.leavingAgents.removeAll { $0 === ending } }
  }

  /// Before the end of PID 1, which waits half a second for it at most.
  func closeAgent() {
    agent?.stop {}
    let agents = leavingAgents + [agent].compactMap { $0 }
    (agent, leavingAgents) = (nil, [])
    world.after(.milliseconds(300)) { for agent in agents { agent.kill() } }
  }

  func killAgents() {
    for process in world.agents where process.life === self { process.kill() }
  }

  func killAgent() {
    guard isAlive, let process = agent?.process, process.isAlive else { return }
    world.trace("\(name) agent killed")
    world.watch.saw(.agentKilled)
    process.kill()
  }

  // MARK: The phase

  func perform(_ effect: InfrastructurePhase.Effect, by backend: any ReleaseBackend) {
    switch effect {
    case .read:
      if let stale = sabotage.staleAnswer(toErrand: hasRun) { return feed(.record(stale)) }
      backend.read()
    case .write(let record):
      if sabotage.answersBeforeDurable { deliver(after: .zero) { [self] in feed(.written) } }
      backend.write(sabotage.changed(record, by: self), isLast: lifecycle.infrastructure.isConcluding)
    case .lock: backend.lock()
    case .contend: backend.contend()
    case .endRemains(let step) where world.bug == .forgottenRemains: feed(.remainsEnded(step: step, nil))
    case .endRemains(let step):
      backend.endRemains(of: step, named: plan.infrastructure[step].phase.name)
    case .abandonLock:
      changesAwaited += 1
      backend.abandon()
    case .unlock:
      changesAwaited += 1
      backend.unlock()
    case .schedule(let deadline):
      changesAwaited += 1
      schedule(.infrastructure, at: deadline) { [self] in feed(.timer) }
    case .awaitChange(let deadline):
      changesAwaited += 1
      let wish = changesAwaited
      let look = { [weak self] in
        guard let self, changesAwaited == wish else { return }
        changesAwaited += 1
        unschedule(.infrastructure)
        feed(.timer)
      }
      schedule(.infrastructure, at: deadline, look)
      backend.awaitChange(within: max(deadline - world.now, .zero), look)
    case .unschedule:
      changesAwaited += 1
      unschedule(.infrastructure)
    case .scheduleHeartbeat(let deadline?):
      schedule(.heartbeat, at: deadline) { [self] in feed(.heartbeat) }
    case .scheduleHeartbeat(nil): unschedule(.heartbeat)
    case .step, .waiting, .note, .finished: break
    }
  }

  func perform(_ effect: LeaderElection.Effect, by backend: any LeaderBackend) {
    switch effect {
    case .lock: backend.lock()
    case .release: backend.release()
    case .abandon: backend.abandon()
    case .schedule(let deadline):
      schedule(.leader, at: deadline) { [self] in submit(.leader(.timer)) }
    case .unschedule: unschedule(.leader)
    case .won, .lost, .note: break
    }
  }

  // MARK: The lock goes after the step

  func guardGroup(of process: SimulatedProcess) {
    guard releaseBackend != nil else { return }
    switch process.id {
    case .infrastructureStep: releaseBackend?.guardGroup(process.pid)
    case .service(let index) where plan.services[index].isForPrimary: leaderBackend?.guardGroup(process.pid)
    default: return
    }
    guarded.removeAll { !$0.groupRuns }
    guarded.append(process)
  }

  func unguardGroup(of id: ProcessID, _ pid: CInt) {
    switch id {
    case .infrastructureStep: releaseBackend?.unguardGroup(pid)
    case .service(let index) where plan.services[index].isForPrimary: leaderBackend?.unguardGroup(pid)
    default: break
    }
  }
}
