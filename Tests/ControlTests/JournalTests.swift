import EventLoop
import Journal
import Testing

@Suite struct JournalTests {
  private func moment(_ second: UInt64) -> Moment {
    Moment(
      wall: WallTime(nanoseconds: second * 1_000_000_000), monotonic: MonotonicInstant(nanoseconds: second))
  }

  @Test func keepsTheNewestInOrderAndCountsTheRest() {
    var journal = Journal(capacity: 3)
    #expect(journal.events.isEmpty)
    for number in 1...7 {
      journal.append(.process, "app", "event \(number)", at: moment(UInt64(number)))
      let kept = max(number - 2, 1)...number
      #expect(journal.events.map(\.text) == kept.map { "event \($0)" })
      #expect(journal.events.map(\.number) == kept.map { UInt64($0) })
    }
    #expect(journal.droppedCount == 4)
    #expect(journal.newest(2).map(\.text) == ["event 6", "event 7"])
    #expect(journal.newest(9).count == 3)
    #expect(journal.newest(0).isEmpty)
    #expect(journal.newest(-1).isEmpty)
  }

  @Test(
    arguments: [
      (0, "1970-01-01T00:00:00.000Z", "Thu, 01 Jan 1970 00:00:00 GMT"),
      (951_782_400, "2000-02-29T00:00:00.000Z", "Tue, 29 Feb 2000 00:00:00 GMT"),
      (951_868_800, "2000-03-01T00:00:00.000Z", "Wed, 01 Mar 2000 00:00:00 GMT"),
      (1_709_251_199, "2024-02-29T23:59:59.000Z", "Thu, 29 Feb 2024 23:59:59 GMT"),
      (1_735_689_599, "2024-12-31T23:59:59.000Z", "Tue, 31 Dec 2024 23:59:59 GMT"),
      (1_735_689_600, "2025-01-01T00:00:00.000Z", "Wed, 01 Jan 2025 00:00:00 GMT"),
      (4_107_542_400, "2100-03-01T00:00:00.000Z", "Mon, 01 Mar 2100 00:00:00 GMT"),
    ] as [(UInt64, String, String)])
  func writesDates(_ seconds: UInt64, _ iso: String, _ http: String) {
    let time = WallTime(nanoseconds: seconds * 1_000_000_000)
    #expect(time.iso8601 == iso)
    #expect(time.httpDate == http)
    #expect(WallTime(nanoseconds: time.nanoseconds + 7_900_000).iso8601 == iso.dropLast(4) + "007Z")
  }

  @Test func readinessNeedsTheStageAndEveryCheck() {
    var snapshot = Snapshot(
      takenAt: moment(9), version: "1", pid: 1, nodeName: "a", stage: .running, startedAt: moment(1))
    #expect(!snapshot.isReady)
    snapshot.checks = [.init(name: "app", isOK: true)]
    #expect(snapshot.isReady)
    snapshot.checks.append(.init(name: "web", isOK: false, detail: "refused"))
    #expect(snapshot.failures.map(\.name) == ["web"])
    snapshot.checks.removeLast()
    for stage in Snapshot.Stage.allCases where stage != .running {
      snapshot.stage = stage
      #expect(snapshot.failures.map(\.name) == ["stage"])
    }
  }

  @Test func startIsCompleteOnceTheAppWasSpawned() {
    var snapshot = Snapshot(
      takenAt: moment(9), version: "1", pid: 1, nodeName: "a", stage: .node, startedAt: moment(1),
      processes: [.init(name: "app", kind: .app, state: .waiting)],
      phases: [
        .init(name: "infrastructure", state: .done), .init(name: "node", state: .running, reason: "busy"),
      ])
    #expect(snapshot.startFailures.map(\.name) == ["node", "app"])
    #expect(snapshot.startFailures.first?.detail == "the phase is running: busy")
    snapshot.phases[1].state = .skipped
    #expect(snapshot.startFailures.map(\.name) == ["app"])
    snapshot.processes[0].incarnation = 1
    #expect(snapshot.startFailures.map(\.name) == ["stage"])
    snapshot.stage = .draining
    #expect(snapshot.startFailures.isEmpty)
  }
}
