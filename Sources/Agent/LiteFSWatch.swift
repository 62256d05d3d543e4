import AgentProtocol
import LiteFSDriver
import NIOCore

/// What the agent does for LiteFS: looks at its mount and asks its API once in each interval, hands its events on, and does
/// to the mount what it is told to. It decides nothing.
///
/// A look begins with a beat, and its findings go to PID 1 at once where they are news, else with the next beat: PID 1 is
/// woken by what changes, and by the heartbeat.
final class LiteFSWatch {
  private let eventLoop: any EventLoop
  /// Whether PID 1 takes what it is sent.
  private let canReport: () -> Bool
  private let send: ([LiteFSReport]) -> Void
  private var place: LiteFSPlace?
  private var probe: MountProbe?
  private var work: MountWork?
  private var api: LiteFSAPI?
  private var isRunning = false
  private var lookedAt: NIODeadline?
  private var variablesAskedAt: NIODeadline?
  private var findings = Findings()
  private var events = EventLines()
  private var transactionTimer: Scheduled<Void>?
  private var transactionsAt: NIODeadline?
  /// What LiteFS was told to do and has not answered.
  private var orders: Set<UInt64> = []
  /// Looks and streams of an earlier place or run are not listened to.
  private var generation = 0

  /// From transaction to transaction that is told.
  private static let transactionPause = TimeAmount.milliseconds(200)
  private static let variablesPause = TimeAmount.seconds(2)
  /// A timer that is a little early must not cost a whole beat.
  private static let slack = TimeAmount.milliseconds(50)

  init(
    eventLoop: any EventLoop, canReport: @escaping () -> Bool, send: @escaping ([LiteFSReport]) -> Void
  ) {
    self.eventLoop = eventLoop
    self.canReport = canReport
    self.send = send
  }

  /// From beat to beat.
  var interval: TimeAmount {
    guard isRunning, let place else { return .seconds(1) }
    return min(max(TimeAmount(place.interval), .milliseconds(100)), .seconds(1))
  }

  func handle(_ request: LiteFSRequest) {
    switch request {
    case .watch(let place): watch(place)
    case .running(let isRunning): isRunning ? start() : pause()
    case .look: lookAtOnce()
    case .clear(let id, let abort):
      guard let work = work(for: id) else { return }
      work.clear(abort: abort) { [self] result in
        switch result {
        case .success: report(.cleared(id: id))
        case .failure(let failure): report(.failed(id: id, failure.text))
        }
      }
    case .holders(let id):
      guard let work = work(for: id) else { return }
      work.findHolders { [self] result in
        switch result {
        case .success(let holders): report(.holders(id: id, holders))
        case .failure(let failure): report(.failed(id: id, failure.text))
        }
      }
    case .promote(let id): order(id) { $0.promote($1) }
    case .handoff(let id, let nodeID): order(id) { $0.handOff(to: nodeID, $1) }
    }
  }

  /// A beat: what is not news goes out, and a look begins when it is time.
  func beat() {
    flush()
    guard isRunning, let place else { return }
    if let lookedAt, .now() - lookedAt + Self.slack < TimeAmount(place.interval) { return }
    look()
  }

  /// Closes what is open. The mount stays as it is.
  func end() {
    isRunning = false
    forget()
  }

  // MARK: Beginning and ending

  private func watch(_ place: LiteFSPlace) {
    let wasRunning = isRunning
    forget()
    self.place = place
    probe = MountProbe(eventLoop: eventLoop, place: place)
    work = MountWork(eventLoop: eventLoop, path: place.mountPath)
    api = LiteFSAPI(eventLoop: eventLoop, host: place.host, port: place.port)
    isRunning = false
    if wasRunning { start() }
  }

  private func start() {
    guard !isRunning, let api else { return }
    forget()
    isRunning = true
    let generation = generation
    api.watchEvents { [weak self] line in
      guard let self, self.generation == generation else { return }
      take(line)
    } onEnd: { [weak self] reason in
      guard let self, self.generation == generation else { return }
      tell(.stream, .streamEnded(reason))
    }
    look()
  }

  private func pause() {
    isRunning = false
    forget()
    let generation = generation
    guard let probe else { return report(.paused) }
    probe.whenIdle { [weak self] in
      guard let self, self.generation == generation else { return }
      report(.paused)
    }
  }

  private func forget() {
    generation += 1
    api?.close()
    for id in orders { report(.failed(id: id, "LiteFS is being stopped")) }
    orders = []
    transactionTimer?.cancel()
    transactionTimer = nil
    transactionsAt = nil
    variablesAskedAt = nil
    lookedAt = nil
    findings = Findings()
    events = EventLines()
  }

  // MARK: Looking

  private func lookAtOnce() {
    // Whoever asks wants an answer, also when nothing has changed.
    findings = Findings()
    guard isRunning else { return lookAtMount() }
    api?.retryEvents()
    variablesAskedAt = nil
    look()
  }

  private func look() {
    let now = NIODeadline.now()
    lookedAt = now
    lookAtMount()
    let generation = generation
    api?.askInformation { [weak self] result in
      guard let self, self.generation == generation else { return }
      switch result {
      case .success(let answer): tell(.information, Self.information(answer), since: answer.askedAt)
      case .failure(let failure): tell(.information, .infoFailed(failure.text))
      }
    }
    if variablesAskedAt.map({ now - $0 + Self.slack >= Self.variablesPause }) ?? true {
      askVariables(areNews: false)
    }
  }

  private func lookAtMount() {
    let startedAt = NIODeadline.now()
    let generation = generation
    probe?.look { [weak self] look in
      guard let self, self.generation == generation else { return }
      tell(.mount, .mount(look.mount))
      if let lag = look.lag { tell(.lag, .lag(lag, readBefore: .zero), since: startedAt) }
      if look.mount.state == .works { tell(.positions, .positions(look.positions)) }
    }
  }

  private func askVariables(areNews: Bool) {
    variablesAskedAt = .now()
    let generation = generation
    api?.askVariables { [weak self] result in
      guard let self, self.generation == generation else { return }
      if areNews { findings.forget(.variables) }
      switch result {
      case .success(let answer):
        tell(.variables, .variables(body: answer.body, askedBefore: .zero), since: answer.askedAt)
      case .failure(let failure): tell(.variables, .variablesFailed(failure.text))
      }
    }
  }

  private static func information(_ answer: APIAnswer) -> LiteFSReport {
    .info(body: answer.body, nodeID: answer.nodeID, clusterID: answer.clusterID, askedBefore: .zero)
  }

  // MARK: Telling

  private func tell(_ kind: Findings.Kind, _ finding: LiteFSReport, since: NIODeadline? = nil) {
    findings.add(kind, finding, since: since)
    guard canReport() else { return }
    let news = findings.takeNews(at: .now())
    if !news.isEmpty { send(news) }
  }

  private func report(_ report: LiteFSReport) { send([report]) }

  private func flush() {
    guard canReport() else { return }
    let reports = events.takeAll().map { LiteFSReport.event(line: $0) } + findings.takeAll(at: .now())
    if !reports.isEmpty { send(reports) }
  }

  private func take(_ line: [UInt8]) {
    guard EventLines.isTransaction(line) else {
      // PID 1 does not read at the moment: the last one says it all.
      guard canReport() else { return events.keep(line) }
      return report(.event(line: line))
    }
    events.keep(line)
    guard transactionTimer == nil else { return }
    let now = NIODeadline.now()
    guard let transactionsAt, now - transactionsAt < Self.transactionPause else { return tellTransaction() }
    let pause = Self.transactionPause - (now - transactionsAt)
    transactionTimer = eventLoop.assumeIsolated().scheduleTask(in: pause) { [weak self] in
      self?.transactionTimer = nil
      self?.tellTransaction()
    }
  }

  private func tellTransaction() {
    transactionsAt = .now()
    if canReport() {
      send(events.takeAll().map { .event(line: $0) })
    }
    askVariables(areNews: true)
  }

  // MARK: Doing

  private func work(for id: UInt64) -> MountWork? {
    if work == nil { report(.failed(id: id, "there is no LiteFS to watch yet")) }
    return work
  }

  private func order(_ id: UInt64, _ give: (LiteFSAPI, @escaping (APIFailure?) -> Void) -> Void) {
    guard isRunning, let api else { return report(.failed(id: id, "LiteFS does not run")) }
    orders.insert(id)
    give(api) { [weak self] failure in
      guard let self, orders.remove(id) != nil else { return }
      report(failure.map { .failed(id: id, $0.text) } ?? .done(id: id))
    }
  }
}
