import EventLoop
import ReleaseRecords

@testable import Phases

/// One node phase, its effects as words, and a marker in memory.
final class NodeRig {
  var phase: NodePhase
  let steps: [PhaseStep]
  let wall = WallClock()
  var marker: Marker?
  var due: [NodePhase.Effect] = []
  var trace: [String] = []
  /// How the steps ended.
  var ends: [String] = []
  var notes: [String] = []
  var outcome: NodePhase.Outcome?
  /// What must never happen.
  var problems: [String] = []
  var timer: MonotonicInstant?
  var stepTimers: [Int: MonotonicInstant] = [:]
  var milliseconds = 0
  /// Commands that fail, as words: `run static`.
  var failing: Set<String> = []
  /// What the commands give to later steps, by step.
  var outputs: [String: [StepOutput]] = [:]
  /// What the commands were given, by word.
  var environment: [String: [StepOutput]] = [:]
  /// Whom the lock will name as its vanished holder.
  var leftBy = ""
  private var running: Set<Int> = []

  init(
    _ steps: [PhaseStep] = [.named("static", fatal: false), .named("fonts", fatal: false)],
    runID: String? = "r1", marker: Marker? = nil, timeout: Duration? = .seconds(60),
    takeoverDelay: Duration = .seconds(3), errand: Errand? = nil
  ) {
    let wall = wall
    self.steps = steps
    self.marker = marker
    var rules = NodePhase.Rules()
    rules.timeout = timeout
    rules.takeoverDelay = takeoverDelay
    phase = NodePhase(
      runID: RunID(given: runID, workingDirectory: [47]), steps: steps, rules: rules,
      errand: errand, wallClock: { wall.now })
  }

  @discardableResult
  func send(_ event: NodePhase.Event, after delay: Int = 0) -> [String] {
    milliseconds += delay
    let effects = phase.handle(event, at: instant(milliseconds))
    for effect in effects { perform(effect) }
    let words = effects.compactMap(describe)
    trace += words
    return words
  }

  private func perform(_ effect: NodePhase.Effect) {
    if outcome != nil { problems.append("after the end: \(effect)") }
    switch effect {
    case .schedule(let deadline): timer = deadline
    case .unschedule: timer = nil
    case .step(let step, .schedule(let deadline)): stepTimers[step] = deadline
    case .step(let step, .unschedule): stepTimers[step] = nil
    case .note(let text), .step(_, .note(let text)): notes.append(text)
    case .read, .write, .lock: due.append(effect)
    case .unlock:
      if !running.isEmpty { problems.append("unlock while a command runs") }
      due.append(effect)
    case .step(let step, .run(let command, let variables)):
      if !running.insert(step).inserted { problems.append("\(steps[step].name) runs twice") }
      environment["\(word(command)) \(steps[step].name)"] = variables
      due.append(effect)
    case .step(let step, .stop), .step(let step, .kill):
      if !running.contains(step) { problems.append("\(steps[step].name) is stopped but does not run") }
    case .abandonLock: due.removeAll { [.lock, .read].contains($0) }
    case .step(let step, .ended(let outcome, _)): ends.append(PhasesTests.describe(steps[step].name, outcome))
    case .finished(let outcome):
      if !running.isEmpty { problems.append("finished while a command runs") }
      self.outcome = outcome
    case .step(_, .began), .step(_, .rollbackBegan), .waiting, .awaitRelease: break
    }
  }

  /// A command's end, by hand.
  @discardableResult
  func end(_ step: String, _ result: CommandResult = .succeeded(), after delay: Int = 0) -> [String] {
    guard let index = steps.firstIndex(where: { $0.name == step }) else { return [] }
    due.removeAll { if case .step(index, .run) = $0 { true } else { false } }
    running.remove(index)
    return send(.commandEnded(step: index, result), after: delay)
  }

  @discardableResult
  func answer() -> [String] {
    guard !due.isEmpty else { return [] }
    switch due.removeFirst() {
    case .read: return send(.marker(marker))
    case .write(let marker):
      self.marker = marker
      return send(.written)
    case .lock: return send(.lockHeld(leftBy: leftBy))
    case .unlock: return send(.unlocked)
    case .step(let step, .run(let command, _)):
      let name = steps[step].name
      return end(
        name,
        failing.contains("\(word(command)) \(name)")
          ? .failed("exit code 1") : .succeeded(outputs: command == .main ? outputs[name] ?? [] : []))
    default: return []
    }
  }

  func answerAll() {
    while !due.isEmpty { answer() }
  }

  @discardableResult
  func answer(until word: String) -> Bool {
    while trace.last != word {
      if due.isEmpty { return false }
      answer()
    }
    return true
  }

  /// Answers, and lets time pass when nothing is due, until the end; false when there is none.
  @discardableResult
  func play() -> Bool {
    for _ in 0..<1000 where outcome == nil {
      if !due.isEmpty {
        answer()
      } else if let next = ([timer].compactMap { $0 } + stepTimers.values).min() {
        milliseconds = max(milliseconds, Int(next.nanoseconds / 1_000_000) - 1000)
        if timer == next {
          timer = nil
          send(.timer)
        } else if let step = stepTimers.first(where: { $0.value == next })?.key {
          stepTimers[step] = nil
          send(.stepTimer(step: step))
        }
      }
    }
    return outcome != nil
  }

  /// What ran, in order.
  var commands: [String] {
    trace.filter { line in ["run ", "check ", "rollback "].contains { line.hasPrefix($0) } }
  }

  private func describe(_ effect: NodePhase.Effect) -> String? {
    switch effect {
    case .read: return "read"
    case .write(let marker): return "mark [\(marker.failedSteps.joined(separator: " "))]"
    case .lock: return "lock"
    case .abandonLock: return "abandon"
    case .unlock: return "unlock"
    case .step(let step, .run(let command, _)): return "\(word(command)) \(steps[step].name)"
    case .step(let step, .stop): return "stop \(steps[step].name)"
    case .step(let step, .kill): return "kill \(steps[step].name)"
    case .step(let step, .ended(.skipped, _)): return "skip \(steps[step].name)"
    case .waiting(let holder): return "wait for \(holder)"
    case .awaitRelease: return "await release"
    case .finished(let outcome): return "finished: \(describe(outcome))"
    case .schedule, .unschedule, .note, .step:
      return nil
    }
  }

  private func describe(_ outcome: NodePhase.Outcome) -> String {
    switch outcome {
    case .done(let ran, let failed): return (ran ? "ran" : "done") + failed.map { " !\($0)" }.joined()
    case .failed(let step, let reason): return "\(step) failed: \(reason)"
    case .timedOut: return "timed out"
    case .storeUnusable(let failure): return "unusable: \(failure.text)"
    case .lockLost: return "lock lost"
    case .interrupted: return "interrupted"
    }
  }
}
