import CLinux
import EventLoop
import Glibc

/// What handlers did, in order.
final class Log {
  var entries: [String] = []

  func add(_ entry: String) { entries.append(entry) }
}

/// A seeded generator, so that a failure can be replayed.
struct Random {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return state >> 33
  }

  mutating func below(_ bound: UInt64) -> UInt64 { bound == 0 ? 0 : next() % bound }
}

/// A pair of connected descriptors whose ends are closed with it.
final class Pipe {
  private(set) var reading: CInt
  private(set) var writing: CInt

  init() {
    // A socket pair, since Swift's Glibc has no pipe2: other tests spawn, and must not hand the ends on.
    var ends: [CInt] = [-1, -1]
    let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
    guard socketpair(AF_UNIX, CInt(type), 0, &ends) == 0 else {
      preconditionFailure("no pair: errno \(errno)")
    }
    reading = ends[0]
    writing = ends[1]
  }

  deinit {
    if reading >= 0 { close(reading) }
    if writing >= 0 { close(writing) }
  }

  func put() { _ = clinux_write(writing, [1], 1) }

  func take() {
    var bytes = [UInt8](repeating: 0, count: 16)
    _ = clinux_read(reading, &bytes, bytes.count)
  }

  func closeReading() {
    close(reading)
    reading = -1
  }

  func closeWriting() {
    close(writing)
    writing = -1
  }
}

/// Turns the loop until `condition` holds; false when it does not within half a minute.
func turn(_ loop: EventLoop, until condition: () -> Bool) -> Bool {
  let end = MonotonicInstant.now + .seconds(30)
  let guardTimer = loop.schedule(at: end) {}
  defer { loop.cancel(guardTimer) }
  while !condition() {
    if MonotonicInstant.now >= end { return false }
    loop.turn(waiting: true)
  }
  return true
}
