import AgentProtocol
import AgentSupervision
import EventLoop
import Testing

/// A `DependencyWait` on a clock of the test's own, which remembers what is asked and said.
private struct Rig {
  typealias Attempt = DependencyWait.Attempt

  var wait: DependencyWait
  var now = MonotonicInstant(nanoseconds: 1_000_000_000)
  var probes: [(attempt: Attempt, timeout: Duration)] = []
  var cancelled: [Attempt] = []
  var said: [String] = []
  var outcomes: [DependencyWait.Outcome] = []
  var wakeAt: MonotonicInstant?

  /// - Parameter times: one dependency each, `file:/0`, `file:/1`, …, with its own timeout.
  init(_ times: [Duration?], timeout: Duration? = nil) {
    wait = DependencyWait(
      times.enumerated().map {
        Dependency(target: .file(path: "/\($0.offset)"), timeout: $0.element, text: "file:/\($0.offset)")
      }, timeout: timeout)
    hear(.start)
  }

  mutating func hear(_ event: DependencyWait.Event) {
    for effect in wait.handle(event, at: now) {
      switch effect {
      case .probe(let attempt, let target, let timeout):
        #expect(target == .file(path: "/\(attempt.dependency)"))
        probes.append((attempt, timeout))
      case .cancel(let attempt):
        cancelled.append(attempt)
        probes.removeAll { $0.attempt == attempt }
      case .schedule(let time): wakeAt = time
      case .say(let text): said.append(text)
      case .finished(let outcome): outcomes.append(outcome)
      }
    }
  }

  /// Answers the look under way at a dependency.
  mutating func answer(_ dependency: Int, _ outcome: ProbeOutcome) throws {
    let index = try #require(probes.firstIndex { $0.attempt.dependency == dependency })
    hear(.result(probes.remove(at: index).attempt, outcome))
  }

  /// Lets the time come for which it is scheduled. Returns how long that was.
  @discardableResult
  mutating func wake() throws -> Duration {
    let time = try #require(wakeAt)
    let passed = time - now
    now = time
    hear(.timer)
    return passed
  }
}

struct DependencyWaitTests {
  @Test func `all are looked at at once, and all have to be there`() throws {
    var rig = Rig([nil, nil, nil])
    #expect(rig.probes.map(\.attempt.dependency) == [0, 1, 2])
    #expect(rig.probes.map(\.timeout) == [.seconds(5), .seconds(5), .seconds(5)])
    try rig.answer(2, .ready("yes"))
    try rig.answer(0, .ready("yes"))
    #expect(rig.outcomes == [] && rig.wait.missing == ["file:/1 (no answer yet)"])
    try rig.answer(1, .ready("yes"))
    #expect(rig.outcomes == [.ready] && rig.wait.outcome == .ready)
    #expect(rig.said == [], "nobody was told that anything is missing")
  }

  @Test func `nothing to wait for is ready at once`() {
    let rig = Rig([])
    #expect(rig.outcomes == [.ready])
  }

  @Test func `the pauses between looks grow from a quarter of a second to a half`() throws {
    var rig = Rig([nil])
    var pauses: [Duration] = []
    while pauses.count < 6 {
      try rig.answer(0, .notYet("not there"))
      var pause = Duration.zero
      // What is still missing is said in between.
      while rig.probes.isEmpty { pause += try rig.wake() }
      pauses.append(pause)
    }
    #expect(pauses == [250, 500, 500, 500, 500, 500].map { .milliseconds($0) })
  }

  @Test func `a refusal for good ends it at once, and the other looks are cancelled`() throws {
    var rig = Rig([nil, nil])
    try rig.answer(0, .refused("bad certificate"))
    #expect(rig.outcomes == [.failed("file:/0 (bad certificate): waiting will not change that")])
    #expect(rig.cancelled.map(\.dependency) == [1])
    rig.hear(.timer)
    rig.hear(.unavailable("no agent"))
    #expect(rig.outcomes.count == 1)
  }

  @Test func `without an agent it fails with the agent's reason`() {
    var rig = Rig([nil])
    rig.hear(.unavailable("the agent /agent is gone"))
    #expect(rig.outcomes == [.failed("the agent /agent is gone")])
  }

  @Test func `every five seconds it is said what is missing, and then that it came`() throws {
    var rig = Rig([nil, nil])
    try rig.answer(0, .ready("yes"))
    while rig.said.count < 2 {
      if !rig.probes.isEmpty { try rig.answer(1, .notYet("/1 does not exist")) }
      try rig.wake()
    }
    #expect(
      rig.said == [
        "still waiting after 5s for file:/1 (/1 does not exist)",
        "still waiting after 10s for file:/1 (/1 does not exist)",
      ])
    while rig.probes.isEmpty { try rig.wake() }
    try rig.answer(1, .ready("yes"))
    #expect(rig.said.last?.hasPrefix("file:/1 is there, after 1") == true)
    #expect(rig.outcomes == [.ready])
  }

  @Test func `one that has its own time ends the wait when it is over`() throws {
    var rig = Rig([.seconds(2), nil], timeout: .seconds(10))
    while rig.outcomes.isEmpty {
      for index in [0, 1] where rig.probes.contains(where: { $0.attempt.dependency == index }) {
        try rig.answer(index, .notYet("no"))
      }
      try rig.wake()
    }
    #expect(rig.now == MonotonicInstant(nanoseconds: 3_000_000_000))
    #expect(rig.outcomes == [.timedOut("waited 2s for file:/0 (no)")])
  }

  @Test func `the whole time is for all, and all that is missing is named`() throws {
    var rig = Rig([nil, .seconds(60), nil], timeout: .seconds(3))
    try rig.answer(2, .ready("yes"))
    while rig.outcomes.isEmpty {
      if rig.probes.contains(where: { $0.attempt.dependency == 0 }) { try rig.answer(0, .notYet("no")) }
      try rig.wake()
    }
    #expect(rig.now == MonotonicInstant(nanoseconds: 4_000_000_000))
    #expect(rig.outcomes == [.timedOut("waited 3s for file:/0 (no); file:/1 (no answer yet)")])
    #expect(rig.cancelled.contains { $0.dependency == 1 })
  }

  @Test func `one that came in time is not late`() throws {
    var rig = Rig([.seconds(2), nil])
    try rig.answer(0, .ready("yes"))
    rig.now = rig.now + .seconds(4)
    rig.hear(.timer)
    #expect(rig.outcomes == [])
  }

  @Test func `a look ends before the wait, so that its reason is known`() throws {
    var rig = Rig([nil], timeout: .seconds(1))
    #expect(rig.probes.map(\.timeout) == [.milliseconds(900)])
    try rig.answer(0, .notYet("no answer"))
    rig.now = rig.now + .milliseconds(995)
    rig.hear(.timer)
    #expect(rig.probes.map(\.timeout) == [.milliseconds(10)])
  }

  @Test func `a look that nobody answers is given up and made again`() throws {
    var rig = Rig([nil])
    while rig.cancelled.isEmpty { try rig.wake() }
    #expect(rig.now == MonotonicInstant(nanoseconds: 16_000_000_000))
    let late = try #require(rig.cancelled.first)
    rig.hear(.result(late, .ready("too late")))
    #expect(rig.outcomes == [] && rig.wait.missing == ["file:/0 (the agent did not answer)"])
    while rig.probes.isEmpty { try rig.wake() }
    #expect(rig.probes.map(\.attempt.number) == [2])
  }
}
