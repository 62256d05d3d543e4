import Settings
import Testing

@testable import Frameworks

/// LITEFS, in both dialects.
struct LiteFSImportTests {
  static let early: PythonValue = [
    "MOUNT_PATH": "/litefs", "DATA_PATH": "/var/lib/litefs", "DATABASE_NAME": "db.sqlite3", "CONSUL_URL": nil,
    "LEASE_URL": nil, "PROXY_ADDR": ":8081", "AUTO_START": true, "BINARY_PATH": nil, "RETENTION": "1h",
    "RETENTION_MONITOR_INTERVAL": "1m",
  ]
  static let today: PythonValue = [
    "MOUNT_PATH": "/litefs", "DATA_PATH": "/var/lib/litefs", "DATABASE_NAME": "db.sqlite3",
    "LEADER_ELECTION": "static", "PRIMARY_HOSTNAME": "node1", "PROXY_ADDR": ":8080", "ENABLED": true,
    "RETENTION": "2h",
    "PROXY": ["ADDR": ":8080", "TARGET": "localhost:8000", "DB": "db.sqlite3", "PASSTHROUGH": ["/static/*"]],
    "FORWARDING": [
      "ENABLED": true, "PRIMARY_URL": "http://node1:8000", "TIMEOUT_SECONDS": 30, "RETRY_COUNT": 1,
      "EXCLUDED_PATHS": ["/health/**"], "SCHEME": "http", "CONNECT_TIMEOUT": 5, "READ_TIMEOUT": 30,
      "RETRY_BACKOFF_BASE": 1.5, "CIRCUIT_BREAKER_THRESHOLD": 5, "CIRCUIT_BREAKER_RESET_TIMEOUT": 30,
      "CIRCUIT_BREAKER_ENABLED": true,
    ],
  ]

  static func imported(
    _ litefs: PythonValue, _ changes: PythonValue = [:], environment: [String: String] = [:],
    database: PythonValue = DjangoReport.sqlite, given: [String: String] = [:]
  ) -> DjangoImport {
    var entries: [PythonValue.Entry] = []
    if case .map(let base) = litefs, case .map(let more) = changes {
      // A change to .other("gone") takes a key away.
      entries =
        base.filter { entry in !more.contains { $0.key == entry.key } }
        + more.filter { $0.value != .other("gone") }
    }
    return DjangoImport(
      .sample(database: database, ["LITEFS": .map(entries)]), environment: environment, given: given)
  }

  @Test(
    arguments: [
      ("litefs.mode", "mount"), ("litefs.mount_path", "/litefs"), ("litefs.data_path", "/var/lib/litefs"),
      ("litefs.database_name", "db.sqlite3"), ("litefs.retention", "1h"),
      ("litefs.retention_monitor_interval", "1m"),
      ("forward.listen", ":8081"), ("litefs.binary_path", nil), ("litefs.lease.type", nil),
    ])
  func `the early dialect`(path: String, expected: String?) {
    let found = Self.imported(Self.early)
    #expect(found[path] == expected)
    #expect(found.problems.isEmpty)
    #expect(found.notes.contains { $0.message == "nothing says which node is the primary" })
  }

  @Test(
    arguments: [
      ("litefs.mode", "mount"), ("litefs.lease.type", "static"), ("litefs.lease.primary", "node1"),
      ("litefs.lease.candidate", "false"), ("litefs.advertise_url", "http://node1:20202"),
      ("litefs.retention", "2h"),
      ("forward.listen", ":8080"), ("forward.target", "localhost:8000"), ("forward.database", "db.sqlite3"),
      ("forward.passthrough", "[\"/static/*\"]"), ("forward.primary_url", "http://node1:8000"),
      ("forward.retries", "1"), ("forward.exclude", "[\"/health/**\"]"), ("forward.scheme", "http"),
      ("forward.connect_timeout", "5"), ("forward.read_timeout", "30"), ("forward.retry_delay", "1500ms"),
      ("forward.circuit_breaker.failures", "5"), ("forward.circuit_breaker.reset_after", "30"),
      ("forward.circuit_breaker.enabled", "true"),
    ])
  func `today's dialect`(path: String, expected: String) {
    let found = Self.imported(Self.today)
    #expect(found[path] == expected)
    #expect(found.problems.isEmpty)
    #expect(found.unmapped.contains { $0.name == "LITEFS[\"FORWARDING\"][\"TIMEOUT_SECONDS\"]" })
  }

  @Test(arguments: [
    ("node1", "true", 0), ("node2", "false", 0), ("Node1", "false", 1), (" node1 ", "true", 0),
  ])
  func `only the primary's own node is a candidate`(node: String, candidate: String, warnings: Int) {
    let found = Self.imported(Self.today, environment: ["LITEFS_NODE_ID": node])
    #expect(found["litefs.lease.candidate"] == candidate)
    #expect(found["litefs.node_name"] == node.split(separator: " ").joined())
    // On replicas too, since LiteFS reads it as the primary's.
    #expect(found["litefs.advertise_url"] == "http://node1:20202")
    #expect(found.notes.filter { $0.message.contains("only case differs") }.count == warnings)
  }

  @Test func `a blank node ID is the host's name, and said`() {
    let found = Self.imported(
      Self.today, ["PRIMARY_HOSTNAME": "host"],
      environment: ["LITEFS_NODE_ID": " ", "LITEFS_BINARY_PATH": "/opt/litefs"])
    #expect(found["litefs.node_name"] == nil)
    #expect(found["litefs.lease.candidate"] == "true")
    #expect(found.notes.contains { $0.key == "django: LITEFS_NODE_ID" })
    #expect(found["litefs.binary_path"] == "/opt/litefs")
    #expect(found.origin(of: "litefs.binary_path") == "django: LITEFS_BINARY_PATH")
  }

  @Test(
    arguments: [
      ["ENABLED": false], ["ENABLED": "false"], ["ENABLED": 0], ["ENABLED": "0"], ["ENABLED": nil],
      ["DEV_MODE": true], ["DEV_MODE": "yes"], ["DEV_MODE": true, "ENABLED": true],
    ] as [PythonValue])
  func `off is off, however it is written`(changes: PythonValue) {
    let found = Self.imported(Self.today, changes)
    #expect(found["litefs.mode"] == "off")
    #expect(found["litefs.mount_path"] == nil)
    #expect(found["forward.listen"] == nil)
    #expect(found.problems.isEmpty)
  }

  @Test(
    arguments: [["DEV_MODE": false], ["DEV_MODE": nil], ["DEV_MODE": false, "ENABLED": false]]
      as [PythonValue])
  func `a development mode that is set decides`(changes: PythonValue) {
    #expect(Self.imported(Self.today, changes)["litefs.mode"] == "mount")
  }

  @Test(arguments: [nil, [:]] as [PythonValue])
  func `no LITEFS is nothing at all`(value: PythonValue) {
    let found = DjangoImport(.sample(["LITEFS": value]))
    #expect(found["litefs.mode"] == (value == .none ? nil : "mount"))
    #expect(DjangoImport(.sample())["litefs.mode"] == nil)
  }

  @Test(
    arguments: [
      (["CONSUL_URL": "http://c:8500"], "http://c:8500"), (["LEASE_URL": "http://l:8500"], "http://l:8500"),
      (["CONSUL_URL": "http://c:8500", "LEASE_URL": "http://c:8500"], "http://c:8500"),
    ] as [(PythonValue, String)])
  func `Consul's URL, by either name`(changes: PythonValue, url: String) {
    let found = Self.imported(Self.early, changes)
    #expect(found["litefs.lease.type"] == "consul")
    #expect(found["litefs.lease.consul.url"] == url)
    #expect(found.problems.isEmpty)
  }

  @Test func `LiteFS started by somebody else is external`() {
    let found = Self.imported(Self.early, ["AUTO_START": false])
    #expect(found["litefs.mode"] == "external")
    #expect(found.origin(of: "litefs.mode") == "django: LITEFS[\"AUTO_START\"]")
  }

  static let gone = PythonValue.other("gone")

  /// A change to today's dialect, the key at fault, a part of what is said.
  static let broken: [(PythonValue, String, String)] = [
    (["RETENTION": "banana"], "[\"RETENTION\"]", "litefs.retention: \"banana\" is not a duration"),
    (["DATA_PATH": "/litefs"], "[\"DATA_PATH\"]", "the same as MOUNT_PATH"),
    (["DATA_PATH": "/litefs/"], "[\"DATA_PATH\"]", "the same as MOUNT_PATH"),
    (["MOUNT_PTAH": "/litefs"], "[\"MOUNT_PTAH\"]", "unknown key; did you mean MOUNT_PATH?"),
    (["MOUNT_PATH": "../x"], "[\"MOUNT_PATH\"]", "not an absolute path"),
    (["MOUNT_PATH": "litefs"], "[\"MOUNT_PATH\"]", "not an absolute path"),
    (["DATA_PATH": "/a/../b"], "[\"DATA_PATH\"]", "has .. in it"),
    (["DATA_PATH": "/a\u{0}b"], "[\"DATA_PATH\"]", "NUL"),
    (["DATABASE_NAME": " "], "[\"DATABASE_NAME\"]", "not the name of a file"),
    (["DATABASE_NAME": "a/b"], "[\"DATABASE_NAME\"]", "not the name of a file"),
    (
      ["LEADER_ELECTION": "raft"], "[\"LEADER_ELECTION\"]",
      "use a lease: static (PRIMARY_HOSTNAME), or consul (CONSUL_URL)"
    ),
    (["LEADER_ELECTION": "etcd"], "[\"LEADER_ELECTION\"]", "\"etcd\" is no kind of lease"),
    (["LEADER_ELECTION": "consul"], "[\"LEADER_ELECTION\"]", "nothing says where that is"),
    (["CONSUL_URL": "http://c"], "[\"LEADER_ELECTION\"]", "says static, while CONSUL_URL"),
    (["CONSUL_URL": "http://c", "LEASE_URL": "http://l"], "[\"LEASE_URL\"]", "differs from CONSUL_URL"),
    (["CONSUL_URL": 5], "[\"CONSUL_URL\"]", "is not a URL"),
    (["PRIMARY_HOSTNAME": gone], "[\"PRIMARY_HOSTNAME\"]", "is missing"),
    (["PRIMARY_HOSTNAME": " n"], "[\"PRIMARY_HOSTNAME\"]", "write it without blanks"),
    (["FORWARDING": ["ENABLED": true, "RETRIES": 3]], "[\"FORWARDING\"][\"RETRIES\"]", "unknown key"),
    (["PROXY": "x"], "[\"PROXY\"]", "is not a dict"),
  ]

  @Test(arguments: broken)
  func `what cannot be is a problem with its key`(changes: PythonValue, key: String, text: String) {
    let found = Self.imported(Self.today, changes)
    #expect(found.problemTexts.count == 1, "\(found.problemTexts)")
    #expect(
      found.problemTexts.first?.hasPrefix("error: django: LITEFS\(key): ") == true, "\(found.problemTexts)")
    #expect(found.problemTexts.first?.contains(text) == true, "\(found.problemTexts)")
    // Never a type that LiteFS does not know.
    #expect([nil, "static", "consul"].contains(found["litefs.lease.type"]))
  }

  @Test(
    arguments: [
      (["ENGINE": "litefs_django.db.backends.litefs", "NAME": "default"], "default", 1),
      (["ENGINE": "django_litefs.db.backends.litefs", "NAME": "db.sqlite3"], "db.sqlite3", 0),
      (["ENGINE": "django.db.backends.sqlite3", "NAME": "/litefs/app.db"], "app.db", 1),
      (["ENGINE": "django.db.backends.sqlite3", "NAME": "/data/app.db"], "db.sqlite3", 0),
    ] as [(PythonValue, String, Int)])
  func `the database is the one that is used`(database: PythonValue, name: String, warnings: Int) {
    let found = Self.imported(Self.today, database: database)
    #expect(found["litefs.database_name"] == name)
    #expect(found.notes.filter { $0.message.contains("the first is taken") }.count == warnings)
  }

  @Test func `PROXY_ADDR is the address that was used`() {
    let found = Self.imported(Self.today, ["PROXY_ADDR": ":9000"])
    #expect(found["forward.listen"] == ":9000")
    #expect(found.unmapped.contains { $0.name == "LITEFS[\"PROXY\"][\"ADDR\"]" })
    #expect(Self.imported(Self.today, ["PROXY_ADDR": Self.gone])["forward.listen"] == ":8080")
  }

  @Test func `forwarding that is not enabled is nothing`() {
    let found = Self.imported(Self.today, ["FORWARDING": ["ENABLED": false, "RETRY_COUNT": 3]])
    #expect(found["forward.retries"] == nil)
    #expect(found.unmapped.contains { $0.name == "LITEFS[\"FORWARDING\"]" })
  }
}
