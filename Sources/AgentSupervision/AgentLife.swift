import AgentProtocol
import EventLoop
import Processes

/// The life of one agent as PID 1 decides it: when it is started, believed, killed, started again, given up.
///
/// It is started when something is asked of it, and not before. What it has not answered when it ends is asked of
/// the next one. A value without I/O: `AgentConnection` performs the effects.
public struct AgentLife: Sendable {
  /// The times that bound it.
  public struct Policy: Sendable, Equatable {
    /// From the start to the first report.
    public var helloWithin = Duration.seconds(5)
    /// From one report to the next; what is older is unknown, and the agent hangs.
    public var reportWithin = Duration.seconds(3)
    /// From the request to end to the end.
    public var endWithin = Duration.seconds(2)
    /// When it is started again after an end that nobody asked for, and when it is given up.
    public var restart = RestartPolicy(
      mode: .always, initialDelay: .milliseconds(100), maximumDelay: .seconds(5), jitter: 0,
      resetAfter: .seconds(60), limitCount: 5, limitWindow: .seconds(60))

    /// The times of the contract.
    public init() {}
  }

  /// What happened. `incarnation` says of which process; what is told of an earlier one is dropped.
  public enum Event: Sendable, Equatable {
    /// Somebody wants this probe, by a number of its own.
    case startProbe(id: UInt64, target: ProbeTarget, timeout: Duration)
    /// Somebody no longer wants it.
    case cancelProbe(id: UInt64)
    /// Whether it is wanted although no probe waits.
    case need(Bool)
    /// Whether it holds what must not go before something else has ended: then it is not killed, but said to be
    /// endangered, until it holds nothing.
    case holds(Bool)
    /// There is no process, or it did not become the agent. A permanent reason will be there next time too.
    case startFailed(incarnation: Int, reason: String, isPermanent: Bool)
    /// The agent said this.
    case report(incarnation: Int, AgentReport)
    /// What it says cannot be read, or it cannot be talked to any more.
    case broken(incarnation: Int, reason: String, isPermanent: Bool)
    /// The process has ended.
    case ended(incarnation: Int, ExitStatus)
    /// The scheduled time has come.
    case timer
    /// Nothing will be asked any more: end it.
    case stop
  }

  /// What is to be done, in order.
  public enum Effect: Sendable, Equatable {
    /// Start the agent, and tag what it does with this number.
    case spawn(incarnation: Int)
    /// Send it this.
    case send(AgentRequest)
    /// It listens: nothing has been said to it yet but what `send` says.
    case connected
    /// It has to be killed, for this reason, as soon as it holds nothing.
    case endangered(String)
    /// It is gone, for this reason; one that is wanted still is started again.
    case disconnected(String)
    /// Send it KILL; its end will be told.
    case kill
    /// Wake me at this time; replaces an earlier one.
    case schedule(MonotonicInstant)
    /// No need to wake me.
    case unschedule
    /// Give this to whoever asked.
    case result(id: UInt64, ProbeOutcome)
    /// For the log.
    case log(AgentReport.LogLevel, String)
    /// Nothing that was or will be asked gets an answer, for this reason.
    case unavailable(String)
    /// It is gone, as `stop` wanted.
    case stopped
  }

  /// Where it stands.
  public enum State: Sendable, Equatable {
    /// Nobody needs it.
    case idle
    /// It ended badly and is started again at this time.
    case waiting(until: MonotonicInstant)
    /// Started, and has said nothing yet; it has to by this time.
    case starting(helloBy: MonotonicInstant)
    /// It works; it has to say something by this time.
    case running(reportBy: MonotonicInstant)
    /// Its end has been asked for, or forced; nil: in order, else what it did.
    case ending(failure: String?, by: MonotonicInstant?)
    /// It will not be started any more.
    case gaveUp(String)
    /// `stop` is done.
    case stopped
  }

  private struct Pending: Sendable {
    var id: UInt64
    var request: AgentRequest
  }

  /// Its program, for messages.
  public let path: String
  /// The times that bound it.
  public let policy: Policy
  /// Where it stands.
  public private(set) var state = State.idle
  /// The number of the process that is there, or was last.
  public private(set) var incarnation = 0

  private var pending: [Pending] = []
  private var history = RestartPolicy.History()
  private var startedAt = MonotonicInstant(nanoseconds: 0)
  private var notBefore = MonotonicInstant(nanoseconds: 0)
  private var isPermanent = false
  private var isStopping = false
  private var isNeeded = false
  private var isHolding = false
  /// It is to be killed once it holds nothing.
  private var killIsDue = false
  /// Why it ends, in its own words.
  private var lastWords: String?

  /// An agent that nobody needs yet.
  public init(path: String, policy: Policy = Policy()) {
    self.path = path
    self.policy = policy
  }

  /// Takes in what happened, and says what to do.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch event {
    case .startProbe(let id, let target, let timeout): return start(id, target, timeout, now)
    case .cancelProbe(let id): return cancel(id)
    case .need(let isNeeded): return need(isNeeded, now)
    case .holds(let isHolding):
      self.isHolding = isHolding
      guard !isHolding, killIsDue else { return [] }
      killIsDue = false
      return [.kill]
    case .startFailed(let number, let reason, let isPermanent):
      guard number == incarnation, isThere else { return [] }
      self.isPermanent = isPermanent
      return failed("could not be started: \(reason)", now)
    case .report(let number, let report):
      guard number == incarnation else { return [] }
      return take(report, now)
    case .broken(let number, let reason, let isPermanent):
      guard number == incarnation else { return [] }
      if isPermanent { self.isPermanent = true }
      return kill(reason)
    case .ended(let number, let status):
      guard number == incarnation, isThere else { return [] }
      return ended(status, now)
    case .timer: return timer(now)
    case .stop: return stop(now)
    }
  }

  /// Whether there is a process, or one is being started.
  private var isThere: Bool {
    switch state {
    case .starting, .running, .ending: true
    case .idle, .waiting, .gaveUp, .stopped: false
    }
  }

  // MARK: Requests

  private mutating func start(
    _ id: UInt64, _ target: ProbeTarget, _ timeout: Duration, _ now: MonotonicInstant
  ) -> [Effect] {
    if case .gaveUp(let reason) = state { return [.unavailable(reason)] }
    guard !isStopping else { return [.unavailable("the agent is being stopped")] }
    let request = AgentRequest.startProbe(id: id, target: target, timeout: timeout)
    pending.removeAll { $0.id == id }
    pending.append(Pending(id: id, request: request))
    switch state {
    case .idle: return startWhenDue(now)
    case .running: return [.send(request)]
    case .waiting, .starting, .ending, .gaveUp, .stopped: return []
    }
  }

  private mutating func cancel(_ id: UInt64) -> [Effect] {
    guard let index = pending.firstIndex(where: { $0.id == id }) else { return [] }
    pending.remove(at: index)
    switch state {
    case .running: return [.send(.cancelProbe(id: id))]
    case .waiting where !isWanted:
      state = .idle
      return [.unschedule]
    default: return []
    }
  }

  /// Whether there is anything to do for it.
  private var isWanted: Bool { isNeeded || !pending.isEmpty }

  private mutating func need(_ isNeeded: Bool, _ now: MonotonicInstant) -> [Effect] {
    self.isNeeded = isNeeded
    switch state {
    case .idle where isNeeded && !isStopping: return startWhenDue(now)
    case .waiting where !isWanted:
      state = .idle
      return [.unschedule]
    case .gaveUp(let reason) where isNeeded: return [.unavailable(reason)]
    default: return []
    }
  }

  private mutating func startWhenDue(_ now: MonotonicInstant) -> [Effect] {
    guard now >= notBefore else {
      state = .waiting(until: notBefore)
      return [.schedule(notBefore)]
    }
    incarnation += 1
    startedAt = now
    lastWords = nil
    isPermanent = false
    let helloBy = now + policy.helloWithin
    state = .starting(helloBy: helloBy)
    return [.spawn(incarnation: incarnation), .schedule(helloBy)]
  }

  // MARK: Reports

  private mutating func take(_ report: AgentReport, _ now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    switch (state, report) {
    case (.starting, .hello):
      effects = pending.map { .send($0.request) } + [.connected]
    case (.running, .hello), (.starting, .heartbeat), (.starting, .probeResult),
      (.starting, .coordination), (.starting, .litefs):
      return kill("broke the order of its protocol")
    case (.running, .probeResult(let id, let outcome)):
      if let index = pending.firstIndex(where: { $0.id == id }) {
        pending.remove(at: index)
        effects = [.result(id: id, outcome)]
      }
    case (.starting, .log(let level, let text)), (.running, .log(let level, let text)),
      (.ending, .log(let level, let text)):
      effects = [.log(level, text)]
      guard case .running = state else { return effects }
    case (_, .end(let reason)):
      lastWords = reason
      return []
    // Who asked gets them past us.
    case (.running, .heartbeat), (.running, .coordination), (.running, .litefs): break
    case (.ending, _), (.idle, _), (.waiting, _), (.gaveUp, _), (.stopped, _): return []
    }
    let reportBy = now + policy.reportWithin
    state = .running(reportBy: reportBy)
    return effects + [.schedule(reportBy)]
  }

  // MARK: Time

  private mutating func timer(_ now: MonotonicInstant) -> [Effect] {
    switch state {
    case .waiting(let until):
      guard now >= until else { return [.schedule(until)] }
      return startWhenDue(now)
    case .starting(let by):
      return late(by, now, { .starting(helloBy: $0) }, "did not say hello", policy.helloWithin)
    case .running(let by):
      return late(by, now, { .running(reportBy: $0) }, "said nothing", policy.reportWithin)
    case .ending(_, let by?):
      guard now >= by else { return [.schedule(by)] }
      return kill("did not end when asked to")
    case .ending(_, nil), .idle, .gaveUp, .stopped: return []
    }
  }

  /// A deadline, passed or not. When we come to it far too late we did not run ourselves (a frozen container, a
  /// suspended machine), and neither did the agent: it gets its time again.
  private mutating func late(
    _ deadline: MonotonicInstant, _ now: MonotonicInstant, _ next: (MonotonicInstant) -> State,
    _ what: String,
    _ time: Duration
  ) -> [Effect] {
    guard now >= deadline else { return [.schedule(deadline)] }
    if now - deadline > .seconds(1) {
      state = next(now + time)
      return [.schedule(now + time)]
    }
    return kill("\(what) for \(time.readable)")
  }

  // MARK: Ends

  private mutating func stop(_ now: MonotonicInstant) -> [Effect] {
    guard !isStopping else { return [] }
    isStopping = true
    pending = []
    switch state {
    case .idle, .waiting, .gaveUp, .stopped:
      state = .stopped
      return [.unschedule, .stopped]
    case .starting: return kill(nil)
    case .running:
      let by = now + policy.endWithin
      state = .ending(failure: nil, by: by)
      return [.send(.end), .schedule(by)]
    case .ending: return []
    }
  }

  private mutating func kill(_ failure: String?) -> [Effect] {
    switch state {
    case .starting, .running, .ending(_, .some):
      state = .ending(failure: failure, by: nil)
      guard let failure else { return [.kill, .unschedule] }
      let line = Effect.log(.warning, "the agent \(path) \(failure): killing it")
      guard isHolding else { return [line, .kill, .unschedule] }
      killIsDue = true
      return [line, .endangered("the agent \(failure)"), .unschedule]
    case .ending(_, nil), .idle, .waiting, .gaveUp, .stopped: return []
    }
  }

  private mutating func ended(_ status: ExitStatus, _ now: MonotonicInstant) -> [Effect] {
    killIsDue = false
    if isStopping {
      state = .stopped
      return [.unschedule, .stopped]
    }
    if case .ending(let failure?, _) = state { return failed(failure, now, isSaid: true) }
    let words = lastWords.map { " (it said: \($0))" } ?? ""
    return failed("ended unasked, with \(status)\(words)", now)
  }

  /// The process is gone, or never was.
  /// - Parameter isSaid: what it did is in the log already.
  private mutating func failed(_ what: String, _ now: MonotonicInstant, isSaid: Bool = false) -> [Effect] {
    [.disconnected("the agent \(what)")] + startAgain(after: what, now, isSaid: isSaid)
  }

  private mutating func startAgain(after what: String, _ now: MonotonicInstant, isSaid: Bool) -> [Effect] {
    if isStopping {
      state = .stopped
      return [.unschedule, .stopped]
    }
    let decision = policy.restart.decide(
      after: nil, ranFor: now - startedAt, at: now, random: 0, history: &history)
    guard !isPermanent, case .restart(let delay) = decision else {
      let count = history.recentEnds.count
      let times =
        isPermanent || count < 2
        ? "" : " failed \(count) times within \(policy.restart.limitWindow.readable): the last time it"
      let reason = "the agent \(path)\(times) \(what)"
      state = .gaveUp(reason)
      let isAwaited = isWanted
      pending = []
      // Whoever waits for an answer says the reason.
      return [.unschedule] + (isAwaited ? [] : [.log(.error, reason)]) + [.unavailable(reason)]
    }
    notBefore = now + delay
    guard isWanted else {
      state = .idle
      return [.unschedule]
        + (isSaid ? [] : [.log(.warning, "the agent \(path) \(what); it is started again when it is needed")])
    }
    state = .waiting(until: notBefore)
    let again = "starting \(isSaid ? "the agent \(path)" : "it") again in \(delay.readable)"
    return [
      .log(.warning, isSaid ? again : "the agent \(path) \(what); \(again)"), .schedule(notBefore),
    ]
  }
}
