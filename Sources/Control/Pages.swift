import EventLoop
import Journal

/// What is served, and to whom: joins the pages, the control requests, and the life cycle's answers.
///
/// Reading is for everybody; changes only come over the control socket, from our own user or root.
public struct Pages {
  private let ownUserID: UInt32
  private let snapshot: () -> Snapshot
  private let journal: () -> Journal
  private let control: (ControlRequest) -> ControlOutcome

  /// Pages over the life cycle's state.
  ///
  /// - Parameters:
  ///   - ownUserID: the user who may make changes, besides root.
  ///   - snapshot: the state at present; called only for pages that show it.
  ///   - journal: the events so far; called only for pages that show them.
  ///   - control: takes a change up without waiting for it, and says what will come of it.
  public init(
    ownUserID: UInt32, snapshot: @escaping () -> Snapshot, journal: @escaping () -> Journal,
    control: @escaping (ControlRequest) -> ControlOutcome
  ) {
    self.ownUserID = ownUserID
    self.snapshot = snapshot
    self.journal = journal
    self.control = control
  }

  /// The answer to one request: the server's handler.
  public func response(to request: HTTPRequest, from peer: Peer) -> HTTPResponse {
    if request.path.first == "processes" { return processes(request, peer) }
    guard request.path.count <= 1, let page = page(request.path.first ?? "") else {
      return .text(
        404, "no such page; there are / /livez /startupz /readyz /primary /replica /status /metrics")
    }
    guard request.method != .post else {
      return HTTPResponse(status: 405, allow: "GET, HEAD", body: "this page is only for reading\n")
    }
    return page(request)
  }

  private func page(_ name: String) -> ((HTTPRequest) -> HTTPResponse)? {
    switch name {
    case "": { _ in StatusPage.response(snapshot(), journal()) }
    case "livez": { _ in ProbePages.live }
    case "startupz": { ProbePages.startup(snapshot(), isVerbose: Pages.isVerbose($0)) }
    case "readyz": { ProbePages.ready(snapshot(), isVerbose: Pages.isVerbose($0)) }
    case "primary": { _ in ProbePages.role(.primary, snapshot()) }
    case "replica": { _ in ProbePages.role(.replica, snapshot()) }
    case "status": { status($0) }
    case "metrics": { _ in MetricsPage.response(snapshot(), journal()) }
    default: nil
    }
  }

  private static func isVerbose(_ request: HTTPRequest) -> Bool {
    guard let value = request.queryValue("verbose") else { return false }
    return value != "0" && value != "false"
  }

  private func status(_ request: HTTPRequest) -> HTTPResponse {
    switch request.queryValue("format") {
    case nil, "json": return StatusJSON.response(snapshot(), journal())
    case "text":
      let width = request.queryValue("width").flatMap { Int($0) } ?? StatusText.defaultWidth
      return HTTPResponse(status: 200, body: StatusText.render(snapshot(), journal(), width: width))
    case let other?: return .text(400, "format is 'json' or 'text', not '\(other)'")
    }
  }

  // MARK: Changes

  private func processes(_ request: HTTPRequest, _ peer: Peer) -> HTTPResponse {
    guard request.path.count == 3, let change = Pages.change(request.path[1], request.path[2]) else {
      return .text(404, "changes are POST /processes/NAME/restart, stop, start, or signal?signal=NAME")
    }
    guard case .unix(_, let uid) = peer else {
      return .text(403, "changes are only taken over the control socket")
    }
    guard request.method == .post else {
      return HTTPResponse(status: 405, allow: "POST", body: "a change needs POST\n")
    }
    guard uid == 0 || uid == ownUserID else {
      return .text(
        403, "user \(uid) may read but not change anything here: only user \(ownUserID) and root may")
    }
    switch change(request) {
    case .success(let change): return Pages.response(to: change, outcome: control(change))
    case .failure(let rejection): return rejection.response
    }
  }

  private static func change(
    _ name: String, _ verb: String
  ) -> ((HTTPRequest) -> Result<ControlRequest, HTTPRejection>)? {
    switch verb {
    case "restart": { _ in .success(.restart(name)) }
    case "stop": { _ in .success(.stop(name)) }
    case "start": { _ in .success(.start(name)) }
    case "signal":
      { request in
        let text = request.queryValue("signal") ?? ""
        guard let signal = Signal(name: text) else {
          let given = text.isEmpty ? "is missing" : "'\(text)' is unknown"
          return .failure(.badRequest("the signal \(given); give it as in ?signal=USR1"))
        }
        return .success(.signal(name, signal))
      }
    default: nil
    }
  }

  private static func response(to request: ControlRequest, outcome: ControlOutcome) -> HTTPResponse {
    switch outcome {
    case .accepted(let text): return .text(202, text)
    case .refused(let reason): return .text(409, reason)
    case .unknownProcess(let names):
      let known = names.isEmpty ? "there is none at all" : "there are: \(names.joined(separator: ", "))"
      return .text(404, "no process is called '\(request.processName)'; \(known)")
    }
  }
}
