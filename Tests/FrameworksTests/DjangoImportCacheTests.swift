import Testing

@testable import Frameworks

/// The kept report.
struct DjangoImportCacheTests {
  static let key = DjangoImportCache.Key(runID: "r 1", directory: "/app", python: "python")
  static let environment = [
    ("HOME", "/root"), ("AUTOINIT_X", "1"), ("OTHER", "a"), ("HOSTNAME", "c1"), ("PATH", "/bin"),
  ]
  static let state = DjangoReport.FileStamp.State(modifiedAt: 123, size: 45)

  static func cache(
    runID: String = "r 1", isDevelopment: Bool = false, text: String = ResultTests.report
  ) throws -> DjangoImportCache? {
    let bytes = Array(text.utf8)
    var key = key
    key.runID = runID
    return DjangoImportCache(
      key: key, isDevelopment: isDevelopment, reportBytes: bytes,
      report: try DjangoReport.decode(bytes, ending: ""),
      environment: environment)
  }

  static func stamp(_ path: String) -> DjangoReport.FileStamp.State? {
    path == "/app/manage.py" ? state : nil
  }

  @Test func `what is written is what is read, and good`() throws {
    let cache = try #require(try Self.cache())
    let read = try DjangoImportCache.decode(cache.encoded(), runID: "r 1")
    #expect(read == cache)
    #expect(read.staleBecause(key: Self.key, environment: Self.environment, stamp: Self.stamp) == nil)
    #expect(read.report.installedApps == ["autoinit"])
  }

  @Test(
    arguments: [
      ("HOME", "/home", true), ("AUTOINIT_X", "2", true), ("AUTOINIT_NEW", "1", true),
      ("LITEFS_NODE_ID", "n", true),
      ("DJANGO_SETTINGS_MODULE", "x", true), ("PYTHONPATH", "x", true), ("VIRTUAL_ENV", "x", true),
      ("OTHER", "b", false), ("HOSTNAME", "c2", false), ("NEW", "x", false),
    ])
  func `a variable that counts makes it stale`(name: String, value: String, isStale: Bool) throws {
    let cache = try #require(try Self.cache())
    let changed = Self.environment.filter { $0.0 != name } + [(name, value)]
    let reason = cache.staleBecause(key: Self.key, environment: changed, stamp: Self.stamp)
    #expect(reason == (isStale ? "the variable \(name) changed" : nil))
  }

  @Test(arguments: ["HOME", "AUTOINIT_X"])
  func `a variable that is gone makes it stale`(name: String) throws {
    let cache = try #require(try Self.cache())
    #expect(
      cache.staleBecause(
        key: Self.key, environment: Self.environment.filter { $0.0 != name }, stamp: Self.stamp)
        == "the variable \(name) changed")
  }

  @Test func `files that changed, went or came make it stale`() throws {
    let cache = try #require(try Self.cache())
    func reason(_ stamp: (String) -> DjangoReport.FileStamp.State?) -> String? {
      cache.staleBecause(key: Self.key, environment: Self.environment, stamp: stamp)
    }
    #expect(reason { _ in nil } == "/app/manage.py changed")
    #expect(reason { _ in Self.state } == "/app/.env changed")
    #expect(
      reason { $0 == "/app/manage.py" ? .init(modifiedAt: 124, size: 45) : nil } == "/app/manage.py changed")
    #expect(
      reason { $0 == "/app/manage.py" ? .init(modifiedAt: 123, size: 46) : nil } == "/app/manage.py changed")
  }

  @Test func `another run ID, place, interpreter or module is another project`() throws {
    let cache = try #require(try Self.cache())
    for change in [
      { (key: inout DjangoImportCache.Key) in key.runID = "r2" }, { $0.directory = "/x" },
      { $0.python = "/p" },
      { $0.settingsModule = "x" },
    ] {
      var key = Self.key
      change(&key)
      #expect(cache.staleBecause(key: key, environment: Self.environment, stamp: Self.stamp) != nil)
      #expect(key.fileName != Self.key.fileName)
    }
  }

  @Test func `nothing is kept under a development run ID, nor what must not be`() throws {
    #expect(try Self.cache(isDevelopment: true) == nil)
    #expect(try Self.cache(runID: "") == nil)
    let endless = ResultTests.report.replacing("variable HOME", with: "uncacheable too%20many")
    #expect(try Self.cache(text: endless) == nil)
  }

  @Test func `one cut short anywhere, or with a byte changed, is none`() throws {
    let bytes = try #require(try Self.cache()).encoded()
    for length in 0..<bytes.count {
      #expect(throws: DjangoImportCache.Damage.self, "cut at \(length)") {
        try DjangoImportCache.decode(Array(bytes.prefix(length)), runID: "r 1")
      }
    }
    let whole = try DjangoImportCache.decode(bytes, runID: "r 1")
    for index in bytes.indices {
      var broken = bytes
      broken[index] ^= 1
      let read = try? DjangoImportCache.decode(broken, runID: "r 1")
      // A flipped bit may make another key or variable, which then does not match; never another report.
      #expect(read == nil || read?.report == whole.report)
      #expect(
        read == nil
          || read?.staleBecause(key: Self.key, environment: Self.environment, stamp: Self.stamp) != nil,
        "byte \(index)")
    }
    #expect(throws: DjangoImportCache.Damage.malformed) {
      try DjangoImportCache.decode(bytes + [10], runID: "r 1")
    }
  }

  @Test(
    arguments: [
      ("supervisor-django-import 3\nx\n", .future), ("", .malformed), ("\u{7F}ELF\n", .malformed),
      ("supervisor-release 1\n", .malformed),
      ("supervisor-django-import 2\nkey r2 /app python -\n", .foreign),
      ("supervisor-django-import 2\nkey r%201 /app\n", .malformed),
    ] as [(String, DjangoImportCache.Damage)])
  func `what is no cache of ours says why`(text: String, damage: DjangoImportCache.Damage) {
    #expect(throws: damage) { try DjangoImportCache.decode(Array(text.utf8), runID: "r 1") }
  }

  @Test(arguments: ["../../x", "a/b", "a\nb", String(repeating: "x", count: 300), "日本語"])
  func `a run ID never becomes a path`(runID: String) {
    var key = Self.key
    key.runID = runID
    #expect(key.fileName.utf8.count == 46)
    #expect(key.fileName.utf8.allSatisfy { $0 != 0x2F && $0 > 0x20 && $0 < 0x7F })
  }
}
