import CLinux

/// A moment on a clock that never jumps and stands still while the machine is suspended (CLOCK_MONOTONIC).
///
/// Every decision takes it as an input, so tests and simulations can make their own time.
public struct MonotonicInstant: Hashable, Comparable, Sendable {
  /// Nanoseconds since an arbitrary start.
  public var nanoseconds: UInt64

  /// An instant at `nanoseconds` after the clock's own start.
  public init(nanoseconds: UInt64) {
    self.nanoseconds = nanoseconds
  }

  /// The present, read from the kernel.
  public static var now: MonotonicInstant {
    MonotonicInstant(nanoseconds: clinux_monotonic_ns())
  }

  /// Earlier instants come first.
  public static func < (left: MonotonicInstant, right: MonotonicInstant) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// The instant `duration` later; saturates instead of overflowing.
  public static func + (instant: MonotonicInstant, duration: Duration) -> MonotonicInstant {
    let delta = duration.wholeNanoseconds
    if delta < 0 {
      let back = delta.magnitude
      return MonotonicInstant(nanoseconds: back > instant.nanoseconds ? 0 : instant.nanoseconds - back)
    }
    let (sum, overflow) = instant.nanoseconds.addingReportingOverflow(UInt64(delta))
    return MonotonicInstant(nanoseconds: overflow ? .max : sum)
  }

  /// How much later `left` is than `right`; negative when it is earlier.
  public static func - (left: MonotonicInstant, right: MonotonicInstant) -> Duration {
    left.nanoseconds >= right.nanoseconds
      ? .nanoseconds(Int64(clamping: left.nanoseconds - right.nanoseconds))
      : .zero - .nanoseconds(Int64(clamping: right.nanoseconds - left.nanoseconds))
  }
}

extension Duration {
  /// This duration in whole nanoseconds, cut to what 64 bits hold (292 years).
  public var wholeNanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    guard !overflow else { return seconds < 0 ? .min : .max }
    let (sum, carry) = scaled.addingReportingOverflow(attoseconds / 1_000_000_000)
    return carry ? (seconds < 0 ? .min : .max) : sum
  }

  /// This duration as people read it: `1.2s`, `350ms`, `2m30s`.
  public var readable: String {
    let nanoseconds = wholeNanoseconds
    if nanoseconds < 0 { return "-" + (.zero - self).readable }
    if nanoseconds == 0 { return "0s" }
    if nanoseconds < 1_000_000 { return "\(nanoseconds / 1000)us" }
    if nanoseconds < 1_000_000_000 { return "\(nanoseconds / 1_000_000)ms" }
    let seconds = nanoseconds / 1_000_000_000
    if seconds < 60 {
      let tenth = nanoseconds % 1_000_000_000 / 100_000_000
      return tenth == 0 ? "\(seconds)s" : "\(seconds).\(tenth)s"
    }
    if seconds < 3600 { return seconds % 60 == 0 ? "\(seconds / 60)m" : "\(seconds / 60)m\(seconds % 60)s" }
    let minutes = seconds % 3600 / 60
    return minutes == 0 ? "\(seconds / 3600)h" : "\(seconds / 3600)h\(minutes)m"
  }
}
