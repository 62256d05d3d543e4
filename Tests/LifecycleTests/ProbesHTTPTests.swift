import Checks
import EventLoop
import Testing

@testable import Lifecycle

@Suite struct ProbesHTTPTests {
  /// Probes a server with the given behaviour; `@` in the expected reason stands for its address.
  private func probe(
    _ behaviour: StandInServer.Behaviour, timeout: Duration = ample
  ) throws -> (outcome: CheckOutcome, server: StandInServer) {
    let loop = try EventLoop()
    let server = try StandInServer(behaviour, on: loop)
    let report = ProbeReport()
    let target = HTTPCheckTarget(.loopback4, server.port)
    HTTPProbe.start(loop: loop, target: target, timeout: timeout, completion: report.take)
    #expect(report.outcome == nil, "a report before the call returned")
    try loop.run { report.outcome != nil }
    // Everything is closed: the server notices, or has closed before. A probe that gave up before it had a connection
    // leaves nothing to notice.
    if server.accepted > 0 { try loop.run { server.openConnections == 0 } }
    #expect(report.outcomes.count == 1)
    return (try #require(report.outcome), server)
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 204\r\n\r\n",
    "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", "HTTP/1.1 399 Odd\n\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
  ])
  func goodAnswersPass(answer: String) throws {
    for behaviour in [StandInServer.Behaviour.answer(answer), .drip(answer), .greet(answer)] {
      #expect(try probe(behaviour).outcome == .passed)
    }
  }

  @Test(arguments: [
    (
      "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 18\r\n\r\ndatabase is locked",
      ": database is locked"
    ),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\n", ""),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\n<!doctype html>\n<p>no", ""),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\nfirst\r\nsecond", ": first"),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\n\u{1b}[2Jcleared", ""),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\n\u{202e}turned", ""),
    ("HTTP/1.1 503 Service Unavailable\r\n\r\n" + String(repeating: "x", count: 121), ""),
    (
      "HTTP/1.1 503 Service Unavailable\r\nTransfer-Encoding: chunked\r\n\r\n7;a=b\r\nno node\r\n0\r\n\r\n",
      ": no node"
    ),
    ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n\r\nlater", ": later"),
  ])
  func badStatusFailsWithWhatTheServerSays(answer: String, detail: String) throws {
    for behaviour in [StandInServer.Behaviour.answer(answer), .drip(answer)] {
      let (outcome, server) = try probe(behaviour)
      #expect(outcome == .failed("HTTP 503 Service Unavailable\(detail) from 127.0.0.1:\(server.port)"))
    }
  }

  @Test(arguments: [
    ("SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP/1: it begins with \"SSH-2.0-OpenSSH_9.2\""),
    ("HTTP/2 200 OK\r\n\r\n", "the answer is not HTTP/1: it begins with \"HTTP/2 200 OK\""),
    ("HTTP/1.1 OK\r\n\r\n", "the answer is not HTTP/1: it begins with \"HTTP/1.1 OK\""),
    ("HTTP/1.1 20 OK\r\n\r\n", "the answer is not HTTP/1: it begins with \"HTTP/1.1 20 OK\""),
    ("HTTP/1.1 2000 OK\r\n\r\n", "the answer is not HTTP/1: it begins with \"HTTP/1.1 2000 OK\""),
    ("\r\n\r\n\r\n", "the answer is not HTTP/1"), ("\u{16}\u{3}\u{1}", "the answer is not HTTP/1"),
    ("HTTP/1.1 200 OK\r\nContent-Le", "connection closed in the middle of the answer"),
  ])
  func garbageIsSaidToBeGarbage(answer: String, reason: String) throws {
    let (outcome, server) = try probe(.answer(answer))
    #expect(outcome == .failed("\(reason) at 127.0.0.1:\(server.port)"))
  }

  @Test func closedAndResetConnectionsFail() throws {
    let closed = try probe(.close)
    #expect(
      closed.outcome == .failed("connection closed without an answer at 127.0.0.1:\(closed.server.port)"))
    let reset = try probe(.reset)
    #expect(reset.outcome == .failed("connection reset without an answer at 127.0.0.1:\(reset.server.port)"))
  }

  @Test func anEndlessHeadIsCutOff() throws {
    let (outcome, server) = try probe(
      .flood("HTTP/1.1 200 OK\r\nX-Filler: \(String(repeating: "x", count: 3000))"))
    #expect(
      outcome == .failed("the head of the HTTP answer is larger than 64 KiB at 127.0.0.1:\(server.port)"))
  }

  @Test func endlessGarbageIsCutOff() throws {
    let (outcome, server) = try probe(.flood(String(repeating: "x", count: 4000)))
    let reason = "the answer is not HTTP/1: it begins with \"\(String(repeating: "x", count: 40))\""
    #expect(outcome == .failed("\(reason) at 127.0.0.1:\(server.port)"))
  }

  @Test func anEndlessBodyIsNotWaitedFor() throws {
    let answer = "HTTP/1.1 200 OK\r\n\r\n" + String(repeating: "x", count: 3000)
    #expect(try probe(.flood(answer)).outcome == .passed)
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
  ])
  func anAnswerThatSaysWhereItEndsIsNotWaitedFor(answer: String) throws {
    #expect(try probe(.answerAndStay(answer)).outcome == .passed)
  }

  /// The deadline is brought about by hand as soon as the head has come.
  @Test func aGoodHeadPassesAtTheDeadlineWhateverTheBodyDoes() throws {
    let loop = try EventLoop()
    let server = try StandInServer(
      .answerAndStay("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"), on: loop)
    let report = ProbeReport()
    let target = HTTPCheckTarget(.loopback4, server.port)
    let handle = HTTPProbe.start(loop: loop, target: target, timeout: ample, completion: report.take)
    let probe = try #require(handle as? NetworkProbe)
    try loop.run { server.requests.count == 1 && probe.silence == "no complete answer" }
    #expect(report.outcomes.isEmpty)
    probe.timedOut()
    #expect(report.outcomes == [.passed])
    try loop.run { server.closedByPeer == 1 }
  }

  @Test func silenceFailsAtTheDeadline() throws {
    let (outcome, server) = try probe(.silent, timeout: .milliseconds(300))
    guard case .failed(let reason) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    // On a machine that is busy enough, even the connection may be missing by then.
    #expect(reason.hasPrefix("no "))
    #expect(reason.hasSuffix(" within 300ms at 127.0.0.1:\(server.port)"))
  }

  /// The deadline is brought about by hand as soon as the server has got so far.
  @Test(arguments: [
    ("", "no answer"), ("HTTP/1.1 200 OK\r\nContent-Le", "no complete answer"), ("H", "no complete answer"),
  ])
  func theReasonSaysHowFarItCame(answer: String, expected: String) throws {
    let loop = try EventLoop()
    let server = try StandInServer(.answerAndStay(answer), on: loop)
    let report = ProbeReport()
    let target = HTTPCheckTarget(.loopback4, server.port)
    let handle = HTTPProbe.start(loop: loop, target: target, timeout: ample, completion: report.take)
    let probe = try #require(handle as? NetworkProbe)
    #expect(probe.silence == "no connection")
    try loop.run { server.requests.count == 1 && probe.silence == expected }
    probe.timedOut()
    #expect(report.outcomes == [.failed("\(expected) within 25s at 127.0.0.1:\(server.port)")])
    try loop.run { server.closedByPeer == 1 }
  }

  @Test func theRequestIsWhatAServerExpects() throws {
    let loop = try EventLoop()
    let server = try StandInServer(.answer("HTTP/1.1 200 OK\r\n\r\n"), on: loop)
    let report = ProbeReport()
    let endpoint = CheckEndpoint(host: .localhost, port: server.port)
    for hostHeader in ["localhost:\(server.port)", "www.example.org"] {
      let target = HTTPCheckTarget(endpoint: endpoint, path: "/health?full=1", hostHeader: hostHeader)
      HTTPProbe.start(loop: loop, target: target, timeout: ample, completion: report.take)
    }
    try loop.run { report.outcomes.count == 2 }
    #expect(report.outcomes == [.passed, .passed])
    let expected = ["localhost:\(server.port)", "www.example.org"].map {
      "GET /health?full=1 HTTP/1.1\r\nHost: \($0)\r\nUser-Agent: supervisor-check\r\nAccept: */*\r\n"
        + "Connection: close\r\n\r\n"
    }
    #expect(server.requests.sorted() == expected.sorted())
  }

  @Test func localhostTakesTheAnswerOfEither() throws {
    let loop = try EventLoop()
    let loopback6: [UInt8] = Array(repeating: 0, count: 15) + [1]
    let mute = try StandInServer(.neverAccept, on: loop)
    // A server on IPv4 that never answers must not hide one on IPv6 that does.
    guard
      let server = try? StandInServer(
        .answer("HTTP/1.1 500 Broken\r\n\r\nno"), on: loop, at: loopback6, port: mute.port)
    else { return }
    let report = ProbeReport()
    let target = HTTPCheckTarget(.localhost, mute.port)
    HTTPProbe.start(loop: loop, target: target, timeout: .seconds(12), completion: report.take)
    try loop.run { report.outcome != nil }
    #expect(report.outcome == .failed("HTTP 500 Broken: no from [::1]:\(server.port)"))
  }

  @Test(arguments: [("HTTP/1.1 200 OK\r\nX: ", false), ("HTTP/1.1 200 OK\r\n\r\n", true)])
  func theReaderStopsAt64KiB(start: String, passes: Bool) {
    var reader = HTTPResponseReader()
    Array(start.utf8).withUnsafeBufferPointer { reader.take($0) }
    let filler = [UInt8](repeating: UInt8(ascii: "x"), count: 65536 - start.utf8.count)
    filler.dropLast().withUnsafeBufferPointer { reader.take($0) }
    #expect(!reader.isComplete)
    filler.prefix(1).withUnsafeBufferPointer { reader.take($0) }
    #expect(reader.isComplete)
    #expect((reader.verdict == .passed) == passes)
  }

  /// Whatever arrives, in whatever pieces: the reader keeps its bound and comes to the same verdict.
  @Test(arguments: 0..<30)
  func theReaderIsIndifferentToPieces(seed: UInt64) {
    var state = seed &* 0x9e37_79b9_7f4a_7c15 | 1
    func random(_ limit: Int) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33) % limit
    }
    let words = [
      "HTTP/1.1 ", "200 OK", "503 No", "100 Go", "\r\n", "\n", "\r\n\r\n", "Content-Length: ", "5", "-1",
      "99999999999999999999", "Transfer-Encoding: chunked", "zz\r\n", ":", " ", "\u{0}", "\u{ff}", "x",
      "HTTP/1.1 200 OK\r\n\r\n", String(repeating: "y", count: 9000),
    ]
    for _ in 0..<200 {
      let bytes = (0..<random(14)).flatMap { _ in Array(words[random(words.count)].utf8) }
      var whole = HTTPResponseReader()
      var pieces = HTTPResponseReader()
      bytes.withUnsafeBufferPointer { whole.take($0) }
      var rest = bytes[...]
      while !rest.isEmpty {
        let piece = Array(rest.prefix(random(50) + 1))
        rest = rest.dropFirst(piece.count)
        piece.withUnsafeBufferPointer { pieces.take($0) }
      }
      #expect(
        sameKind(whole.verdict, pieces.verdict), "\(String(decoding: bytes.prefix(200), as: UTF8.self))")
    }
  }

  /// A reason may be shorter when less had come at the time; the kind of verdict may not differ.
  private func sameKind(_ left: HTTPResponseReader.Verdict, _ right: HTTPResponseReader.Verdict) -> Bool {
    switch (left, right) {
    case (.passed, .passed), (.status, .status), (.notHTTP, .notHTTP), (.incomplete, .incomplete): true
    default: false
    }
  }
}

extension HTTPCheckTarget {
  /// A target whose Host header and path play no part in the test.
  fileprivate init(_ host: CheckEndpoint.Host, _ port: UInt16) {
    let endpoint = CheckEndpoint(host: host, port: port)
    self.init(endpoint: endpoint, path: "/", hostHeader: endpoint.description)
  }
}
