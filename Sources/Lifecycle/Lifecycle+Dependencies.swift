import EventLoop
import Journal
import Phases
import Processes

/// Who waits for something outside: a database, a file, another service.
public enum WaitID: Hashable, Sendable {
  /// The whole start: the top-level `wait_for`.
  case start
  /// A process before its start, or a step that is a wait.
  case process(ProcessID)
}

/// How a wait ended.
public enum WaitOutcome: Equatable, Sendable {
  /// All of it is there.
  case ready
  /// Something refused for good, or nothing can be looked at: one sentence.
  case failed(String)
  /// Something did not come in time: one sentence.
  case timedOut(String)
}

extension Lifecycle {
  /// Before any lock, on every node, all at once.
  mutating func beginDependencies(at now: MonotonicInstant) -> [Effect] {
    guard plan.waitsAtStart else { return beginLiteFS(at: now) }
    waits.insert(.start)
    waitBegan = now
    return enter(.dependencies) + [.wait(.start)]
  }

  /// Starts a process, after what it waits for is there.
  mutating func startWhenPossible(_ id: ProcessID, at now: MonotonicInstant) -> [Effect] {
    guard plan.process(id)?.waits == true else {
      startOrder.append(id)
      return feed(id, .start, at: now)
    }
    waits.insert(.process(id))
    return [.log(.info, "\(plan.name(id)): waits for what it needs (wait_for)"), .wait(.process(id))]
  }

  mutating func waited(_ id: WaitID, _ outcome: WaitOutcome, at now: MonotonicInstant) -> [Effect] {
    guard waits.remove(id) != nil else { return [] }
    switch id {
    case .start: return startWaited(outcome, at: now)
    case .process(let process):
      guard plan.process(process) != nil else {
        return commandEnded(process, result(of: outcome), at: now)
      }
      return processWaited(process, outcome, at: now)
    }
  }

  private func result(of outcome: WaitOutcome) -> CommandResult {
    switch outcome {
    case .ready: .succeeded()
    case .failed(let text), .timedOut(let text): .failed(text)
    }
  }

  private mutating func startWaited(_ outcome: WaitOutcome, at now: MonotonicInstant) -> [Effect] {
    switch outcome {
    case .ready:
      let waited = waitBegan.map { now - $0 } ?? .zero
      infrastructure.waited = waited
      node.waitedBefore = waited
      return beginLiteFS(at: now)
    case .failed(let text):
      return end(Ending(code: 69, reason: "dependency_refused", text: text), at: now)
    case .timedOut(let text):
      return end(Ending(code: 69, reason: "dependency_timeout", text: text), at: now)
    }
  }

  private mutating func processWaited(
    _ id: ProcessID, _ outcome: WaitOutcome, at now: MonotonicInstant
  ) -> [Effect] {
    guard stop == nil else { return [] }
    switch outcome {
    case .ready:
      startOrder.append(id)
      return feed(id, .start, at: now)
    case .failed(let reason): return notStarted(id, "dependency_refused", reason, at: now)
    case .timedOut(let reason): return notStarted(id, "dependency_timeout", reason, at: now)
    }
  }

  private mutating func notStarted(
    _ id: ProcessID, _ word: String, _ reason: String, at now: MonotonicInstant
  ) -> [Effect] {
    let text = "\(plan.name(id)) is not started: \(reason)"
    if id != .app, plan.process(id)?.stopsAllOnFailure == false {
      return [.log(.error, "\(text); the others go on (on_failure: ignore)")] + goOnWithout(id, at: now)
    }
    return end(Ending(code: 69, reason: word, text: text), at: now)
  }

  /// A step that is a wait: there is no process to stop.
  mutating func stopWaiting(_ id: ProcessID, at now: MonotonicInstant) -> [Effect]? {
    guard waits.remove(.process(id)) != nil else { return nil }
    return [.cancelWait(.process(id))] + commandEnded(id, .failed("it was stopped"), at: now)
  }

  /// Nothing is waited for any more, but by steps: their phase ends those.
  mutating func cancelWaits() -> [Effect] {
    let cancelled = waits.filter { id in
      if case .process(let process) = id { return plan.process(process) != nil }
      return true
    }
    waits.subtract(cancelled)
    return cancelled.map { .cancelWait($0) }
  }
}
