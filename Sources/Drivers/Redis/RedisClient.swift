import EventLoop
import NIOCore
import NIOPosix
import NIOSSL

/// Makes connections to Redis. Used on one event loop only, where everything is also called back.
public final class RedisClient {
  private let eventLoop: any NIOCore.EventLoop
  private let certificateFile: String?
  /// By file of trusted certificates: reading the system's costs milliseconds and memory.
  private var contexts: [String: NIOSSLContext] = [:]

  /// A client without connections.
  /// - Parameter certificateFile: trusted certificates (PEM) instead of the system's; nil takes the system's.
  public init(eventLoop: any NIOCore.EventLoop, certificateFile: String?) {
    self.eventLoop = eventLoop
    self.certificateFile = certificateFile
  }

  /// Makes a connection, logs in and selects the database.
  /// - Parameters:
  ///   - timeout: from now until it can be used.
  ///   - onMessage: is called for each message of a channel that the connection subscribes to.
  ///   - onEnd: is called once when it ends by itself after it was opened, not after `close`.
  ///   - completion: is called once, unless `close` comes first.
  @discardableResult
  public func open(
    _ target: RedisTarget, timeout: Duration, onMessage: @escaping () -> Void = {},
    onEnd: @escaping (RedisFailure) -> Void = { _ in },
    _ completion: @escaping (Result<Void, RedisFailure>) -> Void
  ) -> RedisConnection {
    let connection = RedisConnection(
      target: target, eventLoop: eventLoop, timeout: timeout, onMessage: onMessage, onEnd: onEnd,
      completion: completion)
    connect(connection, target, timeout)
    return connection
  }

  private func connect(_ connection: RedisConnection, _ target: RedisTarget, _ timeout: Duration) {
    let bootstrap = ClientBootstrap(group: eventLoop)
      .connectTimeout(.nanoseconds(max(timeout.wholeNanoseconds, 1_000_000)))
      // Cut networks are noticed without traffic too.
      .channelOption(.socketOption(.so_keepalive), value: 1)
      // Nothing is read before the handlers are there to take it.
      .channelOption(.autoRead, value: false)
    let future: EventLoopFuture<any Channel>
    switch target.place {
    case .socket(let path): future = bootstrap.connect(unixDomainSocketPath: path)
    case .tcp(let host, let port):
      // Names are looked up on a thread of NIO's; addresses need none.
      if let address = try? SocketAddress(ipAddress: host, port: port) {
        future = bootstrap.connect(to: address)
      } else {
        future = bootstrap.connect(host: host, port: port)
      }
    }
    future.assumeIsolated().whenComplete { result in
      switch result {
      case .failure(let error): connection.fail(RedisFailure.connecting(error, to: target))
      case .success(let channel): self.connected(connection, channel, target)
      }
    }
  }

  private func connected(_ connection: RedisConnection, _ channel: any Channel, _ target: RedisTarget) {
    guard connection.isWanted else { return channel.close(mode: .all, promise: nil) }
    do {
      var handlers: [any ChannelHandler] = []
      if target.isSecure, case .tcp(let host, _) = target.place {
        // An address cannot be named in the handshake, but the certificate is still compared with it.
        let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
        handlers.append(
          try NIOSSLClientHandler(context: try context(for: target), serverHostname: isAddress ? nil : host))
      }
      handlers.append(ReplyHandler(connection))
      try channel.pipeline.syncOperations.addHandlers(handlers)
    } catch {
      channel.close(mode: .all, promise: nil)
      return connection.fail(
        RedisFailure(
          .certificate,
          "\(target): the trusted certificates cannot be read (\(error)): install ca-certificates, or set SSL_CERT_FILE"
        ))
    }
    connection.begin(on: channel)
    channel.setOption(.autoRead, value: true).whenSuccess { channel.read() }
  }

  private func context(for target: RedisTarget) throws -> NIOSSLContext {
    let file = target.certificateFile ?? certificateFile
    if let context = contexts[file ?? ""] { return context }
    var configuration = TLSConfiguration.makeClientConfiguration()
    if let file { configuration.trustRoots = .file(file) }
    let context = try NIOSSLContext(configuration: configuration)
    contexts[file ?? ""] = context
    return context
  }
}

/// Hands bytes and the end on to the connection.
private final class ReplyHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let connection: RedisConnection

  init(_ connection: RedisConnection) {
    self.connection = connection
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    connection.received(unwrapInboundIn(data).readableBytesView)
  }

  func channelInactive(context: ChannelHandlerContext) {
    connection.closedByServer()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    connection.broke(error)
  }
}
