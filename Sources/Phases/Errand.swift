/// What is done about one step of a complete phase while the app runs.
public struct Errand: Equatable, Sendable {
  /// Why.
  public enum Reason: Equatable, Sendable {
    /// Its check has failed here: it is not done any more (`recheck`).
    case checkFailed
    /// It was done too long ago (`every`).
    case due
  }

  /// Which step of the phase.
  public var step: Int
  /// Why.
  public var reason: Reason

  /// An errand.
  public init(step: Int, reason: Reason) {
    self.step = step
    self.reason = reason
  }

  /// Whether a step that was done at this time, or never, is to be repeated.
  static func isDue(doneAt: UInt64?, every interval: Duration?, at wall: UInt64) -> Bool {
    guard let interval else { return false }
    guard let doneAt else { return true }
    let age = Duration.nanoseconds(Int64(clamping: wall.subtractingOrZero(doneAt)))
    // A time that lies further ahead than the interval is no time at all: the clock was set back.
    let ahead = Duration.nanoseconds(Int64(clamping: doneAt.subtractingOrZero(wall)))
    return age >= interval || ahead > interval
  }
}
