import AgentProtocol
import CLinux
import EventLoop
import Glibc
import Processes

/// Why a probe gets no answer at all.
public struct AgentUnavailable: Error, Equatable, Sendable, CustomStringConvertible {
  /// One sentence.
  public var reason: String

  /// The sentence.
  public var description: String { reason }
}

/// An agent and the talk with it, on the loop: performs what `AgentLife` decides.
///
/// There is no process until the first probe. The agent is a child of the process table like any other, so there is
/// one reaper; it ends by itself when we are gone, since its socket closes.
public final class AgentConnection {
  /// What waits to be sent, at most. An agent that reads nothing is killed.
  static let maximumQueue = 256 << 10

  let loop: EventLoop
  private let table: ProcessTable
  private let image: ProcessImage
  private var life: AgentLife
  private var socket: CInt = -1
  private var decoder = FrameDecoder()
  private var queue: [UInt8] = []
  private var timer: TimerID?
  private var events: [AgentLife.Event] = []
  private var isHandling = false
  private var completions: [UInt64: (Result<ProbeOutcome, AgentUnavailable>) -> Void] = [:]
  private var lastID: UInt64 = 0
  private var onStopped: (() -> Void)?
  private var talk: CoordinationTalk?
  private var listeners: [UInt64: (CoordinationReport) -> Void] = [:]
  /// The talk about LiteFS, and who listens.
  var litefs: LiteFSTalk?
  var onLiteFSReport: ((LiteFSReport) -> Void)?
  /// Reports whose turn has not come: whoever waits for one still needs us.
  private var undelivered = 0

  /// Gets the agent's own log lines, and what happens to it.
  public var onLog: ((AgentReport.LogLevel, String) -> Void)?
  /// The process that is there; -1 when there is none.
  public private(set) var pid: CInt = -1
  /// Where the agent stands.
  public var state: AgentLife.State { life.state }

  /// An agent that is started when it is needed.
  /// - Parameters:
  ///   - program: its executable; see `AgentPath`.
  ///   - environment: what it gets: proxies, certificates and name services are chosen by variables.
  public init(
    loop: EventLoop, table: ProcessTable, program: RawString, role: AgentRole,
    environment: ProcessEnvironment,
    policy: AgentLife.Policy = AgentLife.Policy()
  ) {
    self.loop = loop
    self.table = table
    var image = ProcessImage(
      arguments: [program, "--role", RawString(role.name), "--descriptor", "3"], environment: environment)
    // A mount that it stood on could not be unmounted.
    image.directory = "/"
    self.image = image
    life = AgentLife(path: "\(program)", policy: policy)
  }

  deinit {
    if let timer { loop.cancel(timer) }
    closeSocket()
    if pid > 0 { table.signal(pid, .kill) }
  }

  /// Has the agent look at `target` once. `completion` is called once, later, unless the probe is cancelled: with
  /// what the agent said, however often it had to be started for it, or why there is no agent. A probe that no agent
  /// answers has no end of its own: whoever asks has a deadline.
  public func probe(
    _ target: ProbeTarget, timeout: Duration,
    _ completion: @escaping (Result<ProbeOutcome, AgentUnavailable>) -> Void
  ) -> UInt64 {
    lastID += 1
    completions[lastID] = completion
    submit(.startProbe(id: lastID, target: target, timeout: timeout))
    return lastID
  }

  /// The answer to this probe is no longer wanted.
  public func cancel(_ id: UInt64) {
    guard completions.removeValue(forKey: id) != nil else { return }
    submit(.cancelProbe(id: id))
  }

  // MARK: Lock, record and readiness

  /// Which release all of `ask` is about; before the first of them.
  public func coordinate(_ scope: CoordinationScope) {
    if talk == nil { talk = CoordinationTalk(scope: scope) }
  }

  /// Whether it holds a lock, or somebody waits for an answer.
  public var isCoordinating: Bool {
    undelivered > 0 || talk.map { $0.needsAgent || $0.isHolding } ?? false
  }

  /// A number for a request.
  public func nextID() -> UInt64 {
    lastID += 1
    return lastID
  }

  /// Asks, and gives all reports of the request's number to `onReport`, each in a turn of its own.
  public func ask(_ request: CoordinationRequest, onReport: ((CoordinationReport) -> Void)? = nil) {
    if let onReport, let id = request.id { listeners[id] = onReport }
    if case .cancel(let id) = request { listeners[id] = nil }
    converse(CoordinationTalk.Event.ask(request))
  }

  private func converse(_ event: CoordinationTalk.Event) {
    guard let effects = talk?.handle(event) else { return }
    for effect in effects {
      switch effect {
      case .send(let request): send(.coordination(request))
      case .deliver(let report): deliver(report)
      }
    }
    guard let talk else { return }
    submit(.holds(talk.isHolding))
    submit(.need(talk.needsAgent))
  }

  private func deliver(_ report: CoordinationReport) {
    undelivered += 1
    loop.defer { [weak self] in
      guard let self else { return }
      undelivered -= 1
      guard let listener = listeners[report.id] else { return }
      if report.isLast { listeners[report.id] = nil }
      listener(report)
    }
  }

  /// Ends the agent, in order when it can, and tells when it is gone. Nothing that was asked is answered.
  public func stop(_ completion: @escaping () -> Void) {
    completions = [:]
    listeners = [:]
    if case .stopped = life.state { return loop.defer(completion) }
    onStopped = completion
    submit(.stop)
  }

  /// Ends the process at once; for the moment before our own end.
  public func kill() {
    if pid > 0 { table.signal(pid, .kill) }
  }

  // MARK: Deciding

  func submit(_ event: AgentLife.Event) {
    events.append(event)
    guard !isHandling else { return }
    isHandling = true
    while !events.isEmpty {
      let event = events.removeFirst()
      for effect in life.handle(event, at: .now) { perform(effect) }
    }
    isHandling = false
  }

  private func perform(_ effect: AgentLife.Effect) {
    switch effect {
    case .spawn(let incarnation): spawn(incarnation)
    case .send(let request): send(request)
    case .kill:
      closeSocket()
      if pid > 0 { table.signal(pid, .kill) }
    case .schedule(let time):
      if let timer { loop.cancel(timer) }
      timer = loop.schedule(at: time) { [weak self] in
        self?.timer = nil
        self?.submit(.timer)
      }
    case .unschedule:
      if let timer { loop.cancel(timer) }
      timer = nil
    case .result(let id, let outcome):
      guard let completion = completions.removeValue(forKey: id) else { return }
      loop.defer { completion(.success(outcome)) }
    case .connected:
      converse(CoordinationTalk.Event.connected)
      converse(LiteFSTalk.Event.connected)
    case .endangered(let reason): converse(CoordinationTalk.Event.endangered(reason))
    case .disconnected(let reason):
      converse(CoordinationTalk.Event.disconnected(reason))
      converse(LiteFSTalk.Event.disconnected(reason))
    case .log(let level, let text): onLog?(level, text)
    case .unavailable(let reason):
      let waiting = completions.sorted { $0.key < $1.key }
      completions = [:]
      let failure = AgentUnavailable(reason: reason)
      loop.defer { for (_, completion) in waiting { completion(.failure(failure)) } }
      converse(CoordinationTalk.Event.unavailable(reason))
      converse(LiteFSTalk.Event.unavailable(reason))
    case .stopped:
      closeSocket()
      if let onStopped { loop.defer(onStopped) }
      onStopped = nil
    }
  }

  // MARK: The process

  private func spawn(_ incarnation: Int) {
    var ends: [CInt] = [-1, -1]
    let kind = CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | CInt(SOCK_NONBLOCK.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      let reason = "no socket pair: \(errorText(errno))"
      return submit(.startFailed(incarnation: incarnation, reason: reason, isPermanent: false))
    }
    defer { _ = clinux_close(ends[1]) }
    socket = ends[0]
    decoder = FrameDecoder()
    queue = []
    var image = image
    image.keptDescriptor = ends[1]
    do throws(SpawnFailure) {
      pid = try table.spawn(
        image,
        started: { [weak self] failure in
          guard let self, let failure else { return }
          gone()
          // What is not there, or is no program, will not be there next time; one that is being written may be.
          let isPermanent = [126, 127].contains(failure.exitCode) && failure.code != ETXTBSY
          submit(.startFailed(incarnation: incarnation, reason: "\(failure)", isPermanent: isPermanent))
        },
        ended: { [weak self] status in
          guard let self else { return }
          // Its last words may still be in the socket.
          read(incarnation, isLast: true)
          gone()
          submit(.ended(incarnation: incarnation, status))
        })
    } catch {
      closeSocket()
      return submit(.startFailed(incarnation: incarnation, reason: "\(error)", isPermanent: false))
    }
    do throws(SystemError) {
      try loop.watch(socket, for: .reading) { [weak self] readiness in self?.ready(readiness, incarnation) }
    } catch {
      submit(
        .broken(incarnation: incarnation, reason: "could not be talked to: \(error)", isPermanent: false))
    }
  }

  private func gone() {
    pid = -1
    closeSocket()
  }

  private func closeSocket() {
    guard socket >= 0 else { return }
    loop.unwatch(socket)
    _ = clinux_close(socket)
    socket = -1
    queue = []
  }

  // MARK: The talk

  private func ready(_ readiness: Readiness, _ incarnation: Int) {
    if readiness.contains(.writable) { flush(incarnation) }
    if !readiness.isDisjoint(with: [.readable, .closed]) { read(incarnation, isLast: false) }
  }

  /// - Parameter isLast: the process has ended, so the end of the stream is no news.
  private func read(_ incarnation: Int, isLast: Bool) {
    // Bounded, so that an agent that never stops talking cannot keep the loop from everything else.
    for _ in 0..<16 where socket >= 0 {
      let size = withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 8) { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        let size = clinux_read(socket, start, buffer.count)
        if size > 0 { decoder.append(buffer.prefix(size)) }
        return size
      }
      if size == -Int(EAGAIN) { return }
      guard size > 0 else {
        // Most likely it is about to end: its exit code says more than the closed socket.
        loop.unwatch(socket)
        if !isLast { expectEnd(incarnation) }
        return
      }
      guard takeFrames(incarnation) else { return }
    }
  }

  private func takeFrames(_ incarnation: Int) -> Bool {
    do throws(FrameError) {
      while let frame = try decoder.next() {
        guard let report = try AgentReport(frame) else { continue }
        submit(.report(incarnation: incarnation, report))
        guard case .running = life.state else { continue }
        if case .coordination(let said) = report { converse(CoordinationTalk.Event.report(said)) }
        if case .litefs(let said) = report { converse(LiteFSTalk.Event.report(said)) }
      }
      return true
    } catch {
      var isPermanent = false
      if case .otherVersion = error { isPermanent = true }
      submit(
        .broken(
          incarnation: incarnation, reason: "could not be understood: \(error)", isPermanent: isPermanent))
      return false
    }
  }

  private func expectEnd(_ incarnation: Int) {
    loop.schedule(after: .seconds(1)) { [weak self] in
      self?.submit(.broken(incarnation: incarnation, reason: "closed its socket", isPermanent: false))
    }
  }

  func send(_ request: AgentRequest) {
    guard socket >= 0 else { return }
    let bytes = request.frame.bytes
    guard queue.count + bytes.count <= Self.maximumQueue else {
      let reason = "did not read what it was sent"
      return submit(.broken(incarnation: life.incarnation, reason: reason, isPermanent: false))
    }
    let wasEmpty = queue.isEmpty
    queue += bytes
    if wasEmpty { flush(life.incarnation) }
  }

  private func flush(_ incarnation: Int) {
    while socket >= 0, !queue.isEmpty {
      let written = queue.withUnsafeBytes { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        return clinux_write_now(socket, start, buffer.count)
      }
      // A socket that is closed at the other end is noticed by reading.
      guard written > 0 else { break }
      queue.removeFirst(written)
    }
    if socket >= 0 { loop.setInterest(queue.isEmpty ? .reading : [.reading, .writing], of: socket) }
  }
}
