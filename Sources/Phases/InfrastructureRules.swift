/// How the infrastructure phase waits, tries again and runs its steps.
public struct InfrastructureRules: Sendable, Equatable {
  /// Of waiting without progress; nil: without end. Zero: one look, one try.
  public var timeout: Duration? = .seconds(300)
  /// Of waiting at all; nil: without end.
  public var maximumWait: Duration?
  /// How often a waiter looks at the record by itself.
  public var pollInterval: Duration = .seconds(1)
  /// Pause after a failed try, doubled with each further one, at most 5 minutes; nil: none.
  public var retryAfter: Duration? = .seconds(10)
  /// Pause after the last holder of the lock has vanished, for what it ran to end.
  public var takeoverDelay: Duration = .seconds(3)
  /// Steps at a time.
  public var parallelism = 1
  /// Whether a failed step stops those that run.
  public var stopsOnFailure = false
  /// Never takes the lock: only waits for another to complete the phase.
  public var onlyWaits = false
  /// Whether a lost lock is waited for again, once what ran under it has ended; else it ends the phase.
  public var startsOver = false
  /// Whether what a step's command ran in a server may outlive it, so that it is ended before anything else begins.
  public var endsRemains = false
  /// Where lock and record are, for messages.
  public var place = "file backend"

  /// The defaults.
  public init() {}

  /// The pause after so many failures in a row.
  func pause(after failures: Int) -> Duration {
    guard let retryAfter, failures > 0 else { return .zero }
    return min(retryAfter * (1 << min(failures - 1, 16)), max(retryAfter, .seconds(300)))
  }
}
