import EventLoop
import Testing

@testable import Phases

/// What interrupts, breaks or takes away, in every state: at most one `finished`, the command first, then the lock.
@Suite struct InfrastructureFaultTests {
  /// A state; what the fault causes at once; the end when everything else works and time passes.
  struct Case: CustomTestStringConvertible, Sendable {
    var stage: InfrastructureStage
    var atOnce: [String]
    var end: String?

    init(_ stage: InfrastructureStage, _ atOnce: [String], then end: String? = nil) {
      self.stage = stage
      self.atOnce = atOnce
      self.end = end
    }

    var testDescription: String { stage.rawValue }
  }

  static let given = ["abandon", "finished: interrupted"]
  static let interruptions: [Case] = [
    Case(.idle, given), Case(.looking, given), Case(.holdingOff, given), Case(.lookingWhileHoldingOff, given),
    Case(.locking, given), Case(.waiting, given), Case(.observing, given), Case(.pausing, given),
    Case(.verifyingOutside, ["stop migrate"], then: "interrupted"),
    Case(.lockedWhileObserving, ["unlock"], then: "interrupted"),
    Case(.takingOver, ["unlock"], then: "interrupted"),
    Case(.lookingInside, ["unlock"], then: "interrupted"),
    Case(.verifyingInside, ["stop migrate"], then: "interrupted"),
    Case(.claiming, [], then: "interrupted"),
    Case(.announcing, [], then: "interrupted"),
    Case(.running, ["stop migrate"], then: "interrupted"),
    Case(.timingOut, [], then: "interrupted"),
    Case(.checking, ["stop migrate"], then: "interrupted"),
    Case(.waitingToRetry, ["write 1:migrate []"], then: "interrupted"),
    Case(.recording, [], then: "interrupted"),
    Case(.rollbackPending, [], then: "warm failed: exit code 1"),
    Case(.rollingBack, [], then: "warm failed: exit code 1"),
    Case(.recordingFailure, [], then: "migrate failed: exit code 1"),
    Case(.completing, [], then: "ready, ran"),
    Case(.killing, [], then: "lock lost"),
    Case(.unlocking, [], then: "ready, ran"),
    Case(.finished, []),
  ]

  static let broken = ["abandon", "finished: unusable: disk"]
  static let storeFailures: [Case] = [
    Case(.idle, []), Case(.looking, broken), Case(.locking, broken), Case(.waiting, broken),
    Case(.holdingOff, broken),
    Case(.lookingWhileHoldingOff, [], then: "ready, ran"),
    Case(.verifyingOutside, ["kill migrate"], then: "unusable: disk"),
    // The lock itself still decides.
    Case(.observing, [], then: "ready, ran"),
    Case(.lockedWhileObserving, ["read"], then: "ready, ran"),
    Case(.pausing, [], then: "ready, ran"),
    Case(.takingOver, [], then: "ready, ran"),
    Case(.lookingInside, ["unlock"], then: "unusable: disk"),
    Case(.verifyingInside, ["kill migrate"], then: "unusable: disk"),
    Case(.claiming, ["unlock"], then: "unusable: disk"),
    Case(.announcing, [], then: "ready, ran"),
    Case(.running, [], then: "ready, ran"),
    Case(.timingOut, [], then: "ready, ran"),
    Case(.checking, [], then: "ready, ran"),
    Case(.waitingToRetry, [], then: "ready, ran"),
    Case(.recording, [], then: "ready, ran"),
    Case(.rollbackPending, [], then: "warm failed: exit code 1"),
    Case(.rollingBack, [], then: "warm failed: exit code 1"),
    Case(.recordingFailure, [], then: "migrate failed: exit code 1"),
    Case(.completing, [], then: "ready, ran"),
    Case(.killing, [], then: "lock lost"),
    Case(.unlocking, [], then: "ready, ran"),
    Case(.finished, []),
  ]

  static let lost = ["finished: lock lost"]
  static let lockLosses: [Case] = [
    Case(.idle, []),
    Case(.looking, [], then: "ready, ran"),
    Case(.holdingOff, [], then: "ready, ran"),
    Case(.lookingWhileHoldingOff, [], then: "ready, ran"),
    Case(.verifyingOutside, [], then: "ready"),
    Case(.locking, ["abandon"], then: "ready, ran"),
    Case(.waiting, ["abandon"], then: "ready, ran"),
    Case(.observing, ["abandon"], then: "ready, ran"),
    Case(.pausing, [], then: "ready, ran"),
    Case(.lockedWhileObserving, lost), Case(.takingOver, lost), Case(.lookingInside, lost),
    Case(.verifyingInside, ["kill migrate"], then: "lock lost"),
    Case(.claiming, lost), Case(.announcing, lost),
    Case(.running, ["kill migrate"], then: "lock lost"),
    Case(.timingOut, ["kill migrate"], then: "lock lost"),
    Case(.checking, ["kill migrate"], then: "lock lost"),
    Case(.waitingToRetry, lost), Case(.recording, lost), Case(.rollbackPending, lost),
    Case(.rollingBack, ["kill migrate"], then: "lock lost"),
    Case(.recordingFailure, lost), Case(.completing, lost),
    Case(.killing, [], then: "lock lost"),
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
    // The request that failed gets no other answer.
    rig.due.removeAll { request in
      switch request {
      case .read, .write: true
      default: false
      }
    }
    #expect(rig.send(.storeFailed(StoreFailure("disk"))) == row.atOnce)
    finish(rig, row)
  }

  @Test(arguments: lockLosses) func lockIsLost(_ row: Case) {
    let rig = row.stage.rig()
    rig.due.removeAll { request in
      switch request {
      case .write, .lock, .unlock: true
      default: false
      }
    }
    #expect(rig.send(.lockLost) == row.atOnce)
    finish(rig, row)
  }

  @Test(arguments: InfrastructureStage.allCases) func lockCannotBeTaken(_ stage: InfrastructureStage) {
    let rig = stage.rig()
    let words = rig.send(.lockFailed(StoreFailure("no flock here", isPermission: true)))
    if [.locking, .waiting, .observing].contains(stage) {
      #expect(words == ["abandon", "finished: unusable: no flock here"])
      #expect(rig.outcome == .storeUnusable(StoreFailure("no flock here", isPermission: true)))
    } else {
      #expect(words == [])
    }
  }

  /// After the fault: the end, and silence, whatever still arrives.
  private func finish(_ rig: InfrastructureRig, _ row: Case) {
    if row.stage == .idle, row.atOnce.isEmpty {
      #expect(rig.trace.isEmpty)
      return
    }
    #expect(rig.play())
    if let end = row.end { #expect(rig.trace.last == "finished: \(end)") }
    rig.expectOver()
  }

  // MARK: Whatever happens

  enum Fault: CaseIterable {
    case interrupt, refuse, loseStore, refuseLock, timer, heartbeat, stepTimer, fail, answer, busy
  }

  /// Any two faults in any state, and a third: the phase comes to its end, and keeps the rules on its way.
  @Test(arguments: InfrastructureStage.allCases)
  func anyFaultsInAnyState(_ stage: InfrastructureStage) {
    guard stage != .idle else { return }
    for first in Fault.allCases {
      for second in Fault.allCases {
        for third in [Fault.interrupt, .refuse, .loseStore, .timer] {
          let rig = stage.rig()
          for fault in [first, second, third] where rig.outcome == nil { rig.cause(fault) }
          let hasEnded = rig.play()
          #expect(
            hasEnded && rig.problems.isEmpty, "\(first) \(second) \(third): \(rig.problems) \(rig.trace)")
          if !hasEnded || !rig.problems.isEmpty { return }
          rig.expectOver()
        }
      }
    }
  }
}

extension InfrastructureRig {
  /// Exactly one end, no timer left, and nothing said any more.
  func expectOver() {
    #expect(problems == [])
    #expect(trace.filter { $0.hasPrefix("finished") }.count == 1)
    #expect(timer == nil && heartbeat == nil && stepTimers.isEmpty, "\(trace)")
    #expect(phase.isFinished)
    for late: InfrastructurePhase.Event in [
      .begin, .record(nil), .storeFailed(StoreFailure("late")), .lockBusy(holder: "x"), .lockLost, .written,
      .lockFailed(StoreFailure("late")), .unlocked, .commandEnded(step: 0, .succeeded()), .timer,
      .stepTimer(step: 0), .heartbeat, .interrupt,
    ] {
      #expect(send(late) == [], "\(late)")
    }
  }

  /// A fault as the performer would report it; nothing where it cannot happen.
  fileprivate func cause(_ fault: InfrastructureFaultTests.Fault) {
    switch fault {
    case .interrupt: send(.interrupt)
    case .refuse:
      let index = due.firstIndex { request in
        switch request {
        case .read, .write: true
        default: false
        }
      }
      guard let index else { return }
      due.remove(at: index)
      send(.storeFailed(StoreFailure("disk")), after: 300)
    case .loseStore:
      // What was asked fails first.
      for request in due where outcome == nil {
        switch request {
        case .read, .write: send(.storeFailed(StoreFailure("gone")))
        default: break
        }
      }
      due.removeAll { if case .step(_, .run) = $0 { false } else { true } }
      if outcome == nil { send(.lockLost) }
    case .refuseLock:
      guard due.contains(.lock) else { return }
      due.removeAll { $0 == .lock }
      send(.lockFailed(StoreFailure("no lock")))
    case .timer: if timer != nil { send(.timer) }
    case .heartbeat: if heartbeat != nil { send(.heartbeat) }
    case .stepTimer: if let step = stepTimers.keys.min() { send(.stepTimer(step: step), after: 700_000) }
    case .fail:
      guard let request = due.first(where: { if case .step(_, .run) = $0 { true } else { false } }),
        case .step(let step, .run) = request
      else { return }
      end(steps[step].name, .failed("exit code 1"))
    case .answer: answer()
    case .busy: if due.contains(.lock) { send(.lockBusy(holder: "them")) }
    }
  }
}
