import EventLoop
import Testing

@testable import Phases

/// One node phase, its effects as words, and a marker in memory.
final class NodeRig {
  var phase: NodePhase
  let steps: [PhaseStep]
  var marker: Marker?
  var due: [NodePhase.Effect] = []
  var trace: [String] = []
  var timer: MonotonicInstant?
  var milliseconds = 0
  /// Steps whose commands fail.
  var failing: Set<String> = []

  init(
    _ steps: [PhaseStep] = [.named("static", fatal: false), .named("fonts", fatal: false)],
    runID: String? = "r1", marker: Marker? = nil, timeout: Duration? = .seconds(60)
  ) {
    self.steps = steps
    self.marker = marker
    phase = NodePhase(runID: RunID(given: runID, workingDirectory: [47]), steps: steps, timeout: timeout)
  }

  @discardableResult
  func send(_ event: NodePhase.Event, after delay: Int = 0) -> [String] {
    milliseconds += delay
    let effects = phase.handle(event, at: instant(milliseconds))
    for effect in effects {
      switch effect {
      case .schedule(let deadline): timer = deadline
      case .unschedule: timer = nil
      case .read, .write, .lock, .unlock, .run: due.append(effect)
      case .abandonLock: due.removeAll { $0 == .lock }
      default: break
      }
    }
    let words = effects.compactMap(describe)
    trace += words
    return words
  }

  @discardableResult
  func answer() -> [String] {
    guard !due.isEmpty else { return [] }
    switch due.removeFirst() {
    case .read: return send(.marker(marker))
    case .write(let marker):
      self.marker = marker
      return send(.written)
    case .lock: return send(.lockHeld)
    case .unlock: return send(.unlocked)
    case .run(let step, _):
      return send(.commandEnded(failing.contains(steps[step].name) ? .failed("exit code 1") : .succeeded))
    default: return []
    }
  }

  func answerAll() {
    while !due.isEmpty { answer() }
  }

  @discardableResult
  func answer(until word: String) -> Bool {
    while trace.last != word {
      if due.isEmpty { return false }
      answer()
    }
    return true
  }

  private func describe(_ effect: NodePhase.Effect) -> String? {
    switch effect {
    case .read: return "read"
    case .write(let marker): return "mark [\(marker.failedSteps.joined(separator: " "))]"
    case .lock: return "lock"
    case .abandonLock: return "abandon"
    case .unlock: return "unlock"
    case .run(let step, let command): return "\(command == .main ? "run" : "check") \(steps[step].name)"
    case .stopCommand(let step): return "stop \(steps[step].name)"
    case .killCommand(let step): return "kill \(steps[step].name)"
    case .stepEnded(let step, _, _, skipped: true): return "skip \(steps[step].name)"
    case .waiting(let holder): return "wait for \(holder)"
    case .finished(let outcome): return "finished: \(describe(outcome))"
    case .schedule, .unschedule, .note, .stepBegan, .stepEnded: return nil
    }
  }

  private func describe(_ outcome: NodePhase.Outcome) -> String {
    switch outcome {
    case .done(let ran, let failed): return (ran ? "ran" : "done") + failed.map { " !\($0)" }.joined()
    case .failed(let step, let reason): return "\(step) failed: \(reason)"
    case .timedOut: return "timed out"
    case .storeUnusable(let text): return "unusable: \(text)"
    case .lockLost: return "lock lost"
    case .interrupted: return "interrupted"
    }
  }
}

@Suite struct NodePhaseTests {
  @Test func looksLocksLooksRunsMarksUnlocks() {
    let rig = NodeRig()
    rig.send(.begin)
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "lock", "read", "run static", "run fonts", "mark []", "unlock", "finished: ran",
      ])
    #expect(rig.timer == nil)
  }

  @Test func withItsMarkerNothingIsLocked() {
    let rig = NodeRig(marker: Marker())
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: done"])
  }

  @Test func withoutStepsNothingIsTouched() {
    let rig = NodeRig([])
    #expect(rig.send(.begin) == ["finished: done"])
  }

  @Test func aMarkerThatCameWhileWaitingCounts() {
    let rig = NodeRig()
    rig.send(.begin)
    rig.answer()
    #expect(rig.send(.lockBusy(holder: "them")) == ["wait for them"])
    rig.marker = Marker()
    rig.answerAll()
    #expect(rig.trace.suffix(3) == ["read", "unlock", "finished: done"])
  }

  @Test func aMarkerWithFailedStepsRetriesOnlyThose() {
    let rig = NodeRig(
      [.named("a", fatal: false), .named("b", fatal: false), .named("c", fatal: false)],
      marker: Marker(failedSteps: ["b", "gone"]))
    rig.send(.begin)
    rig.answerAll()
    #expect(
      rig.trace == [
        "read", "lock", "read", "skip a", "run b", "skip c", "mark []", "unlock", "finished: ran",
      ])
    #expect(rig.marker == Marker())
  }

  @Test func aMarkerWhoseFailedStepsAreGoneIsComplete() {
    let rig = NodeRig(marker: Marker(failedSteps: ["gone"]))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace == ["read", "finished: done"])
  }

  @Test func underADevelopmentIDMarkersSayNothing() {
    let rig = NodeRig(runID: nil, marker: Marker(failedSteps: ["fonts"]))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.filter { $0.hasPrefix("run") } == ["run static", "run fonts"])
  }

  @Test(arguments: [false, true]) func aFailure(isFatal: Bool) {
    let rig = NodeRig([.named("static", fatal: isFatal), .named("fonts", fatal: false)])
    rig.failing = ["static"]
    rig.send(.begin)
    rig.answerAll()
    if isFatal {
      #expect(rig.trace.suffix(3) == ["run static", "unlock", "finished: static failed: exit code 1"])
      #expect(rig.marker == nil)
    } else {
      #expect(
        rig.trace.suffix(5) == [
          "run static", "run fonts", "mark [static]", "unlock", "finished: ran !static",
        ])
    }
  }

  @Test func markerSurvivesItsText() {
    let marker = Marker(failedSteps: ["collect static", "b"])
    #expect(Marker(decoding: marker.encoded()) == marker)
    #expect(Marker(decoding: Array("2024-01-01 done\nfailed x\n".utf8)).failedSteps == ["x"])
    #expect(Marker(decoding: []) == Marker())
  }

  @Test func waitingSaysSoEveryFiveSecondsAndEnds() {
    let rig = NodeRig(timeout: .seconds(12))
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    #expect(rig.timer == instant(5000))
    #expect(rig.send(.timer, after: 5000) == ["wait for them"])
    #expect(rig.send(.timer, after: 5000) == ["wait for them"])
    #expect(rig.timer == instant(12_000))
    #expect(rig.send(.timer, after: 2000) == ["abandon", "finished: timed out"])
    #expect(rig.timer == nil)
  }

  static func rig(_ stage: String) -> NodeRig {
    let rig = NodeRig([.named("static", timeout: .seconds(60), retries: 1, fatal: false)])
    if stage == "idle" { return rig }
    rig.send(.begin)
    switch stage {
    case "lookingBefore": break
    case "locking": rig.answer()
    case "waiting":
      rig.answer()
      rig.send(.lockBusy(holder: "them"))
    case "lookingInside":
      rig.answer()
      rig.answer()
    case "marking": rig.answer(until: "mark []")
    case "unlocking": rig.answer(until: "unlock")
    case "finished": rig.answerAll()
    default:
      rig.answer(until: "run static")
      if stage == "timingOut" { rig.send(.timer, after: 60_000) }
      if stage == "killing" { rig.send(.storeFailed("first")) }
      if stage == "retrying" {
        rig.due = []
        rig.send(.commandEnded(.failed("exit code 1")))
      }
    }
    return rig
  }

  struct Row: CustomTestStringConvertible, Sendable {
    var stage: String
    var event: NodePhase.Event
    var words: [String]
    var testDescription: String { "\(stage): \(event)" }

    /// `words`: at once, and after everything is answered.
    init(_ stage: String, _ event: NodePhase.Event, _ words: String...) {
      self.stage = stage
      self.event = event
      self.words = words
    }
  }

  static let faults: [Row] = [
    Row("idle", .interrupt, "abandon", "finished: interrupted"),
    Row("lookingBefore", .interrupt, "abandon", "finished: interrupted"),
    Row("locking", .interrupt, "abandon", "finished: interrupted"),
    Row("waiting", .interrupt, "abandon", "finished: interrupted"),
    Row("lookingInside", .interrupt, "unlock", "finished: interrupted"),
    Row("running", .interrupt, "stop static", "unlock", "finished: interrupted"),
    Row("timingOut", .interrupt, "unlock", "finished: interrupted"),
    Row("retrying", .interrupt, "unlock", "finished: interrupted"),
    Row("marking", .interrupt, "unlock", "finished: ran"),
    Row("killing", .interrupt, "unlock", "finished: unusable: first"),
    Row("unlocking", .interrupt, "finished: ran"),
    Row("finished", .interrupt),
    Row("lookingBefore", .storeFailed("disk"), "abandon", "finished: unusable: disk"),
    Row("locking", .storeFailed("disk"), "abandon", "finished: unusable: disk"),
    Row("waiting", .storeFailed("disk"), "abandon", "finished: unusable: disk"),
    Row("lookingInside", .storeFailed("disk"), "unlock", "finished: unusable: disk"),
    Row("running", .storeFailed("disk"), "kill static", "unlock", "finished: unusable: disk"),
    Row("timingOut", .storeFailed("disk"), "kill static", "unlock", "finished: unusable: disk"),
    Row("retrying", .storeFailed("disk"), "unlock", "finished: unusable: disk"),
    Row("marking", .storeFailed("disk"), "unlock", "finished: unusable: disk"),
    Row("killing", .storeFailed("disk"), "unlock", "finished: unusable: first"),
    Row("unlocking", .storeFailed("disk"), "finished: ran"),
    Row("finished", .storeFailed("disk")),
    Row("idle", .lockLost),
    Row("locking", .lockLost, "finished: lock lost"),
    Row("waiting", .lockLost, "finished: lock lost"),
    Row("lookingInside", .lockLost, "finished: lock lost"),
    Row("running", .lockLost, "kill static", "finished: lock lost"),
    Row("timingOut", .lockLost, "kill static", "finished: lock lost"),
    Row("retrying", .lockLost, "finished: lock lost"),
    Row("marking", .lockLost, "finished: lock lost"),
    Row("killing", .lockLost, "finished: unusable: first"),
    Row("unlocking", .lockLost, "finished: ran"),
    Row("finished", .lockLost),
  ]

  @Test(arguments: faults) func fault(_ row: Row) {
    let rig = NodePhaseTests.rig(row.stage)
    let before = rig.trace.count
    if case .interrupt = row.event {
    } else {
      // The store does not answer what it failed at; a command still ends.
      rig.due.removeAll { if case .run = $0 { false } else { true } }
    }
    rig.send(row.event)
    if row.stage == "idle", row.words.isEmpty {
      #expect(rig.trace.isEmpty)
      return
    }
    rig.answerAll()
    #expect(Array(rig.trace.dropFirst(before)) == row.words)
    #expect(rig.trace.filter { $0.hasPrefix("finished") }.count == 1)
    #expect(rig.phase.isFinished && rig.timer == nil)
    for late: NodePhase.Event in [
      .begin, .marker(nil), .storeFailed("late"), .lockBusy(holder: "x"), .lockLost, .written, .unlocked,
      .commandEnded(.succeeded), .timer, .interrupt,
    ] {
      #expect(rig.send(late) == [], "\(late)")
    }
  }
}
