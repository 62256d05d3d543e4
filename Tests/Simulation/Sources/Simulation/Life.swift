import EventLoop
import Phases

/// A node's calendar clock, as the value types read it.
final class NodeClock: @unchecked Sendable {
  // Never shared between threads: one simulation runs on one.
  var now: UInt64 = 0
}

/// One life of a node: from the start of its supervisor to its end. Its decisions are the real value types'; this
/// carries them out in the simulated world.
final class Life {
  enum Condition: Equatable {
    case working
    case running
    case exited(String)
    /// Killed in one way or another.
    case dead
  }

  enum PhaseName: Equatable {
    case infrastructure
    case node
  }

  unowned let world: World
  let node: Int
  let number: Int
  let release: Scenario.Release
  let releaseIndex: Int
  let beganAt: MonotonicInstant
  let clock = NodeClock()
  let owner: String
  /// Does what `init node` does: no infrastructure step of its own.
  let isNodeOnly: Bool
  private(set) var condition = Condition.working
  private(set) var pausedUntil: MonotonicInstant?
  private var backlog: [() -> Void] = []

  var infrastructure: InfrastructurePhase
  var nodePhase: NodePhase
  /// The phase under way.
  var phase = PhaseName.infrastructure

  // The infrastructure phase's.
  var store: FileHelper?
  var observer: FileHelper?
  var isWaitingForLock = false
  var timer = 0
  var heartbeatTimer = 0
  var isWatching = false
  var seenVersion = 0
  var awaitsChange = false
  // The node phase's.
  var nodeStore: FileHelper?
  // Both's; the phases follow each other.
  var stepTimers: [Int: Int] = [:]
  var commands: [Command] = []
  var outputs: [String] = []

  // What the invariants want to know.
  var wasInterrupted = false
  var stepFailed = false
  var checkFailed = false
  /// When the lock was lost without PID 1 having said so.
  var lockLostAt: MonotonicInstant?
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
    var rules = world.scenario.rules
    if world.scenario.onlyWaits[node] {
      rules.onlyWaits = true
      // Perhaps everybody else has given up for good.
      rules.timeout = rules.timeout ?? .seconds(120)
    }
    infrastructure = InfrastructurePhase(
      runID: release.runID, steps: release.infrastructure.map(\.step), owner: owner, rules: rules,
      wallClock: { [clock] in clock.now })
    isNodeOnly = rules.onlyWaits
    var nodeRules = world.scenario.nodeRules
    nodeRules.awaitsRelease = isNodeOnly
    nodePhase = NodePhase(runID: release.runID, steps: release.node.map(\.step), rules: nodeRules)
  }

  var name: String { owner }
  var host: Int { world.scenario.hosts[node] }
  /// Whose PID 1 still acts, now or when it is no longer paused.
  var isAlive: Bool { condition == .working || condition == .running }
  var isPaused: Bool { pausedUntil != nil }

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

  private func turn(_ action: () -> Void) {
    guard isAlive else { return }
    clock.now = world.wallClock(of: node)
    action()
  }

  func pause(for length: Duration) {
    guard isAlive, !isPaused else { return }
    let until = world.now + length
    pausedUntil = until
    world.at(until) { [self] in
      guard isAlive else { return }
      pausedUntil = nil
      world.watch.resumed(self)
      let waiting = backlog
      backlog = []
      for action in waiting { turn(action) }
    }
  }

  // MARK: Its way

  /// `init node` waits for the release only when its marker does not cover everything.
  func begin() {
    turn {
      if isNodeOnly {
        phase = .node
        feed(NodePhase.Event.begin([]))
      } else {
        feed(InfrastructurePhase.Event.begin)
      }
    }
  }

  func feed(_ event: InfrastructurePhase.Event) {
    guard isAlive, phase == .infrastructure else { return }
    let event = sabotage.changed(event)
    world.trace("\(name) < \(event)")
    for effect in infrastructure.handle(event, at: world.now) {
      if case .note(let text) = effect {
        world.trace("\(name)   \(text)")
      } else {
        world.trace("\(name) > \(effect)")
      }
      perform(effect)
    }
  }

  func feed(_ event: NodePhase.Event) {
    guard isAlive, phase == .node else { return }
    world.trace("\(name) < \(event)")
    for effect in nodePhase.handle(event, at: world.now) {
      if case .note(let text) = effect {
        world.trace("\(name)   \(text)")
      } else {
        world.trace("\(name) > \(effect)")
      }
      perform(effect)
    }
  }

  func infrastructureFinished(_ outcome: InfrastructurePhase.Outcome) {
    closeInfrastructureStores()
    guard case .ready(let ran, let outputs) = outcome else { return exit("\(outcome)") }
    world.watch.ready(self, ran: ran, outputs: outputs)
    if wasInterrupted { return exit("interrupted") }
    phase = .node
    lockLostAt = nil
    feed(isNodeOnly ? .released(outputs) : .begin(outputs))
  }

  func nodeFinished(_ outcome: NodePhase.Outcome) {
    closeStores()
    guard case .done = outcome else { return exit("\(outcome)") }
    if wasInterrupted { return exit("interrupted") }
    condition = .running
    world.trace("\(name) app started")
    world.watch.appStarted(self)
    world.settled(self)
  }

  private func closeInfrastructureStores() {
    store?.close()
    store = nil
    observer?.close()
    observer = nil
    timer += 1
    heartbeatTimer += 1
  }

  private func closeStores() {
    closeInfrastructureStores()
    nodeStore?.close()
    nodeStore = nil
  }

  private func exit(_ reason: String) {
    closeStores()
    condition = .exited(reason)
    world.trace("\(name) exits: \(reason)")
    world.watch.exited(self, reason)
    world.settled(self)
  }

  /// A stop is requested.
  func interrupt() {
    deliver(after: .zero) { [self] in
      wasInterrupted = true
      if condition == .running { return exit("stopped") }
      if phase == .infrastructure {
        feed(InfrastructurePhase.Event.interrupt)
      } else {
        feed(NodePhase.Event.interrupt)
      }
    }
  }

  /// The world is over.
  func forgetAll() {
    (store, observer, nodeStore, backlog, commands) = (nil, nil, nil, [], [])
  }

  // MARK: Its violent ends

  private func vanish(_ how: String) {
    condition = .dead
    backlog = []
    pausedUntil = nil
    world.trace("\(name) \(how)")
  }

  private var helpers: [FileHelper] { [store, observer, nodeStore].compactMap { $0 } }

  /// PID 1 alone: its helper ends the commands before it gives up the lock; others have nobody left.
  func killFirst() {
    guard isAlive else { return }
    vanish("PID 1 killed")
    let mayHold = helpers.contains { !$0.held.isEmpty }
    for helper in helpers { helper.loseFirst() }
    if !mayHold { for command in commands { command.kill(within: .milliseconds(1)...(.milliseconds(20))) } }
    world.ended(self)
  }

  /// Everything in it gets KILL at the same moment; who dies first is open.
  func killContainer() {
    guard isAlive else { return }
    vanish("container killed")
    for helper in helpers { helper.die() }
    for command in commands { command.kill(within: .milliseconds(1)...(.milliseconds(900))) }
    world.ended(self)
  }

  func killHost() {
    guard isAlive else { return }
    vanish("host lost")
    for command in commands { command.vanish() }
    for helper in helpers { helper.die(lease: world.scenario.store.lease) }
    world.ended(self)
  }

  func killHelper() {
    guard isAlive, let helper = helpers.filter(\.isAlive).randomElement(using: &world.random) else { return }
    if !helper.held.isEmpty {
      lockLostAt = world.now
      if !commands.isEmpty { world.watch.saw(.lockLost) }
    }
    world.trace("\(name) \(helper.name) killed")
    helper.crash()
  }
}
