import Coordination
import PostgreSQLDriver

// The record as PID 1 knows it, and as the tables hold it: the same facts.

extension StoredRelease {
  init(_ record: ReleaseRecord) {
    self.init()
    claim = record.claim.map { claim in
      Claim(
        owner: claim.owner, attempt: claim.attempt, startedAt: claim.startedAt, heartbeat: claim.heartbeat,
        running: claim.running.map {
          Running(step: $0.step, startedAt: $0.startedAt, deadline: $0.deadline)
        })
    }
    entries = record.entries.map { entry in
      Entry(
        step: entry.step, hash: entry.hash, doneAt: entry.doneAt,
        outputs: entry.outputs.map { Output(key: $0.key, value: $0.value) })
    }
    parts = record.parts.map { Part(step: $0.step, hash: $0.hash, name: $0.name) }
    failure = record.failure.map {
      Failure(
        count: $0.count, attempt: $0.attempt, step: $0.step, reason: $0.reason, failedAt: $0.failedAt)
    }
    completedAt = record.completedAt
    declaredBy = record.declaredBy
  }
}

extension ReleaseRecord {
  init(_ release: StoredRelease, runID: String) {
    self.init(runID: runID)
    claim = release.claim.map { claim in
      Claim(
        owner: claim.owner, attempt: claim.attempt, startedAt: claim.startedAt, heartbeat: claim.heartbeat,
        running: claim.running.map {
          Running(step: $0.step, startedAt: $0.startedAt, deadline: $0.deadline)
        })
    }
    entries = release.entries.map { entry in
      Entry(
        step: entry.step, hash: entry.hash, doneAt: entry.doneAt,
        outputs: entry.outputs.map { StepOutput(key: $0.key, value: $0.value) })
    }
    parts = release.parts.map { Part(step: $0.step, hash: $0.hash, name: $0.name) }
    failure = release.failure.map {
      Failure(
        count: $0.count, attempt: $0.attempt, step: $0.step, reason: $0.reason, failedAt: $0.failedAt)
    }
    completedAt = release.completedAt
    declaredBy = release.declaredBy
  }
}
