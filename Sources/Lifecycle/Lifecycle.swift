import Checks
import Control
import Coordination
import EventLoop
import Journal
import LiteFS
import Phases
import Processes
import ReleaseRecords

/// The life of `supervisor run` (design: early services → infrastructure → node → running → draining → stopped), as
/// one synchronous value: events in, effects out, time as an input.
///
/// It performs nothing. The loop's side (`Supervision`) feeds it and carries its effects out in order; tests feed it
/// by hand.
public struct Lifecycle: Sendable {
  /// What happens to it.
  public enum Event: Sendable {
    /// Settings and preflight are done.
    case begin
    /// Signals that arrived together.
    case signals([ReceivedSignal])
    /// Of one process or step command.
    case process(ProcessID, SupervisedProcess.Event)
    /// Of one health check.
    case health(ProcessID, ServiceHealth.Event)
    /// What is to be taken for the success of a step's command: what it gave to later steps was read.
    case commandResult(ProcessID, CommandResult)
    /// Of the infrastructure phase.
    case infrastructure(InfrastructurePhase.Event)
    /// Of the node phase.
    case node(NodePhase.Event)
    /// The answer to `sweep`: so many processes below us are none of ours.
    case strays(Int)
    /// The answer to `findStrays` and to `checkStrays`: these are there.
    case straysFound(ProcessID, [CInt])
    /// Some child has ended: whoever waits for a group, or for strays, looks again.
    case childrenChanged
    /// A timer of the life cycle itself.
    case timer(TimerName)
    /// A wait is over.
    case waited(WaitID, WaitOutcome)
    /// Of the election of the primary.
    case leader(LeaderElection.Event)
    /// Of LiteFS.
    case litefs(LiteFSLife.Event)
    /// Somebody asked over the control socket; the answer is in `controlOutcome`.
    case control(ControlRequest)
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// For one process or step command; `command` of a step comes with `spawn`.
    case process(ProcessID, SupervisedProcess.Effect)
    /// Look whether anybody is left in the process's group; answer with `groupLooked`.
    case lookAtGroup(ProcessID)
    /// Which command of a step the next `spawn` is for.
    case command(ProcessID, StepCommand, [StepOutput])
    /// For one health check.
    case health(ProcessID, ServiceHealth.Effect)
    /// Of the infrastructure phase; commands come as `process`.
    case infrastructure(InfrastructurePhase.Effect)
    /// Of the node phase; commands come as `process`.
    case node(NodePhase.Effect)
    /// Wait for what the plan names; answer with `waited`.
    case wait(WaitID)
    /// It is not waited for any more.
    case cancelWait(WaitID)
    /// Of the election of the primary.
    case leader(LeaderElection.Effect)
    /// This is our role from now on: children that start are told, and the role file says it.
    case role(Snapshot.Role)
    /// Unmount what is at LiteFS's mount point, lazily, until nothing is listed there; answer with `litefs(.cleared)`.
    /// `aborts`: cut its connection in the kernel, too.
    case clearMount(aborts: Bool)
    /// Count the processes below us that are none of ours, send them these signals first; answer with `strays`.
    case sweep([Signal])
    /// Find the processes that left this one's group; answer with `straysFound`.
    case findStrays(ProcessID)
    /// Which of these are still there? Answer with `straysFound`.
    case checkStrays(ProcessID, [CInt])
    /// Send these signals to these processes, which are strays of this one.
    case signalStrays(ProcessID, [CInt], [Signal])
    /// Send a signal to the app's leader.
    case forward(Signal)
    /// Feed `timer` at this time; replaces an earlier wish of the same name.
    case schedule(TimerName, MonotonicInstant)
    /// The timer is not wanted any more.
    case unschedule(TimerName)
    /// A line for people.
    case log(LogLevel, String, EventFields = EventFields())
    /// Another stage has begun.
    case stage(Snapshot.Stage)
    /// End this program.
    case exit(Ending)
  }

  /// The life cycle's own timers.
  public enum TimerName: Hashable, Sendable {
    /// The drain delay.
    case drain
    /// Patience with strays at the end of the stop.
    case sweep
    /// Patience with the strays of one process.
    case strays(ProcessID)
    /// An early service must be healthy by then.
    case earlyService
    /// The end of the stop budget.
    case budget
    /// Of a step, by its phase.
    case step(ProcessID)
    /// Of LiteFS.
    case litefs
    /// The next check or repetition of a step of the infrastructure phase, by the upkeep's own number.
    case infrastructureChore(Int)
    /// The same of the node phase.
    case nodeChore(Int)
  }

  /// How this program ends.
  public struct Ending: Sendable, Equatable {
    /// The exit code.
    public var code: Int32
    /// A stable word, since an app may use any number itself.
    public var reason: String
    /// One sentence.
    public var text: String
    /// The step that ended it; nil when none did.
    public var step: String?

    /// The last line of the log: the code, the stable word, the step.
    public var lastLine: String {
      "exiting with code \(code) (\(reason))" + (step.map { ": step \($0)" } ?? "")
    }
  }

  /// Whether the stop was asked for, and how.
  struct StopState: Sendable {
    var requestedBy: Signal?
    var requestedAt: MonotonicInstant
    var escalations = 0
    var lastSignalAt: MonotonicInstant
    var deadline: MonotonicInstant
    /// Still to stop, the next one last.
    var queue: [ProcessID] = []
    var current: ProcessID?
    /// Whether the queue has been made: before it there is nothing to go on with.
    var hasQueue = false
    var isSweeping = false
    var sweepStep = 0
    /// Whether the budget is spent.
    var isOverdue = false
    var drains = false
  }

  let plan: LifecyclePlan
  /// Where it is.
  public internal(set) var stage = Snapshot.Stage.preflight
  var processes: [ProcessID: SupervisedProcess] = [:]
  var healths: [ProcessID: ServiceHealth] = [:]
  var hunts: [ProcessID: StrayHunt] = [:]
  /// Commands that are killed without grace; so is what they left behind.
  var hurriedCommands: Set<ProcessID> = []
  var commandResults: [ProcessID: CommandResult] = [:]
  var startOrder: [ProcessID] = []
  var earlyQueue: [ProcessID] = []
  /// The infrastructure phase, or what is looked after of it since.
  public internal(set) var infrastructure: InfrastructurePhase
  var node: NodePhase
  var infrastructureView: PhaseView
  var nodeView: PhaseView
  var infrastructureUpkeep: Upkeep
  var nodeUpkeep: Upkeep
  /// What the infrastructure phase's steps gave to later ones.
  var releaseOutputs: [StepOutput] = []
  let wallClock: @Sendable () -> UInt64
  let releaseClock: @Sendable () -> UInt64
  var stop: StopState?
  var waits: Set<WaitID> = []
  /// Since when the top-level `wait_for` is waited for.
  var waitBegan: MonotonicInstant?
  var leader: LeaderElection
  /// LiteFS's own life; nil: there is none.
  var litefs: LiteFSLife?
  /// Those that are stopped since LiteFS was lost, and have not ended.
  var losingLiteFS: Set<ProcessID>?
  /// Those that start when it is back.
  var awaitingLiteFS: Set<ProcessID> = []
  /// What `hooks.on_role_change` was told last.
  var hookedRole = Snapshot.Role.none
  /// Role-bound services that somebody has stopped: winning the role does not start them.
  var stoppedByHand: Set<ProcessID> = []
  var ending: Ending?
  var appHasRun = false
  var startupIsComplete = false
  var droppedSignals: Set<Signal> = []
  /// What became of the last `control` event.
  public internal(set) var controlOutcome = ControlOutcome.refused("nothing was asked")

  /// A life that has not begun.
  /// - Parameters:
  ///   - wallClock: Unix time in nanoseconds.
  ///   - releaseClock: the same by the clock of whoever keeps the release's record; nil: no other than `wallClock`.
  public init(
    plan: LifecyclePlan, wallClock: @escaping @Sendable () -> UInt64,
    releaseClock: (@Sendable () -> UInt64)? = nil
  ) {
    self.plan = plan
    self.wallClock = wallClock
    let releaseClock = releaseClock ?? wallClock
    self.releaseClock = releaseClock
    infrastructure = InfrastructurePhase(
      runID: plan.runID, steps: plan.infrastructure.map(\.phase), owner: plan.owner,
      rules: plan.infrastructureRules, wallClock: releaseClock)
    node = NodePhase(
      runID: plan.runID, steps: plan.node.map(\.phase), rules: plan.nodeRules, wallClock: wallClock)
    infrastructureUpkeep = Upkeep(
      steps: plan.infrastructure.map(\.phase), rules: plan.infrastructureRules, needsPrimary: true,
      seed: plan.seed)
    nodeUpkeep = Upkeep(
      steps: plan.node.map(\.phase), rules: plan.infrastructureRules, needsPrimary: false,
      seed: plan.seed &+ 1)
    litefs = plan.scope == .life ? plan.litefs.map { LiteFSLife($0.rules) } : nil
    leader = LeaderElection(takeoverDelay: plan.infrastructureRules.takeoverDelay)
    infrastructureView = PhaseView(name: "infrastructure", steps: plan.infrastructure.map(\.phase.name))
    nodeView = PhaseView(name: "node", steps: plan.node.map(\.phase.name))
    add(.app, plan.app, salt: 0)
    for (index, service) in plan.services.enumerated() {
      add(.service(index), service, salt: UInt64(index) + 1)
    }
  }

  private mutating func add(_ id: ProcessID, _ process: LifecyclePlan.Process, salt: UInt64) {
    var stop = process.stop
    // Whomever it leaves behind, nobody would know of when the role is lost: they would run beside the next primary's.
    if process.isForPrimary { stop.killTarget = .group }
    processes[id] = SupervisedProcess(
      restartPolicy: process.restart, stopPolicy: stop, seed: plan.seed &+ salt)
    healths[id] = ServiceHealth(definition: process.check)
  }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    if stage == .stopped { return [] }
    switch event {
    case .begin: return begin(at: now)
    case .signals(let batch): return batch.flatMap { received($0, at: now) }
    case .process(let id, let event): return feed(id, event, at: now)
    case .health(let id, let event): return feedHealth(id, event, at: now)
    case .commandResult(let id, let result):
      commandResults[id] = result
      return []
    case .infrastructure(let event): return feedInfrastructure(event, at: now)
    case .node(let event): return feedNode(event, at: now)
    case .waited(let id, let outcome): return waited(id, outcome, at: now)
    case .leader(let event): return feedLeader(event, at: now)
    case .litefs(let event): return feedLiteFS(event, at: now)
    case .strays(let count): return strays(count, at: now)
    case .straysFound(let id, let pids): return straysFound(id, pids, at: now)
    case .childrenChanged: return childrenChanged(at: now)
    case .timer(let name): return timer(name, at: now)
    case .control(let request):
      let (outcome, effects) = control(request, at: now)
      controlOutcome = outcome
      return effects
    }
  }

  /// Whether it is on its way to the end.
  public var isStopping: Bool { stop != nil || stage == .stopped }

  private mutating func begin(at now: MonotonicInstant) -> [Effect] {
    // A stop may have come first.
    guard stage == .preflight, stop == nil else { return [] }
    earlyQueue = earlyServices(beforeLiteFS: true)
    if earlyQueue.isEmpty { return beginDependencies(at: now) }
    return enter(.earlyServices) + startNextEarlyService(at: now)
  }

  /// Without LiteFS they are all before it.
  func earlyServices(beforeLiteFS: Bool) -> [ProcessID] {
    guard plan.scope == .life else { return [] }
    return plan.services.indices.filter {
      plan.services[$0].startsEarly
        && (litefs == nil || plan.services[$0].startsBeforeLiteFS) == beforeLiteFS
    }.map { .service($0) }
  }

  /// Whether early services are started one after the other now.
  var startsEarlyServices: Bool { stage == .earlyServices || stage == .litefs && !earlyQueue.isEmpty }

  mutating func enter(_ next: Snapshot.Stage) -> [Effect] {
    stage = next
    return [.stage(next)]
  }

  mutating func startNextEarlyService(at now: MonotonicInstant) -> [Effect] {
    guard let next = earlyQueue.first else {
      return [.unschedule(.earlyService)]
        + (stage == .litefs ? beginPhases(at: now) : beginDependencies(at: now))
    }
    let deadline: [Effect] =
      plan.infrastructureRules.timeout.map { [.schedule(.earlyService, now + $0)] } ?? []
    return deadline + startWhenPossible(next, at: now)
  }

  /// After the last phase: the app, or, when the phases are all that was asked for, the end.
  mutating func phasesDone(at now: MonotonicInstant) -> [Effect] {
    if stop != nil { return stopProcesses(at: now) }
    if plan.scope == .life { return beginRunning(at: now) }
    return end(Ending(code: 0, reason: "phases_complete", text: "done"), at: now)
  }

  /// App and services, once both phases are done: services first, so that the app stops before what it may need.
  mutating func beginRunning(at now: MonotonicInstant) -> [Effect] {
    var effects = enter(.running)
    let order =
      plan.services.indices.filter { !plan.services[$0].startsEarly && !plan.services[$0].isForPrimary }
      .map { ProcessID.service($0) } + [.app]
    for id in order {
      effects += startWhenPossible(id, at: now)
      if stage != .running { return effects }
    }
    if plan.takesPartInElection { effects += [.role(role)] + feedLeader(.begin, at: now) }
    return effects + beginUpkeep(at: now)
  }

  private mutating func timer(_ name: TimerName, at now: MonotonicInstant) -> [Effect] {
    switch name {
    case .drain: return stop?.drains == true ? stopProcesses(at: now) : []
    case .sweep: return sweepTimer(at: now)
    case .strays(let id): return strayTimer(id, at: now)
    case .budget: return budgetSpent(at: now)
    case .step(let id): return stepTimer(id, at: now)
    case .litefs: return feedLiteFS(.timer, at: now)
    case .infrastructureChore(let chore):
      return feedUpkeep(of: .infrastructure, .timer(chore: chore), at: now)
    case .nodeChore(let chore): return feedUpkeep(of: .node, .timer(chore: chore), at: now)
    case .earlyService:
      guard startsEarlyServices, let id = earlyQueue.first else { return [] }
      let text =
        "\(plan.name(id)) did not become healthy within \(plan.infrastructureRules.timeout?.readable ?? "its time")"
      return end(Ending(code: 69, reason: "early_service_unhealthy", text: text), at: now)
    }
  }
}

/// How important a line is.
public enum LogLevel: Int, Sendable, Comparable {
  /// For those who look for a fault in us.
  case debug
  /// What happened.
  case info
  /// What somebody should look at.
  case warning
  /// Why something did not go on.
  case error

  /// Less important comes first.
  public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }
}
