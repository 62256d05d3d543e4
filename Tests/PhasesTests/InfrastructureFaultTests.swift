import Coordination
import EventLoop
import Testing

@testable import Phases

/// Every state of the infrastructure phase, and how a script gets there.
enum InfrastructureStage: String, CaseIterable, CustomTestStringConvertible {
  case idle, lookingBefore, locking, waiting, observing, lockedWhileObserving, lookingInside, claiming,
    announcing
  case running, timingOut, checking, waitingToRetry, recording, recordingFailure, completing
  case killing, unlocking, finished

  var testDescription: String { rawValue }

  /// A phase of two steps in this state; the second is only reached by `completing`.
  func rig() -> InfrastructureRig {
    let steps = [
      PhaseStep.named("migrate", check: true, timeout: .seconds(60), retries: 1), PhaseStep.named("warm"),
    ]
    let rig = InfrastructureRig(steps)
    if self == .idle { return rig }
    rig.send(.begin)
    switch self {
    case .idle, .lookingBefore: break
    case .locking: rig.answer(until: "lock")
    case .waiting, .observing, .lockedWhileObserving:
      rig.answer(until: "lock")
      rig.send(.lockBusy(holder: "them"))
      if self != .waiting { rig.send(.timer, after: 1000) }
      if self == .lockedWhileObserving {
        rig.due.removeAll { $0 == .lock }
        rig.send(.lockHeld)
      }
    case .lookingInside:
      rig.answer(until: "lock")
      rig.answer()
    case .claiming: rig.answer(until: "write 1:- []")
    case .announcing: rig.answer(until: "write 1:migrate []")
    case .running: rig.answer(until: "run migrate")
    case .timingOut:
      rig.answer(until: "run migrate")
      rig.send(.timer, after: 60_000)
    case .checking: rig.answer(until: "check migrate")
    case .waitingToRetry, .recordingFailure:
      rig.answer(until: "run migrate")
      fail(rig)
      if self == .recordingFailure {
        rig.send(.timer, after: 1000)
        fail(rig)
      }
    case .recording: rig.answer(until: "write 1:- [migrate]")
    case .completing: rig.answer(until: "write 1:- [migrate warm] complete")
    case .killing:
      rig.answer(until: "run migrate")
      rig.send(.storeFailed("first"))
    case .unlocking: rig.answer(until: "unlock")
    case .finished: rig.answerAll()
    }
    return rig
  }

  private func fail(_ rig: InfrastructureRig) {
    rig.takeDue()
    rig.send(.commandEnded(.failed("exit code 1")))
  }
}

/// What interrupts, breaks or takes away, in every state: at most one `finished`, the command first, then the lock.
@Suite struct InfrastructureFaultTests {
  /// A state; what the fault causes at once; what follows when everything that is due is answered.
  struct Case: CustomTestStringConvertible, Sendable {
    var stage: InfrastructureStage
    var atOnce: [String]
    var then: [String]

    init(_ stage: InfrastructureStage, _ atOnce: [String], then: [String] = []) {
      self.stage = stage
      self.atOnce = atOnce
      self.then = then
    }

    var testDescription: String { stage.rawValue }
  }

  static let interruptions: [Case] = [
    Case(.idle, ["abandon", "finished: interrupted"]),
    Case(.lookingBefore, ["abandon", "finished: interrupted"]),
    Case(.locking, ["abandon", "finished: interrupted"]),
    Case(.waiting, ["abandon", "finished: interrupted"]),
    Case(.observing, ["abandon", "finished: interrupted"]),
    Case(.lockedWhileObserving, ["unlock"], then: ["finished: interrupted"]),
    Case(.lookingInside, ["unlock"], then: ["finished: interrupted"]),
    Case(.claiming, ["unlock"], then: ["finished: interrupted"]),
    Case(.announcing, [], then: ["write 1:- []", "unlock", "finished: interrupted"]),
    Case(.running, ["stop migrate"], then: ["unlock", "finished: interrupted"]),
    Case(.timingOut, [], then: ["unlock", "finished: interrupted"]),
    Case(.checking, ["stop migrate"], then: ["unlock", "finished: interrupted"]),
    Case(.waitingToRetry, ["unlock"], then: ["finished: interrupted"]),
    Case(.recording, [], then: ["unlock", "finished: interrupted"]),
    Case(.recordingFailure, [], then: ["unlock", "finished: migrate failed: exit code 1"]),
    Case(.completing, [], then: ["unlock", "finished: ready, ran"]),
    Case(.killing, [], then: ["unlock", "finished: unusable: first"]),
    Case(.unlocking, [], then: ["finished: ready, ran"]),
    Case(.finished, []),
  ]

  static let storeFailures: [Case] = [
    Case(.idle, ["abandon", "finished: unusable: disk"]),
    Case(.lookingBefore, ["abandon", "finished: unusable: disk"]),
    Case(.locking, ["abandon", "finished: unusable: disk"]),
    // The lock itself still decides.
    Case(.observing, []),
    Case(.lookingInside, ["unlock"], then: ["finished: unusable: disk"]),
    Case(.claiming, ["unlock"], then: ["finished: unusable: disk"]),
    Case(.announcing, ["unlock"], then: ["finished: unusable: disk"]),
    Case(.running, ["kill migrate"], then: ["unlock", "finished: unusable: disk"]),
    Case(.timingOut, ["kill migrate"], then: ["unlock", "finished: unusable: disk"]),
    Case(.checking, ["kill migrate"], then: ["unlock", "finished: unusable: disk"]),
    Case(.recording, ["unlock"], then: ["finished: unusable: disk"]),
    Case(.recordingFailure, ["unlock"], then: ["finished: migrate failed: exit code 1"]),
    Case(.completing, ["unlock"], then: ["finished: unusable: disk"]),
    Case(.killing, [], then: ["unlock", "finished: unusable: first"]),
    Case(.unlocking, ["finished: ready, ran"]),
    Case(.finished, []),
  ]

  static let lockLosses: [Case] = [
    Case(.idle, []),
    Case(.locking, ["finished: lock lost"]),
    Case(.waiting, ["finished: lock lost"]),
    Case(.observing, ["finished: lock lost"]),
    Case(.lockedWhileObserving, ["finished: lock lost"]),
    Case(.lookingInside, ["finished: lock lost"]),
    Case(.claiming, ["finished: lock lost"]),
    Case(.announcing, ["finished: lock lost"]),
    Case(.running, ["kill migrate"], then: ["finished: lock lost"]),
    Case(.timingOut, ["kill migrate"], then: ["finished: lock lost"]),
    Case(.checking, ["kill migrate"], then: ["finished: lock lost"]),
    Case(.waitingToRetry, ["finished: lock lost"]),
    Case(.recording, ["finished: lock lost"]),
    Case(.recordingFailure, ["finished: lock lost"]),
    Case(.completing, ["finished: lock lost"]),
    Case(.killing, [], then: ["finished: unusable: first"]),
    Case(.unlocking, ["finished: ready, ran"]),
    Case(.finished, []),
  ]

  @Test(arguments: interruptions) func interrupt(_ row: Case) {
    let rig = row.stage.rig()
    #expect(rig.send(.interrupt) == row.atOnce)
    finish(rig, row)
  }

  @Test(arguments: storeFailures) func storeFails(_ row: Case) {
    let rig = row.stage.rig()
    // The request that failed gets no other answer; a command is no request to the store.
    rig.due.removeAll {
      switch $0 {
      case .run: false
      case .lock: row.stage != .observing
      default: true
      }
    }
    #expect(rig.send(.storeFailed("disk")) == row.atOnce)
    if row.stage == .observing {
      #expect(rig.timer != nil && rig.notes.contains("disk"))
    } else {
      finish(rig, row)
    }
  }

  @Test(arguments: lockLosses) func lockIsLost(_ row: Case) {
    let rig = row.stage.rig()
    rig.due.removeAll { if case .run = $0 { false } else { true } }
    #expect(rig.send(.lockLost) == row.atOnce)
    finish(rig, row)
  }

  /// Between two tries no command runs that could be killed.
  @Test func storeFailsBetweenTwoTries() {
    let rig = InfrastructureStage.waitingToRetry.rig()
    let words = rig.send(.storeFailed("disk"))
    #expect(words == ["unlock"])
    rig.answerAll()
    #expect(rig.trace.last == "finished: unusable: disk")
  }

  /// After the fault: the rest of the words, and silence, whatever still arrives.
  private func finish(_ rig: InfrastructureRig, _ row: Case) {
    let before = rig.trace.count
    rig.answerAll()
    #expect(Array(rig.trace.dropFirst(before)) == row.then)
    let all = rig.trace.filter { $0.hasPrefix("finished") }
    #expect(all.count == (row.stage == .idle && row.atOnce.isEmpty ? 0 : 1))
    guard !all.isEmpty else { return }
    #expect(rig.timer == nil && rig.heartbeat == nil)
    for late: InfrastructurePhase.Event in [
      .begin, .record(nil), .storeFailed("late"), .lockBusy(holder: "x"), .lockLost, .written, .unlocked,
      .commandEnded(.succeeded), .timer, .heartbeat, .interrupt,
    ] {
      #expect(rig.send(late) == [], "\(late)")
    }
  }
}
