import AgentProtocol
import AgentSupervision
import Coordination

/// The leader lock in PostgreSQL, by way of the agent.
final class AgentLeader: LeaderBackend {
  var onEvent: (LeaderElection.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in }

  private let agent: SharedAgent
  private var lockID: UInt64?
  private var groups: [CInt: UInt64] = [:]

  init(agent: SharedAgent) {
    self.agent = agent
  }

  func lock() {
    guard let agent = agent.open() else { return onEvent(.lockFailed("there is no supervisor-agent")) }
    let id = agent.nextID()
    lockID = id
    agent.ask(.lock(id: id, .leader)) { [weak self] report in
      guard let self else { return }
      if case .unlocked = report { self.agent.endWhenIdle() }
      guard lockID == id else { return }
      switch report {
      case .lockBusy(_, let holder): onEvent(.lockBusy(holder: holder))
      // It is tried again without us; whoever was the primary is unknown meanwhile.
      case .lockUnavailable(_, let failure): onEvent(.lockUnavailable(failure.text))
      case .lockHeld(_, let leftBy): onEvent(.lockHeld(leftBy: leftBy))
      case .lockFailed(_, let failure):
        lockID = nil
        onEvent(.lockFailed(failure.text))
      case .lockLost(_, let failure):
        lockID = nil
        self.agent.open()?.ask(.unlock(id: id, isOrderly: false))
        onNote(.warning, "the leader lock: \(failure.text)")
        onEvent(.lockLost)
      default: break
      }
    }
  }

  func release() { letGo(isOrderly: true) }

  func abandon() { letGo(isOrderly: false) }

  private func letGo(isOrderly: Bool) {
    if let lockID { agent.open()?.ask(.unlock(id: lockID, isOrderly: isOrderly)) }
    lockID = nil
    agent.endWhenIdle()
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
