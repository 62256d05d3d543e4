import AgentProtocol
import Testing

@testable import AgentSupervision

/// What the agent that watches LiteFS is told, also the one after it.
@Suite struct LiteFSTalkTests {
  private let place = LiteFSPlace(mountPath: "/m", dataPath: "/d", host: "127.0.0.1", port: 1)

  private func connected() -> LiteFSTalk {
    var talk = LiteFSTalk(place: place)
    #expect(talk.handle(.connected) == [.send(.watch(place))])
    return talk
  }

  @Test func `what was asked before there was an agent is asked of the first`() {
    var talk = LiteFSTalk(place: place)
    #expect(talk.handle(.ask(.clear(id: 1, abort: false))) == [])
    #expect(talk.handle(.ask(.running(true))) == [])
    #expect(
      talk.handle(.connected) == [
        .send(.watch(place)), .send(.running(true)), .send(.clear(id: 1, abort: false)),
      ])
    #expect(talk.handle(.report(.cleared(id: 1))) == [.deliver(.cleared(id: 1))])
    #expect(talk.handle(.disconnected("killed")) == [.deliver(.paused)])
    #expect(talk.handle(.connected) == [.send(.watch(place)), .send(.running(true))], "it was answered")
  }

  @Test func `a hand-off that nobody knows the end of has failed, and is not done again`() {
    var talk = connected()
    #expect(talk.handle(.ask(.handoff(id: 4, nodeID: "A"))) == [.send(.handoff(id: 4, nodeID: "A"))])
    #expect(
      talk.handle(.disconnected("killed")) == [.deliver(.failed(id: 4, "killed")), .deliver(.paused)])
    #expect(talk.handle(.connected) == [.send(.watch(place))])
  }

  @Test func `what was cleared in part is cleared by the next agent`() {
    var talk = connected()
    _ = talk.handle(.ask(.clear(id: 2, abort: true)))
    #expect(talk.handle(.disconnected("killed")) == [.deliver(.paused)])
    #expect(talk.handle(.connected) == [.send(.watch(place)), .send(.clear(id: 2, abort: true))])
  }

  @Test func `without any agent every question is answered`() {
    var talk = LiteFSTalk(place: place)
    _ = talk.handle(.ask(.clear(id: 2, abort: false)))
    #expect(talk.handle(.unavailable("not found")) == [.deliver(.failed(id: 2, "not found"))])
    #expect(talk.handle(.ask(.holders(id: 3))) == [.deliver(.failed(id: 3, "not found"))])
  }

  @Test func `what an agent says that is not believed any more is passed over`() {
    var talk = connected()
    _ = talk.handle(.disconnected("killed"))
    #expect(talk.handle(.report(.paused)) == [])
  }
}
