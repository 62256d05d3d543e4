import EventLoop
import Processes

// The signal table of the design, section 3.
extension Lifecycle {
  /// Two stop signals closer than this are one: a platform and a terminal often send one each.
  static let escalationInterval = Duration.milliseconds(500)

  mutating func received(_ received: ReceivedSignal, at now: MonotonicInstant) -> [Effect] {
    let signal = received.signal
    switch signal {
    case .child: return []
    case .terminate, .interrupt, .containerHalt: return stopRequested(by: signal, drains: true, at: now)
    case .quit: return stopRequested(by: signal, drains: false, at: now)
    case .hangup where received.isFromKernel: return stopRequested(by: signal, drains: true, at: now)
    case .terminalInput, .terminalOutput: return plan.hasTerminal ? [] : forward(signal)
    case .windowChange: return plan.hasTerminal ? forward(signal) : []
    default: return forward(signal)
    }
  }

  private mutating func forward(_ signal: Signal) -> [Effect] {
    var sent = signal
    switch plan.signals[signal] {
    case .drop: return []
    case .send(let other): sent = other
    case nil: break
    }
    guard stage == .running || stage == .draining, processes[.app]?.pid != nil else {
      // Said once for each signal: a storm of them must not become a storm of lines.
      guard droppedSignals.insert(signal).inserted else { return [] }
      return [.log(.info, "\(signal) arrived while the app does not run: dropped")]
    }
    return [.forward(sent)]
  }

  private mutating func stopRequested(
    by signal: Signal, drains: Bool, at now: MonotonicInstant
  ) -> [Effect] {
    guard var current = stop else {
      return [.log(.info, "\(signal) received: stopping")]
        + beginStop(requestedBy: signal, drains: drains, at: now)
    }
    if current.requestedBy == nil {
      // The app had ended by itself; this is the first time that somebody asks.
      current.requestedBy = signal
      current.lastSignalAt = now
      stop = current
      return []
    }
    guard now - current.lastSignalAt >= Lifecycle.escalationInterval else { return [] }
    current.lastSignalAt = now
    current.escalations += 1
    stop = current
    return escalate(current.escalations, by: signal, at: now)
  }

  private mutating func escalate(_ count: Int, by signal: Signal, at now: MonotonicInstant) -> [Effect] {
    if count == 1 {
      return [.log(.warning, "second stop signal (\(signal)): killing what still runs")]
        + killProcesses(at: now)
    }
    return [.log(.warning, "another stop signal (\(signal)): killing everything")] + killProcesses(at: now)
      + [.sweep([.kill])]
  }
}
