import CLinux
import EventLoop
import Glibc
import Testing

@testable import Control

@Suite struct HTTPServerTests {
  private static let probe = "GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"
  private static let patient = ServerRig.patient

  @Test func answersAndCloses() throws {
    var seen: [(HTTPRequest, Peer)] = []
    let rig = try ServerRig { request, peer in
      seen.append((request, peer))
      return .text(503, "no")
    }
    let client = try rig.exchange("GET /readyz?verbose HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(client.ending == 0)
    #expect(client.text.hasPrefix("HTTP/1.1 503 Service Unavailable\r\n"))
    for header in [
      "Content-Length: 3\r\n", "Connection: close\r\n", "Cache-Control: no-store\r\n", "\r\nDate: ",
    ] {
      #expect(client.text.contains(header))
    }
    #expect(client.body == "no\n")
    #expect(seen.count == 1)
    #expect(seen.first?.0 == HTTPRequest(.get, path: ["readyz"], query: [.init("verbose")]))
    #expect(seen.first?.1 == .tcp)
  }

  @Test func headHasNoBodyButItsLength() throws {
    let rig = try ServerRig()
    let client = try rig.exchange("HEAD / HTTP/1.0\r\n\r\n")
    #expect(client.status == 200)
    #expect(client.text.contains("Content-Length: 3\r\n"))
    #expect(client.body.isEmpty)
  }

  @Test(arguments: [
    ("\u{16}\u{3}\u{1}\u{2}", 400), ("GET / HTTP/3.0\r\n\r\n", 505), ("POST / HTTP/1.0\r\n\r\n", 405),
    ("GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 413),
  ])
  func badRequestsAreAnsweredToo(_ text: String, _ status: Int) throws {
    let rig = try ServerRig { _, _ in
      Issue.record("the handler was asked")
      return .text(200, "")
    }
    let client = try rig.exchange(text)
    #expect(client.status == status)
    #expect(client.ending == 0)
  }

  @Test func takesARequestByteByByte() throws {
    let rig = try ServerRig()
    let client = try rig.connect()
    #expect(rig.turn { client.isWritable })
    for character in Self.probe.unicodeScalars {
      client.send(String(character))
      rig.loop.turn(waiting: false)
    }
    #expect(rig.turn { client.hasEnded })
    #expect(client.status == 200)
  }

  @Test func answersAfterAHalfClose() throws {
    let rig = try ServerRig()
    let client = try rig.connect()
    #expect(rig.turn { client.isWritable })
    client.send(Self.probe)
    client.endInput()
    #expect(rig.turn { client.hasEnded })
    #expect(client.status == 200)
    #expect(rig.turn { rig.server.connectionCount == 0 })
  }

  @Test func aRequestThatEndsEarlyIsToldSo() throws {
    let rig = try ServerRig()
    let client = try rig.connect()
    #expect(rig.turn { client.isWritable })
    client.send("GET / HT")
    client.endInput()
    #expect(rig.turn { client.hasEnded })
    #expect(client.status == 400)
  }

  /// Without the patience after the answer the kernel would reset the connection, and the answer could be lost.
  @Test func whatFollowsTheRequestDoesNotDestroyTheAnswer() throws {
    var count = 0
    let rig = try ServerRig(Self.patient) { _, _ in
      count += 1
      return .text(200, "first")
    }
    let client = try rig.connect()
    #expect(rig.turn { client.isWritable })
    client.send(Self.probe + Self.probe + String(repeating: "x", count: 30_000))
    #expect(rig.turn { rig.server.connectionCount == 1 && count == 1 })
    // Still sending while the answer is on its way.
    client.send(Self.probe)
    #expect(rig.turn { client.hasEnded })
    #expect(client.ending == 0)
    #expect(client.body == "first\n")
    client.endInput()
    #expect(rig.turn { rig.server.connectionCount == 0 })
    #expect(count == 1)
  }

  @Test func aPeerThatNeverStopsSendingIsCutOff() throws {
    let rig = try ServerRig(Self.patient)
    let client = try rig.connect()
    #expect(rig.turn { client.isWritable })
    client.send(Self.probe)
    let chunk = String(repeating: "x", count: 8192)
    var sent = 0
    #expect(
      rig.turn {
        sent += max(client.send(chunk), 0)
        return sent > 0 && rig.server.connectionCount == 0
      })
    #expect(sent < 8_000_000)
  }

  @Test func aLargeAnswerArrivesWhole() throws {
    let body = String(repeating: "0123456789abcdef", count: 1 << 19)
    let rig = try ServerRig { _, _ in HTTPResponse(status: 200, body: body) }
    let client = try rig.exchange(Self.probe)
    #expect(client.ending == 0)
    #expect(client.body == body)
  }

  @Test func aResetIsNoError() throws {
    let body = String(repeating: "0123456789abcdef", count: 1 << 19)
    let rig = try ServerRig(Self.patient) { _, _ in HTTPResponse(status: 200, body: body) }
    for text in ["", "GET / HT", Self.probe] {
      var client: TestClient? = try rig.connect()
      #expect(rig.turn { client?.isWritable == true && rig.server.connectionCount == 1 })
      client?.send(text)
      rig.loop.turn(waiting: false)
      client?.resetOnClose()
      client = nil
      #expect(rig.turn { rig.server.connectionCount == 0 }, "after \(text.debugDescription)")
    }
    // Reset before it was accepted.
    try rig.connect().resetOnClose()
    #expect(try rig.exchange(Self.probe).status == 200)
  }

  @Test func closesWhoComesAndLeavesWithoutAWord() throws {
    let rig = try ServerRig(Self.patient)
    var client: TestClient? = try rig.connect()
    #expect(rig.turn { client?.isWritable == true && rig.server.connectionCount == 1 })
    client = nil
    #expect(rig.turn { rig.server.connectionCount == 0 })
  }

  // MARK: Time

  @Test func aSlowRequestIsCutOffHoweverItTrickles() throws {
    let time = Duration.milliseconds(150)
    let rig = try ServerRig(.init(connections: 8, requestTime: time))
    let silent = try rig.connect()
    let trickling = try rig.connect()
    let start = MonotonicInstant.now
    #expect(
      rig.turn {
        trickling.send("a")
        return silent.hasEnded && trickling.hasEnded
      })
    #expect(MonotonicInstant.now - start >= time)
    #expect(rig.turn { rig.server.connectionCount == 0 })
    #expect(silent.received.isEmpty)
  }

  @Test func aSlowReaderIsCutOff() throws {
    let body = String(repeating: "0123456789abcdef", count: 1 << 19)
    let limits = HTTPServer.Limits(
      connections: 8, requestTime: .seconds(60), responseTime: .milliseconds(150))
    var isAsked = false
    let rig = try ServerRig(limits) { _, _ in
      isAsked = true
      return HTTPResponse(status: 200, body: body)
    }
    let client = try rig.connect()
    #expect(rig.turn { client.isWritable })
    client.send(Self.probe)
    #expect(rig.turn { isAsked && rig.server.connectionCount == 0 })
    #expect(!client.hasEnded || client.received.count < body.utf8.count)
  }

  @Test func aPeerThatKeepsItsEndOpenIsCutOff() throws {
    let time = Duration.milliseconds(100)
    let rig = try ServerRig(.init(connections: 8, requestTime: .seconds(60), lingerTime: time))
    let start = MonotonicInstant.now
    let client = try rig.exchange(Self.probe)
    #expect(client.status == 200)
    #expect(rig.turn { rig.server.connectionCount == 0 })
    #expect(MonotonicInstant.now - start >= time)
  }

  /// An idle server must not wake the loop up.
  @Test func noTimerIsLeftBehind() throws {
    // Long enough that the alarm is still to come when the connection has gone.
    let rig = try ServerRig(.init(connections: 8, requestTime: .seconds(1)))
    let client = try rig.exchange(Self.probe)
    client.endInput()
    #expect(rig.turn { rig.server.connectionCount == 0 })
    let start = MonotonicInstant.now
    rig.loop.schedule(after: .milliseconds(1300)) {}
    rig.loop.turn(waiting: true)
    #expect(MonotonicInstant.now - start >= .milliseconds(1300))
  }

  // MARK: Number

  @Test func theLongestOpenMakesRoomForTheNewest() throws {
    var limits = Self.patient
    limits.connections = 4
    let rig = try ServerRig(limits)
    let slow = try (0..<4).map { index in
      let client = try rig.connect()
      #expect(rig.turn { client.isWritable && rig.server.connectionCount == index + 1 })
      client.send("GET /")
      return client
    }
    let first = try rig.exchange(Self.probe)
    #expect(first.status == 200)
    #expect(rig.turn { slow[0].hasEnded })
    #expect(slow[1...].allSatisfy { !$0.hasEnded })
    // The one that has its answer, but lingers, goes before those that still wait.
    let second = try rig.exchange(Self.probe)
    #expect(second.status == 200)
    #expect(slow[1...].allSatisfy { !$0.hasEnded })
    slow[1].send("livez HTTP/1.0\r\n\r\n")
    #expect(rig.turn { slow[1].hasEnded })
    #expect(slow[1].status == 200)
    #expect(rig.server.connectionCount <= 4)
  }

  @Test(arguments: [1000, 1500]) func slowConnectionsDoNotKeepAProbeFromItsAnswer(_ count: Int) throws {
    let rig = try ServerRig(Self.patient)
    var slow: [TestClient] = []
    while slow.count < count {
      let batch = try (0..<min(100, count - slow.count)).map { _ in try rig.connect() }
      #expect(rig.turn { batch.allSatisfy(\.isWritable) })
      for client in batch { client.send("GET /readyz HTTP/1.1\r\nHo") }
      slow += batch
    }
    #expect(rig.turn { rig.server.connectionCount == min(count, 1024) })
    // `exchange` waits half as long as the slow ones may take.
    let client = try rig.exchange(Self.probe)
    #expect(client.status == 200)
    #expect(rig.server.connectionCount <= 1024)
    rig.server.close()
    #expect(rig.server.connectionCount == 0)
    #expect(rig.turn { slow.allSatisfy(\.hasEnded) })
  }

  @Test func theHandlerMayCloseTheServer() throws {
    var server: HTTPServer?
    let rig = try ServerRig { _, _ in
      server?.close()
      return .text(200, "late")
    }
    server = rig.server
    let client = try rig.exchange(Self.probe)
    #expect(client.received.isEmpty)
    #expect(rig.server.connectionCount == 0)
  }

  @Test func halfOfTheDescriptorsAreLeftForTheRest() {
    #expect(HTTPServer.Limits.connectionsWithin(1) == 1)
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    #expect(HTTPServer.Limits.connectionsWithin(.max) <= Int(clamping: limit.rlim_cur / 2))
  }

  /// In a process of its own, since it takes all descriptors away.
  @Test func withoutDescriptorsItMakesRoomAndNeverSpins() async {
    await #expect(processExitsWith: .success) { try DescriptorShortage.endure() }
  }
}

private enum DescriptorShortage {
  struct Failure: Error {
    var what: String
  }

  static func check(_ isTrue: Bool, _ what: String) throws {
    if !isTrue { throw Failure(what: what) }
  }

  static func takeAll() -> [CInt] {
    var taken: [CInt] = []
    while case let descriptor = dup(0), descriptor >= 0 { taken.append(descriptor) }
    return taken
  }

  static func endure() throws {
    let rig = try ServerRig(.init(connections: 1024, requestTime: .seconds(60)))
    var failures: [SystemError] = []
    rig.server.onAcceptFailure = { failures.append($0) }
    let slow = try rig.connect()
    try check(rig.turn { rig.server.connectionCount == 1 }, "accept the slow one")
    let clients = try (0..<2).map { _ in try rig.connect() }
    for client in clients { client.send("GET / HTTP/1.0\r\n\r\n") }
    var limit = rlimit(rlim_cur: 64, rlim_max: 64)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    var taken = takeAll()
    // The slow one is given up, and what it held serves the others one after the other.
    try check(rig.turn { slow.hasEnded && clients.allSatisfy(\.hasEnded) }, "make room")
    try check(clients.allSatisfy { $0.status == 200 }, "answer with the room made")
    try check(failures.isEmpty, "no failure to tell: \(failures)")

    // Nothing of ours left to give up: it waits, more and more patiently, and goes on when there is room.
    for client in clients { client.endInput() }
    try check(rig.turn { rig.server.connectionCount == 0 }, "close what is done")
    let third = try rig.connect()
    taken += takeAll()
    third.send("GET / HTTP/1.0\r\n\r\n")
    try check(rig.turn { !failures.isEmpty }, "tell of the failure")
    let end = MonotonicInstant.now + .milliseconds(300)
    rig.loop.schedule(at: end) {}
    var turns = 0
    while .now < end {
      rig.loop.turn(waiting: true)
      turns += 1
    }
    try check((1...5).contains(failures.count), "a few failures, not \(failures.count)")
    try check(turns < 20, "a few turns of the loop in 300 ms, not \(turns)")
    _ = clinux_close(taken.removeLast())
    try check(rig.turn { third.hasEnded }, "go on when there is room")
    try check(third.status == 200, "answer after the shortage")
  }
}
