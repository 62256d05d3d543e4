import AgentProtocol
import NIOCore

/// LiteFS's HTTP API, asked without waiting for it: each request ends within two seconds, and what is under way is not
/// asked for a second time. Used on its event loop only.
public final class LiteFSAPI {
  private let dialer: APIDialer
  private let information: APIConnection
  private let variables: APIConnection
  private var orders: [APIConnection] = []
  private var stream: APIEvents?
  private var retry: Scheduled<Void>?
  /// Since the stream was last open: each try that fails waits longer than the last one, up to a second.
  private var failures = 0
  private var isWatching = false
  private var onLine: (([UInt8]) -> Void)?
  private var onEnd: ((String) -> Void)?

  /// An API at an address.
  public init(eventLoop: any EventLoop, host: String, port: UInt16) {
    dialer = APIDialer(eventLoop: eventLoop, host: host, port: port)
    information = APIConnection(dialer)
    variables = APIConnection(dialer)
  }

  /// `GET /info`, unless one is under way: then nothing happens. Calls back once.
  public func askInformation(_ completion: @escaping (Result<APIAnswer, APIFailure>) -> Void) {
    information.ask(.GET, "/info", limit: LiteFSReport.maximumBody, completion)
  }

  /// `GET /debug/vars`, unless one is under way: then nothing happens. Calls back once.
  public func askVariables(_ completion: @escaping (Result<APIAnswer, APIFailure>) -> Void) {
    variables.ask(.GET, "/debug/vars", limit: LiteFSReport.maximumVariables, completion)
  }

  /// `POST /promote`. Calls back once.
  public func promote(_ completion: @escaping (APIFailure?) -> Void) { order("/promote", completion) }

  /// `POST /handoff`, to the node with this ID. Calls back once.
  public func handOff(to nodeID: String, _ completion: @escaping (APIFailure?) -> Void) {
    // It goes into the request's first line.
    guard !nodeID.isEmpty, nodeID.utf8.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }) else {
      return completion(APIFailure(text: "'\(nodeID)' is not the ID of a node, which is hexadecimal"))
    }
    order("/handoff?nodeID=\(nodeID)", completion)
  }

  private func order(_ uri: String, _ completion: @escaping (APIFailure?) -> Void) {
    let connection = APIConnection(dialer)
    orders.append(connection)
    connection.ask(.POST, uri, limit: LiteFSReport.maximumBody) { [self] result in
      orders.removeAll { $0 === connection }
      connection.close()
      switch result {
      case .success: completion(nil)
      case .failure(let failure): completion(failure)
      }
    }
  }

  /// Keeps the stream of events open, and opens it again when it ends: `onLine` takes each line, `onEnd` is told
  /// each time that it has ended or cannot be opened, and why.
  public func watchEvents(onLine: @escaping ([UInt8]) -> Void, onEnd: @escaping (String) -> Void) {
    isWatching = true
    self.onLine = onLine
    self.onEnd = onEnd
    failures = 0
    open()
  }

  /// Opens the stream now, should it wait to be tried again.
  public func retryEvents() {
    if isWatching, stream == nil { open() }
  }

  /// Closes everything; who waits for an answer gets none.
  public func close() {
    isWatching = false
    onLine = nil
    onEnd = nil
    retry?.cancel()
    stream?.close()
    stream = nil
    information.close()
    variables.close()
    for order in orders { order.close() }
    orders = []
  }

  private func open() {
    retry?.cancel()
    retry = nil
    stream = APIEvents(dialer, limit: LiteFSReport.maximumBody) { [weak self] line in
      self?.failures = 0
      self?.onLine?(line)
    } onEnd: { [weak self] reason in
      guard let self, isWatching else { return }
      stream = nil
      // 100, 200, 400, 800 ms, and a second.
      let pause = min(Int64(100) << min(failures, 4), 1000)
      failures += 1
      retry = dialer.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(pause)) { [weak self] in
        self?.open()
      }
      onEnd?(reason)
    }
  }
}
