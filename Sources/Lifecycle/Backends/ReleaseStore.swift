import AgentProtocol
import AgentSupervision
import Coordination
import EventLoop
import Phases
import Processes
import ReleaseRecords

/// The release record for commands that look at it, or change it, and end: they may wait for the
/// answer. Changes are made under the infrastructure lock.
public final class ReleaseStore {
  /// Why it cannot be used.
  public enum Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// Directory, server, record or lock.
    case unusable(StoreFailure)
    /// The lock did not become free.
    case busy(holder: String, waited: Duration)

    /// One sentence.
    public var description: String {
      switch self {
      case .unusable(let failure): return failure.text
      case .busy(let holder, let waited):
        return "\(holder) works on the infrastructure phase; waited \(waited.readable) for its lock"
      }
    }

    /// Design, section 9.
    public var exitCode: Int32 {
      switch self {
      case .unusable(let failure): return failure.exitCode
      case .busy: return 75
      }
    }
  }

  /// What becomes of a record.
  public enum Change: Sendable {
    /// Nothing.
    case keep
    /// This one in its place.
    case replace(ReleaseRecord)
    /// It goes.
    case remove
  }

  /// How others see us.
  public let owner: String
  private let loop: EventLoop
  private let table: ProcessTable
  private let patience: Duration
  private let backend: any ReleaseBackend
  private let agent: AgentConnection?
  private var holder = "another process"

  /// Opens it.
  /// - Parameters:
  ///   - patience: how long to wait for the lock, or for a server.
  ///   - servers: of lock, record and readiness; nil when they are files.
  public init(
    layout: FileLayout, runID: RunID, owner: String, patience: Duration, servers: CoordinationServers?
  ) throws {
    self.owner = owner
    self.patience = patience
    let loop = try EventLoop()
    let table = try ProcessTable(loop: loop)
    self.loop = loop
    self.table = table
    let shared = SharedAgent()
    let agent = servers.map {
      AgentConnection(
        loop: loop, table: table, program: $0.agentProgram, role: .coordination,
        environment: $0.agentEnvironment)
    }
    if let servers { agent?.coordinate(servers.scope) }
    shared.open = { agent }
    self.agent = agent
    var plan = LifecyclePlan(
      app: LifecyclePlan.Process(name: "app", restart: RestartPolicy(mode: .never)), runID: runID,
      owner: owner)
    plan.infrastructureRules.takeoverDelay = .seconds(3)
    backend =
      Backends(
        loop: loop, table: table, layout: layout, plan: plan, scope: servers?.scope, clock: ReleaseClock(),
        agent: shared
      ).release()
  }

  /// The record; nil when there is none.
  public func read() throws -> ReleaseRecord? {
    try settle {
      backend.read()
    } answer: { event -> Result<ReleaseRecord?, Failure>? in
      if case .record(let found) = event { .success(found) } else { nil }
    }
  }

  /// Changes the record under the lock, durably.
  public func change(_ decide: (ReleaseRecord?) -> Change) throws {
    try settle {
      backend.lock()
    } answer: { [backend] event -> Result<Void, Failure>? in
      switch event {
      case .lockHeld: return .success(())
      case .lockFree:
        backend.contend()
        return nil
      default: return nil
      }
    }
    let result = Result<Void, any Error> { try changeUnderLock(decide) }
    try settle {
      backend.unlock()
    } answer: { event -> Result<Void, Failure>? in
      switch event {
      case .unlocked, .lockLost: .success(())
      default: nil
      }
    }
    try result.get()
  }

  private func changeUnderLock(_ decide: (ReleaseRecord?) -> Change) throws {
    let change = decide(try read())
    if case .keep = change { return }
    try settle {
      switch change {
      case .keep: break
      case .replace(let record): backend.write(record, isLast: true)
      case .remove: backend.remove()
      }
    } answer: { event -> Result<Void, Failure>? in
      if case .written = event { .success(()) } else { nil }
    }
  }

  /// Ends what helps, in order.
  public func close() {
    backend.abandon()
    backend.close()
    guard let agent else { return }
    agent.stop { [loop] in loop.stop() }
    loop.schedule(after: .seconds(1)) { [loop] in
      agent.kill()
      loop.stop()
    }
    loop.run()
  }

  /// Runs the loop until the answer, or until patience is at its end.
  private func settle<Answer>(
    _ ask: () -> Void, answer: @escaping (InfrastructurePhase.Event) -> Result<Answer, Failure>?
  ) throws -> Answer {
    var result: Result<Answer, Failure>?
    var problem: StoreFailure?
    backend.onEvent = { [weak self, loop] event in
      guard let self, result == nil else { return }
      switch event {
      case .storeFailed(let failure), .lockFailed(let failure): result = .failure(.unusable(failure))
      case .storeUnavailable(let failure): problem = failure
      case .lockBusy(let name):
        problem = nil
        if !name.isEmpty { holder = name }
      default: result = answer(event)
      }
      if result != nil { loop.stop() }
    }
    backend.onNote = { _, text in _ = text }
    ask()
    // Some backends answer at once.
    if result == nil {
      let timer = loop.schedule(after: patience) { [loop] in loop.stop() }
      loop.run()
      loop.cancel(timer)
    }
    backend.onEvent = { _ in }
    if let result { return try result.get() }
    close()
    if let problem { throw Failure.unusable(problem) }
    throw Failure.busy(holder: holder, waited: patience)
  }
}

/// Which servers have lock, record and readiness, and the agent that talks to them.
public struct CoordinationServers: Sendable {
  /// The servers, and the release.
  public var scope: CoordinationScope
  /// The agent's program.
  public var agentProgram: RawString
  /// What it gets.
  public var agentEnvironment: ProcessEnvironment

  /// Servers.
  public init(scope: CoordinationScope, agentProgram: RawString, agentEnvironment: ProcessEnvironment) {
    self.scope = scope
    self.agentProgram = agentProgram
    self.agentEnvironment = agentEnvironment
  }
}
