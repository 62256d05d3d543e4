import Testing

@testable import EventLoop

struct TimeTests {
  @Test(
    arguments: [
      (100, Duration.nanoseconds(20), UInt64(120)),
      (100, .nanoseconds(-20), 80),
      (100, .nanoseconds(-100), 0),
      (100, .nanoseconds(-101), 0),
      (100, .seconds(-1_000_000_000_000), 0),
      (.max - 5, .nanoseconds(5), .max),
      (.max - 5, .nanoseconds(6), .max),
      (.max, .zero, .max),
      (0, .nanoseconds(Int64.max), UInt64(Int64.max)),
      (0, .seconds(Int64.max), UInt64(Int64.max)),
      (.max, .seconds(Int64.max), .max),
      (0, .nanoseconds(Int64.min), 0),
      (.max, .seconds(Int64.min), .max - UInt64(Int64.max) - 1),
    ] as [(UInt64, Duration, UInt64)])
  func `an instant saturates instead of overflowing`(start: UInt64, delta: Duration, expected: UInt64) {
    #expect((MonotonicInstant(nanoseconds: start) + delta).nanoseconds == expected)
  }

  @Test(
    arguments: [
      (5, 3, Duration.nanoseconds(2)),
      (3, 5, .nanoseconds(-2)),
      (7, 7, .zero),
      (.max, 0, .nanoseconds(Int64.max)),
      (0, .max, .nanoseconds(-Int64.max)),
    ] as [(UInt64, UInt64, Duration)])
  func `the difference of two instants has a sign and saturates`(
    left: UInt64, right: UInt64, expected: Duration
  ) {
    #expect(MonotonicInstant(nanoseconds: left) - MonotonicInstant(nanoseconds: right) == expected)
  }

  @Test func `instants are ordered and the present moves on`() {
    let first = MonotonicInstant.now
    let second = MonotonicInstant.now
    #expect(first <= second)
    #expect(first.nanoseconds > 0)
    #expect(MonotonicInstant(nanoseconds: 1) < MonotonicInstant(nanoseconds: 2))
  }

  @Test(
    arguments: [
      (.seconds(1), 1_000_000_000), (.milliseconds(-1500), -1_500_000_000), (.zero, 0),
      (.seconds(Int64.max), .max), (.seconds(Int64.min), .min),
      (.nanoseconds(Int64.max), .max), (.nanoseconds(Int64.max) + .nanoseconds(1), .max),
      (.nanoseconds(Int64.min), .min), (.nanoseconds(Int64.min) - .nanoseconds(1), .min),
      (Duration(secondsComponent: 0, attosecondsComponent: 999_999_999), 0),
    ] as [(Duration, Int64)])
  func `a duration in nanoseconds is cut to 64 bits`(duration: Duration, expected: Int64) {
    #expect(duration.wholeNanoseconds == expected)
  }

  @Test(
    arguments: [
      (.zero, "0s"), (.nanoseconds(999), "0us"), (.microseconds(1), "1us"), (.microseconds(999), "999us"),
      (.milliseconds(1), "1ms"), (.milliseconds(350), "350ms"), (.nanoseconds(999_999_999), "999ms"),
      (.seconds(1), "1s"), (.milliseconds(1200), "1.2s"), (.milliseconds(1040), "1s"),
      (.milliseconds(59_999), "59.9s"), (.seconds(60), "1m"), (.seconds(150), "2m30s"),
      (.milliseconds(90_900), "1m30s"), (.seconds(3599), "59m59s"), (.seconds(3600), "1h"),
      (.seconds(3659), "1h"), (.seconds(5400), "1h30m"), (.seconds(86400), "24h"),
      (.milliseconds(-350), "-350ms"), (.seconds(-90), "-1m30s"),
      (.nanoseconds(Int64.max), "2562047h47m"), (.seconds(Int64.max), "2562047h47m"),
      (.nanoseconds(Int64.min), "-2562047h47m"),
    ] as [(Duration, String)])
  func `a duration reads as people say it`(duration: Duration, expected: String) {
    #expect(duration.readable == expected)
  }
}
