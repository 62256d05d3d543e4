import EventLoop
import Testing

@testable import Phases

/// A record that cannot be written: nothing begins or counts as done without it, and what runs goes on for a while.
@Suite struct InfrastructureWriteTests {
  static let disk = InfrastructurePhase.Outcome.storeUnusable(StoreFailure("disk"))

  /// Every write fails until `milliseconds`; the rest is answered.
  private func play(_ rig: InfrastructureRig, refusingUntil end: Int) {
    for _ in 0..<400 where rig.outcome == nil {
      if let index = rig.due.firstIndex(where: { if case .write = $0 { true } else { false } }),
        rig.milliseconds < end
      {
        rig.due.remove(at: index)
        rig.send(.storeFailed(StoreFailure("disk")))
      } else if rig.due.isEmpty {
        rig.passTime()
      } else {
        rig.answer()
      }
    }
  }

  @Test func theFirstWriteThatFailsEndsItAtOnce() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "write 1:- []")
    #expect(rig.refuse() == ["unlock"])
    #expect(rig.answer() == ["finished: unusable: disk"])
    #expect(rig.milliseconds == 0)
  }

  /// The write before a step, after it, of the end.
  @Test(arguments: ["write 1:migrate []", "write 1:- [migrate]", "write 1:- [migrate warm] complete"])
  func aWriteIsTriedAgainEachSecond(word: String) {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: word)
    let commands = rig.commands
    #expect(rig.refuse() == [])
    #expect(rig.heartbeat == instant(1000))
    #expect(rig.notes.last == "disk; trying again in 1s")
    #expect(rig.send(.heartbeat, after: 1000) == [word])
    #expect(rig.refuse() == [])
    // Nothing has begun on the strength of what is not written.
    #expect(rig.commands == commands)
    #expect(rig.play())
    #expect(rig.outcome == .ready(ran: true, outputs: []))
    #expect(rig.commands == ["run migrate", "run warm"])
  }

  @Test(arguments: ["write 1:migrate []", "write 1:- [migrate]", "write 1:- [migrate warm] complete"])
  func afterTenSecondsItIsGivenUp(word: String) {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: word)
    play(rig, refusingUntil: .max)
    #expect(rig.outcome == Self.disk)
    #expect(rig.milliseconds == 10_000)
    #expect(rig.trace.suffix(2) == ["unlock", "finished: unusable: disk"])
  }

  @Test func oneHeartbeatThatFailsChangesNothing() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    rig.due.removeFirst()
    #expect(rig.send(.heartbeat, after: 5000) == ["write 1:migrate []"])
    #expect(rig.refuse() == [])
    #expect(rig.notes.last == "disk; trying again in 1s (what runs goes on, since the lock holds)")
    #expect(rig.send(.heartbeat, after: 1000) == ["write 1:migrate []"])
    #expect(rig.answer() == [])
    #expect(rig.heartbeat == instant(11_000))
    // The ten seconds begin anew with the next one that fails.
    rig.send(.heartbeat, after: 5000)
    #expect(rig.refuse() == [])
    rig.end("migrate")
    #expect(rig.play())
    #expect(rig.outcome == .ready(ran: true, outputs: []) && rig.problems.isEmpty)
  }

  @Test func whatRunsIsStoppedInOrderWhenItCannotBeRecorded() {
    let rig = InfrastructureRig(
      [.named("a"), .named("b"), .named("c", needs: ["a"])], rules: .with { $0.parallelism = 2 })
    rig.send(.begin)
    rig.answer(until: "run b")
    rig.due = []
    rig.send(.heartbeat, after: 5000)
    for _ in 0..<10 {
      #expect(rig.refuse() == [])
      rig.send(.heartbeat, after: 1000)
    }
    #expect(rig.refuse() == ["stop a", "stop b"])
    #expect(rig.notes.last == "disk: what runs is stopped, since it could not be recorded")
    #expect(rig.end("a") == [])
    #expect(rig.end("b", .failed("killed by TERM")) == ["unlock"])
    rig.answerAll()
    #expect(rig.outcome == Self.disk && rig.problems.isEmpty)
    #expect(rig.ends == ["c not started: stopped before", "a interrupted", "b interrupted"])
  }

  @Test func betweenTwoTriesNothingHasToBeStopped() {
    let rig = InfrastructureRig([.named("a", retries: 1)])
    rig.send(.begin)
    rig.answer(until: "run a")
    rig.send(.heartbeat, after: 5000)
    rig.due.removeFirst()
    for _ in 0..<10 {
      rig.refuse()
      rig.send(.heartbeat, after: 1000)
    }
    rig.end("a", .failed("exit code 1"))
    #expect(rig.refuse() == ["unlock"])
  }

  @Test func aWriteThatFailsBetweenOthersIsMadeGoodByTheNext() {
    let rig = InfrastructureRig(
      [.named("a"), .named("b"), .named("c", needs: ["a", "b"])], rules: .with { $0.parallelism = 2 })
    rig.send(.begin)
    rig.answer(until: "run b")
    rig.end("a")
    rig.end("b")
    #expect(rig.refuse() == [])
    #expect(rig.answer() == ["write 1:c [a b]"])
  }

  @Test func aFailureThatCannotBeRecordedIsAFailure() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    rig.end("migrate", .failed("exit code 3"))
    play(rig, refusingUntil: .max)
    #expect(rig.outcome == .failed(step: "migrate", reason: "exit code 3"))
    #expect(rig.milliseconds == 10_000)
  }

  @Test func aStopThatCannotBeRecordedIsAStop() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "run migrate")
    rig.send(.interrupt)
    rig.end("migrate")
    play(rig, refusingUntil: .max)
    #expect(rig.outcome == .interrupted)
    // What stops after us needs its time.
    #expect(rig.milliseconds == 2000)
  }

  /// A rollback does not begin before the record says that its step is not done any more.
  @Test(arguments: [5000, Int.max]) func noRollbackBeforeItsRecordIsRemoved(until end: Int) {
    let rig = InfrastructureRig([.named("a", rollback: true), .named("b", needs: ["a"])])
    rig.send(.begin)
    rig.answer(until: "run b")
    rig.end("b", .failed("exit code 1"))
    play(rig, refusingUntil: end)
    #expect(rig.commands.contains("rollback a") == (end == 5000))
    #expect(rig.outcome == (end == 5000 ? .failed(step: "b", reason: "exit code 1") : Self.disk))
  }

  @Test func aRollbackThatRunsEndsWhenNothingCanBeWrittenAnyMore() {
    let steps: [PhaseStep] = [.named("a", rollback: true), .named("b", rollback: true), .named("c")]
    let rig = InfrastructureRig(steps)
    rig.send(.begin)
    rig.answer(until: "run c")
    rig.end("c", .failed("exit code 1"))
    rig.answer()
    rig.due = []
    rig.send(.heartbeat, after: 5000)
    for _ in 0..<11 {
      if !rig.due.isEmpty { rig.refuse() }
      rig.send(.heartbeat, after: 1000)
    }
    #expect(!rig.trace.contains("stop b"))
    rig.due = []
    rig.end("b")
    play(rig, refusingUntil: .max)
    #expect(rig.commands.last == "rollback b")
    #expect(rig.outcome != nil && rig.problems.isEmpty)
  }

  /// Readiness is not there before every record is.
  @Test func nothingIsCompleteWhileTheLastStepIsNotRecorded() {
    let rig = InfrastructureRig()
    rig.send(.begin)
    rig.answer(until: "write 1:- [migrate warm]")
    rig.refuse()
    #expect(rig.send(.heartbeat, after: 1000) == ["write 1:- [migrate warm]"])
    #expect(rig.answer() == ["write 1:- [migrate warm] complete"])
  }
}
