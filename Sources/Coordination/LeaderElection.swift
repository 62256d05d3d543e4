import EventLoop

/// Who is the primary where there is no LiteFS: whoever holds the leader lock. This node's part in it, as decisions.
///
/// It performs nothing. Its owner takes the lock, says when it is gone, and ends what only the primary may run before it
/// releases the lock.
public struct LeaderElection: Sendable {
  /// What happens to it.
  public enum Event: Sendable, Equatable {
    /// Take part.
    case begin
    /// Another node has the lock; its name.
    case lockBusy(holder: String)
    /// The lock is ours; `leftBy` names a holder that vanished without giving it back, else it is empty.
    case lockHeld(leftBy: String)
    /// The lock cannot be taken: one sentence.
    case lockFailed(String)
    /// The server that has the lock cannot be used now, and is tried again: one sentence.
    case lockUnavailable(String)
    /// The lock, or what waited for it, is gone.
    case lockLost
    /// The time of the last `schedule` has come.
    case timer
    /// Take part no more.
    case end
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Take the lock, waiting for it; answer with `lockBusy` (for each holder that is seen), then `lockHeld` or
    /// `lockFailed`.
    case lock
    /// Give the lock back, or stop waiting for it.
    case release
    /// Let the lock go as one who vanishes: what the last holder ran may still run, and the next one must wait too.
    case abandon
    /// Feed `timer` at this time; replaces an earlier wish.
    case schedule(MonotonicInstant)
    /// No timer is wanted any more.
    case unschedule
    /// This node is the primary from now on.
    case won
    /// It is not any more, and another may be one at any moment.
    case lost
    /// Worth a line in the log.
    case note(String)
  }

  private enum State: Sendable, Equatable {
    case idle
    case waiting
    /// The last holder vanished: what it ran has this long to end.
    case takingOver
    case leading
    /// Something went wrong with the lock: a pause before it is asked for again.
    case pausing
    case ended
  }

  /// From a failure to the next try, at first; doubled by each further one.
  static let firstPause = Duration.seconds(1)
  /// The longest pause.
  static let longestPause = Duration.seconds(30)

  private let takeoverDelay: Duration
  private var state = State.idle
  private var pause = LeaderElection.firstPause
  private var lastProblem = ""
  /// Whom the lock belongs to, as far as we know; empty when nobody's or our own.
  public private(set) var holder = ""

  /// This node's part, not begun.
  /// - Parameter takeoverDelay: after the last holder has vanished.
  public init(takeoverDelay: Duration) {
    self.takeoverDelay = takeoverDelay
  }

  /// Whether this node is the primary.
  public var isLeading: Bool { state == .leading }

  /// Whether it takes part.
  public var isActive: Bool { state != .idle && state != .ended }

  /// The next step.
  public mutating func handle(_ event: Event, at now: MonotonicInstant) -> [Effect] {
    switch (event, state) {
    case (.begin, .idle): return ask()
    case (.lockBusy(let name), .waiting):
      let next = name.isEmpty ? "another process" : name
      guard next != holder else { return [] }
      holder = next
      return [.note("\(holder) is the primary")]
    case (.lockUnavailable(let reason), .waiting):
      holder = ""
      guard reason != lastProblem else { return [] }
      lastProblem = reason
      return [.note("the leader lock: \(reason)")]
    case (.lockHeld(let leftBy), .waiting):
      holder = ""
      guard !leftBy.isEmpty, takeoverDelay > .zero else { return lead() }
      state = .takingOver
      return [
        .note(
          "\(leftBy) was the primary and vanished: waiting \(takeoverDelay.readable) for what it ran to end "
            + "(coordination.takeover_delay)"),
        .schedule(now + takeoverDelay),
      ]
    case (.lockHeld, _): return [.release]
    case (.timer, .takingOver): return lead()
    case (.timer, .pausing): return ask()
    case (.lockFailed(let reason), .waiting): return rest("the leader lock: \(reason)", at: now)
    case (.lockLost, .waiting), (.lockLost, .takingOver):
      return rest("the process that waits for the leader lock has ended", at: now)
    case (.lockLost, .leading):
      return [.lost] + rest("the leader lock was lost", at: now)
    case (.end, .idle):
      state = .ended
      return []
    case (.end, .takingOver):
      state = .ended
      return [.unschedule, .abandon]
    case (.end, .waiting), (.end, .leading), (.end, .pausing):
      state = .ended
      holder = ""
      return [.unschedule, .release]
    default: return []
    }
  }

  private mutating func ask() -> [Effect] {
    state = .waiting
    return [.lock]
  }

  private mutating func lead() -> [Effect] {
    state = .leading
    pause = LeaderElection.firstPause
    lastProblem = ""
    return [.unschedule, .won]
  }

  private mutating func rest(_ problem: String, at now: MonotonicInstant) -> [Effect] {
    state = .pausing
    holder = ""
    // The same problem every half minute is one line.
    let line: [Effect] =
      problem == lastProblem ? [] : [.note("\(problem); trying again in \(pause.readable)")]
    lastProblem = problem
    let deadline = now + pause
    pause = min(pause * 2, LeaderElection.longestPause)
    return line + [.release, .schedule(deadline)]
  }
}
