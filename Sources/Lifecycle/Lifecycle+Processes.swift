import Checks
import EventLoop
import Phases
import Processes

extension Lifecycle {
  mutating func feed(_ id: ProcessID, _ event: SupervisedProcess.Event, at now: MonotonicInstant) -> [Effect]
  {
    guard var process = processes[id] else { return [] }
    let inner = process.handle(event, at: now)
    processes[id] = process
    var effects: [Effect] = []
    switch event {
    case .started: effects += started(id, at: now)
    case .ended, .startFailed, .stop: effects += feedHealth(id, .stopped, at: now)
    default: break
    }
    for effect in inner { effects += perform(effect, of: id, at: now) }
    if stop != nil, let process = processes[id], isWaitingToRestart(process) {
      effects += feed(id, .stop(.shutdown, deadline: nil), at: now)
    }
    return effects
  }

  private mutating func started(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    if id == .litefs { return feedLiteFS(.spawned, at: now) }
    guard let process = processes[id], plan.process(id) != nil else { return [] }
    var effects: [Effect] = []
    if id == .app {
      appHasRun = true
      startupIsComplete = true
    }
    effects.append(
      .log(.info, "\(plan.name(id)): started (pid \(process.pid ?? 0))"))
    return effects + feedHealth(id, .started(UInt64(process.incarnation)), at: now)
  }

  private mutating func perform(
    _ effect: SupervisedProcess.Effect, of id: ProcessID, at now: MonotonicInstant
  ) -> [Effect] {
    let isCommand = plan.process(id) == nil
    switch effect {
    case .spawn, .signalLeader, .signalGroup, .schedule, .unschedule: return [.process(id, effect)]
    case .willRestart(let status, let delay):
      let how = status.map { "ended (\($0))" } ?? "could not be started: \(failureText(id))"
      if stop != nil { return [.log(.info, "\(plan.name(id)): \(how)")] }
      return [.log(.warning, "\(plan.name(id)): \(how); starting again in \(delay.readable)")]
    case .stopped(let reason, let forced, let unkillable):
      if isCommand { return hunt(id, result: .failed("it was stopped"), at: now) }
      return stopped(id, reason, forced: forced, unkillable: unkillable, at: now)
    case .ended(let ending):
      if isCommand { return hunt(id, result: result(of: id, ending), at: now) }
      return ended(id, ending, at: now)
    }
  }

  private func failureText(_ id: ProcessID) -> String {
    processes[id]?.lastFailure?.description ?? "unknown reason"
  }

  private mutating func result(of id: ProcessID, _ ending: SupervisedProcess.Ending) -> CommandResult {
    let taken = commandResults.removeValue(forKey: id)
    // What it told of itself says more than its exit code.
    if case .failed(let reason)? = taken { return .failed(reason) }
    switch ending {
    case .completed(.exited(0)): return taken ?? .succeeded()
    case .completed(let status): return .failed("\(status)")
    case .gaveUp(let status): return .failed(status.map { "\($0)" } ?? "it could not be started")
    case .unstartable(let failure):
      let text = "\(failure) (\(failure.exitCode))"
      return failure.stage == .clone ? .notRun(text) : .failed(text)
    }
  }

  private mutating func stopped(
    _ id: ProcessID, _ reason: SupervisedProcess.StopReason, forced: Bool, unkillable: Bool,
    at now: MonotonicInstant
  ) -> [Effect] {
    var effects: [Effect] = []
    if unkillable {
      effects.append(
        .log(
          .error, "\(plan.name(id)): still there 2s after KILL (stuck in the kernel?); going on without it"))
    } else if forced {
      effects.append(.log(.warning, "\(plan.name(id)): did not stop in time, killed"))
    } else if let process = processes[id], process.incarnation > 0, let status = process.lastStatus {
      effects.append(.log(.info, "\(plan.name(id)): stopped (\(status))"))
    }
    switch reason {
    case .shutdown: effects += stoppedForShutdown(id, at: now)
    // A successor, if there is one, is spawned after this look, so its children cannot be taken for strays.
    case .command, .restart: effects += hunt(id, result: nil, at: now)
    case .remains: break
    }
    return effects
  }

  /// A process ended for good by its own doing.
  private mutating func ended(
    _ id: ProcessID, _ ending: SupervisedProcess.Ending, at now: MonotonicInstant
  ) -> [Effect] {
    let name = plan.name(id)
    var code: Int32
    var reason: String
    var text: String
    var isFailure = true
    switch ending {
    case .completed(let status):
      code = status.shellCode
      reason = id == .app ? "app_ended" : "service_ended"
      text = "\(name) ended (\(status))"
      isFailure = !(plan.process(id)?.restart.isSuccess(status) ?? false)
    case .gaveUp(let status):
      // 79 only when there is no better number: the last code was 0.
      let last = status?.shellCode ?? 0
      code = last == 0 ? 79 : last
      reason = "gave_up_restarting"
      let limit = plan.process(id).map {
        "\($0.restart.limitCount) times within \($0.restart.limitWindow.readable)"
      }
      text =
        "\(name): ended \(limit ?? "too often"), giving up"
        + (status.map { " (last: \($0))" } ?? " (last: \(failureText(id)))")
    case .unstartable(let failure):
      code = failure.exitCode
      reason = failure.exitCode == 127 ? "command_not_found" : "command_not_startable"
      text = "\(name): \(failure)"
    }
    if let stop {
      // Without an app there is nothing to drain.
      let next = stop.drains && id == .app ? stopProcesses(at: now) : stoppedForShutdown(id, at: now)
      return [.log(.info, text)] + next
    }
    if id == .app { return end(Ending(code: code, reason: reason, text: text), at: now) }
    if !isFailure { return [.log(.info, text)] + goOnWithout(id, at: now) }
    if plan.process(id)?.stopsAllOnFailure == false {
      return [.log(.error, "\(text); the others go on (on_failure: ignore)")] + goOnWithout(id, at: now)
    }
    return end(Ending(code: code, reason: reason, text: text), at: now)
  }

  /// An early service that has ended for good, and may, is not waited for.
  mutating func goOnWithout(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    guard startsEarlyServices, earlyQueue.first == id else { return [] }
    earlyQueue.removeFirst()
    return startNextEarlyService(at: now)
  }

  mutating func childrenChanged(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    for (id, process) in processes where process.pid == nil && process.group != nil {
      effects.append(.lookAtGroup(id))
    }
    for (id, hunt) in hunts where hunt.step != .looking { effects.append(.checkStrays(id, hunt.pids)) }
    if let stop, stop.isSweeping { effects.append(.sweep(stop.sweepStep >= 2 ? [.kill] : [])) }
    return effects
  }

  // MARK: Health

  mutating func feedHealth(_ id: ProcessID, _ event: ServiceHealth.Event, at now: MonotonicInstant)
    -> [Effect]
  {
    guard var health = healths[id] else { return [] }
    let inner = health.handle(event, at: now)
    healths[id] = health
    var effects: [Effect] = []
    for effect in inner {
      guard case .changed(let from, let to, let reason) = effect else {
        effects.append(.health(id, effect))
        continue
      }
      effects += healthChanged(id, from: from, to: to, reason: reason, at: now)
    }
    return effects
  }

  private mutating func healthChanged(
    _ id: ProcessID, from: ServiceHealth.State, to: ServiceHealth.State, reason: String,
    at now: MonotonicInstant
  ) -> [Effect] {
    var effects: [Effect] = []
    if healths[id]?.definition != nil {
      switch to {
      case .healthy: effects.append(.log(.info, "\(plan.name(id)): healthy"))
      case .unhealthy(let why): effects.append(.log(.warning, "\(plan.name(id)): unhealthy: \(why)"))
      case .none, .unknown: break
      }
    }
    if to == .healthy, startsEarlyServices, earlyQueue.first == id {
      earlyQueue.removeFirst()
      effects += startNextEarlyService(at: now)
    }
    return effects
  }
}
