import AgentSupervision
import LiteFS
import Processes

extension Supervision {
  /// The one that looks at LiteFS, from now on; nil when there can be none.
  func watchLiteFS() -> LiteFSWatcher? {
    if let litefs { return litefs }
    guard let launch = launch.litefs, let program = self.launch.agentProgram else { return nil }
    let agent = AgentConnection(
      loop: loop, table: table, program: program, role: .litefs, environment: self.launch.agentEnvironment)
    agent.onLog = { [weak self] in self?.noteOfAgent($0, $1) }
    let watcher = LiteFSWatcher(loop: loop, agent: agent, place: launch.place, rules: launch.rules)
    watcher.onEvent = { [weak self] in self?.submit(.litefs($0)) }
    watcher.onRole = { [weak self] role, reason in
      // Once it stops nothing depends on that any more.
      guard let self, !lifecycle.isStopping else { return }
      note(.info, "LiteFS: this node is now: \(role)\(reason.isEmpty ? "" : " (\(reason))")")
    }
    liteFSAgent = agent
    litefs = watcher
    return watcher
  }

  /// The lease is had before the mount, and what is bound to the role needs both.
  func liteFSLeaderLooks() {
    guard let liteFSLeader, let life = lifecycle.litefs, !lifecycle.isStopping else { return }
    liteFSLeader.look(life.isReady ? life.role : .unknown)
  }

  func clearMount(aborts: Bool) {
    guard let litefs = watchLiteFS() else {
      let failure = "there is no supervisor-agent to look after LiteFS's mount"
      return submit(.litefs(.cleared(failure: failure)))
    }
    litefs.clear(aborts: aborts)
  }

  /// Before the start of its process.
  func prepareLiteFS() throws(SpawnFailure) {
    try launch.litefs?.write()
    watchLiteFS()?.processRuns(true)
  }

  /// TERM, once nothing of ours is in its mount.
  func endLiteFS() {
    guard let litefs else { return send(.terminate, to: .litefs) }
    litefs.pause { [weak self] in self?.send(.terminate, to: .litefs) }
  }
}
