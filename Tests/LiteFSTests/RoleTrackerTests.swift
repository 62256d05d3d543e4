import EventLoop
import LiteFS
import Testing

/// Feeds what was seen of a real cluster, with the timers that are asked for, and keeps what is reported.
struct Stage {
  var tracker: RoleTracker
  private var timer: MonotonicInstant?
  private(set) var now = MonotonicInstant(nanoseconds: 1_000_000_000_000)
  private let start = MonotonicInstant(nanoseconds: 1_000_000_000_000)
  /// Milliseconds and role.
  private(set) var reports: [Report] = []

  struct Report: Equatable, CustomStringConvertible {
    var at: Int
    var role: LiteFSRole
    var description: String { "\(at)ms \(role)" }
  }

  init(node: String = "nodeB", leaseTime: Duration? = nil, reconnectDelay: Duration = .seconds(1)) {
    tracker = RoleTracker(
      RoleTracker.Rules(nodeName: node, reconnectDelay: reconnectDelay, leaseTime: leaseTime))
  }

  /// Lets time pass until a moment, in milliseconds.
  mutating func pass(to milliseconds: Int) {
    let end = start + .milliseconds(milliseconds)
    while let timer, timer <= end {
      now = timer
      self.timer = nil
      perform(tracker.handle(.timer, at: now))
    }
    now = end
  }

  mutating func feed(_ event: RoleTracker.Event, at milliseconds: Int) {
    pass(to: milliseconds)
    perform(tracker.handle(event, at: now))
  }

  private mutating func perform(_ effects: [RoleTracker.Effect]) {
    for effect in effects {
      switch effect {
      case .role(let role, let reason):
        #expect(!reason.isEmpty)
        let elapsed = (now - start).components
        reports.append(
          Report(
            at: Int(elapsed.seconds) * 1000 + Int(elapsed.attoseconds / 1_000_000_000_000_000), role: role))
      case .schedule(let time):
        #expect(time > now)
        timer = time
      case .unschedule: timer = nil
      }
    }
  }

  var roles: [LiteFSRole] { reports.map(\.role) }

  // What LiteFS says.
  mutating func primary(at time: Int) { feed(.event(.role(isPrimary: true, primary: nil)), at: time) }
  mutating func named(_ name: String, at time: Int) {
    feed(.event(.role(isPrimary: false, primary: name)), at: time)
  }
  mutating func nobody(at time: Int) { feed(.event(.role(isPrimary: false, primary: nil)), at: time) }

  /// Something that shows that LiteFS is there, each second, and says nothing about the role.
  mutating func hum(from: Int, to end: Int) {
    for time in stride(from: from, to: end, by: 1000) { feed(.event(.other("hum")), at: time) }
  }

  /// An answer to `/info`, at once.
  mutating func look(_ info: LiteFSInfo, at time: Int) {
    pass(to: time)
    feed(.info(info, askedAt: now), at: time)
  }

  /// A look a second, from one moment to before another, with `.lag` as a connected replica has it.
  mutating func steady(_ info: LiteFSInfo, from: Int, to end: Int, hears: Bool = false) {
    for time in stride(from: from, to: end, by: 1000) {
      look(info, at: time)
      if hears { feed(.lag(.behind(.milliseconds(330 + time % 7))), at: time) }
    }
  }
}

struct RoleTrackerTests {
  static let isPrimary = LiteFSInfo(isPrimary: true, primary: "nodeB")
  static let alone = LiteFSInfo(isPrimary: false)
  static let follows = LiteFSInfo(isPrimary: false, primary: "nodeA")

  private func replica() -> Stage {
    var stage = Stage()
    stage.named("nodeA", at: 0)
    stage.steady(Self.follows, from: 100, to: 10_000, hears: true)
    return stage
  }

  @Test func `nothing is known before LiteFS has said anything`() {
    var stage = Stage()
    stage.feed(.failed, at: 10)
    stage.feed(.streamEnded, at: 20)
    stage.pass(to: 60_000)
    #expect(stage.tracker.role == .unknown && stage.reports.isEmpty)
  }

  @Test func `a primary is one at once`() {
    var stage = Stage()
    stage.look(Self.isPrimary, at: 5)
    #expect(stage.reports == [Stage.Report(at: 5, role: .primary)])
  }

  @Test func `a replica is one when the name has stayed`() {
    var stage = Stage()
    stage.named("nodeA", at: 0)
    stage.pass(to: 299)
    #expect(stage.roles.isEmpty)
    stage.pass(to: 300)
    #expect(stage.reports == [Stage.Report(at: 300, role: .replica(of: "nodeA"))])
  }

  /// Without the stream a name must be seen for longer, since looks miss what lies between them.
  @Test func `by looks alone it takes longer`() {
    var stage = Stage()
    stage.steady(Self.follows, from: 0, to: 2500)
    #expect(stage.roles.isEmpty)
    stage.look(Self.follows, at: 3000)
    #expect(stage.roles == [.replica(of: "nodeA")])
  }

  @Test func `a node without a primary says so after one try could have passed`() {
    var stage = Stage()
    stage.nobody(at: 0)
    stage.pass(to: 1449)
    #expect(stage.roles.isEmpty)
    stage.pass(to: 1450)
    #expect(stage.roles == [LiteFSRole.none])
  }

  // MARK: A dead primary whose lease is still there

  /// Alternating once a second, as observed; for ten minutes. The name is there for as long as a refused connection
  /// takes.
  @Test(arguments: [1, 5, 40, 200, 290])
  func `flapping for ten minutes is one change`(milliseconds: Int) {
    var stage = replica()
    stage.nobody(at: 10_000)
    for round in 1...600 {
      stage.named("nodeA", at: 10_000 + round * (1000 + milliseconds) - milliseconds)
      stage.nobody(at: 10_000 + round * (1000 + milliseconds))
      stage.look(Self.alone, at: 10_000 + round * (1000 + milliseconds) + 350)
    }
    #expect(stage.roles == [.replica(of: "nodeA"), .none], "\(stage.reports.prefix(6))")
    #expect(stage.reports.last.map { $0.at <= 11_500 } == true, "\(stage.reports)")
  }

  /// Hosts that are gone refuse nothing: each try takes seconds, and names the dead node meanwhile.
  @Test(arguments: [500, 1000, 3000, 10_000])
  func `slow tries are no connections`(milliseconds: Int) {
    var stage = replica()
    stage.nobody(at: 10_000)
    var time = 10_000
    while time < 610_000 {
      stage.named("nodeA", at: time + 1000)
      for look in stride(from: time + 1200, to: time + 1000 + milliseconds, by: 1000) {
        stage.look(Self.follows, at: look)
        // Nothing comes, so the lag grows.
        stage.feed(.lag(.behind(.milliseconds(look - 10_000))), at: look)
      }
      time += 1000 + milliseconds
      stage.nobody(at: time)
      stage.look(Self.alone, at: time + 500)
    }
    // The first one looks like a connection; none of the others does.
    #expect(stage.roles == [.replica(of: "nodeA"), .none], "\(stage.reports.prefix(8))")
  }

  /// Flickers of a static replica whose primary is away: the same name each second, seen by looks now and then.
  @Test func `looks that meet the flicker change nothing`() {
    var stage = Stage()
    for second in 0..<600 {
      stage.look(second % 7 == 3 ? Self.follows : Self.alone, at: second * 1000)
    }
    #expect(stage.roles == [LiteFSRole.none])
  }

  @Test func `failover: none in time, primary at once`() {
    var stage = replica()
    stage.nobody(at: 10_000)
    for round in 1...18 {
      stage.named("nodeA", at: 10_000 + round * 1000)
      stage.nobody(at: 10_003 + round * 1000)
    }
    stage.primary(at: 28_100)
    #expect(stage.roles == [.replica(of: "nodeA"), .none, .primary])
    #expect(stage.reports.last?.at == 28_100)
  }

  // MARK: Short interruptions

  @Test func `a connection that breaks and comes back within a second is no change`() {
    var stage = replica()
    stage.nobody(at: 10_000)
    stage.named("nodeA", at: 11_003)
    stage.steady(Self.follows, from: 11_100, to: 20_000, hears: true)
    #expect(stage.roles == [.replica(of: "nodeA")])
  }

  @Test func `a replica moves on to the new primary`() {
    var stage = replica()
    stage.nobody(at: 10_000)
    stage.named("nodeC", at: 11_000)
    stage.pass(to: 11_299)
    #expect(stage.roles == [.replica(of: "nodeA")])
    stage.pass(to: 11_300)
    #expect(stage.roles == [.replica(of: "nodeA"), .replica(of: "nodeC")])
  }

  @Test func `a transaction shows that the primary is heard`() throws {
    var stage = Stage()
    stage.named("nodeA", at: 0)
    stage.feed(.event(.transaction(database: "a", Position(transaction: 1, checksum: 2))), at: 10)
    #expect(stage.reports == [Stage.Report(at: 10, role: .replica(of: "nodeA"))])
  }

  /// The lag counts by the primary's clock.
  @Test(arguments: [-100_000, 0, 100_000])
  func `the lag shows it too, whatever the clocks`(skew: Int) {
    var stage = Stage()
    // Earlier tries have failed slowly.
    stage.feed(.lag(.neverSynced), at: 0)
    for time in [0, 6000] {
      stage.named("nodeA", at: time)
      stage.hum(from: time + 1000, to: time + 5000)
      stage.nobody(at: time + 5000)
    }
    stage.named("nodeA", at: 12_000)
    stage.feed(.lag(.behind(.milliseconds(skew + 500))), at: 12_500)
    #expect(stage.tracker.role != .replica(of: "nodeA"))
    // As if nothing came: no sign.
    stage.feed(.lag(.behind(.milliseconds(skew + 1500))), at: 13_500)
    #expect(stage.tracker.role != .replica(of: "nodeA"))
    stage.hum(from: 14_000, to: 14_001)
    stage.feed(.lag(.behind(.milliseconds(skew + 400))), at: 14_500)
    #expect(stage.tracker.role == .replica(of: "nodeA"))
  }

  // MARK: Hand-off

  /// The old primary names itself as somebody else's for a second.
  @Test func `a node that hands over is no replica of itself`() {
    var stage = Stage(node: "nodeA")
    stage.primary(at: 0)
    stage.hum(from: 1000, to: 5000)
    stage.named("nodeA", at: 5000)
    stage.look(LiteFSInfo(isPrimary: false, primary: "nodeA"), at: 5500)
    stage.nobody(at: 5900)
    stage.named("nodeB", at: 6000)
    stage.pass(to: 6300)
    #expect(
      stage.reports == [
        Stage.Report(at: 0, role: .primary), Stage.Report(at: 5000, role: .none),
        Stage.Report(at: 6300, role: .replica(of: "nodeB")),
      ])
  }

  /// An answer that was on its way while the stream told of a change says what was before.
  @Test func `old answers do not undo what the stream said`() {
    var stage = Stage()
    stage.primary(at: 0)
    stage.hum(from: 1000, to: 5001)
    let asked = stage.now
    stage.nobody(at: 5010)
    stage.feed(.info(Self.isPrimary, askedAt: asked), at: 5020)
    #expect(stage.roles == [.primary, .none])
    stage.look(Self.isPrimary, at: 5100)
    #expect(stage.roles == [.primary, .none, .primary])
  }

  // MARK: Silence

  @Test func `three seconds without a word are unknown`() {
    var stage = Stage()
    stage.primary(at: 0)
    stage.feed(.failed, at: 1000)
    stage.feed(.streamEnded, at: 2000)
    stage.pass(to: 2999)
    #expect(stage.tracker.role == .primary)
    stage.pass(to: 3000)
    #expect(stage.reports.last == Stage.Report(at: 3000, role: .unknown))
    stage.look(Self.isPrimary, at: 9000)
    #expect(stage.roles == [.primary, .unknown, .primary])
  }

  /// An open stream says nothing on an idle node; the looks keep it known.
  @Test func `a quiet stream is no silence`() {
    var stage = replica()
    stage.steady(Self.follows, from: 10_000, to: 300_000, hears: true)
    #expect(stage.roles == [.replica(of: "nodeA")])
  }

  @Test func `a LiteFS that ended is unknown at once`() {
    var stage = Stage()
    stage.primary(at: 0)
    stage.feed(.stopped, at: 100)
    #expect(stage.roles == [.primary, .unknown])
    stage.named("nodeA", at: 5000)
    stage.pass(to: 5300)
    #expect(stage.roles == [.primary, .unknown, .replica(of: "nodeA")])
  }

  // MARK: The lease

  /// The store hangs: LiteFS stays primary for as long as it likes, this node does not.
  @Test func `a primary that does not hear of its lease is none`() {
    var stage = Stage(leaseTime: .seconds(10))
    stage.primary(at: 0)
    stage.hum(from: 1000, to: 5000)
    stage.feed(.lease(holder: "nodeB"), at: 5000)
    for time in stride(from: 5000, to: 40_000, by: 1000) {
      stage.look(Self.isPrimary, at: time)
      stage.feed(.failed, at: time)
    }
    #expect(stage.reports.last == Stage.Report(at: 15_000, role: .none))
    #expect(stage.tracker.isFenced)
    // It answers again, and somebody else has it: LiteFS does not know yet.
    stage.feed(.lease(holder: "nodeA"), at: 40_000)
    stage.look(Self.isPrimary, at: 40_100)
    #expect(stage.tracker.role == .none)
    stage.nobody(at: 40_200)
    stage.named("nodeA", at: 41_000)
    stage.pass(to: 41_300)
    #expect(stage.roles == [.primary, .none, .replica(of: "nodeA")])
    #expect(!stage.tracker.isFenced)
  }

  @Test func `a store that answers in time changes nothing, and one that confirms the lease ends the fence`()
  {
    var stage = Stage(leaseTime: .seconds(10))
    stage.primary(at: 0)
    for time in stride(from: 1000, to: 60_000, by: 1000) {
      stage.look(Self.isPrimary, at: time)
      if time % 9000 == 0 { stage.feed(.lease(holder: "nodeB"), at: time) }
    }
    #expect(stage.roles == [.primary])
    for time in stride(from: 60_000, to: 70_000, by: 1000) { stage.look(Self.isPrimary, at: time) }
    #expect(stage.roles == [.primary, .none])
    stage.feed(.lease(holder: "nodeB"), at: 70_000)
    #expect(stage.roles == [.primary, .none, .primary])
  }

  @Test func `a store that names another holder is believed at its second word`() {
    var stage = Stage(leaseTime: .seconds(10))
    stage.primary(at: 0)
    stage.feed(.lease(holder: "nodeA"), at: 100)
    stage.feed(.lease(holder: "nodeB"), at: 1100)
    stage.feed(.lease(holder: "nodeA"), at: 2100)
    #expect(stage.roles == [.primary])
    stage.look(Self.isPrimary, at: 2200)
    stage.feed(.lease(holder: nil), at: 3100)
    #expect(stage.roles == [.primary, .none])
  }

  @Test func `a static lease has no store to hear of`() {
    var stage = Stage()
    stage.primary(at: 0)
    stage.steady(Self.isPrimary, from: 1000, to: 120_000)
    #expect(stage.roles == [.primary])
  }

  // MARK: Chaos

  /// Whatever comes: never a replica of itself, never a primary that LiteFS does not call one, and a real change is
  /// reported in 1.5 s.
  @Test(arguments: 0..<40) func `random clusters`(seed: UInt64) {
    var random = Seeded(state: seed &* 0x9E37_79B9_7F4A_7C15 &+ 1)
    var stage = Stage()
    var time = 0
    for _ in 0..<60 {
      let kind = Int.random(in: 0..<3, using: &random)
      let flicker = Int.random(in: 1..<250, using: &random)
      let seconds = Int.random(in: 3..<20, using: &random)
      switch kind {
      case 0:
        stage.primary(at: time)
        stage.steady(Self.isPrimary, from: time + 100, to: time + seconds * 1000)
      case 1:
        stage.named("nodeA", at: time)
        stage.steady(Self.follows, from: time + 100, to: time + seconds * 1000, hears: true)
      default:
        stage.nobody(at: time)
        for second in 1..<seconds {
          stage.look(Self.alone, at: time + second * 1000 - 400)
          stage.named(Bool.random(using: &random) ? "nodeA" : "nodeB", at: time + second * 1000 - 300)
          stage.nobody(at: time + second * 1000 - 300 + flicker)
        }
      }
      #expect(
        stage.tracker.role == [.primary, .replica(of: "nodeA"), .none][kind], "at \(time), kind \(kind)")
      let late = stage.reports.filter { $0.at > time + 1500 }
      #expect(late.isEmpty, "began at \(time): \(late)")
      time += seconds * 1000
    }
  }
}

/// Numbers that look random and are the same each time.
struct Seeded: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}

struct PeerWatchTests {
  private static func info(_ cluster: String?, primary: Bool = false) -> LiteFSInfo {
    LiteFSInfo(clusterID: cluster, isPrimary: primary)
  }

  private static func report(_ peer: String, _ info: LiteFSInfo?) -> PeerWatch.Report {
    PeerWatch.Report(peer: peer, info: info)
  }

  @Test(
    arguments: [
      (info("A", primary: true), [], PeerWatch.Verdict.unknown(reason: "no other node is known")),
      (info("A", primary: true), [report("b", nil)], .unknown(reason: "no other node answers")),
      (info("A", primary: true), [report("b", nil), report("c", info("A"))], .fine),
      (info("A"), [report("b", info("A", primary: true))], .fine),
      // A node that has no data yet has no cluster either.
      (info(nil), [report("b", info("A", primary: true))], .fine),
      (info("A"), [report("b", info(nil))], .fine),
      (info("A", primary: true), [report("b", info("A", primary: true))], .twoPrimaries(["a", "b"])),
      (
        info("A"), [report("b", info("A", primary: true)), report("c", info("A", primary: true))],
        .twoPrimaries(["b", "c"])
      ),
      (
        info("A", primary: true), [report("b", info("B", primary: true))],
        .differentClusters(own: "A", other: "B", peer: "b")
      ),
      (nil, [report("b", info("A", primary: true))], .fine),
    ] as [(LiteFSInfo?, [PeerWatch.Report], PeerWatch.Verdict)])
  func `one round`(own: LiteFSInfo?, reports: [PeerWatch.Report], expected: PeerWatch.Verdict) {
    #expect(PeerWatch.judge(own: own, name: "a", reports) == expected)
  }

  /// The answers of a round are not from the same moment: a hand-off may lie between them.
  @Test func `two rounds make a split brain`() {
    var watch = PeerWatch()
    let own = Self.info("A", primary: true)
    let other = [Self.report("b", Self.info("A", primary: true))]
    let fine = [Self.report("b", Self.info("A"))]
    let split = PeerWatch.Verdict.twoPrimaries(["a", "b"])
    for (round, change, verdict) in [
      (fine, true, .fine), (other, false, .fine), (fine, false, .fine), (other, false, .fine),
      (other, true, split), (other, false, split), (fine, true, .fine),
    ] as [([PeerWatch.Report], Bool, PeerWatch.Verdict)] {
      let changed = watch.handle(own: own, name: "a", round)
      #expect(changed == change)
      #expect(watch.verdict == verdict)
    }
    #expect(split.isBad && !PeerWatch.Verdict.fine.isBad)
  }
}
