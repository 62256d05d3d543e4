import AgentProtocol
import AgentSupervision
import TestSupport
import Testing

@Suite struct CoordinationTalkTests {
  private static let scope = CoordinationScope(
    project: "shop", runID: "r1", owner: "web-1 (pid 1)", takeoverDelay: .seconds(3))
  private static let gone = CoordinationFailure(.unavailable, "the agent ended")

  private func connected() -> CoordinationTalk {
    var talk = CoordinationTalk(scope: Self.scope)
    _ = talk.handle(.connected)
    return talk
  }

  /// Holds lock 1.
  private func holding() -> CoordinationTalk {
    var talk = connected()
    _ = talk.handle(.ask(.lock(id: 1, .infrastructure)))
    _ = talk.handle(.report(.lockHeld(id: 1, leftBy: "")))
    return talk
  }

  @Test func `what is asked before there is an agent is asked once it listens, behind the scope`() {
    var talk = CoordinationTalk(scope: Self.scope)
    #expect(!talk.needsAgent)
    #expect(talk.handle(.ask(.read(id: 1))) == [])
    #expect(talk.handle(.ask(.lock(id: 2, .leader))) == [])
    #expect(talk.needsAgent && !talk.isHolding)
    #expect(
      talk.handle(.connected) == [
        .send(.configure(Self.scope)), .send(.read(id: 1)), .send(.lock(id: 2, .leader)),
      ])
    #expect(
      talk.handle(.ask(.writeReadiness(id: 3, isReady: true))) == [
        .send(.writeReadiness(id: 3, isReady: true))
      ])
  }

  @Test func `the last report of a question ends it, and the others do not`() {
    var talk = connected()
    _ = talk.handle(.ask(.read(id: 1)))
    let trouble = CoordinationReport.unavailable(id: 1, Self.gone)
    #expect(talk.handle(.report(trouble)) == [.deliver(trouble)])
    #expect(talk.needsAgent)
    let answer = CoordinationReport.record(id: 1, nil, now: 5)
    #expect(talk.handle(.report(answer)) == [.deliver(answer)])
    #expect(!talk.needsAgent)
    #expect(talk.handle(.report(answer)) == [], "nobody asks any more")
  }

  @Test func `questions outlive an agent, and a lock that was held does not`() {
    var talk = holding()
    _ = talk.handle(.ask(.write(id: 2, record: [1], isLast: false)))
    _ = talk.handle(.ask(.lock(id: 3, .leader)))
    _ = talk.handle(.ask(.read(id: 4)))
    _ = talk.handle(.ask(.watchReadiness(id: 5)))
    #expect(talk.isHolding)
    #expect(
      talk.handle(.disconnected("the agent ended")) == [
        .deliver(.lockLost(id: 1, Self.gone)), .deliver(.failed(id: 2, Self.gone)),
      ], "the loss before the write that failed by it")
    #expect(!talk.isHolding && talk.needsAgent)
    #expect(
      talk.handle(.connected) == [
        .send(.configure(Self.scope)), .send(.lock(id: 3, .leader)), .send(.read(id: 4)),
        .send(.watchReadiness(id: 5)),
      ])
  }

  @Test func `an agent is not to be killed while what ran under its lock has not ended`() {
    var talk = holding()
    #expect(talk.handle(.ask(.guardGroup(id: 1, group: 77))) == [.send(.guardGroup(id: 1, group: 77))])
    #expect(talk.handle(.endangered("it hangs")).count == 1)
    #expect(talk.isHolding, "group 77 may still run")
    #expect(talk.handle(.report(.lockHeld(id: 1, leftBy: ""))) == [], "what it says is not believed any more")
    #expect(talk.handle(.ask(.unguardGroup(id: 1, group: 77))) == [])
    #expect(!talk.isHolding)
  }

  @Test func `what began before anybody knew that the agent hangs ends before the agent does, too`() {
    var talk = holding()
    _ = talk.handle(.endangered("it hangs"))
    #expect(talk.handle(.ask(.guardGroup(id: 1, group: 78))) == [], "it would not read it")
    #expect(talk.isHolding)
    #expect(talk.handle(.ask(.unguardGroup(id: 1, group: 78))) == [])
    #expect(!talk.isHolding)
    _ = talk.handle(.disconnected("killed"))
    _ = talk.handle(.ask(.guardGroup(id: 1, group: 79)))
    #expect(!talk.isHolding, "there is no agent to be spared")
  }

  @Test func `what goes on in the server is not asked after once the lock is lost`() {
    var talk = holding()
    let request = CoordinationRequest.endRemains(id: 5, step: "migrate")
    #expect(talk.handle(.ask(request)) == [.send(request)])
    let failure = CoordinationFailure(.unavailable, "killed")
    #expect(
      talk.handle(.disconnected("killed"))
        == [.deliver(.lockLost(id: 1, failure)), .deliver(.failed(id: 5, failure))])
    #expect(talk.handle(.connected).count == 1, "nor of the next agent")
  }

  @Test func `a group is guarded by a lock that is held, and by no other`() {
    var talk = connected()
    _ = talk.handle(.ask(.lock(id: 1, .infrastructure)))
    #expect(talk.handle(.ask(.guardGroup(id: 1, group: 77))) == [])
    #expect(talk.handle(.ask(.guardGroup(id: 9, group: 77))) == [])
    #expect(!talk.isHolding)
  }

  @Test(arguments: [true, false])
  func `giving back is answered, whether there is an agent or not`(hasAgent: Bool) {
    var talk = holding()
    if hasAgent {
      let request = CoordinationRequest.unlock(id: 1, isOrderly: true)
      #expect(talk.handle(.ask(request)) == [.send(request)])
      #expect(talk.needsAgent)
      // It may hold it no longer when it ends now.
      #expect(talk.handle(.disconnected("the agent ended")) == [.deliver(.unlocked(id: 1))])
    } else {
      _ = talk.handle(.disconnected("the agent ended"))
      #expect(
        talk.handle(.ask(.unlock(id: 1, isOrderly: false))) == [.deliver(.unlocked(id: 1))])
    }
    #expect(!talk.needsAgent && !talk.isHolding)
  }

  @Test func `without an agent for good every question fails, also those to come`() {
    var talk = CoordinationTalk(scope: Self.scope)
    _ = talk.handle(.ask(.read(id: 1)))
    _ = talk.handle(.ask(.lock(id: 2, .infrastructure)))
    #expect(
      talk.handle(.unavailable("the agent ended")) == [
        .deliver(.failed(id: 1, Self.gone)), .deliver(.lockFailed(id: 2, Self.gone)),
      ])
    #expect(talk.handle(.ask(.read(id: 3))) == [.deliver(.failed(id: 3, Self.gone))])
    #expect(!talk.needsAgent)
  }

  @Test func `a record that no frame can carry is refused, and not lost`() {
    var talk = connected()
    let effects = talk.handle(
      .ask(.write(id: 1, record: Array(repeating: 65, count: Frame.maximumLength), isLast: false)))
    guard case .deliver(.failed(id: 1, let failure)) = effects.first else {
      Issue.record("\(effects)")
      return
    }
    #expect(failure.kind == .damaged && failure.text.contains("SUPERVISOR_OUTPUT"))
    let largest = Array(repeating: UInt8(65), count: Frame.maximumLength - 1024)
    let frame = AgentRequest.coordination(.write(id: .max, record: largest, isLast: true)).frame
    #expect(!frame.bytes.isEmpty, "the largest that is let through fits")
  }

  /// Whatever happens in whatever order: each question has one end, and a lock that was told to be held is either given
  /// back or told to be lost.
  @Test(arguments: 0..<200)
  func `no question stays without an end`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var talk = CoordinationTalk(scope: Self.scope)
    var isConnected = false
    var open: Set<UInt64> = []
    var locks: Set<UInt64> = []
    var held: Set<UInt64> = []
    var last: UInt64 = 0
    func take(_ effects: [CoordinationTalk.Effect]) {
      for effect in effects {
        guard case .deliver(let report) = effect else {
          #expect(isConnected, "\(effect) without an agent")
          continue
        }
        switch report {
        case .lockHeld(let id, _): held.insert(id)
        case .lockLost(let id, _):
          #expect(held.remove(id) != nil)
          open.remove(id)
        case .unlocked(let id):
          held.remove(id)
          open.remove(id)
        default: if report.isLast { #expect(open.remove(report.id) != nil) }
        }
      }
    }
    for _ in 0..<60 {
      let id = last == 0 ? 0 : UInt64.random(in: 1...last, using: &random)
      switch Int.random(in: 0..<10, using: &random) {
      case 0:
        last += 1
        open.insert(last)
        take(talk.handle(.ask(.read(id: last))))
      case 1, 2:
        last += 1
        open.insert(last)
        locks.insert(last)
        take(talk.handle(.ask(.lock(id: last, .infrastructure))))
      case 3:
        last += 1
        open.insert(last)
        take(talk.handle(.ask(.write(id: last, record: [], isLast: false))))
      case 4 where open.contains(id) && locks.contains(id):
        take(talk.handle(.ask(.unlock(id: id, isOrderly: true))))
      case 5 where !isConnected:
        isConnected = true
        take(talk.handle(.connected))
      case 6 where isConnected && random.once(in: 3):
        isConnected = false
        take(talk.handle(.disconnected("gone")))
        #expect(held.isEmpty)
      case 7: take(talk.handle(.report(.lockHeld(id: id, leftBy: ""))))
      case 8: take(talk.handle(.report(.done(id: id))))
      default: take(talk.handle(.report(.failed(id: id, Self.gone))))
      }
      #expect(talk.needsAgent == !open.isEmpty)
    }
    isConnected = false
    take(talk.handle(.unavailable("gone")))
    #expect(open.isEmpty && held.isEmpty && !talk.needsAgent)
  }
}
