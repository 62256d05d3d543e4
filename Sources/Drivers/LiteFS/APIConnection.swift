import NIOCore
import NIOHTTP1

/// What LiteFS's API answered with status 200.
public struct APIAnswer: Sendable {
  /// The body.
  public var body: [UInt8]
  /// The header `Litefs-Id`: this start's name of the node, 16 hexadecimal digits; empty when it is missing.
  public var nodeID: String
  /// The header `Litefs-Cluster-Id`; empty before there is a cluster.
  public var clusterID: String
  /// When it was asked for.
  public var askedAt: NIODeadline
}

/// One request after the other over a connection that stays open, each answered within its time. Used on its event loop
/// only.
final class APIConnection {
  private let dialer: APIDialer
  private var handler: APIHandler?
  private var exchange: Exchange?

  private final class Exchange {
    let head: HTTPRequestHead
    let limit: Int
    let askedAt = NIODeadline.now()
    var completion: ((Result<APIAnswer, APIFailure>) -> Void)?
    var timer: Scheduled<Void>?
    var answer: HTTPResponseHead?
    var body: [UInt8] = []
    /// The connection was open before: that it is closed may have nothing to do with this request.
    var isOnOldConnection = false

    init(
      _ head: HTTPRequestHead, _ limit: Int, _ completion: @escaping (Result<APIAnswer, APIFailure>) -> Void
    ) {
      self.head = head
      self.limit = limit
      self.completion = completion
    }
  }

  init(_ dialer: APIDialer) {
    self.dialer = dialer
  }

  /// Whether a request is under way.
  var isBusy: Bool { exchange != nil }

  /// Asks, unless a request is under way: then nothing happens. Calls back once.
  ///
  /// - Parameter limit: bytes that the body may have.
  func ask(
    _ method: HTTPMethod, _ uri: String, limit: Int,
    _ completion: @escaping (Result<APIAnswer, APIFailure>) -> Void
  ) {
    guard exchange == nil else { return }
    let exchange = Exchange(dialer.head(method, uri), limit, completion)
    self.exchange = exchange
    exchange.timer = dialer.eventLoop.assumeIsolated().scheduleTask(in: APIDialer.time) { [weak self] in
      self?.fail(exchange, "no answer within 2s")
    }
    // A connection that was left alone may be half gone; only what can be repeated uses it.
    if let handler, method == .GET {
      exchange.isOnOldConnection = true
      handler.send(exchange.head)
    } else {
      connect(exchange)
    }
  }

  /// Closes the connection; who waits for an answer gets none.
  func close() {
    exchange?.timer?.cancel()
    exchange?.completion = nil
    exchange = nil
    handler?.drop()
    handler = nil
  }

  private func connect(_ exchange: Exchange) {
    handler?.drop()
    handler = nil
    let handler = APIHandler()
    dialer.dial({ [weak self] result in
      switch result {
      case .failure(let failure): self?.fail(exchange, failure.text)
      case .success:
        // Too late, or nobody is there to take it.
        guard let self, self.exchange === exchange else { return handler.drop() }
        use(handler)
        handler.send(exchange.head)
      }
    }) { handler }
  }

  private func use(_ handler: APIHandler) {
    self.handler = handler
    handler.onPart = { [weak self] in self?.take($0) }
    handler.onEnd = { [weak self] reason in
      guard let self else { return }
      self.handler = nil
      guard let exchange else { return }
      if exchange.isOnOldConnection, exchange.answer == nil {
        exchange.isOnOldConnection = false
        connect(exchange)
      } else {
        fail(exchange, reason)
      }
    }
  }

  private func take(_ part: HTTPClientResponsePart) {
    guard let exchange else { return }
    switch part {
    case .head(let head): exchange.answer = head
    case .body(let bytes):
      guard exchange.body.count + bytes.readableBytes <= exchange.limit else {
        return fail(exchange, "the answer has more than \(exchange.limit >> 10) KiB")
      }
      exchange.body += bytes.readableBytesView
    case .end: finish(exchange)
    }
  }

  private func finish(_ exchange: Exchange) {
    guard let head = exchange.answer else { return }
    if !head.isKeepAlive {
      handler?.drop()
      handler = nil
    }
    guard head.status == .ok else {
      let line = String(
        decoding: exchange.body.prefix { $0 != UInt8(ascii: "\n") }.prefix(512), as: UTF8.self)
      let status = "\(head.status.code) \(head.status.reasonPhrase)"
      return end(
        exchange,
        .failure(APIFailure(text: line.isEmpty ? "it answers \(status)" : "it answers \(status): \(line)")))
    }
    end(
      exchange,
      .success(
        APIAnswer(
          body: exchange.body, nodeID: head.headers.first(name: "Litefs-Id") ?? "",
          clusterID: head.headers.first(name: "Litefs-Cluster-Id") ?? "", askedAt: exchange.askedAt)))
  }

  private func fail(_ exchange: Exchange, _ reason: String) {
    guard self.exchange === exchange else { return }
    handler?.drop()
    handler = nil
    end(exchange, .failure(APIFailure(text: reason)))
  }

  private func end(_ exchange: Exchange, _ result: Result<APIAnswer, APIFailure>) {
    exchange.timer?.cancel()
    if self.exchange === exchange { self.exchange = nil }
    let call = exchange.completion
    exchange.completion = nil
    call?(result)
  }
}
