import EventLoop
import NIOCore

/// One thing to do, as often as it takes: it ends with an answer, with a failure that stays, or with its time.
final class RetriedRequest {
  private let eventLoop: any NIOCore.EventLoop
  private let target: RedisTarget
  private let timeout: Duration
  private let deadline: MonotonicInstant
  private var backoff = Backoff()
  private var pause: Scheduled<Void>?
  private var timer: Scheduled<Void>?
  private var lastFailure: RedisFailure?
  private var isEnded = false

  init(eventLoop: any NIOCore.EventLoop, target: RedisTarget, timeout: Duration) {
    self.eventLoop = eventLoop
    self.target = target
    self.timeout = timeout
    deadline = .now + timeout
  }

  /// - Parameters:
  ///   - attempt: does it once, and says how that ended.
  ///   - completion: is called once, unless `abandon` comes first.
  func begin<Value>(
    attempt: @escaping (@escaping (Result<Value, RedisFailure>) -> Void) -> Void,
    completion: @escaping (Result<Value, RedisFailure>) -> Void
  ) {
    timer = schedule(timeout) { [self] in
      let failure = lastFailure ?? RedisFailure(silenceOf: target, within: timeout, hasHeard: false)
      finish(.failure(failure), completion)
    }
    run(attempt, completion)
  }

  func abandon() {
    isEnded = true
    pause?.cancel()
    pause = nil
    timer?.cancel()
    timer = nil
  }

  private func run<Value>(
    _ attempt: @escaping (@escaping (Result<Value, RedisFailure>) -> Void) -> Void,
    _ completion: @escaping (Result<Value, RedisFailure>) -> Void
  ) {
    attempt { [self] result in
      guard !isEnded else { return }
      guard case .failure(let failure) = result, !failure.isPermanent else {
        return finish(result, completion)
      }
      lastFailure = failure
      let delay = backoff.next()
      // An attempt that cannot begin in time is not waited for.
      guard .now + delay < deadline else { return finish(.failure(failure), completion) }
      pause = schedule(delay) { [self] in run(attempt, completion) }
    }
  }

  private func finish<Value>(
    _ result: Result<Value, RedisFailure>, _ completion: (Result<Value, RedisFailure>) -> Void
  ) {
    abandon()
    completion(result)
  }

  private func schedule(_ delay: Duration, _ body: @escaping () -> Void) -> Scheduled<Void> {
    let amount = TimeAmount.nanoseconds(max(delay.wholeNanoseconds, 0))
    return eventLoop.assumeIsolated().scheduleTask(in: amount) { body() }
  }
}
