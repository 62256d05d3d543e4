import AgentProtocol
import Blocking
import NIOCore
import NIOHTTP1
import NIOSSL

/// The certificates that https believes in, read when they are needed first.
final class TrustStore {
  private let file: String?
  private var context: NIOSSLContext?

  init(file: String?) {
    self.file = file
  }

  func client(for host: String) throws -> NIOSSLClientHandler {
    if context == nil {
      var configuration = TLSConfiguration.makeClientConfiguration()
      if let file { configuration.trustRoots = .file(file) }
      context = try NIOSSLContext(configuration: configuration)
    }
    guard let context else { throw NIOSSLError.failedToLoadCertificate }
    // An address cannot be named in the handshake, but the certificate is still compared with it.
    let isAddress = Resolver.literal(host) != nil
    return try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host)
  }
}

/// One GET, and what its answer means.
struct HTTPExchange {
  let isSecure: Bool
  let host: String
  let authority: String
  let path: String
  /// The URL, for messages.
  let name: String
  let trust: TrustStore

  func handlers(_ run: ProbeRun) -> [any ChannelHandler]? {
    var handlers: [any ChannelHandler] = []
    if isSecure {
      do {
        handlers.append(try trust.client(for: host))
      } catch {
        run.finish(
          .refused(
            "\(name): the trusted certificates cannot be read (\(error)): install ca-certificates, or set SSL_CERT_FILE"
          ))
        return []
      }
    }
    handlers.append(HTTPRequestEncoder())
    handlers.append(ByteToMessageHandler(HTTPResponseDecoder()))
    handlers.append(AnswerHandler(exchange: self, run: run))
    return handlers
  }
}

private final class AnswerHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart

  private let exchange: HTTPExchange
  private let run: ProbeRun

  init(exchange: HTTPExchange, run: ProbeRun) {
    self.exchange = exchange
    self.run = run
  }

  /// It is added to a connection that is open already, so nobody will tell it that it becomes active. With TLS the
  /// request waits for the handshake.
  func handlerAdded(context: ChannelHandlerContext) {
    let headers: HTTPHeaders = [
      "Host": exchange.authority, "User-Agent": "supervisor", "Accept": "*/*", "Connection": "close",
    ]
    let head = HTTPRequestHead(version: .http1_1, method: .GET, uri: exchange.path, headers: headers)
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard case .head(let head) = unwrapInboundIn(data) else { return }
    let code = head.status.code
    if (200..<400).contains(code) {
      run.finish(.ready("\(exchange.name) answers \(code)"))
    } else {
      run.finish(.notYet("\(exchange.name) answers \(code) \(head.status.reasonPhrase)"))
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    run.finish(.notYet("\(exchange.name): the connection was closed before an answer"))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    let name = exchange.name
    switch error {
    case NIOSSLError.handshakeFailed(.sslError(let stack))
    where stack.contains(where: { $0.description.contains("CERTIFICATE_VERIFY_FAILED") }):
      run.finish(
        .refused(
          "\(name): its certificate is not trusted: it is signed by itself or by an authority that is not known here, "
            + "or its time is over; install the authority's certificate, or name it in SSL_CERT_FILE"))
    case NIOSSLError.unableToValidateCertificate, is NIOSSLExtraError:
      run.finish(.refused("\(name): its certificate is for another name than \(exchange.host)"))
    case NIOSSLError.handshakeFailed(let reason):
      run.finish(.notYet("\(name): no TLS connection: \(Self.brief(reason))"))
    case is HTTPParserError: run.finish(.notYet("\(name): the answer is not HTTP"))
    case let error as IOError:
      run.finish(.notYet("\(name): \(text(of: error.errnoCode).lowercased()) before an answer"))
    default: run.finish(.notYet("\(name): \(error)"))
    }
  }

  /// The part of a TLS library's message that is for people: `WRONG_VERSION_NUMBER`.
  private static func brief(_ error: BoringSSLError) -> String {
    guard case .sslError(let stack) = error, let first = stack.first else { return "\(error)" }
    let words = first.description.split { $0 == ":" || $0 == " " }
    return words.last { $0.count > 3 && $0.allSatisfy { $0.isUppercase || $0 == "_" } }.map(String.init)
      ?? first.description
  }
}
