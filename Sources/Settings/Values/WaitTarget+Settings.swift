extension WaitTarget {
  private static let examples = "write for instance tcp://db:5432, http://web:8000/health or file:/run/ready"

  /// Reads `tcp://h:p`, `http(s)://…`, `file:/p`, `sqlite:/p`, `postgres`, `redis`, or a URL of one of the two.
  init(settingsText text: String) throws(ValueProblem) {
    if text == "postgres" || text == "redis" {
      self = text == "postgres" ? .postgres(url: nil) : .redis(url: nil)
      return
    }
    guard let colon = text.firstIndex(of: ":") else {
      let word = text.lowercased()
      if ["postgresql", "pg", "database", "db"].contains(word) {
        throw ValueProblem("\(quoted(text)) cannot be waited for", "did you mean postgres?")
      }
      let near = nearest(to: word, among: ["postgres", "redis"]).map { "did you mean \($0)?" }
      throw ValueProblem(
        "\(quoted(text)) cannot be waited for",
        near ?? (text.hasPrefix("/") ? "write file:\(printable(text))" : Self.examples))
    }
    let scheme = text[..<colon].lowercased()
    let rest = text[text.index(after: colon)...]
    switch scheme {
    case "tcp": self = try Self.tcp(text, rest)
    case "http", "https": self = .http(try WaitURL(settingsText: text, isSecure: scheme == "https"))
    case "file": self = .file(path: try Self.path(text, rest, scheme: scheme))
    case "sqlite", "sqlite3": self = .sqlite(path: try Self.path(text, rest, scheme: "sqlite"))
    case "postgres", "postgresql":
      try ValueType.TextRule.postgresURL.check(text)
      self = .postgres(url: text)
    case "redis", "rediss":
      try ValueType.TextRule.redisURL.check(text)
      self = .redis(url: text)
    default:
      if !rest.hasPrefix("//"), rest.allSatisfy(\.isASCIIDigit), !rest.isEmpty {
        throw ValueProblem("\(quoted(text)) has no scheme", "write tcp://\(printable(text))")
      }
      let known = ["tcp", "http", "https", "file", "sqlite", "postgres", "postgresql", "redis", "rediss"]
      throw ValueProblem(
        "nothing is known about \(quoted(scheme)) targets",
        nearest(to: scheme, among: known).map { "did you mean \($0):?" } ?? Self.examples)
    }
  }

  private static func tcp(_ text: String, _ rest: Substring) throws(ValueProblem) -> WaitTarget {
    let example = "write for instance tcp://db:5432"
    guard rest.hasPrefix("//") else { throw ValueProblem("\(quoted(text)) has no '//'", example) }
    let target = rest.dropFirst(2)
    // Not quoted: there may be a password in it.
    if target.contains("@") { throw ValueProblem("a tcp target cannot have a user or password", example) }
    if target.contains("/") {
      throw ValueProblem("\(quoted(text)) has a path, and a tcp target has none", example)
    }
    let parts = try HostAndPort(target)
    let host = try parts.hostText(in: text, example: "tcp://db:5432")
    guard let port = try parts.portNumber(allowingZero: false) else {
      throw ValueProblem("\(quoted(text)) has no port", "write for instance \(printable(text)):5432")
    }
    return .tcp(host: host, port: port)
  }

  /// `/p`, `///p`, and `////p` as SQLAlchemy and dj-database-url write an absolute path.
  private static func path(
    _ text: String, _ rest: Substring, scheme: String
  ) throws(ValueProblem) -> String {
    let example = "write for instance \(scheme):/run/app/ready"
    guard !rest.utf8.contains(0) else { throw ValueProblem("has a NUL character", "remove the \\0") }
    let slashes = rest.prefix { $0 == "/" }.count
    guard slashes > 0 else { throw ValueProblem("\(quoted(text)) is not an absolute path", example) }
    guard slashes != 2 else {
      throw ValueProblem("\(quoted(text)) names a host, and the file must be on this one", example)
    }
    let path = "/" + rest.dropFirst(slashes)
    guard path != "/" else { throw ValueProblem("\(quoted(text)) has no path", example) }
    return path
  }
}

extension WaitURL {
  init(settingsText text: String, isSecure: Bool) throws(ValueProblem) {
    let example = "http://web:8000/health"
    let prefix = isSecure ? "https://" : "http://"
    guard text.lowercased().hasPrefix(prefix) else {
      throw ValueProblem("\(quoted(text)) is not a URL", "write for instance \(example)")
    }
    // Anything outside printable ASCII would break the request line, or smuggle another one in.
    guard text.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), text.utf8.count <= 2000 else {
      throw ValueProblem(
        "the URL \(quoted(text)) has a space or a character outside ASCII, or is too long",
        "escape it as in %20")
    }
    let rest = text.dropFirst(prefix.count)
    let authority = rest.prefix { $0 != "/" && $0 != "?" && $0 != "#" }
    let path = rest.dropFirst(authority.count)
    if path.contains("#") { throw ValueProblem("a URL to wait for cannot have a '#' part", "remove it") }
    if authority.contains("@") {
      throw ValueProblem(
        "a URL to wait for cannot have a user or password", "let its path answer without")
    }
    let parts = try HostAndPort(authority)
    host = try parts.hostText(in: text, example: example)
    port = try parts.portNumber(allowingZero: false) ?? (isSecure ? 443 : 80)
    self.isSecure = isSecure
    self.authority = String(authority)
    self.path = path.first == "/" ? String(path) : "/" + path
  }
}
