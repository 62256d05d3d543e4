import Settings

// Lock and readiness: CACHES and DATABASES.

extension DjangoImport {
  mutating func coordination() {
    let database = report.databases.first { $0.key == "default" }?.value
    let engine = database?["ENGINE"]?.text ?? ""
    let isServer = !engine.isEmpty && !engine.hasSuffix(".dummy") && !Self.isSQLite(engine)
    if isServer, let database { server(engine, database) }

    let alias: String
    switch report.setting("AUTOINIT_CACHE_ALIAS") {
    case nil, PythonValue.none?: alias = "default"
    case .text(let name)?: alias = name
    case let value?:
      refuse("AUTOINIT_CACHE_ALIAS", "\(value.shown) is not a text", "name one of CACHES")
      return
    }
    let name = "CACHES[\"\(Printable.text(alias))\"]"
    guard let cache = report.caches.first(where: { $0.key == alias })?.value else {
      if wantsCache {
        let others = report.caches.map { Printable.text($0.key) }.joined(separator: ", ")
        refuse(
          "AUTOINIT_CACHE_ALIAS", "there is no \(name)",
          others.isEmpty ? "add it, or set coordination.readiness" : "it can be \(others)")
      }
      return
    }
    let backend = cache["BACKEND"]?.text ?? ""
    guard Self.isRedis(backend) else {
      readinessWithoutRedis(name, backend: backend, isServer: isServer)
      return
    }
    redis(name, cache)
  }

  /// Whether the project expects release readiness in its cache, and nothing else was decided.
  private var wantsCache: Bool {
    report.hasApp("autoinit") && context.given["coordination.readiness"] == nil
  }

  private mutating func readinessWithoutRedis(_ name: String, backend: String, isServer: Bool) {
    let kind = backend.split(separator: ".").last.map { Printable.text(String($0)) } ?? "nothing"
    if isServer, wantsCache {
      let isLocal = ["LocMemCache", "DummyCache"].contains(kind)
      refuse(
        name,
        "release readiness cannot be in \(kind)"
          + (isLocal ? ", which no other process sees" : ", only in Redis"),
        "set coordination.readiness: postgres, or file where the nodes share state_dir; or give the project a Redis cache"
      )
    } else {
      let lock = context.given["coordination.lock"] ?? values.last { $0.path == "coordination.lock" }?.text
      let place = lock == "postgres" ? "in PostgreSQL, as the lock" : "in files in state_dir"
      leave(name, "\(kind) holds no release readiness; it is \(place)")
    }
  }

  static func isSQLite(_ engine: String) -> Bool {
    engine == "django.db.backends.sqlite3" || isLiteFS(engine) || engine.hasSuffix(".spatialite")
  }

  /// The backend of django-litefs, by both of its names.
  static func isLiteFS(_ engine: String) -> Bool {
    engine.hasPrefix("litefs_django.") || engine.hasPrefix("django_litefs.")
  }

  private static func isRedis(_ backend: String) -> Bool {
    backend == "django.core.cache.backends.redis.RedisCache" || backend.hasPrefix("django_redis.")
  }

  // MARK: Redis

  private mutating func redis(_ name: String, _ cache: PythonValue) {
    guard let url = redisURL(name, cache) else { return }
    if report.hasApp("autoinit") {
      set("coordination.readiness", "redis", name)
    } else {
      leave(name, "readiness is where the lock is; for Redis set coordination.readiness: redis")
    }
    set("coordination.redis.url", url, "\(name)[\"LOCATION\"]")
    // django-autoinit's key is Django's own prefix and version, ours, and the run ID; the Redis backend of ours puts
    // nothing before it, so the whole of it is the prefix.
    let suffix = ":{run_id}"
    if let key = report.redisKey, key.hasSuffix(suffix) {
      let prefix = String(decoding: Array(key.utf8).dropLast(suffix.utf8.count), as: UTF8.self)
      set("coordination.readiness_key_prefix", prefix, "AUTOINIT_READINESS_KEY_PREFIX")
      if let own = report.redisRunKey, own.key != "\(prefix):\(own.runID)" { readinessKey = own }
    } else if let own = report.redisRunKey {
      readinessKey = own
    } else if report.redisKey != nil {
      leave(
        "\(name)[\"KEY_FUNCTION\"]",
        "its keys do not end in the run ID: at each start the project is asked for the key of its release")
    }
  }

  /// The first server of LOCATION, which is the one that is written to.
  private mutating func redisURL(_ name: String, _ cache: PythonValue) -> String? {
    let place = "\(name)[\"LOCATION\"]"
    if let client = cache["OPTIONS"]?["CLIENT_CLASS"]?.text, client != "django_redis.client.DefaultClient" {
      leave(
        name, "its client (\(Printable.text(client))) does not talk to one server; set coordination.redis.url"
      )
      return nil
    }
    let first: String?
    switch cache["LOCATION"] {
    case .text(let text)?:
      first = text.split(whereSeparator: { $0 == ";" || $0 == "," }).first.map(String.init)
    case .list(let items)?: first = items.first?.text
    default: first = nil
    }
    guard var url = first?.trimmingSpaces, !url.isEmpty else {
      refuse(place, "it names no server", "write for instance redis://redis:6379/1")
      return nil
    }
    guard url.hasPrefix("redis://") || url.hasPrefix("rediss://") else {
      let scheme = url.split(separator: ":").first.map(String.init) ?? url
      leave(place, "\(Printable.text(scheme)): is not redis:// or rediss://; set coordination.redis.url")
      return nil
    }
    let options = cache["OPTIONS"]
    func option(_ key: String) -> PythonValue? {
      [options?[key], options?[key.uppercased()]].compactMap { $0 }.first { !$0.isNothing }
    }
    if case .integer(let number)? = option("db") { url = Self.url(url, database: number) }
    if let password = option("password")?.text {
      url = Self.url(url, user: option("username")?.text ?? "", password: password)
    }
    return url
  }

  /// The URL with another database in its path.
  private static func url(_ url: String, database: Int) -> String {
    let parts = split(url)
    return parts.scheme + parts.user + parts.host + "/\(database)" + parts.query
  }

  /// The URL with this user and password, unless it has its own.
  private static func url(_ url: String, user: String, password: String) -> String {
    let parts = split(url)
    guard parts.user.isEmpty else { return url }
    return parts.scheme + percentEncoded(user) + ":" + percentEncoded(password) + "@" + parts.host
      + parts.path
      + parts.query
  }

  /// `scheme://`, `user:password@`, `host:port`, `/path`, `?query`.
  private static func split(
    _ url: String
  ) -> (scheme: String, user: String, host: String, path: String, query: String) {
    let bytes = Array(url.utf8)
    let start = (bytes.indices.first { bytes[$0...].starts(with: "://".utf8) } ?? -3) + 3
    let question = bytes[start...].firstIndex(of: UInt8(ascii: "?")) ?? bytes.count
    let slash = bytes[start..<question].firstIndex(of: UInt8(ascii: "/")) ?? question
    let host = bytes[start..<slash].lastIndex(of: UInt8(ascii: "@")).map { $0 + 1 } ?? start
    func text(_ range: Range<Int>) -> String { String(decoding: bytes[range], as: UTF8.self) }
    return (
      text(0..<start), text(start..<host), text(host..<slash), text(slash..<question),
      text(question..<bytes.count)
    )
  }

  private static func percentEncoded(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var result: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."),
        UInt8(ascii: "~"):
        result.append(byte)
      default: result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}

extension String {
  /// Without spaces at its ends.
  var trimmingSpaces: String {
    var part = self[...]
    while let first = part.unicodeScalars.first, first.value <= 0x20 { part = part.dropFirst() }
    while let last = part.unicodeScalars.last, last.value <= 0x20 { part = part.dropLast() }
    return String(part)
  }
}
