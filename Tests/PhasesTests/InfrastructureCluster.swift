import EventLoop
import ReleaseRecords
import TestSupport
import Testing

@testable import Phases

/// Nodes with one infrastructure phase each, over one record and one lock in memory. A seed decides what happens next;
/// what must never happen is collected in `problems`.
///
/// It keeps the promises of the real store: a store answers in order, and answers nothing while it waits for the lock;
/// then another one looks. What has been answered is not yet delivered, and the two stores do not know of each other.
/// The lock names its holder until that one gives it back. What a vanished node ran ends within the takeover delay.
final class InfrastructureCluster {
  enum Request: Equatable {
    case read
    /// `removes`: records of steps may go with it.
    case write(ReleaseRecord, removes: Bool)
    case lock
    case unlock
  }

  struct Command {
    var command: StepCommand
    /// Not so a check from outside.
    var isLocked: Bool
    var isStopping = false
  }

  struct Node {
    var phase: InfrastructurePhase
    var owner: String
    let wall: WallClock
    /// How far its wall clock is off, in milliseconds.
    let skew: Int
    var requests: [Request] = []
    var looks = 0
    var replies: [InfrastructurePhase.Event] = []
    var lookReplies: [InfrastructurePhase.Event] = []
    /// The lock was asked for and its answer has not been delivered.
    var awaitsLock = false
    var saidBusy = false
    var commands: [Int: Command] = [:]
    /// Its commands are killed and have ended by then.
    var killedBy: Int?
    var timer: MonotonicInstant?
    var seesChanges = false
    var heartbeat: MonotonicInstant?
    var stepTimers: [Int: MonotonicInstant] = [:]
    var outcomes: [InfrastructurePhase.Outcome] = []
    var hasBegun = false
    var hasUndone = false
    var doubted: Set<String> = []
    var livesLeft: Int
  }

  /// What a node that is gone still ran.
  struct Orphans {
    var node: Int
    var steps: Set<Int>
    /// The lock goes after them; nil: it went before, and this is when they have ended.
    var endsAt: Int?
  }

  let steps: [PhaseStep]
  let rules: InfrastructureRules
  var random: SeededRandom
  var nodes: [Node] = []
  var record: ReleaseRecord?
  var lockOwner: Int?
  var lockName = ""
  var orphans: Orphans?
  var problems: [String] = []
  /// Commands that ended well, by word, to see that something happened at all.
  var ran: [String] = []
  var outcomes: [InfrastructurePhase.Outcome] = []
  var wasComplete = false
  private var storeIsBroken = false
  private var faultsAllowed = true
  private let withFaults: Bool
  private var milliseconds = 0
  private var generation = 0

  init(seed: UInt64, nodes count: Int, lives: Int, withFaults: Bool) {
    random = SeededRandom(seed: seed)
    self.withFaults = withFaults
    steps = InfrastructureCluster.makeSteps(&random)
    var rules = InfrastructureRules()
    rules.parallelism = Int.random(in: 1...3, using: &random)
    rules.stopsOnFailure = random.once(in: 2)
    rules.retryAfter = random.once(in: 4) ? nil : .seconds(2)
    if random.once(in: 4) { rules.maximumWait = .seconds(600) }
    self.rules = rules
    for _ in 0..<count { nodes.append(makeNode(lives: lives)) }
  }

  private static func makeSteps(_ random: inout SeededRandom) -> [PhaseStep] {
    (0..<Int.random(in: 1...5, using: &random)).map { number in
      let hasCheck = random.once(in: 3)
      return PhaseStep.named(
        "s\(number)", needs: (0..<number).filter { _ in random.once(in: 3) }.map { "s\($0)" },
        check: hasCheck, rollback: random.once(in: 3), timeout: random.once(in: 4) ? .seconds(30) : nil,
        retries: random.once(in: 4) ? 1 : 0, recheck: hasCheck && random.once(in: 2),
        rollbackOnStop: random.once(in: 3), rollbackFailed: random.once(in: 3))
    }
  }

  private func makeNode(lives: Int) -> Node {
    generation += 1
    let wall = WallClock()
    let owner = "node \(generation)"
    var rules = rules
    if random.once(in: 8) { (rules.onlyWaits, rules.timeout) = (true, .seconds(20)) }
    let skew = Int.random(in: -5000...5000, using: &random)
    wall.now = InfrastructureCluster.wall(milliseconds + skew)
    return Node(
      phase: InfrastructurePhase(
        runID: RunID(given: "r1", workingDirectory: []), steps: steps, owner: owner, rules: rules,
        wallClock: { wall.now }),
      owner: owner, wall: wall, skew: skew, livesLeft: lives)
  }

  private static func wall(_ milliseconds: Int) -> UInt64 { UInt64(100_000 + milliseconds) * 1_000_000 }

  // MARK: Playing

  /// Plays to the end; false when it does not come.
  func play() -> Bool {
    for move in 0..<60_000 {
      if move > 600 { (faultsAllowed, storeIsBroken) = (false, false) }
      if !problems.isEmpty { return true }
      if nodes.allSatisfy({ !$0.outcomes.isEmpty }), orphans == nil { return true }
      passTime(to: milliseconds + Int.random(in: 0...100, using: &random))
      if let orphans, orphans.endsAt == nil, random.once(in: 4) {
        if lockOwner == orphans.node { lockOwner = nil }
        self.orphans = nil
      }
      if withFaults, faultsAllowed, random.once(in: storeIsBroken ? 40 : 500) { storeIsBroken.toggle() }
      let index = Int.random(in: nodes.indices, using: &random)
      if faultsAllowed, random.once(in: 60) { disturb(index) } else { advance(index) }
    }
    return false
  }

  /// What has to have ended by then ends on the way.
  private func passTime(to target: Int) {
    for index in nodes.indices {
      guard let deadline = nodes[index].killedBy, deadline <= target else { continue }
      milliseconds = max(milliseconds, deadline)
      nodes[index].killedBy = nil
      for step in nodes[index].commands.keys.sorted() { endCommand(index, step) }
    }
    if let endsAt = orphans?.endsAt, endsAt <= target { orphans = nil }
    milliseconds = max(milliseconds, target)
    for node in nodes { node.wall.now = InfrastructureCluster.wall(milliseconds + node.skew) }
  }

  private func advance(_ index: Int) {
    // A crashed node comes back when the last one of it is quite gone.
    if orphans?.node == index { return }
    guard nodes[index].hasBegun else {
      nodes[index].hasBegun = true
      return feed(index, .begin)
    }
    switch Int.random(in: 0..<8, using: &random) {
    case 0, 1: serve(index)
    case 2: lookFromOutside(index)
    case 3: if !nodes[index].replies.isEmpty { deliver(index) }
    case 4: if !nodes[index].lookReplies.isEmpty { feed(index, nodes[index].lookReplies.removeFirst()) }
    case 5, 6:
      if let step = nodes[index].commands.keys.sorted().randomElement(using: &random) {
        endCommand(index, step)
      }
    default: fireTimer(index)
    }
  }

  private static let refused = InfrastructurePhase.Event.storeFailed(StoreFailure("refused"))

  /// The store performs its oldest request.
  private func serve(_ index: Int) {
    guard let request = nodes[index].requests.first else { return }
    let fails = withFaults && faultsAllowed && (storeIsBroken || random.once(in: 100))
    switch request {
    case .lock:
      guard lockOwner == nil else {
        if !nodes[index].saidBusy {
          nodes[index].saidBusy = true
          nodes[index].replies.append(.lockBusy(holder: lockName))
        }
        return
      }
      nodes[index].requests.removeFirst()
      if fails, random.once(in: 4) {
        return nodes[index].replies.append(.lockFailed(StoreFailure("refused")))
      }
      nodes[index].replies.append(.lockHeld(leftBy: lockName))
      lockOwner = index
      lockName = nodes[index].owner
    case .read:
      nodes[index].requests.removeFirst()
      nodes[index].replies.append(fails ? Self.refused : .record(record))
    case .write(let new, let removes):
      nodes[index].requests.removeFirst()
      // A write that failed may be there nevertheless: the rename was done, the sync was not.
      if !fails || random.once(in: 2) { store(new, by: index, removes: removes) }
      nodes[index].replies.append(fails ? Self.refused : .written)
    case .unlock:
      nodes[index].requests.removeFirst()
      if lockOwner == index { (lockOwner, lockName) = (nil, "") }
      nodes[index].replies.append(.unlocked)
    }
  }

  private func lookFromOutside(_ index: Int) {
    guard nodes[index].looks > 0 else { return }
    nodes[index].looks -= 1
    let fails = withFaults && faultsAllowed && (storeIsBroken || random.once(in: 10))
    nodes[index].lookReplies.append(fails ? Self.refused : .record(record))
  }

  private func deliver(_ index: Int) {
    let reply = nodes[index].replies.removeFirst()
    switch reply {
    case .lockHeld, .lockFailed: nodes[index].awaitsLock = false
    default: break
    }
    feed(index, reply)
  }

  private func endCommand(_ index: Int, _ step: Int) {
    guard let command = nodes[index].commands.removeValue(forKey: step) else { return }
    let fails = command.isStopping || (faultsAllowed && random.once(in: 9))
    if fails, command.command == .check, !command.isStopping { nodes[index].doubted.insert(steps[step].name) }
    // A check that is stopped for its time counts as failed too.
    if command.isStopping { nodes[index].doubted.insert(steps[step].name) }
    if !fails { ran.append("\(word(command.command)) \(steps[step].name)") }
    let output = StepOutput(key: steps[step].name, value: nodes[index].owner)
    feed(
      index,
      .commandEnded(
        step: step,
        fails ? .failed("exit code 1") : .succeeded(outputs: command.command == .main ? [output] : [])))
  }

  private func fireTimer(_ index: Int) {
    let node = nodes[index]
    if node.seesChanges, node.timer != nil, random.once(in: 5) {
      nodes[index].timer = nil
      nodes[index].seesChanges = false
      return feed(index, .timer)
    }
    let choice = Int.random(in: 0..<3, using: &random)
    let step = choice == 2 ? node.stepTimers.keys.sorted().randomElement(using: &random) : nil
    let deadline = step.map { node.stepTimers[$0] } ?? (choice == 0 ? node.heartbeat : node.timer)
    guard let deadline else { return }
    let due = Int(deadline.nanoseconds / 1_000_000) - 1000
    // Time does not jump far while others have something to do.
    if due > milliseconds + 1500, !random.once(in: 8) { return }
    passTime(to: due)
    // What had to end on the way may have ended this wish.
    if let step {
      guard nodes[index].stepTimers[step] == deadline else { return }
      nodes[index].stepTimers[step] = nil
      feed(index, .stepTimer(step: step))
    } else if choice == 0 {
      guard nodes[index].heartbeat == deadline else { return }
      nodes[index].heartbeat = nil
      feed(index, .heartbeat)
    } else {
      guard nodes[index].timer == deadline else { return }
      nodes[index].timer = nil
      feed(index, .timer)
    }
  }

  private func disturb(_ index: Int) {
    guard nodes[index].hasBegun, orphans == nil, nodes[index].killedBy == nil else { return }
    switch Int.random(in: 0..<3, using: &random) {
    case 0: if random.once(in: 3) { feed(index, .interrupt) }
    case 1: if withFaults, nodes[index].outcomes.isEmpty { loseStore(index) }
    default: crash(index)
    }
  }

  /// The store's process dies: what was asked fails, then the lock is gone.
  private func loseStore(_ index: Int) {
    while !nodes[index].replies.isEmpty { deliver(index) }
    let lost = nodes[index].requests
    nodes[index].requests = []
    nodes[index].awaitsLock = false
    for request in lost {
      switch request {
      case .read, .write: feed(index, Self.refused)
      case .lock, .unlock: break
      }
    }
    if lockOwner == index { lockOwner = nil }
    feed(index, .lockLost)
    if !nodes[index].commands.isEmpty { nodes[index].killedBy = milliseconds + 2500 }
  }

  /// The node dies, with some of its writes done, and comes back. What it ran ends some time later: before its lock
  /// goes, or soon after it.
  private func crash(_ index: Int) {
    guard nodes[index].livesLeft > 0, nodes[index].outcomes.isEmpty else { return }
    for case .write(let new, let removes) in nodes[index].requests where lockOwner == index {
      if random.once(in: 2) { break }
      store(new, by: index, removes: removes)
    }
    let running = Set(nodes[index].commands.filter(\.value.isLocked).keys)
    let lockGoesFirst = random.once(in: 2)
    if !running.isEmpty {
      orphans = Orphans(
        node: index, steps: running,
        endsAt: lockGoesFirst ? milliseconds + Int.random(in: 500...2900, using: &random) : nil)
    }
    if lockOwner == index, running.isEmpty || lockGoesFirst { lockOwner = nil }
    nodes[index] = makeNode(lives: nodes[index].livesLeft - 1)
  }

  // MARK: Effects

  private func feed(_ index: Int, _ event: InfrastructurePhase.Event) {
    let wasOver = !nodes[index].outcomes.isEmpty
    let owner = nodes[index].owner
    let effects = nodes[index].phase.handle(event, at: instant(milliseconds))
    if wasOver, effects != [], effects != [.unlock] { problems.append("after the end: \(effects)") }
    for effect in effects where nodes[index].owner == owner {
      if !nodes[index].outcomes.isEmpty, !wasOver { problems.append("after finished: \(effect)") }
      perform(index, effect)
    }
    // One that did not come up ready is started again.
    if let last = nodes[index].outcomes.last, nodes[index].livesLeft > 0, orphans?.node != index {
      if case .ready = last { return }
      if lockOwner == index { lockOwner = nil }
      nodes[index] = makeNode(lives: nodes[index].livesLeft - 1)
    }
  }

  private func perform(_ index: Int, _ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read:
      if nodes[index].awaitsLock { nodes[index].looks += 1 } else { nodes[index].requests.append(.read) }
    case .write(let new):
      nodes[index].requests.append(.write(new, removes: nodes[index].hasUndone || isUndoing(index)))
    case .contend: break
    // There is no server here.
    case .endRemains(let step): Issue.record("step \(step) is not to be looked for")
    case .lock:
      nodes[index].awaitsLock = true
      nodes[index].saidBusy = false
      nodes[index].requests.append(.lock)
    case .abandonLock:
      // The helper is closed: nothing that is pending is answered, and a lock just taken is released.
      nodes[index].requests = []
      nodes[index].replies = []
      nodes[index].lookReplies = []
      nodes[index].looks = 0
      nodes[index].awaitsLock = false
      if lockOwner == index { lockOwner = nil }
    case .unlock:
      if !nodes[index].commands.isEmpty { problems.append("unlock while a command runs") }
      nodes[index].looks = 0
      nodes[index].lookReplies = []
      nodes[index].requests.append(.unlock)
    case .step(let step, .run(let command, let outputs)): run(index, step, command, outputs)
    case .step(let step, .stop), .step(let step, .kill):
      if nodes[index].commands[step] == nil { problems.append("stop of a command that does not run") }
      nodes[index].commands[step]?.isStopping = true
    case .schedule(let deadline):
      nodes[index].timer = deadline
      nodes[index].seesChanges = false
    case .awaitChange(let deadline):
      nodes[index].timer = deadline
      nodes[index].seesChanges = true
    case .unschedule: nodes[index].timer = nil
    case .scheduleHeartbeat(let deadline): nodes[index].heartbeat = deadline
    case .step(let step, .schedule(let deadline)): nodes[index].stepTimers[step] = deadline
    case .step(let step, .unschedule): nodes[index].stepTimers[step] = nil
    case .finished(let outcome): finished(index, outcome)
    case .step, .waiting, .note: break
    }
  }

  private func isUndoing(_ index: Int) -> Bool {
    guard case .undoing = nodes[index].phase.state else { return false }
    nodes[index].hasUndone = true
    return true
  }
}
