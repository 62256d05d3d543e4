import EventLoop
import Lifecycle
import Processes

/// A process that a node has started: the leader of a group, its workers, and what it started outside of the group.
class SimulatedProcess {
  unowned let world: World
  unowned let life: Life
  let id: ProcessID
  let incarnation: Int
  let pid: CInt
  let behaviour: Behaviour
  let startedAt: MonotonicInstant
  /// Between clone and exec there is a process, and nobody who obeys.
  private var hasProgram = false
  private(set) var leaderRuns = true
  private var workers = 0
  private(set) var strays: [CInt] = []
  private(set) var isStopping = false
  /// Strays that KILL was sent to.
  private var killed: Set<CInt> = []

  init(life: Life, id: ProcessID, incarnation: Int, behaviour: Behaviour) {
    self.life = life
    self.id = id
    self.incarnation = incarnation
    self.behaviour = behaviour
    world = life.world
    pid = life.world.nextPID()
    startedAt = life.world.now
  }

  var text: String { "\(life.lifecycleName(id)) (\(pid)) on \(life.name)" }
  var groupRuns: Bool { leaderRuns || workers > 0 }
  /// Nobody of it is left but those that end now.
  var isEnding: Bool { !groupRuns && killed.isSuperset(of: strays) }
  /// Nobody of it is left, wherever it is.
  var isGone: Bool { !groupRuns && strays.isEmpty }
  /// Processes below us that are none of our children by name: workers and strays.
  var nameless: Int { workers + strays.count }

  // MARK: Its way

  /// Its program is to run.
  func start() {
    world.after(world.random.duration(.microseconds(100)...(.milliseconds(3)))) { [self] in
      guard leaderRuns else { return }
      hasProgram = true
      let incarnation = incarnation
      life.deliver(after: .zero) { [life, id] in
        guard life.lifecycle.incarnation(of: id) == incarnation else { return }
        life.submit(.process(id, .started))
      }
      if behaviour.workers > 0 { workers = behaviour.workers }
      if world.random.chance(behaviour.leavesStrays) { strays = [world.nextPID()] }
      work()
    }
  }

  /// What it does while it runs: ends by itself, or not.
  func work() {
    guard let runs = behaviour.runs else { return }
    end(after: world.random.duration(runs)) { [self] in .exited(behaviour.exitCode) }
  }

  /// It ends by itself, unless it has been told to end before.
  func end(after delay: Duration, _ status: @escaping () -> ExitStatus) {
    world.after(delay) { [self] in
      guard leaderRuns, !isStopping else { return }
      leaderEnds(status())
    }
  }

  /// Told by `leaderEnds`, before anybody else hears of it.
  func ended(_ status: ExitStatus) {}
  /// The group is gone.
  func groupEnded() {}
  /// What PID 1 is told before the end.
  func tell(_ status: ExitStatus) {}

  private func leaderEnds(_ status: ExitStatus) {
    guard leaderRuns else { return }
    leaderRuns = false
    ended(status)
    if workers > 0, !world.random.chance(behaviour.leavesWorkers) { workers = 0 }
    if workers == 0 { groupEnded() }
    life.deliver(after: world.random.duration(.microseconds(50)...(.milliseconds(2)))) { [self] in
      life.reaped(self, status)
    }
  }

  /// A worker or a stray has ended.
  private func someoneEnded() {
    life.deliver(after: world.random.duration(.microseconds(50)...(.milliseconds(2)))) { [life] in
      life.forgetGone()
      life.submit(.childrenChanged)
    }
  }

  // MARK: Signals

  func signalLeader(_ signal: Signal) {
    guard leaderRuns else { return }
    switch signal {
    case .kill:
      isStopping = true
      world.after(world.killDelay()) { [self] in
        guard leaderRuns else { return }
        if hasProgram { return leaderEnds(.signaled(.kill)) }
        vanishBeforeExec()
      }
    case .terminate, .interrupt, .quit:
      guard let time = behaviour.obeysWithin else { return }
      isStopping = true
      world.after(world.random.duration(time)) { [self] in
        if hasProgram { return leaderEnds(behaviour.stopStatus) }
        // It has the signal once it has a program.
        world.after(.milliseconds(5)) { [self] in leaderEnds(.signaled(signal)) }
      }
    default: break
    }
  }

  func signalGroup(_ signal: Signal) {
    signalLeader(signal)
    guard workers > 0 else { return }
    let delay: Duration
    switch signal {
    case .kill: delay = world.killDelay()
    case .terminate:
      guard let time = behaviour.obeysWithin else { return }
      delay = world.random.duration(time)
    default: return
    }
    world.after(delay) { [self] in
      guard workers > 0 else { return }
      workers = 0
      guard !leaderRuns else { return }
      groupEnded()
      someoneEnded()
    }
  }

  func signalStray(_ stray: CInt, _ signal: Signal) {
    guard strays.contains(stray) else { return }
    let delay: Duration
    switch signal {
    case .kill:
      killed.insert(stray)
      delay = world.killDelay()
    case .terminate:
      guard let time = behaviour.obeysWithin else { return }
      delay = world.random.duration(time)
    default: return
    }
    world.after(delay) { [self] in
      guard strays.contains(stray) else { return }
      strays.removeAll { $0 == stray }
      someoneEnded()
    }
  }

  /// All that is below us and not our child by name.
  func signalNameless(_ signals: [Signal]) {
    for signal in signals {
      for stray in strays { signalStray(stray, signal) }
      if !leaderRuns { signalGroup(signal) }
    }
  }

  private func vanishBeforeExec() {
    leaderRuns = false
    ended(.signaled(.kill))
    groupEnded()
    let failure = SpawnFailure(stage: .vanished, code: 0, command: life.lifecycleName(id))
    life.deliver(after: world.random.duration(.microseconds(50)...(.milliseconds(2)))) { [self] in
      life.notStarted(self, failure)
    }
  }

  /// KILL from outside: to the whole of it, by whoever ends the container, or to the group by the file helper.
  func kill(within time: ClosedRange<Duration>, withStrays: Bool = false) {
    isStopping = true
    world.after(world.random.duration(time)) { [self] in vanish(withStrays: withStrays) }
  }

  /// Gone at this moment.
  func vanish(withStrays: Bool = true) {
    if withStrays { strays = [] }
    guard groupRuns else { return }
    workers = 0
    if leaderRuns { return leaderEnds(.signaled(.kill)) }
    groupEnded()
    someoneEnded()
  }
}
