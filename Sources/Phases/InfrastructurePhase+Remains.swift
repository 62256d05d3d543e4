import EventLoop

// A statement goes on in its server after the client was killed, as for its time limit: another try of the step, or its
// rollback, would run beside it.
extension InfrastructurePhase {
  var mayLeaveRemains: Bool {
    guard rules.endsRemains, holdsLock, !isInterrupted else { return false }
    switch state {
    case .working, .undoing: return true
    default: return false
    }
  }

  mutating func remainsEnded(of step: Int, _ failure: StoreFailure?, at now: MonotonicInstant) -> [Effect] {
    guard let result = heldBack.removeValue(forKey: step) else { return [] }
    guard let failure else { return perform(graph.commandEnded(step, result, at: now), at: now) }
    lingering.insert(step)
    let reason =
      switch result {
      case .failed(let reason), .notRun(let reason): "\(reason); "
      case .succeeded: ""
      }
    return perform(graph.commandEnded(step, .failed(reason + failure.text), isLast: true, at: now), at: now)
  }

  /// Nothing is waited for any more: whatever comes next makes sure of it by itself.
  mutating func letGo(at now: MonotonicInstant) -> [Effect] {
    let ended = heldBack.sorted { $0.key < $1.key }
    heldBack = [:]
    return ended.flatMap { perform(graph.commandEnded($0.key, $0.value, at: now), at: now) }
  }
}
