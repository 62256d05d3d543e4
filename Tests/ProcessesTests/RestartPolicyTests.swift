import EventLoop
import Testing

@testable import Processes

struct RestartPolicyTests {
  private static let t0 = MonotonicInstant(nanoseconds: 1_000_000_000_000)

  /// Plays lives of `life` each until the policy decides against another start, at most `most` of them.
  private func play(
    _ policy: RestartPolicy, life: Duration, status: ExitStatus? = .exited(1), random: Double = 0,
    most: Int = 50
  ) -> (delays: [Duration], end: RestartPolicy.Decision?) {
    var history = RestartPolicy.History()
    var now = Self.t0
    var delays: [Duration] = []
    for _ in 0..<most {
      now = now + life
      let decision = policy.decide(after: status, ranFor: life, at: now, random: random, history: &history)
      guard case .restart(let delay) = decision else { return (delays, decision) }
      delays.append(delay)
      now = now + delay
    }
    return (delays, nil)
  }

  // MARK: Mode and success codes

  @Test(
    arguments: [
      (.never, .exited(0), false), (.never, .exited(1), false), (.never, nil, false),
      (.onFailure, .exited(0), false), (.onFailure, .exited(3), false), (.onFailure, .exited(1), true),
      (.onFailure, .signaled(.kill), true), (.onFailure, nil, true),
      (.always, .exited(0), true), (.always, .exited(3), true), (.always, .signaled(.terminate), true),
      (.always, nil, true),
    ] as [(RestartPolicy.Mode, ExitStatus?, Bool)])
  func `the mode and the success codes decide whether to start again`(
    mode: RestartPolicy.Mode, status: ExitStatus?, restarts: Bool
  ) {
    let policy = RestartPolicy(mode: mode, successCodes: [0, 3])
    var history = RestartPolicy.History()
    let decision = policy.decide(after: status, ranFor: .zero, at: Self.t0, random: 0, history: &history)
    if restarts {
      #expect(decision == .restart(after: .milliseconds(500)))
    } else {
      #expect(decision == .complete)
    }
  }

  @Test func `no signal is a success, also when its number looks like a code`() {
    let policy = RestartPolicy(mode: .onFailure, successCodes: [0, 15, 143])
    #expect(policy.isSuccess(.exited(143)))
    #expect(!policy.isSuccess(.signaled(.terminate)))
  }

  // MARK: Delays

  @Test func `delays double up to the maximum`() {
    let policy = RestartPolicy(mode: .always, limitCount: 100)
    let delays = play(policy, life: .zero, most: 9).delays
    let expected: [Duration] = [
      .milliseconds(500), .seconds(1), .seconds(2), .seconds(4), .seconds(8), .seconds(16), .seconds(30),
      .seconds(30), .seconds(30),
    ]
    #expect(delays == expected)
  }

  @Test(arguments: [1.0, 1.5, 10.0])
  func `the factor is the settings'`(factor: Double) {
    let policy = RestartPolicy(
      mode: .always, initialDelay: .milliseconds(100), maximumDelay: .seconds(3600), factor: factor,
      limitCount: 100)
    let delays = play(policy, life: .zero, most: 4).delays
    let expected = (0..<4).map { exponent in
      (0..<exponent).reduce(100.0) { value, _ in value * factor }
    }
    #expect(delays.map { Double($0.wholeNanoseconds) / 1e6 } == expected)
  }

  @Test(arguments: [-1.0, -0.5, 0, 0.5, 0.999, 1])
  func `jitter stays in its bounds and never makes a delay longer than the maximum`(random: Double) {
    let policy = RestartPolicy(mode: .always, jitter: 0.1, limitCount: 100)
    let plain = play(policy, life: .zero, most: 10).delays
    let shaken = play(policy, life: .zero, random: random, most: 10).delays
    for (plain, shaken) in zip(plain, shaken) {
      #expect(shaken >= plain * 9 / 10)
      #expect(shaken <= plain * 11 / 10)
      #expect(shaken <= .seconds(30))
      if random > 0, plain < .seconds(20) { #expect(shaken > plain) }
      if random < 0 { #expect(shaken < plain) }
    }
  }

  @Test func `the generator of the jitter stays between -1 and 1, and repeats by its seed`() {
    var first = SplitMix64(state: 7)
    var second = SplitMix64(state: 7)
    var least = 1.0
    var most = -1.0
    for _ in 0..<10_000 {
      let value = first.nextUnit()
      #expect(value == second.nextUnit())
      least = min(least, value)
      most = max(most, value)
    }
    #expect(least >= -1 && least < -0.99)
    #expect(most <= 1 && most > 0.99)
  }

  @Test func `a good run starts the delays anew`() {
    let policy = RestartPolicy(mode: .always, limitCount: 100)
    var history = RestartPolicy.History()
    var now = Self.t0
    func end(after life: Duration) -> RestartPolicy.Decision {
      now = now + life
      return policy.decide(after: .exited(1), ranFor: life, at: now, random: 0, history: &history)
    }
    _ = end(after: .zero)
    #expect(end(after: .milliseconds(59_999)) == .restart(after: .seconds(1)))
    #expect(end(after: .seconds(60)) == .restart(after: .milliseconds(500)))
    #expect(end(after: .zero) == .restart(after: .seconds(1)))
  }

  @Test func `delays as long as a duration can be are no reason to crash`() {
    let policy = RestartPolicy(
      mode: .always, initialDelay: .nanoseconds(Int64.max), maximumDelay: .seconds(Int64.max), factor: 1000,
      limitCount: 100)
    for random in [-1.0, 0, 1.0] {
      #expect(
        play(policy, life: .zero, random: random, most: 5).delays.allSatisfy { $0 > .seconds(1_000_000) })
    }
  }

  @Test func `no delay at all is possible`() {
    let policy = RestartPolicy(mode: .always, initialDelay: .zero, maximumDelay: .zero, limitCount: 5)
    let (delays, end) = play(policy, life: .zero)
    #expect(delays == [.zero, .zero, .zero, .zero])
    #expect(end == .giveUp)
  }

  // MARK: The start limit

  @Test func `a loop of crashes, faster than a second, ends at the limit`() {
    let (delays, end) = play(RestartPolicy(mode: .always), life: .milliseconds(50))
    #expect(delays.count == 9)
    #expect(end == .giveUp)
  }

  @Test func `so does a loop of lives of 61 seconds, each of which is a good run`() {
    let (delays, end) = play(RestartPolicy(mode: .always), life: .seconds(61))
    #expect(delays.allSatisfy { $0 == .milliseconds(500) })
    #expect(end == .giveUp)
  }

  @Test func `ends that are further apart than the limit allows go on for ever`() {
    let (delays, end) = play(RestartPolicy(mode: .always), life: .seconds(67), most: 1000)
    #expect(delays.count == 1000)
    #expect(end == nil)
  }

  @Test func `a success counts in the limit too when it is always started again`() {
    #expect(play(RestartPolicy(mode: .always), life: .zero, status: .exited(0)).end == .giveUp)
  }

  @Test func `the history does not grow with time`() {
    let policy = RestartPolicy(mode: .always, limitCount: 10)
    var history = RestartPolicy.History()
    for index in 0..<10_000 {
      _ = policy.decide(
        after: .exited(1), ranFor: .seconds(70), at: Self.t0 + .seconds(70 * index), random: 0,
        history: &history)
      #expect(history.recentEnds.count <= 10)
    }
  }
}
