import EventLoop
import Lifecycle
import Phases
import Processes

/// What one seed simulates: the fleet, its releases, how bad its store is, and what goes wrong when. All of it follows
/// from the seed; what is decided later comes from a generator that the seed starts too.
struct Scenario {
  /// One step and how the simulated commands of it behave.
  struct Step {
    enum Outcome: Equatable {
      case succeeds
      case fails
      /// So many times over all nodes, then never again.
      case failsAtFirst(Int)
      /// In so many percent of all runs.
      case failsSometimes(Int)
      /// Never ends by itself the first so many times; only with a timeout.
      case hangsAtFirst(Int)
      /// In so many percent of all runs but the first.
      case failsLater(Int)
    }

    var step: PhaseStep
    var behaviour = Outcome.succeeds
    var duration: ClosedRange<Duration>
    /// What its work consists of, each done and told one after the other.
    var parts: [String] = []
    var process = Behaviour(
      obeysWithin: .milliseconds(1)...(.seconds(2)), stopStatus: .signaled(.terminate))
    var stop = StopPolicy(timeout: .seconds(5))
  }

  /// The app or a service.
  struct Service {
    var process: LifecyclePlan.Process
    var behaviour = Behaviour()
  }

  /// What is deployed under one run ID.
  struct Release {
    var runID: RunID
    var infrastructure: [Step]
    var node: [Step]
  }

  enum Fault: Equatable {
    /// PID 1 is killed; its file helper ends the step, then gives the lock back.
    case killFirst
    /// The file helper is killed: the lock is gone at once.
    case killHelper
    /// The whole container is killed: the lock is gone at once, the steps a moment later.
    case killContainer
    /// The host loses power, with every node on it.
    case killHost
    /// The agent is killed, and its connections with it.
    case killAgent
    /// The agent hangs for a while.
    case hangAgent(Duration)
    /// Somebody terminates the session of whoever holds this lock.
    case terminateHolder(LockKind)
    /// Nothing gets from the node to the servers, nor back, for a while.
    case cut(Duration)
    /// PostgreSQL is restarted in the hard way, and gone for a while.
    case restartServer(Duration)
    /// All of its connections are in use.
    case fewConnections(Duration)
    case slowServer(Duration)
    /// An empty database is put in the place of the one that is there.
    case dropDatabase
    case flushRedis
    /// Redis is gone for a while, with all that it knows or without.
    case redisAway(Duration, keeps: Bool)
    /// PID 1 is stopped for a while, and its agent is killed meanwhile.
    case killAgentOfPaused(Duration)
    /// PID 1 is stopped (SIGSTOP) for a while.
    case pause(Duration)
    /// PID 1 is stopped for a while, and its file helper is killed meanwhile.
    case killHelperOfPaused(Duration)
    /// A stop is requested, and the node is started again with this release.
    case stop(thenRelease: Int)
    /// The calendar's clock is set.
    case clockStep(Duration)
    /// Writes to the shared store fail for a while.
    case diskFull(Duration)
    /// Reads of it do.
    case readError(Duration)
    /// Somebody undoes by hand what this step did.
    case damage(release: Int, step: Int)
    /// The same of a step of the node phase, on this node's host.
    case damageNode(release: Int, step: Int)
    /// Somebody restarts, stops or starts a service, or the app.
    case control(service: Int?)
    /// `supervisor ready set`, or `ready clear`.
    case ready(release: Int, isSet: Bool)
    /// The record, or the marker, is cut short, overwritten, or one of a version to come.
    case spoilRecord(release: Int)
    case spoilMarker(release: Int)
    /// Somebody removes a record that is damaged.
    case removeRecord(release: Int)
    /// The marker directory is full, read-only, or gone with all that is in it.
    case markerFull(Duration)
    case markerReadOnly(Duration)
    case markerVanishes
    /// The state directory is gone with all that is in it.
    case stateVanishes
  }

  struct Store {
    var usual: ClosedRange<Duration> = .microseconds(100)...(.milliseconds(3))
    var slowPercent = 0
    var slow: ClosedRange<Duration> = .milliseconds(100)...(.seconds(4))
    /// Answers that come late, and tell of what was.
    var slowRepliesPercent = 0
    /// In a thousand; such an answer takes longer than the supervisor's patience.
    var hangsPerMille = 0
    /// Of all writes that fail, those which took effect nevertheless (the directory could not be synced after it).
    var failsAfterTheFact = 30
    /// How long the store takes to notice that a host has gone, and to let go of its locks.
    var lease: Duration = .zero
    var lostWakeups = 0
    var lateWakeups = 0
  }

  var seed: UInt64
  var nodes: Int
  /// The host of each node; nodes of one host share their marker directory.
  var hosts: [Int]
  var releases: [Release]
  /// What each node starts with at first.
  var releaseOf: [Int]
  /// Nodes which only wait for readiness, and run no step.
  var onlyWaits: [Bool]
  /// Nodes on which the definition of one step differs, though the run ID does not.
  var redefines: [Bool]
  var startTimes: [Duration]
  var clockSkew: [Duration]
  var rules = InfrastructureRules()
  var nodeRules = NodePhase.Rules()
  var store = Store()
  /// Where lock and record are, when they are not files.
  var database: Database?
  /// Some strike whoever has this lock at that moment, and their node only when nobody has.
  var faults: [(at: Duration, node: Int, target: LockKind?, fault: Fault)] = []
  var app = Service(process: LifecyclePlan.Process(name: "app", restart: RestartPolicy(mode: .never)))
  var services: [Service] = []
  var hook = Behaviour(runs: .milliseconds(1)...(.milliseconds(200)), exitCode: 0)
  var hasRoleHook = false
  /// How much of the life each node is to have.
  var scopes: [LifecyclePlan.Scope] = []
  var waitsAtStart = false
  var waitsFail = 0
  var stopTimeout: Duration = .milliseconds(9500)
  var drainDelay: Duration = .zero
  /// From when all is well to when everybody is stopped, at most.
  var quietTime: Duration = .seconds(1)
  /// How often a node that exited with a failure is started again.
  var restartsAfterFailure = 0
  var limit: Duration = .seconds(0)
}

extension Scenario {
  /// A fleet in trouble.
  init(seed: UInt64) {
    var random = SeededGenerator(seed: seed &* 2 &+ 1)
    let nodes = random.chance(15) ? random.number(7...14) : random.number(1...6)
    let hostCount = random.chance(50) ? nodes : random.number(1...nodes)
    let releaseCount = random.chance(25) ? 2 : 1
    self.init(
      seed: seed, nodes: nodes, hosts: (0..<nodes).map { hostCount == nodes ? $0 : $0 % hostCount },
      releases: [],
      releaseOf: [], onlyWaits: [], redefines: [], startTimes: [], clockSkew: [])
    let isDevelopment = random.chance(5)
    let hasUpkeep = random.chance(35)
    for index in 0..<releaseCount {
      let runID = RunID(
        given: isDevelopment ? nil : "release-\(index + 1)", workingDirectory: Array("/app".utf8))
      let count = random.chance(5) ? 0 : random.number(1...7)
      let steps = Scenario.steps("step", count: count, infrastructure: true, &random)
      let nodeSteps = Scenario.steps("local", count: random.number(0...3), infrastructure: false, &random)
      releases.append(Release(runID: runID, infrastructure: steps, node: nodeSteps))
      if hasUpkeep { chooseUpkeep(of: index, &random) }
    }
    let redefinition = random.chance(5)
    let waiters = random.chance(10)
    let spread: Duration = random.pick([.zero, .milliseconds(20), .seconds(5), .seconds(40)])
    let skew: Duration = random.pick([.zero, .zero, .milliseconds(500), .seconds(60), .seconds(86400)])
    for node in 0..<nodes {
      releaseOf.append(releaseCount == 1 ? 0 : (random.chance(50) ? 0 : random.number(0...1)))
      onlyWaits.append(waiters && node > 0 && random.chance(40))
      redefines.append(redefinition && random.chance(40))
      startTimes.append(random.duration(.zero...spread))
      clockSkew.append(random.duration(.zero...(skew + skew)))
    }
    rules.timeout = random.pick([
      nil, .seconds(300), .seconds(60), .seconds(15), random.chance(20) ? .zero : nil,
    ])
    rules.maximumWait = random.chance(10) ? random.duration(.seconds(1)...(.seconds(60))) : nil
    rules.pollInterval = random.pick([.seconds(1), .seconds(1), .milliseconds(200), .seconds(5)])
    rules.retryAfter = random.pick([nil, .seconds(1), .seconds(1), .seconds(10)])
    rules.parallelism = random.pick([1, 1, 2, 3, 8])
    rules.stopsOnFailure = random.chance(30)
    nodeRules.timeout = random.pick([nil, .seconds(300), .seconds(20)])
    restartsAfterFailure = random.pick([0, 0, 1, 3])
    chooseStore(&random)
    chooseProcesses(&random)
    for node in 0..<nodes {
      let isShort = random.chance(4)
      scopes.append(
        onlyWaits[node] ? .node : isShort ? random.pick([.phases, .infrastructure]) : .life)
    }
    if seed % 3 == 0 { chooseDatabase(&random) }
    if random.chance(85) { chooseFaults(&random) }
    if hasUpkeep { chooseLaterDamage(&random) }
    if database != nil { moveFaultsToServers(&random) }
    limit = bound
  }

  private mutating func chooseStore(_ random: inout SeededGenerator) {
    if random.chance(25) { store.slowPercent = random.pick([2, 10, 40]) }
    if random.chance(25) { store.slowRepliesPercent = random.pick([2, 20]) }
    if random.chance(5) { store.hangsPerMille = 10 }
    if random.chance(20) { store.lease = random.duration(.zero...(.seconds(10))) }
    if random.chance(30) { store.lostWakeups = random.pick([10, 50, 100]) }
    if random.chance(30) { store.lateWakeups = random.pick([10, 50]) }
  }

  private mutating func chooseFaults(_ random: inout SeededGenerator) {
    // Either while much is going on, or later, when some are warm.
    let window: Duration = random.pick([.seconds(3), .seconds(15), .seconds(60)])
    var last = Duration.zero
    for _ in 0..<random.pick([1, 2, 3, 5, 8]) {
      let fault: Fault
      switch random.number(0...39) {
      case 26...27: fault = .control(service: services.indices.randomElement(using: &random))
      case 28...29:
        fault = .ready(release: random.number(0...releases.count - 1), isSet: random.chance(50))
      case 30...31: fault = .spoilRecord(release: random.number(0...releases.count - 1))
      case 32: fault = .removeRecord(release: random.number(0...releases.count - 1))
      case 33: fault = .spoilMarker(release: random.number(0...releases.count - 1))
      case 34: fault = .markerFull(random.duration(.milliseconds(100)...(.seconds(25))))
      case 35: fault = .markerReadOnly(random.duration(.milliseconds(100)...(.seconds(25))))
      case 36: fault = .markerVanishes
      case 37: fault = .stateVanishes
      case 38...39: fault = .stop(thenRelease: random.number(0...releases.count - 1))
      case 0...3: fault = .killFirst
      case 4...7: fault = .killHelper
      case 8...10: fault = .killContainer
      case 11...12: fault = .killHost
      case 13...14: fault = .pause(random.duration(.milliseconds(10)...(.seconds(20))))
      case 15: fault = .killHelperOfPaused(random.duration(.milliseconds(10)...(.seconds(20))))
      case 16...19: fault = .stop(thenRelease: random.number(0...releases.count - 1))
      case 20: fault = .clockStep(random.duration(.seconds(-7200)...(.seconds(7200))))
      case 21...22: fault = .diskFull(random.duration(.milliseconds(100)...(.seconds(25))))
      case 23: fault = .readError(random.duration(.milliseconds(100)...(.seconds(3))))
      default:
        let release = random.number(0...releases.count - 1)
        let steps = releases[release].infrastructure.count
        fault = steps == 0 ? .killFirst : .damage(release: release, step: random.number(0...steps - 1))
      }
      // Misfortunes seldom come singly.
      let soon: Duration = random.chance(50) ? .milliseconds(600) : .seconds(4)
      let at =
        random.chance(40) ? last + random.duration(.zero...soon) : random.duration(.zero...window)
      last = at
      let target: LockKind? = random.chance(40) ? (random.chance(70) ? .infrastructure : .leader) : nil
      faults.append((at, random.number(0...nodes - 1), target, fault))
    }
  }

  private static func steps(
    _ prefix: String, count: Int, infrastructure: Bool, _ random: inout SeededGenerator
  ) -> [Step] {
    let longest: Duration = random.pick([.milliseconds(50), .seconds(1), .seconds(6)])
    let failing = random.chance(20)
    let density = random.pick([0, 20, 60])
    return (0..<count).map { index in
      var step = PhaseStep(
        name: "\(prefix)-\(index)", definition: "\(prefix)-\(index)", hasCheck: random.chance(40),
        isFatal: infrastructure || random.chance(30), failsWhenInterrupted: infrastructure && random.chance(5)
      )
      // Only on earlier ones, so that there is no cycle; the file's order need not be one that works.
      step.needs = (0..<index).filter { _ in random.chance(density) }.map { "\(prefix)-\($0)" }
      if random.chance(30) { step.timeout = random.duration(.milliseconds(500)...(.seconds(8))) }
      if random.chance(30) {
        step.retries = random.number(1...3)
        step.retryDelay = random.duration(.milliseconds(100)...(.seconds(2)))
      }
      if random.chance(25) {
        step.hasRollback = true
        step.rollsBackOnStop = random.chance(30)
        step.rollsBackWhenFailed = random.chance(40)
      }
      step.rechecksOnStart = step.hasCheck && random.chance(40)
      var behaviour = Step.Outcome.succeeds
      if failing, random.chance(40) {
        behaviour = random.pick([.fails, .failsAtFirst(random.number(1...3)), .failsSometimes(30)])
      } else if step.timeout != nil, random.chance(15) {
        behaviour = .hangsAtFirst(random.number(1...2))
      }
      let low: Duration = random.pick([.milliseconds(1), .milliseconds(10)])
      var plan = Step(
        step: step, behaviour: behaviour, duration: low...(low + random.duration(.zero...longest)))
      if infrastructure, random.chance(15) { plan.parts = (1...random.number(2...4)).map { "part-\($0)" } }
      if random.chance(10) { plan.process.obeysWithin = nil }
      Scenario.chooseCompany(&plan.process, &random)
      return plan
    }
  }

  /// A healthy fleet of so many hosts, all started at once: what does it cost?
  static func fleet(of nodes: Int) -> Scenario {
    let runID = RunID(given: "release-1", workingDirectory: [])
    let duration: ClosedRange<Duration> = .milliseconds(400)...(.milliseconds(600))
    let steps = (0..<8).map {
      Step(step: PhaseStep(name: "step-\($0)", definition: "\($0)"), duration: duration)
    }
    let local = Step(
      step: PhaseStep(name: "local", definition: "local"), duration: .milliseconds(1)...(.milliseconds(50)))
    var scenario = Scenario(
      seed: UInt64(nodes), nodes: nodes, hosts: Array(0..<nodes),
      releases: [Release(runID: runID, infrastructure: steps, node: [local])],
      releaseOf: Array(repeating: 0, count: nodes), onlyWaits: Array(repeating: false, count: nodes),
      redefines: Array(repeating: false, count: nodes), startTimes: Array(repeating: .zero, count: nodes),
      clockSkew: Array(repeating: .zero, count: nodes))
    scenario.limit = .seconds(120)
    return scenario
  }
}
