/// The durable record of one run ID's infrastructure phase, wherever it is kept: claim, ledger, failure, readiness.
///
/// All times are Unix nanoseconds, on the clock of whatever keeps the record: this machine's, or the server's, which keeps
/// microseconds.
public struct ReleaseRecord: Equatable, Sendable {
  /// Who has begun the phase.
  public struct Claim: Equatable, Sendable {
    /// Node and process.
    public var owner: String
    /// Counts the tries of this run ID: a later one is always greater, and supersedes the earlier ones.
    public var attempt: Int
    /// When it began.
    public var startedAt: UInt64
    /// Renewed while the owner works.
    public var heartbeat: UInt64
    /// The steps that were begun and have neither been recorded done nor given up.
    public var running: [Running]

    /// A claim.
    public init(
      owner: String, attempt: Int, startedAt: UInt64, heartbeat: UInt64, running: [Running] = []
    ) {
      self.owner = owner
      self.attempt = attempt
      self.startedAt = startedAt
      self.heartbeat = heartbeat
      self.running = running
    }
  }

  /// A step that is under way.
  public struct Running: Equatable, Sendable {
    /// Its name.
    public var step: String
    /// When it was begun.
    public var startedAt: UInt64
    /// When its present try must be over; nil when it has no timeout.
    public var deadline: UInt64?

    /// A step that is under way.
    public init(step: String, startedAt: UInt64, deadline: UInt64? = nil) {
      self.step = step
      self.startedAt = startedAt
      self.deadline = deadline
    }
  }

  /// A step that is done.
  public struct Entry: Equatable, Sendable {
    /// Its name.
    public var step: String
    /// Of its definition: a changed step is a new step.
    public var hash: String
    /// When it was done.
    public var doneAt: UInt64
    /// What it gave to later steps, in its order.
    public var outputs: [StepOutput]

    /// An entry.
    public init(step: String, hash: String, doneAt: UInt64, outputs: [StepOutput] = []) {
      self.step = step
      self.hash = hash
      self.doneAt = doneAt
      self.outputs = outputs
    }
  }

  /// A part of the work of a step that is not done yet: the next try of the step goes on behind it.
  public struct Part: Equatable, Sendable {
    /// The step.
    public var step: String
    /// Of its definition, as in `Entry`.
    public var hash: String
    /// What is done of it, in its own words: a hook's name.
    public var name: String

    /// A part.
    public init(step: String, hash: String, name: String) {
      self.step = step
      self.hash = hash
      self.name = name
    }
  }

  /// How the last try failed.
  public struct Failure: Equatable, Sendable {
    /// How many tries have failed since the last success; the pause before the next one grows with it.
    public var count: Int
    /// Which try.
    public var attempt: Int
    /// The step.
    public var step: String
    /// One sentence.
    public var reason: String
    /// When.
    public var failedAt: UInt64

    /// A failure.
    public init(count: Int, attempt: Int, step: String, reason: String, failedAt: UInt64) {
      self.count = count
      self.attempt = attempt
      self.step = step
      self.reason = reason
      self.failedAt = failedAt
    }
  }

  /// The run ID, unescaped.
  public var runID: String
  /// The last claim; nil before the first.
  public var claim: Claim?
  /// The ledger, in the order in which the steps were done.
  public var entries: [Entry] = []
  /// What is done of steps that are not.
  public var parts: [Part] = []
  /// The last failure; nil after a success.
  public var failure: Failure?
  /// When the phase was complete: release readiness.
  public var completedAt: UInt64?
  /// Who declared the release ready by hand, so that there is no ledger for it; nil when the phase did.
  public var declaredBy: String?
  /// Whether readiness is only said by a cache that others may write to, and has no ledger. Never recorded.
  public var isHearsay = false

  /// An empty record.
  public init(runID: String) {
    self.runID = runID
  }
}

/// A variable that a step gives to later ones by way of `$SUPERVISOR_OUTPUT`.
public struct StepOutput: Equatable, Sendable {
  /// Its name.
  public var key: String
  /// Its value.
  public var value: String

  /// A variable.
  public init(key: String, value: String) {
    self.key = key
    self.value = value
  }
}
