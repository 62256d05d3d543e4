import NIOCore

/// Runs calls that may block, each on a thread of its own that ends with it.
///
/// A pool of threads would be full as soon as that many calls hang, for instance on a dead mount; here a hanging call
/// costs its own thread and nothing else. Who asks for the same thing while a call still hangs joins that call, so
/// there are never more threads than different things asked for; beyond a limit that nobody should reach, calls wait.
public final class BlockingWork<Value: Sendable> {
  /// Why a call was not made.
  public struct Refusal: Error {
    /// The rest of a sentence.
    public var reason: String
  }

  private struct Call {
    var promise: EventLoopPromise<Value>
    var body: @Sendable () -> Value
  }

  /// Threads at once.
  static var limit: Int { 64 }

  private let eventLoop: any EventLoop
  private var calls: [String: EventLoopFuture<Value>] = [:]
  private var waiting: [Call] = []
  private var threads = 0

  /// Work for one event loop.
  public init(eventLoop: any EventLoop) {
    self.eventLoop = eventLoop
  }

  /// Makes the call, or joins the one that is under way for the same key. To be called on the event loop.
  public func run(_ key: String, _ body: @escaping @Sendable () -> Value) -> EventLoopFuture<Value> {
    if let future = calls[key] { return future }
    let promise = eventLoop.makePromise(of: Value.self)
    let future = promise.futureResult
    calls[key] = future
    future.assumeIsolated().whenComplete { _ in self.calls[key] = nil }
    let call = Call(promise: promise, body: body)
    if threads < Self.limit { start(call) } else { waiting.append(call) }
    return future
  }

  private func start(_ call: Call) {
    threads += 1
    call.promise.futureResult.assumeIsolated().whenComplete { _ in
      self.threads -= 1
      if !self.waiting.isEmpty { self.start(self.waiting.removeFirst()) }
    }
    let code = startDetachedThread { call.promise.succeed(call.body()) }
    if code != 0 { call.promise.fail(Refusal(reason: "no thread for it: \(text(of: code))")) }
  }
}
