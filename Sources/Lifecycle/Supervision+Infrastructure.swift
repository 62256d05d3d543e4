import EventLoop
import Phases

// The infrastructure phase's effects on record and lock, and its timers.
extension Supervision {
  func perform(_ effect: InfrastructurePhase.Effect) {
    switch effect {
    case .read: release.read()
    case .write(let record): release.write(record, isLast: lifecycle.infrastructure.isConcluding)
    case .lock:
      release.lock()
      prepareNode()
    case .contend: release.contend()
    case .abandonLock:
      forgetChange()
      release.abandon()
    case .unlock:
      forgetChange()
      release.unlock()
    case .endRemains(let step):
      release.endRemains(of: step, named: lifecycle.plan.infrastructure[step].phase.name)
    case .schedule(let deadline):
      forgetChange()
      schedule(.infrastructure, at: deadline) { [weak self] in self?.submit(.infrastructure(.timer)) }
    case .awaitChange(let deadline): awaitChange(until: deadline)
    case .unschedule:
      forgetChange()
      unschedule(.infrastructure)
    case .scheduleHeartbeat(let deadline?):
      schedule(.heartbeat, at: deadline) { [weak self] in self?.submit(.infrastructure(.heartbeat)) }
    case .scheduleHeartbeat(nil): unschedule(.heartbeat)
    case .step, .waiting, .note, .finished: break
    }
  }

  private func forgetChange() { changesAwaited += 1 }

  /// The record may change at any time before the deadline: whichever comes first counts.
  private func awaitChange(until deadline: MonotonicInstant) {
    forgetChange()
    let wish = changesAwaited
    let look = { [weak self] in
      guard let self, changesAwaited == wish else { return }
      forgetChange()
      unschedule(.infrastructure)
      submit(.infrastructure(.timer))
    }
    schedule(.infrastructure, at: deadline, look)
    release.awaitChange(within: max(deadline - .now, .zero), look)
  }

  // MARK: The lock goes after the step

  /// Should we vanish, whoever holds the lock ends this group before it lets the lock go.
  func guardGroup(_ id: ProcessID, _ group: CInt) {
    switch id {
    case .infrastructureStep: release.guardGroup(group)
    case .nodeStep: nodeStore?.guardGroup(group)
    case .service(let index) where lifecycle.plan.services[index].isForPrimary: leader.guardGroup(group)
    case .app, .service, .roleHook, .litefs: break
    }
  }

  func unguard(_ id: ProcessID, _ group: CInt) {
    switch id {
    case .infrastructureStep: release.unguardGroup(group)
    case .nodeStep: nodeStore?.unguardGroup(group)
    case .service(let index) where lifecycle.plan.services[index].isForPrimary: leader.unguardGroup(group)
    case .app, .service, .roleHook, .litefs: break
    }
  }
}
