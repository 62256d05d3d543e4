import AgentProtocol
import EventLoop
import PostgreSQLDriver

extension CoordinationFailure {
  /// What PID 1 makes of a failure of PostgreSQL's.
  init(_ failure: PostgreSQLFailure) {
    let kind: Kind
    switch failure.cause {
    case .settings: kind = .settings
    case .privilege: kind = .permission
    case .superseded: kind = .superseded
    case .tables: kind = .damaged
    case .credentials, .certificate, .database, .statement: kind = .refused
    case .unreachable, .startingUp, .standby, .tooManyConnections, .shutDown, .lost, .noAnswer, .cancelled,
      .busy, .resources:
      kind = .unavailable
    }
    self.init(kind, failure.text)
  }
}

/// What has been said of a server that cannot be used: what is new is said at once, the same again now and then.
struct ToldFailure {
  private static let interval = Duration.seconds(2)

  private var text = ""
  private var at: MonotonicInstant?

  /// Whether this is to be said now.
  mutating func isDue(_ failure: PostgreSQLFailure, at now: MonotonicInstant) -> Bool {
    if failure.text == text, let at, now - at < Self.interval { return false }
    text = failure.text
    at = now
    return true
  }
}
