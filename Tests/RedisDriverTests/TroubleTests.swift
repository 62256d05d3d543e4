import EventLoop
import Foundation
import Testing
import TestSupport

@testable import RedisDriver

@Suite("Redis: a real server in trouble")
struct TroubleTests {
  @Test("a restart is ridden out by requests and by listeners, who look again", arguments: [true, false])
  func restart(isOrderly: Bool) throws {
    let server = try RedisServer()
    let rig = try Rig(server)
    _ = try rig.set()
    try rig.watch()
    _ = try rig.changes.next("the beginning")
    if isOrderly { try server.stop() } else { try server.kill() }
    #expect(!(try rig.failures.next("the failure").isPermanent))
    let reading = try rig.startReading(.seconds(60))
    let setting = try rig.startSetting(.seconds(60))
    #expect(try rig.readFailure(.milliseconds(400)).cause == .unreachable)
    try server.start()
    // Its data is gone; whichever comes first.
    let answer = try reading.next("the answer").get()
    #expect(answer == .notReady || answer == .ready)
    #expect(try setting.next("the writing").get().replaced == nil)
    #expect(try rig.read() == .ready)
    _ = try rig.changes.next("the new subscription")
    try server.ask("PUBLISH", rig.channel, "x")
    _ = try rig.changes.next("the message")
    // Lost, and then refused, each told once.
    #expect(rig.failures.rest.count <= 1 && rig.failures.rest.allSatisfy { $0.cause == .unreachable })
  }

  @Test("a server that does not answer costs the time that was given, and is used again when it does")
  func frozen() throws {
    let server = try RedisServer()
    let rig = try Rig(server)
    #expect(try rig.read() == .notReady)
    try server.freeze()
    let began = MonotonicInstant.now
    let failure = try rig.readFailure(.milliseconds(500))
    #expect(failure.cause == .noAnswer && failure.text.contains("no answer within"))
    let taken = MonotonicInstant.now - began
    #expect(taken >= .milliseconds(490) && taken < .seconds(3))
    let setting = try rig.startSetting(.seconds(60))
    try server.thaw()
    #expect(try setting.next("the writing").get() == RedisReadiness.Written())
  }

  @Test("a listener notices a server that does not answer any more")
  func frozenListener() throws {
    let server = try RedisServer()
    let rig = try Rig(server)
    try rig.watch()
    _ = try rig.changes.next("the beginning")
    try server.freeze()
    #expect(try rig.failures.next("the silence").cause == .noAnswer)
    try server.thaw()
    _ = try rig.changes.next("the new subscription")
  }

  @Test("a server that sleeps for a moment is waited for")
  func sleeping() throws {
    let server = try RedisServer()
    let rig = try Rig(server)
    #expect(try rig.read() == .notReady)
    let sleeper = Thread { _ = try? server.ask("DEBUG", "SLEEP", "1") }
    sleeper.start()
    #expect(try rig.set() == RedisReadiness.Written())
  }

  @Test("a server that loads its data is waited for, and said so")
  func loading() throws {
    let server = try RedisServer()
    let rig = try Rig(server)
    _ = try rig.set()
    try server.ask("DEBUG", "POPULATE", "3000")
    #expect(try server.ask("SAVE") == "OK")
    try server.kill()
    // A millisecond for each of the keys, and an answer to others in between.
    try server.start(["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"])
    let failure = try rig.readFailure(.milliseconds(300))
    #expect(failure.cause == .loading && failure.text.contains("LOADING"))
    #expect(try rig.read(.seconds(60)) == .ready)
  }

  @Test("no connections left: said so, and waited out")
  func maxClients() throws {
    let server = try RedisServer(["--maxclients", "1"])
    let first = try Rig(server)
    // The script's own look whether the server is there may still count.
    #expect(try first.read() == .notReady)
    let second = try Rig(server)
    let failure = try second.readFailure(.seconds(1))
    #expect(failure.cause == .resources && failure.text.contains("max number of clients reached"))
    let reading = try second.startReading(.seconds(60))
    try first.end()
    #expect(try reading.next("the answer").get() == .notReady)
  }

  @Test("no memory left: a yes cannot be written, and is as soon as there is some")
  func outOfMemory() throws {
    let server = try RedisServer(["--maxmemory-policy", "noeviction"])
    let rig = try Rig(server)
    #expect(try server.ask("CONFIG", "SET", "maxmemory", "1") == "OK")
    let failure = try rig.setFailure(.milliseconds(300))
    #expect(failure.cause == .resources && failure.text.contains("OOM"))
    #expect(try rig.read() == .notReady)
    let setting = try rig.startSetting(.seconds(60))
    #expect(try server.ask("CONFIG", "SET", "maxmemory", "0") == "OK")
    #expect(try setting.next("the writing").get() == RedisReadiness.Written())
  }

  @Test("a replica is read, and takes no yes until it is the primary")
  func replica() throws {
    let primary = try RedisServer()
    let server = try RedisServer(["--replicaof", "127.0.0.1", "\(primary.port)"])
    let (rig, origin) = (try Rig(server), try Rig(primary))
    let twin = try Rig("redis://127.0.0.1:\(server.port)", key: origin.key, channel: origin.channel)
    _ = try origin.set()
    try server.eventually("1", "GET", origin.key)
    #expect(try twin.read() == .ready)
    let failure = try rig.setFailure(.milliseconds(300))
    #expect(
      failure.cause == .readOnly && failure.text.contains("READONLY") && failure.text.contains("replica"))
    let setting = try rig.startSetting(.seconds(60))
    #expect(try server.ask("REPLICAOF", "NO", "ONE") == "OK")
    #expect(try setting.next("the writing").get() == RedisReadiness.Written())
  }

  @Test("a script that runs is waited for")
  func busyScript() throws {
    let server = try RedisServer(["--busy-reply-threshold", "50"])
    let rig = try Rig(server)
    #expect(try rig.read() == .notReady)
    let script = Thread { _ = try? server.ask("EVAL", "while true do end", "0") }
    script.start()
    // Until it has begun, others are answered as always.
    var failure: RedisFailure?
    while failure == nil {
      if case .failure(let seen) = try rig.startReading(.milliseconds(300)).next("an answer") {
        failure = seen
      }
    }
    #expect(failure?.cause == .busy || failure?.cause == .noAnswer)
    let reading = try rig.startReading(.seconds(60))
    try server.eventually("OK", "SCRIPT", "KILL")
    #expect(try reading.next("the answer").get() == .notReady)
  }

  // MARK: Who may what

  @Test(
    "wrong passwords are refused at once, without repeating them, and right ones work",
    arguments: [
      ("", RedisFailure.Cause.credentials, "the URL has none"), (":wrong-one@", .credentials, "is wrong"),
      ("nobody:wrong-one@", .credentials, "is wrong"), (":sesame-open@", nil, ""),
      ("app:sesame-app@", nil, ""),
    ])
  func passwords(login: String, cause: RedisFailure.Cause?, text: String) throws {
    let server = try RedisServer(["--requirepass", "sesame-open"])
    try server.ask("-a", "sesame-open", "ACL", "SETUSER", "app", "on", ">sesame-app", "~*", "&*", "+@all")
    let rig = try Rig("redis://\(login)127.0.0.1:\(server.port)")
    guard let cause else { return #expect(try rig.read() == .notReady) }
    let began = MonotonicInstant.now
    let failure = try rig.readFailure(.seconds(30))
    #expect(failure.cause == cause && failure.isPermanent && failure.text.contains(text))
    #expect(!failure.text.contains("wrong-one") && MonotonicInstant.now - began < .seconds(10))
  }

  @Test("a password for a server that has none is refused")
  func needlessPassword() throws {
    let server = try RedisServer.shared.get()
    let failure = try Rig("redis://:wrong-one@127.0.0.1:\(server.port)").readFailure()
    #expect(failure.cause == .credentials && failure.text.contains("it has no password, and the URL has one"))
  }

  @Test("a database that is not there is refused")
  func noDatabase() throws {
    let server = try RedisServer.shared.get()
    let failure = try Rig("redis://127.0.0.1:\(server.port)/999").readFailure()
    #expect(failure.cause == .database && failure.text.contains("it has no database 999"))
  }

  /// A server with one user that may do this.
  private func restricted(_ rules: String..., key: String = "ours:r1", channel: String = "ours") throws -> (
    RedisServer, Rig
  ) {
    let server = try RedisServer()
    let client = Process()
    client.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    client.arguments =
      ["redis-cli", "-p", "\(server.port)", "ACL", "SETUSER", "app", "on", ">sesame-app", "resetchannels"]
      + rules
    client.standardOutput = FileHandle.nullDevice
    try client.run()
    client.waitUntilExit()
    guard try server.ask("ACL", "GETUSER", "app").contains("sesame") == false,
      try server.ask("ACL", "LIST").contains("user app on ")
    else { throw HarnessError("no user: \(rules)") }
    return (
      server,
      try Rig("redis://app:sesame-app@127.0.0.1:\(server.port)", key: key, channel: channel, server: server)
    )
  }

  @Test("a user with nothing but what is advised can do all")
  func leastPrivileges() throws {
    let (server, rig) = try restricted(
      "~ours:r1", "&ours", "+get", "+set", "+del", "+publish", "+subscribe")
    try rig.watch()
    _ = try rig.changes.next("the beginning")
    #expect(try rig.set() == RedisReadiness.Written())
    _ = try rig.changes.next("the yes")
    #expect(try rig.read() == .ready)
    try rig.clear()
    _ = try rig.changes.next("the removal")
    // What it is needs a command more.
    try server.ask("RPUSH", rig.key, "1")
    #expect(try rig.read() == .stranger("a value of another type"))
  }

  @Test("a user without the channel still writes the yes, and is told what is missing")
  func noChannel() throws {
    let (server, rig) = try restricted("~ours:*", "+@all")
    let written = try rig.set()
    #expect(written.unannounced?.cause == .privilege && written.replaced == nil)
    let advice = "ACL SETUSER app ~ours:r1 &ours +get +set +del +publish +subscribe"
    #expect(written.unannounced?.text.hasSuffix(advice) == true)
    #expect(try server.ask("GET", rig.key) == "1" && rig.read() == .ready)
    try rig.watch()
    #expect(try rig.failures.next("the refusal").text.hasSuffix(advice))
    try rig.clear()
    #expect(try server.ask("EXISTS", rig.key) == "0")
  }

  @Test(
    "a user without the key or a command is refused at once, with the rule that is missing",
    arguments: ["~theirs:*", "-get"])
  func noKey(rule: String) throws {
    let (_, rig) =
      try rule == "-get" ? restricted("&*", "+@all", "~*", rule) : restricted("&*", "+@all", rule)
    let failure = try rig.setFailure(.seconds(30))
    #expect(failure.cause == .privilege && failure.isPermanent, "\(failure)")
    #expect(failure.text.contains("NOPERM") && failure.text.contains("ACL SETUSER app ~ours:r1 &ours +get"))
  }

  // MARK: TLS

  private func secured(_ certificate: String, _ more: [String] = ["--tls-auth-clients", "no"]) throws -> (
    RedisServer, UInt16
  ) {
    let port = try freePort()
    let server = try RedisServer(
      [
        "--tls-port", "\(port)", "--tls-cert-file", "FOLDER/\(certificate).crt", "--tls-key-file",
        "FOLDER/\(certificate).key", "--tls-ca-cert-file", "FOLDER/ca.crt",
      ] + more)
    return (server, port)
  }

  @Test(
    "TLS with a certificate that is believed, by name and by address", arguments: ["localhost", "127.0.0.1"])
  func secure(host: String) throws {
    let (server, port) = try secured("server")
    let rig = try Rig("rediss://\(host):\(port)", certificateFile: server.folder + "/ca.crt")
    try rig.watch()
    _ = try rig.changes.next("the beginning")
    _ = try rig.set()
    _ = try rig.changes.next("the yes")
    #expect(try rig.read() == .ready && server.ask("GET", rig.key) == "1")
    let own = try Rig("rediss://\(host):\(port)?ssl_ca_certs=\(server.folder)/ca.crt", key: rig.key)
    #expect(try own.read() == .ready)
  }

  @Test("a certificate for another name, or of an unknown authority, is refused at once")
  func certificates() throws {
    let (server, port) = try secured("other")
    for host in ["localhost", "127.0.0.1"] {
      let failure = try Rig("rediss://\(host):\(port)", certificateFile: server.folder + "/ca.crt")
        .readFailure()
      #expect(failure.cause == .certificate && failure.isPermanent && failure.text.contains("another name"))
    }
    let (named, itsPort) = try secured("named")
    let authority = named.folder + "/ca.crt"
    #expect(try Rig("rediss://localhost:\(itsPort)", certificateFile: authority).read() == .notReady)
    let byAddress = try Rig("rediss://127.0.0.1:\(itsPort)", certificateFile: authority).readFailure()
    #expect(byAddress.cause == .certificate)
    let stranger = try Rig("rediss://localhost:\(port)").readFailure()
    #expect(stranger.cause == .certificate && stranger.text.contains("SSL_CERT_FILE"))
    let missing = try Rig("rediss://localhost:\(port)", certificateFile: "/nonexistent.pem").readFailure()
    #expect(missing.cause == .certificate && missing.text.contains("cannot be read"))
  }

  @Test("a server that wants a certificate of its clients is refused with advice")
  func clientCertificates() throws {
    let (server, port) = try secured("server", ["--tls-auth-clients", "yes"])
    let failure = try Rig("rediss://localhost:\(port)", certificateFile: server.folder + "/ca.crt")
      .readFailure(
        .seconds(2))
    #expect(failure.cause == .certificate && failure.text.contains("tls-auth-clients"))
  }

  @Test("TLS to a server without it, and the other way round, is said so")
  func mixedUp() throws {
    let (server, port) = try secured("server")
    let plain = try Rig("rediss://localhost:\(server.port)", certificateFile: server.folder + "/ca.crt")
      .readFailure(
        .seconds(4))
    #expect(plain.text.contains("TLS"), "\(plain)")
    let secure = try Rig("redis://localhost:\(port)").readFailure(.seconds(1))
    #expect(secure.text.contains("rediss://"), "\(secure)")
  }
}
