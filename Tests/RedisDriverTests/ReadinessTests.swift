import EventLoop
import Foundation
import Testing
import TestSupport

@testable import RedisDriver

@Suite("Redis: readiness on a real server")
struct ReadinessTests {
  private let server: RedisServer

  init() throws { server = try RedisServer.shared.get() }

  @Test("nothing, a yes that lives as long as it should, and its removal, in the database of the URL")
  func life() throws {
    let rig = try Rig("redis://127.0.0.1:\(server.port)/5")
    #expect(try rig.read() == .notReady)
    #expect(try rig.set() == RedisReadiness.Written())
    #expect(try rig.read() == .ready)
    #expect(try server.ask("-n", "5", "GET", rig.key) == "1" && server.ask("GET", rig.key) == "")
    let left = try #require(Int(server.ask("-n", "5", "PTTL", rig.key)))
    #expect(left > 40_000 && left <= 60_000)
    #expect(try server.ask("CLIENT", "LIST").contains("name=supervisor "))
    try rig.clear()
    #expect(try rig.read() == .notReady && server.ask("-n", "5", "EXISTS", rig.key) == "0")
  }

  @Test(
    "only the bytes 1 are a yes; what else stands there is told, cut and printable",
    arguments: [
      ("0", "the text \"0\""), ("1 ", "the text \"1 \""), ("01", "the text \"01\""), ("", "the text \"\""),
      ("True", "the text \"True\""), ("ü", "the text \"\\xc3\\xbc\""),
      (String(repeating: "ab", count: 30), "the text \"" + String(repeating: "ab", count: 20) + "…\""),
    ])
  func strangers(text: String, told: String) throws {
    let rig = try Rig(server)
    try server.ask("SET", rig.key, text)
    #expect(try rig.read() == .stranger(told))
    // As Django's cache would: it replaces a text, and here says which.
    #expect(try rig.set() == RedisReadiness.Written(replaced: told))
    #expect(try rig.read() == .ready)
  }

  @Test("a value of another type is named, and is not replaced")
  func otherType() throws {
    let rig = try Rig(server)
    try server.ask("RPUSH", rig.key, "1")
    #expect(try rig.read() == .stranger("a value of the type list"))
    let failure = try rig.setFailure()
    #expect(failure.cause == .strangersValue && failure.isPermanent)
    #expect(
      failure.text.contains(rig.key) && failure.text.contains("a value of the type list, which is not ours"))
    #expect(try server.ask("LRANGE", rig.key, "0", "-1") == "1")
    try rig.clear()
    #expect(try rig.read() == .notReady)
  }

  @Test("a value of megabytes is not loaded, told as what it is, and replaced")
  func large() throws {
    let rig = try Rig(server)
    try server.ask("SETRANGE", rig.key, "5000000", "1")
    #expect(try rig.read() == .stranger("the text of more than 65536 bytes"))
    #expect(try rig.set().replaced == "the text of more than 65536 bytes")
    #expect(try rig.read() == .ready)
  }

  @Test(
    "a channel is heard: once at its beginning, at a yes and at its removal, not after the end of listening")
  func watching() throws {
    let (listener, speaker) = (try Rig(server), try Rig(server))
    let watcher = try Rig(
      "redis://127.0.0.1:\(server.port)", key: speaker.key, channel: speaker.channel)
    _ = listener
    try watcher.watch()
    _ = try watcher.changes.next("the beginning")
    #expect(try speaker.set().unannounced == nil)
    _ = try watcher.changes.next("the yes")
    #expect(try watcher.read() == .ready)
    try speaker.clear()
    _ = try watcher.changes.next("the removal")
    #expect(try server.ask("PUBLISH", speaker.channel, "by hand") == "1")
    _ = try watcher.changes.next("the message")
    try watcher.unwatch()
    try server.eventually("\(speaker.channel)\n0", "PUBSUB", "NUMSUB", speaker.channel)
    #expect(watcher.changes.rest.isEmpty && watcher.failures.rest.isEmpty)
  }

  @Test("one connection serves all requests, and the end closes every connection and calls nothing more")
  func ending() throws {
    let name = "supervisor"
    let own = try RedisServer()
    let rig = try Rig(own)
    let answers = try (0..<20).map { _ in try rig.startReading() }
    for answer in answers { #expect(try answer.next("an answer").get() == .notReady) }
    try rig.watch()
    _ = try rig.changes.next("the beginning")
    func count() throws -> Int {
      try own.ask("CLIENT", "LIST").split(separator: "\n").count { $0.contains("name=\(name) ") }
    }
    #expect(try count() == 2)
    try own.freeze()
    let late = try rig.startReading()
    try rig.end()
    try own.thaw()
    try own.eventually("connected_clients:1", "EVAL", Self.clients, "0")
    #expect(late.rest.isEmpty && rig.changes.rest.isEmpty && rig.failures.rest.isEmpty)
  }

  private static let clients = "return string.match(redis.call('INFO', 'clients'), 'connected_clients:%d+')"

  @Test("an entry that somebody flushed is gone, and can be made again")
  func flushed() throws {
    let own = try RedisServer()
    let rig = try Rig(own)
    _ = try rig.set()
    try own.ask("FLUSHALL")
    #expect(try rig.read() == .notReady)
    _ = try rig.set()
    #expect(try rig.read() == .ready)
  }

  @Test("a socket of the file system serves as well")
  func fileSocket() throws {
    let own = try RedisServer(["--unixsocket", "FOLDER/r.sock"])
    let rig = try Rig("unix://\(own.folder)/r.sock?db=3")
    _ = try rig.set()
    #expect(try own.ask("-n", "3", "GET", rig.key) == "1")
    let failure = try Rig("unix://\(own.folder)/none.sock").readFailure(.milliseconds(300))
    #expect(failure.cause == .unreachable && failure.text.hasSuffix("/none.sock: no such file or directory"))
  }
}
