import EventLoop
import Lifecycle
import Processes

// What must hold of app, services, role and stop.
extension Watch {
  func spawned(_ process: SimulatedProcess) {
    let life = process.life
    if process.incarnation > 1 { saw(.restarted) }
    // With `kill: leader` the rest of a group is nobody's to stop.
    let service = life.plan.process(of: process.id)
    let onlyLeader = service?.stop.killTarget == .leader && service?.isForPrimary != true
    if let other = life.processes.first(where: { $0.id == process.id && $0.groupRuns }),
      other.leaderRuns || !onlyLeader
    {
      world.violated("one at a time", "\(process.text) is started while \(other.text) is there")
    }
    let stage = life.lifecycle.stage
    switch process.id {
    case .app, .service:
      if stage == .draining || stage == .stopped {
        world.violated("nothing starts in a stop", "\(process.text) is started")
      }
      if stage != .running, life.plan.process(of: process.id)?.startsEarly != true {
        world.violated("services after steps", "\(process.text) is started in \(stage)")
      }
    case .infrastructureStep, .nodeStep:
      // One whose wait has failed may be gone without.
      let late = life.plan.services.indices.first {
        life.plan.services[$0].startsEarly && !life.plan.services[$0].waits
          && life.lifecycle.incarnation(of: .service($0)) == 0
      }
      if let late, life.plan.scope == .life {
        world.violated(
          "early services first", "\(process.text) starts before \(life.plan.services[late].name)")
      }
    case .roleHook, .litefs: break
    }
  }

  // MARK: The primary

  func started(_ service: PrimaryService) {
    saw(.primaryService)
    let life = service.life
    for other in world.primaryServices where other.life !== life {
      if isExcused(other.life, .leader) || isExcused(life, .leader) {
        saw(.excused)
        continue
      }
      if isForgotten(other) || holdsUnlinked(life, .leader) {
        saw(.unlinkedLeader)
        continue
      }
      world.violated("one primary", "\(service.text) starts while \(other.text) runs")
    }
    // Until it hears of a loss it may still start something; `gone` has the bound.
    guard life.lostAt[.leader] == nil else { return }
    if world.holder(of: .leader) !== life, !holdsUnlinked(life, .leader) {
      world.violated("only the primary", "\(service.text) starts without the leader lock")
    }
  }

  /// After each event of a node.
  func turned(_ life: Life) {
    guard life.saysRole == .primary, life.isAlive else { return }
    if let lost = life.lostAt[.leader] {
      let since = couldKnow(life, since: lost)
      if world.now - since > Watch.killTime {
        world.violated("a primary has the lock", "\(life.name) lost it and still says that it is one")
      }
    } else if world.holder(of: .leader) !== life, !holdsUnlinked(life, .leader) {
      world.violated("a primary has the lock", "\(life.name) says that it is one and has no lock")
    }
  }

  // MARK: The stop

  /// It ends within its budget, and what a KILL at the end of it takes; what hangs beyond our reach has four seconds.
  func stopBegan(_ life: Life) {
    let budget = life.plan.stopTimeout + Watch.killTime
    checkStop(of: life, after: budget, isLast: !world.scenario.hasBadStore)
  }

  private func checkStop(of life: Life, after budget: Duration, isLast: Bool) {
    guard let began = life.stopAskedAt else { return }
    let due = began + (budget + life.pausedInStop)
    world.at(due) { [self] in
      guard life.isAlive else { return saw(.stoppedInTime) }
      // It stood still, or does so now.
      if life.isPaused || began + (budget + life.pausedInStop) > world.now {
        let next = max(life.pausedUntil ?? world.now, world.now) + .milliseconds(1)
        return world.at(next) { [self] in checkStop(of: life, after: budget, isLast: isLast) }
      }
      saw(.overdue)
      if isLast {
        return world.violated("a stop has its time", "\(life.name) still stops after \(budget.readable)")
      }
      checkStop(of: life, after: budget + .seconds(4), isLast: true)
    }
  }
}

extension SimulatedProcess {
  /// The lock that it may run under only.
  var lock: LockKind? {
    switch id {
    case .infrastructureStep, .nodeStep:
      guard let command = self as? Command, !command.isUpkeepCheck else { return nil }
      return command.phase
    case .service: return self is PrimaryService ? .leader : nil
    case .app, .roleHook, .litefs: return nil
    }
  }
}

extension LifecyclePlan {
  /// The app's or a service's.
  func process(of id: ProcessID) -> Process? {
    switch id {
    case .app: return app
    case .service(let index): return services[index]
    case .infrastructureStep, .nodeStep, .roleHook, .litefs: return nil
    }
  }
}
