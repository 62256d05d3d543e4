import Testing

@testable import Control

@Suite struct HTTPRequestParserTests {
  struct Accepted: Sendable, CustomTestStringConvertible {
    var text: String
    var request: HTTPRequest
    var testDescription: String { text.debugDescription }

    init(_ text: String, _ request: HTTPRequest) {
      self.text = text
      self.request = request
    }
  }

  static let accepted: [Accepted] = [
    Accepted("GET / HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: [])),
    Accepted("GET /livez HTTP/1.0\n\n", HTTPRequest(.get, path: ["livez"])),
    Accepted("\r\n\r\nGET /livez HTTP/1.1\r\nhost: a\r\n\r\n", HTTPRequest(.get, path: ["livez"])),
    Accepted("HEAD /readyz HTTP/1.1\r\nHost:\r\n\r\n", HTTPRequest(.head, path: ["readyz"])),
    Accepted("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 00\r\n\r\n", HTTPRequest(.post, path: ["a"])),
    Accepted("GET /a/b/ HTTP/1.9\r\nHost: a\r\n\r\n", HTTPRequest(.get, path: ["a", "b", ""])),
    Accepted("GET //a HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: ["", "a"])),
    Accepted("GET /a%2Fb/%c3%A4 HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: ["a/b", "ä"])),
    Accepted(
      "GET /?verbose&a=b%20c&&d=RTMIN+3&=x HTTP/1.0\r\n\r\n",
      HTTPRequest(
        .get, path: [],
        query: [
          .init("verbose"), .init("a", "b c"), .init("d", "RTMIN+3"), .init("", "x"),
        ])),
    Accepted("GET /a?b=c=d? HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: ["a"], query: [.init("b", "c=d?")])),
    Accepted("GET http://h:80/a?b HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: ["a"], query: [.init("b")])),
    Accepted("GET HTTP://h HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: [])),
    Accepted("GET http://h?b HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: [], query: [.init("b")])),
    Accepted(
      "GET / HTTP/1.1\r\nHost: a\r\nX: \u{e9}\t \r\nConnection: keep-alive\r\nExpect: 100-continue\r\n\r\n",
      HTTPRequest(.get, path: [])),
    Accepted("GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.0\r\n\r\n", HTTPRequest(.get, path: ["a"])),
  ]

  @Test(arguments: accepted) func accepts(_ example: Accepted) {
    let bytes = Array(example.text.utf8)
    for size in [1, 2, 3, 7, bytes.count] {
      #expect(parse(bytes, size, allowsPost: true) == .complete(example.request), "in portions of \(size)")
    }
  }

  struct Rejected: Sendable, CustomTestStringConvertible {
    var text: String
    var status: Int
    var testDescription: String { "\(status) \(text.prefix(60).debugDescription)" }

    init(_ text: String, _ status: Int) {
      self.text = text
      self.status = status
    }
  }

  static let rejected: [Rejected] = [
    Rejected("GET /\r\n", 400),
    Rejected("GET  / HTTP/1.1\r\n", 400),
    Rejected("GET / HTTP/1.1 \r\n", 400),
    Rejected(" GET / HTTP/1.1\r\n", 400),
    Rejected("G(T / HTTP/1.1\r\n", 400),
    Rejected("GET / HTTP/11\r\n", 400),
    Rejected("GET / http/1.1\r\n", 400),
    Rejected("GET / HTTP/1.1x\r\n", 400),
    Rejected("GET / HTTP/2.0\r\n", 505),
    Rejected("PRI * HTTP/2.0\r\n", 505),
    Rejected("GET / HTTP/0.9\r\n", 505),
    Rejected("PUT / HTTP/1.1\r\n", 405),
    Rejected("OPTIONS * HTTP/1.1\r\n", 405),
    Rejected("get / HTTP/1.1\r\n", 405),
    Rejected("POST / HTTP/1.1\r\n", 405),
    Rejected("GET * HTTP/1.1\r\n", 400),
    Rejected("GET livez HTTP/1.1\r\n", 400),
    Rejected("GET https://h/ HTTP/1.1\r\n", 400),
    Rejected("GET h:80 HTTP/1.1\r\n", 400),
    Rejected("GET /% HTTP/1.1\r\n", 400),
    Rejected("GET /%2 HTTP/1.1\r\n", 400),
    Rejected("GET /%zz HTTP/1.1\r\n", 400),
    Rejected("GET /a?b=%00 HTTP/1.1\r\n", 400),
    Rejected("GET /%ff HTTP/1.1\r\n", 400),
    Rejected("GET /%c3/%a4 HTTP/1.1\r\n", 400),
    Rejected("GET /\u{e4} HTTP/1.1\r\n", 400),
    Rejected("\u{16}\u{3}\u{1}", 400),
    Rejected("GET /\u{0}", 400),
    Rejected("GET /\t", 400),
    Rejected("GET /\u{7f}", 400),
    Rejected("GET / HTTP/1.1\rHost", 400),
    Rejected("GET / HTTP/1.1\r\r", 400),
    Rejected("GET / HTTP/1.1\r\n\r\n", 400),
    Rejected("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
    Rejected("GET / HTTP/1.0\r\nHost : a\r\n", 400),
    Rejected("GET / HTTP/1.0\r\n: a\r\n", 400),
    Rejected("GET / HTTP/1.0\r\nHost\r\n", 400),
    Rejected("GET / HTTP/1.0\r\nA: b\r\n c\r\n", 400),
    Rejected("GET / HTTP/1.0\r\nA: b\u{1}", 400),
    Rejected("GET / HTTP/1.0\r\nContent-Length: 1\r\n", 413),
    Rejected("GET / HTTP/1.0\r\ncontent-length: 99999999999999999999999\r\n", 413),
    Rejected("GET / HTTP/1.0\r\nContent-Length:\r\n", 400),
    Rejected("GET / HTTP/1.0\r\nContent-Length: -1\r\n", 400),
    Rejected("GET / HTTP/1.0\r\nContent-Length: 0, 0\r\n", 400),
    Rejected("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", 501),
    Rejected("GET /\(String(repeating: "a", count: 8192))", 414),
    Rejected(String(repeating: "\r\n", count: 4097), 414),
    Rejected("GET / HTTP/1.0\r\nA: \(String(repeating: "a", count: 8192))", 431),
    Rejected("GET / HTTP/1.0\r\n\(String(repeating: "A: b\r\n", count: 65))", 431),
  ]

  @Test(arguments: rejected) func rejects(_ example: Rejected) {
    let bytes = Array(example.text.utf8)
    for size in [1, 5, bytes.count] {
      guard case .rejected(let rejection) = parse(bytes, size, allowsPost: false) else {
        Issue.record("not rejected in portions of \(size)")
        continue
      }
      #expect(rejection.status == example.status, "\(rejection.reason)")
      #expect(!rejection.reason.isEmpty)
    }
  }

  @Test func saysWhichMethodsThereAre() {
    func allow(_ allowsPost: Bool) -> String? {
      guard case .rejected(let rejection) = parse(Array("PUT / HTTP/1.1\r\n".utf8), 1, allowsPost: allowsPost)
      else { return nil }
      return rejection.response.allow
    }
    #expect(allow(false) == "GET, HEAD")
    #expect(allow(true) == "GET, HEAD, POST")
  }

  @Test func takesAsMuchAsTheLimitAndNoByteMore() {
    let start = Array("GET / HTTP/1.0\r\nA: ".utf8)
    let filler = [UInt8](repeating: 0x61, count: HTTPRequestParser.maximumBytes - start.count - 4)
    let end = Array("\r\n\r\n".utf8)
    #expect(parse(start + filler + end, 100, allowsPost: false) == .complete(HTTPRequest(.get, path: [])))
    guard case .rejected(let rejection) = parse(start + filler + [0x61] + end, 100, allowsPost: false) else {
      Issue.record("one byte too many is taken")
      return
    }
    #expect(rejection.status == 431)
    let headers = String(repeating: "A: b\r\n", count: HTTPRequestParser.maximumHeaders)
    let most = Array("GET / HTTP/1.0\r\n\(headers)\r\n".utf8)
    #expect(parse(most, 100, allowsPost: false) == .complete(HTTPRequest(.get, path: [])))
  }

  @Test func anEarlyEndIsABadRequest() {
    var parser = HTTPRequestParser()
    #expect(!parser.hasBegun)
    parser.feed(Array("GET / HTTP/1.0\r\n".utf8))
    #expect(parser.hasBegun)
    guard case .rejected(let rejection) = parser.finish() else {
      Issue.record("an early end is not rejected")
      return
    }
    #expect(rejection.status == 400)
  }

  @Test func anEndAfterTheRequestChangesNothing() {
    var parser = HTTPRequestParser()
    parser.feed(Array("HEAD /livez HTTP/1.0\r\n\r\n".utf8))
    #expect(parser.isHead)
    #expect(parser.finish() == .complete(HTTPRequest(.head, path: ["livez"])))
  }

  /// The outcome must not depend on how the bytes were cut, whatever they are.
  @Test(arguments: 0..<40) func garbageEndsTheSameInAnyPortions(_ seed: UInt64) {
    var random = SplitMix(state: seed)
    for _ in 0..<50 {
      var bytes = Array((Self.accepted.randomElement(using: &random)?.text ?? "").utf8)
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<3, using: &random) {
        case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
        case 1: bytes.remove(at: index)
        default: bytes.insert("\r\n :/%?&\0".utf8.randomElement(using: &random) ?? 0, at: index)
        }
        if bytes.isEmpty { break }
      }
      let whole = parse(bytes, max(bytes.count, 1), allowsPost: true)
      #expect(whole == parse(bytes, 1, allowsPost: true), "\(bytes)")
      #expect(whole == parse(bytes, 3, allowsPost: true), "\(bytes)")
    }
  }

  private func parse(_ bytes: [UInt8], _ size: Int, allowsPost: Bool) -> HTTPRequestParser.Progress {
    var parser = HTTPRequestParser(allowsPost: allowsPost)
    var start = 0
    while start < bytes.count {
      parser.feed(bytes[start..<min(start + size, bytes.count)])
      start += size
    }
    return parser.progress
  }
}

/// A small reproducible source of randomness (Steele, Lea, Flood: SplitMix64).
struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}
