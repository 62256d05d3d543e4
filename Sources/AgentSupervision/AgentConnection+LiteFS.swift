import AgentProtocol

// LiteFS, as the agent of that role sees it.
extension AgentConnection {
  /// Begins to watch the LiteFS at this place: the agent is started, and what it says given to `onReport`, each report in
  /// a turn of its own. Once.
  public func watch(_ place: LiteFSPlace, onReport: @escaping (LiteFSReport) -> Void) {
    guard litefs == nil else { return }
    onLiteFSReport = onReport
    litefs = LiteFSTalk(place: place)
    submit(.need(true))
  }

  /// Asks; the answer comes with the reports.
  public func ask(_ request: LiteFSRequest) { converse(.ask(request)) }

  func converse(_ event: LiteFSTalk.Event) {
    guard let effects = litefs?.handle(event) else { return }
    for effect in effects {
      switch effect {
      case .send(let request): send(.litefs(request))
      case .deliver(let report):
        loop.defer { [weak self] in self?.onLiteFSReport?(report) }
      }
    }
  }
}
