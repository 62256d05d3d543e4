import Lifecycle
import Phases
import ReleaseRecords

// What is in servers, as the rest of the simulation sees it.
extension World {
  /// What is durable of this release.
  func record(of release: Scenario.Release) -> (ReleaseRecord?, ReleaseRecord.Damage?) {
    guard let database else { return decode(recordFile(release), release) }
    return (database.releases[release.runID.value], nil)
  }

  /// A record was replaced in the server.
  func recorded(_ record: ReleaseRecord, before: ReleaseRecord?, by life: Life) {
    // What was on its way when the lock was lost may still arrive; the fence keeps it out as soon as another has claimed
    // the release, and what the record says meanwhile is true.
    watch.isLate = holder(of: .infrastructure) !== life
    if watch.isLate { watch.saw(.lateWrite) }
    watch.recorded(record, before: before, by: life, isHolder: true)
  }

  /// Somebody has put an empty database in the place of the one in which the steps did their work.
  func databaseDropped() {
    for release in scenario.releases {
      for plan in release.infrastructure { store.unapply(release.runID.value, plan.step.name) }
      watch.changedByHand(release, nil)
    }
  }

  func atTheEnd(of server: DatabaseServer) {
    for lock in server.locks {
      if let holder = lock.exclusive {
        violated(
          "nothing left waiting", "\(holder.agent?.life.name ?? "somebody") still holds the \(lock.kind) lock"
        )
      } else if !lock.isFree {
        violated("nothing left waiting", "somebody still waits for the \(lock.kind) lock")
      }
    }
    if let agent = agents.first {
      violated("nothing left waiting", "the agent of \(agent.life.name) still runs")
    }
  }
}
