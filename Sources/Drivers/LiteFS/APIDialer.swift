import Blocking
import NIOCore
import NIOHTTP1
import NIOPosix

/// Why LiteFS's API did not do what was asked: the rest of a sentence, without the final stop.
public struct APIFailure: Error, Equatable, Sendable {
  /// The rest of a sentence.
  public var text: String
}

/// Makes connections to LiteFS's API. Used on its event loop only.
final class APIDialer {
  let eventLoop: any EventLoop
  private let host: String
  private let port: UInt16
  private let resolutions: BlockingWork<Resolution>

  /// How long anything may take, but for the stream of events once it has begun.
  static let time = TimeAmount.seconds(2)

  init(eventLoop: any EventLoop, host: String, port: UInt16) {
    self.eventLoop = eventLoop
    // What LiteFS listens on may be every interface; and its own name for this machine needs no look-up.
    self.host =
      switch host {
      case "", "0.0.0.0", "localhost": "127.0.0.1"
      case "::": "::1"
      default: host
      }
    self.port = port
    resolutions = BlockingWork(eventLoop: eventLoop)
  }

  /// A request's head. HTTP asks for the host to be named.
  func head(_ method: HTTPMethod, _ uri: String) -> HTTPRequestHead {
    let name = host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]" : host
    var headers: HTTPHeaders = ["Host": "\(name):\(port)", "User-Agent": "supervisor"]
    if method == .POST { headers.add(name: "Content-Length", value: "0") }
    return HTTPRequestHead(version: .http1_1, method: method, uri: uri, headers: headers)
  }

  /// Opens a connection and gives it to `handler`, which has to see to the deadline: it may be called after it.
  func dial(
    _ completion: @escaping (Result<any Channel, APIFailure>) -> Void,
    handler: @escaping () -> any ChannelHandler
  ) {
    if let literal = Resolver.literal(host) {
      return connect(to: [literal], reasons: [], completion, handler)
    }
    resolutions.run(host) { [host] in Resolver.resolve(host) }.assumeIsolated().whenComplete { result in
      switch result {
      case .success(.addresses(let addresses)): self.connect(to: addresses, reasons: [], completion, handler)
      case .success(.failed(let reason)): completion(.failure(APIFailure(text: reason)))
      case .failure(let error):
        let reason = (error as? BlockingWork<Resolution>.Refusal)?.reason ?? "\(error)"
        completion(.failure(APIFailure(text: "the name \(self.host) could not be looked up: \(reason)")))
      }
    }
  }

  private func connect(
    to addresses: [SocketAddress], reasons: [String],
    _ completion: @escaping (Result<any Channel, APIFailure>) -> Void,
    _ handler: @escaping () -> any ChannelHandler
  ) {
    guard var address = addresses.first else {
      return completion(.failure(APIFailure(text: reasons.joined(separator: "; "))))
    }
    address.port = Int(port)
    ClientBootstrap(group: eventLoop)
      .connectTimeout(Self.time)
      // Nothing is read before the handlers are there to take it.
      .channelOption(.autoRead, value: false)
      .connect(to: address)
      .assumeIsolated().whenComplete { result in
        switch result {
        case .failure(let error):
          let reason = Self.text(error)
          self.connect(
            to: Array(addresses.dropFirst()),
            reasons: reasons.contains(reason) ? reasons : reasons + [reason],
            completion, handler)
        case .success(let channel):
          do {
            try channel.pipeline.syncOperations.addHandlers([
              HTTPRequestEncoder(), ByteToMessageHandler(HTTPResponseDecoder()), handler(),
            ])
          } catch {
            return completion(.failure(APIFailure(text: Self.text(error))))
          }
          channel.setOption(.autoRead, value: true).whenSuccess { channel.read() }
          completion(.success(channel))
        }
      }
  }

  /// What an error of a connection says to people.
  static func text(_ error: any Error) -> String {
    if let error = error as? IOError { return Blocking.text(of: error.errnoCode).lowercased() }
    if case .connectTimeout? = error as? ChannelError { return "no connection within 2s" }
    if error is HTTPParserError { return "the answer is not HTTP" }
    return "\(error)"
  }
}

/// Hands what comes over a connection to whoever has it, until he lets go of it.
final class APIHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart

  /// Takes each part of an answer.
  var onPart: ((HTTPClientResponsePart) -> Void)?
  /// Told once that the connection is over, and why.
  var onEnd: ((String) -> Void)?
  private var context: ChannelHandlerContext?

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }
  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func send(_ head: HTTPRequestHead) {
    guard let context else { return }
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
  }

  /// Closes the connection; nobody hears of it any more.
  func drop() {
    onPart = nil
    onEnd = nil
    context?.close(mode: .all, promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) { onPart?(unwrapInboundIn(data)) }

  func channelInactive(context: ChannelHandlerContext) { end("the connection was closed") }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(APIDialer.text(error))
    context.close(mode: .all, promise: nil)
  }

  private func end(_ reason: String) {
    let call = onEnd
    onPart = nil
    onEnd = nil
    call?(reason)
  }
}
