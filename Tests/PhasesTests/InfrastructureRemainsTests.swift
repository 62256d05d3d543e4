import Coordination
import EventLoop
import Testing

@testable import Phases

/// What a step's command ran in a server may outlive it: it is ended before anything else begins.
@Suite struct InfrastructureRemainsTests {
  private let goesOn = StoreFailure("what a step ran in PostgreSQL goes on", kind: .permission)

  private func working(
    _ steps: [PhaseStep], parallelism: Int = 1, until word: String = "run migrate"
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(
      steps,
      rules: .with {
        $0.endsRemains = true
        $0.startsOver = true
        $0.parallelism = parallelism
      })
    rig.send(.begin)
    rig.answer(until: word)
    return rig
  }

  @Test func aTryThatFailedIsFollowedByAnotherOnlyOnceNothingOfItIsLeft() {
    let rig = working([.named("migrate", timeout: .seconds(5), retries: 1)])
    #expect(rig.send(.stepTimer(step: 0), after: 5000) == ["stop migrate"])
    #expect(rig.end("migrate", .failed("killed by TERM")) == ["end remains 0"])
    #expect(rig.stepTimers.isEmpty, "no try begins meanwhile")
    #expect(rig.send(.stepTimer(step: 0)) == [])
    rig.takeDue()
    rig.send(.remainsEnded(step: 0, nil))
    #expect(rig.notes.last == "step migrate: it did not end within 5s; trying again in 1s (1 try left)")
    #expect(rig.send(.stepTimer(step: 0), after: 1000) == ["run migrate"])
  }

  @Test func whatSucceededLeftNothing() {
    let rig = working([.named("migrate")])
    rig.answerAll()
    #expect(rig.trace.last == "finished: ready, ran")
    #expect(!rig.trace.contains("end remains 0"))
  }

  @Test func aRollbackComesAfterIt() {
    let rig = working([.named("migrate", rollback: true, rollbackFailed: true)])
    #expect(rig.end("migrate", .failed("exit code 1")) == ["end remains 0"])
    rig.answer(until: "rollback migrate")
    #expect(rig.trace.contains("rollback migrate"))
  }

  @Test func whatCannotBeEndedIsNeitherTriedAgainNorTakenBack() {
    let rig = working([.named("migrate", rollback: true, retries: 3, rollbackFailed: true)])
    rig.end("migrate", .failed("exit code 1"))
    rig.takeDue()
    rig.send(.remainsEnded(step: 0, goesOn))
    rig.answerAll()
    #expect(rig.commands == ["run migrate"])
    #expect(
      rig.outcome == .failed(step: "migrate", reason: "exit code 1; what a step ran in PostgreSQL goes on"))
    // Whoever comes next has to look for it.
    #expect(rig.stored?.claim?.running.map(\.step) == ["migrate"])
  }

  @Test func theLossOfTheLockWaitsForNoAnswer() {
    let rig = working([.named("migrate", retries: 1)])
    rig.end("migrate", .failed("exit code 1"))
    let said = rig.send(.lockLost)
    #expect(!said.contains("kill migrate"), "it has ended")
    #expect(said.contains("abandon") && said.last == "read", "it begins again: \(said)")
    #expect(rig.send(.remainsEnded(step: 0, nil)) == [])
    #expect(rig.problems.isEmpty)
  }

  @Test func aStopWaitsForNoAnswer() {
    let rig = working([.named("migrate", retries: 1)])
    rig.end("migrate", .failed("exit code 1"))
    rig.takeDue()
    let said = rig.send(.interrupt)
    #expect(!said.contains("stop migrate"))
    rig.answerAll()
    #expect(rig.outcome == .interrupted)
    #expect(rig.send(.remainsEnded(step: 0, nil)) == [])
    // The lock is given back by one that looks for what is left by itself.
    #expect(rig.stored?.claim?.running.map(\.step) == ["migrate"])
  }

  @Test func anotherStepGoesOnMeanwhile() {
    let rig = working([.named("migrate", retries: 1), .named("warm")], parallelism: 2, until: "run warm")
    #expect(rig.end("migrate", .failed("exit code 1")) == ["end remains 0"])
    rig.end("warm")
    rig.play()
    #expect(rig.commands == ["run migrate", "run warm", "run migrate"])
    #expect(rig.outcome == .ready(ran: true, outputs: []))
  }
}
