import Control
import EventLoop
import Processes

extension Lifecycle {
  mutating func control(
    _ request: ControlRequest, at now: MonotonicInstant
  ) -> (ControlOutcome, [Effect]) {
    let name: String
    switch request {
    case .restart(let given), .stop(let given), .start(let given), .signal(let given, _): name = given
    }
    guard let id = processID(named: name) else {
      return (.unknownProcess([plan.app.name] + plan.services.map(\.name)), [])
    }
    if stop != nil { return (.refused("the supervisor is stopping"), []) }
    // First: on a node that never was the primary it has not been started either, and that is not why.
    if plan.process(id)?.isForPrimary == true, leader.isActive, !leader.isLeading {
      if case .start = request, stoppedByHand.remove(id) != nil {
        return (.accepted("\(name) starts when this node is the primary"), [])
      }
      let primary = leader.holder.isEmpty ? "not here" : leader.holder
      return (.refused("\(name) runs only on the primary (\(primary))"), [])
    }
    guard startOrder.contains(id), let process = processes[id] else {
      let reason =
        waits.contains(.process(id)) ? "it waits for what it needs" : "the stage is \(stage.rawValue)"
      return (.refused("\(name) is not started yet: \(reason)"), [])
    }
    let note = Effect.log(.info, "\(name): asked to \(verb(request)) over the control socket")
    switch request {
    case .restart:
      stoppedByHand.remove(id)
      let effects = feed(id, .stop(.restart, deadline: nil), at: now)
      return (.accepted("restarting \(name)"), [note] + effects)
    case .stop:
      if plan.process(id)?.isForPrimary == true { stoppedByHand.insert(id) }
      let effects = feed(id, .stop(.command, deadline: nil), at: now)
      return (.accepted("stopping \(name)"), [note] + effects)
    case .start:
      stoppedByHand.remove(id)
      if process.isAlive, !process.isStoppingOnRequest { return (.accepted("\(name) runs already"), []) }
      return (.accepted("starting \(name)"), [note] + feed(id, .start, at: now))
    case .signal(_, let signal):
      guard process.pid != nil else { return (.refused("\(name) does not run"), []) }
      return (.accepted("sent \(signal) to \(name)"), [note, .process(id, .signalLeader(signal))])
    }
  }

  private func verb(_ request: ControlRequest) -> String {
    switch request {
    case .restart: return "restart"
    case .stop: return "stop"
    case .start: return "start"
    case .signal(_, let signal): return "pass \(signal) on"
    }
  }

  private func processID(named name: String) -> ProcessID? {
    if name == plan.app.name { return .app }
    return plan.services.firstIndex { $0.name == name }.map { .service($0) }
  }
}
