import AgentProtocol
import Glibc
import TestSupport
import Testing

/// Waits for a Redis server, on real ones.
@Suite("waits: Redis", .drivesProcesses)
struct RedisWaitTests {
  private func launch(_ words: [String], environment: [String] = []) -> Launch {
    var launch = Launch([Programs.supervisor, "wait"] + words)
    launch.environment += environment.map { Array($0.utf8) }
    return launch
  }

  @Test("a server that answers needs no wait, with a password too")
  func ready() throws {
    let server = try RedisServer(["--requirepass", "right-secret"])
    defer { server.end() }
    let outcome = try Stage.result(launch(["redis://:right-secret@127.0.0.1:\(server.port)/1"]))
    #expect(outcome.ending == .exited(0) && outcome.errors == "" && outcome.output == "")
  }

  @Test("AI-06, BF-08: a server that comes later is taken within a second of answering")
  func late() throws {
    let server = try RedisServer()
    defer { server.end() }
    try server.stop()
    try Stage.run(launch(["redis://127.0.0.1:\(server.port)"])) { stage in
      let line = try stage.errorLine(containing: "still waiting after 5s")
      #expect(line.contains("refused"), "\(line)")
      try server.start()
      let answering = monotonicNow()
      #expect(try stage.waitForEnd() == .exited(0))
      #expect(monotonicNow() - answering < 1)
    }
  }

  @Test("BF-08: a server that still reads its data is waited for")
  func loading() throws {
    let server = try RedisServer()
    defer { server.end() }
    try server.ask("DEBUG", "POPULATE", "3000")
    #expect(try server.ask("SAVE") == "OK")
    try server.kill()
    // A millisecond for each of the keys, and an answer to others in between.
    try server.start(["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"])
    let url = "redis://127.0.0.1:\(server.port)"
    try AgentRig.run { rig, _ in
      guard case .notYet(let text) = try rig.probe(.redis(url: url)) else {
        Issue.record("it was ready too early")
        return
      }
      #expect(text.contains("LOADING"), "\(text)")
    }
    let outcome = try Stage.result(launch([url]))
    #expect(outcome.ending == .exited(0), "\(outcome.errors)")
  }

  @Test(
    "AI-06: what only a person can change is 69 in less than three seconds, with the reason and without the password",
    arguments: [
      ("redis://:wr0ng-secret@127.0.0.1:PORT/0", "the user or the password is wrong"),
      ("redis://127.0.0.1:PORT/0", "it wants a password"),
      ("redis://:right-secret@127.0.0.1:PORT/99", "it has no database 99"),
    ])
  func refused(url: String, reason: String) throws {
    let server = try RedisServer(["--requirepass", "right-secret"])
    defer { server.end() }
    let began = monotonicNow()
    let outcome = try Stage.result(launch([url.replacing("PORT", with: "\(server.port)"), "file:/no/such"]))
    let took = monotonicNow() - began
    #expect(outcome.ending == .exited(69))
    #expect(took > 1 && took < 3)
    #expect(outcome.errors.contains(reason), "\(outcome.errors)")
    #expect(!outcome.errors.contains("-secret"), "\(outcome.errors)")
  }

  @Test("a server that takes the connection and says nothing is no answer")
  func silent() throws {
    let listener = try SilentListener()
    defer { withExtendedLifetime(listener) {} }
    try AgentRig.run { rig, _ in
      let outcome = try rig.probe(
        .redis(url: "redis://:hush@127.0.0.1:\(listener.port)"), timeout: .milliseconds(400))
      guard case .notYet(let text) = outcome else {
        Issue.record("\(outcome)")
        return
      }
      #expect(text.contains("no answer") && !text.contains("hush"), "\(text)")
    }
  }
}
