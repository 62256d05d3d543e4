/// What an HTTP check asks for, and where.
public struct HTTPCheckTarget: Hashable, Sendable, CustomStringConvertible {
  /// Where to connect to.
  public let endpoint: CheckEndpoint
  /// The request target: a path with its query, starting with `/`.
  public let path: String
  /// The value of the Host header; a server that knows its own names only (Django's ALLOWED_HOSTS) looks at it.
  public let hostHeader: String

  /// A target from its parts. `path` and `hostHeader` go into the request as they are: printable ASCII without
  /// blanks, which is what the settings let through.
  public init(endpoint: CheckEndpoint, path: String, hostHeader: String) {
    self.endpoint = endpoint
    self.path = path
    self.hostHeader = hostHeader
  }

  /// The URL.
  public var description: String { "http://\(endpoint)\(path)" }
}
