import Synchronization

/// Lets either many tests in or one alone: one that floods the machine with processes would be measured, and
/// failed, by all that run beside it.
final class Gate: Sendable {
  static let shared = Gate()

  private struct State {
    var inside = 0
    var isTaken = false
    var waiting: [(alone: Bool, continuation: CheckedContinuation<Void, Never>)] = []
  }

  private let state = Mutex(State())

  func enter(alone: Bool) async {
    await withCheckedContinuation { continuation in
      let mayEnter = state.withLock { state in
        // Whoever waits to be alone goes before those that come later, or it would wait for ever.
        guard state.waiting.isEmpty, Gate.admit(alone, &state) else {
          state.waiting.append((alone, continuation))
          return false
        }
        return true
      }
      if mayEnter { continuation.resume() }
    }
  }

  func leave(alone: Bool) {
    let admitted = state.withLock { state in
      if alone { state.isTaken = false } else { state.inside -= 1 }
      var admitted: [CheckedContinuation<Void, Never>] = []
      while let next = state.waiting.first, Gate.admit(next.alone, &state) {
        admitted.append(next.continuation)
        state.waiting.removeFirst()
      }
      return admitted
    }
    for continuation in admitted { continuation.resume() }
  }

  private static func admit(_ alone: Bool, _ state: inout State) -> Bool {
    if state.isTaken || (alone && state.inside > 0) { return false }
    if alone { state.isTaken = true } else { state.inside += 1 }
    return true
  }
}
