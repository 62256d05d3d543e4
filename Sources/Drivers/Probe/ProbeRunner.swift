import AgentProtocol
import Blocking
import NIOCore

/// Runs probes on one event loop, each within its time. Used on that loop only.
public final class ProbeRunner {
  /// Begins to look at a database server, which needs a driver that this one does not have. Calls back on the loop, at
  /// most once; what is returned ends it without a word.
  public typealias DatabaseLook = (
    ProbeTarget, _ timeout: Duration, @escaping (ProbeOutcome) -> Void
  ) -> () -> Void

  private let eventLoop: any EventLoop
  private let resolutions: BlockingWork<Resolution>
  private let looks: BlockingWork<ProbeOutcome>
  private let trust: TrustStore
  private let databases: DatabaseLook
  private var running: [UInt64: ProbeRun] = [:]

  /// A runner without probes.
  /// - Parameters:
  ///   - certificateFile: trusted certificates (PEM) instead of the system's; nil takes the system's.
  ///   - databases: looks at what is in PostgreSQL or Redis.
  public init(
    eventLoop: any EventLoop, certificateFile: String?, databases: @escaping DatabaseLook
  ) {
    self.databases = databases
    self.eventLoop = eventLoop
    resolutions = BlockingWork(eventLoop: eventLoop)
    looks = BlockingWork(eventLoop: eventLoop)
    trust = TrustStore(file: certificateFile)
  }

  /// How many probes are under way.
  public var count: Int { running.count }

  /// Starts a probe. `completion` is called once, on the loop, at the latest when `timeout` is over; never after
  /// `cancel`. A probe that has the number of one under way takes its place.
  public func start(
    _ id: UInt64, _ target: ProbeTarget, timeout: Duration, _ completion: @escaping (ProbeOutcome) -> Void
  ) {
    cancel(id)
    let run = ProbeRun(eventLoop: eventLoop, target: target, timeout: timeout) { [weak self] outcome in
      self?.running[id] = nil
      completion(outcome)
    }
    running[id] = run
    switch target {
    case .dns(let host): resolve(host, run) { run.finish(.ready("\(host) is \(Self.list($0))")) }
    case .tcp(let host, let port):
      resolve(host, run) { run.connect(to: $0, port: port, of: host) { nil } }
    case .http(let isSecure, let host, let port, let path):
      let exchange = HTTPExchange(
        isSecure: isSecure, host: host, authority: ProbeTarget.authority(host, port, isSecure: isSecure),
        path: path, name: "\(target)", trust: trust)
      resolve(host, run) { run.connect(to: $0, port: port, of: host) { exchange.handlers(run) } }
    case .file(let path): look(run, "file", path) { FileProbe.look(path) }
    case .sqlite(let path): look(run, "sqlite", path) { SQLiteProbe.look(path) }
    case .postgres, .redis:
      run.waitsFor = "\(target): no answer"
      run.hold(databases(target, timeout) { run.finish($0) })
    }
  }

  /// Forgets a probe; nothing happens when it has ended.
  public func cancel(_ id: UInt64) {
    running.removeValue(forKey: id)?.abandon()
  }

  private func resolve(_ host: String, _ run: ProbeRun, _ next: @escaping ([SocketAddress]) -> Void) {
    if let literal = Resolver.literal(host) { return next([literal]) }
    run.waitsFor = "no answer to the look-up of the name \(host)"
    resolutions.run(host) { Resolver.resolve(host) }.assumeIsolated().whenComplete { result in
      guard !run.isEnded else { return }
      switch result {
      case .success(.addresses(let addresses)): next(addresses)
      case .success(.failed(let reason)): run.finish(.notYet(reason))
      case .failure(let error):
        run.finish(.notYet("the name \(host) could not be looked up: \(Self.text(error))"))
      }
    }
  }

  private func look(
    _ run: ProbeRun, _ kind: String, _ path: String, _ body: @escaping @Sendable () -> ProbeOutcome
  ) {
    // The kernel would look at the part before the first NUL, which is another file.
    guard !path.utf8.contains(0), !path.isEmpty else {
      return run.finish(.refused("the path is empty, or has a NUL"))
    }
    run.waitsFor = "no answer from the file system of \(path)"
    looks.run(kind + ":" + path, body).assumeIsolated().whenComplete { result in
      switch result {
      case .success(let outcome): run.finish(outcome)
      case .failure(let error): run.finish(.notYet("\(path) could not be looked at: \(Self.text(error))"))
      }
    }
  }

  private static func text(_ error: any Error) -> String {
    if let refusal = error as? BlockingWork<Resolution>.Refusal { return refusal.reason }
    if let refusal = error as? BlockingWork<ProbeOutcome>.Refusal { return refusal.reason }
    return "\(error)"
  }

  private static func list(_ addresses: [SocketAddress]) -> String {
    addresses.compactMap(\.ipAddress).joined(separator: ", ")
  }
}
