import Testing

@testable import EventLoop

@Suite("the loop's end")
struct LoopStopTests {
  /// A start that fails at once must end the program, not wait for an event that nobody sends.
  @Test("a stop by what was deferred before the run ends it without waiting", .timeLimit(.minutes(1)))
  func stopBeforeTheFirstTurn() throws {
    let loop = try EventLoop()
    var order: [String] = []
    // Only so that a broken loop fails here instead of hanging.
    loop.schedule(after: .seconds(30)) { order.append("waited") }
    loop.defer {
      order.append("deferred")
      loop.stop()
    }
    loop.run()
    #expect(order == ["deferred"])
  }
}
