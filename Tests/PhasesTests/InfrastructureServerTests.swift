import EventLoop
import ReleaseRecords
import Testing

@testable import Phases

/// Lock and record in a server: one that is not there, that goes, and that tells when the lock is free.
@Suite struct InfrastructureServerTests {
  private let down = StoreFailure("db:5432 refuses connections", kind: .unavailable)
  private let migrate = PhaseStep.named("migrate")
  private let warm = PhaseStep.named("warm")

  private static let overServer = InfrastructureRules.with { $0.startsOver = true }

  private func waiter(_ rules: InfrastructureRules = overServer) -> InfrastructureRig {
    let rig = InfrastructureRig(rules: rules)
    rig.send(.begin)
    rig.answer()
    rig.send(.lockBusy(holder: "them"))
    return rig
  }

  // MARK: Not there

  @Test func aServerThatIsNotThereIsWaitedForAndNamed() {
    let rig = InfrastructureRig(rules: .with { $0.timeout = .seconds(20) })
    #expect(rig.send(.begin) == ["read"])
    #expect(rig.send(.storeUnavailable(down)) == ["wait for db:5432 refuses connections"])
    #expect(rig.notes == ["waiting: db:5432 refuses connections (for 0s now)"])
    #expect(rig.send(.timer, after: 1000) == [])
    #expect(rig.send(.timer, after: 4000) == ["wait for db:5432 refuses connections"])
    // The answer comes at last, and the phase goes on at once.
    #expect(rig.answer() == ["lock"])
  }

  @Test(arguments: [2, 300])
  func itIsGivenUpWhenTheTimeIsOver(seconds: Int) {
    let rig = InfrastructureRig(rules: .with { $0.timeout = .seconds(seconds) })
    rig.send(.begin)
    rig.send(.storeUnavailable(down))
    rig.send(.timer, after: seconds * 1000 - 1)
    #expect(rig.outcome == nil)
    rig.send(.timer, after: 1)
    guard case .storeUnusable(let failure) = rig.outcome else {
      Issue.record("\(String(describing: rig.outcome))")
      return
    }
    #expect(failure.kind == .unavailable && failure.exitCode == 69)
    #expect(failure.text.hasSuffix("for the backend of lock and record: db:5432 refuses connections"))
  }

  @Test func oneTryIsOneTry() {
    let rig = InfrastructureRig(rules: .with { $0.timeout = .zero })
    rig.send(.begin)
    rig.send(.storeUnavailable(down))
    guard case .storeUnusable = rig.outcome else {
      Issue.record("\(String(describing: rig.outcome))")
      return
    }
  }

  /// One budget: what was waited for the server is not there again for the lock.
  @Test func theTimeForTheServerIsTakenFromThatForTheLock() {
    let rig = InfrastructureRig(rules: .with { $0.timeout = .seconds(10) })
    rig.send(.begin)
    rig.send(.storeUnavailable(down))
    rig.send(.timer, after: 7000)
    #expect(rig.answer() == ["lock"])
    rig.send(.lockBusy(holder: "a stranger"))
    rig.send(.timer, after: 2999)
    #expect(rig.outcome == nil)
    rig.due = []
    rig.send(.record(nil))
    rig.send(.timer, after: 1)
    rig.due = []
    rig.send(.record(nil))
    guard case .timedOut(let text) = rig.outcome else {
      Issue.record("\(String(describing: rig.outcome))")
      return
    }
    #expect(text.contains("after 7s for what it needs"))
  }

  @Test func aServerThatGoesWhileTheLockIsWaitedForIsNoEnd() {
    let rig = waiter(.with { $0.timeout = .seconds(20) })
    #expect(rig.send(.timer, after: 1000) == ["read"])
    rig.send(.storeUnavailable(down))
    #expect(rig.send(.timer, after: 10_000) == ["wait for db:5432 refuses connections"])
    #expect(rig.outcome == nil)
    rig.due = []
    #expect(rig.send(.record(nil)).contains { $0.hasPrefix("wait for") } == false)
    rig.send(.timer, after: 1000)
    #expect(rig.due.contains(.read), "it looks as before")
  }

  @Test func aLockWithoutARecordIsGivenBack() {
    let rig = InfrastructureRig(rules: Self.overServer)
    rig.send(.begin)
    rig.answer()
    #expect(rig.send(.lockHeld(leftBy: "")) == ["read"])
    rig.send(.storeUnavailable(down))
    #expect(rig.send(.timer, after: 9_999) == [])
    #expect(rig.send(.timer, after: 1) == ["unlock"])
  }

  // MARK: Free

  @Test func aWaiterThatIsToldOfTheEndIsReadyWithoutTheLock() {
    let rig = waiter()
    #expect(
      rig.send(.lockFree(.left(done: [migrate, warm], completedAt: 50))) == ["abandon", "finished: ready"])
  }

  @Test func aHolderThatLeftTheWorkUndoneIsFollowed() {
    let rig = waiter()
    #expect(rig.send(.lockFree(.left(at: "migrate"))) == ["contend"])
    #expect(rig.send(.lockHeld(leftBy: "")) == ["read"])
  }

  @Test func aWaiterThatIsToldOfAFailureEndsWithIt() {
    let rig = waiter()
    var record = ReleaseRecord.left(at: "migrate")
    record.failure = ReleaseRecord.Failure(count: 1, attempt: 1, step: "migrate", reason: "no", failedAt: 5)
    #expect(rig.send(.lockFree(record)) == ["abandon", "finished: migrate failed: no"])
  }

  @Test func whoHasTheLockIsNotToldThatItIsFree() {
    let rig = InfrastructureRig(rules: Self.overServer)
    rig.send(.begin)
    rig.answer()
    rig.send(.lockHeld(leftBy: ""))
    #expect(rig.send(.lockFree(nil)) == [])
  }

  // MARK: Lost

  /// The step is killed, and only after its end everything begins again: an interruption is no failure.
  @Test func aLostLockIsWaitedForAgainOnceTheStepHasEnded() {
    let rig = InfrastructureRig(rules: Self.overServer)
    rig.send(.begin)
    rig.answer()
    rig.answer()
    rig.answer()
    rig.answer()
    #expect(rig.answer() == ["run migrate"])
    #expect(rig.send(.lockLost) == ["kill migrate"])
    #expect(rig.answer().suffix(2) == ["abandon", "read"])
    #expect(rig.outcome == nil && rig.heartbeat == nil)
    // Somebody else has done it meanwhile.
    rig.due = []
    rig.send(.record(.left(done: [migrate, warm], completedAt: 50)))
    #expect(rig.outcome == .ready(ran: false, outputs: []))
    #expect(rig.problems.isEmpty)
  }

  @Test func whoStopsDoesNotBeginAgain() {
    let rig = InfrastructureRig(rules: Self.overServer)
    rig.send(.begin)
    rig.answer()
    rig.answer()
    rig.answer()
    rig.answer()
    rig.answer()
    rig.send(.interrupt)
    rig.send(.lockLost)
    rig.answer()
    #expect(rig.outcome == .lockLost && rig.problems.isEmpty)
  }

  // MARK: Hearsay

  private func hearsay(_ change: (inout ReleaseRecord) -> Void = { _ in }) -> ReleaseRecord {
    var record = ReleaseRecord(runID: "r1")
    record.completedAt = 1
    record.declaredBy = "the Redis key k"
    record.isHearsay = true
    change(&record)
    return record
  }

  @Test func aYesWithoutALedgerIsCheckedUnderTheLockAndThenRecorded() {
    let rig = InfrastructureRig(
      [.named("migrate", check: true), .named("warm")], stored: hearsay(), rules: Self.overServer)
    rig.send(.begin)
    #expect(rig.answer() == ["lock"])
    rig.answer()
    #expect(rig.answer() == ["check migrate"])
    rig.answerAll()
    #expect(rig.outcome == .ready(ran: true, outputs: []))
    #expect(rig.commands == ["check migrate"])
    #expect(rig.stored?.entries.map(\.step) == ["migrate", "warm"])
    #expect(rig.stored?.declaredBy == nil && rig.stored?.isHearsay == false)
  }

  /// The database was made anew and the cache was not: nothing that the cache says is about this one.
  @Test func aYesThatOneCheckDeniesIsBelievedInNothing() {
    let rig = InfrastructureRig(
      [.named("migrate", check: true), .named("warm")], stored: hearsay(), rules: Self.overServer)
    rig.failing = ["check migrate"]
    rig.send(.begin)
    rig.answer()
    rig.answer()
    rig.answer()
    rig.answer()
    rig.failing = []
    rig.answerAll()
    #expect(rig.commands == ["check migrate", "run migrate", "check migrate", "run warm"])
    #expect(rig.outcome == .ready(ran: true, outputs: []))
  }

  @Test func whoOnlyWaitsBelievesItUnlessSomebodyWorks() {
    let rules = InfrastructureRules.with { $0.onlyWaits = true }
    let idle = InfrastructureRig(stored: hearsay(), rules: rules)
    idle.send(.begin)
    #expect(idle.answer() == ["finished: ready"])
    let busy = InfrastructureRig(
      stored: hearsay {
        $0.claim = ReleaseRecord.Claim(owner: "them", attempt: 1, startedAt: 1, heartbeat: 1)
      }, rules: rules)
    busy.send(.begin)
    busy.answer()
    #expect(busy.outcome == nil)
  }

  @Test func aYesIsNewerThanTheFailureBeforeIt() {
    let rig = InfrastructureRig(
      stored: hearsay {
        $0.claim = ReleaseRecord.Claim(owner: "them", attempt: 1, startedAt: 1, heartbeat: 1)
        $0.failure = ReleaseRecord.Failure(count: 1, attempt: 1, step: "migrate", reason: "no", failedAt: 900)
      }, rules: Self.overServer)
    rig.send(.begin)
    #expect(rig.answer() == ["lock"], "no pause before the next try")
  }
}
