import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// After a failure: what is recorded of it, and when the next try comes.
@Suite struct InfrastructureRetryTests {
  let migrate = PhaseStep.named("migrate")
  let warm = PhaseStep.named("warm")
  static let second: UInt64 = 1_000_000_000

  @Test func aFailureIsRecordedBeforeTheLockGoes() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    #expect(rig.end("migrate", .failed("exit code 3")) == ["write 1:- [] failed migrate"])
    #expect(rig.answer() == ["unlock"])
    #expect(rig.answer() == ["finished: migrate failed: exit code 3"])
    #expect(
      rig.stored?.failure
        == ReleaseRecord.Failure(count: 1, attempt: 1, step: "migrate", reason: "exit code 3", failedAt: 1000)
    )
    #expect(rig.ends == ["migrate failed: exit code 3", "warm not started: step migrate failed"])
  }

  @Test func afterAFailureTheNextStartResumes() {
    let steps = [migrate, PhaseStep.named("warm", failsWhenInterrupted: true)]
    let rig = InfrastructureRig(steps, stored: .failed(step: "warm", done: [migrate]))
    rig.wall.now = 60 * Self.second
    rig.send(.begin)
    rig.answerAll()
    // A recorded failure is no interruption, so on_interrupted: fail says nothing here.
    #expect(rig.commands == ["run warm"])
    #expect(rig.trace.last == "finished: ready, ran")
    #expect(rig.stored?.failure == nil && rig.stored?.claim?.attempt == 2)
  }

  @Test func failuresInARowAreCountedUntilASuccess() {
    let rig = InfrastructureRig(stored: .failed(count: 3, attempt: 9), rules: .with { $0.retryAfter = nil })
    rig.failing = ["run migrate"]
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.stored?.failure?.count == 4 && rig.stored?.failure?.attempt == 10)
    let next = InfrastructureRig(stored: rig.stored, rules: .with { $0.retryAfter = nil })
    next.send(.begin)
    next.answerAll()
    #expect(next.stored?.failure == nil)
  }

  /// Whatever a file says is only a number.
  @Test(arguments: [Int.max, Int.min, -1]) func numbersOutOfAFileHaveNoEnd(number: Int) {
    let rig = InfrastructureRig(
      stored: .failed(count: number, attempt: number), rules: .with { $0.retryAfter = nil })
    rig.failing = ["run migrate"]
    rig.send(.begin)
    rig.answerAll()
    let next = number == .max ? number : number + 1
    #expect(rig.stored?.failure?.count == next && rig.stored?.failure?.attempt == next)
  }

  // MARK: The pause

  struct Pause: Sendable {
    var count: Int
    /// How long ago the clocks say the failure was; negative: the other clock is ahead.
    var age: Int
    var retryAfter: Duration? = .seconds(10)
    var waits: Int
  }

  static let pauses = [
    Pause(count: 1, age: 0, waits: 10), Pause(count: 2, age: 0, waits: 20),
    Pause(count: 3, age: 0, waits: 40),
    Pause(count: 5, age: 0, waits: 160), Pause(count: 6, age: 0, waits: 300),
    Pause(count: 60, age: 0, waits: 300), Pause(count: Int.max, age: 0, waits: 300),
    Pause(count: 1, age: 4, waits: 6), Pause(count: 1, age: 9, waits: 1), Pause(count: 1, age: 10, waits: 0),
    Pause(count: 1, age: 5000, waits: 0), Pause(count: 1, age: -1, waits: 10),
    Pause(count: 1, age: -86_400, waits: 10), Pause(count: 0, age: 0, waits: 0),
    Pause(count: -1, age: 0, waits: 0), Pause(count: 1, age: 0, retryAfter: nil, waits: 0),
    Pause(count: 9, age: 0, retryAfter: .zero, waits: 0),
    Pause(count: 1, age: 0, retryAfter: .seconds(1200), waits: 1200),
    Pause(count: 4, age: 0, retryAfter: .seconds(1200), waits: 1200),
  ]

  @Test(arguments: pauses) func theNextTryWaits(_ pause: Pause) {
    let base = 1_000_000 * Self.second
    let rig = InfrastructureRig(
      stored: .failed(count: pause.count, at: base),
      rules: .with { ($0.retryAfter, $0.timeout) = (pause.retryAfter, nil) })
    rig.wall.now = UInt64(Int(base) + pause.age * Int(Self.second))
    rig.send(.begin)
    rig.answer()
    if pause.waits == 0 {
      #expect(rig.trace == ["read", "lock"])
      return
    }
    #expect(rig.trace == ["read", "wait for the next try"])
    while !rig.trace.contains("lock"), rig.milliseconds < 3_000_000 {
      if rig.due.isEmpty { rig.passTime() } else { rig.answer() }
    }
    #expect(rig.milliseconds == pause.waits * 1000)
    #expect(rig.play())
    #expect(rig.outcome == .ready(ran: true, outputs: []))
  }

  private func holdingOff(
    _ runID: String? = "r1", rules: InfrastructureRules = InfrastructureRules()
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(runID: runID, stored: .failed(count: 4), rules: rules)
    rig.send(.begin)
    rig.answer()
    return rig
  }

  @Test func thePauseIsNotForADevelopmentID() {
    #expect(holdingOff(nil).trace == ["read", "lock"])
  }

  @Test func whoeverBeginsMeanwhileIsWaitedFor() {
    let rig = holdingOff()
    rig.stored = .left(attempt: 2, at: "migrate")
    #expect(rig.send(.timer, after: 1000) == ["read"])
    #expect(rig.answer() == ["lock"])
    rig.send(.lockBusy(holder: "them"))
    rig.stored = .left(attempt: 2, done: [migrate, warm], completedAt: 3)
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: false, outputs: []))
  }

  @Test func whoeverCompletesMeanwhileIsBelieved() {
    let rig = holdingOff()
    rig.stored = .left(attempt: 2, done: [migrate, warm], completedAt: 3)
    rig.send(.timer, after: 1000)
    #expect(rig.answer() == ["finished: ready"])
  }

  @Test func whoeverFailsMeanwhileEndsItToo() {
    let rig = holdingOff()
    rig.stored = .failed(count: 5, attempt: 2)
    rig.send(.timer, after: 1000)
    #expect(rig.answer() == ["finished: migrate failed: exit code 1"])
  }

  @Test func theRecordOfTheFailureMayBeTakenAway() {
    let rig = holdingOff()
    rig.stored = nil
    rig.send(.timer, after: 1000)
    #expect(rig.answer() == ["lock"])
  }

  /// As for a lock: limits hold, and the text says what for.
  @Test(
    arguments: [(Duration.seconds(30), nil, " "), (nil, .seconds(30), " (max_wait) ")]
      as [(Duration?, Duration?, String)])
  func thePauseEndsWithTheWait(timeout: Duration?, maximum: Duration?, which: String) {
    let rig = holdingOff(rules: .with { ($0.timeout, $0.maximumWait) = (timeout, maximum) })
    #expect(rig.play())
    #expect(rig.milliseconds == 30_000)
    #expect(
      rig.outcome
        == .timedOut(
          "waited 30s\(which)for the next try of run ID r1 (file backend); the last try failed at step migrate: exit code 1"
        ))
  }

  @Test func withoutTimeThereIsNoPause() {
    let rig = holdingOff(rules: .with { $0.timeout = .zero })
    #expect(rig.trace.last == "finished: timed out")
  }

  /// A store that fails is asked once a second, and the time of the try comes all the same.
  @Test func aStoreThatFailsMeanwhileOnlyCostsLooks() {
    let rig = holdingOff(rules: .with { $0.timeout = nil })
    var looks = 0
    while !rig.trace.contains("lock"), looks < 200 {
      rig.passTime()
      if rig.due == [.read] {
        looks += 1
        rig.refuse()
      }
    }
    #expect(looks == 80 && rig.milliseconds == 80_000)
  }

  @Test func aDevelopmentIDWaitsForWhatFailsNow() {
    let rig = InfrastructureRig(runID: nil, stored: .failed(attempt: 4))
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    rig.stored = .failed(attempt: 5)
    rig.answerAll()
    #expect(rig.outcome == .failed(step: "migrate", reason: "exit code 1"))
  }

  // MARK: on_interrupted

  @Test(arguments: [true, false])
  func onInterruptedFail(says: Bool) {
    let steps = [migrate, PhaseStep.named("warm", failsWhenInterrupted: says)]
    let rig = InfrastructureRig(steps, stored: .left(at: "warm", done: [migrate]))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.trace.contains("run warm") == !says)
    #expect(rig.trace.last?.hasPrefix("finished: warm failed: it was interrupted on them") == says)
    #expect(rig.trace.suffix(2).first == "unlock")
    // It says so again until somebody has looked.
    if says { #expect(rig.stored == .left(at: "warm", done: [migrate])) }
  }

  @Test func onInterruptedFailSparesAStepThatNeverBegan() {
    let steps = [PhaseStep.named("migrate", failsWhenInterrupted: true)]
    let rig = InfrastructureRig(steps)
    rig.send(.begin)
    rig.answer(until: "write 1:migrate []")
    rig.send(.interrupt)
    rig.answerAll()
    #expect(rig.trace.last == "finished: interrupted")
    let next = InfrastructureRig(steps, stored: rig.stored)
    next.send(.begin)
    next.answerAll()
    #expect(next.trace.last == "finished: ready, ran")
  }

  /// A stop in the middle of a step is an interruption as a crash is; a failure in order is none.
  @Test(arguments: [true, false])
  func onInterruptedFailCoversAStopInOrder(isStopped: Bool) {
    let steps = [PhaseStep.named("migrate", failsWhenInterrupted: true)]
    let rules = InfrastructureRules.with { $0.retryAfter = nil }
    let rig = InfrastructureRig(steps, rules: rules)
    rig.send(.begin)
    rig.answer(until: "run migrate")
    if isStopped { rig.send(.interrupt) }
    rig.end("migrate", .failed("killed by TERM"))
    rig.answerAll()
    #expect(rig.stored?.claim?.running.map(\.step) == (isStopped ? ["migrate"] : []))
    let next = InfrastructureRig(steps, stored: rig.stored, rules: rules)
    next.send(.begin)
    next.answerAll()
    #expect(next.commands == (isStopped ? [] : ["run migrate"]))
  }

  @Test func onInterruptedFailIsNothingUnderADevelopmentID() {
    let steps = [PhaseStep.named("migrate", failsWhenInterrupted: true)]
    let rig = InfrastructureRig(steps, runID: nil, stored: .left(at: "migrate"))
    rig.send(.begin)
    rig.answerAll()
    #expect(rig.commands == ["run migrate"])
  }
}
