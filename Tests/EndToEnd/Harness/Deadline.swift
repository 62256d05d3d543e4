import Glibc

/// Monotonic time, in seconds. Only differences mean anything.
func monotonicNow() -> Double {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// A point in time after which waiting is a failure. It bounds failures only: no test passes by waiting.
struct Deadline {
  /// Generous, because two cores may run several builds besides.
  static let usual = 30.0

  private let end: Double

  init(in seconds: Double = Deadline.usual) {
    end = monotonicNow() + seconds
  }

  var hasPassed: Bool { monotonicNow() >= end }

  /// Milliseconds left, for poll(2); at least 0.
  var milliseconds: Int32 { Int32(max(0, min(1e9, ((end - monotonicNow()) * 1000).rounded(.up)))) }
}

/// Waits for a condition that the kernel announces to nobody (the state of somebody else's grandchild),
/// looking every 2 ms.
func eventually(
  _ what: String, within seconds: Double = Deadline.usual, _ condition: () throws -> Bool
) throws {
  let deadline = Deadline(in: seconds)
  while try !condition() {
    guard !deadline.hasPassed else { throw HarnessError("not within \(seconds) s: \(what)") }
    poll(nil, 0, 2)
  }
}
