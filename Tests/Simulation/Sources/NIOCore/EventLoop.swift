// As much of SwiftNIO as the agent's part in lock and record needs, in simulated time.

/// What runs one agent's closures, one after the other.
public protocol EventLoop: AnyObject {
  /// Runs `task` so much later, unless that is cancelled before.
  func schedule(in nanoseconds: Int64, _ task: @escaping () -> Void) -> Scheduled<Void>
}

extension EventLoop {
  /// The same loop: everything here runs on it.
  public func assumeIsolated() -> IsolatedEventLoop { IsolatedEventLoop(loop: self) }
}

/// A loop as those see it who run on it.
public struct IsolatedEventLoop {
  let loop: any EventLoop

  /// Runs `task` so much later.
  @discardableResult
  public func scheduleTask(in time: TimeAmount, _ task: @escaping () -> Void) -> Scheduled<Void> {
    loop.schedule(in: time.nanoseconds, task)
  }
}

/// A length of time.
public struct TimeAmount: Sendable {
  /// So long.
  public var nanoseconds: Int64

  /// So many nanoseconds.
  public static func nanoseconds(_ count: Int64) -> TimeAmount { TimeAmount(nanoseconds: count) }
  /// So many milliseconds.
  public static func milliseconds(_ count: Int64) -> TimeAmount { TimeAmount(nanoseconds: count * 1_000_000) }
  /// So many seconds.
  public static func seconds(_ count: Int64) -> TimeAmount { TimeAmount(nanoseconds: count * 1_000_000_000) }
}

/// Something that is still to run.
public final class Scheduled<Value> {
  /// Whether it will not.
  public private(set) var isCancelled = false

  /// Something.
  public init() {}

  /// It will not.
  public func cancel() { isCancelled = true }
}
