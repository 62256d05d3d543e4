import EventLoop
import Journal
import Processes

extension Lifecycle {
  /// How long a stop may go on after its budget and the KILL at its end: twice what an unkillable process
  /// is given, so that this is for what has no deadline of its own.
  static let overdueAfter = StopSequence.unkillableAfter * 2

  /// Ends everything for a reason of our own: the app's end, a failed phase, a service that gave up.
  mutating func end(
    _ ending: Ending, _ fields: EventFields = EventFields(), at now: MonotonicInstant
  ) -> [Effect] {
    if self.ending == nil { self.ending = ending }
    let level: LogLevel = ending.code == 0 ? .info : .error
    return (ending.reason == "phases_complete" ? [] : [.log(level, ending.text, fields)])
      + (stop == nil ? beginStop(requestedBy: nil, drains: false, at: now) : [])
  }

  mutating func beginStop(requestedBy signal: Signal?, drains: Bool, at now: MonotonicInstant) -> [Effect] {
    let wasReady = isReady
    // Whoever asks, and also when an early service gave up: no step outlives us, and the lock goes after it.
    let isInPhases =
      (stage == .infrastructure && !infrastructure.isFinished)
      || (stage == .node && !(node.awaitsRelease ? infrastructure.isFinished : node.isFinished))
    let drainDelay = drains && signal != nil && wasReady ? plan.drainDelay : .zero
    let deadline = now + plan.stopTimeout
    stop = StopState(
      requestedBy: signal, requestedAt: now, lastSignalAt: now, deadline: deadline, drains: drainDelay > .zero
    )
    var effects: [Effect] = [.unschedule(.earlyService), .schedule(.budget, deadline)]
    let previous = stage
    effects += enter(.draining)
    effects += holdBack(at: now) + cancelWaits() + endUpkeep(at: now)
    // Who stops is no candidate any more: won now, the lock would only keep the others waiting until our end.
    if !leader.isLeading { effects += feedLeader(.end, at: now) }
    if isInPhases {
      // The step is stopped first, the lock released after it; then the phase says that it was interrupted.
      let isWithInfrastructure = previous == .infrastructure || node.awaitsRelease
      return effects
        + (isWithInfrastructure ? feedInfrastructure(.interrupt, at: now) : feedNode(.interrupt, at: now))
    }
    if drainDelay > .zero {
      // No longer than what leaves the processes half of the budget.
      let delay = min(drainDelay, plan.stopTimeout / 2)
      effects.append(.log(.info, "not ready any more; stopping in \(delay.readable) (health.drain_delay)"))
      effects.append(.schedule(.drain, now + delay))
      return effects
    }
    return effects + stopProcesses(at: now)
  }

  /// Nothing starts any more: neither out of a backoff, nor after a restart that was asked for.
  private mutating func holdBack(at now: MonotonicInstant) -> [Effect] {
    startOrder.flatMap { id -> [Effect] in
      guard let process = processes[id], process.isStoppingOnRequest || isWaitingToRestart(process) else {
        return []
      }
      return feed(id, .stop(.shutdown, deadline: nil), at: now)
    }
  }

  /// Stops what was started, in reverse order, one after the other.
  mutating func stopProcesses(at now: MonotonicInstant) -> [Effect] {
    guard stop != nil else { return [] }
    stop?.drains = false
    // What starts before LiteFS stops after it.
    let queue = litefs == nil ? startOrder : startOrder.filter { usesLiteFS($0) }
    stop?.queue = queue
    stop?.hasQueue = true
    let hook = feed(.roleHook, .stop(.command, deadline: nil), at: now)
    return [.unschedule(.drain)] + hook + stopNext(at: now)
  }

  mutating func stopNext(at now: MonotonicInstant) -> [Effect] {
    while var current = stop, let id = current.queue.popLast() {
      stop = current
      guard let process = processes[id], process.isAlive || isWaitingToRestart(process) else { continue }
      current.current = id
      stop = current
      let others = current.queue.compactMap { processes[$0] }.filter(\.isAlive).map(\.stopPolicy.timeout)
      let usable = (current.deadline - now) - StopBudget.reserve(of: plan.stopTimeout) - shareOfLiteFS
      let share = StopBudget.share(own: process.stopPolicy.timeout, others: others, remaining: usable)
      return feed(id, .stop(.shutdown, deadline: now + share), at: now)
    }
    // They have no place in the order; their end, which has a deadline, leads here again.
    guard var current = stop, !current.isSweeping, processes[.roleHook] == nil, upkeepIsQuiet else {
      return []
    }
    current.current = nil
    current.isSweeping = true
    stop = current
    return [.sweep([])]
  }

  /// What has no place in the order has ended: the stop may have come to its end but for this.
  mutating func resumeStop(at now: MonotonicInstant) -> [Effect] {
    guard let stop, stop.hasQueue, stop.current == nil, stop.queue.isEmpty else { return [] }
    return stopNext(at: now)
  }

  func isWaitingToRestart(_ process: SupervisedProcess) -> Bool {
    if case .backingOff = process.state { return true }
    return false
  }

  mutating func stoppedForShutdown(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    guard stop?.current == id else { return [] }
    stop?.current = nil
    return stopNext(at: now)
  }

  /// The second stop signal: no grace for anybody, whoever's turn it is.
  mutating func killProcesses(at now: MonotonicInstant) -> [Effect] {
    var effects: [Effect] = []
    if stop?.drains == true { effects += stopProcesses(at: now) }
    let alive = processes.filter { $0.value.isAlive }.keys
    for id in alive {
      let isCommand = plan.process(id) == nil
      effects += feed(id, .stop(isCommand ? .command : .shutdown, deadline: now), at: now)
      effects += feed(id, .kill, at: now)
    }
    for id in hunts.keys { effects += hurryHunt(id, at: now) }
    return effects
  }

  /// The whole stop took too long: whatever is left is killed.
  mutating func budgetSpent(at now: MonotonicInstant) -> [Effect] {
    guard let current = stop else { return [] }
    // Once strays are being killed that has a deadline of its own.
    if current.isSweeping { return current.sweepStep < 2 ? sweepTimer(at: now) : [] }
    if current.isOverdue {
      // Those that left their groups have not had their turn.
      return [
        .log(.error, "the stop does not come to an end (a hanging file system?): ending without it"),
        .sweep([.kill]),
      ] + finish()
    }
    stop?.isOverdue = true
    return [
      .log(.warning, "the stop took longer than \(plan.stopTimeout.readable): killing what still runs"),
      .schedule(.budget, now + Lifecycle.overdueAfter),
    ] + killProcesses(at: now)
  }

  // MARK: Strays

  /// Processes that left their group (setsid, daemons) and those that lost their parent: found below us, told to
  /// stop, killed.
  mutating func strays(_ count: Int, at now: MonotonicInstant) -> [Effect] {
    guard var current = stop, current.isSweeping else { return [] }
    if count == 0 { return stopLiteFS(at: now) }
    guard current.sweepStep == 0 else { return [] }
    current.sweepStep = 1
    stop = current
    let grace = max(current.deadline - now - .milliseconds(200), .zero)
    let deadline = now + min(grace, .seconds(5))
    let what =
      count == 1 ? "1 process that left its group is" : "\(count) processes that left their groups are"
    return [
      .log(.info, "\(what) still there: stopping \(count == 1 ? "it" : "them")"),
      .sweep([.terminate, .resume]), .schedule(.sweep, deadline),
    ]
  }

  mutating func sweepTimer(at now: MonotonicInstant) -> [Effect] {
    guard var current = stop, current.isSweeping else { return [] }
    current.sweepStep += 1
    stop = current
    if current.sweepStep <= 2 {
      current.sweepStep = 2
      return [
        .log(.warning, "processes that left their groups did not stop in time: killing them"),
        .sweep([.kill]),
        .schedule(.sweep, now + StopSequence.unkillableAfter),
      ]
    }
    return [.log(.error, "some processes do not end even by KILL (stuck in the kernel?); leaving them")]
      + stopLiteFS(at: now)
  }

  mutating func finish() -> [Effect] {
    let result = conclusion
    var effects: [Effect] = [.unschedule(.sweep), .unschedule(.budget), .unschedule(.drain)]
    // What only the primary may run has ended. With the lock another may be one: nothing says any more that we are.
    if plan.takesPartInElection { effects.append(.role(.none)) }
    effects += feedLeader(.end, at: stop?.deadline ?? MonotonicInstant(nanoseconds: 0))
    effects += enter(.stopped)
    return effects + [.exit(result)]
  }

  /// The code and reason that this program ends with.
  private var conclusion: Ending {
    if let ending { return ending }
    let signal = stop?.requestedBy ?? .terminate
    guard appHasRun, let status = processes[.app]?.lastStatus else {
      return Ending(
        code: 128 + signal.rawValue, reason: "stopped_before_app",
        text: "stopped on request (\(signal)) before the app ran")
    }
    return Ending(
      code: status.shellCode, reason: "stopped_on_request",
      text: "stopped on request (\(signal)); app: \(status)")
  }
}
