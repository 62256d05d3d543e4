import Coordination
import EventLoop
import Testing

/// Every event in every state.
struct LeaderElectionTests {
  typealias Event = LeaderElection.Event
  typealias Effect = LeaderElection.Effect

  enum Place: String, CaseIterable, Sendable {
    case idle, waiting, takingOver, leading, pausing, ended
  }

  static let now = MonotonicInstant(nanoseconds: 5_000_000_000)
  static let delay = Duration.seconds(3)

  private static func election(in place: Place) -> LeaderElection {
    var election = LeaderElection(takeoverDelay: delay)
    let way: [Event] =
      switch place {
      case .idle: []
      case .waiting: [.begin]
      case .takingOver: [.begin, .lockHeld(leftBy: "ghost")]
      case .leading: [.begin, .lockHeld(leftBy: "")]
      case .pausing: [.begin, .lockFailed("no")]
      case .ended: [.begin, .end]
      }
    for event in way { _ = election.handle(event, at: now) }
    return election
  }

  static let events: [Event] = [
    .begin, .lockBusy(holder: "them"), .lockHeld(leftBy: ""), .lockHeld(leftBy: "ghost"), .lockFailed("no"),
    .lockLost,
    .timer, .end,
  ]

  private static let takeover = Effect.note(
    "ghost was the primary and vanished: waiting 3s for what it ran to end (coordination.takeover_delay)")
  private static let again = now + .seconds(1)

  /// What is done; everything that is not named here does nothing, but for a lock that comes unasked, which is given back.
  private static func expected(_ place: Place, _ event: Event) -> [Effect] {
    switch (place, event) {
    case (.idle, .begin): [.lock]
    case (.waiting, .lockBusy): [.note("them is the primary")]
    case (.waiting, .lockHeld(leftBy: "")): [.unschedule, .won]
    case (.waiting, .lockHeld): [takeover, .schedule(now + delay)]
    case (.waiting, .lockFailed):
      [.note("the leader lock: no; trying again in 1s"), .release, .schedule(again)]
    case (.waiting, .lockLost), (.takingOver, .lockLost):
      [
        .note("the process that waits for the leader lock has ended; trying again in 1s"), .release,
        .schedule(again),
      ]
    case (.leading, .lockLost):
      [
        .lost, .note("the leader lock was lost; trying again in 1s"),
        .release, .schedule(again),
      ]
    case (.takingOver, .timer): [.unschedule, .won]
    case (.pausing, .timer): [.lock]
    // The next one must wait for the ghost's processes too.
    case (.takingOver, .end): [.unschedule, .abandon]
    case (.waiting, .end), (.leading, .end), (.pausing, .end): [.unschedule, .release]
    case (_, .lockHeld): [.release]
    default: []
    }
  }

  @Test(arguments: Place.allCases, events)
  func `each event in each state`(place: Place, event: Event) {
    var election = Self.election(in: place)
    let wasLeading = election.isLeading
    let effects = election.handle(event, at: Self.now)
    #expect(effects == Self.expected(place, event))
    #expect(
      election.isLeading == (wasLeading || effects.contains(.won)) || effects.contains(.lost) || event == .end
    )
    // Lost comes before anything by which another may become the primary.
    if effects.contains(.lost) { #expect(effects.first == .lost && !election.isLeading) }
    if event == .end {
      #expect(!election.isLeading && !election.isActive)
      for later in Self.events {
        if case .lockHeld = later { continue }
        #expect(election.handle(later, at: Self.now) == [])
      }
    }
  }

  @Test func `whoever holds the lock is named, each one once`() {
    var election = Self.election(in: .waiting)
    #expect(election.handle(.lockBusy(holder: "a"), at: Self.now) == [.note("a is the primary")])
    #expect(election.handle(.lockBusy(holder: "a"), at: Self.now) == [])
    #expect(election.handle(.lockBusy(holder: "b"), at: Self.now) == [.note("b is the primary")])
    #expect(election.holder == "b")
    #expect(election.handle(.lockBusy(holder: ""), at: Self.now) == [.note("another process is the primary")])
    _ = election.handle(.lockHeld(leftBy: ""), at: Self.now)
    #expect(election.holder == "")
  }

  @Test func `the pause doubles up to half a minute, a lead resets it, and one problem is one line`() {
    var election = Self.election(in: .waiting)
    var pauses: [Duration] = []
    var notes = 0
    for _ in 0..<8 {
      let effects = election.handle(.lockFailed("no"), at: Self.now)
      for case .schedule(let deadline) in effects { pauses.append(deadline - Self.now) }
      for case .note in effects { notes += 1 }
      #expect(election.handle(.timer, at: Self.now) == [.lock])
    }
    #expect(pauses == [1, 2, 4, 8, 16, 30, 30, 30].map { .seconds($0) })
    #expect(notes == 1)
    _ = election.handle(.lockHeld(leftBy: ""), at: Self.now)
    #expect(election.handle(.lockLost, at: Self.now).contains(.schedule(Self.again)))
  }

  @Test func `without a delay a vanished holder is not waited for`() {
    var election = LeaderElection(takeoverDelay: .zero)
    _ = election.handle(.begin, at: Self.now)
    #expect(election.handle(.lockHeld(leftBy: "ghost"), at: Self.now) == [.unschedule, .won])
  }
}
