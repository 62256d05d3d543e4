import Checks
import EventLoop
import Journal
import Processes

extension Lifecycle {
  /// Whether `/readyz` says 200.
  public var isReady: Bool {
    stage == .running && readinessChecks().allSatisfy(\.isOK)
  }

  func readinessChecks() -> [Snapshot.Check] {
    var checks = [
      Snapshot.Check(
        name: "stage", isOK: stage == .running,
        detail: stage == .draining ? "draining" : stage.rawValue)
    ]
    if let litefs {
      checks.append(Snapshot.Check(name: "litefs", isOK: litefs.isReady, detail: litefs.reason))
    }
    let app = processes[.app]
    var isRunning = false
    if case .running = app?.state { isRunning = true }
    checks.append(
      Snapshot.Check(name: "app running", isOK: isRunning, detail: app.map { describe($0) } ?? "not started"))
    if let health = healths[.app], health.definition != nil {
      checks.append(Snapshot.Check(name: "app health", isOK: health.isHealthy, detail: health.summary))
    }
    return checks + stepChecks()
  }

  private func describe(_ process: SupervisedProcess) -> String {
    switch process.state {
    case .idle: return "not started"
    case .starting: return "starting"
    case .running: return "pid \(process.pid ?? 0)"
    case .stopping: return "stopping"
    case .backingOff: return "ended, waits for its restart"
    case .stopped: return "stopped on request"
    case .completed: return "ended"
    case .failed: return "failed"
    }
  }

  /// What the pages show. The parts that the life cycle does not know (paths, strays, versions) are its owner's.
  public func fill(_ snapshot: inout Snapshot, at now: Moment) {
    snapshot.stage = stage
    snapshot.runID = plan.runID.value
    snapshot.role = role
    snapshot.checks = readinessChecks()
    snapshot.phases = [infrastructureView, nodeView].map { phase($0, at: now) }
    let services = plan.services.indices.map { ProcessID.service($0) }
    snapshot.processes = ([.app] + services).compactMap { row($0, at: now) }
  }

  /// When it was, on both clocks.
  private func moment(_ instant: MonotonicInstant, seenFrom now: Moment) -> Moment {
    let age = UInt64(clamping: (now.monotonic - instant).wholeNanoseconds)
    return Moment(wall: WallTime(nanoseconds: now.wall.nanoseconds &- age), monotonic: instant)
  }

  private func phase(_ view: PhaseView, at now: Moment) -> Snapshot.Phase {
    let steps = view.steps.map { step in
      Snapshot.Step(
        name: step.name, state: step.state, attempts: step.attempts,
        duration: step.began.map { (step.ended ?? now.monotonic) - $0 }, reason: step.reason)
    }
    return Snapshot.Phase(
      name: view.name, state: view.state, reason: view.reason, waitingFor: view.waitingFor,
      since: view.since.map { moment($0, seenFrom: now) }, steps: steps)
  }

  private func row(_ id: ProcessID, at now: Moment) -> Snapshot.Process? {
    guard let process = processes[id], let plan = plan.process(id) else { return nil }
    var row = Snapshot.Process(name: plan.name, kind: id == .app ? .app : .service, state: .idle)
    switch process.state {
    case .idle: row.state = .idle
    case .starting: row.state = .starting
    case .running(let since):
      row.state = .running
      row.startedAt = moment(since, seenFrom: now)
    case .stopping: row.state = .stopping
    case .backingOff(let until):
      row.state = .backingOff
      row.nextStartAt = until
    case .stopped, .completed: row.state = .stopped
    case .failed: row.state = .failed
    }
    row.pid = process.pid
    row.incarnation = process.incarnation
    row.restarts = process.restarts
    row.reason = process.lastFailure?.description
    switch process.lastStatus {
    case .exited(let code): row.lastExit = .code(code)
    case .signaled(let signal): row.lastExit = .signal(signal)
    case nil: break
    }
    if let health = healths[id] { row.health = view(health, at: now) }
    return row
  }

  private func view(_ health: ServiceHealth, at now: Moment) -> Snapshot.Health {
    let since = health.since.map { moment($0, seenFrom: now) }
    switch health.state {
    case .none: return Snapshot.Health(.none, since: since)
    case .unknown: return Snapshot.Health(.unknown, reason: health.summary, since: since)
    case .healthy: return Snapshot.Health(health.definition == nil ? .none : .healthy, since: since)
    case .unhealthy(let reason): return Snapshot.Health(.unhealthy, reason: reason, since: since)
    }
  }

  // MARK: What the performer looks up

  /// The leader of this process, until it is reaped.
  public func pid(of id: ProcessID) -> CInt? { processes[id]?.pid }

  func name(of id: ProcessID) -> String { plan.name(id) }

  /// The group of this process, until nobody is left in it.
  public func group(of id: ProcessID) -> CInt? { processes[id]?.group }

  /// Which start of this process is the present one: what is heard of an earlier one is to be dropped.
  public func incarnation(of id: ProcessID) -> Int? { processes[id]?.incarnation }

  func checkMethod(of id: ProcessID) -> CheckDefinition.Method? { plan.process(id)?.check?.method }
}
