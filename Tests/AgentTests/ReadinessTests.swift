import AgentProtocol
import Foundation
import TestSupport
import Testing

@Suite("supervisor-agent: readiness in Redis")
struct ReadinessTests {
  private func agent(_ server: RedisServer, key: String) throws -> AgentProcess {
    var scope = CoordinationScope(
      project: "shop", runID: "r1", owner: "node-1:7", takeoverDelay: .seconds(1))
    scope.redis = CoordinationScope.Redis(
      url: "redis://127.0.0.1:\(server.port)/0", key: key, timeToLive: .seconds(60))
    let agent = try AgentProcess()
    try agent.send(.configure(scope))
    return agent
  }

  private struct Found: Equatable {
    var isReady: Bool
    var text = ""
  }

  private func answer(_ agent: AgentProcess, _ id: UInt64) throws -> Found {
    try agent.coordination("readiness") {
      if case .readiness(id, let isReady, let text) = $0 { Found(isReady: isReady, text: text) } else { nil }
    }
  }

  private func read(_ agent: AgentProcess) throws -> Found {
    try answer(agent, try agent.ask { .readReadiness(id: $0) })
  }

  private func write(_ agent: AgentProcess, _ isReady: Bool) throws {
    let id = try agent.ask { .writeReadiness(id: $0, isReady: isReady) }
    try agent.coordination("the end of the write") { if case .done(id) = $0 { () } else { nil } }
  }

  @Test("it is set, read, heard of and taken away; a stranger's value is no yes, and is shown")
  func ways() throws {
    let server = try RedisServer.shared.get()
    let key = "agent:\(UUID().uuidString)"
    let (writer, waiter) = (try agent(server, key: key), try agent(server, key: key))
    #expect(try read(writer) == Found(isReady: false))
    let watch = try waiter.ask { .watchReadiness(id: $0) }
    func changed() throws {
      try waiter.coordination("a change") { if case .readinessChanged(watch) = $0 { () } else { nil } }
    }
    try changed()
    try write(writer, true)
    try changed()
    #expect(try read(waiter) == Found(isReady: true))
    #expect(try server.ask("GET", key) == "1")
    try write(writer, false)
    try changed()
    #expect(try read(waiter) == Found(isReady: false))
    try server.ask("SET", key, "maybe")
    #expect(try read(waiter) == Found(isReady: false, text: "the text \"maybe\""))
    try waiter.send(.cancel(id: watch))
    try write(writer, true)
    // What is asked in order is done in order.
    #expect(try read(waiter) == Found(isReady: true))
    #expect(waiter.rest.isEmpty)
  }

  @Test("a server that is not there is waited for, which is said; a write fails in time")
  func away() throws {
    let server = try RedisServer()
    let agent = try agent(server, key: "k")
    try server.kill()
    let id = try agent.ask { .readReadiness(id: $0) }
    for _ in 0..<2 {
      let failure: CoordinationFailure = try agent.coordination("what is wrong") {
        if case .unavailable(id, let failure) = $0 { failure } else { nil }
      }
      #expect(failure.kind == .unavailable)
    }
    let wanted = try agent.ask { .writeReadiness(id: $0, isReady: true) }
    #expect(try agent.failure(of: wanted).kind == .unavailable)
    try server.start()
    #expect(try answer(agent, id) == Found(isReady: false))
  }

  @Test("an address that is none is a matter of settings")
  func settings() throws {
    var scope = CoordinationScope(
      project: "shop", runID: "r1", owner: "node-1:7", takeoverDelay: .seconds(1))
    scope.redis = CoordinationScope.Redis(
      url: "http://:hunter22@127.0.0.1/", key: "k", timeToLive: .seconds(60))
    let agent = try AgentProcess()
    try agent.send(.configure(scope))
    let id = try agent.ask { .readReadiness(id: $0) }
    let failure = try agent.failure(of: id)
    #expect(failure.kind == .settings && !failure.text.contains("hunter22"))
  }
}
