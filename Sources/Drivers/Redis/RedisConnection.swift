import EventLoop
import NIOCore

/// A connection, as the loop sees it. Commands are answered in their order. Its owner keeps it until it ends or is
/// closed. Used on the event loop only.
public final class RedisConnection {
  private struct Request {
    let id: UInt64
    let count: Int
    var replies: [RedisValue] = []
    let timer: Scheduled<Void>
    let completion: (Result<[RedisValue], RedisFailure>) -> Void
  }

  private let target: RedisTarget
  private let eventLoop: any NIOCore.EventLoop
  private let timeout: Duration
  private let began = MonotonicInstant.now
  /// Forgotten at the end, since they may hold the connection.
  private var onMessage: () -> Void
  private var onEnd: (RedisFailure) -> Void
  private var opening: ((Result<Void, RedisFailure>) -> Void)?
  private var openingTimer: Scheduled<Void>?
  private var channel: (any Channel)?
  private var decoder = RedisDecoder()
  private var requests: [Request] = []
  private var lastRequest: UInt64 = 0
  private var end: RedisFailure?
  private var isRetired = false
  /// Whether anything came, behind the handshake of TLS.
  private var hasHeard = false

  /// Whether it can be used.
  public private(set) var isOpen = false

  init(
    target: RedisTarget, eventLoop: any NIOCore.EventLoop, timeout: Duration,
    onMessage: @escaping () -> Void, onEnd: @escaping (RedisFailure) -> Void,
    completion: @escaping (Result<Void, RedisFailure>) -> Void
  ) {
    self.target = target
    self.eventLoop = eventLoop
    self.timeout = timeout
    self.onMessage = onMessage
    self.onEnd = onEnd
    opening = completion
    let amount = TimeAmount.nanoseconds(max(timeout.wholeNanoseconds, 0))
    openingTimer = eventLoop.assumeIsolated().scheduleTask(in: amount) { [weak self] in
      guard let self else { return }
      if channel == nil {
        return fail(RedisFailure(.unreachable, "\(target): no connection within \(timeout.readable)"))
      }
      fail(RedisFailure(silenceOf: target, within: timeout, hasHeard: hasHeard))
    }
  }

  /// Sends commands together.
  /// - Parameters:
  ///   - timeout: from now to the last answer. When it is over the connection ends: its answers are out of step.
  ///   - completion: is called once with a reply for each command, refusals among them, unless `close` comes first.
  public func send(
    _ commands: [RedisCommand], timeout: Duration,
    _ completion: @escaping (Result<[RedisValue], RedisFailure>) -> Void
  ) {
    if let end { return completion(.failure(end)) }
    guard let channel, !commands.isEmpty else {
      return completion(.failure(RedisFailure(.lost, "\(target): there is no connection")))
    }
    var bytes: [UInt8] = []
    for command in commands { command.encode(into: &bytes) }
    let amount = TimeAmount.nanoseconds(max(timeout.wholeNanoseconds, 0))
    let timer = eventLoop.assumeIsolated().scheduleTask(in: amount) { [weak self, target] in
      guard let self else { return }
      fail(RedisFailure(.noAnswer, "\(target): no answer within \(timeout.readable)"))
    }
    lastRequest += 1
    requests.append(Request(id: lastRequest, count: commands.count, timer: timer, completion: completion))
    channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
  }

  /// Closes it; nothing is called any more.
  public func close() {
    guard end == nil else { return }
    _ = finish(RedisFailure(.lost, "\(target): the connection was closed"))
  }

  /// Closes it once what was asked is answered.
  func retire() {
    isRetired = true
    if requests.isEmpty { close() }
  }

  private func finish(_ failure: RedisFailure) -> [Request] {
    end = failure
    isOpen = false
    opening = nil
    onMessage = {}
    onEnd = { _ in }
    openingTimer?.cancel()
    openingTimer = nil
    let left = requests
    requests = []
    for request in left { request.timer.cancel() }
    channel?.close(mode: .all, promise: nil)
    channel = nil
    return left
  }

  // MARK: From the channel

  /// Whether anybody still waits for it to open.
  var isWanted: Bool { end == nil }

  func begin(on channel: any Channel) {
    guard end == nil else { return channel.close(mode: .all, promise: nil) }
    self.channel = channel
    let handshake = Handshake(target: target)
    let left = timeout - (.now - began)
    send(handshake.commands, timeout: left + .seconds(1)) { [weak self] result in
      guard let self, opening != nil else { return }
      // A lost connection is told of by its end, which follows.
      guard case .success(let replies) = result else { return }
      if let failure = handshake.judge(replies) { return fail(failure) }
      openingTimer?.cancel()
      openingTimer = nil
      isOpen = true
      let opening = opening
      self.opening = nil
      opening?(.success(()))
    }
  }

  func received(_ bytes: some Sequence<UInt8>) {
    guard end == nil else { return }
    hasHeard = true
    decoder.append(bytes)
    do throws(RedisProtocolError) {
      while end == nil, let reply = try decoder.next() { take(reply) }
    } catch {
      fail(RedisFailure.unreadable(error, from: target, isOpen: isOpen))
    }
  }

  private func take(_ reply: RedisValue) {
    if case .array(let parts) = reply, parts.first == .bulk([UInt8]("message".utf8)) { return onMessage() }
    guard !requests.isEmpty else {
      // It closes the connection next, for instance as one that was idle for too long.
      if case .error(let text) = reply { return fail(RedisFailure.refused(text, by: target)) }
      return fail(RedisFailure(.lost, "\(target): an answer that nobody asked for"))
    }
    requests[0].replies.append(reply)
    guard requests[0].replies.count == requests[0].count else { return }
    let request = requests.removeFirst()
    request.timer.cancel()
    request.completion(.success(request.replies))
    if isRetired, requests.isEmpty { close() }
  }

  func closedByServer() {
    guard end == nil else { return }
    // What it said before it closed the connection says why (maxclients, protected mode).
    if !isOpen, case .error(let text)? = requests.first?.replies.first {
      return fail(RedisFailure.refused(text, by: target))
    }
    fail(
      decoder.isWithinReply
        ? RedisFailure(.lost, "\(target): the connection was closed in the middle of an answer")
        : RedisFailure.closed(by: target, isOpen: isOpen))
  }

  func broke(_ error: any Error) {
    guard end == nil else { return }
    if case .lost = RedisFailure.breaking(error, of: target, isOpen: isOpen).cause { return closedByServer() }
    fail(RedisFailure.breaking(error, of: target, isOpen: isOpen))
  }

  /// Ends it: first the requests fail, then the attempt to open it, or the end is told.
  func fail(_ failure: RedisFailure) {
    guard end == nil else { return }
    let (opening, onEnd, isRetired) = (opening, onEnd, isRetired)
    for request in finish(failure) { request.completion(.failure(failure)) }
    if let opening { opening(.failure(failure)) } else if !isRetired { onEnd(failure) }
  }
}

/// What is said before anything else, in one go.
private struct Handshake {
  private enum Step {
    case login
    case database
    case name
    case sign
  }

  private let target: RedisTarget
  private var steps: [Step] = []
  private(set) var commands: [RedisCommand] = []

  init(target: RedisTarget) {
    self.target = target
    if target.user != nil || target.password != nil {
      steps.append(.login)
      let password = target.password ?? ""
      commands.append(
        target.user.map { RedisCommand("AUTH", $0, password) } ?? RedisCommand("AUTH", password))
    }
    if target.database != 0 {
      steps.append(.database)
      commands.append(RedisCommand("SELECT", "\(target.database)"))
    }
    if !target.clientName.isEmpty, target.clientName.utf8.allSatisfy({ (0x21...0x7E).contains($0) }) {
      steps.append(.name)
      commands.append(RedisCommand("CLIENT", "SETNAME", target.clientName))
    }
    steps.append(.sign)
    commands.append(RedisCommand("PING"))
  }

  /// Why the connection cannot be used; nil when it can.
  func judge(_ replies: [RedisValue]) -> RedisFailure? {
    for (step, reply) in zip(steps, replies) {
      guard case .error(let text) = reply else { continue }
      let failure = RedisFailure.refused(text, by: target)
      switch step {
      case .login, .database: return failure
      case .name: break
      // Who may not even do that may still do what is needed.
      case .sign: if failure.cause != .privilege || !text.hasPrefix("NOPERM") { return failure }
      }
    }
    return nil
  }
}
