import AgentProtocol
import AgentSupervision
import EventLoop
import Phases
import ReleaseRecords

/// A backend that the agent talks to: lock and record in PostgreSQL.
final class AgentRelease: ReleaseBackend {
  var onEvent: (InfrastructurePhase.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in }

  private let agent: SharedAgent
  private let runID: String
  private let clock: ReleaseClock
  /// Of the lock that is waited for, held, or was held by what has not ended yet.
  private var lockID: UInt64?
  /// Answers of an earlier attempt are nobody's.
  private var generation = 0
  private var reads: Set<UInt64> = []
  private var groups: [CInt: UInt64] = [:]

  /// - Parameters:
  ///   - agent: the agent, started when there is none; nil when there can be none.
  init(
    runID: String, clock: ReleaseClock, agent: SharedAgent
  ) {
    self.runID = runID
    self.clock = clock
    self.agent = agent
  }

  private static let noAgent = StoreFailure(
    "there is no supervisor-agent to talk to the server", kind: .unusable)

  // MARK: The record

  func read() {
    guard let agent = agent.open() else { return onEvent(.storeFailed(Self.noAgent)) }
    let id = agent.nextID()
    let asked = generation
    reads.insert(id)
    agent.ask(.read(id: id)) { [weak self] report in
      guard let self, generation == asked else { return }
      if report.isLast { reads.remove(id) }
      switch report {
      case .record(_, let bytes, let now):
        clock.learn(server: now)
        take(bytes) { .record($0) }
      case .unavailable(_, let failure): onEvent(.storeUnavailable(StoreFailure(failure)))
      case .failed(_, let failure): onEvent(.storeFailed(StoreFailure(failure)))
      default: break
      }
    }
  }

  private func take(_ bytes: [UInt8]?, _ event: (ReleaseRecord?) -> InfrastructurePhase.Event) {
    do throws(ReleaseRecord.Damage) {
      onEvent(
        event(
          try bytes.map { (bytes) throws(ReleaseRecord.Damage) in
            try ReleaseRecord.decode(bytes, runID: runID)
          }))
    } catch {
      onEvent(.storeFailed(StoreFailure("the record of run ID \(runID) cannot be used: \(error)")))
    }
  }

  func write(_ record: ReleaseRecord, isLast: Bool) {
    guard let agent = agent.open() else { return onEvent(.storeFailed(Self.noAgent)) }
    let asked = generation
    agent.ask(.write(id: agent.nextID(), record: record.encoded(), isLast: isLast)) { [weak self] report in
      guard let self, generation == asked else { return }
      switch report {
      case .done: onEvent(.written)
      case .failed(_, let failure) where failure.kind == .superseded:
        onNote(.error, failure.text)
        lost()
      case .failed(_, let failure): onEvent(.storeFailed(StoreFailure(failure)))
      default: break
      }
    }
    if record.completedAt != nil, isLast { agent.ask(.prune) }
  }

  func remove() {
    guard let agent = agent.open() else { return onEvent(.storeFailed(Self.noAgent)) }
    let asked = generation
    agent.ask(.remove(id: agent.nextID())) { [weak self] report in
      guard let self, generation == asked else { return }
      if case .failed(_, let failure) = report {
        onEvent(.storeFailed(StoreFailure(failure)))
      } else {
        onEvent(.written)
      }
    }
  }

  /// The lock tells of it.
  func awaitChange(within limit: Duration, _ look: @escaping () -> Void) {}

  // MARK: The lock

  func lock() {
    guard let agent = agent.open() else { return onEvent(.lockFailed(Self.noAgent)) }
    let id = agent.nextID()
    lockID = id
    agent.ask(.lock(id: id, .infrastructure)) { [weak self] report in
      guard let self else { return }
      // Nobody may be left who needs the agent.
      if case .unlocked = report { self.agent.endWhenIdle() }
      guard lockID == id else { return }
      switch report {
      case .lockBusy(_, let holder): onEvent(.lockBusy(holder: holder))
      case .lockUnavailable(_, let failure): onEvent(.storeUnavailable(StoreFailure(failure)))
      case .lockFree(_, let bytes, let now):
        clock.learn(server: now)
        take(bytes) { .lockFree($0) }
      case .lockHeld(_, let leftBy): onEvent(.lockHeld(leftBy: leftBy))
      case .lockFailed(_, let failure):
        lockID = nil
        onEvent(.lockFailed(StoreFailure(failure)))
      case .lockLost(_, let failure):
        onNote(.error, "the infrastructure lock was lost: \(failure.text)")
        lost()
      case .unlocked:
        lockID = nil
        generation += 1
        onEvent(.unlocked)
      default: break
      }
    }
  }

  private func lost() {
    generation += 1
    dropReads()
    if let lockID, let agent = agent.open() { agent.ask(.unlock(id: lockID, isOrderly: false)) }
    lockID = nil
    onEvent(.lockLost)
  }

  func contend() {
    if let lockID { agent.open()?.ask(.contend(id: lockID)) }
  }

  func abandon() {
    generation += 1
    dropReads()
    if let lockID { agent.open()?.ask(.unlock(id: lockID, isOrderly: true)) }
    lockID = nil
    agent.endWhenIdle()
  }

  private func dropReads() {
    for id in reads { agent.open()?.ask(.cancel(id: id)) }
    reads = []
  }

  func unlock() {
    guard let lockID, let agent = agent.open() else { return onEvent(.unlocked) }
    agent.ask(.unlock(id: lockID, isOrderly: true))
  }

  func endRemains(of step: Int, named name: String) {
    guard let agent = agent.open() else { return onEvent(.remainsEnded(step: step, Self.noAgent)) }
    let asked = generation
    agent.ask(.endRemains(id: agent.nextID(), step: name)) { [weak self] report in
      guard let self, generation == asked else { return }
      switch report {
      case .done: onEvent(.remainsEnded(step: step, nil))
      case .failed(_, let failure): onEvent(.remainsEnded(step: step, StoreFailure(failure)))
      default: break
      }
    }
  }

  func guardGroup(_ group: CInt) {
    guard let lockID else { return }
    groups[group] = lockID
    agent.open()?.ask(.guardGroup(id: lockID, group: group))
  }

  func unguardGroup(_ group: CInt) {
    guard let id = groups.removeValue(forKey: group) else { return }
    agent.open()?.ask(.unguardGroup(id: id, group: group))
  }

  func close() {}
}

extension StoreFailure {
  /// What the agent says, in the words of the phase.
  init(_ failure: CoordinationFailure) {
    let kind: Kind =
      switch failure.kind {
      case .unavailable: .unavailable
      case .refused: .refused
      case .permission: .permission
      case .settings: .settings
      case .superseded, .damaged: .unusable
      }
    self.init(failure.text, kind: kind)
  }
}
