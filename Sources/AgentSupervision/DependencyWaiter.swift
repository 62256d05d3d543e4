import AgentProtocol
import EventLoop

/// A `DependencyWait` on the loop, looking through an agent. Several may share one agent.
public final class DependencyWaiter {
  private let loop: EventLoop
  private let agent: AgentConnection
  private let onSay: (String) -> Void
  private let completion: (DependencyWait.Outcome) -> Void
  private var wait: DependencyWait
  private var probes: [DependencyWait.Attempt: UInt64] = [:]
  private var timer: TimerID?
  private var isCancelled = false

  /// A wait that has not begun. `completion` is called once, unless it is cancelled; `onSay` for each line of progress.
  public init(
    loop: EventLoop, agent: AgentConnection, wait: DependencyWait, onSay: @escaping (String) -> Void,
    completion: @escaping (DependencyWait.Outcome) -> Void
  ) {
    self.loop = loop
    self.agent = agent
    self.wait = wait
    self.onSay = onSay
    self.completion = completion
  }

  deinit {
    cancel()
  }

  /// What is missing, with reasons; for status pages.
  public var missing: [String] { wait.missing }

  /// Begins; to be called once.
  public func start() {
    submit(.start)
  }

  /// Ends the wait without an outcome.
  public func cancel() {
    isCancelled = true
    if let timer { loop.cancel(timer) }
    timer = nil
    for probe in probes.values { agent.cancel(probe) }
    probes = [:]
  }

  /// Answers of the agent come in a turn of their own, so events never nest.
  private func submit(_ event: DependencyWait.Event) {
    guard !isCancelled else { return }
    for effect in wait.handle(event, at: .now) { perform(effect) }
  }

  private func perform(_ effect: DependencyWait.Effect) {
    switch effect {
    case .probe(let attempt, let target, let timeout):
      probes[attempt] = agent.probe(target, timeout: timeout) { [weak self] result in
        self?.probes[attempt] = nil
        switch result {
        case .success(let outcome): self?.submit(.result(attempt, outcome))
        case .failure(let failure): self?.submit(.unavailable(failure.reason))
        }
      }
    case .cancel(let attempt):
      if let probe = probes.removeValue(forKey: attempt) { agent.cancel(probe) }
    case .schedule(let time):
      if let timer { loop.cancel(timer) }
      timer = loop.schedule(at: time) { [weak self] in
        self?.timer = nil
        self?.submit(.timer)
      }
    case .say(let text): onSay(text)
    case .finished(let outcome):
      if let timer { loop.cancel(timer) }
      timer = nil
      completion(outcome)
    }
  }
}
