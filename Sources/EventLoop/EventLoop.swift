import CLinux
import Glibc

/// What a descriptor is watched for.
public struct Interest: OptionSet, Sendable {
  /// epoll's own bits.
  public let rawValue: UInt32

  /// Interest by epoll's bits.
  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Bytes, a connection or the end of the stream can be taken.
  public static let reading = Interest(rawValue: CLINUX_READABLE)
  /// Bytes can be given, or a connection attempt has ended.
  public static let writing = Interest(rawValue: CLINUX_WRITABLE)
}

/// What a descriptor is ready for.
public struct Readiness: OptionSet, Sendable {
  /// epoll's own bits.
  public let rawValue: UInt32

  /// Readiness by epoll's bits.
  public init(rawValue: UInt32) {
    self.rawValue = rawValue
  }

  /// Reading will not block.
  public static let readable = Readiness(rawValue: CLINUX_READABLE)
  /// Writing will not block.
  public static let writable = Readiness(rawValue: CLINUX_WRITABLE)
  /// The other end is gone, or the descriptor is broken; the next call on it says more.
  public static let closed = Readiness(rawValue: CLINUX_HANGUP | CLINUX_ERROR)
}

/// The one place where this program waits: descriptors, timers and signals on one thread.
///
/// Within one turn the order is fixed: signals first (so that a stop is known before the end of a child is looked
/// at), then descriptors in the kernel's order, then due timers. Handlers may add and remove anything at any time;
/// a handler that was removed is not called again, even in the same turn. Not safe to use from another thread.
public final class EventLoop {
  private struct Watch {
    var generation: UInt32
    var body: (Readiness) -> Void
  }

  private static let timerToken = UInt64.max
  private static let signalToken = UInt64.max - 1

  private let epoll: FileDescriptor
  /// -1 where timerfd is refused: the wait's own timeout serves then.
  private let timer: CInt
  private var armed: MonotonicInstant?
  private var watches: [CInt: Watch] = [:]
  private var generation: UInt32 = 0
  private var timers = TimerQueue()
  private var isRunning = false
  private var deferred: [() -> Void] = []

  private var signalDescriptor: CInt = -1
  private var signalsAreFromPipe = false
  private var onSignals: (([ReceivedSignal]) -> Void)?

  /// Which of the kernel's mechanisms this loop found usable.
  public struct Mechanisms: Sendable {
    /// timerfd, else the timeout of the wait.
    public var timerDescriptor: Bool
    /// signalfd, else handlers and a pipe.
    public var signalDescriptor: Bool
  }

  /// What this loop runs on; meaningful after `receiveSignals`.
  public var mechanisms: Mechanisms {
    Mechanisms(timerDescriptor: timer >= 0, signalDescriptor: signalDescriptor >= 0 && !signalsAreFromPipe)
  }

  /// A loop with nothing to watch.
  /// - Throws: when the kernel gives no epoll descriptor, without which nothing works.
  public init() throws(SystemError) {
    epoll = FileDescriptor(owning: try SystemError.check(clinux_epoll_create(), "create an epoll descriptor"))
    timer = max(clinux_timerfd_create(), -1)
    if timer >= 0 {
      let result = clinux_epoll_add(epoll.rawValue, timer, CLINUX_READABLE, EventLoop.timerToken)
      try SystemError.check(result, "watch the timer")
    }
  }

  deinit {
    if timer >= 0 { _ = clinux_close(timer) }
    if signalDescriptor >= 0 { _ = clinux_close(signalDescriptor) }
  }

  // MARK: Descriptors

  /// Calls `body` whenever `descriptor` is ready. The caller keeps the descriptor and must `unwatch` it before
  /// closing it.
  public func watch(
    _ descriptor: CInt, for interest: Interest, _ body: @escaping (Readiness) -> Void
  ) throws(SystemError) {
    generation &+= 1
    let token = EventLoop.token(descriptor, generation)
    let result = clinux_epoll_add(epoll.rawValue, descriptor, interest.rawValue, token)
    try SystemError.check(result, "watch descriptor", "\(descriptor)")
    watches[descriptor] = Watch(generation: generation, body: body)
  }

  /// Changes what a watched descriptor is watched for; an empty interest still reports a closed peer.
  public func setInterest(_ interest: Interest, of descriptor: CInt) {
    guard let watch = watches[descriptor] else { return }
    let token = EventLoop.token(descriptor, watch.generation)
    _ = clinux_epoll_modify(epoll.rawValue, descriptor, interest.rawValue, token)
  }

  /// Ends the watching of a descriptor; nothing happens when it was not watched.
  public func unwatch(_ descriptor: CInt) {
    guard watches.removeValue(forKey: descriptor) != nil else { return }
    _ = clinux_epoll_remove(epoll.rawValue, descriptor)
  }

  private static func token(_ descriptor: CInt, _ generation: UInt32) -> UInt64 {
    UInt64(generation) << 32 | UInt64(UInt32(bitPattern: descriptor))
  }

  // MARK: Time

  /// Calls `body` once, at `deadline` or as soon after it as the loop gets there.
  @discardableResult
  public func schedule(at deadline: MonotonicInstant, _ body: @escaping () -> Void) -> TimerID {
    timers.insert(at: deadline, body)
  }

  /// Calls `body` once, `delay` from now.
  @discardableResult
  public func schedule(after delay: Duration, _ body: @escaping () -> Void) -> TimerID {
    schedule(at: .now + delay, body)
  }

  /// Forgets a timer; nothing happens when it has already fired.
  public func cancel(_ timer: TimerID) {
    timers.cancel(timer)
  }

  /// Calls `body` in this turn of the loop, after what is being handled now.
  public func `defer`(_ body: @escaping () -> Void) {
    deferred.append(body)
  }

  // MARK: Signals

  /// Delivers all signals, which must be blocked already, in batches: what was pending together comes together.
  /// - Throws: when neither signalfd nor the handler pipe can be had.
  public func receiveSignals(_ body: @escaping ([ReceivedSignal]) -> Void) throws(SystemError) {
    var descriptor = clinux_signalfd_create()
    if descriptor < 0 {
      signalsAreFromPipe = true
      descriptor = try SystemError.check(clinux_signal_pipe_create(), "receive signals")
    }
    signalDescriptor = descriptor
    onSignals = body
    let result = clinux_epoll_add(epoll.rawValue, descriptor, CLINUX_READABLE, EventLoop.signalToken)
    try SystemError.check(result, "watch for signals")
  }

  private func deliverSignals() {
    guard let onSignals else { return }
    // Bounded, so that a storm of signals cannot keep the loop from everything else: what is left comes next turn.
    for _ in 0..<4 {
      let batch = withUnsafeTemporaryAllocation(of: clinux_signal.self, capacity: 16) {
        buffer -> [ReceivedSignal] in
        guard let start = buffer.baseAddress else { return [] }
        let count =
          signalsAreFromPipe
          ? clinux_signal_pipe_read(signalDescriptor, start, 16)
          : clinux_signalfd_read(signalDescriptor, start, 16)
        guard count > 0 else { return [] }
        return (0..<Int(count)).map { index in
          let raw = buffer[index]
          return ReceivedSignal(
            signal: Signal(rawValue: raw.number), isFromKernel: raw.code > 0, sender: raw.pid)
        }
      }
      if batch.isEmpty { return }
      onSignals(batch)
      if batch.count < 16 { return }
    }
  }

  // MARK: Running

  /// Handles events until `stop` is called.
  public func run() {
    isRunning = true
    // What was deferred before may already stop the loop: then there is nothing to wait for.
    runDeferred()
    while isRunning { turn(waiting: true) }
  }

  /// Makes `run` return after the current handler.
  public func stop() {
    isRunning = false
  }

  /// Handles one batch of events; waits for it when `waiting`.
  public func turn(waiting: Bool) {
    runDeferred()
    let timeout = waiting && deferred.isEmpty ? prepareTimeout() : 0
    withUnsafeTemporaryAllocation(of: clinux_event.self, capacity: 64) { events in
      guard let start = events.baseAddress else { return }
      let count = Int(max(clinux_epoll_wait(epoll.rawValue, start, 64, timeout), 0))
      for index in 0..<count where events[index].token == EventLoop.signalToken { deliverSignals() }
      for index in 0..<count { dispatch(events[index]) }
    }
    // After a freeze all of it is due at once: what has happened is told before a timer begins something new.
    runDeferred()
    let now = MonotonicInstant.now
    while let action = timers.popDue(at: now) { action() }
    runDeferred()
  }

  private func dispatch(_ event: clinux_event) {
    if event.token == EventLoop.signalToken { return }
    if event.token == EventLoop.timerToken {
      _ = clinux_timerfd_drain(timer)
      armed = nil
      return
    }
    let descriptor = CInt(bitPattern: UInt32(truncatingIfNeeded: event.token))
    // The descriptor may have been closed, and its number given to another, by a handler of this same turn.
    guard let watch = watches[descriptor], watch.generation == UInt32(event.token >> 32) else { return }
    watch.body(Readiness(rawValue: event.readiness))
  }

  private func runDeferred() {
    while !deferred.isEmpty {
      let batch = deferred
      deferred = []
      for body in batch { body() }
    }
  }

  /// Arms the timer descriptor for the next deadline and says how long the wait may be, in milliseconds.
  private func prepareTimeout() -> CInt {
    guard let next = timers.nextDeadline() else {
      if timer >= 0, armed != nil {
        _ = clinux_timerfd_arm(timer, 0)
        armed = nil
      }
      return -1
    }
    if timer < 0 {
      let wait = (next - .now).wholeNanoseconds
      return wait <= 0 ? 0 : CInt(clamping: (wait + 999_999) / 1_000_000)
    }
    if armed != next {
      _ = clinux_timerfd_arm(timer, max(next.nanoseconds, 1))
      armed = next
    }
    return -1
  }
}
