/// What a probe looks at. Its parts are those of a settings' target, already taken apart.
public enum ProbeTarget: Hashable, Sendable, CustomStringConvertible {
  /// A name that has to resolve to an address.
  case dns(host: String)
  /// A TCP port that has to take a connection.
  case tcp(host: String, port: UInt16)
  /// A URL that has to answer a GET with a status from 200 to 399. `path` has the query and starts with `/`.
  case http(isSecure: Bool, host: String, port: UInt16, path: String)
  /// A file or directory that has to be there.
  case file(path: String)
  /// An SQLite database that has to open and answer.
  case sqlite(path: String)
  /// A PostgreSQL server that has to take connections and answer. The connection string is libpq's, a URL or
  /// `key=value` pairs, and may have a password; empty: libpq's own environment and files.
  case postgres(connection: String)
  /// A Redis server that has to answer. The URL may have a password.
  case redis(url: String)

  /// As in the settings: `tcp://db:5432`, `https://example.org/health`, `file:/run/ready`.
  public var description: String {
    switch self {
    case .dns(let host): "dns:\(host)"
    case .tcp(let host, let port): "tcp://\(Self.bracketed(host)):\(port)"
    case .http(let isSecure, let host, let port, let path):
      "\(isSecure ? "https" : "http")://\(Self.authority(host, port, isSecure: isSecure))\(path)"
    case .file(let path): "file:\(path)"
    case .sqlite(let path): "sqlite:\(path)"
    case .postgres(let connection): Self.withoutSecrets(connection) ?? "postgres"
    case .redis(let url): Self.withoutSecrets(url) ?? "redis"
    }
  }

  /// Scheme, host and path of a URL; nil for what is none, and where it is not plain where a password ends.
  private static func withoutSecrets(_ url: String) -> String? {
    let bytes = Array(url.utf8)
    guard let colon = bytes.firstIndex(of: UInt8(ascii: ":")), bytes[colon...].starts(with: "://".utf8)
    else { return nil }
    let rest = bytes[(colon + 3)...]
    let query = rest.firstIndex(of: UInt8(ascii: "?")) ?? bytes.count
    var start = rest.startIndex
    if let at = rest.firstIndex(of: UInt8(ascii: "@")) {
      guard at < query, !rest[(at + 1)...].contains(UInt8(ascii: "@")) else { return nil }
      start = at + 1
    }
    return String(decoding: bytes[..<(colon + 3)] + bytes[start..<query], as: UTF8.self)
  }

  /// Host and port as they stand in a URL and in the Host header: without the port that is the scheme's own.
  public static func authority(_ host: String, _ port: UInt16, isSecure: Bool) -> String {
    port == (isSecure ? 443 : 80) ? bracketed(host) : "\(bracketed(host)):\(port)"
  }

  /// A host as it stands before a port: an IPv6 address has brackets.
  public static func bracketed(_ host: String) -> String {
    host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
  }
}

/// How a probe ended. Each text is one sentence without a full stop: what, where, and why.
public enum ProbeOutcome: Hashable, Sendable {
  /// What was waited for is there.
  case ready(String)
  /// Not yet: it is worth trying again.
  case notYet(String)
  /// It answered, and no further try will change what it said.
  case refused(String)

  /// The sentence.
  public var text: String {
    switch self {
    case .ready(let text), .notYet(let text), .refused(let text): text
    }
  }
}

extension ProbeTarget {
  private enum Field {
    static let method: UInt8 = 16
    static let host: UInt8 = 17
    static let port: UInt8 = 18
    static let path: UInt8 = 19
    static let connection: UInt8 = 20
  }

  func write(to fields: inout FieldWriter) {
    switch self {
    case .dns(let host):
      fields.write("dns", as: Field.method)
      fields.write(host, as: Field.host)
    case .tcp(let host, let port):
      fields.write("tcp", as: Field.method)
      fields.write(host, as: Field.host)
      fields.write(UInt64(port), as: Field.port)
    case .http(let isSecure, let host, let port, let path):
      fields.write(isSecure ? "https" : "http", as: Field.method)
      fields.write(host, as: Field.host)
      fields.write(UInt64(port), as: Field.port)
      fields.write(path, as: Field.path)
    case .file(let path):
      fields.write("file", as: Field.method)
      fields.write(path, as: Field.path)
    case .sqlite(let path):
      fields.write("sqlite", as: Field.method)
      fields.write(path, as: Field.path)
    case .postgres(let connection):
      fields.write("postgres", as: Field.method)
      fields.write(connection, as: Field.connection)
    case .redis(let url):
      fields.write("redis", as: Field.method)
      fields.write(url, as: Field.connection)
    }
  }

  /// The target in the fields; nil for a method that this program does not know.
  static func read(_ fields: FieldReader) throws(FrameError) -> ProbeTarget? {
    switch try fields.text(Field.method) {
    case "dns": return .dns(host: try fields.text(Field.host))
    case "tcp": return .tcp(host: try fields.text(Field.host), port: try fields.port(Field.port))
    case "http": return try http(fields, isSecure: false)
    case "https": return try http(fields, isSecure: true)
    case "file": return .file(path: try fields.text(Field.path))
    case "sqlite": return .sqlite(path: try fields.text(Field.path))
    case "postgres": return .postgres(connection: try fields.text(Field.connection))
    case "redis": return .redis(url: try fields.text(Field.connection))
    default: return nil
    }
  }

  static func method(_ fields: FieldReader) throws(FrameError) -> String { try fields.text(Field.method) }

  private static func http(_ fields: FieldReader, isSecure: Bool) throws(FrameError) -> ProbeTarget {
    .http(
      isSecure: isSecure, host: try fields.text(Field.host), port: try fields.port(Field.port),
      path: try fields.text(Field.path))
  }
}
