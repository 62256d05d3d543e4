import EventLoop
import Foundation
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

@testable import RedisDriver

struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value

  init(_ value: Value) {
    self.value = value
  }
}

/// One loop for all, as the agent has one. What is called back comes to the tests in records.
enum Loop {
  static let eventLoop = MultiThreadedEventLoopGroup(numberOfThreads: 1).next()

  /// Runs it on the loop, and waits.
  static func run<Value>(_ body: @escaping () throws -> Value) throws -> Value {
    let body = UncheckedBox(body)
    return try eventLoop.submit { UncheckedBox(try body.value()) }.wait().value
  }
}

/// Readiness under a key of its own.
final class Rig: @unchecked Sendable {
  private static let last = Atomic(0)

  let key: String
  let channel: String
  let changes = Record<Int>()
  let failures = Record<RedisFailure>()
  private let readiness: RedisReadiness
  /// Ends with the last who uses it.
  private let server: RedisServer?

  init(
    _ url: String, key: String? = nil, channel: String? = nil, certificateFile: String? = nil,
    server: RedisServer? = nil
  ) throws {
    self.server = server
    let number = Self.last.add(1, ordering: .relaxed).newValue
    let key = key ?? ":1:autoinit:ready:r\(number)"
    let channel = channel ?? "supervisor:r\(number)"
    self.key = key
    self.channel = channel
    let target = try RedisTarget(url: url)
    readiness = try Loop.run {
      RedisReadiness(
        eventLoop: Loop.eventLoop, target: target, key: key, timeToLive: .seconds(60), channel: channel,
        certificateFile: certificateFile)
    }
  }

  convenience init(_ server: RedisServer) throws {
    try self.init("redis://127.0.0.1:\(server.port)", server: server)
  }

  deinit {
    let readiness = UncheckedBox(readiness)
    Loop.eventLoop.execute { readiness.value.end() }
  }

  typealias Outcome<Value> = Record<Result<Value, RedisFailure>>

  func startReading(_ timeout: Duration = .seconds(20)) throws -> Outcome<RedisReadiness.Answer> {
    let answers = Outcome<RedisReadiness.Answer>()
    try Loop.run { [self] in readiness.read(timeout: timeout) { answers.append($0) } }
    return answers
  }

  func startSetting(_ timeout: Duration = .seconds(20)) throws -> Outcome<RedisReadiness.Written> {
    let answers = Outcome<RedisReadiness.Written>()
    try Loop.run { [self] in readiness.set(timeout: timeout) { answers.append($0) } }
    return answers
  }

  func read(_ timeout: Duration = .seconds(20)) throws -> RedisReadiness.Answer {
    try startReading(timeout).next("the answer").get()
  }

  func readFailure(_ timeout: Duration = .seconds(20)) throws -> RedisFailure {
    switch try startReading(timeout).next("the failure") {
    case .success(let answer): throw HarnessError("no failure, but \(answer)")
    case .failure(let failure): return failure
    }
  }

  func set(_ timeout: Duration = .seconds(20)) throws -> RedisReadiness.Written {
    try startSetting(timeout).next("the writing").get()
  }

  func setFailure(_ timeout: Duration = .seconds(20)) throws -> RedisFailure {
    switch try startSetting(timeout).next("the failure") {
    case .success(let written): throw HarnessError("no failure, but \(written)")
    case .failure(let failure): return failure
    }
  }

  func clear(_ timeout: Duration = .seconds(20)) throws {
    let answers = Outcome<Void>()
    try Loop.run { [self] in readiness.clear(timeout: timeout) { answers.append($0) } }
    try answers.next("the removal").get()
  }

  func watch() throws {
    try Loop.run { [self] in
      readiness.watch(
        onFailure: { [weak self] in self?.failures.append($0) },
        onChange: { [weak self] in self?.changes.append(1) })
    }
  }

  func unwatch() throws { try Loop.run { [self] in readiness.unwatch() } }
  func end() throws { try Loop.run { [self] in readiness.end() } }
}

/// What happened, in its order, to be waited for from another thread.
final class Record<Element>: @unchecked Sendable {
  private let condition = NSCondition()
  private var waiting: [Element] = []

  func append(_ element: Element) {
    condition.lock()
    waiting.append(element)
    condition.broadcast()
    condition.unlock()
  }

  /// The next one that has not been taken; `what` is for the error.
  func next(_ what: String, within seconds: Double = 40) throws -> Element {
    let end = Date().addingTimeInterval(seconds)
    condition.lock()
    defer { condition.unlock() }
    while waiting.isEmpty {
      guard condition.wait(until: end) else { throw HarnessError("not within \(seconds) s: \(what)") }
    }
    return waiting.removeFirst()
  }

  /// What has not been taken.
  var rest: [Element] {
    condition.lock()
    defer { condition.unlock() }
    return waiting
  }

  func clear() {
    condition.lock()
    defer { condition.unlock() }
    waiting = []
  }
}
