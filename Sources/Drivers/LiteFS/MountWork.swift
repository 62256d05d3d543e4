import AgentProtocol
import Blocking
import NIOCore

/// What is done to a mount when somebody asks for it, each with a deadline. Used on its event loop only.
public final class MountWork {
  private let eventLoop: any EventLoop
  private let path: String
  private let clearings: BlockingWork<String?>
  private let searches: BlockingWork<Result<[LiteFSHolder], SmallFile.Failure>>

  /// Why something was not done: one sentence, without the final stop.
  public struct Failure: Error, Equatable {
    /// The sentence.
    public var text: String
  }

  private static let time = TimeAmount.seconds(5)

  /// Work at a mount point.
  public init(eventLoop: any EventLoop, path: String) {
    self.eventLoop = eventLoop
    self.path = path
    clearings = BlockingWork(eventLoop: eventLoop)
    searches = BlockingWork(eventLoop: eventLoop)
  }

  /// Unmounts what LiteFS mounted (see `MountClearing`). Calls back once, on the loop.
  public func clear(abort: Bool, _ completion: @escaping (Result<Void, Failure>) -> Void) {
    let work = clearings.run(abort ? "abort" : "clear") { [path] in MountClearing.clear(path, abort: abort) }
    within(work, "the mount \(path) cannot be cleared") { [path] result in
      completion(
        result.flatMap { reason in
          reason.map { .failure(Failure(text: "the mount \(path) cannot be cleared: \($0)")) } ?? .success(())
        })
    }
  }

  /// Finds the processes that hold something in the mount. Calls back once, on the loop.
  public func findHolders(_ completion: @escaping (Result<[LiteFSHolder], Failure>) -> Void) {
    let work = searches.run("holders") { [path] in
      Result { () throws(SmallFile.Failure) in try MountHolders.find(path) }
    }
    let what = "who holds \(path) cannot be found out"
    within(work, what) { result in
      completion(
        result.flatMap { $0.mapError { Failure(text: "\(what): \($0.text)") } })
    }
  }

  private func within<Value: Sendable>(
    _ work: EventLoopFuture<Value>, _ what: String, _ completion: @escaping (Result<Value, Failure>) -> Void
  ) {
    var completion: ((Result<Value, Failure>) -> Void)? = completion
    func finish(_ result: Result<Value, Failure>) {
      let call = completion
      completion = nil
      call?(result)
    }
    let timer = eventLoop.assumeIsolated().scheduleTask(in: Self.time) {
      finish(.failure(Failure(text: "\(what): the system has not answered for 5s")))
    }
    work.assumeIsolated().whenComplete { result in
      timer.cancel()
      finish(
        result.mapError { error in
          Failure(text: "\(what): \((error as? BlockingWork<Value>.Refusal)?.reason ?? "\(error)")")
        })
    }
  }
}
