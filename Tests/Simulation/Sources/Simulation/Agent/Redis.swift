import AgentProtocol
import EventLoop

/// A Redis server, with one key for each release.
final class RedisServer {
  private unowned let world: World
  private var expiries: [String: MonotonicInstant] = [:]
  private var awayUntil = MonotonicInstant(nanoseconds: 0)
  private var subscribers: [(agent: AgentProcess, id: UInt64)] = []

  init(_ world: World) {
    self.world = world
  }

  var isAway: Bool { world.now < awayUntil }

  func isSet(_ runID: String) -> Bool { expiries[runID].map { world.now < $0 } ?? false }

  func set(_ runID: String, to isReady: Bool, for life: Duration, publishes: Bool) {
    expiries[runID] = isReady ? world.now + life : nil
    guard publishes else { return }
    for (agent, id) in subscribers {
      // A message goes to those who are there.
      if world.random.chance(world.scenario.store.lostWakeups) { continue }
      agent.link.carry(at: world.now + agent.link.latency()) {
        agent.run { agent.report(.readinessChanged(id: id)) }
      }
    }
  }

  func flush() { expiries = [:] }

  func leave(for length: Duration, keeps: Bool) {
    awayUntil = world.now + length
    subscribers = []
    if !keeps { flush() }
  }

  func subscribe(_ agent: AgentProcess, _ id: UInt64) { subscribers.append((agent, id)) }

  func unsubscribe(_ agent: AgentProcess, _ id: UInt64? = nil) {
    subscribers.removeAll { $0.agent === agent && (id == nil || id == $0.id) }
  }
}

/// The agent's part in readiness: asks until it is answered, or nobody wants to know any more.
final class ReadinessTalk {
  private unowned let agent: AgentProcess
  private var open: Set<UInt64> = []
  private var runID = ""
  private var timeToLive = Duration.zero

  init(_ agent: AgentProcess) {
    self.agent = agent
  }

  /// Whether it was for us.
  func handle(_ request: CoordinationRequest) -> Bool {
    switch request {
    case .configure(let scope):
      runID = scope.runID
      timeToLive = scope.redis?.timeToLive ?? .zero
      return false
    case .cancel(let id):
      guard open.remove(id) != nil else { return false }
      agent.world.redis?.unsubscribe(agent, id)
      return true
    case .readReadiness(let id):
      attempt(id) { [agent, runID] redis in
        agent.report(.readiness(id: id, isReady: redis.isSet(runID), text: ""))
      }
    case .writeReadiness(let id, let isReady):
      attempt(id, saysUnavailable: false) { [agent, runID, timeToLive] redis in
        redis.set(runID, to: isReady, for: timeToLive, publishes: true)
        agent.report(.done(id: id))
      }
    case .watchReadiness(let id):
      open.insert(id)
      agent.world.redis?.subscribe(agent, id)
    default: return false
    }
    return true
  }

  private func attempt(
    _ id: UInt64, tries: Int = 0, saysUnavailable: Bool = true, _ body: @escaping (RedisServer) -> Void
  ) {
    open.insert(id)
    let world = agent.world
    agent.link.carry(at: world.now + agent.link.latency()) { [weak self] in
      guard let self, open.contains(id), let redis = world.redis else { return }
      if redis.isAway {
        return agent.run { [weak self] in
          guard let self, open.contains(id) else { return }
          if saysUnavailable, tries % 8 == 0 {
            agent.report(.unavailable(id: id, CoordinationFailure(.unavailable, "Redis: connection refused")))
          }
          agent.after(.milliseconds(300)) { [weak self] in
            guard let self, open.contains(id) else { return }
            attempt(id, tries: tries + 1, saysUnavailable: saysUnavailable, body)
          }
        }
      }
      agent.run { [weak self] in
        guard let self, open.remove(id) != nil else { return }
        body(redis)
      }
    }
  }

  func end() {
    open = []
    agent.world.redis?.unsubscribe(agent)
  }
}
