import AgentProtocol

/// What PID 1 has asked of its agent about lock, record and readiness, and what became of it when the agent ends.
///
/// Questions are asked again of the next agent; what only a connection keeps is gone with it: a lock that was held is
/// lost, and what was to be written under it has failed. A value without I/O.
public struct CoordinationTalk: Sendable {
  /// What happens to it.
  public enum Event: Sendable, Equatable {
    /// Somebody asks.
    case ask(CoordinationRequest)
    /// There is an agent, to which nothing has been said yet.
    case connected
    /// The agent said this.
    case report(CoordinationReport)
    /// What the agent says is not believed any more, and it will be killed: its locks count as lost already.
    case endangered(String)
    /// There is no agent any more, for this reason.
    case disconnected(String)
    /// There will be none.
    case unavailable(String)
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Send this to the agent.
    case send(CoordinationRequest)
    /// Give this to whoever asked with its number.
    case deliver(CoordinationReport)
  }

  private enum Stage: Sendable {
    case asked
    /// A lock: ours.
    case held
    /// A lock: to be given back.
    case releasing
  }

  private struct Entry: Sendable {
    var id: UInt64
    var request: CoordinationRequest
    var stage = Stage.asked

    /// Whether it is done under a lock, and has failed with its loss.
    var needsLock: Bool {
      switch request {
      case .write, .remove, .endRemains: true
      default: false
      }
    }

    /// Whether that is an answer to this.
    func isAnswered(by report: CoordinationReport) -> Bool {
      switch (request, report) {
      case (.read, .record), (.read, .failed), (.read, .unavailable): true
      case (.write, .done), (.write, .failed), (.remove, .done), (.remove, .failed): true
      case (.endRemains, .done), (.endRemains, .failed): true
      case (.lock, .lockBusy), (.lock, .lockUnavailable), (.lock, .lockFree), (.lock, .lockHeld),
        (.lock, .lockFailed), (.lock, .lockLost), (.lock, .unlocked):
        true
      case (.readReadiness, .readiness), (.readReadiness, .failed), (.readReadiness, .unavailable): true
      case (.writeReadiness, .done), (.writeReadiness, .failed), (.writeReadiness, .unavailable): true
      case (.watchReadiness, .readinessChanged), (.watchReadiness, .failed): true
      default: false
      }
    }
  }

  private let scope: CoordinationScope
  private var entries: [Entry] = []
  private var groups: [UInt64: Set<Int32>] = [:]
  private var isConnected = false
  /// Whether there is an agent that is not believed any more: what is guarded now ends before it does.
  private var isEndangered = false
  private var end: String?

  /// A talk about this release.
  public init(scope: CoordinationScope) {
    self.scope = scope
  }

  /// Whether an agent is wanted.
  public var needsAgent: Bool { !entries.isEmpty }

  /// Whether the agent must not be killed yet: it holds a lock, or what ran under one that counts as lost has not ended.
  public var isHolding: Bool { entries.contains { $0.stage == .held } || !groups.isEmpty }

  /// The next step.
  public mutating func handle(_ event: Event) -> [Effect] {
    switch event {
    case .ask(let request): return ask(request)
    case .connected:
      (isConnected, isEndangered) = (true, false)
      return [.send(.configure(scope))] + entries.map { .send($0.request) }
    case .report(let report): return isConnected ? take(report) : []
    case .endangered(let reason):
      (isConnected, isEndangered) = (false, true)
      return drop(reason)
    case .disconnected(let reason):
      (isConnected, isEndangered) = (false, false)
      return drop(reason)
    case .unavailable(let reason):
      isConnected = false
      end = reason
      let effects = drop(reason)
      let rest = entries
      entries = []
      return effects + rest.flatMap { fail($0.request, $0.id, CoordinationFailure(.unavailable, reason)) }
    }
  }

  // MARK: Questions

  private mutating func ask(_ request: CoordinationRequest) -> [Effect] {
    switch request {
    case .configure: return []
    case .prune: return isConnected ? [.send(request)] : []
    case .contend(let id):
      return isConnected && entries.contains { $0.id == id && $0.stage == .asked } ? [.send(request)] : []
    case .unlock(let id, _):
      guard let index = entries.firstIndex(where: { $0.id == id }) else {
        return [.deliver(.unlocked(id: id))]
      }
      guard isConnected else {
        entries.remove(at: index)
        return [.deliver(.unlocked(id: id))]
      }
      entries[index].stage = .releasing
      return [.send(request)]
    case .guardGroup(let id, let group):
      // It was begun before anybody knew that the lock counts as lost.
      if isEndangered { groups[id, default: []].insert(group) }
      guard isConnected, entries.contains(where: { $0.id == id && $0.stage == .held }) else { return [] }
      groups[id, default: []].insert(group)
      return [.send(request)]
    case .unguardGroup(let id, let group):
      guard groups[id]?.remove(group) != nil else { return [] }
      if groups[id]?.isEmpty == true { groups[id] = nil }
      return isConnected ? [.send(request)] : []
    case .cancel(let id):
      guard let index = entries.firstIndex(where: { $0.id == id }) else { return [] }
      entries.remove(at: index)
      return isConnected ? [.send(request)] : []
    case .read(let id), .write(let id, _, _), .remove(let id), .lock(let id, _), .readReadiness(let id),
      .writeReadiness(let id, _), .watchReadiness(let id), .endRemains(let id, _):
      if let end { return fail(request, id, CoordinationFailure(.unavailable, end)) }
      // Frames have a limit, and an answer has to come.
      if case .write(_, let record, _) = request, record.count > CoordinationTalk.largestRecord {
        let text =
          "the release record has \(record.count) bytes, and may have \(CoordinationTalk.largestRecord): what steps "
          + "write to $SUPERVISOR_OUTPUT is too much"
        return fail(request, id, CoordinationFailure(.damaged, text))
      }
      entries.append(Entry(id: id, request: request))
      return isConnected ? [.send(request)] : []
    }
  }

  /// Bytes of a record that leave room for the rest of its frame.
  static let largestRecord = Frame.maximumLength - 1024

  private func fail(
    _ request: CoordinationRequest, _ id: UInt64, _ failure: CoordinationFailure
  ) -> [Effect] {
    switch request {
    case .lock: return [.deliver(.lockFailed(id: id, failure))]
    case .watchReadiness: return []
    default: return [.deliver(.failed(id: id, failure))]
    }
  }

  // MARK: Answers

  private mutating func take(_ report: CoordinationReport) -> [Effect] {
    let id = report.id
    guard let index = entries.firstIndex(where: { $0.id == id }), entries[index].isAnswered(by: report)
    else { return [] }
    switch (report, entries[index].stage) {
    case (.lockHeld, .asked):
      entries[index].stage = .held
    // It has been given back by then: whoever does that waits for one answer.
    case (.lockHeld, .releasing), (.lockBusy, .releasing), (.lockUnavailable, .releasing),
      (.lockFree, .releasing):
      return []
    case (.lockLost, .releasing), (.lockFailed, .releasing), (.unlocked, .releasing):
      entries.remove(at: index)
      return [.deliver(.unlocked(id: id))]
    case (.lockLost, .held): entries.remove(at: index)
    // Out of order: an agent that says so is not understood.
    case (.lockLost, _), (.unlocked, _), (_, .held): return []
    case (.record, _), (.done, _), (.failed, _), (.lockFailed, _), (.readiness, _): entries.remove(at: index)
    case (.unavailable, _), (.lockBusy, _), (.lockUnavailable, _), (.lockFree, _), (.readinessChanged, _):
      break
    case (.lockHeld, _): return []
    }
    return [.deliver(report)]
  }

  /// What a connection kept is gone.
  private mutating func drop(_ reason: String) -> [Effect] {
    let failure = CoordinationFailure(.unavailable, reason)
    var effects: [Effect] = []
    // Whoever lost a lock has to know of that before it hears of a write that failed.
    for entry in entries where entry.stage == .held {
      effects.append(.deliver(.lockLost(id: entry.id, failure)))
    }
    for entry in entries {
      if entry.stage == .releasing { effects.append(.deliver(.unlocked(id: entry.id))) }
      if entry.needsLock { effects.append(.deliver(.failed(id: entry.id, failure))) }
    }
    entries.removeAll { $0.stage != .asked || $0.needsLock }
    return effects
  }
}
