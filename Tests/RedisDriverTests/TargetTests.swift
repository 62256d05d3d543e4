import Testing

@testable import RedisDriver

@Suite("Redis: URLs and failures")
struct TargetTests {
  private struct Expected {
    var place: RedisTarget.Place
    var isSecure = false
    var user: String?
    var password: String?
    var database = 0
    var certificateFile: String?
  }

  private static let targets: [(String, Expected)] = [
    ("redis://", Expected(place: .tcp(host: "localhost", port: 6379))),
    ("redis://cache", Expected(place: .tcp(host: "cache", port: 6379))),
    ("REDIS://cache/", Expected(place: .tcp(host: "cache", port: 6379))),
    ("redis://:pw@cache:1/3", Expected(place: .tcp(host: "cache", port: 1), password: "pw", database: 3)),
    ("redis://:@cache", Expected(place: .tcp(host: "cache", port: 6379))),
    ("redis://me@cache", Expected(place: .tcp(host: "cache", port: 6379), user: "me")),
    (
      "rediss://me:p%40%2f%3A%zz@cache:6380/0/",
      Expected(
        place: .tcp(host: "cache", port: 6380), isSecure: true, user: "me", password: "p@/:%zz")
    ),
    (
      "redis://me:a@b:c@cache",
      Expected(place: .tcp(host: "cache", port: 6379), user: "me", password: "a@b:c")
    ),
    ("redis://[::1]:7/2", Expected(place: .tcp(host: "::1", port: 7), database: 2)),
    ("redis://[fe80::1]", Expected(place: .tcp(host: "fe80::1", port: 6379))),
    (
      "redis://x:y@cache/1?db=4&username=u&password=w&socket_timeout=5#no",
      Expected(place: .tcp(host: "cache", port: 6379), user: "u", password: "w", database: 4)
    ),
    (
      "rediss://cache?ssl_ca_certs=/etc/a%20b.pem",
      Expected(place: .tcp(host: "cache", port: 6379), isSecure: true, certificateFile: "/etc/a b.pem")
    ),
    ("unix:///run/redis%20x.sock?db=2", Expected(place: .socket(path: "/run/redis x.sock"), database: 2)),
    (
      "unix://me:pw@/run/r.sock",
      Expected(place: .socket(path: "/run/r.sock"), user: "me", password: "pw")
    ),
    ("redis+socket:///run/r.sock?virtual_host=5", Expected(place: .socket(path: "/run/r.sock"), database: 5)),
  ]

  @Test("a URL is read as redis-py reads it", arguments: targets.indices)
  func urls(index: Int) throws {
    let (url, expected) = Self.targets[index]
    let target = try RedisTarget(url: url)
    #expect(target.place == expected.place && target.isSecure == expected.isSecure)
    #expect(target.user == expected.user && target.password == expected.password)
    #expect(target.database == expected.database && target.certificateFile == expected.certificateFile)
    #expect(target.clientName == "supervisor" && !"\(target)".contains("pw"))
  }

  @Test(
    "what is no URL is refused with the shape of one, and nothing of it is repeated",
    arguments: [
      "", "secret", "secret:6379", "http://secret", "redis:secret", "redis://:secret@cache:x",
      "redis://:secret@cache:0",
      "redis://:secret@cache:70000", "redis://:secret@cache:+1", "redis://:secret@cache/x",
      "redis://:secret@cache/-1",
      "redis://:secret@cache?db=secret", "redis://:12/secret@cache", "redis://:12?secret@cache",
      "redis://:12#secret@cache", "redis://::1:secret", "redis://[secret", "redis://[secret]",
      "redis://[::1]secret",
      "redis://:secret @cache", "redis://:secret@cache\n", "unix://", "unix:///", "unix://secret/run/r.sock",
      "redis://se%20cret", "redis://:secret@cache/99999999999",
    ])
  func refused(url: String) throws {
    let failure = try #require(throws: RedisFailure.self) { try RedisTarget(url: url) }
    #expect(failure.cause == .settings && failure.isPermanent)
    #expect(failure.text.contains("expected redis://USER:PASSWORD@HOST:PORT/DATABASE"))
    #expect(!failure.text.contains("secret"))
  }

  @Test("a path of a socket that the kernel cannot take is refused")
  func longPath() {
    #expect(throws: RedisFailure.self) {
      try RedisTarget(url: "unix:///" + String(repeating: "a", count: 107))
    }
    #expect(throws: Never.self) { try RedisTarget(url: "unix:///" + String(repeating: "a", count: 106)) }
  }

  private static let replies: [(String, RedisFailure.Cause, Bool)] = [
    ("NOAUTH Authentication required.", .credentials, true),
    ("WRONGPASS invalid username-password pair or user is disabled.", .credentials, true),
    ("ERR invalid password", .credentials, true),
    ("ERR Client sent AUTH, but no password is set", .credentials, true),
    (
      "ERR AUTH <password> called without any password configured for the default user. Are you sure?",
      .credentials,
      true
    ),
    ("ERR wrong number of arguments for 'auth' command", .credentials, true),
    ("NOPERM this user has no permissions to run the 'get' command", .privilege, true),
    ("DENIED Redis is running in protected mode", .privilege, true),
    ("ERR DB index is out of range", .database, true), ("ERR invalid DB index", .database, true),
    ("ERR SELECT is not allowed in cluster mode", .database, true),
    ("WRONGTYPE Operation against a key holding the wrong kind of value", .strangersValue, true),
    ("MOVED 3999 127.0.0.1:6381", .clusterMoved, true), ("ASK 3999 127.0.0.1:6381", .clusterMoved, true),
    ("ERR unknown command 'AUTH', with args beginning with: 'sesame'", .statement, true),
    ("", .statement, true),
    ("LOADING Redis is loading the dataset in memory", .loading, false),
    ("MASTERDOWN Link with MASTER is down", .loading, false),
    ("CLUSTERDOWN The cluster is down", .loading, false),
    ("READONLY You can't write against a read only replica.", .readOnly, false),
    ("OOM command not allowed when used memory > 'maxmemory'.", .resources, false),
    ("MISCONF Redis is configured to save RDB snapshots", .resources, false),
    ("NOREPLICAS Not enough good replicas to write.", .resources, false),
    ("ERR max number of clients reached", .resources, false),
    ("BUSY Redis is busy running a script.", .busy, false), ("TRYAGAIN Multiple keys request", .busy, false),
  ]

  @Test("a refusal is judged by its code, named with its server, and masked", arguments: replies.indices)
  func judged(index: Int) throws {
    let (reply, cause, isPermanent) = Self.replies[index]
    let failure = RedisFailure.refused(reply, by: try RedisTarget(url: "redis://me:sesame@cache/9"))
    #expect(failure.cause == cause && failure.isPermanent == isPermanent)
    #expect(failure.text.hasPrefix("Redis at cache:6379: ") && !failure.text.contains("sesame"))
    let said = reply.isEmpty ? "without a word" : reply.prefix(12)
    #expect(failure.text.contains(said) && !failure.text.hasSuffix("."))
  }

  @Test("what a server says is cut, and fit to be printed")
  func printable() throws {
    let target = try RedisTarget(url: "redis://cache")
    let text = RedisFailure.refused("ERR \u{1b}[31m" + String(repeating: "x", count: 5000), by: target).text
    #expect(text.count < 300 && text.contains("\\x1b[31m") && text.hasSuffix("…"))
  }

  @Test("pauses double from 0.1 s to 1 s, and a random half of each is left out")
  func backoff() {
    var backoff = Backoff()
    for longest in [100, 200, 400, 800, 1000, 1000] {
      let pause = backoff.next()
      #expect(pause >= .milliseconds(longest / 2) && pause <= .milliseconds(longest))
    }
    #expect(
      Set(
        (0..<50).map { _ in
          var one = Backoff(); return one.next()
        }
      ).count > 5)
  }
}
