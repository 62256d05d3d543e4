import Coordination
import ReleaseRecords
import Testing

@testable import Phases

/// A step whose work has parts: what is recorded of them, and what the next try is told.
struct InfrastructurePartsTests {
  private let steps: [PhaseStep] = [.named("migrate", rollback: true), .named("hooks", needs: ["migrate"])]

  /// At the second step, whose index is 1.
  private func atHooks(
    _ steps: [PhaseStep]? = nil, stored: ReleaseRecord? = nil, runID: String? = "r1"
  ) -> InfrastructureRig {
    let rig = InfrastructureRig(steps ?? self.steps, runID: runID, stored: stored)
    rig.send(.begin)
    rig.answer(until: "run hooks")
    return rig
  }

  private func told(_ rig: InfrastructureRig) -> String? {
    rig.environment["run hooks"]?.first { $0.key == "SUPERVISOR_DONE" }?.value
  }

  private func part(_ name: String, hash: String? = nil) -> ReleaseRecord.Part {
    ReleaseRecord.Part(step: "hooks", hash: hash ?? steps[1].hash, name: name)
  }

  @Test func `each part is made durable at once, and only once`() {
    let rig = atHooks()
    #expect(told(rig) == nil)
    #expect(rig.send(.partsDone(step: 1, ["a"])) == ["write 1:hooks [migrate]"])
    #expect(rig.answerWrite() == [])
    #expect(rig.stored?.parts == [part("a")])
    #expect(rig.send(.partsDone(step: 1, ["a"])) == [])
    rig.send(.partsDone(step: 1, ["a", "b"]))
    rig.answerWrite()
    #expect(rig.stored?.parts == [part("a"), part("b")])
  }

  @Test(arguments: [true, false])
  func `the next try is told, whether the last one failed or vanished`(vanished: Bool) {
    let rig = atHooks([.named("migrate"), .named("hooks", needs: ["migrate"])])
    rig.send(.partsDone(step: 1, ["a", "b"]))
    rig.answerWrite()
    if !vanished {
      rig.end("hooks", .failed("exit code 1"))
      rig.answerAll()
      #expect(rig.stored?.failure?.step == "hooks")
    }
    let again = InfrastructureRig(rig.steps, stored: rig.stored, rules: .with { $0.retryAfter = nil })
    again.send(.begin)
    again.answer(until: "run hooks")
    #expect(again.commands == ["run hooks"])
    #expect(told(again) == "a b")
    again.answerAll()
    #expect(again.outcome == .ready(ran: true, outputs: []))
    #expect(again.stored?.parts == [])
  }

  @Test func `another try of the same start is told too`() {
    let rig = atHooks([.named("migrate"), .named("hooks", retries: 1)])
    rig.send(.partsDone(step: 1, ["a"]))
    rig.answerWrite()
    rig.end("hooks", .failed("exit code 1"))
    rig.passTime()
    #expect(rig.commands == ["run migrate", "run hooks", "run hooks"])
    #expect(told(rig) == "a")
  }

  @Test func `a step that is done has no parts, and the next start of a changed one does all`() {
    let rig = atHooks()
    rig.send(.partsDone(step: 1, ["a"]))
    rig.answerWrite()
    rig.end("hooks")
    rig.answerAll()
    #expect(rig.stored?.isDone("hooks", hash: steps[1].hash) == true)
    #expect(rig.stored?.parts == [])
    var left = ReleaseRecord.left(done: [steps[0]])
    left.parts = [part("a", hash: "another")]
    #expect(told(atHooks(stored: left)) == nil)
  }

  @Test func `a failed check has all of it done again`() {
    let rig = atHooks([.named("migrate"), .named("hooks", check: true, retries: 1)])
    rig.send(.partsDone(step: 1, ["a", "b"]))
    rig.answerWrite()
    rig.failing = ["check hooks"]
    rig.end("hooks")
    rig.answerAll()
    rig.passTime()
    #expect(rig.commands.suffix(2) == ["check hooks", "run hooks"])
    #expect(told(rig) == nil)
  }

  @Test func `what is rolled back takes the parts of what needs it along`() {
    let rig = atHooks()
    rig.send(.partsDone(step: 1, ["a"]))
    rig.answerWrite()
    rig.end("hooks", .failed("exit code 1"))
    rig.answerAll()
    #expect(rig.commands == ["run migrate", "run hooks", "rollback migrate"])
    #expect(rig.environment["rollback migrate"] == [])
    #expect(rig.stored?.entries == [])
    #expect(rig.stored?.parts == [])
  }

  @Test func `a development run ID believes no parts of an earlier start`() {
    var left = ReleaseRecord.left(done: [steps[0]])
    left.parts = [part("a")]
    #expect(told(atHooks(stored: left, runID: nil)) == nil)
  }

  @Test func `parts of a step that does not run, or without the lock, are nobody's`() {
    let rig = atHooks()
    #expect(rig.send(.partsDone(step: 0, ["a"])) == [])
    rig.send(.lockLost)
    #expect(rig.send(.partsDone(step: 1, ["a"])) == [])
    #expect(rig.problems == [])
  }

  @Test func `a part that cannot be written leaves the step alone`() {
    let rig = atHooks()
    rig.send(.partsDone(step: 1, ["a"]))
    rig.due.removeAll { if case .write = $0 { true } else { false } }
    #expect(rig.send(.storeFailed(StoreFailure("disk"))) == [])
    rig.passTime()
    rig.answerWrite()
    #expect(rig.stored?.parts == [part("a")])
    rig.end("hooks")
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: true, outputs: []))
  }
}
