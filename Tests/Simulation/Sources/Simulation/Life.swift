import Control
import EventLoop
import Journal
import Lifecycle
import Phases
import Processes
import ReleaseRecords

/// A node's calendar clock, as the value types read it.
final class NodeClock: @unchecked Sendable {
  // Never shared between threads: one simulation runs on one.
  var now: UInt64 = 0
}

/// One life of a node: from the start of its supervisor to its end. Its decisions are the real value's; this carries
/// them out in the simulated world, as `Supervision` does in the real one.
final class Life: HelperOwner {
  enum Condition: Equatable {
    case working
    /// The app has been started.
    case running
    case exited(String)
    /// Killed in one way or another.
    case dead
  }

  enum TimerKey: Hashable {
    case process(ProcessID)
    case health(ProcessID)
    case infrastructure
    case heartbeat
    case node
    case leader
    case wait(WaitID)
    case lifecycle(Lifecycle.TimerName)
  }

  unowned let world: World
  let node: Int
  let number: Int
  let release: Scenario.Release
  let releaseIndex: Int
  let beganAt: MonotonicInstant
  let clock = NodeClock()
  let owner: String
  let plan: LifecyclePlan
  private(set) var condition = Condition.working
  private(set) var pausedUntil: MonotonicInstant?
  private var backlog: [() -> Void] = []
  private var dueTimers: [() -> Void] = []

  var lifecycle: Lifecycle
  private var pending: [Lifecycle.Event] = []
  private var isHandling = false
  /// Counts the wishes of each timer: only the newest is of account.
  private var timers: [TimerKey: Int] = [:]

  // The infrastructure phase's.
  var store: FileHelper?
  var observer: FileHelper?
  var isWaitingForLock = false
  var isWatching = false
  var seenVersion = 0
  var awaitsChange = false
  // The node phase's.
  var nodeStore: FileHelper?
  // The election's: the present one, and those whose process has not ended yet.
  var leaderStore: FileHelper?
  var pastLeaderStores: [FileHelper] = []
  /// Which command of a step the next spawn is for.
  var commandKinds: [ProcessID: StepCommand] = [:]
  var inputs: [ProcessID: [StepOutput]] = [:]
  /// Those that are not gone.
  var processes: [SimulatedProcess] = []

  // In the place of these, where lock and record are in servers.
  let releaseClock: ReleaseClock?
  var releaseBackend: (any ReleaseBackend)?
  var leaderBackend: (any LeaderBackend)?
  var agent: AgentConnection?
  var leavingAgents: [AgentConnection] = []
  /// Only the newest wish for a change is of account.
  var changesAwaited = 0
  /// What the agent ends, should it have to.
  var guarded: [SimulatedProcess] = []

  // What the invariants want to know.
  /// Redis says ready, and the record does not.
  var sawHearsay = false
  /// Since when somebody has wanted it to stop.
  private(set) var stopAskedAt: MonotonicInstant?
  private(set) var wasInterrupted = false
  /// How long it stood still since then.
  private(set) var pausedInStop = Duration.zero
  private(set) var saysRole = Snapshot.Role.none
  var stepFailed = false
  /// Steps that count as done, and whose check failed; since it has the lock, once the app runs.
  var suspects: [LockKind: Set<String>] = [:]
  /// The record as it was when the lock was taken last.
  var recordAtLock: ReleaseRecord?
  /// Steps whose main command has succeeded: whatever is recorded of their parts is of no account.
  var finishedParts: Set<String> = []
  /// What it makes of this event may be a check that needs no lock.
  private var isUpkeepEvent = false
  private var upkeepChecks: Set<ProcessID> = []
  /// What it read last of the record could not be used.
  var sawDamage = false
  /// When a lock was lost without PID 1 having said so.
  var lostAt: [LockKind: MonotonicInstant] = [:]
  /// Of those, the ones whose file somebody removed.
  var unlinkedAt: [LockKind: MonotonicInstant] = [:]
  /// For the mistakes that are planted.
  var sabotage: Sabotage

  init(world: World, node: Int, number: Int, releaseIndex: Int) {
    self.world = world
    self.node = node
    self.number = number
    self.releaseIndex = releaseIndex
    beganAt = world.now
    owner = "node-\(node) \(number)"
    sabotage = Sabotage(world.bug)
    var release = world.scenario.releases[releaseIndex]
    if world.scenario.redefines[node], !release.infrastructure.isEmpty {
      release.infrastructure[0].step.hash += "-redefined"
    }
    self.release = release
    plan = world.scenario.plan(node: node, release: release, owner: owner)
    let releaseClock =
      world.scenario.database == nil ? nil : ReleaseClock(world, node: node, local: clock)
    self.releaseClock = releaseClock
    lifecycle = Lifecycle(
      plan: plan, wallClock: { [clock] in clock.now },
      releaseClock: { [clock] in releaseClock?.now ?? clock.now })
    if let settings = world.scenario.database { openBackends(settings) }
  }

  var name: String { owner }
  var host: Int { world.scenario.hosts[node] }
  /// Whose PID 1 still acts, now or when it is no longer paused.
  var isAlive: Bool { condition == .working || condition == .running }
  var isPaused: Bool { pausedUntil != nil }

  func lifecycleName(_ id: ProcessID) -> String {
    switch id {
    case .app: return plan.app.name
    case .service(let index): return plan.services[index].name
    case .infrastructureStep(let index): return plan.infrastructure[index].phase.name
    case .nodeStep(let index): return plan.node[index].phase.name
    case .roleHook: return "role hook"
    case .litefs: return "litefs"
    }
  }

  // MARK: What reaches PID 1

  func deliver(after delay: Duration, _ action: @escaping () -> Void) {
    deliver(at: world.now + delay, action)
  }

  func deliver(at time: MonotonicInstant, _ action: @escaping () -> Void) {
    world.at(time) { [self] in
      guard isAlive else { return }
      if isPaused { backlog.append(action) } else { turn(action) }
    }
  }

  /// A timer: what happened before has been told by then.
  func deliverTimer(at time: MonotonicInstant, _ action: @escaping () -> Void) {
    world.at(time) { [self] in
      guard isAlive else { return }
      if isPaused { dueTimers.append(action) } else { turn(action) }
    }
  }

  private func turn(_ action: () -> Void) {
    guard isAlive else { return }
    clock.now = world.wallClock(of: node)
    action()
    world.watch.turned(self)
  }

  func pause(for length: Duration) {
    guard isAlive, !isPaused else { return }
    let until = world.now + length
    pausedUntil = until
    world.at(until) { [self] in
      guard isAlive else { return }
      pausedUntil = nil
      if stopAskedAt != nil { pausedInStop += length }
      world.watch.resumed(self)
      let waiting = backlog
      backlog = []
      for action in waiting { turn(action) }
      let due = dueTimers
      dueTimers = []
      for action in due { deliverTimer(at: world.now, action) }
    }
  }

  func schedule(_ key: TimerKey, at deadline: MonotonicInstant, _ body: @escaping () -> Void) {
    let number = timers[key, default: 0] + 1
    timers[key] = number
    deliverTimer(at: max(deadline, world.now)) { [self] in
      guard timers[key] == number else { return }
      timers[key] = number + 1
      body()
    }
  }

  func unschedule(_ key: TimerKey) { timers[key, default: 0] += 1 }

  /// Tells one wish from the next.
  func timerNumber(_ key: TimerKey) -> Int { timers[key, default: 0] }

  // MARK: Its way

  func begin() {
    turn {
      // A stop may have come before anything else.
      if world.random.chance(1) { stop(by: .terminate) }
      submit(.begin)
    }
  }

  /// Events that effects cause at once wait for their turn.
  func submit(_ event: Lifecycle.Event) {
    guard isAlive else { return }
    pending.append(event)
    guard !isHandling else { return }
    isHandling = true
    while isAlive, !pending.isEmpty {
      let next = pending.removeFirst()
      switch next {
      case .timer(.infrastructureChore), .timer(.nodeChore): isUpkeepEvent = true
      default: isUpkeepEvent = false
      }
      world.trace("\(name) < \(next)")
      for effect in lifecycle.handle(next, at: world.now) {
        if case .log(_, let text, _) = effect {
          world.trace("\(name)   \(text)")
        } else {
          world.trace("\(name) > \(effect)")
        }
        perform(effect)
      }
    }
    isHandling = false
  }

  private func perform(_ effect: Lifecycle.Effect) {
    switch effect {
    case .process(let id, let effect): perform(effect, of: id)
    case .lookAtGroup(let id): lookAtGroup(of: id)
    case .command(let id, let command, let given):
      commandKinds[id] = command
      inputs[id] = sabotage.changed(given)
      if isUpkeepEvent, command == .check { upkeepChecks.insert(id) } else { upkeepChecks.remove(id) }
    case .health(let id, let effect): perform(effect, of: id)
    case .infrastructure(let effect): perform(effect)
    case .node(let effect): perform(effect)
    case .wait(let id): wait(id)
    case .cancelWait(let id): unschedule(.wait(id))
    case .leader(let effect): perform(effect)
    case .role(let role):
      saysRole = role
      if role == .primary { world.watch.saw(.primary) }
    case .clearMount: preconditionFailure("no scenario has LiteFS")
    case .sweep(let signals): sweep(signals)
    case .findStrays(let id): findStrays(of: id)
    case .checkStrays(let id, let pids): submit(.straysFound(id, present(pids)))
    case .signalStrays(_, let pids, let signals): signalStrays(pids, signals)
    case .forward(let signal): processes.first { $0.pid == lifecycle.pid(of: .app) }?.signalLeader(signal)
    case .schedule(let name, let deadline):
      schedule(.lifecycle(name), at: deadline) { [self] in submit(.timer(name)) }
    case .unschedule(let name): unschedule(.lifecycle(name))
    case .log(_, let text, let fields): said(text, fields)
    case .stage(let stage):
      if stage == .draining { stopBegins() }
    case .exit(let ending): exit(ending)
    }
  }

  private func said(_ text: String, _ fields: EventFields) {
    if fields.event == "step_failed", fields.phase == "infrastructure" { stepFailed = true }
    if text.contains(": beginning again") { beganAgain() }
    // Also a check that did not end in time, or not with all that it had started.
    if let step = fields.step {
      if text.contains(" is recorded done, but ") { world.watch.distrusted(step, by: self) }
      if text.contains(" is covered by the marker, but ") { suspects[.node, default: []].insert(step) }
      if fields.event == "step_upkeep_failed" { world.watch.saw(.upkeepFailed) }
    }
    guard fields.event == "phase_done", fields.phase == "infrastructure" else { return }
    let moment = Moment(wall: WallTime(nanoseconds: clock.now), monotonic: world.now)
    var snapshot = Snapshot(
      takenAt: moment, version: "", pid: 1, nodeName: name, stage: lifecycle.stage, startedAt: moment)
    lifecycle.fill(&snapshot, at: moment)
    world.watch.ready(self, ran: snapshot.phases.first?.state == .done)
  }

  /// What it did before its lock was lost is of account no more.
  private func beganAgain() {
    world.watch.saw(.startedOver)
    stepFailed = false
    finishedParts = []
    suspects[.infrastructure] = []
  }

  /// Whether this command is a check by the upkeep itself.
  func isUpkeepCheck(_ id: ProcessID) -> Bool { upkeepChecks.contains(id) }

  /// Whether its phases are complete: what it does under their locks are errands.
  var hasRun: Bool { condition == .running }

  /// The app is about to be spawned.
  func appBegins() {
    guard condition == .working else { return }
    condition = .running
    world.watch.appStarted(self)
    world.settled(self)
  }

  private func exit(_ ending: Lifecycle.Ending) {
    for helper in helpers { helper.close() }
    (store, observer, nodeStore, leaderStore) = (nil, nil, nil, nil)
    releaseBackend?.close()
    leaderBackend?.close()
    closeAgent()
    let wasRunning = condition == .running
    condition = .exited(ending.reason)
    world.trace("\(name) exits: \(ending.reason) (\(ending.code)) \(ending.text)")
    world.watch.exited(self, ending, afterApp: wasRunning)
    // Its end is the end of what it may have left behind.
    for process in processes { process.vanish() }
    processes = []
    world.settled(self)
  }

  // MARK: Requests from outside

  /// A stop is requested, and perhaps again.
  func interrupt(_ signal: Signal = .terminate) {
    deliver(after: .zero) { [self] in stop(by: signal) }
  }

  private func stop(by signal: Signal) {
    wasInterrupted = true
    submit(.signals([ReceivedSignal(signal: signal, isFromKernel: false, sender: 1)]))
  }

  /// Over the control socket.
  func ask(_ request: ControlRequest) {
    deliver(after: .zero) { [self] in submit(.control(request)) }
  }

  private func stopBegins() {
    guard stopAskedAt == nil else { return }
    stopAskedAt = world.now
    pausedInStop = .zero
    world.watch.stopBegan(self)
  }

  // MARK: Its violent ends

  private func vanish(_ how: String) {
    condition = .dead
    backlog = []
    pausedUntil = nil
    saysRole = .none
    world.trace("\(name) \(how)")
  }

  private var helpers: [FileHelper] { [store, observer, nodeStore, leaderStore].compactMap { $0 } }

  /// PID 1 alone: its helpers end what they guard before they give up the locks; others have nobody left.
  func killFirst() {
    guard isAlive else { return }
    vanish("PID 1 killed")
    if agent?.process?.isAlive != true { self.guarded = [] }
    let guarded = helpers.filter { !$0.held.isEmpty }.flatMap(\.guarded)
    for helper in helpers { helper.loseFirst() }
    for agent in leavingAgents + [agent].compactMap({ $0 }) { agent.vanish() }
    for process in processes
    where !guarded.contains(where: { $0 === process }) && !self.guarded.contains(where: { $0 === process }) {
      process.kill(within: .milliseconds(1)...(.milliseconds(20)), withStrays: true)
    }
    // In a container the kernel ends whatever is left.
    for process in self.guarded { process.kill(within: .seconds(2)...(.seconds(3)), withStrays: true) }
    world.ended(self)
  }

  /// Everything in it gets KILL at the same moment; who dies first is open.
  func killContainer() {
    guard isAlive else { return }
    vanish("container killed")
    for helper in helpers + pastLeaderStores { helper.die() }
    killAgents()
    for process in processes {
      process.kill(within: .milliseconds(1)...(.milliseconds(900)), withStrays: true)
    }
    world.ended(self)
  }

  func killHost() {
    guard isAlive else { return }
    vanish("host lost")
    for process in processes { process.vanish() }
    for helper in helpers + pastLeaderStores { helper.die(lease: world.scenario.store.lease) }
    for agent in world.agents where agent.life === self { agent.vanish() }
    world.ended(self)
  }

  func killHelper() {
    guard isAlive, let helper = helpers.filter({ !$0.hasEnded }).randomElement(using: &world.random) else {
      return
    }
    for lock in helper.held {
      lostAt[lock.kind] = world.now
      if helper.guarded.contains(where: \.groupRuns) {
        world.watch.saw(lock.kind == .leader ? .leaderLost : .lockLost)
      }
    }
    world.trace("\(name) \(helper.name) killed")
    helper.crash()
  }

  /// The world is over.
  func forgetAll() {
    (store, observer, nodeStore, leaderStore, pastLeaderStores) = (nil, nil, nil, nil, [])
    (backlog, processes, pending, guarded) = ([], [], [], [])
    for agent in leavingAgents + [agent].compactMap({ $0 }) { agent.forgetAll() }
    (releaseBackend, leaderBackend, agent, leavingAgents) = (nil, nil, nil, [])
  }
}
