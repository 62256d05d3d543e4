import Settings

// The lock: the database `default`.

extension DjangoImport {
  private static let name = "DATABASES[\"default\"]"

  /// A database that is a server's.
  mutating func server(_ engine: String, _ database: PythonValue) {
    let lock = context.given["coordination.lock"]
    guard Self.isPostgreSQL(engine) else {
      leave(Self.name, "\(Printable.text(engine)) has no backend for lock and ledger here")
      if lock == nil, report.hasApp("autoinit") {
        warn(
          Self.name,
          "the lock is in files in state_dir, since \(Printable.text(engine)) cannot have it here: containers that do not share it will each run the infrastructure phase",
          "share state_dir, or set coordination.lock: postgres with a PostgreSQL server")
      }
      return
    }
    if lock == "file" { return }
    if lock == nil, context.given["coordination.readiness"] == "file" {
      return leave(Self.name, "the lock is in files too, since coordination.readiness is")
    }
    guard context.given["coordination.postgres.url"] == nil else {
      return set("coordination.lock", "postgres", Self.name)
    }
    guard let connection = connection(database) else { return }
    set("coordination.lock", "postgres", Self.name)
    set("coordination.postgres.url", connection, Self.name)
  }

  /// Django's own, PostGIS, and those of libraries that lay themselves around it, as they call themselves.
  private static func isPostgreSQL(_ engine: String) -> Bool {
    engine.hasPrefix("django.db.backends.postgresql") || engine.hasSuffix(".postgis")
      || engine.hasSuffix(".postgresql") || engine.hasSuffix(".postgresql_backend")
      || engine == "psqlextra.backend"
  }

  /// What of OPTIONS libpq has known for long and needs to reach the server. Not: connect_timeout and keepalives, which
  /// are ours to choose; `options`, which is about the project's own sessions.
  private static let takenOptions: [String] = [
    "dbname", "user", "password", "host", "hostaddr", "port", "service", "passfile", "requirepeer", "sslmode",
    "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir", "sslsni",
    "ssl_min_protocol_version", "ssl_max_protocol_version", "channel_binding", "gssencmode", "krbsrvname",
  ]
  private static let files: Set<String> = [
    "passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslcrldir",
  ]

  /// A connection string of libpq's, as Django would connect: what stands beside OPTIONS goes before what is in it. nil
  /// when it cannot be known.
  private mutating func connection(_ database: PythonValue) -> String? {
    var parts: [(key: String, value: String)] = []
    func put(_ key: String, _ value: String) {
      parts.removeAll { $0.key == key }
      parts.append((key, value))
    }
    var hasService = false
    let options: [PythonValue.Entry]
    if case .map(let entries)? = database["OPTIONS"] { options = entries } else { options = [] }
    for entry in options where !entry.value.isNothing {
      guard Self.takenOptions.contains(entry.key), let text = Self.text(entry.value) else {
        leave(
          "\(Self.name)[\"OPTIONS\"]",
          "\(Printable.text(entry.key)) is not taken over; where lock and ledger need it, say it in coordination.postgres.url"
        )
        continue
      }
      if entry.key == "service" { hasService = true }
      let isRelative = Self.files.contains(entry.key) && !text.hasPrefix("/") && text != "system"
      put(entry.key, isRelative ? (report.directory == "/" ? "" : report.directory) + "/" + text : text)
    }
    for (key, name) in [
      ("dbname", "NAME"), ("user", "USER"), ("password", "PASSWORD"), ("host", "HOST"), ("port", "PORT"),
    ] {
      guard let value = database[name], !value.isNothing else { continue }
      guard let text = Self.text(value) else {
        refuse(
          "\(Self.name)[\"\(name)\"]", "it is not a text, and the lock is in this database",
          "set coordination.postgres.url or .url_file, or coordination.lock: file")
        return nil
      }
      put(key, text)
    }
    // Without a name Django connects to this one.
    if !hasService, !parts.contains(where: { $0.key == "dbname" }) { put("dbname", "postgres") }
    return parts.map { "\($0.key)=\(Self.quoted($0.value))" }.joined(separator: " ")
  }

  private static func text(_ value: PythonValue) -> String? {
    if case .integer(let number) = value { return String(number) }
    return value.text
  }

  /// https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-KEYWORD-VALUE
  private static func quoted(_ value: String) -> String {
    var result = "'"
    for scalar in value.unicodeScalars {
      if scalar == "'" || scalar == "\\" { result += "\\" }
      result.unicodeScalars.append(scalar)
    }
    return result + "'"
  }
}
