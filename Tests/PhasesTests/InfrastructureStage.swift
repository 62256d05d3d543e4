import EventLoop
import Testing

@testable import Phases

/// Every state of the infrastructure phase, and how a script gets there.
enum InfrastructureStage: String, CaseIterable, CustomTestStringConvertible {
  case idle, looking, verifyingOutside, holdingOff, lookingWhileHoldingOff
  case locking, waiting, observing, lockedWhileObserving, pausing, takingOver, lookingInside, verifyingInside
  case claiming, announcing, running, timingOut, checking, waitingToRetry, recording
  case rollbackPending, rollingBack, recordingFailure, completing
  case killing, unlocking, finished

  var testDescription: String { rawValue }

  /// A phase of two steps in this state.
  func rig() -> InfrastructureRig {
    let steps: [PhaseStep] = [
      .named("migrate", check: true, rollback: true, timeout: .seconds(60), retries: 1, recheck: true),
      .named("warm"),
    ]
    let rig = InfrastructureRig(steps)
    switch self {
    case .verifyingOutside: rig.stored = .left(done: steps, completedAt: 9)
    case .verifyingInside: rig.stored = .left(done: [steps[0]])
    case .holdingOff, .lookingWhileHoldingOff: rig.stored = .failed()
    default: break
    }
    if self == .idle { return rig }
    rig.send(.begin)
    switch self {
    case .idle, .looking: break
    case .verifyingOutside, .verifyingInside: rig.answer(until: "check migrate")
    case .holdingOff: rig.answer()
    case .lookingWhileHoldingOff:
      rig.answer()
      rig.send(.timer, after: 1000)
    case .locking: rig.answer(until: "lock")
    case .waiting, .observing, .lockedWhileObserving, .pausing, .takingOver:
      rig.answer(until: "lock")
      rig.send(.lockBusy(holder: "them"))
      if self == .observing || self == .lockedWhileObserving { rig.send(.timer, after: 1000) }
      if self == .pausing { rig.send(.lockLost) }
      if self == .lockedWhileObserving || self == .takingOver {
        rig.due.removeAll { $0 == .lock }
        rig.send(.lockHeld(leftBy: self == .takingOver ? "them" : ""))
      }
    case .lookingInside:
      rig.answer(until: "lock")
      rig.answer()
    case .claiming: rig.answer(until: "write 1:- []")
    case .announcing: rig.answer(until: "write 1:migrate []")
    case .running, .killing: rig.answer(until: "run migrate")
    case .timingOut:
      rig.answer(until: "run migrate")
      rig.send(.stepTimer(step: 0), after: 60_000)
    case .checking: rig.answer(until: "check migrate")
    case .waitingToRetry, .recordingFailure:
      rig.answer(until: "run migrate")
      rig.end("migrate", .failed("exit code 1"))
      if self == .recordingFailure {
        rig.send(.stepTimer(step: 0), after: 1000)
        rig.end("migrate", .failed("exit code 1"))
      }
    case .recording: rig.answer(until: "write 1:- [migrate]")
    case .rollbackPending, .rollingBack:
      rig.answer(until: "run warm")
      rig.end("warm", .failed("exit code 1"))
      if self == .rollingBack { rig.answer() }
    case .completing: rig.answer(until: "write 1:- [migrate warm] complete")
    case .unlocking: rig.answer(until: "unlock")
    case .finished: rig.answerAll()
    }
    if self == .killing { rig.send(.lockLost) }
    return rig
  }
}
