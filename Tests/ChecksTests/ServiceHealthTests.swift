import EventLoop
import Testing

@testable import Checks

/// One line of a story: what happens when, the state after it, how many runs have begun, and when the timer is due.
private struct Line: Sendable {
  var at: Int
  var happening: Happening
  var state: String
  var runs: Int
  var timer: Int?

  init(_ at: Int, _ happening: Happening, _ state: String, runs: Int, timer: Int?) {
    self.at = at
    self.happening = happening
    self.state = state
    self.runs = runs
    self.timer = timer
  }
}

private struct Story: Sendable, CustomTestStringConvertible {
  var testDescription: String
  var definition: CheckDefinition?
  var lines: [Line]

  init(_ description: String, _ definition: CheckDefinition?, _ lines: [Line]) {
    testDescription = description
    self.definition = definition
    self.lines = lines
  }
}

/// The defaults, without and with the start period.
private let strict = CheckDefinition(method: anyMethod, startPeriod: .zero)
private let patient = CheckDefinition(method: anyMethod)

private let stories: [Story] = [
  Story(
    "no check: healthy as soon as it runs", nil,
    [
      Line(0, .start(1), "healthy", runs: 0, timer: nil),
      Line(9, .timer, "healthy", runs: 0, timer: nil),
      Line(10, .stop, "none", runs: 0, timer: nil),
      Line(20, .start(2), "healthy", runs: 0, timer: nil),
    ]),
  Story(
    "the first run is at once, a pass is healthy, the next run is an interval after the result", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(30, .pass, "healthy", runs: 1, timer: 5030),
      Line(5030, .timer, "healthy", runs: 2, timer: 7280),
      Line(6000, .pass, "healthy", runs: 2, timer: 11000),
    ]),
  Story(
    "three failures in a row make it unhealthy, one pass heals", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .pass, "healthy", runs: 1, timer: 5010),
      Line(5010, .timer, "healthy", runs: 2, timer: 7260),
      Line(5020, .fail, "healthy", runs: 2, timer: 10020),
      Line(10020, .timer, "healthy", runs: 3, timer: 12270),
      Line(10030, .fail, "healthy", runs: 3, timer: 15030),
      Line(15030, .timer, "healthy", runs: 4, timer: 17280),
      Line(15040, .pass, "healthy", runs: 4, timer: 20040),
      Line(20040, .timer, "healthy", runs: 5, timer: 22290),
      Line(20050, .fail, "healthy", runs: 5, timer: 25050),
      Line(25050, .timer, "healthy", runs: 6, timer: 27300),
      Line(25060, .fail, "healthy", runs: 6, timer: 30060),
      Line(30060, .timer, "healthy", runs: 7, timer: 32310),
      Line(30070, .fail, "unhealthy", runs: 7, timer: 35070),
      Line(35070, .timer, "unhealthy", runs: 8, timer: 37320),
      Line(35080, .pass, "healthy", runs: 8, timer: 40080),
    ]),
  Story(
    "without a start period failures count from the first, at the pace of the interval", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .fail, "unknown", runs: 1, timer: 5010),
      Line(5010, .timer, "unknown", runs: 2, timer: 7260),
      Line(5020, .fail, "unknown", runs: 2, timer: 10020),
      Line(10020, .timer, "unknown", runs: 3, timer: 12270),
      Line(10030, .fail, "unhealthy", runs: 3, timer: 15030),
    ]),
  Story(
    "in the start period the pauses are short, grow to the interval, and failures do not count", patient,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(0, .fail, "unknown", runs: 1, timer: 100),
      Line(100, .timer, "unknown", runs: 2, timer: 2350),
      Line(100, .fail, "unknown", runs: 2, timer: 200),
      Line(200, .timer, "unknown", runs: 3, timer: 2450),
      Line(800, .fail, "unknown", runs: 3, timer: 1000),
      Line(1000, .timer, "unknown", runs: 4, timer: 3250),
      Line(2000, .fail, "unknown", runs: 4, timer: 2500),
      Line(2500, .timer, "unknown", runs: 5, timer: 4750),
      Line(4000, .fail, "unknown", runs: 5, timer: 5000),
      Line(5000, .timer, "unknown", runs: 6, timer: 7250),
      Line(5040, .pass, "healthy", runs: 6, timer: 10040),
    ]),
  Story(
    "a run that began in the start period does not count; the next three do",
    CheckDefinition(method: anyMethod, startPeriod: .milliseconds(150)),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .fail, "unknown", runs: 1, timer: 110),
      Line(110, .timer, "unknown", runs: 2, timer: 2360),
      Line(200, .fail, "unknown", runs: 2, timer: 5200),
      Line(5200, .timer, "unknown", runs: 3, timer: 7450),
      Line(5210, .fail, "unknown", runs: 3, timer: 10210),
      Line(10210, .timer, "unknown", runs: 4, timer: 12460),
      Line(10220, .fail, "unknown", runs: 4, timer: 15220),
      Line(15220, .timer, "unknown", runs: 5, timer: 17470),
      Line(15230, .fail, "unhealthy", runs: 5, timer: 20230),
    ]),
  Story(
    "a pass ends the start period: failures count from then on",
    CheckDefinition(method: anyMethod, interval: .seconds(1), failures: 2),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .pass, "healthy", runs: 1, timer: 1010),
      Line(1010, .timer, "healthy", runs: 2, timer: 3260),
      Line(1020, .fail, "healthy", runs: 2, timer: 2020),
      Line(2020, .timer, "healthy", runs: 3, timer: 4270),
      Line(2030, .fail, "unhealthy", runs: 3, timer: 3030),
    ]),
  Story(
    "two passes in a row are needed, and a failure between them begins anew",
    CheckDefinition(method: anyMethod, successes: 2, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .pass, "unknown", runs: 1, timer: 110),
      Line(110, .timer, "unknown", runs: 2, timer: 2360),
      Line(120, .fail, "unknown", runs: 2, timer: 5120),
      Line(5120, .timer, "unknown", runs: 3, timer: 7370),
      Line(5130, .pass, "unknown", runs: 3, timer: 6413),
      Line(6413, .timer, "unknown", runs: 4, timer: 8663),
      Line(6420, .pass, "healthy", runs: 4, timer: 11420),
    ]),
  Story(
    "E92: what an earlier process answers is discarded", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .start(2), "unknown", runs: 2, timer: 2260),
      Line(20, .oldPass, "unknown", runs: 2, timer: 2260),
      Line(30, .oldFail, "unknown", runs: 2, timer: 2260),
      Line(40, .pass, "healthy", runs: 2, timer: 5040),
    ]),
  Story(
    "E92: the failures of an earlier process are not added to those of the next",
    CheckDefinition(method: anyMethod, failures: 2, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .fail, "unknown", runs: 1, timer: 5010),
      Line(20, .stop, "none", runs: 1, timer: nil),
      Line(30, .start(2), "unknown", runs: 2, timer: 2280),
      Line(40, .fail, "unknown", runs: 2, timer: 5040),
      Line(5040, .timer, "unknown", runs: 3, timer: 7290),
      Line(5050, .fail, "unhealthy", runs: 3, timer: 10050),
    ]),
  Story(
    "a restart without a stop in between starts anew", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .pass, "healthy", runs: 1, timer: 5010),
      Line(20, .start(2), "unknown", runs: 2, timer: 2270),
      Line(20, .start(2), "unknown", runs: 2, timer: 2270),
    ]),
  Story(
    "after a stop nothing goes on", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .stop, "none", runs: 1, timer: nil),
      Line(20, .pass, "none", runs: 1, timer: nil),
      Line(2250, .timer, "none", runs: 1, timer: nil),
    ]),
  Story(
    "E91: while a run is under way no other begins, and a second result of it is not counted",
    CheckDefinition(method: anyMethod, failures: 2, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(1000, .timer, "unknown", runs: 1, timer: 2250),
      Line(2000, .fail, "unknown", runs: 1, timer: 7000),
      Line(2001, .fail, "unknown", runs: 1, timer: 7000),
      Line(2002, .pass, "unknown", runs: 1, timer: 7000),
      Line(7000, .timer, "unknown", runs: 2, timer: 9250),
    ]),
  Story(
    "E91: a run that nobody ends is ended and is a failure; its late result is not the next run's",
    CheckDefinition(method: anyMethod, failures: 2, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(2260, .timer, "unknown", runs: 1, timer: 7260),
      Line(7260, .timer, "unknown", runs: 2, timer: 9510),
      Line(7270, .oldPass, "unknown", runs: 2, timer: 9510),
      Line(9510, .timer, "unhealthy", runs: 2, timer: 14510),
    ]),
  Story(
    "E71: a check that could not run counts neither way",
    CheckDefinition(method: anyMethod, failures: 2, successes: 2, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .fail, "unknown", runs: 1, timer: 5010),
      Line(5010, .timer, "unknown", runs: 2, timer: 7260),
      Line(5020, .unable, "unknown", runs: 2, timer: 10020),
      Line(10020, .timer, "unknown", runs: 3, timer: 12270),
      Line(10030, .unable, "unknown", runs: 3, timer: 15030),
      Line(15030, .timer, "unknown", runs: 4, timer: 17280),
      Line(15040, .fail, "unhealthy", runs: 4, timer: 20040),
      Line(20040, .timer, "unhealthy", runs: 5, timer: 22290),
      Line(20050, .pass, "unhealthy", runs: 5, timer: 25050),
      Line(25050, .timer, "unhealthy", runs: 6, timer: 27300),
      Line(25060, .unable, "unhealthy", runs: 6, timer: 30060),
      Line(30060, .timer, "unhealthy", runs: 7, timer: 32310),
      Line(30070, .pass, "healthy", runs: 7, timer: 35070),
    ]),
  Story(
    "E71: a failure that is noticed long after its time is our own absence",
    CheckDefinition(method: anyMethod, failures: 1, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .pass, "healthy", runs: 1, timer: 5010),
      Line(5010, .timer, "healthy", runs: 2, timer: 7260),
      Line(60_000, .fail, "healthy", runs: 2, timer: 65_000),
      Line(65_000, .timer, "healthy", runs: 3, timer: 67_250),
      Line(67_000, .fail, "unhealthy", runs: 3, timer: 72_000),
    ]),
  Story(
    "E71: so is a timer that comes long after the end of the run, and there is no backlog",
    CheckDefinition(method: anyMethod, failures: 1, startPeriod: .zero),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(60_000, .timer, "unknown", runs: 1, timer: 65_000),
      Line(60_000, .timer, "unknown", runs: 1, timer: 65_000),
      Line(999_000, .timer, "unknown", runs: 2, timer: 1_001_250),
      Line(999_000, .timer, "unknown", runs: 2, timer: 1_001_250),
      Line(999_010, .pass, "healthy", runs: 2, timer: 1_004_010),
    ]),
  Story(
    "E71: a pass counts however late it is read", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(60_000, .pass, "healthy", runs: 1, timer: 65_000),
    ]),
  Story(
    "E70: time in which we did not run is no part of the start period",
    CheckDefinition(method: anyMethod, failures: 1, startPeriod: .seconds(10)),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(0, .fail, "unknown", runs: 1, timer: 100),
      Line(30_100, .timer, "unknown", runs: 2, timer: 32_350),
      Line(30_110, .fail, "unknown", runs: 2, timer: 35_110),
      Line(35_110, .timer, "unknown", runs: 3, timer: 37_360),
      Line(35_120, .fail, "unknown", runs: 3, timer: 40_120),
      Line(40_120, .timer, "unknown", runs: 4, timer: 42_370),
      Line(40_130, .fail, "unhealthy", runs: 4, timer: 45_130),
    ]),
  Story(
    "an early timer is set again", strict,
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(10, .pass, "healthy", runs: 1, timer: 5010),
      Line(2250, .timer, "healthy", runs: 1, timer: 5010),
      Line(5010, .timer, "healthy", runs: 2, timer: 7260),
    ]),
  Story(
    "an interval below the shortest pause is kept",
    CheckDefinition(method: anyMethod, interval: .milliseconds(20)),
    [
      Line(0, .start(1), "unknown", runs: 1, timer: 2250),
      Line(0, .fail, "unknown", runs: 1, timer: 20),
    ]),
]

@Suite struct ServiceHealthTests {
  @Test(arguments: stories)
  private func story(_ story: Story) throws {
    var script = HealthScript(story.definition)
    for line in story.lines {
      try script.feed(line.happening, at: line.at)
      #expect(name(script.health.state) == line.state, "state after \(line)")
      #expect(script.runs.count == line.runs, "runs after \(line)")
      #expect(script.timer == line.timer, "timer after \(line)")
    }
  }

  @Test func changesAreToldOnceWithTheirReason() throws {
    var script = HealthScript(CheckDefinition(method: anyMethod, failures: 1, startPeriod: .zero))
    try script.feed(.start(7), at: 0)
    try script.feed(.failBecause("HTTP 503"), at: 10)
    try script.feed(.timer, at: 5010)
    try script.feed(.failBecause("connection refused"), at: 5020)
    #expect(script.health.state == .unhealthy("connection refused"))
    #expect(script.health.summary == "unhealthy: connection refused")
    #expect(script.health.since == HealthScript.instant(10))
    try script.feed(.timer, at: 10_020)
    try script.feed(.pass, at: 10_030)
    try script.feed(.stop, at: 10_040)
    try script.feed(.stop, at: 10_050)
    #expect(
      script.changes == [
        "none>unknown: started; not checked yet", "unknown>unhealthy: HTTP 503",
        "unhealthy>healthy: check passed",
        "healthy>none: not running",
      ])
  }

  @Test func aRunThatIsNotWantedAnyMoreIsCancelled() throws {
    var script = HealthScript(strict)
    try script.feed(.start(1), at: 0)
    try script.feed(.start(2), at: 10)
    try script.feed(.timer, at: 2300)
    try script.feed(.timer, at: 7300)
    try script.feed(.stop, at: 7310)
    #expect(script.cancelled == script.runs)
    #expect(script.runs.map(\.incarnation) == [1, 2, 2])
    #expect(script.probeTimeout == .seconds(2))
  }

  @Test func summarySaysWhatIsMissing() throws {
    var script = HealthScript(patient)
    #expect(script.health.summary == "not running")
    try script.feed(.start(1), at: 0)
    #expect(script.health.summary == "starting; not checked yet")
    try script.feed(.fail, at: 1)
    #expect(script.health.summary == "starting; last check: refused")
    try script.feed(.timer, at: 101)
    try script.feed(.unable, at: 102)
    #expect(script.health.summary == "starting; last check could not run: no descriptor left")
    #expect(!script.health.isHealthy)
    try script.feed(.timer, at: 202)
    try script.feed(.pass, at: 203)
    #expect(script.health.summary == "healthy")
    #expect(script.health.isHealthy)
    try script.feed(.start(2), at: 300)
    #expect(script.health.summary == "starting; not checked yet")
  }

  @Test func theOverdueReasonSaysSo() throws {
    var script = HealthScript(strict)
    try script.feed(.start(1), at: 0)
    try script.feed(.fail, at: 32_000)
    let outcome = try #require(script.health.lastOutcome)
    #expect(
      outcome == .couldNotRun("its time ended while this supervisor was not running (30s ago)"), "\(outcome)")
  }

  @Test func aDefinitionIsBroughtIntoRange() {
    let odd = CheckDefinition(
      method: anyMethod, interval: .zero, timeout: .seconds(-1), failures: 0, successes: -3,
      startPeriod: .seconds(-1))
    #expect(odd.interval == CheckDefinition.shortestInterval)
    #expect(odd.timeout == CheckDefinition.shortestInterval)
    #expect(odd.failures == 1)
    #expect(odd.successes == 1)
    #expect(odd.startPeriod == .zero)
  }

  /// An app that comes up after some time is seen within a quarter of it (and a shortest pause), and the number of
  /// runs until then stays small.
  @Test(arguments: [0, 90, 450, 1200, 5000, 12_000, 30_000, 59_000])
  func readinessIsNoticedSoon(upAfter: Int) throws {
    var script = HealthScript(patient)
    try script.feed(.start(1), at: 0)
    var now = 1
    for _ in 0..<100 {
      try script.feed(now > upAfter ? .pass : .fail, at: now)
      if script.health.isHealthy { break }
      now = try #require(script.timer)
      try script.feed(.timer, at: now)
      now += 1
    }
    #expect(script.health.isHealthy)
    #expect(now <= upAfter + min(upAfter / 4, 5000) + 110)
    #expect(script.runs.count <= 32)
  }

  /// Random lives: whatever comes in whatever order, at most one run is under way, the timer is set exactly while
  /// there is a check to make, and a verdict never comes from another incarnation.
  @Test(arguments: 0..<40)
  func invariantsHold(seed: UInt64) throws {
    var random = SplitMix(state: seed)
    var script = HealthScript(
      CheckDefinition(
        method: anyMethod, interval: .milliseconds(random.upTo(3000)),
        timeout: .milliseconds(random.upTo(900)),
        failures: random.upTo(3) + 1, successes: random.upTo(2) + 1,
        startPeriod: .milliseconds(random.upTo(4000))))
    var now = 0
    var incarnation: UInt64 = 0
    var open: Set<ServiceHealth.Run> = []
    for _ in 0..<2000 {
      let begun = script.runs.count
      let ended = script.cancelled.count
      switch random.upTo(9) {
      case 0:
        incarnation += 1
        script.send(.started(incarnation), at: now)
      case 1: if random.upTo(4) == 0 { script.send(.stopped, at: now) }
      case 2, 3, 4:
        guard let run = script.runs.randomElement(using: &random) else { continue }
        let outcomes: [CheckOutcome] = [.passed, .failed("no"), .couldNotRun("no")]
        let before = script.health.state
        let wasOpen = open.remove(run) != nil
        script.send(.result(run, outcomes[random.upTo(2)]), at: now)
        try #require(wasOpen || script.health.state == before)
      case 5: now += random.upTo(100_000)
      default:
        now = max(now, script.timer ?? now)
        script.send(.timer, at: now)
      }
      open.subtract(script.cancelled[ended...])
      open.formUnion(script.runs[begun...])
      try #require(open.count <= 1)
      try #require((script.timer != nil) == (script.health.incarnation != nil))
      try #require((script.health.state == .none) == (script.health.incarnation == nil))
    }
  }
}

/// A small generator of numbers from a seed, so that a failure can be repeated.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var value = state
    value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
    value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
    return value ^ (value >> 31)
  }

  mutating func upTo(_ limit: Int) -> Int { Int(next() % UInt64(limit + 1)) }
}
