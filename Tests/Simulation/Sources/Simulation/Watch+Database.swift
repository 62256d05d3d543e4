import EventLoop

// What must hold of lock and record in servers.
extension Watch {
  /// PID 1 does not believe its agent any more.
  func agentIsKilled(_ agent: AgentProcess) {
    let kinds: [LockKind] = [.infrastructure, .leader]
    for kind in kinds where world.holder(of: kind) === agent.life {
      if let left = agent.life.guarded.first(where: { $0.lock == kind && $0.groupRuns }) {
        world.violated(
          "lock after step", "the agent that holds the lock is killed while \(left.text) is there")
      }
    }
  }

  /// Since when a node could know that its lock is gone: its agent may hang, or be cut off from the server. Both are
  /// noticed in their time.
  func couldKnow(_ life: Life, since lost: MonotonicInstant) -> MonotonicInstant {
    var since = max(lost, resumedAt[ObjectIdentifier(life)] ?? lost)
    guard world.database != nil else { return since }
    if let agent = life.agent?.process, let frozen = agent.frozenAt, (agent.thawedAt ?? world.now) >= lost {
      // It is asked for a sign of life only when PID 1 itself is awake.
      since = max(since, max(frozen, resumedAt[ObjectIdentifier(life)] ?? frozen) + .milliseconds(3100))
    }
    let link = world.link(of: life.node)
    if let cut = link.cutAt, (link.isCut ? world.now : link.healedAt ?? world.now) >= lost {
      since = max(since, cut + .milliseconds(8100))
    }
    return since
  }

  // MARK: Nodes with django-autoinit

  /// It looks for nothing that one who vanished may have left behind, and its own hook outlives its session for a
  /// moment: only where both have their lock is an overlap ours.
  func startedBesideAutoinit(_ command: Command) {
    guard let other = world.others.first(where: { $0.step != nil }) else { return }
    judge(other, command, "\(command.text) starts while \(other.name) runs \(other.step ?? "")")
  }

  func began(_ other: Autoinit) {
    guard
      let command = world.running.first(where: {
        $0.phase == .infrastructure && $0.kind != .check && $0.groupRuns
      })
    else { return }
    judge(other, command, "\(other.name) runs \(other.step ?? "") while \(command.text) does")
  }

  private func judge(_ other: Autoinit, _ command: Command, _ text: String) {
    if other.hasLostLock || command.life.lostAt[.infrastructure] != nil || !command.life.isAlive {
      return saw(.autoinitOverlap)
    }
    world.violated("no two at once", text)
  }

  /// Nobody has done it, but Redis says ready: that is believed when no check at all says otherwise.
  func believedHearsay(_ life: Life, _ step: String) {
    let runID = life.release.runID.value
    declared.insert(runID)
    let wrong = life.release.infrastructure.first { plan in
      plan.step.hasCheck && !world.store.isApplied(runID, plan.step.name)
        && !world.isDamaged(runID, plan.step.name)
    }
    if let wrong {
      world.violated(
        "no hearsay against a check",
        "\(life.name) records \(step), which nobody has done, though the check of \(wrong.step.name) fails")
    }
  }

  /// A statement of somebody else's step, which goes on in the server.
  func startedBeside(_ command: Command) {
    guard let server = world.database, command.kind == .main, command.phase == .infrastructure else { return }
    for work in server.work where work.command !== command && !work.hasClient {
      // Steps of one node may run at once, and so may what one of them leaves behind and another.
      if work.command.life === command.life, work.command.id != command.id { continue }
      world.violated(
        "no two at once",
        "\(command.text) starts while the statement of \(work.command.text) goes on in the server")
    }
  }
}
