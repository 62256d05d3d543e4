import EventLoop
import Glibc

// The product's own sources that are compiled in here ask for the time, and for chance, as they always do. What is
// declared in this module is what they get: the simulation's.

/// The world that acts now, on this thread.
struct Present: @unchecked Sendable {
  // Never shared between threads: one simulation runs on one.
  let world: World

  @TaskLocal static var current: Present?
}

extension MonotonicInstant {
  /// The simulation's time; outside of all simulations the machine's.
  static var now: MonotonicInstant {
    if let present = Present.current { return present.world.now }
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return MonotonicInstant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
  }
}

extension Double {
  static func random(in range: ClosedRange<Double>) -> Double {
    guard let world = Present.current?.world else { return range.lowerBound }
    return range.lowerBound + (range.upperBound - range.lowerBound) * Double(world.random.number(0...1000))
      / 1000
  }
}

extension UInt64 {
  /// Whatever it is asked for: only for seeds.
  public static func random(in range: ClosedRange<UInt64>) -> UInt64 {
    Present.current?.world.random.next() ?? 0
  }
}

/// How much a line matters; nobody reads them here.
enum LogLevel: Sendable {
  case debug
  case info
  case warning
  case error
}
