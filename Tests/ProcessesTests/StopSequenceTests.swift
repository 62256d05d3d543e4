import EventLoop
import Testing

@testable import Processes

struct StopSequenceTests {
  private static let t0 = MonotonicInstant(nanoseconds: 1_000_000_000_000)

  private func at(_ milliseconds: Int) -> MonotonicInstant { Self.t0 + .milliseconds(milliseconds) }

  private let policy = StopPolicy(signal: .interrupt, timeout: .seconds(10))

  @Test func `an obedient process gets its signal, CONT, and nothing more`() {
    var (sequence, effects) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(effects == [.signalLeader(.interrupt), .signalLeader(.resume), .schedule(at(10_000))])
    #expect(
      sequence.handle(.leaderEnded(groupIsEmpty: true), at: at(5)) == [.finished(unkillable: false)])
    #expect(!sequence.wasForced)
    #expect(sequence.handle(.timer, at: at(10_000)) == [])
    #expect(sequence.handle(.kill, at: at(10_000)) == [])
  }

  @Test func `one that ignores it is killed with its group when its time is over`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(sequence.handle(.timer, at: at(9_999)) == [.schedule(at(10_000))])
    #expect(
      sequence.handle(.timer, at: at(10_000)) == [
        .signalLeader(.kill), .signalGroup(.kill), .schedule(at(12_000)),
      ])
    #expect(sequence.wasForced)
    #expect(
      sequence.handle(.leaderEnded(groupIsEmpty: true), at: at(10_001)) == [.finished(unkillable: false)])
  }

  @Test func `members that outlive their leader are told, then killed`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(
      sequence.handle(.leaderEnded(groupIsEmpty: false), at: at(5)) == [
        .signalGroup(.terminate), .signalGroup(.resume),
      ])
    #expect(sequence.handle(.groupLooked(isEmpty: false), at: at(6)) == [])
    #expect(sequence.handle(.timer, at: at(10_000)) == [.signalGroup(.kill), .schedule(at(12_000))])
    #expect(sequence.handle(.groupLooked(isEmpty: true), at: at(10_001)) == [.finished(unkillable: false)])
  }

  @Test func `members that obey end the stop before its time`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    _ = sequence.handle(.leaderEnded(groupIsEmpty: false), at: at(5))
    #expect(sequence.handle(.groupLooked(isEmpty: true), at: at(6)) == [.finished(unkillable: false)])
    #expect(!sequence.wasForced)
  }

  @Test func `an empty group means nothing as long as the leader lives`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(sequence.handle(.groupLooked(isEmpty: true), at: at(6)) == [])
  }

  @Test func `when the leader is gone already the group is told at once`() {
    let (_, effects) = StopSequence.begin(policy, leaderIsGone: true, at: at(0), deadline: nil)
    #expect(effects == [.signalGroup(.terminate), .signalGroup(.resume), .schedule(at(10_000))])
  }

  @Test func `a leader that dies by KILL leaves members to a KILL of their own`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    _ = sequence.handle(.timer, at: at(10_000))
    #expect(
      sequence.handle(.leaderEnded(groupIsEmpty: false), at: at(10_001)) == [.signalGroup(.kill)])
    #expect(sequence.handle(.groupLooked(isEmpty: true), at: at(10_002)) == [.finished(unkillable: false)])
  }

  @Test func `with the leader as target nobody else is killed or waited for`() {
    let leaderOnly = StopPolicy(timeout: .seconds(10), killTarget: .leader)
    var (sequence, _) = StopSequence.begin(leaderOnly, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(sequence.handle(.timer, at: at(10_000)) == [.signalLeader(.kill), .schedule(at(12_000))])
    #expect(
      sequence.handle(.leaderEnded(groupIsEmpty: false), at: at(10_001)) == [.finished(unkillable: false)])
  }

  @Test func `what KILL does not end within two seconds is left`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    _ = sequence.handle(.timer, at: at(10_000))
    #expect(sequence.handle(.timer, at: at(11_999)) == [.schedule(at(12_000))])
    #expect(sequence.handle(.timer, at: at(12_000)) == [.finished(unkillable: true)])
    #expect(sequence.handle(.leaderEnded(groupIsEmpty: true), at: at(12_001)) == [])
  }

  @Test(arguments: [(5_000, 5_000), (10_000, 10_000), (20_000, 10_000), (-5, -5)])
  func `a deadline cuts the grace and never makes it longer`(deadline: Int, expected: Int) {
    let (_, effects) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: at(deadline))
    #expect(effects.last == .schedule(at(expected)))
  }

  @Test func `the grace can be made shorter, never longer, and not once KILL is under way`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(sequence.handle(.shorten(deadline: at(20_000)), at: at(1)) == [])
    #expect(sequence.handle(.shorten(deadline: at(3_000)), at: at(1)) == [.schedule(at(3_000))])
    #expect(sequence.handle(.shorten(deadline: at(4_000)), at: at(1)) == [])
    _ = sequence.handle(.timer, at: at(3_000))
    #expect(sequence.handle(.shorten(deadline: at(3_001)), at: at(3_001)) == [])
    #expect(sequence.handle(.timer, at: at(5_000)) == [.finished(unkillable: true)])
  }

  @Test func `kill ends the grace once`() {
    var (sequence, _) = StopSequence.begin(policy, leaderIsGone: false, at: at(0), deadline: nil)
    #expect(
      sequence.handle(.kill, at: at(1)) == [.signalLeader(.kill), .signalGroup(.kill), .schedule(at(2_001))])
    #expect(sequence.handle(.kill, at: at(2)) == [])
  }

  // MARK: The budget

  @Test(
    arguments: [
      (.seconds(10), [], .seconds(20), .seconds(10)),
      (.seconds(10), [], .seconds(4), .seconds(4)),
      (.seconds(10), [.seconds(10)], .seconds(20), .seconds(10)),
      (.seconds(10), [.seconds(30)], .seconds(20), .seconds(5)),
      (.seconds(30), [.seconds(10)], .seconds(20), .seconds(15)),
      (.seconds(10), [.seconds(10)], .zero, .zero),
      (.seconds(10), [.seconds(10)], .seconds(-3), .zero),
      (.zero, [.zero], .seconds(3), .zero),
      (.zero, [.seconds(10)], .seconds(3), .zero),
    ] as [(Duration, [Duration], Duration, Duration)])
  func `the time is shared in proportion when it does not suffice`(
    own: Duration, others: [Duration], remaining: Duration, expected: Duration
  ) {
    #expect(StopBudget.share(own: own, others: others, remaining: remaining) == expected)
  }

  @Test func `the shares of all together fit into what there is`() {
    var remaining = Duration.seconds(9)
    var timeouts: [Duration] = [.seconds(30), .seconds(30), .seconds(5), .seconds(1)]
    while !timeouts.isEmpty {
      let own = timeouts.removeFirst()
      let share = StopBudget.share(own: own, others: timeouts, remaining: remaining)
      #expect(share > .zero && share <= own)
      remaining -= share
    }
    #expect(remaining >= .zero)
  }

  @Test(
    arguments: [(.seconds(9.5), .milliseconds(500)), (.seconds(2), .milliseconds(200)), (.zero, .zero)]
      as [(
        Duration, Duration
      )])
  func `a tenth is kept back, at most half a second`(total: Duration, reserve: Duration) {
    #expect(StopBudget.reserve(of: total) == reserve)
  }
}
