import NIOCore
import NIOHTTP1

/// The stream of `GET /events`, while it lasts. Used on its event loop only.
final class APIEvents {
  private let dialer: APIDialer
  private let limit: Int
  private let onLine: ([UInt8]) -> Void
  private let onEnd: (String) -> Void
  private var handler: APIHandler?
  private var timer: Scheduled<Void>?
  private var partial: [UInt8] = []
  private var isOver = false

  /// Opens it.
  ///
  /// - Parameters:
  ///   - limit: bytes that a line may have.
  ///   - onLine: takes each line, without its end.
  ///   - onEnd: told once that there will be no more, and why; never after `close`.
  init(
    _ dialer: APIDialer, limit: Int, onLine: @escaping ([UInt8]) -> Void, onEnd: @escaping (String) -> Void
  ) {
    self.dialer = dialer
    self.limit = limit
    self.onLine = onLine
    self.onEnd = onEnd
    timer = dialer.eventLoop.assumeIsolated().scheduleTask(in: APIDialer.time) { [weak self] in
      self?.end("no answer within 2s")
    }
    let handler = APIHandler()
    self.handler = handler
    handler.onPart = { [weak self] in self?.take($0) }
    handler.onEnd = { [weak self] in self?.end($0) }
    dialer.dial({ [weak self] result in
      guard let self, !isOver else { return handler.drop() }
      switch result {
      case .failure(let failure): end(failure.text)
      case .success: handler.send(dialer.head(.GET, "/events"))
      }
    }) { handler }
  }

  /// Ends it without a word.
  func close() {
    isOver = true
    timer?.cancel()
    handler?.drop()
    handler = nil
  }

  private func end(_ reason: String) {
    guard !isOver else { return }
    close()
    onEnd(reason)
  }

  private func take(_ part: HTTPClientResponsePart) {
    switch part {
    case .head(let head):
      guard head.status == .ok else {
        return end("it answers \(head.status.code) \(head.status.reasonPhrase)")
      }
      timer?.cancel()
    case .body(let bytes): take(bytes.readableBytesView)
    case .end: end("LiteFS ended it")
    }
  }

  private func take(_ bytes: ByteBufferView) {
    for byte in bytes {
      guard byte == UInt8(ascii: "\n") else {
        guard partial.count < limit else { return end("a line has more than \(limit >> 10) KiB") }
        partial.append(byte)
        continue
      }
      let line = partial
      partial.removeAll(keepingCapacity: true)
      if !line.isEmpty { onLine(line) }
      // Whoever took the line may have closed the stream.
      if isOver { return }
    }
  }
}
