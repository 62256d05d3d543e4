import EventLoop
import Testing

@testable import Phases

/// One step: command, timeout, retries, check.
@Suite struct StepRunnerTests {
  struct Play: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var step: PhaseStep
    var moves: [(StepRunner.Event, [StepRunner.Effect])]
    var attempts: Int
  }

  static let failed = CommandResult.failed("exit code 1")
  static let retry = StepRunner.Effect.schedule(instant(1000))

  static let plays: [Play] = [
    Play(
      testDescription: "a command that succeeds", step: .named("s"),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(.succeeded), [.unschedule, .ended(.done)]),
        (.commandEnded(.succeeded), []), (.timer, []), (.interrupt, []), (.begin, []),
      ], attempts: 1),
    Play(
      testDescription: "a command that fails", step: .named("s"),
      moves: [
        (.begin, [.run(.main)]),
        (.commandEnded(failed), [.unschedule, .ended(.failed(reason: "exit code 1"))]),
      ], attempts: 1),
    Play(
      testDescription: "the check passes", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(.succeeded), [.run(.check)]),
        (.commandEnded(.succeeded), [.unschedule, .ended(.done)]),
      ], attempts: 1),
    Play(
      testDescription: "the check fails", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(.succeeded), [.run(.check)]),
        (.commandEnded(failed), [.unschedule, .ended(.failed(reason: "its check failed: exit code 1"))]),
      ], attempts: 1),
    Play(
      testDescription: "no check after a failure", step: .named("s", check: true, retries: 1),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(failed), [retry]), (.timer, [.run(.main)]),
        (.commandEnded(.succeeded), [.run(.check)]),
        (.commandEnded(.succeeded), [.unschedule, .ended(.done)]),
      ], attempts: 2),
    Play(
      testDescription: "a failed check is tried again from the command",
      step: .named("s", check: true, retries: 1),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(.succeeded), [.run(.check)]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main)]),
        (.commandEnded(.succeeded), [.run(.check)]),
        (.commandEnded(failed), [.unschedule, .ended(.failed(reason: "its check failed: exit code 1"))]),
      ], attempts: 2),
    Play(
      testDescription: "retries are counted", step: .named("s", retries: 2),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(failed), [retry]), (.timer, [.run(.main)]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main)]),
        (.commandEnded(failed), [.unschedule, .ended(.failed(reason: "exit code 1"))]),
      ], attempts: 3),
    Play(
      testDescription: "a timeout stops the command and fails it", step: .named("s", timeout: .seconds(3)),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]), (.timer, [.stop]), (.timer, []),
        (
          .commandEnded(.succeeded),
          [.unschedule, .ended(.failed(reason: "it did not end within 3s"))]
        ),
      ], attempts: 1),
    Play(
      testDescription: "a timeout of the check", step: .named("s", check: true, timeout: .seconds(3)),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]),
        (.commandEnded(.succeeded), [.run(.check), .schedule(instant(3000))]), (.timer, [.stop]),
        (
          .commandEnded(failed),
          [.unschedule, .ended(.failed(reason: "its check did not end within 3s"))]
        ),
      ], attempts: 1),
    Play(
      testDescription: "a timeout is tried again", step: .named("s", timeout: .seconds(3), retries: 1),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]), (.timer, [.stop]),
        (.commandEnded(failed), [retry]), (.timer, [.run(.main), .schedule(instant(3000))]),
        (.commandEnded(.succeeded), [.unschedule, .ended(.done)]),
      ], attempts: 2),
    Play(
      testDescription: "interrupted before it began", step: .named("s"),
      moves: [(.interrupt, [.unschedule, .ended(.interrupted)]), (.begin, [])], attempts: 0),
    Play(
      testDescription: "interrupted while it runs: it ends first", step: .named("s", retries: 5),
      moves: [
        (.begin, [.run(.main)]), (.interrupt, [.unschedule, .stop]), (.interrupt, []), (.timer, []),
        (.commandEnded(failed), [.unschedule, .ended(.interrupted)]),
      ], attempts: 1),
    Play(
      testDescription: "interrupted while it is stopped for its timeout: told to stop once",
      step: .named("s", timeout: .seconds(3), retries: 1),
      moves: [
        (.begin, [.run(.main), .schedule(instant(3000))]), (.timer, [.stop]), (.interrupt, [.unschedule]),
        (.commandEnded(failed), [.unschedule, .ended(.interrupted)]),
      ], attempts: 1),
    Play(
      testDescription: "interrupted between two tries", step: .named("s", retries: 1),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(failed), [retry]),
        (.interrupt, [.unschedule, .ended(.interrupted)]), (.timer, []),
      ], attempts: 1),
    Play(
      testDescription: "interrupted in its check", step: .named("s", check: true),
      moves: [
        (.begin, [.run(.main)]), (.commandEnded(.succeeded), [.run(.check)]),
        (.interrupt, [.unschedule, .stop]), (.commandEnded(.succeeded), [.unschedule, .ended(.interrupted)]),
      ], attempts: 1),
  ]

  @Test(arguments: plays) func play(_ play: Play) {
    var runner = StepRunner(step: play.step)
    for (number, (event, expected)) in play.moves.enumerated() {
      let effects = runner.handle(event, at: instant(0)).filter {
        if case .note = $0 { return false }
        return true
      }
      #expect(effects == expected, "move \(number): \(event)")
    }
    #expect(runner.attempts == play.attempts)
  }
}
