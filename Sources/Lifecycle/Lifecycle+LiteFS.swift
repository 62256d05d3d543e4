import EventLoop
import Journal
import LiteFS
import Processes

// LiteFS: below everything but what starts before it. When it is lost, whoever uses it ends first; it stops last.
extension Lifecycle {
  mutating func beginLiteFS(at now: MonotonicInstant) -> [Effect] {
    guard litefs != nil else { return beginPhases(at: now) }
    return enter(.litefs) + feedLiteFS(.begin, at: now)
  }

  mutating func feedLiteFS(_ event: LiteFSLife.Event, at now: MonotonicInstant) -> [Effect] {
    guard var life = litefs else { return [] }
    let before = role
    let inner = life.handle(event, at: now)
    litefs = life
    // Whoever starts because of it is told what it is because of.
    var effects: [Effect] = stage == .running && role != before ? [.role(role)] : []
    for effect in inner { effects += perform(effect, at: now) }
    return effects
  }

  private mutating func perform(_ effect: LiteFSLife.Effect, at now: MonotonicInstant) -> [Effect] {
    switch effect {
    case .clear(let aborts): return [.clearMount(aborts: aborts)]
    case .spawn:
      processes[.litefs] = SupervisedProcess(
        restartPolicy: RestartPolicy(mode: .never), stopPolicy: plan.litefs?.stop ?? StopPolicy(),
        seed: plan.seed)
      return feed(.litefs, .start, at: now)
    case .end(let atOnce):
      let deadline = atOnce ? now : nil
      return feed(.litefs, .stop(.command, deadline: deadline ?? stop?.deadline), at: now)
        + (atOnce ? feed(.litefs, .kill, at: now) : [])
    case .ready: return litefsReady(at: now)
    case .stopUsers(let reason): return stopUsersOfLiteFS(reason, at: now)
    case .schedule(let deadline): return [.schedule(.litefs, deadline)]
    case .unschedule: return [.unschedule(.litefs)]
    case .note(let text, let isBad): return [.log(isBad ? .warning : .info, text, EventFields("litefs"))]
    case .failed(let failure):
      switch failure.kind {
      case .settings:
        return end(Ending(code: 78, reason: "litefs_refused", text: failure.text), at: now)
      case .unavailable:
        return end(Ending(code: 69, reason: "litefs_unavailable", text: failure.text), at: now)
      }
    case .finished: return stop?.isSweeping == true ? stopRest(at: now) : []
    }
  }

  /// Its process has ended, and whatever that left behind.
  mutating func litefsEnded(at now: MonotonicInstant) -> [Effect] {
    guard let process = processes.removeValue(forKey: .litefs) else { return [] }
    if let status = process.lastStatus { return feedLiteFS(.ended(status), at: now) }
    let reason = process.lastFailure.map { "\($0)" } ?? "unknown reason"
    return feedLiteFS(.spawnFailed("LiteFS cannot be started: \(reason)"), at: now)
  }

  // MARK: Those who use it

  private mutating func litefsReady(at now: MonotonicInstant) -> [Effect] {
    guard stop == nil else { return [] }
    var effects: [Effect] = [
      .log(.info, "LiteFS is ready", EventFields("litefs_ready", duration: nil))
    ]
    if stage == .litefs {
      earlyQueue = earlyServices(beforeLiteFS: false)
      return effects + startNextEarlyService(at: now)
    }
    let waiting = startOrder.filter { awaitingLiteFS.contains($0) && !stoppedByHand.contains($0) }
    awaitingLiteFS = []
    for id in waiting where plan.process(id)?.isForPrimary != true || leader.isLeading {
      effects += feed(id, .start, at: now)
    }
    renewUpkeep()
    return effects + beginUpkeep(at: now)
  }

  func usesLiteFS(_ id: ProcessID) -> Bool { plan.process(id)?.startsBeforeLiteFS == false }

  /// What they have open is gone: all at once, and none of it is their own end.
  private mutating func stopUsersOfLiteFS(_ reason: String, at now: MonotonicInstant) -> [Effect] {
    guard stop == nil else { return feedLiteFS(.usersStopped, at: now) }
    guard stage == .running else {
      // A phase cannot go on; another node's can, and ours when we are started again.
      return end(
        Ending(code: 69, reason: "litefs_lost", text: "LiteFS was lost during the start: \(reason)"), at: now)
    }
    var users: Set<ProcessID> = []
    for id in startOrder where usesLiteFS(id) {
      guard let process = processes[id], process.isAlive || isWaitingToRestart(process) else { continue }
      users.insert(id)
      // Who is being stopped on request stays so.
      if !process.isStoppingOnRequest { awaitingLiteFS.insert(id) }
    }
    losingLiteFS = users
    var effects = endUpkeep(at: now)
    for id in startOrder.reversed() where users.contains(id) {
      effects += feed(id, .stop(.command, deadline: nil), at: now)
    }
    return effects + feed(.roleHook, .stop(.command, deadline: nil), at: now) + usersEnded(at: now)
  }

  /// Some process, and what it left behind, has ended: perhaps the last that used LiteFS.
  mutating func usersEnded(at now: MonotonicInstant) -> [Effect] {
    guard var users = losingLiteFS, stop == nil else { return [] }
    users = users.filter { id in
      hunts[id] != nil || processes[id].map { $0.isAlive || isWaitingToRestart($0) } ?? false
    }
    losingLiteFS = users
    guard users.isEmpty, processes[.roleHook] == nil, upkeepIsQuiet else { return [] }
    losingLiteFS = nil
    return feedLiteFS(.usersStopped, at: now)
  }

  // MARK: The stop

  /// What the others' stop leaves to it.
  var shareOfLiteFS: Duration {
    guard litefs != nil, let own = plan.litefs?.stop.timeout else { return .zero }
    return min(own, plan.stopTimeout / 4)
  }

  /// Nobody uses it any more.
  mutating func stopLiteFS(at now: MonotonicInstant) -> [Effect] {
    guard let life = litefs else { return finish() }
    return life.isFinished ? stopRest(at: now) : feedLiteFS(.stop, at: now)
  }

  /// What started before LiteFS, as the keeper of its lease may have; then what those leave behind.
  private mutating func stopRest(at now: MonotonicInstant) -> [Effect] {
    let rest = startOrder.filter { id in
      !usesLiteFS(id) && processes[id].map { $0.isAlive || isWaitingToRestart($0) } ?? false
    }
    guard !rest.isEmpty, var current = stop, !current.isOverdue else { return finish() }
    current.queue = rest
    current.isSweeping = false
    current.sweepStep = 0
    stop = current
    return [.unschedule(.sweep)] + stopNext(at: now)
  }
}
