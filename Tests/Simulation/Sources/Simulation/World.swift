import EventLoop
import Lifecycle
import Phases
import ReleaseRecords

/// One simulation: clock, store, nodes, and what becomes of them.
final class World {
  let scenario: Scenario
  let bug: PlantedBug?
  var random: SeededGenerator
  private(set) var now = MonotonicInstant(nanoseconds: 1_000_000_000)
  private(set) var events = 0
  private var queue = EventQueue()
  let store = Store()
  /// Lock and record, when they are not files; and readiness.
  private(set) lazy var database = scenario.database.map { DatabaseServer(self, $0) }
  private(set) lazy var redis = scenario.database?.hasRedis == true ? RedisServer(self) : nil
  private var links: [Int: Link] = [:]
  var agents: [AgentProcess] = []
  /// And those that have ended.
  var allAgents: [AgentProcess] = []
  /// Nodes without `supervisor`.
  private(set) lazy var others = (0..<(scenario.database?.autoinitNodes ?? 0)).map { number in
    Autoinit(world: self, number: number, release: scenario.releases[0])
  }
  /// Commands, on whatever node.
  var running: [Command] = []
  /// What only the primary may run, likewise.
  var primaryServices: [PrimaryService] = []
  private var lastPID: CInt = 1
  private(set) var lives: [Life?]
  /// Kept as long as the world: what happens later may still refer to a life that is over.
  private var allLives: [Life] = []
  private var clockOffsets: [Duration]
  private var nextRelease: [Int]
  private var restartsLeft: [Int]
  private var awaitsStart: [Bool]
  private var damaged: Set<String> = []
  private var tampered: Set<String> = []
  private var faultsLeft: Int
  private var handsAtWork = 0
  /// Everybody has been asked to stop.
  private(set) var isClosing = false
  private var closesSoon = false
  /// What can happen in so small a fleet, many times over.
  private static let eventLimit = 2_000_000
  private(set) lazy var watch = Watch(self)
  /// The first one.
  private(set) var violation: String?
  private let isTracing: Bool

  init(_ scenario: Scenario, bug: PlantedBug? = nil, isTracing: Bool = false) {
    self.scenario = scenario
    self.bug = bug
    self.isTracing = isTracing
    random = SeededGenerator(seed: scenario.seed &* 2)
    faultsLeft = scenario.faults.count
    lives = Array(repeating: nil, count: scenario.nodes)
    clockOffsets = scenario.clockSkew
    nextRelease = scenario.releaseOf
    restartsLeft = Array(repeating: scenario.restartsAfterFailure, count: scenario.nodes)
    awaitsStart = Array(repeating: true, count: scenario.nodes)
  }

  // MARK: Time

  func at(_ time: MonotonicInstant, _ action: @escaping () -> Void) { queue.add(at: max(time, now), action) }

  func after(_ delay: Duration, _ action: @escaping () -> Void) { at(now + delay, action) }

  func wallClock(of node: Int) -> UInt64 {
    let real = Int64(1_800_000_000_000_000_000) + Int64(now.nanoseconds)
    return UInt64(real + clockOffsets[node].wholeNanoseconds)
  }

  func trace(_ text: @autoclosure () -> String) {
    guard isTracing else { return }
    let micros = (now.nanoseconds - 1_000_000_000) / 1000
    let fraction = String(micros % 1_000_000)
    print(
      "\(micros / 1_000_000)." + String(repeating: "0", count: 6 - fraction.count) + fraction + " " + text())
  }

  func violated(_ invariant: String, _ detail: @autoclosure () -> String) {
    guard violation == nil else { return }
    violation = "\(invariant): \(detail())"
    trace("VIOLATED \(violation ?? "")")
  }

  /// Everything, until nothing is left to happen or an invariant is violated.
  func run() {
    Present.$current.withValue(Present(world: self)) { simulate() }
  }

  private func simulate() {
    for node in 0..<scenario.nodes {
      after(scenario.startTimes[node]) { [self] in start(node) }
    }
    for other in others {
      after(random.duration(.zero...(.seconds(3)))) { other.begin() }
    }
    for item in scenario.faults {
      after(item.at) { [self] in
        faultsLeft -= 1
        strike(item.target.flatMap { holder(of: $0)?.node } ?? item.node, item.fault)
        considerClosing()
      }
    }
    let limit = now + scenario.limit
    while violation == nil, let (time, action) = queue.removeFirst() {
      if time > limit, !isClosing, let late = firstUnsettled {
        now = limit
        violated(
          "bounded time", "\(late) has neither started its app nor failed after \(scenario.limit.readable)")
        break
      }
      now = time
      events += 1
      if events > World.eventLimit { violated("bounded time", "\(events) events are no end") }
      action()
    }
    if violation == nil { atTheEnd() }
    // What refers to itself in a circle is cut, so that ten thousand worlds fit into memory.
    queue = EventQueue()
    for life in allLives { life.forgetAll() }
    for agent in allAgents { agent.forgetAll() }
    for link in links.values { link.forgetAll() }
    database?.forgetAll()
    (agents, allAgents, running, primaryServices) = ([], [], [], [])
  }

  private var firstUnsettled: String? {
    for node in 0..<scenario.nodes {
      if let life = lives[node], life.condition == .working { return life.name }
      if awaitsStart[node] { return "node-\(node)" }
    }
    return others.first { !$0.isSettled }?.name
  }

  /// Who has this lock.
  func holder(of kind: LockKind) -> Life? {
    if let database { return database.holder(of: kind) }
    return (kind == .leader ? leaderLock : infrastructureLock).holder?.owner.life
  }

  /// When everybody has come to where he wanted, and nothing is to go wrong any more, a moment later everybody is
  /// stopped: so that it has an end, and since a stop is a thing to look at too.
  private func considerClosing() {
    guard !isClosing, !closesSoon, faultsLeft == 0, handsAtWork == 0, firstUnsettled == nil else { return }
    closesSoon = true
    after(random.duration(.zero...scenario.quietTime)) { [self] in
      closesSoon = false
      guard firstUnsettled == nil else { return considerClosing() }
      isClosing = true
      trace("everybody is stopped")
      for case let life? in lives where life.isAlive {
        life.interrupt()
        if random.chance(10) {
          after(random.duration(.milliseconds(100)...(.seconds(3)))) { life.interrupt() }
        }
      }
    }
  }

  private func atTheEnd() {
    for case let life? in lives where life.isAlive {
      violated("nothing left waiting", "\(life.name) does not end")
    }
    if let stuck = firstUnsettled {
      violated("nothing left waiting", "\(stuck) waits for something that never comes")
    }
    for lock in store.allLocks {
      if let holder = lock.holder {
        violated("nothing left waiting", "\(holder.owner.name) still holds \(lock.path)")
      }
      if lock.hasWaiters { violated("nothing left waiting", "somebody still waits for \(lock.path)") }
    }
    if let database { atTheEnd(of: database) }
    if let service = primaryServices.first {
      violated("nothing left waiting", "\(service.text) still runs")
    }
    if let command = running.first { violated("nothing left waiting", "\(command.text) still runs") }
  }

  /// For the head of a trace.
  static func describe(_ scenario: Scenario) -> String {
    var lines = [
      "\(scenario.nodes) nodes on hosts \(scenario.hosts), rules \(scenario.rules)",
      "store \(scenario.store)",
    ]
    for release in scenario.releases {
      lines.append("release \(release.runID.value):")
      for plan in release.infrastructure + release.node {
        lines.append("  \(plan.step) \(plan.behaviour) in \(plan.duration)")
      }
    }
    lines += scenario.faults.map {
      "fault at \($0.at.readable), \($0.target.map { "the \($0) lock's holder, else " } ?? "")node-\($0.node): \($0.fault)"
    }
    return lines.joined(separator: "\n")
  }

  // MARK: Nodes

  private func start(_ node: Int) {
    guard lives[node].map({ !$0.isAlive }) ?? true else { return }
    awaitsStart[node] = false
    guard !isClosing else { return }
    let life = Life(world: self, node: node, number: allLives.count + 1, releaseIndex: nextRelease[node])
    lives[node] = life
    allLives.append(life)
    trace("\(life.name) starts with \(life.release.runID.value)")
    life.begin()
  }

  private func startAgain(_ node: Int, after delay: ClosedRange<Duration>) {
    awaitsStart[node] = true
    after(random.duration(delay)) { [self] in start(node) }
  }

  /// One without `supervisor` is where it wanted.
  func autoinitSettled() { considerClosing() }

  /// Its app runs, or it has exited by itself.
  func settled(_ life: Life) {
    defer { considerClosing() }
    guard case .exited(let reason) = life.condition, !isClosing else { return }
    if life.wasInterrupted {
      startAgain(life.node, after: .milliseconds(10)...(.seconds(3)))
    } else if reason != "phases_complete", restartsLeft[life.node] > 0 {
      restartsLeft[life.node] -= 1
      startAgain(life.node, after: .milliseconds(100)...(.seconds(10)))
    }
  }

  /// It was killed.
  func ended(_ life: Life) {
    if !isClosing { startAgain(life.node, after: .milliseconds(10)...(.seconds(20))) }
  }

  private func strike(_ node: Int, _ fault: Scenario.Fault) {
    trace("fault at node-\(node): \(fault)")
    let life = lives[node].flatMap { $0.isAlive ? $0 : nil }
    switch fault {
    case .killFirst: life?.killFirst()
    case .killHelper: life?.killHelper()
    case .killAgent: life?.killAgent()
    case .hangAgent(let length): life?.agent?.process?.freeze(for: length)
    case .terminateHolder(let kind): database?.terminateHolder(of: kind)
    case .cut(let length): link(of: node).cut(for: length, agents: agents.filter { $0.life.node == node })
    case .restartServer(let down): database?.restart(after: down)
    case .fewConnections(let length): database?.fullUntil = now + length
    case .slowServer(let length): database?.slowUntil = now + length
    case .dropDatabase: database?.drop()
    case .flushRedis: redis?.flush()
    case .redisAway(let length, let keeps): redis?.leave(for: length, keeps: keeps)
    case .killContainer: life?.killContainer()
    case .killHost:
      let host = scenario.hosts[node]
      for other in lives where other?.host == host { other?.killHost() }
    case .pause(let length): life?.pause(for: length)
    case .killHelperOfPaused(let length):
      life?.pause(for: length)
      after(random.duration(.zero...length)) { life?.killHelper() }
    case .killAgentOfPaused(let length):
      life?.pause(for: length)
      after(random.duration(.zero...length)) { life?.killAgent() }
    case .stop(let release):
      nextRelease[node] = release
      life?.interrupt(random.chance(20) ? .quit : .terminate)
      if random.chance(20) {
        for _ in 0..<random.number(1...3) {
          after(random.duration(.milliseconds(100)...(.seconds(4)))) { life?.interrupt() }
        }
      }
    case .control(let service):
      let name = service.map { scenario.services[$0].process.name } ?? scenario.app.process.name
      // Who stops what the start waits for, and sets that wait no limit, is waited for.
      let isAwaited =
        scenario.rules.timeout == nil && service.map { scenario.services[$0].process.startsEarly } ?? false
      life?.ask(
        isAwaited ? .restart(name) : random.pick([.restart(name), .restart(name), .stop(name), .start(name)]))
    case .clockStep(let step): clockOffsets[node] += step
    case .diskFull(let length): stateDirectory.fullUntil = now + length
    case .readError(let length): stateDirectory.readErrorUntil = now + length
    case .markerFull(let length): markerDirectory(scenario.hosts[node]).fullUntil = now + length
    case .markerReadOnly(let length): markerDirectory(scenario.hosts[node]).readOnlyUntil = now + length
    case .markerVanishes: store.vanish(markerDirectory(scenario.hosts[node]), at: now)
    case .stateVanishes: store.vanish(stateDirectory, at: now)
    case .spoilMarker(let release):
      let file = markerFile(host: scenario.hosts[node], scenario.releases[release])
      guard let bytes = file.bytes else { return }
      tampered.insert(file.path)
      file.replace(spoilt(bytes))
    case .spoilRecord(let release):
      let file = recordFile(scenario.releases[release])
      guard let bytes = file.bytes else { return }
      tampered.insert(file.path)
      file.replace(spoilt(bytes))
      watch.changedByHand(scenario.releases[release], nil)
    case .removeRecord(let release):
      let file = recordFile(scenario.releases[release])
      // By hand, as the message about a damaged one says.
      guard file.bytes != nil, decode(file, scenario.releases[release]).1 != nil else { return }
      file.remove()
      watch.changedByHand(scenario.releases[release], nil)
    case .ready(let release, let isSet):
      handsAtWork += 1
      Hand(world: self, node: node, release: scenario.releases[release], isSet: isSet).begin { [self] in
        handsAtWork -= 1
        considerClosing()
      }
    case .damage(let release, let step):
      let plan = scenario.releases[release]
      damage(plan.runID.value, plan.infrastructure[step].step.name)
    case .damageNode(let release, let step):
      let plan = scenario.releases[release]
      damage("\(scenario.hosts[node])/\(plan.runID.value)", plan.node[step].step.name)
    }
  }

  private func damage(_ scope: String, _ step: String) {
    store.unapply(scope, step)
    damaged.insert("\(scope)/\(step)")
  }

  /// Cut short, overwritten, or from a version to come.
  private func spoilt(_ bytes: [UInt8]) -> [UInt8] {
    switch random.number(0...3) {
    case 0: return Array(bytes.prefix(random.number(0...max(0, bytes.count - 1))))
    case 1: return (0..<random.number(1...200)).map { _ in UInt8.random(in: 0...255, using: &random) }
    case 2: return Array("supervisor-release 2\n".utf8) + bytes.drop { $0 != 10 }.dropFirst()
    default: return Array(repeating: 0, count: bytes.count)
    }
  }

  /// Whether somebody has changed this file by hand.
  func isTampered(_ file: StoredFile) -> Bool { tampered.contains(file.path) }

  /// Somebody removed it, with its directory.
  func markerMayBeMissing(_ life: Life) -> Bool {
    markerDirectory(life.host).vanishedAt.map { $0 >= life.beganAt } ?? false
  }

  /// Whether somebody has undone this step by hand at some time.
  func isDamaged(_ scope: String, _ step: String) -> Bool { damaged.contains("\(scope)/\(step)") }

  // MARK: The store

  func link(of node: Int) -> Link {
    if let link = links[node] { return link }
    let link = Link(self)
    links[node] = link
    return link
  }

  static let infrastructureLockName = "infrastructure.lock"
  static let leaderLockName = "leader.lock"

  var stateDirectory: Directory { store.directory("state") }

  func markerDirectory(_ host: Int) -> Directory { store.directory("host-\(host)") }

  var infrastructureLock: LockFile {
    store.lock(World.infrastructureLockName, .infrastructure, in: stateDirectory)
  }

  var leaderLock: LockFile { store.lock(World.leaderLockName, .leader, in: stateDirectory) }

  func recordFile(_ release: Scenario.Release) -> StoredFile {
    store.file("\(stateDirectory.path)/releases/\(release.runID.value)")
  }

  func markerFile(_ life: Life) -> StoredFile { markerFile(host: life.host, life.release) }

  private func markerFile(host: Int, _ release: Scenario.Release) -> StoredFile {
    store.file("\(markerDirectory(host).path)/\(release.runID.value).marker")
  }

  func nextPID() -> CInt {
    lastPID += 1
    return lastPID
  }

  func decode(_ file: StoredFile, _ release: Scenario.Release) -> (ReleaseRecord?, ReleaseRecord.Damage?) {
    guard let bytes = file.bytes else { return (nil, nil) }
    if let decoded = file.decoded { return (decoded, nil) }
    do throws(ReleaseRecord.Damage) {
      let record = try ReleaseRecord.decode(bytes, runID: release.runID.value)
      file.decoded = record
      return (record, nil)
    } catch {
      if !isTampered(file) { violated("a record can be read", "\(error)") }
      return (nil, error)
    }
  }

  func replace(_ file: StoredFile, _ record: ReleaseRecord, by life: Life, with helper: FileHelper) {
    let (before, _) = decode(file, life.release)
    file.replace(record.encoded())
    let (after, _) = decode(file, life.release)
    if after != record { violated("a record can be read", "\(record) became \(String(describing: after))") }
    watch.recorded(record, before: before, by: life, isHolder: infrastructureLock.holder === helper)
    tellWatchers(of: file)
  }

  func tellWatchers(of file: StoredFile) {
    let watchers = file.watchers
    file.watchers = []
    for watcher in watchers { watcher.recordChanged() }
  }
}
