import AgentProtocol
import AgentSupervision
import EventLoop
import Phases
import ReleaseRecords

/// A backend whose readiness is in Redis as well, where nodes with django-autoinit set it and look for it.
///
/// The record stays the authority: what Redis says and the record does not is hearsay, which the phase has to check
/// under the lock; and what the record says and Redis does not (it was flushed, or the key has expired) is set again.
final class MirroredRelease: ReleaseBackend {
  var onEvent: (InfrastructurePhase.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in } {
    didSet { inner.onNote = onNote }
  }

  /// How long a write of the record waits for Redis at most: the record itself is durable by then.
  static let patience = Duration.seconds(5)
  /// How long a look waits for Redis when the record alone says enough.
  static let courtesy = Duration.milliseconds(300)

  private enum Answer {
    case due
    case isReady(Bool)
    case failed(InfrastructurePhase.Event)
  }

  private let inner: any ReleaseBackend
  private let loop: EventLoop
  private let agent: SharedAgent
  private let key: String
  private let runID: RunID
  /// Answers of an earlier attempt are nobody's.
  private var generation = 0
  private var holdsLock = false
  /// The two halves of a look's answer.
  private var record: InfrastructurePhase.Event?
  private var answer = Answer.due
  private var lookID: UInt64?
  private var timer: TimerID?
  /// What each write under way makes of readiness; nil: nothing.
  private var writes: [Bool?] = []
  private var published: Bool?
  private var watchID: UInt64?
  private var look: (() -> Void)?
  private var lastNote = ""

  /// - Parameters:
  ///   - key: the whole of it, for messages.
  init(
    _ inner: any ReleaseBackend, loop: EventLoop, key: String, runID: RunID,
    agent: SharedAgent
  ) {
    self.inner = inner
    self.loop = loop
    self.key = key
    self.runID = runID
    self.agent = agent
    inner.onEvent = { [weak self] in self?.take($0) }
  }

  // MARK: Looking

  /// Both are asked at once.
  func read() {
    record = nil
    answer = .due
    askRedis()
    inner.read()
  }

  private func askRedis() {
    if let lookID { agent.open()?.ask(.cancel(id: lookID)) }
    guard let agent = agent.open() else {
      answer = .failed(.storeFailed(StoreFailure("there is no supervisor-agent to ask Redis with")))
      return
    }
    let id = agent.nextID()
    lookID = id
    agent.ask(.readReadiness(id: id)) { [weak self] report in
      guard let self, lookID == id else { return }
      switch report {
      case .readiness(_, let isReady, let text):
        if !text.isEmpty { warn("under the Redis key \(key) stands \(text): that is taken for not ready") }
        lookID = nil
        answer = .isReady(isReady)
      // It is tried again until it answers.
      case .unavailable(_, let failure): answer = .failed(.storeUnavailable(StoreFailure(failure)))
      case .failed(_, let failure):
        lookID = nil
        answer = .failed(.storeFailed(StoreFailure(failure)))
      default: return
      }
      meet()
    }
  }

  /// The same twice is one line.
  private func warn(_ text: String) {
    if text != lastNote { onNote(.warning, text) }
    lastNote = text
  }

  /// Goes on when enough is known: of a release that is complete, or at which somebody works, the record says it all.
  private func meet() {
    guard let event = record else { return }
    guard case .record(let found) = event else {
      forgetLook()
      return onEvent(event)
    }
    let claim = found?.claim
    let suffices =
      found?.completedAt != nil || (!holdsLock && claim != nil && claim?.attempt != found?.failure?.attempt)
    switch answer {
    case .isReady(let isReady): deliver(found, isReady)
    case .failed(let failure) where suffices:
      switch failure {
      case .storeUnavailable(let failure), .storeFailed(let failure):
        warn("readiness in Redis cannot be read (\(failure.text)): going by the release's record")
      default: break
      }
      forgetLook()
      onEvent(event)
    case .failed(.storeUnavailable(let failure)): onEvent(.storeUnavailable(failure))
    case .failed(let failure):
      forgetLook()
      onEvent(failure)
    case .due:
      guard suffices, timer == nil else { return }
      timer = loop.schedule(after: MirroredRelease.courtesy) { [weak self] in
        guard let self else { return }
        timer = nil
        guard record != nil else { return }
        forgetLook()
        onEvent(event)
      }
    }
  }

  private func forgetLook() {
    record = nil
    if let lookID { agent.open()?.ask(.cancel(id: lookID)) }
    lookID = nil
    if let timer { loop.cancel(timer) }
    timer = nil
  }

  private func deliver(_ found: ReleaseRecord?, _ isReady: Bool) {
    forgetLook()
    if let found, found.completedAt != nil {
      guard !isReady, !runID.isDevelopment else { return onEvent(.record(found)) }
      // Flushed, evicted, expired, or set while Redis was away.
      let asked = generation
      return publish(true, within: MirroredRelease.courtesy) { [weak self] in
        guard let self, generation == asked else { return }
        onEvent(.record(found))
      }
    }
    guard isReady else { return onEvent(.record(found)) }
    var record = found ?? ReleaseRecord(runID: runID.value)
    record.completedAt = 1
    record.declaredBy = "the Redis key \(key)"
    record.isHearsay = true
    onEvent(.record(record))
  }

  // MARK: Writing

  func write(_ record: ReleaseRecord, isLast: Bool) {
    let becomes: Bool? =
      record.completedAt != nil
      ? (published == true ? nil : true) : (published == false ? nil : false)
    writes.append(becomes)
    if becomes == false { published = false }
    inner.write(record, isLast: isLast)
  }

  private func written() {
    guard !writes.isEmpty else { return onEvent(.written) }
    switch writes.removeFirst() {
    case nil: onEvent(.written)
    // What the phase is about to begin makes what Redis says untrue.
    case let becomes?:
      let asked = generation
      publish(becomes, within: MirroredRelease.patience) { [weak self] in
        guard let self, generation == asked else { return }
        onEvent(.written)
      }
    }
  }

  private func publish(
    _ isReady: Bool, within patience: Duration, _ completion: @escaping () -> Void
  ) {
    guard let agent = agent.open() else { return completion() }
    published = isReady
    let id = agent.nextID()
    var isOver = false
    let timer = loop.schedule(after: patience) { [weak self] in
      guard !isOver else { return }
      isOver = true
      self?.published = nil
      self?.agent.open()?.ask(.cancel(id: id))
      self?.onNote(
        .warning,
        "readiness could not be \(isReady ? "set" : "taken away") in Redis within \(patience.readable); "
          + "nodes with supervisor go by the release's record")
      completion()
      self?.agent.endWhenIdle()
    }
    agent.ask(.writeReadiness(id: id, isReady: isReady)) { [weak self, loop] report in
      guard !isOver, report.isLast else { return }
      isOver = true
      loop.cancel(timer)
      if case .failed(_, let failure) = report {
        self?.published = nil
        self?.onNote(
          .warning, "readiness could not be \(isReady ? "set" : "taken away") in Redis: \(failure.text)")
      }
      completion()
      self?.agent.endWhenIdle()
    }
  }

  // MARK: The inner one's words

  private func take(_ event: InfrastructurePhase.Event) {
    switch event {
    case .record:
      record = event
      meet()
    case .storeFailed:
      if writes.isEmpty {
        record = event
        meet()
      } else {
        writes.removeFirst()
        onEvent(event)
      }
    case .written: written()
    case .lockHeld:
      holdsLock = true
      onEvent(event)
    case .lockLost:
      forget()
      onEvent(event)
    default: onEvent(event)
    }
  }

  // MARK: Waiting

  func awaitChange(within limit: Duration, _ look: @escaping () -> Void) {
    self.look = look
    inner.awaitChange(within: limit, look)
    guard watchID == nil, let agent = agent.open() else { return }
    let id = agent.nextID()
    watchID = id
    agent.ask(.watchReadiness(id: id)) { [weak self] _ in
      let look = self?.look
      self?.look = nil
      look?()
    }
  }

  func remove() {
    writes.append(false)
    published = false
    inner.remove()
  }

  func lock() { inner.lock() }

  func contend() { inner.contend() }

  func abandon() {
    forget()
    inner.abandon()
  }

  func unlock() {
    forget()
    inner.unlock()
  }

  /// Nobody waits for Redis any more.
  private func forget() {
    generation += 1
    holdsLock = false
    writes = []
    look = nil
    forgetLook()
    if let watchID { agent.open()?.ask(.cancel(id: watchID)) }
    watchID = nil
  }

  func endRemains(of step: Int, named name: String) { inner.endRemains(of: step, named: name) }

  func guardGroup(_ group: CInt) { inner.guardGroup(group) }

  func unguardGroup(_ group: CInt) { inner.unguardGroup(group) }

  func close() { inner.close() }
}
