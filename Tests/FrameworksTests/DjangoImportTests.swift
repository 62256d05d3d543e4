import Settings
import Testing

@testable import Frameworks

/// What a project's settings become.
struct DjangoImportTests {
  @Test(
    arguments: [
      (600, "600s"), (0, "0s"), (2.5, "2500ms"), ("300", "300s"), ("1.5", "1500ms"), (nil, nil), ("", nil),
    ] as [(PythonValue, String?)])
  func `AUTOINIT_TIMEOUT_SEC is the timeout`(value: PythonValue, expected: String?) {
    let found = DjangoImport(.sample(["AUTOINIT_TIMEOUT_SEC": value]))
    #expect(found["timeout"] == expected)
    #expect(found.problems.isEmpty)
    if expected != nil { #expect(found.origin(of: "timeout") == "django: AUTOINIT_TIMEOUT_SEC") }
  }

  @Test(
    arguments: [
      ("AUTOINIT_TIMEOUT_SEC", "banana", "\"banana\" is not a number of seconds"),
      ("AUTOINIT_TIMEOUT_SEC", -1, "-1 is not a number of seconds"),
      ("AUTOINIT_TIMEOUT_SEC", true, "True is not"),
      ("AUTOINIT_TIMEOUT_SEC", .number(.infinity), "is not a number"),
      ("AUTOINIT_MARKER_DIR", 5, "5 is not a path"),
      ("AUTOINIT_MARKER_DIR", .other("x.Y"), "a value of type x.Y is not a path"),
      ("AUTOINIT_RUN_ID", 5, "5 is not a text"),
      ("AUTOINIT_RUN_ID", .text(String(repeating: "x", count: 300)), "run_id: "),
      ("AUTOINIT_CACHE_ALIAS", 5, "5 is not a text"),
    ] as [(String, PythonValue, String)])
  func `a setting that cannot be used is a problem with its name`(
    name: String, value: PythonValue, text: String
  ) {
    let found = DjangoImport(.sample(.map([PythonValue.Entry(key: name, value: value)])))
    #expect(found.problemTexts.count == 1)
    #expect(found.problemTexts.first?.hasPrefix("error: django: \(name): ") == true, "\(found.problemTexts)")
    #expect(found.problemTexts.first?.contains(text) == true, "\(found.problemTexts)")
  }

  @Test(arguments: [("/m", "/m"), ("markers", "/app/markers"), ("./m", "/app/./m")])
  func `AUTOINIT_MARKER_DIR counts from the working directory`(given: String, expected: String) {
    let found = DjangoImport(.sample(["AUTOINIT_MARKER_DIR": .text(given)]))
    #expect(found["node.marker_dir"] == expected)
  }

  @Test func `a run ID in the settings is one`() {
    #expect(DjangoImport(.sample(["AUTOINIT_RUN_ID": "r1"]))["run_id"] == "r1")
    #expect(DjangoImport(.sample(["AUTOINIT_RUN_ID": ""]))["run_id"] == nil)
  }

  @Test func `a setting of no meaning is said, with what was likely meant`() {
    let found = DjangoImport(.sample(["AUTOINIT_TIMEOUT": 5]))
    #expect(found.unmapped.first?.name == "AUTOINIT_TIMEOUT")
    #expect(found.unmapped.first?.reason.hasSuffix("did you mean AUTOINIT_TIMEOUT_SEC?") == true)
  }

  // MARK: Readiness

  static let backends = "django.core.cache.backends."

  /// What happens with a cache that is not in Redis.
  @Test(
    arguments: [
      (true, ["autoinit"], "locmem.LocMemCache", [:], "which no other process sees"),
      (true, ["autoinit.apps.AutoinitConfig"], "dummy.DummyCache", [:], "which no other process sees"),
      (true, ["autoinit"], "db.DatabaseCache", [:], "only in Redis"),
      (true, ["autoinit"], "memcached.PyMemcacheCache", [:], "coordination.readiness: postgres"),
      (true, ["autoinit"], "locmem.LocMemCache", ["coordination.readiness": "postgres"], nil),
      (true, ["autoinits"], "locmem.LocMemCache", [:], nil),
      (false, ["autoinit"], "locmem.LocMemCache", [:], nil),
    ] as [(Bool, [String], String, [String: String], String?)])
  func `a cache that cannot hold readiness is refused where it would be needed`(
    isServer: Bool, apps: [String], backend: String, given: [String: String], refusal: String?
  ) {
    let found = DjangoImport(
      .sample(
        apps: apps, database: isServer ? DjangoReport.postgres : DjangoReport.sqlite,
        cache: ["BACKEND": .text(Self.backends + backend)]), given: given)
    #expect(found["coordination.readiness"] == nil)
    #expect(found.problems.count == (refusal == nil ? 0 : 1))
    if let refusal { #expect(found.problemTexts.first?.contains(refusal) == true, "\(found.problemTexts)") }
  }

  @Test(
    arguments: [
      ("redis://redis:6379/1", nil, "redis://redis:6379/1"),
      ("rediss://u:p@r/0?x=1", nil, "rediss://u:p@r/0?x=1"),
      ("redis://a:1/1,redis://b:1/1", nil, "redis://a:1/1"),
      ("redis://a:1/1; redis://b:1/1", nil, "redis://a:1/1"),
      (["redis://a/2", "redis://b/2"], nil, "redis://a/2"),
      ("redis://a:1/1?s=1", ["db": 4], "redis://a:1/4?s=1"),
      ("redis://a", ["DB": 4], "redis://a/4"),
      ("redis://a/1", ["password": "p/w d"], "redis://:p%2Fw%20d@a/1"),
      ("redis://a/1", ["USERNAME": "me", "PASSWORD": "x"], "redis://a/1"),
      ("redis://a/1", ["username": "me", "password": "x"], "redis://me:x@a/1"),
      ("redis://u:own@a/1", ["password": "x"], "redis://u:own@a/1"), ("unix:///run/redis.sock", nil, nil),
      ("redis://a/1", ["CLIENT_CLASS": "django_redis.client.SentinelClient"], nil),
      ("redis://a/1", ["CLIENT_CLASS": "django_redis.client.DefaultClient"], "redis://a/1"),
    ] as [(PythonValue, PythonValue?, String?)],
    ["django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"])
  func `a Redis cache is where readiness is`(
    server: (location: PythonValue, options: PythonValue?, expected: String?), backend: String
  ) {
    var cache: [PythonValue.Entry] = [
      PythonValue.Entry(key: "BACKEND", value: .text(backend)),
      PythonValue.Entry(key: "LOCATION", value: server.location),
    ]
    if let options = server.options { cache.append(PythonValue.Entry(key: "OPTIONS", value: options)) }
    let found = DjangoImport(.sample(cache: .map(cache)))
    // Both spellings of a user and password mean the same.
    let expected = server.options?["USERNAME"] == nil ? server.expected : "redis://me:x@a/1"
    #expect(found["coordination.redis.url"] == expected)
    #expect(found["coordination.readiness"] == (server.expected == nil ? nil : "redis"))
    #expect(found.problems.isEmpty)
    if server.expected == nil { #expect(found.unmapped.contains { $0.name.hasPrefix("CACHES") }) }
  }

  @Test(arguments: ["", nil, 5, []] as [PythonValue])
  func `a Redis cache without a server is a problem`(location: PythonValue) {
    let found = DjangoImport(
      .sample(cache: ["BACKEND": "django_redis.cache.RedisCache", "LOCATION": location]))
    #expect(found.problemTexts.first?.contains("names no server") == true)
  }

  @Test func `the key in Redis is the cache's own`() {
    var report = DjangoReport.sample(cache: DjangoReport.redis)
    report.redisKey = "p:2:x:y:{run_id}"
    #expect(DjangoImport(report)["coordination.readiness_key_prefix"] == "p:2:x:y")
    report.redisKey = "hashed"
    let found = DjangoImport(report)
    #expect(found["coordination.readiness_key_prefix"] == nil)
    #expect(found.unmapped.contains { $0.name == "CACHES[\"default\"][\"KEY_FUNCTION\"]" })
    #expect(found.readinessKey == nil)
  }

  /// A KEY_FUNCTION may do anything with the run ID, so the key that the cache makes of this one counts.
  @Test(
    arguments: [
      ("p:2:x:{run_id}", "p:2:x:v7", nil), ("p:2:x:{run_id}", "P:2:X:v7", "P:2:X:v7"),
      ("hashed", "abcdef", "abcdef"),
    ] as [(String, String, String?)])
  func `the key of a release is the one that the cache makes`(pattern: String, own: String, expected: String?)
  {
    var report = DjangoReport.sample(cache: DjangoReport.redis)
    report.redisKey = pattern
    report.redisRunKey = DjangoReport.RunKey(runID: "v7", key: own)
    let found = DjangoImport(report)
    #expect(found.readinessKey == expected.map { DjangoReport.RunKey(runID: "v7", key: $0) })
    #expect(!found.unmapped.contains { $0.name.contains("KEY_FUNCTION") })
  }

  @Test func `without autoinit readiness is where the lock is`() {
    let found = DjangoImport(
      .sample(apps: [], database: DjangoReport.postgres, cache: DjangoReport.redis))
    #expect(found["coordination.lock"] == "postgres")
    #expect(found["coordination.readiness"] == nil)
    #expect(found["coordination.redis.url"] == "redis://redis:6379/1")
  }

  @Test func `another cache is found by its alias, and a missing one named`() {
    var report = DjangoReport.sample(["AUTOINIT_CACHE_ALIAS": "autoinit"])
    #expect(
      DjangoImport(report).problemTexts == [
        "error: django: AUTOINIT_CACHE_ALIAS: there is no CACHES[\"autoinit\"]; it can be default"
      ])
    #expect(DjangoImport(report, given: ["coordination.readiness": "file"]).problems.isEmpty)
    report.caches.append(PythonValue.Entry(key: "autoinit", value: DjangoReport.redis))
    #expect(
      DjangoImport(report).origin(of: "coordination.redis.url")
        == "django: CACHES[\"autoinit\"][\"LOCATION\"]")
  }

  // MARK: The lock

  @Test(arguments: ["autoinit", "shop"])
  func `the lock is in PostgreSQL where the project is`(app: String) {
    let found = DjangoImport(
      .sample(apps: [app], database: DjangoReport.postgres, cache: DjangoReport.redis))
    #expect(found["coordination.lock"] == "postgres")
    #expect(
      found["coordination.postgres.url"]
        == "dbname='app' user='me' password='hunter2' host='db' port='5432'")
    #expect(found.origin(of: "coordination.postgres.url") == "django: DATABASES[\"default\"]")
    #expect(found.pending.isEmpty && found.problems.isEmpty && found.notes.isEmpty)
    #expect(!"\(found.unmapped)".contains("hunter2"))
    #expect(found["framework.databases"] == "[default]")
  }

  /// As Django's own backend makes them; a value may hold anything.
  @Test(
    arguments: [
      (["NAME": "app"], "dbname='app'"), (["NAME": nil], "dbname='postgres'"), ([:], "dbname='postgres'"),
      (["NAME": "a'b\\c d=", "PORT": 6432], #"dbname='a\'b\\c d=' port='6432'"#),
      (["NAME": "", "OPTIONS": ["service": "shop"]], "service='shop'"),
      (
        ["NAME": "app", "HOST": "/run/pg", "OPTIONS": ["dbname": "x", "host": "y"]],
        "dbname='app' host='/run/pg'"
      ),
      (
        ["NAME": "app", "OPTIONS": ["sslmode": "verify-full", "sslrootcert": "ca.pem", "passfile": "/p"]],
        "sslmode='verify-full' sslrootcert='/app/ca.pem' passfile='/p' dbname='app'"
      ),
      (["NAME": "app", "OPTIONS": ["sslrootcert": "system"]], "sslrootcert='system' dbname='app'"),
    ] as [(PythonValue, String)])
  func `a connection is made as Django makes it`(database: PythonValue, expected: String) {
    guard case .map(let entries) = database else { return }
    let engine = PythonValue.Entry(key: "ENGINE", value: "django.db.backends.postgresql")
    let found = DjangoImport(.sample(apps: [], database: .map([engine] + entries)))
    #expect(found["coordination.postgres.url"] == expected)
    #expect(found.problems.isEmpty)
  }

  @Test(arguments: ["target_session_attrs", "assume_role", "sslnegotiation"])
  func `an option that is not taken over is named`(option: String) {
    let found = DjangoImport(
      .sample(
        apps: [],
        database: [
          "ENGINE": "django.contrib.gis.db.backends.postgis", "NAME": "app",
          "OPTIONS": .map([PythonValue.Entry(key: option, value: "x")]),
        ]))
    #expect(found["coordination.postgres.url"] == "dbname='app'")
    #expect(found.unmapped.contains { $0.name.hasSuffix("[\"OPTIONS\"]") && $0.reason.hasPrefix(option) })
  }

  @Test(arguments: ["PASSWORD", "HOST"])
  func `a connection that cannot be known is refused`(name: String) {
    let database: PythonValue = .map([
      PythonValue.Entry(key: "ENGINE", value: "django.db.backends.postgresql"),
      PythonValue.Entry(key: name, value: ["hunter2"]),
    ])
    let found = DjangoImport(.sample(database: database, cache: DjangoReport.redis))
    #expect(found["coordination.lock"] == nil)
    #expect(
      found.problemTexts.first?.contains("[\"\(name)\"]: it is not a text") == true, "\(found.problemTexts)")
    #expect(!"\(found.problemTexts)".contains("hunter2"))
    let given = DjangoImport(
      .sample(database: database, cache: DjangoReport.redis), given: ["coordination.lock": "file"])
    #expect(given.problems.isEmpty)
  }

  @Test(
    arguments: [
      (["coordination.lock": "file"], nil, nil), (["coordination.readiness": "file"], nil, nil),
      (["coordination.lock": "postgres"], "postgres", "dbname"),
      (["coordination.lock": "postgres", "coordination.readiness": "file"], "postgres", "dbname"),
      (["coordination.readiness": "postgres"], "postgres", "dbname"),
      (["coordination.postgres.url": "service=own"], "postgres", nil),
    ] as [([String: String], String?, String?)])
  func `what the user says of the lock is not asked of the project`(
    given: [String: String], lock: String?, url: String?
  ) {
    let found = DjangoImport(
      .sample(database: DjangoReport.postgres, cache: DjangoReport.redis), given: given)
    #expect(found["coordination.lock"] == lock)
    #expect(found["coordination.postgres.url"]?.hasPrefix(url ?? "?") == (url == nil ? nil : true))
    #expect(found.problems.isEmpty)
  }

  @Test(arguments: [([:], 1), (["coordination.lock": "postgres"], 0), (["coordination.lock": "file"], 0)])
  func `a server without a lock of ours is warned of`(given: [String: String], count: Int) {
    let report = DjangoReport.sample(
      database: ["ENGINE": "django.db.backends.mysql", "NAME": "app"], cache: DjangoReport.redis)
    let found = DjangoImport(report, given: given)
    #expect(found["coordination.lock"] == nil)
    #expect(found.notes.count == count)
    #expect(found.notes.allSatisfy { "\($0)".contains("each run the infrastructure phase") })
  }

  @Test func `databases beside default are named, not migrated`() {
    var report = DjangoReport.sample()
    report.databases.append(PythonValue.Entry(key: "replica", value: DjangoReport.postgres))
    let found = DjangoImport(report)
    #expect(found["framework.databases"] == "[default]")
    #expect(found.unmapped.contains { $0.name == "DATABASES" && $0.reason.hasSuffix("replica") })
    #expect(
      DjangoImport(report, given: ["framework.databases": "[default]"]).unmapped.allSatisfy {
        $0.name != "DATABASES"
      })
    #expect(DjangoImport(.sample(database: [:]))["framework.databases"] == "[]")
  }

  @Test func `what could not be read is said`() {
    var report = DjangoReport.sample()
    report.skipped = [DjangoReport.Skipped(name: "LITEFS", reason: "ValueError: \u{1B}[2J")]
    #expect(DjangoImport(report).unmapped.last?.reason == "it could not be read: ValueError: \\u{1b}[2J")
  }
}
