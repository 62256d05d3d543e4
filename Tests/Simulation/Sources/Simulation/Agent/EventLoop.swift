import EventLoop

/// A timer of PID 1's.
final class TimerID {
  fileprivate(set) var isCancelled = false
}

/// PID 1's loop, as what performs lock and record uses it.
final class EventLoop {
  private unowned let life: Life

  init(_ life: Life) {
    self.life = life
  }

  func schedule(after delay: Duration, _ body: @escaping () -> Void) -> TimerID {
    let timer = TimerID()
    life.deliver(after: delay) { if !timer.isCancelled { body() } }
    return timer
  }

  func cancel(_ timer: TimerID) { timer.isCancelled = true }
}

/// The time by which a release's record is kept: see the product's `ReleaseClock`.
final class ReleaseClock: @unchecked Sendable {
  // Never shared between threads: one simulation runs on one.
  private var offset: Int64 = 0
  private let local: NodeClock
  private unowned let life: World
  private let node: Int

  init(_ world: World, node: Int, local: NodeClock) {
    life = world
    self.node = node
    self.local = local
  }

  func learn(server: UInt64) {
    guard server > 0 else { return }
    offset = Int64(clamping: server) - Int64(clamping: life.wallClock(of: node))
  }

  var now: UInt64 { UInt64(clamping: Int64(clamping: local.now) + offset) }
}
