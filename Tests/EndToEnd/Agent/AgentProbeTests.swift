import AgentProtocol
import CSQLite
import Foundation
import Glibc
import Testing

@Suite("supervisor-agent: probes", .drivesProcesses)
struct AgentProbeTests {
  private func http(_ server: StandInServer, _ path: String = "/") -> ProbeTarget {
    .http(isSecure: false, host: "127.0.0.1", port: server.port, path: path)
  }

  // MARK: Names and ports

  @Test("a name that resolves is ready with its address, one that does not exist is said to be unknown")
  func names() throws {
    try AgentRig.run { rig, _ in
      let local = try rig.probe(.dns(host: "localhost"))
      #expect(local.isReady)
      #expect(
        local.text.hasPrefix("localhost is ")
          && (local.text.contains("127.0.0.1") || local.text.contains("::1")))
      #expect(try rig.probe(.dns(host: "127.0.0.1")) == .ready("127.0.0.1 is 127.0.0.1"))
      // The domain that never exists (RFC 6761); without any name server it cannot even be asked about.
      let unknown = try rig.probe(.dns(host: "no-such-name.invalid"))
      #expect(unknown.isNotYet)
      #expect(unknown.text.hasPrefix("the name no-such-name.invalid "))
      #expect(try rig.probe(.tcp(host: "no-such-name.invalid", port: 80)).isNotYet)
    }
  }

  @Test("a port is ready once it is open", arguments: ["127.0.0.1", "localhost"])
  func port(host: String) throws {
    try AgentRig.run { rig, _ in
      let reservation = try Listener.reservation()
      defer { withExtendedLifetime(reservation) {} }
      let port = reservation.port
      let closed = try rig.probe(.tcp(host: host, port: port))
      #expect(closed.isNotYet)
      #expect(closed.text.hasPrefix("\(host):\(port): connection refused"))
      let listener = try Listener(port: port)
      defer { listener.close() }
      #expect(try rig.probe(.tcp(host: host, port: port)) == .ready("\(host):\(port) takes connections"))
    }
  }

  // MARK: HTTP

  @Test(
    "a status from 200 to 399 is ready, any other is not yet",
    arguments: [
      ("200 OK", true), ("204 No Content", true), ("302 Found", true), ("399 Odd", true), ("400 Bad", false),
      ("404 Not Found", false), ("500 Oops", false), ("503 Service Unavailable", false),
    ])
  func status(line: String, isReady: Bool) throws {
    try withStandInServer(answering: StandInServer.status(line)) { server in
      try AgentRig.run { rig, _ in
        let outcome = try rig.probe(http(server, "/health?deep=1"))
        #expect(outcome.isReady == isReady && outcome.isNotYet != isReady)
        #expect(
          outcome.text.hasPrefix("http://127.0.0.1:\(server.port)/health?deep=1 answers \(line.prefix(3))"))
        #expect(
          server.lastRequest.hasPrefix("GET /health?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:\(server.port)\r\n"))
      }
    }
  }

  @Test("503 that becomes 200 becomes ready")
  func recovery() throws {
    try withStandInServer(answering: StandInServer.status("503 Service Unavailable")) { server in
      try AgentRig.run { rig, _ in
        let before = try rig.probe(http(server))
        #expect(before.text.hasSuffix("answers 503 Service Unavailable"))
        server.set(StandInServer.status("200 OK"))
        let after = try rig.probe(http(server))
        #expect(after.isReady)
      }
    }
  }

  @Test(
    "an answer that is none: nonsense, a closed connection, silence",
    arguments: [
      ("SSH-2.0-OpenSSH_9.2\r\n\r\n", "the answer is not HTTP"), ("", "before an answer"),
      (nil, "no answer within 300ms"),
    ] as [(String?, String)])
  func noAnswer(answer: String?, reason: String) throws {
    try withStandInServer(answering: answer) { server in
      try AgentRig.run { rig, _ in
        let outcome = try rig.probe(http(server), timeout: answer == nil ? .milliseconds(300) : .seconds(20))
        #expect(outcome.isNotYet)
        #expect(outcome.text.hasSuffix(reason), "\(outcome.text)")
      }
    }
  }

  // MARK: HTTPS

  /// Runs `body` with a TLS server of this certificate's names.
  private func withTLSServer(
    names: String, _ body: (_ port: UInt16, _ certificate: String) throws -> Void
  ) throws {
    try withTemporaryDirectory { folder in
      let made = try Stage.result(
        Launch([
          "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
          "-addext", "subjectAltName=\(names)", "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem",
        ]))
      #expect(made.ending == .exited(0), "\(made.errors)")
      var launch = Launch([
        "openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-key", folder + "/key.pem", "-cert",
        folder + "/cert.pem",
      ])
      launch.streams = .pipesWithInput
      try Stage.run(launch) { stage in
        let line = try stage.line("ACCEPT ")
        let port = try #require(line.split(separator: ":").last.flatMap { UInt16($0) }, "no port in \(line)")
        try body(port, folder + "/cert.pem")
      }
    }
  }

  @Test("a certificate that nobody vouches for is refused for good, and accepted when it is trusted")
  func selfSigned() throws {
    try withTLSServer(names: "DNS:localhost,IP:127.0.0.1") { port, certificate in
      for host in ["localhost", "127.0.0.1"] {
        let target = ProbeTarget.http(isSecure: true, host: host, port: port, path: "/")
        try AgentRig.run { rig, _ in
          let outcome = try rig.probe(target)
          #expect(outcome.isRefused)
          #expect(outcome.text.hasPrefix("https://\(host):\(port)/: its certificate is not trusted"))
        }
        try AgentRig.run(environment: ["SSL_CERT_FILE=\(certificate)"]) { rig, _ in
          let outcome = try rig.probe(target)
          #expect(outcome == .ready("https://\(host):\(port)/ answers 200"))
        }
      }
    }
  }

  @Test("a trusted certificate for another name is refused for good", arguments: ["localhost", "127.0.0.1"])
  func otherName(host: String) throws {
    try withTLSServer(names: "DNS:elsewhere.example") { port, certificate in
      try AgentRig.run(environment: ["SSL_CERT_FILE=\(certificate)"]) { rig, _ in
        let outcome = try rig.probe(.http(isSecure: true, host: host, port: port, path: "/"))
        #expect(outcome.isRefused)
        #expect(outcome.text.hasSuffix("its certificate is for another name than \(host)"), "\(outcome.text)")
      }
    }
  }

  @Test("a port that speaks no TLS is not yet, and a list of trusted certificates that is none is refused")
  func noTLS() throws {
    try withStandInServer(answering: StandInServer.status("400 Bad Request")) { server in
      let target = ProbeTarget.http(isSecure: true, host: "127.0.0.1", port: server.port, path: "/")
      server.set("HTTP/1.1 400 Bad Request\r\n\r\n")
      try AgentRig.run(environment: ["SSL_CERT_FILE=/no/such/file"]) { rig, _ in
        let outcome = try rig.probe(target)
        #expect(
          outcome.isRefused && outcome.text.contains("trusted certificates cannot be read"), "\(outcome)")
      }
    }
  }

  // MARK: Files

  @Test("a file is ready once it is there, and so is a folder")
  func file() throws {
    try withTemporaryDirectory { folder in
      try AgentRig.run { rig, _ in
        let path = folder + "/réady"
        #expect(try rig.probe(.file(path: path)) == .notYet("\(path) does not exist"))
        #expect(try rig.probe(.file(path: path + "/below")).isNotYet)
        try writeFile(path, "")
        #expect(try rig.probe(.file(path: path)) == .ready("\(path) is there"))
        #expect(try rig.probe(.file(path: folder)).isReady)
        #expect(try rig.probe(.file(path: folder + "/\(String(repeating: "x", count: 300))")).isRefused)
        #expect(try rig.probe(.file(path: "/etc\0x")).isRefused)
      }
    }
  }

  // MARK: SQLite

  private func execute(_ database: OpaquePointer?, _ text: String) throws {
    try #require(
      sqlite3_exec(database, text, nil, nil, nil) == SQLITE_OK, "\(String(cString: sqlite3_errmsg(database)))"
    )
  }

  @Test("a database: missing, empty, there, locked, in WAL mode")
  func database() throws {
    try withTemporaryDirectory { folder in
      try AgentRig.run { rig, _ in
        let path = folder + "/db.sqlite3"
        let target = ProbeTarget.sqlite(path: path)
        #expect(try rig.probe(target) == .notYet("the database \(path) does not exist"))
        try writeFile(path, "")
        #expect(try rig.probe(target) == .notYet("the database \(path) is still empty"))

        var database: OpaquePointer?
        try #require(sqlite3_open(path, &database) == SQLITE_OK)
        defer { sqlite3_close(database) }
        try execute(database, "CREATE TABLE pages (id INTEGER)")
        #expect(try rig.probe(target) == .ready("the database \(path) answers"))
        try execute(database, "BEGIN EXCLUSIVE")
        #expect(try rig.probe(target) == .notYet("the database \(path) is locked by another process"))
        try execute(database, "COMMIT")
        #expect(try rig.probe(target).isReady)
        try execute(database, "PRAGMA journal_mode = wal")
        try execute(database, "INSERT INTO pages VALUES (1)")
        #expect(try rig.probe(target).isReady)
        #expect(access(path + "-journal", F_OK) != 0)
      }
    }
  }

  @Test(
    "what is no database is refused for good, and left as it is",
    arguments: [
      "text that is no database at all", "SQLite format 4\u{0} and more", "SQLite",
    ])
  func noDatabase(content: String) throws {
    try withTemporaryDirectory { folder in
      try AgentRig.run { rig, _ in
        let path = folder + "/db"
        try writeFile(path, content)
        let outcome = try rig.probe(.sqlite(path: path))
        if content == "SQLite" {
          #expect(outcome.isNotYet, "the start of one may be one that is being written")
        } else {
          #expect(outcome == .refused("\(path) is not an SQLite database: it does not begin as one"))
        }
        #expect(try String(contentsOfFile: path, encoding: .utf8) == content)
        #expect(try rig.probe(.sqlite(path: folder)).isRefused)
      }
    }
  }

  @Test("a database with a good start and nonsense behind it is refused for good")
  func corruptDatabase() throws {
    try withTemporaryDirectory { folder in
      try AgentRig.run { rig, _ in
        try writeFile(folder + "/db", "SQLite format 3\0" + String(repeating: "nonsense", count: 512))
        let outcome = try rig.probe(.sqlite(path: folder + "/db"))
        #expect(outcome.isRefused && outcome.text.contains("is not a usable SQLite database"), "\(outcome)")
      }
    }
  }

  // MARK: Many

  @Test("hundreds of probes at once are each answered, and a cancelled one is not")
  func many() throws {
    try withStandInServer(answering: nil) { silent in
      try AgentRig.run { rig, _ in
        let reservation = try Listener.reservation()
        defer { withExtendedLifetime(reservation) {} }
        let port = reservation.port
        let cancelled = try rig.start(http(silent), timeout: .milliseconds(200))
        try rig.send(.cancelProbe(id: cancelled))
        let late = try rig.start(http(silent), timeout: .milliseconds(400))
        var expected: [UInt64: Bool] = [:]
        for index in 0..<150 {
          expected[try rig.start(.file(path: "/proc/\(index % 5 == 0 ? "self" : "nothing-\(index)")"))] =
            index % 5 == 0
          expected[try rig.start(.tcp(host: "127.0.0.1", port: port))] = false
        }
        for (id, isReady) in expected { #expect(try rig.outcome(of: id).isReady == isReady) }
        #expect(try rig.outcome(of: late).isNotYet)
        // Its time was over before that of the late one.
        #expect(throws: (any Error).self) {
          try rig.send(.end)
          _ = try rig.outcome(of: cancelled)
        }
      }
    }
  }
}
