import AgentProtocol
import Blocking
import NIOCore
import NIOPosix

/// One probe under way: its deadline, its connection, and that it ends once.
final class ProbeRun {
  private let eventLoop: any EventLoop
  private let target: ProbeTarget
  private let timeout: Duration
  private let deadline: NIODeadline
  private var completion: ((ProbeOutcome) -> Void)?
  private var timer: Scheduled<Void>?
  private var channel: (any Channel)?
  private var abandonment: (() -> Void)?

  /// What is missing should the time be up now.
  var waitsFor = "no answer"

  var isEnded: Bool { completion == nil }

  init(
    eventLoop: any EventLoop, target: ProbeTarget, timeout: Duration,
    completion: @escaping (ProbeOutcome) -> Void
  ) {
    self.eventLoop = eventLoop
    self.target = target
    self.timeout = timeout
    self.completion = completion
    let amount = TimeAmount(timeout)
    deadline = .now() + amount
    timer = eventLoop.assumeIsolated().scheduleTask(in: amount) { [weak self] in
      guard let self else { return }
      finish(.notYet("\(waitsFor) within \(Self.readable(timeout))"))
    }
  }

  /// Ends the probe with this outcome; nothing happens when it has ended.
  func finish(_ outcome: ProbeOutcome) {
    guard let completion else { return }
    abandon()
    completion(outcome)
  }

  /// Ends the probe without an outcome.
  func abandon() {
    completion = nil
    timer?.cancel()
    timer = nil
    channel?.close(mode: .all, promise: nil)
    channel = nil
    abandonment?()
    abandonment = nil
  }

  /// Takes what ends the work that another one does for this probe.
  func hold(_ abandonment: @escaping () -> Void) {
    guard !isEnded else { return abandonment() }
    self.abandonment = abandonment
  }

  // MARK: Connecting

  /// Tries the addresses in turn; each gets its share of the time that is left. With a connection, the handlers take
  /// over, and end the probe; without any handlers the connection itself was what was looked for.
  func connect(
    to addresses: [SocketAddress], port: UInt16, of host: String, reasons: [String] = [],
    handlers: @escaping () -> [any ChannelHandler]?
  ) {
    guard !isEnded else { return }
    guard var address = addresses.first else {
      return finish(.notYet("\(name(host, port)): \(reasons.joined(separator: "; "))"))
    }
    address.port = Int(port)
    let rest = Array(addresses.dropFirst())
    waitsFor = "\(name(host, port)): no connection"
    let left = max((deadline - .now()).nanoseconds, 1_000_000)
    ClientBootstrap(group: eventLoop)
      .connectTimeout(.nanoseconds(left / Int64(addresses.count)))
      // Nothing is read before the handlers are there to take it.
      .channelOption(.autoRead, value: false)
      .connect(to: address)
      .assumeIsolated().whenComplete { result in
        switch result {
        case .failure(let error):
          let reason = Self.reason(error, at: address.ipAddress == host ? nil : address.ipAddress)
          self.connect(
            to: rest, port: port, of: host, reasons: reasons.contains(reason) ? reasons : reasons + [reason],
            handlers: handlers)
        case .success(let channel): self.connected(channel, "\(self.name(host, port))", handlers)
        }
      }
  }

  private func connected(
    _ channel: any Channel, _ name: String, _ handlers: () -> [any ChannelHandler]?
  ) {
    guard !isEnded else { return channel.close(mode: .all, promise: nil) }
    self.channel = channel
    do {
      guard let handlers = handlers() else { return finish(.ready("\(name) takes connections")) }
      waitsFor = "\(target): no answer"
      try channel.pipeline.syncOperations.addHandlers(handlers)
    } catch {
      return finish(.notYet("\(target) could not be asked: \(error)"))
    }
    channel.setOption(.autoRead, value: true).whenSuccess { channel.read() }
  }

  private func name(_ host: String, _ port: UInt16) -> String { "\(ProbeTarget.bracketed(host)):\(port)" }

  /// - Parameter place: the address, where the name does not say it already.
  private static func reason(_ error: any Error, at place: String?) -> String {
    let reason: String
    if let error = error as? IOError {
      reason = text(of: error.errnoCode).lowercased()
    } else if case .connectTimeout? = error as? ChannelError {
      reason = "no answer"
    } else {
      reason = "\(error)"
    }
    return place.map { "\(reason) (\($0))" } ?? reason
  }

  private static func readable(_ time: Duration) -> String {
    let milliseconds = time.components.seconds * 1000 + time.components.attoseconds / 1_000_000_000_000_000
    return milliseconds % 1000 == 0 ? "\(milliseconds / 1000)s" : "\(milliseconds)ms"
  }
}
