/// The durable record of one run ID's infrastructure phase, as the tables hold it: claim, ledger, failure, readiness.
///
/// All times are Unix nanoseconds on the server's clock, which keeps microseconds.
public struct StoredRelease: Sendable, Equatable {
  /// Who has begun the phase.
  public struct Claim: Sendable, Equatable {
    /// Node and process.
    public var owner: String
    /// Counts the tries of this run ID: a later one is always greater, and supersedes the earlier ones.
    public var attempt: Int
    /// When it began. The server sets it with the first write of an attempt.
    public var startedAt: UInt64
    /// When its owner wrote last. The server sets it with each write.
    public var heartbeat: UInt64
    /// The steps under way.
    public var running: [Running]

    /// A claim.
    public init(
      owner: String, attempt: Int, startedAt: UInt64 = 0, heartbeat: UInt64 = 0, running: [Running] = []
    ) {
      self.owner = owner
      self.attempt = attempt
      self.startedAt = startedAt
      self.heartbeat = heartbeat
      self.running = running
    }
  }

  /// A step that is under way.
  public struct Running: Sendable, Equatable {
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
  public struct Entry: Sendable, Equatable {
    /// Its name.
    public var step: String
    /// Of its definition.
    public var hash: String
    /// When it was done.
    public var doneAt: UInt64
    /// What it gave to later steps, in its order.
    public var outputs: [Output]

    /// An entry.
    public init(step: String, hash: String, doneAt: UInt64, outputs: [Output] = []) {
      self.step = step
      self.hash = hash
      self.doneAt = doneAt
      self.outputs = outputs
    }
  }

  /// A variable that a step gives to later ones.
  public struct Output: Sendable, Equatable {
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

  /// A part of the work of a step that is not done yet.
  public struct Part: Sendable, Equatable {
    /// The step.
    public var step: String
    /// Of its definition.
    public var hash: String
    /// What is done of it.
    public var name: String

    /// A part.
    public init(step: String, hash: String, name: String) {
      self.step = step
      self.hash = hash
      self.name = name
    }
  }

  /// How the last try failed.
  public struct Failure: Sendable, Equatable {
    /// How many tries have failed since the last success.
    public var count: Int
    /// Which try.
    public var attempt: Int
    /// The step.
    public var step: String
    /// One sentence.
    public var reason: String
    /// When. The server sets it with the first write that tells of it.
    public var failedAt: UInt64

    /// A failure.
    public init(count: Int, attempt: Int, step: String, reason: String, failedAt: UInt64 = 0) {
      self.count = count
      self.attempt = attempt
      self.step = step
      self.reason = reason
      self.failedAt = failedAt
    }
  }

  /// The last claim; nil before the first.
  public var claim: Claim?
  /// The ledger, in the order in which the steps were done.
  public var entries: [Entry] = []
  /// What is done of steps that are not. The parts of one step are together when they are read.
  public var parts: [Part] = []
  /// The last failure; nil after a success.
  public var failure: Failure?
  /// When the phase was complete: release readiness.
  public var completedAt: UInt64?
  /// Who declared the release ready by hand.
  public var declaredBy: String?

  /// An empty record.
  public init() {}
}

/// What a look at the tables found.
public struct ReleaseSnapshot: Sendable, Equatable {
  /// The record; nil when there is none.
  public var release: StoredRelease?
  /// The server's time then: ages are told from it, and from no node's clock.
  public var now: UInt64
}

/// The server's clock as this node knows it. A node's own may be hours off; records of several nodes need one.
public struct ServerClock: Sendable, Equatable {
  /// What has to be added to this node's time, in nanoseconds.
  public private(set) var offset: Int64 = 0

  /// A clock that is not known yet, and is taken for this node's.
  public init() {}

  /// Takes the time of an answer that has just come. It is late by the way of the answer.
  public mutating func learn(server: UInt64, local: UInt64) {
    offset = Int64(clamping: server) &- Int64(clamping: local)
  }

  /// The server's time at this time of ours.
  public func time(local: UInt64) -> UInt64 {
    UInt64(clamping: Int64(clamping: local).addingReportingOverflow(offset).partialValue)
  }
}
