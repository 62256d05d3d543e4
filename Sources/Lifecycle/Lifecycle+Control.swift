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
    guard startOrder.contains(id), let process = processes[id] else {
      return (.refused("\(name) is not started yet: the stage is \(stage.rawValue)"), [])
    }
    if plan.process(id)?.isForPrimary == true, !leader.isLeading {
      let primary = leader.holder.isEmpty ? "not here" : leader.holder
      return (.refused("\(name) runs only on the primary (\(primary))"), [])
    }
    let note = Effect.log(.info, "\(name): asked to \(verb(request)) over the control socket")
    switch request {
    case .restart:
      let effects = feed(id, .stop(.restart, deadline: nil), at: now)
      return (.accepted("restarting \(name)"), [note] + effects)
    case .stop:
      let effects = feed(id, .stop(.command, deadline: nil), at: now)
      return (.accepted("stopping \(name)"), [note] + effects)
    case .start:
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
