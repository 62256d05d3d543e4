import AgentProtocol
import AgentSupervision
import EventLoop
import LiteFS

/// Turns what the agent sees of LiteFS into events of its life, and its role.
final class LiteFSWatcher {
  var onEvent: (LiteFSLife.Event) -> Void = { _ in }
  /// The role from now on, and why.
  var onRole: (LiteFSRole, String) -> Void = { _, _ in }

  private let loop: EventLoop
  private let agent: AgentConnection
  private var tracker: RoleTracker
  private var timer: TimerID?
  private var isRunning = false
  /// Until the agent has said that it looks no more.
  private var isStale = false
  private var whenPaused: (() -> Void)?
  private static let longestPause = Duration.milliseconds(200)
  private var clearing: Set<UInt64> = []
  /// While it starts it is looked at more often than the agent does by itself.
  private var hurry: TimerID?
  private var hurriesUntil: MonotonicInstant?
  private static let hurriedPause = Duration.milliseconds(15)
  private static let longestHurry = Duration.seconds(5)

  init(loop: EventLoop, agent: AgentConnection, place: LiteFSPlace, rules: RoleTracker.Rules) {
    self.loop = loop
    self.agent = agent
    tracker = RoleTracker(rules)
    agent.watch(place) { [weak self] in self?.take($0) }
  }

  /// Whether there is a process to look at. Before it is ended: a look of the agent's would keep its mount busy.
  func processRuns(_ runs: Bool) {
    agent.ask(LiteFSRequest.running(runs))
    // What is on its way is about the last one.
    if isRunning, !runs { isStale = true }
    isRunning = runs
    track(.stopped)
    if let hurry { loop.cancel(hurry) }
    hurry = nil
    hurriesUntil = runs ? .now + Self.longestHurry : nil
    if runs { lookSoon() }
  }

  private func lookSoon() {
    guard let hurriesUntil, .now < hurriesUntil else { return }
    hurry = loop.schedule(after: Self.hurriedPause) { [weak self] in
      self?.hurry = nil
      self?.agent.ask(LiteFSRequest.look)
      self?.lookSoon()
    }
  }

  /// Calls back once the agent looks no more, or after a moment: a look would keep the mount busy, and LiteFS would
  /// leave it behind.
  func pause(_ completion: @escaping () -> Void) {
    if isRunning { processRuns(false) }
    guard isStale else { return completion() }
    whenPaused = completion
    loop.schedule(after: Self.longestPause) { [weak self] in self?.paused() }
  }

  private func paused() {
    let waiting = whenPaused
    whenPaused = nil
    waiting?()
  }

  func clear(aborts: Bool) {
    let id = agent.nextID()
    clearing.insert(id)
    agent.ask(LiteFSRequest.clear(id: id, abort: aborts))
  }

  func close() {
    if let timer { loop.cancel(timer) }
    timer = nil
    if let hurry { loop.cancel(hurry) }
    hurry = nil
    onEvent = { _ in }
    onRole = { _, _ in }
  }

  private func take(_ report: LiteFSReport) {
    switch report {
    case .cleared(let id):
      if clearing.remove(id) != nil { onEvent(.cleared(failure: nil)) }
    case .failed(let id, let text):
      if clearing.remove(id) != nil { onEvent(.cleared(failure: text)) }
    case .paused:
      isStale = false
      paused()
    case .done, .holders: break
    case .mount, .info, .infoFailed, .event, .streamEnded, .lag, .positions, .variables, .variablesFailed:
      if isRunning, !isStale { see(report) }
    }
  }

  private func see(_ report: LiteFSReport) {
    let now = MonotonicInstant.now
    switch report {
    case .mount(let mount):
      if mount.state == .works, tracker.role != .unknown { hurriesUntil = nil }
      if let state = MountState(mount) { onEvent(.mount(state)) }
    case .info(let body, _, _, let age):
      guard let info = LiteFSInfo(json: body) else { return track(.failed) }
      track(.info(info, askedAt: now + (.zero - age)))
    case .infoFailed: track(.failed)
    case .event(let line):
      if let event = LiteFSEvent(line: line) { track(.event(event)) }
    case .streamEnded: track(.streamEnded)
    case .lag(let text, _):
      guard let lag = Lag(text) else { return }
      track(.lag(lag))
      onEvent(.lag(lag))
    case .positions, .variables, .variablesFailed, .paused, .holders, .done, .cleared, .failed: break
    }
  }

  private func track(_ event: RoleTracker.Event) {
    for effect in tracker.handle(event, at: .now) {
      switch effect {
      case .role(let role, let reason):
        onEvent(.role(role))
        onRole(role, reason)
      case .schedule(let deadline):
        unschedule()
        timer = loop.schedule(at: deadline) { [weak self] in
          self?.timer = nil
          self?.track(.timer)
        }
      case .unschedule: unschedule()
      }
    }
  }

  private func unschedule() {
    if let timer { loop.cancel(timer) }
    timer = nil
  }
}

extension MountState {
  /// What the agent saw; nil when it saw nothing.
  init?(_ mount: LiteFSMount) {
    switch mount.state {
    case .absent, .directory, .emptyDirectory: self = .absent
    case .other: self = .foreign(mount.text)
    case .works: self = .works
    case .dead: self = .dead
    case .hung: self = .hung
    case .denied: self = .closed
    case .failed: return nil
    }
  }
}
