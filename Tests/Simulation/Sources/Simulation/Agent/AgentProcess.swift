import AgentProtocol
import EventLoop
import NIOCore
import Processes

/// An agent's loop.
final class AgentLoop: NIOCore.EventLoop {
  let agent: AgentProcess

  init(_ agent: AgentProcess) {
    self.agent = agent
  }

  func schedule(in nanoseconds: Int64, _ task: @escaping () -> Void) -> Scheduled<Void> {
    let scheduled = Scheduled<Void>()
    agent.after(.nanoseconds(nanoseconds)) { if !scheduled.isCancelled { task() } }
    return scheduled
  }
}

/// The agent's process. What it does for lock and record is done by the product's own `Coordinator`; the rest is what
/// `AgentSession` does.
final class AgentProcess {
  unowned let world: World
  let life: Life
  let link: Link
  private(set) var isAlive = true
  private var frozenUntil: MonotonicInstant?
  /// When it stood still last.
  private(set) var frozenAt: MonotonicInstant?
  private(set) var thawedAt: MonotonicInstant?
  private var backlog: [() -> Void] = []
  var connections: [PostgreSQLConnection] = []
  private var loop: AgentLoop?
  private var coordinator: Coordinator?
  private var readiness: ReadinessTalk?
  private var isClosing = false
  private var isEnding = false
  /// PID 1's end; nil when that is gone.
  private weak var supervisor: AgentConnection?
  private let incarnation: Int
  private var lastRequest = MonotonicInstant(nanoseconds: 0)
  private var lastReport = MonotonicInstant(nanoseconds: 0)
  /// Of which locks PID 1 was told that they are its own, and did not give them back since.
  var toldHeld: Set<LockKind> = []

  init(_ life: Life, _ supervisor: AgentConnection, _ incarnation: Int) {
    world = life.world
    self.life = life
    link = life.world.link(of: life.node)
    self.supervisor = supervisor
    self.incarnation = incarnation
    world.agents.append(self)
    world.allAgents.append(self)
    after(world.random.duration(.milliseconds(2)...(.milliseconds(20)))) { [self] in
      let loop = AgentLoop(self)
      self.loop = loop
      readiness = ReadinessTalk(self)
      coordinator = Coordinator(
        eventLoop: loop, certificateFile: nil, log: { [weak self] in self?.send(.log(level: $0, text: $1)) },
        report: { [weak self] in self?.report($0) })
      send(.hello(version: "", role: "coordination", pid: 1))
      beat()
    }
  }

  // MARK: Its turns

  func after(_ delay: Duration, _ action: @escaping () -> Void) {
    world.after(max(delay, .zero)) { [self] in run(action) }
  }

  func run(_ action: @escaping () -> Void) {
    guard isAlive else { return }
    if frozenUntil != nil { backlog.append(action) } else { action() }
  }

  func freeze(for length: Duration) {
    guard isAlive, frozenUntil == nil else { return }
    frozenUntil = world.now + length
    frozenAt = world.now
    world.watch.saw(.agentHung)
    world.after(length) { [self] in
      guard isAlive else { return }
      frozenUntil = nil
      thawedAt = world.now
      let waiting = backlog
      backlog = []
      for action in waiting { run(action) }
    }
  }

  private func beat() {
    after(.seconds(1)) { [self] in
      send(.heartbeat)
      beat()
    }
  }

  // MARK: The talk

  func receive(_ request: AgentRequest) {
    lastRequest = max(
      lastRequest, world.now + world.random.duration(.microseconds(10)...(.microseconds(200))))
    after(lastRequest - world.now) { [self] in
      guard !isEnding else { return }
      switch request {
      case .coordination(let request):
        if readiness?.handle(request) != true { coordinator?.handle(request) }
      case .end: end("it was asked to end")
      case .startProbe, .startUnknownProbe, .cancelProbe, .litefs: break
      }
    }
  }

  func report(_ report: CoordinationReport) {
    if case .lockHeld(let id, _) = report, let kind = supervisor?.kinds[id] { toldHeld.insert(kind) }
    world.trace("\(life.name) agent: \(report.brief)")
    send(.coordination(report))
  }

  private func send(_ report: AgentReport) {
    guard !isEnding else { return }
    deliver { $0.take(report, $1) }
  }

  private func deliver(_ action: @escaping (AgentConnection, Int) -> Void) {
    lastReport = max(lastReport, world.now + world.random.duration(.microseconds(10)...(.microseconds(300))))
    life.deliver(at: lastReport) { [weak supervisor, incarnation] in
      if let supervisor { action(supervisor, incarnation) }
    }
  }

  // MARK: Its end

  private func end(_ reason: String) {
    guard !isClosing else { return }
    isClosing = true
    guard let coordinator else { return exit(.exited(0)) }
    coordinator.end(isHeard: true) { [self] in
      send(.end(reason: reason))
      isEnding = true
      exit(.exited(0))
    }
  }

  /// Its socket was closed at PID 1's end.
  func lostSupervisor() {
    supervisor = nil
    after(.microseconds(100)) { [self] in
      isEnding = true
      guard !isClosing, let coordinator else {
        if !isClosing { exit(.exited(0)) }
        return
      }
      isClosing = true
      coordinator.end(isHeard: false) { [self] in exit(.exited(0)) }
    }
  }

  func kill() { exit(.signaled(.kill)) }

  private func exit(_ status: ExitStatus) {
    guard isAlive else { return }
    isAlive = false
    backlog = []
    deliver { $0.ended(status, $1) }
    for connection in connections { connection.processEnded() }
    leave()
  }

  /// With its machine.
  func vanish() {
    guard isAlive else { return }
    isAlive = false
    backlog = []
    for connection in connections { connection.vanish() }
    leave()
  }

  private func leave() {
    readiness?.end()
    connections = []
    world.agents.removeAll { $0 === self }
    // What is under way now may still need it.
    world.after(.zero) { [self] in forgetAll() }
  }

  /// The world is over.
  func forgetAll() {
    for connection in connections { connection.forgetAll() }
    (coordinator, readiness, loop, connections, backlog) = (nil, nil, nil, [], [])
  }
}

extension CoordinationReport {
  /// Without the bytes of a record.
  var brief: String {
    switch self {
    case .record(let id, let bytes, _): "record \(id), \(bytes?.count ?? 0) bytes"
    case .lockFree(let id, let bytes, _): "lockFree \(id), \(bytes?.count ?? 0) bytes"
    default: "\(self)"
    }
  }
}
