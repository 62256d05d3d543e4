import CLinux
import EventLoop

/// A moment on the calendar's clock, which may jump: for showing to people, never for measuring.
public struct WallTime: Hashable, Comparable, Sendable {
  /// Nanoseconds since 1970-01-01T00:00:00Z.
  public var nanoseconds: UInt64

  /// A moment `nanoseconds` after the start of 1970.
  public init(nanoseconds: UInt64) {
    self.nanoseconds = nanoseconds
  }

  /// The present, read from the kernel.
  public static var now: WallTime {
    WallTime(nanoseconds: clinux_realtime_ns())
  }

  /// Earlier moments come first.
  public static func < (left: WallTime, right: WallTime) -> Bool {
    left.nanoseconds < right.nanoseconds
  }

  /// Whole seconds since 1970.
  public var seconds: UInt64 { nanoseconds / 1_000_000_000 }
}

/// One moment on both clocks: the calendar's for people, the monotonic one for measuring.
public struct Moment: Hashable, Sendable {
  /// What the calendar said.
  public var wall: WallTime
  /// What the clock that never jumps said.
  public var monotonic: MonotonicInstant

  /// A moment with its two readings.
  public init(wall: WallTime, monotonic: MonotonicInstant) {
    self.wall = wall
    self.monotonic = monotonic
  }

  /// The present, read from the kernel.
  public static var now: Moment { Moment(wall: .now, monotonic: .now) }
}
