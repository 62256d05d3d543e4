import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// One step: command, timeout, retries, check.
@Suite struct StepRunnerTests {
  struct Play: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var step: PhaseStep
    var moves: [(StepRunner.Event, [StepRunner.Effect])]
    var attempts: Int
    var task = StepRunner.Task.step
  }

  static let failed = CommandResult.failed("exit code 1")
  /// A step without a timeout is worth a line after ten minutes.
  static let long = StepRunner.Effect.schedule(instant(600_000))
  static let retry = StepRunner.Effect.schedule(instant(1000))

  static let plays: [Play] = [
    Play(
      testDescription: "a command that succeeds", step: .named("s"),
      moves: [
        (.begin, [.run(.main), long]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.done, outputs: [])]),
        (.commandEnded(.succeeded()), []), (.timer, []), (.interrupt, []), (.begin, []),
      ], attempts: 1),
    Play(
      testDescription: "a command that fails", step: .named("s"),
      moves: [
        (.begin, [.run(.main), long]),
        (.commandEnded(failed), [.unschedule, .ended(.failed(reason: "exit code 1"), outputs: [])]),
      ], attempts: 1),
    Play(
      testDescription: "the check passes", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(.succeeded()), [.run(.check), long]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.done, outputs: [])]),
      ], attempts: 1),
    Play(
      testDescription: "the check fails", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(.succeeded()), [.run(.check), long]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.failed(reason: "its check failed: exit code 1"), outputs: [])]
        ),
      ], attempts: 1),
    Play(
      testDescription: "no check after a failure", step: .named("s", check: true, retries: 1),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(failed), [retry]), (.timer, [.run(.main), long]),
        (.commandEnded(.succeeded()), [.run(.check), long]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.done, outputs: [])]),
      ], attempts: 2),
    Play(
      testDescription: "a failed check is tried again from the command",
      step: .named("s", check: true, retries: 1),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(.succeeded()), [.run(.check), long]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main), long]),
        (.commandEnded(.succeeded()), [.run(.check), long]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.failed(reason: "its check failed: exit code 1"), outputs: [])]
        ),
      ], attempts: 2),
    Play(
      testDescription: "retries are counted", step: .named("s", retries: 2),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(failed), [retry]), (.timer, [.run(.main), long]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main), long]),
        (.commandEnded(failed), [.unschedule, .ended(.failed(reason: "exit code 1"), outputs: [])]),
      ], attempts: 3),
    Play(
      testDescription: "a timeout stops the command and fails it", step: .named("s", timeout: .seconds(3)),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]), (.timer, [.stop]), (.timer, []),
        (
          .commandEnded(.succeeded()),
          [.unschedule, .ended(.failed(reason: "it did not end within 3s"), outputs: [])]
        ),
      ], attempts: 1),
    Play(
      testDescription: "a timeout of the check", step: .named("s", check: true, timeout: .seconds(3)),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]),
        (.commandEnded(.succeeded()), [.run(.check), .schedule(instant(3000))]), (.timer, [.stop]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.failed(reason: "its check did not end within 3s"), outputs: [])]
        ),
      ], attempts: 1),
    Play(
      testDescription: "a timeout is tried again", step: .named("s", timeout: .seconds(3), retries: 1),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]), (.timer, [.stop]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main), .schedule(instant(3000))]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.done, outputs: [])]),
      ], attempts: 2),
    Play(
      testDescription: "interrupted before it began", step: .named("s"),
      moves: [(.interrupt, [.unschedule, .ended(.interrupted, outputs: [])]), (.begin, [])], attempts: 0),
    Play(
      testDescription: "interrupted while it runs: it ends first", step: .named("s", retries: 5),
      moves: [
        (.begin, [.run(.main), long]), (.interrupt, [.unschedule, .stop]), (.interrupt, []), (.timer, []),
        (.commandEnded(failed), [.unschedule, .ended(.interrupted, outputs: [])]),
      ], attempts: 1),
    Play(
      testDescription: "interrupted while it is stopped for its timeout: told to stop once",
      step: .named("s", timeout: .seconds(3), retries: 1),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]), (.timer, [.stop]), (.interrupt, [.unschedule]),
        (.commandEnded(failed), [.unschedule, .ended(.interrupted, outputs: [])]),
      ], attempts: 1),
    Play(
      testDescription: "interrupted between two tries", step: .named("s", retries: 1),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(failed), [retry]),
        (.interrupt, [.unschedule, .ended(.interrupted, outputs: [])]), (.timer, []),
      ], attempts: 1),
    Play(
      testDescription: "interrupted in its check", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(.succeeded()), [.run(.check), long]),
        (.interrupt, [.unschedule, .stop]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.interrupted, outputs: [])]),
      ], attempts: 1),
    Play(
      testDescription: "its outputs are those of the try that succeeded",
      step: .named("s", check: true, retries: 1),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(.succeeded(outputs: [first])), [.run(.check), long]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main), long]),
        (.commandEnded(.succeeded(outputs: [second])), [.run(.check), long]),
        (.commandEnded(.succeeded(outputs: [first])), [.unschedule, .ended(.done, outputs: [second])]),
      ], attempts: 2),
    Play(
      testDescription: "what failed gives nothing", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main), long]), (.commandEnded(.succeeded(outputs: [first])), [.run(.check), long]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.failed(reason: "its check failed: exit code 1"), outputs: [])]
        ),
      ], attempts: 1),
    Play(
      testDescription: "a verification that passes is a check and nothing else",
      step: .named("s", check: true, retries: 3),
      moves: [
        (.begin, [.run(.check), long]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.skipped("its check passed"), outputs: [])]),
        (.timer, []),
      ], attempts: 0, task: .verification),
    Play(
      testDescription: "a verification is not tried again", step: .named("s", check: true, retries: 3),
      moves: [
        (.begin, [.run(.check), long]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.failed(reason: "its check failed: exit code 1"), outputs: [])]
        ),
      ], attempts: 0, task: .verification),
    Play(
      testDescription: "a verification that takes too long",
      step: .named("s", check: true, timeout: .seconds(3)),
      moves: [
        (.begin, [.run(.check), .schedule(instant(3000))]), (.timer, [.stop]),
        (
          .commandEnded(.succeeded()),
          [.unschedule, .ended(.failed(reason: "its check did not end within 3s"), outputs: [])]
        ),
      ], attempts: 0, task: .verification),
    Play(
      testDescription: "a rollback", step: .named("s", check: true, rollback: true, retries: 3),
      moves: [
        (.begin, [.run(.rollback), long]),
        (.commandEnded(.succeeded(outputs: [first])), [.unschedule, .ended(.undone, outputs: [])]),
      ], attempts: 0, task: .rollback),
    Play(
      testDescription: "a rollback that fails is not tried again",
      step: .named("s", rollback: true, retries: 3),
      moves: [
        (.begin, [.run(.rollback), long]),
        (.commandEnded(failed), [.unschedule, .ended(.undoFailed(reason: "exit code 1"), outputs: [])]),
      ], attempts: 0, task: .rollback),
    Play(
      testDescription: "a rollback that takes too long",
      step: .named("s", rollback: true, timeout: .seconds(3)),
      moves: [
        (.begin, [.run(.rollback), .schedule(instant(3000))]), (.timer, [.stop]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.undoFailed(reason: "its rollback did not end within 3s"), outputs: [])]
        ),
      ], attempts: 0, task: .rollback),
    Play(
      testDescription: "without a timeout ten minutes are worth a line, and ten more another one",
      step: .named("s"),
      moves: [
        (.begin, [.run(.main), long]), (.timer, [long]), (.timer, [long]),
        (.commandEnded(.succeeded()), [.unschedule, .ended(.done, outputs: [])]),
      ], attempts: 1),
  ]
  static let first = StepOutput(key: "A", value: "1")
  static let second = StepOutput(key: "A", value: "2")

  @Test(arguments: plays) func play(_ play: Play) {
    var runner = StepRunner(step: play.step, task: play.task)
    for (number, (event, expected)) in play.moves.enumerated() {
      let effects = runner.handle(event, at: instant(0)).filter {
        if case .note = $0 { return false }
        return true
      }
      #expect(effects == expected, "move \(number): \(event)")
    }
    #expect(runner.attempts == play.attempts)
  }

  @Test func theLineSaysHowLong() {
    var runner = StepRunner(step: .named("migrate"))
    _ = runner.handle(.begin, at: instant(0))
    #expect(
      runner.handle(.timer, at: instant(600_000)) == [
        .note(
          "step migrate: runs for 10m now and has no timeout: set one if that is not what it should take"),
        .schedule(instant(1_200_000)),
      ])
  }

  @Test(arguments: [StepRunner.Task.step, .verification, .rollback])
  func aCommandRunsUntilItHasEnded(task: StepRunner.Task) {
    var runner = StepRunner(
      step: .named("s", check: true, rollback: true, timeout: .seconds(1), retries: 1), task: task)
    #expect(!runner.commandRuns)
    _ = runner.handle(.begin, at: instant(0))
    #expect(runner.commandRuns)
    _ = runner.handle(.timer, at: instant(1000))
    #expect(runner.commandRuns)
    _ = runner.handle(.commandEnded(.failed("x")), at: instant(1100))
    #expect(!runner.commandRuns)
    _ = runner.handle(.timer, at: instant(2100))
    #expect(runner.commandRuns == (task == .step))
    _ = runner.handle(.interrupt, at: instant(2200))
    #expect(runner.commandRuns == (task == .step))
  }

  @Test func aCheckThatCouldNotBeRunSaysNothingOfTheStep() {
    var runner = StepRunner(step: .named("a", check: true), task: .verification)
    var now = 0
    _ = runner.handle(.begin, at: instant(now))
    for _ in 0..<StepRunner.mostUnrunChecks {
      let effects = runner.handle(.commandEnded(.notRun("no process")), at: instant(now))
      #expect(effects.last == .schedule(instant(now + 1000)) && !runner.commandRuns)
      now += 1000
      #expect(runner.handle(.timer, at: instant(now)).first == .run(.check))
    }
    #expect(
      runner.handle(.commandEnded(.notRun("no process")), at: instant(now)).last
        == .ended(.failed(reason: "its check failed: no process"), outputs: []))
  }

  @Test func aCommandThatCouldNotBeRunHasFailed() {
    var runner = StepRunner(step: .named("a"))
    _ = runner.handle(.begin, at: instant(0))
    #expect(
      runner.handle(.commandEnded(.notRun("no process")), at: instant(0)).last
        == .ended(.failed(reason: "no process"), outputs: []))
  }
}
