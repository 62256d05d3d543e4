import AgentProtocol
import Foundation
import NIOCore
import NIOPosix
import Synchronization
import TestSupport

@testable import PostgreSQLDriver

/// A loop with a client, as the agent has it, and a database of its own. What is called back comes here in a queue.
final class Rig: @unchecked Sendable {
  private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  let eventLoop: any EventLoop
  let client: PostgreSQLClient
  let server: PostgreSQLServer
  let database: String

  init(server: PostgreSQLServer? = nil) throws {
    let server = try server ?? PostgreSQLServer.shared.get()
    self.server = server
    database = try server.makeDatabase()
    eventLoop = Self.group.next()
    client = try Self.onLoop(eventLoop) { [eventLoop] in PostgreSQLClient(eventLoop: eventLoop) }
  }

  deinit {
    let client = UncheckedBox(client)
    eventLoop.execute { client.value.end() }
  }

  func admin(_ name: String = "admin") throws -> Admin {
    try Admin(port: server.port, database: database, name: name)
  }

  func target(
    _ purpose: String = "lock", user: String = "postgres", port: UInt16? = nil, extra: String = ""
  ) -> PostgreSQLTarget {
    PostgreSQLTarget(
      connectionString: "host=127.0.0.1 port=\(port ?? server.port) user=\(user) dbname=\(database) \(extra)",
      applicationName: ApplicationName(project: "shop", run: "r1", purpose: purpose))
  }

  /// Runs it on the loop, and waits.
  func onLoop<Value>(_ body: @escaping () throws -> Value) throws -> Value {
    try Self.onLoop(eventLoop, body)
  }

  private static func onLoop<Value>(_ eventLoop: any EventLoop, _ body: @escaping () throws -> Value) throws
    -> Value
  {
    let body = UncheckedBox(body)
    return try eventLoop.submit { UncheckedBox(try body.value()) }.wait().value
  }

  // MARK: Connections

  func open(_ target: PostgreSQLTarget, ends: Record<PostgreSQLFailure> = Record()) throws -> (
    PostgreSQLConnection, PostgreSQLSession
  ) {
    let opened = Record<Result<PostgreSQLSession, PostgreSQLFailure>>()
    let connection = try onLoop { [client] in
      client.open(target, timeout: .seconds(20), onEnd: { ends.append($0) }) { opened.append($0) }
    }
    return (connection, try opened.next("the connection").get())
  }

  func refusal(of target: PostgreSQLTarget, timeout: Duration = .seconds(20)) throws -> PostgreSQLFailure? {
    let opened = Record<Result<PostgreSQLSession, PostgreSQLFailure>>()
    _ = try onLoop { [client] in client.open(target, timeout: timeout) { opened.append($0) } }
    if case .failure(let failure) = try opened.next("the refusal") { return failure }
    return nil
  }

  func send(
    _ connection: PostgreSQLConnection, _ statement: Statement, timeout: Duration? = .seconds(20)
  ) throws -> Result<StatementResult, PostgreSQLFailure> {
    let answers = Record<Result<StatementResult, PostgreSQLFailure>>()
    try onLoop { connection.send(statement, timeout: timeout) { answers.append($0) } }
    return try answers.next("the answer to \(statement.sql)")
  }
}

struct UncheckedBox<Value>: @unchecked Sendable {
  let value: Value

  init(_ value: Value) {
    self.value = value
  }
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
    try next(what, within: seconds) { _ in true }
  }

  /// The next one like this; those before it are dropped.
  func next(_ what: String, within seconds: Double = 40, where matches: (Element) -> Bool) throws -> Element {
    let end = Date().addingTimeInterval(seconds)
    condition.lock()
    defer { condition.unlock() }
    var dropped: [Element] = []
    while true {
      while !waiting.isEmpty {
        let element = waiting.removeFirst()
        if matches(element) { return element }
        dropped.append(element)
      }
      guard condition.wait(until: end) else {
        throw HarnessError("not within \(seconds) s: \(what); seen meanwhile: \(dropped)")
      }
    }
  }

  /// What has not been taken.
  var rest: [Element] {
    condition.lock()
    defer { condition.unlock() }
    return waiting
  }
}
