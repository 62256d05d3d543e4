import AgentProtocol
import AgentSupervision
import EventLoop
import Processes

/// The agent as its users in PID 1 see it.
final class SharedAgent {
  var open: () -> AgentConnection? = { nil }
  var endWhenIdle: () -> Void = {}
}

/// PID 1's part of the talk with its agent: does what `AgentLife` and `CoordinationTalk` decide, as the product's
/// `AgentConnection` does.
final class AgentConnection {
  private unowned let world: World
  private unowned let node: Life
  private var life = AgentLife(path: "supervisor-agent")
  private var talk: CoordinationTalk
  private(set) var process: AgentProcess?
  private var isListening = false
  private var events: [AgentLife.Event] = []
  private var isHandling = false
  private var listeners: [UInt64: (CoordinationReport) -> Void] = [:]
  private var lastID: UInt64 = 0
  private var undelivered = 0
  private var onStopped: (() -> Void)?
  /// When it wants to be woken, and when it will be, since the time is put off all the while.
  private var wish: MonotonicInstant?
  private var alarm: MonotonicInstant?
  /// Which lock each request for one is about.
  private(set) var kinds: [UInt64: LockKind] = [:]

  init(_ node: Life, _ scope: CoordinationScope) {
    world = node.world
    self.node = node
    talk = CoordinationTalk(scope: scope)
  }

  var isCoordinating: Bool { talk.needsAgent || talk.isHolding || undelivered > 0 }

  func nextID() -> UInt64 {
    lastID += 1
    return lastID
  }

  func ask(_ request: CoordinationRequest, onReport: ((CoordinationReport) -> Void)? = nil) {
    if let onReport, let id = request.id { listeners[id] = onReport }
    switch request {
    case .cancel(let id): listeners[id] = nil
    case .lock(let id, let name): kinds[id] = name == .leader ? .leader : .infrastructure
    case .unlock(let id, _): if let kind = kinds[id] { process?.toldHeld.remove(kind) }
    default: break
    }
    converse(.ask(request))
  }

  private func converse(_ event: CoordinationTalk.Event) {
    for effect in talk.handle(event) {
      switch effect {
      case .send(let request): send(.coordination(request))
      case .deliver(let report): deliver(report)
      }
    }
    submit(.holds(talk.isHolding && world.bug != .hastyKill))
    submit(.need(talk.needsAgent))
  }

  private func deliver(_ report: CoordinationReport) {
    if case .lockLost(let id, _) = report {
      if let kind = kinds[id] { process?.toldHeld.remove(kind) }
      if world.bug == .untoldLoss { return }
    }
    undelivered += 1
    node.deliver(after: .zero) { [weak self] in
      guard let self else { return }
      undelivered -= 1
      guard let listener = listeners[report.id] else { return }
      if report.isLast { listeners[report.id] = nil }
      listener(report)
    }
  }

  func stop(_ completion: @escaping () -> Void) {
    listeners = [:]
    if case .stopped = life.state { return node.deliver(after: .zero, completion) }
    onStopped = completion
    submit(.stop)
  }

  func kill() { process?.kill() }

  // MARK: Deciding

  private func submit(_ event: AgentLife.Event) {
    events.append(event)
    guard !isHandling else { return }
    isHandling = true
    while !events.isEmpty {
      let event = events.removeFirst()
      for effect in life.handle(event, at: world.now) { perform(effect) }
    }
    isHandling = false
  }

  private func perform(_ effect: AgentLife.Effect) {
    switch effect {
    case .spawn(let incarnation):
      isListening = true
      process = AgentProcess(node, self, incarnation)
    case .send(let request): send(request)
    case .kill:
      isListening = false
      if let process {
        world.watch.agentIsKilled(process)
        process.kill()
      }
    case .schedule(let time):
      wish = time
      arm()
    case .unschedule: wish = nil
    case .result: break
    case .connected: converse(.connected)
    case .endangered(let reason):
      world.watch.saw(.endangered)
      converse(.endangered(reason))
    case .disconnected(let reason): converse(.disconnected(reason))
    case .log(_, let text): world.trace("\(node.name)   \(text)")
    case .unavailable(let reason): converse(.unavailable(reason))
    case .stopped:
      isListening = false
      if let onStopped { node.deliver(after: .zero, onStopped) }
      onStopped = nil
    }
  }

  private func arm() {
    guard let wish, alarm.map({ $0 > wish }) ?? true else { return }
    alarm = wish
    node.deliverTimer(at: wish) { [weak self] in
      guard let self, alarm == wish else { return }
      alarm = nil
      guard let due = self.wish else { return }
      if world.now < due { return arm() }
      self.wish = nil
      submit(.timer)
    }
  }

  private func send(_ request: AgentRequest) {
    guard isListening, let process else { return }
    world.trace("\(node.name) asks \(request.brief)")
    process.receive(request)
  }

  // MARK: From the process

  func take(_ report: AgentReport, _ incarnation: Int) {
    guard isListening else { return }
    submit(.report(incarnation: incarnation, report))
    if case .coordination(let said) = report, case .running = life.state { converse(.report(said)) }
  }

  func ended(_ status: ExitStatus, _ incarnation: Int) {
    process = nil
    isListening = false
    submit(.ended(incarnation: incarnation, status))
  }

  /// PID 1 is gone.
  func vanish() {
    process?.lostSupervisor()
    listeners = [:]
  }

  /// The world is over.
  func forgetAll() {
    listeners = [:]
    process = nil
    onStopped = nil
  }
}

extension AgentRequest {
  /// Without the bytes of a record.
  fileprivate var brief: String {
    switch self {
    case .coordination(.write(let id, _, let isLast)): "write \(id)\(isLast ? ", the last" : "")"
    case .coordination(.configure): "configure"
    case .coordination(let request): "\(request)"
    default: "\(self)"
    }
  }
}
