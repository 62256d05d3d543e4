extension Snapshot {
  /// The infrastructure or the node phase.
  public struct Phase: Sendable, Equatable {
    /// Where a phase is.
    public enum State: String, CaseIterable, Sendable {
      /// Not begun.
      case pending
      /// For a lock, or for another node that runs it.
      case waiting
      /// Its steps run here.
      case running
      /// Complete, here or elsewhere.
      case done
      /// Given up.
      case failed
      /// Nothing to do.
      case skipped
    }

    /// `infrastructure`, `node`.
    public var name: String
    /// Where it is.
    public var state: State
    /// Why; nil when there is nothing to say.
    public var reason: String?
    /// Whom it waits for; nil when for nobody.
    public var waitingFor: String?
    /// When the present state began.
    public var since: Moment?
    /// Its steps, in the file's order.
    public var steps: [Step]

    /// A phase with its steps.
    public init(
      name: String, state: State, reason: String? = nil, waitingFor: String? = nil, since: Moment? = nil,
      steps: [Step] = []
    ) {
      self.name = name
      self.state = state
      self.reason = reason
      self.waitingFor = waitingFor
      self.since = since
      self.steps = steps
    }
  }

  /// One step of a phase.
  public struct Step: Sendable, Equatable {
    /// Where a step is.
    public enum State: String, CaseIterable, Sendable {
      /// Not begun.
      case pending
      /// Its command or check runs.
      case running
      /// Complete.
      case done
      /// Given up.
      case failed
      /// Done before, or not needed.
      case skipped
      /// Stopped before its end.
      case interrupted
      /// Another failed, or we stopped, before it began.
      case notStarted = "not_started"
      /// Its rollback runs.
      case undoing = "rolling_back"
      /// Was done, and has been rolled back.
      case undone = "rolled_back"
      /// Its rollback failed.
      case undoFailed = "rollback_failed"
    }

    /// Its name.
    public var name: String
    /// Where it is.
    public var state: State
    /// How often its command was started by this supervisor.
    public var attempts: Int
    /// How long the last attempt took, or has taken so far; nil before the first.
    public var duration: Duration?
    /// How the last attempt ended.
    public var exit: Exit?
    /// Why it is in this state; nil when there is nothing to say.
    public var reason: String?

    /// A step with its state.
    public init(
      name: String, state: State, attempts: Int = 0, duration: Duration? = nil, exit: Exit? = nil,
      reason: String? = nil
    ) {
      self.name = name
      self.state = state
      self.attempts = attempts
      self.duration = duration
      self.exit = exit
      self.reason = reason
    }
  }
}
