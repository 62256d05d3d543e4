import EventLoop
import NIOCore

/// What the agent's `GuardedGroups` does, with the simulated processes of its node.
final class GuardedGroups {
  private let agent: AgentProcess?
  private var groups: [UInt64: Set<CInt>] = [:]

  init(eventLoop: any NIOCore.EventLoop) {
    agent = (eventLoop as? AgentLoop)?.agent
  }

  var isEmpty: Bool { groups.isEmpty }

  var locks: Set<UInt64> { Set(groups.keys) }

  func add(_ group: CInt, under lock: UInt64) { groups[lock, default: []].insert(group) }

  func remove(_ group: CInt, under lock: UInt64) {
    groups[lock]?.remove(group)
    if groups[lock]?.isEmpty == true { groups[lock] = nil }
  }

  func end(under lock: UInt64? = nil, _ completion: @escaping () -> Void) {
    guard let agent else { return completion() }
    var isWaiting = false
    for id in groups.keys.sorted() where lock == nil || lock == id {
      for group in (groups[id] ?? []).sorted() {
        let process = agent.life.guarded.first { $0.pid == group }
        guard let process, process.groupRuns else {
          remove(group, under: id)
          continue
        }
        isWaiting = true
        process.kill(within: .milliseconds(1)...(.milliseconds(50)))
      }
    }
    guard isWaiting, agent.world.bug != .earlyAgentRelease else { return completion() }
    agent.after(.milliseconds(5)) { [self] in end(under: lock, completion) }
  }
}
