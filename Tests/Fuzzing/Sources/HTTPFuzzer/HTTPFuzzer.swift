import Control
import EventLoop
import FuzzInput
import Journal

/// Gives arbitrary bytes to the parser of the health page and of the control socket, and what comes out of it to
/// the pages. Whatever they are: no trap, and the outcome does not depend on how the bytes were cut.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let input = CutInput(start, count) else { return 0 }
  // On which of the two listeners it arrives.
  let allowsPost = input.first & 1 == 1
  let whole = input.outcome(cutBy: input.first >> 1) { parse($0, allowsPost: allowsPost) }

  switch whole {
  case .incomplete:
    precondition(input.bytes.count <= HTTPRequestParser.maximumBytes)
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

private func parse(_ pieces: [ArraySlice<UInt8>], allowsPost: Bool) -> HTTPRequestParser.Progress {
  var parser = HTTPRequestParser(allowsPost: allowsPost)
  for piece in pieces { parser.feed(piece) }
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

private var pages: Pages {
  let moment = Moment(wall: WallTime(nanoseconds: 0), monotonic: MonotonicInstant(nanoseconds: 0))
  let snapshot = Snapshot(
    takenAt: moment, version: "0", pid: 1, nodeName: "fuzz", stage: .running, startedAt: moment,
    processes: [.init(name: "app", kind: .app, state: .running)])
  return Pages(
    ownUserID: 0, snapshot: { snapshot }, journal: { Journal() },
    control: { $0.processName == "app" ? .accepted("done") : .unknownProcess(["app"]) })
}
