import TestSupport
import Testing

// Redis over TLS, by way of the agent.
extension FleetReadinessTests {
  /// Where the trusted authority is named.
  enum Trust: String, CaseIterable, CustomTestStringConvertible {
    case url, environment

    var testDescription: String { rawValue }
  }

  /// Runs `body` with a Redis server that takes TLS at the port, too, with this certificate of redis.sh.
  private func withSecureSite(
    _ certificate: String, _ body: (ServerSite, RedisServer, UInt16) throws -> Void
  ) throws {
    let port = try freePort()
    let redis = try RedisServer([
      "--requirepass", "right-secret", "--tls-port", "\(port)", "--tls-cert-file",
      "FOLDER/\(certificate).crt",
      "--tls-key-file", "FOLDER/\(certificate).key", "--tls-ca-cert-file", "FOLDER/ca.crt",
      "--tls-auth-clients",
      "no",
    ])
    defer { redis.end() }
    try withServerSite { try body($0, redis, port) }
  }

  /// A whole `run` with readiness there.
  private func run(
    _ site: ServerSite, _ place: String, _ environment: [String] = [], name: String = "node"
  ) throws -> (outcome: Outcome, seconds: Double) {
    site.coordination = [
      "readiness: redis", "redis: {url: \"rediss://:right-secret@\(place)\"}",
    ]
    var launch = try site.phases.run(phase(site), app: site.phases.append("app"), name: name)
    launch.environment += environment.map { Array($0.utf8) }
    let began = monotonicNow()
    return (try Stage.result(launch), monotonicNow() - began)
  }

  private func get(_ site: ServerSite, _ redis: RedisServer) throws -> String {
    try redis.ask("-a", "right-secret", "GET", site.key)
  }

  @Test(
    "readiness in Redis over TLS, by the certificate's name and its address", arguments: Trust.allCases
  )
  func secure(trust: Trust) throws {
    try withSecureSite("server") { site, redis, port in
      let authority = redis.folder + "/ca.crt"
      let query = trust == .url ? "?ssl_ca_certs=\(authority)" : ""
      let environment = trust == .environment ? ["SSL_CERT_FILE=\(authority)"] : []
      for (index, host) in ["localhost", "127.0.0.1"].enumerated() {
        let (outcome, _) = try run(site, "\(host):\(port)/0\(query)", environment, name: host)
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        // Who comes second believes what the first one said.
        #expect(site.phases.lines() == ["infra", "node", "app", "app"].prefix(3 + index).map { $0 })
        #expect(try get(site, redis) == "1")
      }
    }
  }

  @Test(
    "C1-20: a certificate for another name, or of an unknown authority, is refused within 3 s, with its reason and without the password",
    arguments: [
      ("other", "localhost", true, "another name"), ("named", "127.0.0.1", true, "another name"),
      ("server", "localhost", false, "SSL_CERT_FILE"),
    ])
  func refusedCertificate(certificate: String, host: String, isTrusted: Bool, reason: String) throws {
    try withSecureSite(certificate) { site, redis, port in
      let query = isTrusted ? "?ssl_ca_certs=\(redis.folder)/ca.crt" : ""
      let place = "\(host):\(port)/0\(query)"
      let seconds = try quickest(of: 3, within: 3) {
        let (outcome, seconds) = try run(site, place)
        #expect(outcome.ending == .exited(69), "\(outcome.errors)")
        #expect(outcome.errors.contains(reason) && outcome.errors.contains(host), "\(outcome.errors)")
        #expect(
          outcome.errors.hasSuffix("\n") && outcome.errors.contains("exiting with code 69 (state_refused)"))
        #expect(!(outcome.errors + outcome.output).contains("secret"), "\(outcome.errors)")
        return seconds
      }
      #expect(seconds < 3)
      #expect(site.phases.lines() == [])
      #expect(try get(site, redis) == "")
    }
  }
}
