import Coordination
import EventLoop

@testable import Phases

/// Nodes with one infrastructure phase each, over one record and one lock in memory. A seed decides what happens next;
/// what must never happen is collected in `problems`.
///
/// It keeps the promises of the real store: a store answers in order, and answers nothing while it waits for the lock;
/// then another one looks. What has been answered is not yet delivered, and the two stores do not know of each other.
final class InfrastructureCluster {
  enum Request: Equatable {
    case read
    case write(ReleaseRecord)
    case lock
    case unlock
  }

  struct Node {
    var phase: InfrastructurePhase
    var owner: String
    var requests: [Request] = []
    var looks = 0
    var replies: [InfrastructurePhase.Event] = []
    var lookReplies: [InfrastructurePhase.Event] = []
    /// The lock was asked for and its answer has not been delivered.
    var awaitsLock = false
    var saidBusy = false
    var command: Int?
    var isStopping = false
    var timer: MonotonicInstant?
    var heartbeat: MonotonicInstant?
    var outcomes: [InfrastructurePhase.Outcome] = []
    var hasBegun = false
    var crashesLeft: Int
  }

  let steps: [PhaseStep]
  var random: SeededRandom
  var nodes: [Node] = []
  var record: ReleaseRecord?
  var lockOwner: Int?
  /// Its node crashed in the middle of a command that still runs.
  var orphan: (node: Int, step: Int)?
  var problems: [String] = []
  /// Steps that ran to their end, by name, to see that something happened at all.
  var ran: [String] = []
  private var faultsAllowed = true
  private let withFaults: Bool
  private var milliseconds = 0
  private var generation = 0
  private let wall = WallClock()

  init(seed: UInt64, nodes count: Int, crashes: Int, withFaults: Bool) {
    random = SeededRandom(seed: seed)
    self.withFaults = withFaults
    steps = (0..<Int.random(in: 1...4, using: &random)).map {
      PhaseStep.named("s\($0)", check: $0 == 1, retries: $0 == 2 ? 1 : 0)
    }
    for _ in 0..<count { nodes.append(makeNode(crashes: crashes)) }
  }

  private func makeNode(crashes: Int) -> Node {
    generation += 1
    let wall = wall
    let owner = "node \(generation)"
    return Node(
      phase: InfrastructurePhase(
        runID: RunID(given: "r1", workingDirectory: []), steps: steps, owner: owner, timeout: .seconds(300),
        maximumWait: random.once(in: 4) ? .seconds(600) : nil, wallClock: { wall.now }),
      owner: owner, crashesLeft: crashes)
  }

  // MARK: Playing

  /// Plays to the end; false when it does not come.
  func play() -> Bool {
    for move in 0..<6000 {
      if move > 400 { faultsAllowed = false }
      if nodes.allSatisfy({ !$0.outcomes.isEmpty }), orphan == nil { return true }
      milliseconds += Int.random(in: 0...200, using: &random)
      wall.now = 1_000 + UInt64(milliseconds)
      if orphan != nil, random.once(in: 4) {
        if lockOwner == orphan?.node { lockOwner = nil }
        orphan = nil
      }
      let index = Int.random(in: nodes.indices, using: &random)
      if faultsAllowed, random.once(in: 60) { disturb(index) } else { advance(index) }
    }
    return false
  }

  private func advance(_ index: Int) {
    // A crashed node comes back when the last one of it is quite gone.
    if orphan?.node == index { return }
    guard nodes[index].hasBegun else {
      nodes[index].hasBegun = true
      return feed(index, .begin)
    }
    switch Int.random(in: 0..<7, using: &random) {
    case 0, 1: serve(index)
    case 2: lookFromOutside(index)
    case 3: if !nodes[index].replies.isEmpty { deliver(index) }
    case 4: if !nodes[index].lookReplies.isEmpty { feed(index, nodes[index].lookReplies.removeFirst()) }
    case 5: if nodes[index].command != nil { endCommand(index) }
    default: fireTimer(index)
    }
  }

  /// The store performs its oldest request.
  private func serve(_ index: Int) {
    guard let request = nodes[index].requests.first else { return }
    let fails = withFaults && faultsAllowed && random.once(in: 60)
    switch request {
    case .lock:
      guard lockOwner == nil else {
        if !nodes[index].saidBusy {
          nodes[index].saidBusy = true
          nodes[index].replies.append(.lockBusy(holder: "somebody"))
        }
        return
      }
      nodes[index].requests.removeFirst()
      if fails { return nodes[index].replies.append(.storeFailed("lock")) }
      lockOwner = index
      nodes[index].replies.append(.lockHeld)
    case .read:
      nodes[index].requests.removeFirst()
      nodes[index].replies.append(fails ? .storeFailed("read") : .record(record))
    case .write(let new):
      nodes[index].requests.removeFirst()
      // A write that failed may be there nevertheless: the rename was done, the sync was not.
      if !fails || random.once(in: 2) { store(new, by: index) }
      nodes[index].replies.append(fails ? .storeFailed("write") : .written)
    case .unlock:
      nodes[index].requests.removeFirst()
      if lockOwner == index { lockOwner = nil }
      nodes[index].replies.append(.unlocked)
    }
  }

  private func lookFromOutside(_ index: Int) {
    guard nodes[index].looks > 0 else { return }
    nodes[index].looks -= 1
    let fails = withFaults && faultsAllowed && random.once(in: 10)
    nodes[index].lookReplies.append(fails ? .storeFailed("look") : .record(record))
  }

  private func deliver(_ index: Int) {
    let reply = nodes[index].replies.removeFirst()
    if case .lockHeld = reply { nodes[index].awaitsLock = false }
    feed(index, reply)
  }

  private func endCommand(_ index: Int) {
    guard let step = nodes[index].command else { return }
    let fails = nodes[index].isStopping || (faultsAllowed && random.once(in: 12))
    nodes[index].command = nil
    nodes[index].isStopping = false
    if !fails { ran.append(steps[step].name) }
    feed(index, .commandEnded(fails ? .failed("exit code 1") : .succeeded))
  }

  private func fireTimer(_ index: Int) {
    let isHeartbeat = random.once(in: 2)
    let deadline = isHeartbeat ? nodes[index].heartbeat : nodes[index].timer
    guard let deadline else { return }
    let due = Int(deadline.nanoseconds / 1_000_000) - 1000
    // Time does not jump far while others have something to do.
    if due > milliseconds + 1500, !random.once(in: 8) { return }
    milliseconds = max(milliseconds, due + 1)
    wall.now = 1_000 + UInt64(milliseconds)
    if isHeartbeat { nodes[index].heartbeat = nil } else { nodes[index].timer = nil }
    feed(index, isHeartbeat ? .heartbeat : .timer)
  }

  private func disturb(_ index: Int) {
    guard nodes[index].hasBegun, orphan == nil else { return }
    switch Int.random(in: 0..<3, using: &random) {
    case 0: if random.once(in: 4) { feed(index, .interrupt) }
    case 1: if withFaults, nodes.count == 1, nodes[index].outcomes.isEmpty { loseStore(index) }
    default: crash(index)
    }
  }

  /// The store's process dies: what was asked fails, then the lock is gone.
  private func loseStore(_ index: Int) {
    while !nodes[index].replies.isEmpty { deliver(index) }
    let lost = nodes[index].requests
    nodes[index].requests = []
    for _ in lost { feed(index, .storeFailed("the store ended")) }
    if lockOwner == index { lockOwner = nil }
    feed(index, .lockLost)
  }

  /// The node dies, with some of its writes done, and comes back. Its command ends some time later, and only then
  /// does its lock go.
  private func crash(_ index: Int) {
    guard nodes[index].crashesLeft > 0, nodes[index].outcomes.isEmpty else { return }
    for case .write(let new) in nodes[index].requests where lockOwner == index {
      if random.once(in: 2) { break }
      store(new, by: index)
    }
    if let step = nodes[index].command {
      orphan = (index, step)
    } else if lockOwner == index {
      lockOwner = nil
    }
    nodes[index] = makeNode(crashes: nodes[index].crashesLeft - 1)
  }

  // MARK: Effects and rules

  private func store(_ new: ReleaseRecord, by index: Int) {
    if lockOwner != index { problems.append("\(nodes[index].owner) writes without the lock") }
    for entry in record?.entries ?? [] where !new.entries.contains(entry) {
      problems.append("\(entry.step) is not recorded done any more")
    }
    if new.completedAt != nil, !steps.allSatisfy({ new.isDone($0.name, hash: $0.hash) }) {
      problems.append("complete without all steps")
    }
    record = new
  }

  private func feed(_ index: Int, _ event: InfrastructurePhase.Event) {
    let now = instant(milliseconds)
    let wasOver = !nodes[index].outcomes.isEmpty
    let effects = nodes[index].phase.handle(event, at: now)
    if wasOver, !effects.isEmpty { problems.append("after the end: \(effects)") }
    for effect in effects {
      if !nodes[index].outcomes.isEmpty, !wasOver { problems.append("after finished: \(effect)") }
      perform(index, effect)
    }
  }

  private func perform(_ index: Int, _ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read:
      if nodes[index].awaitsLock { nodes[index].looks += 1 } else { nodes[index].requests.append(.read) }
    case .write(let new): nodes[index].requests.append(.write(new))
    case .lock:
      nodes[index].awaitsLock = true
      nodes[index].requests.append(.lock)
    case .abandonLock:
      // The helper is closed: nothing that is pending is answered, and a lock just taken is released.
      nodes[index].requests = []
      nodes[index].replies = []
      nodes[index].lookReplies = []
      nodes[index].looks = 0
      if lockOwner == index { lockOwner = nil }
    case .unlock:
      if nodes[index].command != nil { problems.append("unlock while a command runs") }
      nodes[index].looks = 0
      nodes[index].lookReplies = []
      nodes[index].requests.append(.unlock)
    case .run(let step, _): run(index, step)
    case .stopCommand, .killCommand:
      if nodes[index].command == nil { problems.append("stop of a command that does not run") }
      nodes[index].isStopping = true
    case .schedule(let deadline): nodes[index].timer = deadline
    case .unschedule: nodes[index].timer = nil
    case .scheduleHeartbeat(let deadline): nodes[index].heartbeat = deadline
    case .finished(let outcome): finished(index, outcome)
    case .stepBegan, .stepEnded, .waiting, .note: break
    }
  }

  private func run(_ index: Int, _ step: Int) {
    let name = steps[step].name
    if lockOwner != index { problems.append("\(name) runs without the lock") }
    if record?.claim?.owner != nodes[index].owner || record?.claim?.step != name {
      problems.append("\(name) runs without a claim that names it")
    }
    if nodes.contains(where: { $0.command != nil }) || orphan != nil {
      problems.append("\(name) runs beside another command")
    }
    if record?.isDone(name, hash: steps[step].hash) == true {
      problems.append("\(name) runs again though it is recorded done")
    }
    nodes[index].command = step
    nodes[index].isStopping = false
  }

  private func finished(_ index: Int, _ outcome: InfrastructurePhase.Outcome) {
    if nodes[index].command != nil { problems.append("finished while a command runs") }
    if case .ready = outcome, record?.completedAt == nil { problems.append("ready without readiness") }
    nodes[index].outcomes.append(outcome)
    if nodes[index].outcomes.count > 1 { problems.append("finished twice") }
    // `unlocked` may have been overtaken by a failure of the store; the helper is closed either way.
    if lockOwner == index { lockOwner = nil }
  }
}
