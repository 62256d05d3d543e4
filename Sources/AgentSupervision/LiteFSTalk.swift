import AgentProtocol

/// What PID 1 wants of the agent that watches LiteFS, and what of it the next agent is told when one ends.
///
/// A value without I/O.
public struct LiteFSTalk: Sendable {
  /// What happens to it.
  public enum Event: Sendable, Equatable {
    /// Somebody asks.
    case ask(LiteFSRequest)
    /// There is an agent, to which nothing has been said yet.
    case connected
    /// The agent said this.
    case report(LiteFSReport)
    /// There is no agent any more, for this reason.
    case disconnected(String)
    /// There will be none.
    case unavailable(String)
  }

  /// What is to be done.
  public enum Effect: Sendable, Equatable {
    /// Send this to the agent.
    case send(LiteFSRequest)
    /// Give this to whoever watches.
    case deliver(LiteFSReport)
  }

  private let place: LiteFSPlace
  private var isRunning = false
  private var isConnected = false
  private var end: String?
  /// What has not been answered, in its order.
  private var asked: [LiteFSRequest] = []

  /// A talk about the LiteFS at this place.
  public init(place: LiteFSPlace) {
    self.place = place
  }

  /// The next step.
  public mutating func handle(_ event: Event) -> [Effect] {
    switch event {
    case .ask(let request): return ask(request)
    case .connected:
      isConnected = true
      return [.send(.watch(place))] + (isRunning ? [.send(.running(true))] : []) + asked.map { .send($0) }
    case .report(let report):
      if let id = report.id { asked.removeAll { $0.id == id } }
      return isConnected ? [.deliver(report)] : []
    case .disconnected(let reason):
      isConnected = false
      let failed = fail(reason) { request in
        switch request {
        // Whether it was done nobody knows, and doing it again later may be wrong by then.
        case .promote, .handoff: true
        default: false
        }
      }
      // Whatever it saw, it sees nothing more.
      return failed + [.deliver(.paused)]
    case .unavailable(let reason):
      isConnected = false
      end = reason
      return fail(reason) { _ in true }
    }
  }

  private mutating func ask(_ request: LiteFSRequest) -> [Effect] {
    switch request {
    case .watch: return []
    case .running(let runs):
      isRunning = runs
      return isConnected ? [.send(request)] : []
    case .look: return isConnected ? [.send(request)] : []
    case .clear, .holders, .promote, .handoff:
      asked.append(request)
      if let end { return fail(end) { _ in true } }
      return isConnected ? [.send(request)] : []
    }
  }

  private mutating func fail(_ reason: String, _ isLost: (LiteFSRequest) -> Bool) -> [Effect] {
    let lost = asked.filter(isLost)
    asked.removeAll(where: isLost)
    return lost.compactMap { request in request.id.map { .deliver(.failed(id: $0, reason)) } }
  }
}
