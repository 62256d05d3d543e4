import EventLoop
import NIOCore

/// Release readiness in Redis, as django-autoinit keeps it there: one key with the integer 1 and a time to live. Used
/// on one event loop only, where everything is also called back.
///
/// What only may go wrong for a time (see `RedisFailure.isPermanent`) is tried again until the given timeout, on a new
/// connection, since the name may lead to another server by then. One connection serves all requests and stays open;
/// `watch` needs another one. Both stay until `end`.
public final class RedisReadiness {
  /// What stands under the key.
  public enum Answer: Sendable, Equatable {
    /// The plain bytes `1`, which are Django's integer 1.
    case ready
    /// Nothing.
    case notReady
    /// Something else, for people: `the text "2"`. It is no yes: other packages pickle and compress, and nobody knows
    /// who put it there and why.
    case stranger(String)
  }

  /// What became of `set` beside the key itself, which stands.
  public struct Written: Sendable, Equatable {
    /// The text that was replaced and was not `1`; nil when there was none.
    public var replaced: String?
    /// Why the channel was not told; waiters see the key when they look the next time. nil when it was.
    public var unannounced: RedisFailure?

    /// An outcome.
    public init(replaced: String? = nil, unannounced: RedisFailure? = nil) {
      self.replaced = replaced
      self.unannounced = unannounced
    }
  }

  /// A connection, and each answer, has this long; a server that does not answer may have been replaced by another.
  static let attemptLimit = Duration.seconds(3)

  private let client: RedisClient
  private let eventLoop: any NIOCore.EventLoop
  private let target: RedisTarget
  private let key: String
  private let timeToLive: Duration
  private let channel: String
  private var connection: RedisConnection?
  private var waiting: [(Result<RedisConnection, RedisFailure>) -> Void] = []
  private var attempts: [UInt64: RetriedRequest] = [:]
  private var lastAttempt: UInt64 = 0
  private var watching: RedisWatch?
  private var isEnded = false

  /// Readiness under one key; nothing is connected before it is asked for.
  /// - Parameters:
  ///   - key: the whole key, as Django's `make_key` makes it.
  ///   - timeToLive: of a yes, from `set`; at least a millisecond.
  ///   - channel: where a change is announced.
  ///   - certificateFile: trusted certificates (PEM) instead of the system's; nil takes the system's.
  public init(
    eventLoop: any NIOCore.EventLoop, target: RedisTarget, key: String, timeToLive: Duration, channel: String,
    certificateFile: String?
  ) {
    client = RedisClient(eventLoop: eventLoop, certificateFile: certificateFile)
    self.eventLoop = eventLoop
    self.target = target
    self.key = key
    self.timeToLive = timeToLive
    self.channel = channel
  }

  /// Reads the key. `completion` is called once, at the latest when `timeout` is over, unless `end` comes first.
  public func read(timeout: Duration, completion: @escaping (Result<Answer, RedisFailure>) -> Void) {
    request(timeout, completion) { readiness, connection, done in
      connection.send([RedisCommand("GET", readiness.key)], timeout: Self.attemptLimit) {
        readiness.judge($0, connection, done)
      }
    }
  }

  /// Writes the yes, and announces it. A value of another type is left alone, which fails as `strangersValue`; another
  /// text is replaced, as Django's cache does it, and told of. Between the look and the writing lies one round trip, in
  /// which a value of another type that somebody puts there would be lost: the price of commands that every Redis and
  /// every user of it has. May be called again; the time to live begins anew.
  public func set(timeout: Duration, completion: @escaping (Result<Written, RedisFailure>) -> Void) {
    request(timeout, completion) { readiness, connection, done in
      connection.send([RedisCommand("GET", readiness.key)], timeout: Self.attemptLimit) {
        readiness.judge($0, connection) { result in
          switch result {
          case .failure(let failure): done(.failure(failure))
          case .success(.stranger(let what)) where !what.hasPrefix(Self.text):
            done(
              .failure(
                RedisFailure(
                  .strangersValue,
                  "\(readiness.target): under the key \(readiness.key) stands \(what), which is not ours; "
                    + "remove it (redis-cli DEL), or take another key")))
          case .success(let answer) where connection.isOpen: readiness.write(over: answer, connection, done)
          // What stands there was too long for this connection.
          case .success(let answer):
            readiness.withConnection { result in
              switch result {
              case .success(let connection): readiness.write(over: answer, connection, done)
              case .failure(let failure): done(.failure(failure))
              }
            }
          }
        }
      }
    }
  }

  /// Removes the key, whatever it holds, and announces that. Fails when it could not be removed.
  public func clear(timeout: Duration, completion: @escaping (Result<Void, RedisFailure>) -> Void) {
    request(timeout, completion) { readiness, connection, done in
      let commands = [
        RedisCommand("DEL", readiness.key), RedisCommand("PUBLISH", readiness.channel, "cleared"),
      ]
      connection.send(commands, timeout: Self.attemptLimit) { result in
        done(readiness.first(of: result).map { _ in })
      }
    }
  }

  /// Calls `onChange` at each announcement, and each time the channel is heard (again), since something may have been
  /// missed before. Keeps that up through failures; `onFailure` is told of each that lasts, once.
  public func watch(
    onFailure: @escaping (RedisFailure) -> Void = { _ in }, onChange: @escaping () -> Void
  ) {
    guard !isEnded else { return }
    unwatch()
    watching = RedisWatch(
      client: client, eventLoop: eventLoop, target: target, channel: channel, onChange: onChange,
      onFailure: { [weak self] in
        guard let self else { return }
        onFailure(advised($0))
      })
    watching?.begin()
  }

  /// Stops listening; nothing is called any more.
  public func unwatch() {
    watching?.end()
    watching = nil
  }

  /// Closes all connections without a word.
  public func end() {
    isEnded = true
    unwatch()
    for attempt in attempts.values { attempt.abandon() }
    attempts = [:]
    waiting = []
    connection?.close()
    connection = nil
  }

  // MARK: Values

  private static let text = "the text "

  /// What the reply to GET means.
  private func judge(
    _ result: Result<[RedisValue], RedisFailure>, _ connection: RedisConnection,
    _ done: @escaping (Result<Answer, RedisFailure>) -> Void
  ) {
    switch first(of: result) {
    case .success(.null): done(.success(.notReady))
    case .success(.bulk(let bytes)) where bytes == [UInt8(ascii: "1")]: done(.success(.ready))
    case .success(.bulk(let bytes)):
      done(.success(.stranger("\(Self.text)\"\(PrintableText.of(bytes, limit: 40))\"")))
    case .success: done(.failure(RedisFailure(.noRedis, "\(target): an answer to GET without sense")))
    case .failure(let failure) where failure.cause == .strangersValue && connection.isOpen:
      connection.send([RedisCommand("TYPE", key)], timeout: Self.attemptLimit) { [weak self] in
        // Who may not ask for the type, or comes too late, knows no more than that it is none of ours.
        guard let self, case .success(.simple(let type)) = first(of: $0), type != "none", type != "string"
        else { return done(.success(.stranger("a value of another type"))) }
        done(.success(.stranger("a value of the type \(PrintableText.of(type.utf8, limit: 40))")))
      }
    // It is longer than the connection took, which has ended by that.
    case .failure(let failure) where failure.cause == .strangersValue:
      done(.success(.stranger("\(Self.text)of more than \(RedisDecoder.longestBulk) bytes")))
    case .failure(let failure): done(.failure(failure))
    }
  }

  private func write(
    over answer: Answer, _ connection: RedisConnection,
    _ done: @escaping (Result<Written, RedisFailure>) -> Void
  ) {
    var written = Written()
    if case .stranger(let what) = answer { written.replaced = what }
    let milliseconds = max(timeToLive.wholeNanoseconds / 1_000_000, 1)
    let commands = [
      RedisCommand("SET", key, "1", "PX", "\(milliseconds)"), RedisCommand("PUBLISH", channel, "ready"),
    ]
    connection.send(commands, timeout: Self.attemptLimit) { [weak self] result in
      guard let self else { return }
      done(
        first(of: result).map { _ in
          if case .success(let replies) = result, case .error(let text)? = replies.last {
            written.unannounced = self.advised(RedisFailure.refused(text, by: self.target))
          }
          return written
        })
    }
  }

  /// The first reply, a refusal as the failure that it is.
  private func first(of result: Result<[RedisValue], RedisFailure>) -> Result<RedisValue, RedisFailure> {
    result.flatMap { replies in
      switch replies.first {
      case .error(let text)?: .failure(advised(RedisFailure.refused(text, by: target)))
      case let reply?: .success(reply)
      case nil: .failure(RedisFailure(.lost, "\(target): no answer"))
      }
    }
  }

  /// With what a user of Redis has to be given, where that is missing.
  private func advised(_ failure: RedisFailure) -> RedisFailure {
    guard failure.cause == .privilege, failure.text.contains("NOPERM") else { return failure }
    var advised = failure
    advised.text +=
      "; needed is: ACL SETUSER \(target.user ?? "default") ~\(key) &\(channel) +get +set +del +publish +subscribe"
    return advised
  }

  // MARK: Connection

  private func request<Value>(
    _ timeout: Duration, _ completion: @escaping (Result<Value, RedisFailure>) -> Void,
    _ body:
      @escaping (RedisReadiness, RedisConnection, @escaping (Result<Value, RedisFailure>) -> Void) -> Void
  ) {
    guard !isEnded else { return }
    lastAttempt += 1
    let id = lastAttempt
    let attempt = RetriedRequest(eventLoop: eventLoop, target: target, timeout: timeout)
    attempts[id] = attempt
    attempt.begin(
      attempt: { [weak self] done in
        self?.withConnection { result in
          guard let self else { return }
          switch result {
          case .failure(let failure): done(.failure(failure))
          case .success(let connection):
            body(self, connection) { result in
              if case .failure(let failure) = result, !failure.isPermanent { self.forget(connection) }
              done(result)
            }
          }
        }
      },
      completion: { [weak self] (result: Result<Value, RedisFailure>) in
        self?.attempts[id] = nil
        completion(result)
      })
  }

  private func withConnection(_ completion: @escaping (Result<RedisConnection, RedisFailure>) -> Void) {
    if let connection, connection.isOpen { return completion(.success(connection)) }
    waiting.append(completion)
    // One that has ended may still be on its way to tell so.
    guard connection?.isWanted != true else { return }
    var opened: RedisConnection?
    opened = client.open(
      target, timeout: Self.attemptLimit,
      onEnd: { [weak self] _ in
        if let opened { self?.forget(opened) }
        opened = nil
      },
      { [weak self] result in
        guard let self else { return }
        let waiting = waiting
        self.waiting = []
        if case .failure = result { connection = nil }
        for completion in waiting {
          // The one before may have ended it.
          switch (result, opened) {
          case (.failure(let failure), _): completion(.failure(failure))
          case (.success, let opened?): completion(.success(opened))
          case (.success, nil):
            completion(.failure(RedisFailure(.lost, "\(target): the connection was closed")))
          }
        }
      })
    // Some attempts fail before they have begun.
    connection = opened.flatMap { $0.isWanted ? $0 : nil }
  }

  /// The next request gets a new connection; those on this one are still answered.
  private func forget(_ old: RedisConnection) {
    old.retire()
    if connection === old { connection = nil }
  }
}
