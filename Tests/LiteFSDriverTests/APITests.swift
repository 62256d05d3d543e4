import AgentProtocol
import Foundation
import NIOCore
import TestSupport
import Testing

@testable import LiteFSDriver

@Suite("LiteFS: the API")
struct APITests {
  /// The API as the loop has it.
  private func api(_ loop: TestLoop, _ port: UInt16, host: String = "127.0.0.1") throws -> NIOLoopBound<
    LiteFSAPI
  > {
    try loop.run { NIOLoopBound(LiteFSAPI(eventLoop: $0, host: host, port: port), eventLoop: $0) }
  }

  private func information(_ loop: TestLoop, _ api: NIOLoopBound<LiteFSAPI>) throws -> Result<
    APIAnswer, APIFailure
  > {
    try loop.wait { _, promise in api.value.askInformation { promise.succeed($0) } }
  }

  private func failure(_ result: Result<APIAnswer, APIFailure>) -> String {
    if case .failure(let failure) = result { failure.text } else { "none" }
  }

  @Test(
    "body and headers are handed on, and one connection is enough, also when the host is every interface",
    arguments: ["127.0.0.1", "0.0.0.0", "localhost", ""])
  func answers(host: String) throws {
    let server = try ScriptedAPI { number, _ in
      let headers = number == 0 ? "" : "Litefs-Id: 00FF\r\nLitefs-Cluster-Id: LFSC1\r\n"
      return [.send(answer("{\(number)}", headers: headers))]
    }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    let api = try api(loop, server.port, host: host)
    let first = try information(loop, api).get()
    #expect(first.body == Array("{0}".utf8) && first.nodeID == "" && first.clusterID == "")
    let second = try information(loop, api).get()
    #expect(second.body == Array("{1}".utf8) && second.nodeID == "00FF" && second.clusterID == "LFSC1")
    #expect(second.askedAt > first.askedAt)
    #expect(server.requests == ["GET /info HTTP/1.1", "GET /info HTTP/1.1"] && server.connections == 1)
    try loop.run { _ in api.value.close() }
  }

  @Test("a connection that was closed meanwhile is opened again; one that is closed each time is a failure")
  func closed() throws {
    let server = try ScriptedAPI { number, _ in
      number == 0 ? [.send(answer("{}"))] : number < 3 ? [.close] : [.send(answer("{3}"))]
    }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    let api = try api(loop, server.port)
    _ = try information(loop, api).get()
    #expect(failure(try information(loop, api)) == "the connection was closed")
    #expect(server.connections == 2)
    #expect(try information(loop, api).get().body == Array("{3}".utf8))
  }

  @Test(
    "what is no answer to read is a failure that says so",
    arguments: [
      (
        answer("cannot\nmore", status: "503 Service Unavailable"),
        "it answers 503 Service Unavailable: cannot"
      ),
      (answer("", status: "404 Not Found"), "it answers 404 Not Found"),
      (answer(String(repeating: "x", count: 65_537)), "the answer has more than 64 KiB"),
      ("SSH-2.0-OpenSSH_9\r\n", "the answer is not HTTP"),
    ])
  func failures(text: String, expected: String) throws {
    let server = try ScriptedAPI { _, _ in [.send(text)] }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    #expect(failure(try information(loop, try api(loop, server.port))) == expected)
  }

  @Test("the longest body is read, and /debug/vars may be longer")
  func limits() throws {
    let server = try ScriptedAPI { _, line in
      [.send(answer(String(repeating: "x", count: line.contains("/info") ? 65_536 : 524_288)))]
    }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    let api = try api(loop, server.port)
    #expect(try information(loop, api).get().body.count == LiteFSReport.maximumBody)
    let variables: Result<APIAnswer, APIFailure> = try loop.wait { _, promise in
      api.value.askVariables { promise.succeed($0) }
    }
    #expect(try variables.get().body.count == LiteFSReport.maximumVariables)
    try loop.run { _ in api.value.close() }
  }

  @Test(
    "one that never answers is given up after two seconds, and asked once; one that is not there says so at once"
  )
  func silence() throws {
    let never = DispatchSemaphore(value: 0)
    let server = try ScriptedAPI { _, _ in [.wait(never)] }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    defer { never.signal() }
    let api = try api(loop, server.port)
    let began = Date()
    let result: Result<APIAnswer, APIFailure> = try loop.wait { _, promise in
      api.value.askInformation { promise.succeed($0) }
      api.value.askInformation { _ in Issue.record("asked twice") }
    }
    #expect(failure(result) == "no answer within 2s")
    #expect((1.9..<4).contains(Date().timeIntervalSince(began)))
    #expect(server.requests.count == 1)
    #expect(failure(try information(loop, try self.api(loop, try freePort()))) == "connection refused")
    #expect(
      failure(try information(loop, try self.api(loop, 1, host: "no-such-host.invalid"))).contains(
        "no-such-host.invalid"))
  }

  @Test("events come line by line, however they are cut; the stream is opened again when it ends")
  func events() throws {
    let server = try ScriptedAPI { number, _ in
      let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
      return number == 0
        ? [.send(head + "{\"a\":1}\n{\"b\""), .send(":2}\n\n"), .close]
        : number == 1 ? [.send(answer("", status: "503 Service Unavailable"))] : [.send(head + "last\n")]
    }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    let api = try api(loop, server.port)
    let heard = Heard()
    try loop.wait { (_, promise: EventLoopPromise<Void>) in
      api.value.watchEvents { line in
        heard.add(String(decoding: line, as: UTF8.self))
        if line.elementsEqual("last".utf8) { promise.succeed() }
      } onEnd: {
        heard.add("end: \($0)")
      }
    }
    #expect(
      heard.all == [
        "{\"a\":1}", "{\"b\":2}", "end: LiteFS ended it", "end: it answers 503 Service Unavailable", "last",
      ])
    #expect(server.requests == Array(repeating: "GET /events HTTP/1.1", count: 3))
    try loop.run { _ in api.value.close() }
  }

  @Test("a line without end ends the stream, and no memory is spent on it")
  func endlessLine() throws {
    let server = try ScriptedAPI { _, _ in
      [.send("HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 1 << 20))]
    }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    let api = try api(loop, server.port)
    let reason: String = try loop.wait { _, promise in
      api.value.watchEvents { _ in
        Issue.record("a line")
      } onEnd: {
        promise.succeed($0)
      }
    }
    #expect(reason == "a line has more than 64 KiB")
    try loop.run { _ in api.value.close() }
  }

  @Test("hand-off names the node; an ID that is none never gets into a request")
  func handOff() throws {
    let server = try ScriptedAPI { _, line in
      [
        .send(
          line.contains("nodeID=0A") ? answer("") : answer("invalid node id\n", status: "400 Bad Request"))
      ]
    }
    let loop = try TestLoop()
    defer { loop.end() }
    defer { server.end() }
    let api = try api(loop, server.port)
    func handOff(_ id: String) throws -> String? {
      try loop.wait { _, promise in api.value.handOff(to: id) { promise.succeed($0?.text) } }
    }
    #expect(try handOff("0A") == nil)
    #expect(try handOff("0B") == "it answers 400 Bad Request: invalid node id")
    #expect(try handOff("0A HTTP/1.1\r\n")?.contains("is not the ID of a node") == true)
    #expect(try handOff("")?.contains("is not the ID of a node") == true)
    #expect(server.requests == ["POST /handoff?nodeID=0A HTTP/1.1", "POST /handoff?nodeID=0B HTTP/1.1"])
  }
}

/// What came, in its order.
final class Heard: @unchecked Sendable {
  private let lock = NSLock()
  private var lines: [String] = []

  func add(_ line: String) { lock.withLock { lines.append(line) } }
  var all: [String] { lock.withLock { lines } }
}
