import Control
import EventLoop
import Journal

/// Gives arbitrary bytes to the parser of the health page and of the control socket, and what comes out of it to
/// the pages. Whatever they are: no trap, and the outcome does not depend on how the bytes were cut.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: start, count: count)
  // The first byte says how the rest is cut, and on which of the two listeners it arrives.
  guard let first = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  let allowsPost = first & 1 == 1
  let whole = parse(bytes, portion: max(bytes.count, 1), allowsPost: allowsPost)
  precondition(whole == parse(bytes, portion: Int(first >> 1) % 17 + 1, allowsPost: allowsPost))

  switch whole {
  case .incomplete:
    precondition(bytes.count <= HTTPRequestParser.maximumBytes)
  case .rejected(let rejection):
    precondition([400, 405, 413, 414, 431, 501, 505].contains(rejection.status))
    precondition(isPrintable(rejection.reason))
    checkWire(rejection.response)
  case .complete(let request):
    precondition(allowsPost || request.method != .post)
    checkWire(pages.response(to: request, from: allowsPost ? .unix(pid: 1, uid: 0) : .tcp))
  }
  return 0
}

private func parse(_ bytes: [UInt8], portion: Int, allowsPost: Bool) -> HTTPRequestParser.Progress {
  var parser = HTTPRequestParser(allowsPost: allowsPost)
  var index = 0
  while index < bytes.count {
    parser.feed(bytes[index..<min(index + portion, bytes.count)])
    index += portion
  }
  return parser.progress
}

/// What a peer sent must never end the head of an answer early, nor add a header to it.
private func checkWire(_ response: HTTPResponse) {
  let head = response.serialized(isHead: true, date: WallTime(nanoseconds: 0))
  let text = String(decoding: head, as: UTF8.self)
  precondition(
    text.hasPrefix("HTTP/1.1 \(response.status) ") && text.hasSuffix("\r\nConnection: close\r\n\r\n"))
  let lines = text.split(separator: "\r\n")
  precondition(lines.count == (response.allow == nil ? 8 : 9))
}

private func isPrintable(_ text: String) -> Bool {
  text.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value < 0x7f }
}

private var pages: Pages {
  let moment = Moment(wall: WallTime(nanoseconds: 0), monotonic: MonotonicInstant(nanoseconds: 0))
  let snapshot = Snapshot(
    takenAt: moment, version: "0", pid: 1, nodeName: "fuzz", stage: .running, startedAt: moment,
    processes: [.init(name: "app", kind: .app, state: .running)])
  return Pages(
    ownUserID: 0, snapshot: { snapshot }, journal: { Journal() },
    control: { $0.processName == "app" ? .accepted("done") : .unknownProcess(["app"]) })
}
