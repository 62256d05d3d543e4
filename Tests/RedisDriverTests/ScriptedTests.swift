import EventLoop
import Testing
import TestSupport

@testable import RedisDriver

@Suite("Redis: servers that no Redis is, or that break off")
struct ScriptedTests {
  /// What a Redis says to a client's name and its ping.
  private static let welcome = "+OK\r\n+PONG\r\n"

  @Test(
    "who answers otherwise is no Redis, at once",
    arguments: [
      "HTTP/1.1 400 Bad Request\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "E\u{0}\u{0}\u{0}\u{10}FATAL\u{0}",
      "\r\n", "$9x\r\n",
    ])
  func noRedis(answer: String) throws {
    let server = try ScriptedServer([.hear, .say(answer), .hold])
    defer { server.close() }
    let failure = try Rig(server.url).readFailure(.seconds(30))
    #expect(failure.cause == .noRedis && failure.isPermanent && failure.text.contains("this is no Redis"))
    #expect(server.connections == 1)
  }

  @Test(
    "a server that closes, before an answer or within one, is tried again until the time is over",
    arguments: [
      [ScriptedServer.Act.hear], [.hear, .say("+OK\r\n+PO")], [.hear, .say(welcome), .hear],
      [.hear, .say(welcome), .hear, .say("$1\r\n")],
    ])
  func broken(script: [ScriptedServer.Act]) throws {
    let server = try ScriptedServer(script)
    defer { server.close() }
    let failure = try Rig(server.url).readFailure(.milliseconds(700))
    #expect(failure.cause == .lost && !failure.isPermanent && failure.text.contains("closed"))
    #expect(server.connections > 1)
  }

  @Test("an answer that came in pieces, behind one that was cut off, is an answer")
  func recovered() throws {
    let server = try ScriptedServer(
      [.hear, .say("+OK\r\n+PO")],
      [
        .hear, .say("+OK\r"), .say("\n+PONG\r\n"), .hear, .say("$1"), .say("\r\n"), .say("1\r"), .say("\n"),
        .hold,
      ])
    defer { server.close() }
    #expect(try Rig(server.url).read() == .ready && server.connections == 2)
  }

  @Test("garbage on a connection that was in order costs this connection only")
  func garbage() throws {
    let server = try ScriptedServer(
      [.hear, .say(Self.welcome), .hear, .say("?what\r\n"), .hold],
      [.hear, .say(Self.welcome), .hear, .say("$-1\r\n"), .hold])
    defer { server.close() }
    #expect(try Rig(server.url).read() == .notReady && server.connections == 2)
  }

  @Test("an answer that nobody asked for costs the connection: those behind it would be taken for others")
  func unasked() throws {
    let server = try ScriptedServer(
      [.hear, .say(Self.welcome), .hear, .say("$-1\r\n$1\r\n1\r\n"), .hold],
      [.hear, .say(Self.welcome), .hear, .say("$-1\r\n"), .hold])
    defer { server.close() }
    let rig = try Rig(server.url)
    #expect(try rig.read() == .notReady && rig.read() == .notReady && server.connections == 2)
  }

  @Test(
    "a reply that never ends is not taken in",
    arguments: ["aaaaaaaaaaaaaaaa", ":1\r\n", "*2\r\n", "$65536\r\n"])
  func endless(portion: String) throws {
    let server = try ScriptedServer([
      .hear, .say(portion == ":1\r\n" ? "*1000\r\n" : "+"), .repeatForever(portion),
    ])
    defer { server.close() }
    let failure = try Rig(server.url).readFailure(.seconds(10))
    #expect(failure.cause == .noRedis || failure.cause == .lost, "\(failure)")
  }

  @Test("a node of a cluster says whose address is needed")
  func cluster() throws {
    let server = try ScriptedServer([
      .hear, .say(Self.welcome), .hear, .say("-MOVED 1 10.0.0.7:6379\r\n"), .hold,
    ])
    defer { server.close() }
    let failure = try Rig(server.url).readFailure()
    #expect(failure.cause == .clusterMoved && failure.isPermanent && failure.text.contains("10.0.0.7:6379"))
  }

  @Test("nobody there, an unknown name, and one who is silent: until the time is over", arguments: 0...2)
  func nobody(kind: Int) throws {
    let silent = try ScriptedServer([.hold])
    defer { silent.close() }
    let url = [
      "redis://127.0.0.1:\(try freePort())", "redis://no-such-name.invalid", silent.url,
    ][kind]
    let began = MonotonicInstant.now
    let failure = try Rig(url).readFailure(.milliseconds(600))
    #expect(failure.cause == (kind == 2 ? .noAnswer : .unreachable) && !failure.isPermanent, "\(failure)")
    let expected = ["connection refused", "the name no-such-name.invalid is not known", "no answer within"][
      kind]
    #expect(failure.text.contains(expected) || (kind == 1 && failure.cause == .unreachable), "\(failure)")
    #expect(MonotonicInstant.now - began < .seconds(5))
  }

  @Test("a listener that is refused tells it once, and comes back after what passes")
  func listener() throws {
    let server = try ScriptedServer(
      [.hear, .say("-LOADING wait\r\n-LOADING wait\r\n"), .hold],
      [.hear, .say("-LOADING wait\r\n-LOADING wait\r\n"), .hold],
      [
        .hear, .say(Self.welcome), .hear, .say("*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n"),
        .say("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"), .hold,
      ])
    defer { server.close() }
    let rig = try Rig(server.url)
    try rig.watch()
    #expect(try rig.failures.next("the failure").cause == .loading)
    _ = try rig.changes.next("the beginning")
    _ = try rig.changes.next("the message")
    #expect(rig.failures.rest.isEmpty && server.connections == 3)
  }
}
