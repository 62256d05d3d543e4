import EventLoop

extension Snapshot {
  /// How a process ended.
  public enum Exit: Hashable, Sendable, CustomStringConvertible {
    /// By itself, with this code.
    case code(CInt)
    /// By a signal.
    case signal(Signal)

    /// `exit 3`, `signal KILL`.
    public var description: String {
      switch self {
      case .code(let code): "exit \(code)"
      case .signal(let signal): "signal \(signal)"
      }
    }
  }

  /// Whether a process answers its check.
  public struct Health: Sendable, Equatable {
    /// The verdict.
    public enum State: String, CaseIterable, Sendable {
      /// There is no check.
      case none
      /// The check has not told yet.
      case unknown
      /// The check passes.
      case healthy
      /// The check fails.
      case unhealthy
    }

    /// The verdict.
    public var state: State
    /// Why; nil when there is nothing to say.
    public var reason: String?
    /// Since when; nil without a check.
    public var since: Moment?

    /// A verdict with its reason.
    public init(_ state: State, reason: String? = nil, since: Moment? = nil) {
      self.state = state
      self.reason = reason
      self.since = since
    }
  }

  /// The app or a service.
  public struct Process: Sendable, Equatable {
    /// What it is.
    public enum Kind: String, CaseIterable, Sendable {
      /// The main process.
      case app
      /// Any other.
      case service
    }

    /// Where it is in its life.
    public enum State: String, CaseIterable, Sendable {
      /// Not asked to run.
      case idle
      /// Will start when something else is there.
      case waiting
      /// Being spawned.
      case starting
      /// Alive.
      case running
      /// Told to stop.
      case stopping
      /// Ended, and will be started again.
      case backingOff = "backing_off"
      /// Ended as it was meant to.
      case stopped
      /// Ended, and given up.
      case failed
    }

    /// Its name: `app`, or the service's.
    public var name: String
    /// What it is.
    public var kind: Kind
    /// Where it is in its life.
    public var state: State
    /// Why it is there (whom it waits for, what failed); nil when there is nothing to say.
    public var reason: String?
    /// The process ID; nil while there is none.
    public var pid: CInt?
    /// Counts the spawns from 1; 0: never spawned.
    public var incarnation: Int
    /// When the present (or last) incarnation started.
    public var startedAt: Moment?
    /// How often it was started again by itself.
    public var restarts: Int
    /// How the last incarnation ended.
    public var lastExit: Exit?
    /// When the next one starts, while backing off.
    public var nextStartAt: MonotonicInstant?
    /// Whether it answers its check.
    public var health: Health

    /// A process that was never started, to be filled by its owner.
    public init(
      name: String, kind: Kind, state: State, reason: String? = nil, pid: CInt? = nil, incarnation: Int = 0,
      startedAt: Moment? = nil, restarts: Int = 0, lastExit: Exit? = nil,
      nextStartAt: MonotonicInstant? = nil,
      health: Health = Health(.none)
    ) {
      self.name = name
      self.kind = kind
      self.state = state
      self.reason = reason
      self.pid = pid
      self.incarnation = incarnation
      self.startedAt = startedAt
      self.restarts = restarts
      self.lastExit = lastExit
      self.nextStartAt = nextStartAt
      self.health = health
    }
  }
}
