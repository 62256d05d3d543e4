import EventLoop
import NIOCore

/// Listens to one channel, on a connection of its own, until its end.
final class RedisWatch {
  /// How often the connection is asked for a sign of life: a message may never come.
  private static let pingInterval = Duration.seconds(5)
  /// After a failure that stays until a person has done something.
  private static let slowPause = Duration.seconds(10)

  private let client: RedisClient
  private let eventLoop: any NIOCore.EventLoop
  private let target: RedisTarget
  private let channel: String
  private let onChange: () -> Void
  private let onFailure: (RedisFailure) -> Void
  private var connection: RedisConnection?
  private var backoff = Backoff()
  private var timer: Scheduled<Void>?
  private var told: RedisFailure?
  private var isEnded = false

  init(
    client: RedisClient, eventLoop: any NIOCore.EventLoop, target: RedisTarget, channel: String,
    onChange: @escaping () -> Void, onFailure: @escaping (RedisFailure) -> Void
  ) {
    self.client = client
    self.eventLoop = eventLoop
    self.target = target
    self.channel = channel
    self.onChange = onChange
    self.onFailure = onFailure
  }

  func begin() {
    connection = client.open(
      target, timeout: RedisReadiness.attemptLimit,
      onMessage: { [weak self] in
        guard let self, !isEnded else { return }
        onChange()
      },
      onEnd: { [weak self] in self?.failed($0) },
      { [weak self] result in
        switch result {
        case .success: self?.subscribe()
        case .failure(let failure): self?.failed(failure)
        }
      })
  }

  func end() {
    isEnded = true
    timer?.cancel()
    timer = nil
    connection?.close()
    connection = nil
  }

  private func subscribe() {
    connection?.send([RedisCommand("SUBSCRIBE", channel)], timeout: RedisReadiness.attemptLimit) {
      [weak self, target] result in
      guard let self, !isEnded else { return }
      switch result {
      case .success(let replies):
        if case .error(let text)? = replies.first { return failed(RedisFailure.refused(text, by: target)) }
        backoff = Backoff()
        told = nil
        ping()
        onChange()
      // A lost connection is told of by its end, which follows.
      case .failure: break
      }
    }
  }

  /// Any answer is a sign of life, also that it may not ask.
  private func ping() {
    schedule(Self.pingInterval) { [weak self] in
      self?.connection?.send([RedisCommand("PING")], timeout: RedisReadiness.attemptLimit) { result in
        if case .success = result { self?.ping() }
      }
    }
  }

  private func failed(_ failure: RedisFailure) {
    guard !isEnded else { return }
    connection?.close()
    connection = nil
    schedule(failure.isPermanent ? Self.slowPause : backoff.next()) { [weak self] in self?.begin() }
    guard told?.cause != failure.cause else { return }
    told = failure
    onFailure(failure)
  }

  private func schedule(_ delay: Duration, _ body: @escaping () -> Void) {
    timer?.cancel()
    let amount = TimeAmount.nanoseconds(delay.wholeNanoseconds)
    timer = eventLoop.assumeIsolated().scheduleTask(in: amount) { body() }
  }
}
