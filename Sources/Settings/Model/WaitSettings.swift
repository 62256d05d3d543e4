/// What can be waited for. Hosts are text, names included: whoever waits resolves them.
public enum WaitTarget: Sendable, Equatable {
  /// A TCP connection is accepted. The host has no brackets; the port is 1 to 65535.
  case tcp(host: String, port: UInt16)
  /// A GET is answered with a status from 200 to 399.
  case http(WaitURL)
  /// A file exists; the path is absolute.
  case file(path: String)
  /// An SQLite database can be opened and read; the path is absolute.
  case sqlite(path: String)
  /// A PostgreSQL server takes connections: of this URL or connection string, which may contain a password. nil stands
  /// for `coordination.postgres`, and, in loaded settings, for a `coordination.postgres` without a URL: libpq's own
  /// environment and files.
  case postgres(url: String?)
  /// A Redis server answers: of this URL, which may contain a password. nil stands for `coordination.redis`; loaded
  /// settings have none.
  case redis(url: String?)
}

/// The parts of an http or https URL. Made by the settings' parser only: `authority` and `path` are printable
/// ASCII without blanks, so they can stand in a request as they are.
public struct WaitURL: Sendable, Equatable {
  /// Whether the scheme is https.
  public let isSecure: Bool
  /// A name or an address, without brackets.
  public let host: String
  /// The port, 1 to 65535; 80 or 443 when the URL has none.
  public let port: UInt16
  /// The value of the Host header: host and port as in the URL.
  public let authority: String
  /// The path with its query, starting with `/`.
  public let path: String
}

/// One entry of a `wait_for`.
public struct WaitSettings: Sendable, Equatable {
  /// What is waited for.
  public let target: WaitTarget
  /// How long at most; nil when it was not said: then the top-level `timeout` bounds a dependency, and a step's
  /// own `timeout` a step.
  public let timeout: Duration?
  /// The target for messages: as in the settings, passwords masked.
  public let text: String
}
