import AgentProtocol
import EventLoop
import TestSupport
import Testing

@testable import PostgreSQLDriver

@Suite("PostgreSQL: what fails, and how it is said")
struct FailureTests {
  @Test(
    "a refusal is judged by the server's code, and its text names the reason and never the password",
    arguments: [
      (
        "user=ROLE password=wr0ng-secret", PostgreSQLFailure.Cause.credentials, "28P01",
        "password authentication failed"
      ),
      ("user=ROLE", .credentials, nil, "no password supplied"),
      (
        "user=nobody_of_that_name password=wr0ng-secret", .credentials, "28P01",
        "password authentication failed"
      ),
      ("user=ROLE password=right-secret dbname=no_such_database", .database, "3D000", "does not exist"),
      ("user=ROLE password=right-secret dbname=right-secret", .database, "3D000", "\"***\" does not exist"),
      // The server's certificate is its own authority, and is for another name.
      (
        "user=ROLE password=right-secret sslmode=verify-full sslrootcert=CERTIFICATE", .certificate, nil,
        "db.example"
      ),
      (
        "user=ROLE password=right-secret sslmode=verify-ca sslrootcert=/etc/hostname", .certificate, nil,
        "/etc/hostname"
      ),
      ("user=FULL password=right-secret", .tooManyConnections, "53300", "too many connections"),
      ("user=READER password=right-secret", .standby, nil, "default_transaction_read_only"),
      ("user=ROLE password=right-secret hostaddr=127.0.0.1 port=1", .unreachable, nil, "refused"),
      (
        "user=ROLE password=right-secret host=no-such-name.invalid hostaddr=''", .unreachable, nil,
        "no-such-name.invalid"
      ),
      ("user=ROLE password=right-secret nonsense=1", .settings, nil, "postgresql://USER:PASSWORD@HOST"),
      ("password=right secret", .settings, nil, "quoted by '"),
    ] as [(String, PostgreSQLFailure.Cause, String?, String)])
  func refusals(extra: String, cause: PostgreSQLFailure.Cause, state: String?, text: String) throws {
    let rig = try Rig()
    let admin = try rig.admin()
    let role = "app_\(rig.database)"
    try admin.run(
      """
      CREATE ROLE \(role) LOGIN PASSWORD 'right-secret';
      CREATE ROLE \(role)_full LOGIN PASSWORD 'right-secret' CONNECTION LIMIT 0;
      CREATE ROLE \(role)_reader LOGIN PASSWORD 'right-secret'; ALTER ROLE \(role)_reader SET default_transaction_read_only = on
      """)
    let words = extra.replacing("ROLE", with: role).replacing("FULL", with: role + "_full")
      .replacing("READER", with: role + "_reader").replacing(
        "CERTIFICATE", with: rig.server.folder + "/server.crt")
    let began = MonotonicInstant.now
    let failure = try #require(try rig.refusal(of: rig.target(extra: words)))
    #expect(failure.cause == cause && failure.sqlState == state, "\(failure)")
    #expect(failure.text.contains(text) && !failure.text.contains("LOCATION") && !failure.text.contains("\n"))
    #expect(!failure.text.contains("secret"))
    #expect(MonotonicInstant.now - began < .seconds(15))
  }

  @Test(
    "a standby is refused, and is said to be one, also when the connection string would take it",
    arguments: ["", "target_session_attrs=any"])
  func standby(extra: String) throws {
    let server = try PostgreSQLServer()
    let rig = try Rig(server: server)
    try server.order("fast")
    try server.order("standby")
    let failure = try #require(try rig.refusal(of: rig.target(extra: extra)))
    #expect(failure.cause == .standby && !failure.isPermanent)
    #expect(failure.text.contains("standby") && failure.text.contains("the lock needs the primary"))
  }

  @Test(
    "a server that is not there, and one behind PgBouncer that is not, may still come; a missing database there may not"
  )
  func poolers() throws {
    let server = try PostgreSQLServer()
    let rig = try Rig(server: server)
    let port = try server.startBouncer(size: 2)
    let missing = try #require(
      try rig.refusal(of: rig.target(port: port, extra: "dbname=no_such_database")))
    #expect(missing.cause == .database && missing.isPermanent, "\(missing)")
    let plain = try #require(try rig.refusal(of: rig.target(port: port, extra: "sslmode=require")))
    #expect(plain.cause == .certificate && plain.isPermanent, "\(plain)")
    try server.order("stop")
    let refused = try #require(try rig.refusal(of: rig.target()))
    #expect(refused.cause == .unreachable && !refused.isPermanent && refused.text.contains("refused"))
    let behind = try #require(try rig.refusal(of: rig.target(port: port), timeout: .seconds(2)))
    #expect(!behind.isPermanent, "\(behind)")
  }

  @Test("one who accepts and never answers is given up in time")
  func silence() throws {
    let rig = try Rig()
    let listener = try SilentListener()
    let began = MonotonicInstant.now
    let failure = try #require(
      try rig.refusal(of: rig.target(port: listener.port), timeout: .milliseconds(400)))
    #expect(failure.cause == .noAnswer && failure.text.contains("\(listener.port)"))
    #expect(MonotonicInstant.now - began < .seconds(10))
  }

  @Test(
    "several addresses: what may still come wins over what never will, and both over one that is not there",
    arguments: [
      (
        "connection to server at \"::1\", port 5 failed: Connection refused\n"
          + "connection to server at \"127.0.0.1\", port 5 failed: FATAL:  57P03: the database system is starting up\nLOCATION:  x, y.c:1\n",
        PostgreSQLFailure.Cause.startingUp, "57P03",
        "PostgreSQL at \"::1\", port 5: Connection refused; PostgreSQL at \"127.0.0.1\", port 5: the database system is starting up"
      ),
      (
        "connection to server at \"a\", port 5 failed: Connection refused\n"
          + "connection to server at \"b\", port 5 failed: FATAL:  3D000: nix\n", .database, "3D000",
        "PostgreSQL at \"a\", port 5: Connection refused; PostgreSQL at \"b\", port 5: nix"
      ),
      (
        "connection to server at \"a\", port 5 failed: SCHWERWIEGEND:  28P01: Passwort falsch\n"
          + "connection to server at \"b\", port 5 failed: FATAL:  57P03: kommt\n", .startingUp, "57P03",
        "PostgreSQL at \"a\", port 5: Passwort falsch; PostgreSQL at \"b\", port 5: kommt"
      ),
      ("", .unreachable, nil, "PostgreSQL gave no reason"),
    ] as [(String, PostgreSQLFailure.Cause, String?, String)])
  func severalAddresses(message: String, cause: PostgreSQLFailure.Cause, state: String?, text: String) {
    #expect(PostgreSQLFailure.connecting(message) == PostgreSQLFailure(cause, sqlState: state, text))
  }

  @Test("the name of a session fits into what PostgreSQL keeps, and two steps never share one")
  func names() {
    #expect(ApplicationName(project: "shop", run: "r1", step: "migrate").text == "supervisor/shop/r1/migrate")
    #expect(ApplicationName(project: "shop", run: "r1", purpose: "lock").text == "supervisor/shop/r1//lock")
    let long = String(repeating: "x", count: 90)
    let names = ["a", "b", "ä", "/", " ", "a/b"].map {
      ApplicationName(project: long + $0, run: long + $0, step: long + $0).text
    }
    #expect(Set(names).count == names.count)
    for name in names {
      #expect(name.utf8.count <= 63 && name.utf8.allSatisfy { (0x21...0x7E).contains($0) })
      #expect(name.split(separator: "/").count == 4)
    }
    #expect(ApplicationName(project: long, run: long, purpose: long).text.utf8.count <= 63)
  }
}
