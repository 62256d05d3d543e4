import AgentProtocol
import AgentSupervision
import EventLoop
import Processes

// Waits, by way of the agent: it is started with the first and ended after the last.
extension Supervision {
  func beginWait(_ id: WaitID) {
    let dependencies = launch.waits[id] ?? []
    guard let agent = openAgent() else {
      return submit(.waited(id, .failed("there is no supervisor-agent to look with")))
    }
    let waiter = DependencyWaiter(
      loop: loop, agent: agent, wait: DependencyWait(dependencies, timeout: launch.waitTimeout),
      onSay: { [weak self] text in self?.note(.info, self?.lead(id, text) ?? text) },
      completion: { [weak self] outcome in
        guard let self else { return }
        waiters[id] = nil
        endAgentWhenIdle()
        switch outcome {
        case .ready: submit(.waited(id, .ready))
        case .failed(let text): submit(.waited(id, .failed(text)))
        case .timedOut(let text): submit(.waited(id, .timedOut(text)))
        }
      })
    waiters[id] = waiter
    waiter.start()
  }

  private func lead(_ id: WaitID, _ text: String) -> String {
    guard case .process(let process) = id else { return text }
    return "\(lifecycle.name(of: process)): \(text)"
  }

  func cancelWait(_ id: WaitID) {
    waiters.removeValue(forKey: id)?.cancel()
    endAgentWhenIdle()
  }

  func openAgent() -> AgentConnection? {
    if let agent { return agent }
    guard let program = launch.agentProgram else { return nil }
    let agent = AgentConnection(
      loop: loop, table: table, program: program, role: .coordination, environment: launch.agentEnvironment)
    agent.onLog = { [weak self] in self?.noteOfAgent($0, $1) }
    if let scope = launch.coordination { agent.coordinate(scope) }
    self.agent = agent
    return agent
  }

  func noteOfAgent(_ level: AgentReport.LogLevel, _ text: String) {
    let own: LogLevel =
      switch level {
      case .debug: .debug
      case .info: .info
      case .warning: .warning
      case .error: .error
      }
    note(own, text)
  }

  /// It is about to be needed for the leader lock, or holds it now and then.
  private var agentStays: Bool {
    launch.coordination?.postgres != nil && lifecycle.plan.takesPartInElection && !lifecycle.isStopping
  }

  /// Not at once: when a release becomes ready, all nodes of a machine start their apps in that moment, and the end of a
  /// process and of its connections is work, too.
  func endAgentWhenIdle() {
    guard isAgentIdle else { return }
    guard lifecycle.plan.scope == .life, !lifecycle.isStopping else { return endIdleAgent() }
    loop.schedule(after: Supervision.agentRest) { [weak self] in self?.endIdleAgent() }
  }

  /// How long an agent that nobody needs stays.
  static let agentRest = Duration.seconds(1)

  private var isAgentIdle: Bool {
    waiters.isEmpty && agent.map { !$0.isCoordinating } ?? false && !agentStays
  }

  private func endIdleAgent() {
    guard isAgentIdle, let ending = agent else { return }
    agent = nil
    // Kept until it has gone, so that its end is heard of.
    leavingAgents.append(ending)
    ending.stop { [weak self] in self?.leavingAgents.removeAll { $0 === ending } }
  }
}
