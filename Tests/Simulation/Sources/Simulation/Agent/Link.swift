import EventLoop

/// The network between a node and the servers.
final class Link {
  private unowned let world: World
  private(set) var isCut = false
  private var cuts = 0
  private var held: [() -> Void] = []
  /// When it was whole last, while it is cut, and since when it is whole again.
  private(set) var cutAt: MonotonicInstant?
  private(set) var healedAt: MonotonicInstant?

  init(_ world: World) {
    self.world = world
  }

  func latency() -> Duration { world.random.duration(.microseconds(50)...(.microseconds(800))) }

  /// What cannot get through now gets through later, if anybody is still there to take it.
  func carry(at time: MonotonicInstant, _ action: @escaping () -> Void) {
    world.at(time) { [self] in
      if isCut { held.append(action) } else { action() }
    }
  }

  func cut(for length: Duration, agents: [AgentProcess]) {
    guard !isCut else { return }
    isCut = true
    cutAt = world.now
    cuts += 1
    let number = cuts
    world.watch.saw(.cut)
    for agent in agents {
      for connection in agent.connections {
        connection.cutOff { [weak self] in self.map { $0.isCut && $0.cuts == number } ?? false }
      }
    }
    world.after(length) { [self] in
      isCut = false
      healedAt = world.now
      let waiting = held
      held = []
      for action in waiting { action() }
    }
  }

  func forgetAll() { held = [] }
}
