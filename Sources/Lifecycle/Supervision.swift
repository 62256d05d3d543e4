import AgentSupervision
import CLinux
import Checks
import Control
import Coordination
import EventLoop
import Glibc
import Journal
import Phases
import Processes
import ReleaseRecords

/// The loop's side of `supervisor run`: feeds the life cycle with what happens and carries its effects out, in order.
///
/// It decides nothing; what looks like a decision here belongs into `Lifecycle`.
public final class Supervision {
  /// What the pages show and the life cycle does not know.
  public struct Identity: Sendable {
    /// Program version.
    public var version: String
    /// This node's name.
    public var nodeName: String
    /// The settings file, if there is one.
    public var settingsPath: String?
    /// `run_dir`.
    public var runDirectory: String
    /// What the kernel refused, and what was ignored.
    public var notes: [String] = []

    /// An identity.
    public init(version: String, nodeName: String, settingsPath: String?, runDirectory: String) {
      self.version = version
      self.nodeName = nodeName
      self.settingsPath = settingsPath
      self.runDirectory = runDirectory
    }
  }

  let loop: EventLoop
  let table: ProcessTable
  let launch: LaunchPlan
  let layout: FileLayout
  let log: LogOutput
  let identity: Identity
  let owner: String
  let startedAt = Moment.now

  var lifecycle: Lifecycle
  var journal = Journal()
  var timers: [TimerKey: TimerID] = [:]
  var commands: [ProcessID: StepCommand] = [:]
  /// At most one check runs for each process.
  var probes: [ProcessID: (run: ServiceHealth.Run, handle: any ProbeHandle)] = [:]
  /// What earlier steps gave to the one that is about to be spawned.
  var stepInputs: [ProcessID: [StepOutput]] = [:]
  /// Where a step's command may write what it gives to later ones.
  var outputFiles: [ProcessID: OutputFile] = [:]
  var hookFiles: [ProcessID: OutputFile] = [:]
  var hookWatches: [ProcessID: FileWatch] = [:]
  /// Lock and record of the release.
  let release: any ReleaseBackend
  let leader: any LeaderBackend
  var nodeStore: DirectoryStore?
  var agent: AgentConnection?
  /// What looks at LiteFS, and the agent that it looks through.
  var litefs: LiteFSWatcher?
  var liteFSAgent: AgentConnection?
  let liteFSLeader: LiteFSLeader?
  /// Those that have been asked to end.
  var leavingAgents: [AgentConnection] = []
  var waiters: [WaitID: DependencyWaiter] = [:]
  /// Counts the wishes to be told of a change of the record; only the newest is of account.
  var changesAwaited = 0
  /// Those that read the environment of strays, one for each search.
  var searches: [Int: FileHelper] = [:]
  var lastSearch = 0

  private let controlGroup = ControlGroup()
  private var memoryKills: UInt64?
  private var pending: [Lifecycle.Event] = []
  private var isHandling = false
  private var isReapingAgain = false
  /// Which of the processes that run now cannot be signalled, as was said.
  var failedSignals: Set<ProcessID> = []
  private var ending: Lifecycle.Ending?

  /// One of the timers that are under way.
  enum TimerKey: Hashable {
    case process(ProcessID)
    case health(ProcessID)
    case infrastructure
    case heartbeat
    case node
    case leader
    case lifecycle(Lifecycle.TimerName)
  }

  /// A supervision that has not begun.
  public init(
    loop: EventLoop, table: ProcessTable, plan: LifecyclePlan, launch: LaunchPlan, layout: FileLayout,
    log: LogOutput, identity: Identity
  ) {
    self.loop = loop
    self.table = table
    self.launch = launch
    self.layout = layout
    self.log = log
    self.identity = identity
    owner = plan.owner
    let clock = ReleaseClock()
    lifecycle = Lifecycle(
      plan: plan, wallClock: { clinux_realtime_ns() }, releaseClock: { clock.now })
    memoryKills = controlGroup?.memoryKills
    let agent = SharedAgent()
    let backends = Backends(
      loop: loop, table: table, layout: layout, plan: plan, scope: launch.coordination, clock: clock,
      agent: agent)
    release = backends.release()
    liteFSLeader = plan.litefs == nil ? nil : LiteFSLeader()
    leader = liteFSLeader ?? backends.leader()
    agent.open = { [weak self] in self?.openAgent() }
    agent.endWhenIdle = { [weak self] in self?.endAgentWhenIdle() }
    release.onEvent = { [weak self] in self?.submit(.infrastructure($0)) }
    release.onNote = { [weak self] in self?.note($0, $1, EventFields(phase: "infrastructure")) }
    leader.onEvent = { [weak self] in self?.submit(.leader($0)) }
    leader.onNote = { [weak self] in self?.note($0, $1, EventFields("leader")) }
  }

  /// Runs to the end.
  /// - Throws: when signals cannot be received.
  public func run() throws(SystemError) -> Lifecycle.Ending {
    try loop.receiveSignals { [weak self] signals in self?.received(signals) }
    // A stop that came during the preflight is known before anything is started.
    loop.turn(waiting: false)
    if ending == nil || !table.isEmpty {
      loop.defer { [weak self] in self?.submit(.begin) }
      loop.run()
    }
    return ending ?? Lifecycle.Ending(code: 70, reason: "internal", text: "the loop ended by itself")
  }

  private func received(_ signals: [ReceivedSignal]) {
    let own = getpid()
    // A SIGPIPE that a write of ours caused carries our own number.
    let others = signals.filter { $0.signal != .child && !($0.signal == .pipe && $0.sender == own) }
    // Before the children: when a stop and an end come together, the stop wins.
    if !others.isEmpty { submit(.signals(others)) }
    if signals.contains(where: { $0.signal == .child }) { reap() }
  }

  private func reap() {
    if !table.reap(), !isReapingAgain {
      isReapingAgain = true
      loop.schedule(at: .now) { [weak self] in
        self?.isReapingAgain = false
        self?.reap()
      }
    }
    submit(.childrenChanged)
    if ending != nil, table.isEmpty { loop.stop() }
  }

  /// Hands an event to the life cycle. Events that effects cause at once wait for their turn.
  func submit(_ event: Lifecycle.Event) {
    pending.append(event)
    guard !isHandling else { return }
    isHandling = true
    while !pending.isEmpty {
      let next = pending.removeFirst()
      for effect in lifecycle.handle(next, at: .now) { perform(effect) }
      liteFSLeaderLooks()
    }
    isHandling = false
  }

  private func perform(_ effect: Lifecycle.Effect) {
    switch effect {
    case .process(let id, let effect): perform(effect, of: id)
    case .lookAtGroup(let id):
      guard let group = lifecycle.group(of: id), !table.groupExists(group) else { return }
      // Its number may soon be somebody else's.
      unguard(id, group)
      submit(.process(id, .groupLooked(isEmpty: true)))
    case .command(let id, let command, let inputs):
      commands[id] = command
      stepInputs[id] = inputs
    case .health(let id, let effect): perform(effect, of: id)
    case .infrastructure(let effect): perform(effect)
    case .node(let effect): perform(effect)
    case .wait(let id): beginWait(id)
    case .cancelWait(let id): cancelWait(id)
    case .leader(let effect): perform(effect)
    case .role(let role): publish(role)
    case .clearMount(let aborts): clearMount(aborts: aborts)
    case .sweep(let signals): sweep(signals)
    case .findStrays(let id): findStrays(of: id)
    case .checkStrays(let id, let pids): submit(.straysFound(id, pids.filter { isBelowUs($0) }))
    case .signalStrays(_, let pids, let signals):
      for pid in pids where isBelowUs(pid) { for signal in signals { _ = clinux_kill(pid, signal.rawValue) } }
    case .forward(let signal):
      send(signal, to: .app)
    case .schedule(let name, let deadline):
      schedule(.lifecycle(name), at: deadline) { [weak self] in self?.submit(.timer(name)) }
    case .unschedule(let name): unschedule(.lifecycle(name))
    case .log(let level, let text, let fields): note(level, text, fields)
    case .stage(let stage):
      journal.append(.stage, "", stage.rawValue, at: .now)
      log.write(.debug, "stage: \(stage.rawValue)")
      // Once the app is up, most of the code that got us here is not needed again.
      if stage == .running { loop.schedule(after: .milliseconds(300)) { clinux_release_start_pages() } }
    case .exit(let ending):
      self.ending = ending
      closeEverything()
    }
  }

  /// To the leader; that it may not be signalled is said once, since a storm of signals may follow.
  func send(_ signal: Signal, to id: ProcessID) {
    guard let pid = lifecycle.pid(of: id), let failure = table.signal(pid, signal) else { return }
    guard failedSignals.insert(id).inserted else { return }
    note(.warning, "\(lifecycle.name(of: id)): cannot \(failure)")
  }

  /// Ends helpers and checks, and gives them a moment to be reaped: nobody of ours is to be left.
  private func closeEverything() {
    for probe in probes.values { probe.handle.cancel() }
    release.close()
    nodeStore?.close()
    leader.close()
    for waiter in waiters.values { waiter.cancel() }
    agent?.stop {}
    litefs?.close()
    liteFSAgent?.stop {}
    for search in searches.values { search.close() }
    if table.isEmpty { return loop.stop() }
    // An agent that hangs does not see that nobody needs it.
    loop.schedule(after: .milliseconds(300)) { [weak self] in
      guard let self else { return }
      for agent in leavingAgents + [self.agent, liteFSAgent].compactMap({ $0 }) { agent.kill() }
    }
    loop.schedule(after: .milliseconds(500)) { [weak self] in self?.loop.stop() }
  }

  /// A line for people, in the log and in the journal.
  func note(_ level: LogLevel, _ text: String, _ fields: EventFields = EventFields()) {
    log.write(level, text, fields)
    guard level >= .info else { return }
    let kind: Journal.Event.Kind =
      fields.step != nil ? .step : fields.phase != nil ? .phase : level >= .warning ? .warning : .process
    journal.append(kind, fields.step ?? fields.phase ?? fields.process ?? "", text, at: .now)
  }

  /// A KILL that nobody here sent is the kernel's, when its count says so.
  func explainKill(of name: String) {
    guard let kills = controlGroup?.memoryKills, let before = memoryKills, kills > before else { return }
    memoryKills = kills
    note(
      .warning, "\(name): the kernel killed \(kills - before) of our processes for lack of memory (oom_kill)")
  }

  /// What a process that could not be made most likely ran into.
  func explainShortage(_ failure: SpawnFailure) {
    guard failure.stage == .clone, let (current, limit) = controlGroup?.processes else { return }
    note(.warning, "our control group has \(current) processes and threads of at most \(limit) (pids.max)")
  }

  func schedule(_ key: TimerKey, at deadline: MonotonicInstant, _ body: @escaping () -> Void) {
    unschedule(key)
    timers[key] = loop.schedule(at: deadline) { [weak self] in
      self?.timers[key] = nil
      body()
    }
  }

  func unschedule(_ key: TimerKey) {
    if let timer = timers.removeValue(forKey: key) { loop.cancel(timer) }
  }

  /// The state for the pages.
  public func snapshot() -> Snapshot {
    var snapshot = Snapshot(
      takenAt: .now, version: identity.version, pid: getpid(), nodeName: identity.nodeName,
      stage: lifecycle.stage, startedAt: startedAt)
    lifecycle.fill(&snapshot, at: snapshot.takenAt)
    snapshot.strays = strayView()
    snapshot.notes = identity.notes
    snapshot.settingsPath = identity.settingsPath
    snapshot.runDirectory = identity.runDirectory
    snapshot.stateDirectory = layout.stateDirectory
    return snapshot
  }

  /// The handler of health page and control socket.
  public func makePages() -> Pages {
    Pages(
      ownUserID: geteuid(), snapshot: { [unowned self] in snapshot() },
      journal: { [unowned self] in journal },
      control: { [unowned self] request in
        submit(.control(request))
        return lifecycle.controlOutcome
      })
  }
}
