import EventLoop

/// One total time for the whole stop, divided over what is stopped one after the other.
public enum StopBudget {
  /// Kept back at the end for strays, the last KILL and our own end: a tenth, at most 500 ms.
  public static func reserve(of total: Duration) -> Duration {
    min(total / 10, .milliseconds(500))
  }

  /// The share of the next process to stop.
  /// - Parameters:
  ///   - own: its own stop timeout.
  ///   - others: the stop timeouts of those that come after it.
  ///   - remaining: what is left for all of them.
  /// - Returns: at most `own`; in proportion when not all can have theirs.
  public static func share(own: Duration, others: [Duration], remaining: Duration) -> Duration {
    guard remaining > .zero else { return .zero }
    let total = others.reduce(own, +)
    if total <= remaining || total == .zero { return min(own, remaining) }
    let part = Double(own.wholeNanoseconds) / Double(total.wholeNanoseconds)
    return min(own, .nanoseconds(Int64(part * Double(remaining.wholeNanoseconds))))
  }
}
