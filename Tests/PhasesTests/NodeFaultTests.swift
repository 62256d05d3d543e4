import EventLoop
import Testing

@testable import Phases

/// What interrupts, breaks or takes away, in every state of the node phase.
@Suite struct NodeFaultTests {
  enum Stage: String, CaseIterable, CustomTestStringConvertible {
    case idle, lookingBefore, verifying, locking, waiting, pausing, takingOver, lookingInside
    case running, timingOut, retrying, rollingBack, marking, killing, unlocking, finished

    var testDescription: String { rawValue }

    func rig() -> NodeRig {
      let rig = NodeRig([
        .named("static", check: true, rollback: true, timeout: .seconds(60), retries: 1, recheck: true),
        .named("fonts"),
      ])
      if self == .idle { return rig }
      if self == .verifying { rig.marker = Marker() }
      rig.send(.begin([]))
      if self == .lookingBefore { return rig }
      rig.answer()
      switch self {
      case .idle, .lookingBefore, .verifying, .locking: break
      case .waiting: rig.send(.lockBusy(holder: "them"))
      case .pausing: rig.send(.lockLost)
      case .takingOver:
        rig.due = []
        rig.send(.lockHeld(leftBy: "them"))
      case .lookingInside: rig.answer()
      case .marking: rig.answer(until: "mark []")
      case .unlocking: rig.answer(until: "unlock")
      case .finished: rig.answerAll()
      case .rollingBack:
        rig.failing = ["run fonts"]
        rig.answer(until: "rollback static")
      case .running, .timingOut, .retrying, .killing:
        rig.answer(until: "run static")
        if self == .timingOut { rig.send(.stepTimer(step: 0), after: 60_000) }
        if self == .killing { rig.send(.lockLost) }
        if self == .retrying { rig.end("static", .failed("exit code 1")) }
      }
      return rig
    }
  }

  struct Row: CustomTestStringConvertible, Sendable {
    var stage: Stage
    var event: NodePhase.Event
    var words: [String]
    /// After everything is answered and time has passed.
    var end: String?
    var testDescription: String { "\(stage): \(event)" }

    init(_ stage: Stage, _ event: NodePhase.Event, _ words: [String] = [], then end: String? = nil) {
      self.stage = stage
      self.event = event
      self.words = words
      self.end = end
    }
  }

  static let disk = NodePhase.Event.storeFailed(StoreFailure("disk"))
  static let faults: [Row] = [
    Row(.idle, .interrupt, ["abandon", "finished: interrupted"]),
    Row(.lookingBefore, .interrupt, ["abandon", "finished: interrupted"]),
    Row(.locking, .interrupt, ["abandon", "finished: interrupted"]),
    Row(.waiting, .interrupt, ["abandon", "finished: interrupted"]),
    Row(.pausing, .interrupt, ["abandon", "finished: interrupted"]),
    Row(.verifying, .interrupt, ["stop static"], then: "interrupted"),
    Row(.takingOver, .interrupt, ["unlock"], then: "interrupted"),
    Row(.lookingInside, .interrupt, ["unlock"], then: "interrupted"),
    Row(.running, .interrupt, ["stop static"], then: "interrupted"),
    Row(.timingOut, .interrupt, then: "interrupted"),
    Row(.retrying, .interrupt, ["unlock"], then: "interrupted"),
    Row(.rollingBack, .interrupt, then: "fonts failed: exit code 1"),
    Row(.marking, .interrupt, then: "ran"),
    Row(.killing, .interrupt, then: "lock lost"),
    Row(.unlocking, .interrupt, then: "ran"),
    Row(.finished, .interrupt),
    Row(.lookingBefore, disk, ["abandon", "finished: unusable: disk"]),
    Row(.lookingInside, disk, ["unlock"], then: "unusable: disk"),
    Row(.marking, disk, ["unlock"], then: "unusable: disk"),
    // Nothing was asked of the store: what it says is not about us.
    Row(.verifying, disk, then: "done"), Row(.locking, disk, then: "ran"), Row(.waiting, disk, then: "ran"),
    Row(.pausing, disk, then: "ran"), Row(.takingOver, disk, then: "ran"), Row(.running, disk, then: "ran"),
    Row(.timingOut, disk, then: "ran"), Row(.retrying, disk, then: "ran"),
    Row(.rollingBack, disk, then: "fonts failed: exit code 1"),
    Row(.killing, disk, then: "lock lost"), Row(.unlocking, disk, then: "ran"), Row(.finished, disk),
    Row(.idle, .lockLost),
    Row(.lookingBefore, .lockLost, then: "ran"), Row(.verifying, .lockLost, then: "done"),
    Row(.locking, .lockLost, ["abandon"], then: "ran"), Row(.waiting, .lockLost, ["abandon"], then: "ran"),
    Row(.pausing, .lockLost, then: "ran"),
    Row(.takingOver, .lockLost, ["finished: lock lost"]),
    Row(.lookingInside, .lockLost, ["finished: lock lost"]),
    Row(.running, .lockLost, ["kill static"], then: "lock lost"),
    Row(.timingOut, .lockLost, ["kill static"], then: "lock lost"),
    Row(.retrying, .lockLost, ["finished: lock lost"]),
    Row(.rollingBack, .lockLost, ["kill static"], then: "lock lost"),
    Row(.marking, .lockLost, ["finished: lock lost"]),
    Row(.killing, .lockLost, then: "lock lost"),
    Row(.unlocking, .lockLost, ["finished: ran"]),
    Row(.finished, .lockLost),
    Row(.locking, .lockFailed(StoreFailure("none")), ["abandon", "finished: unusable: none"]),
    Row(.waiting, .lockFailed(StoreFailure("none")), ["abandon", "finished: unusable: none"]),
    Row(.running, .lockFailed(StoreFailure("none")), then: "ran"),
  ]

  @Test(arguments: faults) func fault(_ row: Row) {
    let rig = row.stage.rig()
    // What the fault is about is not answered any more.
    rig.due.removeAll { request in
      switch (row.event, request) {
      case (.storeFailed, .read), (.storeFailed, .write): true
      case (.lockLost, .lock), (.lockLost, .write), (.lockLost, .unlock), (.lockFailed, .lock): true
      default: false
      }
    }
    #expect(rig.send(row.event) == row.words)
    if row.stage == .idle, row.words.isEmpty {
      #expect(rig.trace.isEmpty)
      return
    }
    #expect(rig.play(), "\(rig.trace)")
    if let end = row.end { #expect(rig.trace.last == "finished: \(end)") }
    #expect(rig.trace.filter { $0.hasPrefix("finished") }.count == 1)
    #expect(rig.phase.isFinished && rig.timer == nil && rig.stepTimers.isEmpty)
    for late: NodePhase.Event in [
      .begin([]), .marker(nil), Self.disk, .lockBusy(holder: "x"), .lockLost, .written, .unlocked,
      .commandEnded(step: 0, .succeeded()), .timer, .stepTimer(step: 0), .interrupt,
    ] {
      #expect(rig.send(late) == [], "\(late)")
    }
    #expect(rig.problems == [])
  }
}
