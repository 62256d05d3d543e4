/// Why Redis could not be used: a reason that programs act on, and a text for people that never has a password.
public struct RedisFailure: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong. The first group stays wrong until a person does something, the second may pass.
  public enum Cause: Sendable, Equatable, CaseIterable {
    /// The URL cannot be understood.
    case settings
    /// User or password.
    case credentials
    /// TLS: a certificate that is not believed, or an encryption that one side refuses.
    case certificate
    /// The user may not do it (NOPERM), or nobody from here (DENIED).
    case privilege
    /// There is no such database number.
    case database
    /// Something else than ours is stored under the key.
    case strangersValue
    /// It is a node of a cluster, and the key is another node's (MOVED, ASK).
    case clusterMoved
    /// What answers is no Redis.
    case noRedis
    /// The server rejects the command.
    case statement

    /// Nobody listens, or the name is unknown.
    case unreachable
    /// The server reads its data (LOADING), waits for its primary (MASTERDOWN) or for its cluster (CLUSTERDOWN).
    case loading
    /// It is a replica, and takes no writes (READONLY); after a failover the name leads to another one.
    case readOnly
    /// No answer within the time.
    case noAnswer
    /// The connection broke.
    case lost
    /// Memory, disk or connections are used up (OOM, MISCONF, maxclients).
    case resources
    /// A script runs, and does not let anybody else (BUSY, TRYAGAIN).
    case busy
  }

  /// What is wrong.
  public var cause: Cause
  /// One sentence, without the final stop.
  public var text: String

  /// A failure.
  public init(_ cause: Cause, _ text: String) {
    self.cause = cause
    self.text = text
  }

  /// Whether trying again is of no use until a person has done something.
  public var isPermanent: Bool {
    switch cause {
    case .settings, .credentials, .certificate, .privilege, .database, .strangersValue, .clusterMoved,
      .noRedis, .statement:
      return true
    case .unreachable, .loading, .readOnly, .noAnswer, .lost, .resources, .busy: return false
    }
  }

  /// The text.
  public var description: String { text }
}

extension RedisFailure {
  /// What an error reply means. Its first word is a code only since that was invented: older errors, and some of
  /// today's, are `ERR` and a sentence (https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors).
  static func refused(_ reply: String, by target: RedisTarget) -> RedisFailure {
    let words = reply.split(separator: " ", maxSplits: 1)
    let code = words.first.map(String.init) ?? ""
    let cause = Self.cause(code: code, reply)
    // What a server of ours says is for people; a stranger's may be anything.
    var said = PrintableText.of(target.masked(reply).utf8, limit: 200)
    if said.hasSuffix(".") { said.removeLast() }
    if said.isEmpty { said = "an error without a word" }
    return RedisFailure(cause, "\(target): \(Self.explanation(code, cause, reply, target))\(said)")
  }

  private static func cause(code: String, _ reply: String) -> Cause {
    switch code {
    case "NOAUTH", "WRONGPASS": return .credentials
    case "NOPERM", "DENIED": return .privilege
    case "WRONGTYPE": return .strangersValue
    case "MOVED", "ASK": return .clusterMoved
    case "LOADING", "MASTERDOWN", "CLUSTERDOWN": return .loading
    case "READONLY": return .readOnly
    case "OOM", "MISCONF", "NOREPLICAS": return .resources
    case "BUSY", "TRYAGAIN": return .busy
    default: break
    }
    let texts: [(String, Cause)] = [
      ("max number of clients", .resources), ("DB index", .database), ("SELECT is not allowed", .database),
      ("invalid password", .credentials), ("no password is set", .credentials),
      ("without any password configured", .credentials), ("'auth' command", .credentials),
    ]
    return texts.first { reply.contains($0.0) }?.1 ?? .statement
  }

  /// What the server's own words do not say.
  private static func explanation(
    _ code: String, _ cause: Cause, _ reply: String, _ target: RedisTarget
  ) -> String {
    switch cause {
    case .credentials where code == "NOAUTH": "it wants a password, and the URL has none: "
    case .credentials where reply.contains("no password is set") || reply.contains("without any password"):
      "it has no password, and the URL has one: "
    case .credentials where reply.contains("'auth' command"):
      "it is older than Redis 6 and knows no users, and the URL has one: "
    case .credentials: "the user or the password is wrong: "
    case .database: "it has no database \(target.database): "
    case .clusterMoved:
      "it is a node of a cluster, and the key is kept by another node, whose address the URL has to have: "
    case .readOnly: "it is a replica; the URL has to lead to the primary: "
    default: ""
    }
  }
}
