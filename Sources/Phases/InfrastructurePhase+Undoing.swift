import Coordination
import EventLoop
import ReleaseRecords

// After a failure: what this try completed is taken back, in the reverse order of completion, each step attempted even
// if another one's rollback fails, and only while the lock is held.
extension InfrastructurePhase {
  mutating func undoNext(_ queue: [Int], _ outcome: Outcome, at now: MonotonicInstant) -> [Effect] {
    var queue = queue
    while !queue.isEmpty {
      let index = queue.removeFirst()
      guard steps[index].hasRollback else { continue }
      state = .undoing(queue, outcome)
      // What it gave to later steps is what its own rollback needs most.
      rollbackOutputs = record.outputs
      // Its record goes first: should we vanish in the middle of it, the step is not taken for done.
      let undone = [index] + graph.dependents(of: index)
      record.entries.removeAll { entry in undone.contains { steps[$0].name == entry.step } }
      record.completedAt = nil
      forgetParts(of: undone)
      return write(.undo(index))
    }
    return conclude(outcome)
  }

  /// Failure or interruption is recorded, and the lock released after it.
  private mutating func conclude(_ outcome: Outcome) -> [Effect] {
    state = .concluding(outcome)
    // What was done once stays so, though it could not be done again.
    if case .failed(let step, let reason) = outcome, errand?.reason != .due {
      record.failure = ReleaseRecord.Failure(
        count: InfrastructurePhase.next(failuresInARow), attempt: record.claim?.attempt ?? 1, step: step,
        reason: reason,
        failedAt: wallClock())
      record.completedAt = nil
    }
    return write(.release(outcome))
  }
}
