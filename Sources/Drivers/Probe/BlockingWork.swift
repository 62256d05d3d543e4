import Glibc
import NIOCore

/// Runs calls that may block, each on a thread of its own that ends with it.
///
/// A pool of threads would be full as soon as that many calls hang, for instance on a dead mount; here a hanging call
/// costs its own thread and nothing else. Who asks for the same thing while a call still hangs joins that call, so
/// there are never more threads than different things asked for; beyond a limit that nobody should reach, calls wait.
final class BlockingWork<Value: Sendable> {
  /// Why a call was not made.
  struct Refusal: Error {
    var reason: String
  }

  private struct Call {
    var promise: EventLoopPromise<Value>
    var body: @Sendable () -> Value
  }

  /// Threads at once.
  static var limit: Int { 64 }
  /// Bytes of stack; name services load modules of their own, and those are not modest.
  private static var stackSize: Int { 512 << 10 }

  private let eventLoop: any EventLoop
  private var calls: [String: EventLoopFuture<Value>] = [:]
  private var waiting: [Call] = []
  private var threads = 0

  init(eventLoop: any EventLoop) {
    self.eventLoop = eventLoop
  }

  /// Makes the call, or joins the one that is under way for the same key. To be called on the event loop.
  func run(_ key: String, _ body: @escaping @Sendable () -> Value) -> EventLoopFuture<Value> {
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
    let code = startThread(stackSize: Self.stackSize) { call.promise.succeed(call.body()) }
    if code != 0 { call.promise.fail(Refusal(reason: "no thread for it: \(text(of: code))")) }
  }
}

private final class ThreadBody {
  let run: @Sendable () -> Void

  init(_ run: @escaping @Sendable () -> Void) {
    self.run = run
  }
}

/// Starts a detached thread. Returns 0 or an error number.
private func startThread(stackSize: Int, _ run: @escaping @Sendable () -> Void) -> CInt {
  var attributes = pthread_attr_t()
  pthread_attr_init(&attributes)
  defer { pthread_attr_destroy(&attributes) }
  pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))
  pthread_attr_setstacksize(&attributes, stackSize)
  let body = Unmanaged.passRetained(ThreadBody(run))
  var thread = pthread_t()
  let code = pthread_create(
    &thread, &attributes,
    { context in
      if let context { Unmanaged<ThreadBody>.fromOpaque(context).takeRetainedValue().run() }
      return nil
    }, body.toOpaque())
  if code != 0 { body.release() }
  return code
}
