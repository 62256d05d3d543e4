import Checks
import Control
import EventLoop
import LiteFS
import Phases
import Processes
import ReleaseRecords
import Synchronization

@testable import Lifecycle

/// How one start of a process goes in a `LifecycleWorld`.
struct ChildScript: Sendable {
  /// It does not become its program, for this reason.
  var startFails: SpawnFailure?
  /// It ends by itself, so long after its start.
  var ends: (after: Int, ExitStatus)?
  /// How long after a stop signal it ends; nil: it ignores them.
  var obeysAfter: Int? = 10
  /// What it ends with then; nil: killed by the signal.
  var endsWith: ExitStatus?
  /// Others in its group, and whether they obey a stop signal.
  var members = 0
  var membersObey = true
  /// Processes that left its group, and whether they obey.
  var strays = 0
  var straysObey = true
  /// No signal ends any of it, not even KILL.
  var isUnkillable = false
  /// Its check passes from so long after its start; nil: never.
  var healthyAfter: Int? = 0

  /// Ends by itself.
  static func ending(_ code: CInt, after: Int = 50) -> ChildScript {
    ChildScript(ends: (after, .exited(code)))
  }
  static let stubborn = ChildScript(obeysAfter: nil)
  static let missing = ChildScript(startFails: SpawnFailure(stage: .exec, code: 2, command: "gone"))
  static let noProcess = ChildScript(startFails: SpawnFailure(stage: .clone, code: 11, command: "x"))
}

/// A clock that the world sets.
final class WallTime: Sendable {
  let value = Atomic<UInt64>(LifecycleWorld.wall(at: 0))
}

/// A life cycle with everything around it in memory and in virtual time: children that follow scripts, a store, a clock.
final class LifecycleWorld {
  enum Timer: Hashable {
    case process(ProcessID)
    case health(ProcessID)
    case infrastructure, heartbeat, node, leader
    case lifecycle(Lifecycle.TimerName)
  }

  /// What will happen at its time, unless a timer comes first.
  enum Happening {
    case event(Lifecycle.Event)
    /// Of one start only.
    case started(ProcessID, incarnation: Int)
    case death(pid: CInt, ExitStatus)
    case probed(ProcessID, ServiceHealth.Run)
  }

  struct Child {
    var id: ProcessID
    var script: ChildScript
    var group: CInt
    var isLeader: Bool
    var isStray: Bool
    var startedAt: Int
  }

  var lifecycle: Lifecycle
  let plan: LifecyclePlan
  /// By name, a step's check as `check step NAME` when it has a script of its own; the last one goes for all further
  /// starts.
  var scripts: [String: [ChildScript]] = [:]
  /// What is durable.
  var record: ReleaseRecord?
  var marker: Marker?
  /// What the store says instead of an answer, by `read`, `write`, `lock` and `unlock`.
  var storeFaults: [String: String] = [:]
  /// How waits end, soon after they begin; those without an entry go on.
  var waitOutcomes: [WaitID: WaitOutcome] = [:]
  /// Another node is the primary.
  var leaderIsTaken = false
  /// Who held the leader lock last and vanished.
  var leaderLeftBy = ""
  /// LiteFS mounts, and is the primary, soon after its start.
  var litefsServes = true
  /// The infrastructure lock is given back without an answer.
  var unlockHangs = false
  /// Another node has the infrastructure lock, and keeps it.
  var lockIsTaken = false

  private(set) var milliseconds = 0 {
    didSet { wall.value.store(LifecycleWorld.wall(at: milliseconds), ordering: .relaxed) }
  }
  private let wall: WallTime
  private(set) var children: [CInt: Child] = [:]
  private(set) var trace: [String] = []
  private(set) var logs: [String] = []
  private(set) var endings: [Lifecycle.Ending] = []
  private(set) var exitedAt: Int?
  /// When each thing was said last.
  private(set) var saidAt: [String: Int] = [:]
  private(set) var problems: [String] = []
  private var timers: [Timer: MonotonicInstant] = [:]
  /// What the next start of a step is for.
  private var commands: [ProcessID: StepCommand] = [:]
  private var agenda: [(at: Int, serial: Int, happening: Happening)] = []
  private var pending: [Lifecycle.Event] = []
  private var isHandling = false
  private var serial = 0
  private var nextPID: CInt = 100

  init(_ plan: LifecyclePlan, _ scripts: [String: [ChildScript]] = [:]) {
    self.plan = plan
    self.scripts = scripts
    let wall = WallTime()
    self.wall = wall
    lifecycle = Lifecycle(plan: plan, wallClock: { wall.value.load(ordering: .relaxed) })
  }

  /// Unix time, in nanoseconds, so long after the beginning.
  static func wall(at milliseconds: Int) -> UInt64 { UInt64(milliseconds + 1_000_000) * 1_000_000 }

  var now: MonotonicInstant { MonotonicInstant(nanoseconds: UInt64(milliseconds + 1000) * 1_000_000) }
  var ending: Lifecycle.Ending? { endings.first }

  // MARK: Driving

  func submit(_ event: Lifecycle.Event) {
    pending.append(event)
    guard !isHandling else { return }
    isHandling = true
    while !pending.isEmpty {
      let next = pending.removeFirst()
      let effects = lifecycle.handle(next, at: now)
      if exitedAt != nil, !effects.isEmpty { problems.append("after exit: \(effects)") }
      for effect in effects { perform(effect) }
    }
    isHandling = false
  }

  func at(_ delay: Int, _ happening: Happening) {
    serial += 1
    agenda.append((milliseconds + delay, serial, happening))
  }

  func signal(_ signals: Signal..., fromKernel: Bool = false) {
    say("got \(signals.map(\.description).joined(separator: " "))")
    submit(
      .signals(
        signals.map { ReceivedSignal(signal: $0, isFromKernel: fromKernel, sender: fromKernel ? 0 : 1) }))
  }

  @discardableResult
  func ask(_ request: ControlRequest) -> ControlOutcome {
    submit(.control(request))
    return lifecycle.controlOutcome
  }

  /// What comes next, at its time; false when nothing ever will.
  @discardableResult
  func step(notAfter limit: Int = .max) -> Bool {
    let timer = timers.min { $0.value < $1.value }
    let next = agenda.enumerated().min {
      ($0.element.at, $0.element.serial) < ($1.element.at, $1.element.serial)
    }
    let timerAt = timer.map { Int(($0.value.nanoseconds + 999_999) / 1_000_000) - 1000 } ?? .max
    let nextAt = next?.element.at ?? .max
    guard min(timerAt, nextAt) <= limit, min(timerAt, nextAt) < .max else { return false }
    if let next, nextAt <= timerAt {
      milliseconds = max(milliseconds, nextAt)
      agenda.remove(at: next.offset)
      happen(next.element.happening)
    } else if let timer {
      milliseconds = max(milliseconds, timerAt)
      timers[timer.key] = nil
      fire(timer.key)
    }
    return true
  }

  func run(for duration: Int) {
    let limit = milliseconds + duration
    while step(notAfter: limit) {}
    milliseconds = max(milliseconds, limit)
  }

  /// Goes on until this has been said (again).
  @discardableResult
  func run(until word: String, limit: Int = 1_000_000) -> Bool {
    let before = trace.count
    while !trace.dropFirst(before).contains(word) {
      guard step(notAfter: milliseconds + limit) else { return false }
    }
    return true
  }

  func runToExit(limit: Int = 1_000_000) {
    let end = milliseconds + limit
    while exitedAt == nil, step(notAfter: end) {}
  }

  func begin() { submit(.begin) }

  /// Begins and goes on until the app runs.
  func beginAndRun() {
    begin()
    run(until: "started \(plan.app.name)")
    run(for: 5)
  }

  private func fire(_ timer: Timer) {
    switch timer {
    case .process(let id): submit(.process(id, .timer))
    case .health(let id): submit(.health(id, .timer))
    case .infrastructure: submit(.infrastructure(.timer))
    case .heartbeat: submit(.infrastructure(.heartbeat))
    case .node: submit(.node(.timer))
    case .leader: submit(.leader(.timer))
    case .lifecycle(let name): submit(.timer(name))
    }
  }

  private func happen(_ happening: Happening) {
    switch happening {
    case .event(let event): submit(event)
    case .started(let id, let incarnation):
      guard lifecycle.incarnation(of: id) == incarnation, lifecycle.pid(of: id) != nil else { return }
      say("started \(lifecycle.name(of: id))")
      submit(.process(id, .started))
      if id == .litefs, litefsServes {
        at(5, .event(.litefs(.mount(.works))))
        at(8, .event(.litefs(.role(.primary))))
      }
    case .death(let pid, let status): die(pid, status)
    case .probed(let id, let run):
      let passes = children.values.contains {
        $0.id == id && $0.isLeader && isHealthy($0)
      }
      submit(.health(id, .result(run, passes ? .passed : .failed("refused"))))
    }
  }

  // MARK: Children

  private func isHealthy(_ child: Child) -> Bool {
    guard let delay = child.script.healthyAfter else { return false }
    return milliseconds - child.startedAt >= delay
  }

  func die(_ pid: CInt, _ status: ExitStatus) {
    guard let child = children.removeValue(forKey: pid) else { return }
    if child.isLeader {
      say("end \(lifecycle.name(of: child.id))")
      let empty = !children.values.contains { $0.group == child.group && !$0.isStray }
      submit(.process(child.id, .ended(status, groupIsEmpty: empty)))
    }
    submit(.childrenChanged)
  }

  private func deliver(_ signal: Signal, to pid: CInt) {
    guard let child = children[pid], signal != .resume else { return }
    if child.script.isUnkillable { return }
    if signal == .kill {
      at(1, .death(pid: pid, .signaled(.kill)))
      return
    }
    if child.isLeader {
      guard let delay = child.script.obeysAfter else { return }
      at(delay, .death(pid: pid, child.script.endsWith ?? .signaled(signal)))
    } else if child.isStray ? child.script.straysObey : child.script.membersObey {
      at(5, .death(pid: pid, .signaled(signal)))
    }
  }

  private func spawn(_ id: ProcessID, _ incarnation: Int) {
    let name = lifecycle.name(of: id)
    var script = ChildScript()
    let key = commands[id] == .check && scripts["check \(name)"] != nil ? "check \(name)" : name
    if var list = scripts[key], let first = list.first {
      script = first
      if list.count > 1 { list.removeFirst() }
      scripts[key] = list
    } else if case .infrastructureStep = id {
      script = .ending(0)
    } else if case .nodeStep = id {
      script = .ending(0)
    }
    if children.values.contains(where: { $0.id == id && $0.isLeader }) {
      problems.append("\(name) was spawned while it ran")
    }
    say("spawn \(name)")
    if let failure = script.startFails { return submit(.process(id, .startFailed(failure))) }
    nextPID += 1
    let pid = nextPID
    children[pid] = Child(
      id: id, script: script, group: pid, isLeader: true, isStray: false, startedAt: milliseconds)
    for index in 0..<(script.members + script.strays) {
      nextPID += 1
      children[nextPID] = Child(
        id: id, script: script, group: pid, isLeader: false, isStray: index >= script.members,
        startedAt: milliseconds)
    }
    submit(.process(id, .spawned(pid: pid)))
    at(1, .started(id, incarnation: incarnation))
    if let end = script.ends { at(end.after, .death(pid: pid, end.1)) }
  }

  private func strays(of id: ProcessID) -> [CInt] {
    children.filter { $0.value.isStray && $0.value.id == id }.keys.sorted()
  }

  // MARK: Effects

  private func say(_ word: String) {
    trace.append(word)
    saidAt[word] = milliseconds
  }

  private func set(_ timer: Timer, _ deadline: MonotonicInstant?) { timers[timer] = deadline }

  private func perform(_ effect: Lifecycle.Effect) {
    switch effect {
    case .process(let id, let inner): perform(inner, of: id)
    case .lookAtGroup(let id):
      guard let group = lifecycle.group(of: id) else { return }
      if !children.values.contains(where: { $0.group == group && !$0.isStray }) {
        submit(.process(id, .groupLooked(isEmpty: true)))
      }
    case .command(let id, let command, _):
      commands[id] = command
      if command == .check { say("check \(lifecycle.name(of: id))") }
    case .health(let id, let inner): perform(inner, of: id)
    case .infrastructure(let inner): perform(inner)
    case .node(let inner): perform(inner)
    case .sweep(let signals):
      let left = children.filter { !$0.value.isLeader }.keys.sorted()
      if !signals.isEmpty { say("sweep \(signals.map(\.description).joined(separator: " "))") }
      for pid in left { for signal in signals { deliver(signal, to: pid) } }
      submit(.strays(left.count))
    case .clearMount(let aborts):
      say(aborts ? "abort mount" : "clear mount")
      if children.values.contains(where: { $0.id == .litefs }) { say("under a running LiteFS") }
      at(5, .event(.litefs(.cleared(failure: nil))))
    case .findStrays(let id): at(1, .event(.straysFound(id, strays(of: id))))
    case .checkStrays(let id, let pids): submit(.straysFound(id, pids.filter { children[$0] != nil }))
    case .signalStrays(let id, let pids, let signals):
      say("strays \(lifecycle.name(of: id)) \(signals.map(\.description).joined(separator: " "))")
      for pid in pids { for signal in signals { deliver(signal, to: pid) } }
    case .wait(let id):
      say("wait \(id)")
      if let outcome = waitOutcomes[id] { at(10, .event(.waited(id, outcome))) }
    case .cancelWait(let id): say("cancel wait \(id)")
    case .leader(.lock):
      at(1, .event(.leader(leaderIsTaken ? .lockBusy(holder: "them") : .lockHeld(leftBy: leaderLeftBy))))
    case .leader(.release): say("release leader lock")
    case .leader(.abandon): say("abandon leader lock")
    case .leader(.schedule(let deadline)): set(.leader, deadline)
    case .leader(.unschedule): set(.leader, nil)
    case .leader: break
    case .role(let role): say("role \(role.rawValue)")
    case .forward(let signal): say("forward \(signal)")
    case .schedule(let name, let deadline): set(.lifecycle(name), deadline)
    case .unschedule(let name): set(.lifecycle(name), nil)
    case .log(_, let text, _): logs.append(text)
    case .stage(let stage): say("stage \(stage.rawValue)")
    case .exit(let ending):
      endings.append(ending)
      exitedAt = milliseconds
      say("exit \(ending.code) \(ending.reason)")
    }
  }

  private func perform(_ effect: SupervisedProcess.Effect, of id: ProcessID) {
    let name = lifecycle.name(of: id)
    switch effect {
    case .spawn(let incarnation): spawn(id, incarnation)
    case .signalLeader(let signal):
      if signal != .resume { say("\(signal) \(name)") }
      if let pid = lifecycle.pid(of: id) { deliver(signal, to: pid) }
    case .signalGroup(let signal):
      guard let group = lifecycle.group(of: id) else { return }
      if signal != .resume { say("\(signal) group of \(name)") }
      for pid in children.filter({ $0.value.group == group && !$0.value.isStray }).keys.sorted() {
        deliver(signal, to: pid)
      }
    case .schedule(let deadline): set(.process(id), deadline)
    case .unschedule: set(.process(id), nil)
    case .stopped, .willRestart, .ended: break
    }
  }

  private func perform(_ effect: ServiceHealth.Effect, of id: ProcessID) {
    switch effect {
    case .probe(let run, _): at(10, .probed(id, run))
    case .scheduleTimer(let deadline): set(.health(id), deadline)
    case .cancelTimer: set(.health(id), nil)
    case .cancelProbe, .changed: break
    }
  }

  private func perform(_ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read:
      at(
        1,
        .event(.infrastructure(storeFaults["read"].map { .storeFailed(StoreFailure($0)) } ?? .record(record)))
      )
    case .write(let new):
      if storeFaults["write"] == nil { record = new }
      at(1, .event(.infrastructure(storeFaults["write"].map { .storeFailed(StoreFailure($0)) } ?? .written)))
    case .lock:
      if lockIsTaken {
        at(1, .event(.infrastructure(.lockBusy(holder: "them"))))
      } else {
        say("lock")
        at(
          1,
          .event(
            .infrastructure(
              storeFaults["lock"].map { .lockFailed(StoreFailure($0)) } ?? .lockHeld(leftBy: ""))))
      }
    case .unlock:
      say("unlock")
      let running = children.values.filter {
        if case .infrastructureStep = $0.id { true } else { false }
      }
      if !running.isEmpty { problems.append("the lock went while a step's processes were there") }
      if !unlockHangs { at(1, .event(.infrastructure(.unlocked))) }
    case .schedule(let deadline), .awaitChange(let deadline): set(.infrastructure, deadline)
    case .unschedule: set(.infrastructure, nil)
    case .scheduleHeartbeat(let deadline): set(.heartbeat, deadline)
    default: break
    }
  }

  private func perform(_ effect: NodePhase.Effect) {
    switch effect {
    case .read:
      at(1, .event(.node(storeFaults["marker"].map { .storeFailed(StoreFailure($0)) } ?? .marker(marker))))
    case .write(let new):
      marker = new
      at(1, .event(.node(.written)))
    case .lock: at(1, .event(.node(.lockHeld(leftBy: ""))))
    case .unlock: at(1, .event(.node(.unlocked)))
    case .schedule(let deadline): set(.node, deadline)
    case .unschedule: set(.node, nil)
    default: break
    }
  }
}
