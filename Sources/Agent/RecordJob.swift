import EventLoop
import PostgreSQLDriver

/// Something to be done in the tables, on whichever connection there is; tried until it works, fails for good, or has
/// taken too long.
final class RecordJob {
  /// The request's number; nil when it is none's.
  let id: UInt64?
  /// Whether the connection of a lock that waits will do: only for what reads.
  let mayBorrow: Bool
  /// When it counts as failed; nil when it is tried as long as it takes.
  let deadline: MonotonicInstant?
  /// Does it once, and says whether it worked. It must do no harm to do it twice.
  let run: (PostgreSQLConnection, @escaping (PostgreSQLFailure?) -> Void) -> Void
  /// A try that failed will be repeated.
  let isUnavailable: (PostgreSQLFailure) -> Void
  /// It is given up.
  let fail: (PostgreSQLFailure) -> Void

  var told = ToldFailure()
  var lastFailure: PostgreSQLFailure?
  /// Whether its tables were looked for again, since they were not there.
  var isSecondLook = false

  init(
    id: UInt64? = nil, mayBorrow: Bool = false, patience: Duration? = nil,
    run: @escaping (PostgreSQLConnection, @escaping (PostgreSQLFailure?) -> Void) -> Void,
    isUnavailable: @escaping (PostgreSQLFailure) -> Void = { _ in },
    fail: @escaping (PostgreSQLFailure) -> Void
  ) {
    self.id = id
    self.mayBorrow = mayBorrow
    deadline = patience.map { .now + $0 }
    self.run = run
    self.isUnavailable = isUnavailable
    self.fail = fail
  }
}
