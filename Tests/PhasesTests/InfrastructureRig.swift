import EventLoop
import ReleaseRecords
import Synchronization

@testable import Phases

/// A wall clock that a test sets.
final class WallClock: Sendable {
  private let value = Atomic<UInt64>(1_000)

  var now: UInt64 {
    get { value.load(ordering: .relaxed) }
    set { value.store(newValue, ordering: .relaxed) }
  }
}

extension PhaseStep {
  /// A step whose definition is its name and a version.
  static func named(
    _ name: String, version: Int = 1, needs: [String] = [], check: Bool = false, rollback: Bool = false,
    timeout: Duration? = nil, retries: Int = 0, fatal: Bool = true, failsWhenInterrupted: Bool = false,
    recheck: Bool = false, rollbackOnStop: Bool = false, rollbackFailed: Bool = false
  ) -> PhaseStep {
    var step = PhaseStep(
      name: name, definition: "\(name) \(version)", hasCheck: check, timeout: timeout, retries: retries,
      isFatal: fatal, failsWhenInterrupted: failsWhenInterrupted)
    step.needs = needs
    step.hasRollback = rollback
    step.rechecksOnStart = recheck
    step.rollsBackOnStop = rollbackOnStop
    step.rollsBackWhenFailed = rollbackFailed
    return step
  }
}

extension InfrastructureRules {
  /// The defaults but for what is changed here.
  static func with(_ change: (inout InfrastructureRules) -> Void) -> InfrastructureRules {
    var rules = InfrastructureRules()
    change(&rules)
    return rules
  }
}

func instant(_ milliseconds: Int) -> MonotonicInstant {
  MonotonicInstant(nanoseconds: 1_000_000_000 + UInt64(milliseconds) * 1_000_000)
}

/// The word of a command in a trace.
func word(_ command: StepCommand) -> String {
  switch command {
  case .main: "run"
  case .check: "check"
  case .rollback: "rollback"
  }
}

/// One infrastructure phase, its effects as short words, and a store in memory that answers when it is asked to.
final class InfrastructureRig {
  var phase: InfrastructurePhase
  let steps: [PhaseStep]
  let wall = WallClock()
  /// What is durable.
  var stored: ReleaseRecord?
  /// What the phase still waits for an answer to.
  var due: [InfrastructurePhase.Effect] = []
  var trace: [String] = []
  /// How the steps ended.
  var ends: [String] = []
  var notes: [String] = []
  var outcome: InfrastructurePhase.Outcome?
  /// What must never happen.
  var problems: [String] = []
  var timer: MonotonicInstant?
  var heartbeat: MonotonicInstant?
  var stepTimers: [Int: MonotonicInstant] = [:]
  var milliseconds = 0
  /// Commands that fail, as words: `run migrate`.
  var failing: Set<String> = []
  /// What the commands give to later steps, by step.
  var outputs: [String: [StepOutput]] = [:]
  /// What the commands were given, by word.
  var environment: [String: [StepOutput]] = [:]
  /// Whom the lock will name as its vanished holder.
  var leftBy = ""
  private var running: Set<Int> = []

  init(
    _ steps: [PhaseStep] = [.named("migrate"), .named("warm")], runID: String? = "r1",
    stored: ReleaseRecord? = nil, rules: InfrastructureRules = InfrastructureRules(), errand: Errand? = nil
  ) {
    self.steps = steps
    self.stored = stored
    let wall = wall
    phase = InfrastructurePhase(
      runID: RunID(given: runID, workingDirectory: [47]), steps: steps, owner: "us", rules: rules,
      errand: errand, wallClock: { wall.now })
  }

  /// Feeds one event and returns what it caused, in words.
  @discardableResult
  func send(_ event: InfrastructurePhase.Event, after delay: Int = 0) -> [String] {
    milliseconds += delay
    var words: [String] = []
    for effect in phase.handle(event, at: instant(milliseconds)) {
      perform(effect)
      if let word = describe(effect) { words.append(word) }
    }
    trace += words
    return words
  }

  private func perform(_ effect: InfrastructurePhase.Effect) {
    if outcome != nil { problems.append("after the end: \(effect)") }
    switch effect {
    case .schedule(let deadline), .awaitChange(let deadline): timer = deadline
    case .unschedule: timer = nil
    case .scheduleHeartbeat(let deadline): heartbeat = deadline
    case .step(let step, .schedule(let deadline)): stepTimers[step] = deadline
    case .step(let step, .unschedule): stepTimers[step] = nil
    case .note(let text), .step(_, .note(let text)): notes.append(text)
    case .read, .write, .lock, .endRemains: due.append(effect)
    case .contend: break
    case .unlock:
      if !running.isEmpty { problems.append("unlock while a command runs") }
      due.append(effect)
    case .step(let step, .run(let command, let variables)):
      if !running.insert(step).inserted { problems.append("\(steps[step].name) runs twice") }
      environment["\(word(command)) \(steps[step].name)"] = variables
      due.append(effect)
    case .step(let step, .stop), .step(let step, .kill):
      if !running.contains(step) { problems.append("\(steps[step].name) is stopped but does not run") }
    // Nothing that was asked of the helper is answered any more.
    case .abandonLock: due.removeAll { [.lock, .read].contains($0) }
    case .step(let step, .ended(let outcome, _)): ends.append(PhasesTests.describe(steps[step].name, outcome))
    case .finished(let outcome):
      if !running.isEmpty { problems.append("finished while a command runs") }
      self.outcome = outcome
    case .step(_, .began), .step(_, .rollbackBegan), .waiting: break
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

  /// Gives the oldest request its answer: it worked, unless it is a command that is to fail.
  @discardableResult
  func answer() -> [String] {
    guard !due.isEmpty else { return [] }
    switch due.removeFirst() {
    case .read: return send(.record(stored))
    case .write(let record):
      stored = record
      return send(.written)
    case .lock: return send(.lockHeld(leftBy: leftBy))
    case .unlock: return send(.unlocked)
    case .endRemains(let step): return send(.remainsEnded(step: step, nil))
    case .step(let step, .run(let command, _)):
      let name = steps[step].name
      running.remove(step)
      return send(
        .commandEnded(
          step: step,
          failing.contains("\(word(command)) \(name)")
            ? .failed("exit code 1") : .succeeded(outputs: command == .main ? outputs[name] ?? [] : [])))
    default: return []
    }
  }

  /// The oldest write is done, whatever else is due.
  @discardableResult
  func answerWrite() -> [String] {
    for index in due.indices {
      guard case .write(let record) = due[index] else { continue }
      due.remove(at: index)
      stored = record
      return send(.written)
    }
    return ["nothing is written"]
  }

  /// Answers until nothing is due.
  func answerAll() {
    while !due.isEmpty { answer() }
  }

  /// Answers, and lets time pass when nothing is due, until the end; false when there is none.
  @discardableResult
  func play() -> Bool {
    for _ in 0..<3000 where outcome == nil {
      if due.isEmpty { passTime() } else { answer() }
    }
    return outcome != nil
  }

  /// The next of the timers.
  func passTime() {
    let next = ([timer, heartbeat].compactMap { $0 } + stepTimers.values).min()
    guard let next else { return }
    milliseconds = max(milliseconds, Int((next.nanoseconds + 999_999) / 1_000_000) - 1000)
    if timer == next {
      timer = nil
      send(.timer)
    } else if heartbeat == next {
      heartbeat = nil
      send(.heartbeat)
    } else if let step = stepTimers.first(where: { $0.value == next })?.key {
      stepTimers[step] = nil
      send(.stepTimer(step: step))
    }
  }

  /// Answers until `word` has been said, and returns whether it was.
  @discardableResult
  func answer(until word: String) -> Bool {
    while !(trace.last == word || trace.suffix(4).contains(word)) {
      if due.isEmpty { return false }
      answer()
    }
    return true
  }

  /// The request for which an answer of another kind is sent by hand.
  func takeDue() { if !due.isEmpty { due.removeFirst() } }

  /// The store refuses its oldest request.
  @discardableResult
  func refuse(_ text: String = "disk", after delay: Int = 0) -> [String] {
    due.removeFirst()
    return send(.storeFailed(StoreFailure(text)), after: delay)
  }

  /// What ran, in order.
  var commands: [String] {
    trace.filter { line in ["run ", "check ", "rollback "].contains { line.hasPrefix($0) } }
  }

  private func describe(_ effect: InfrastructurePhase.Effect) -> String? {
    switch effect {
    case .read: return "read"
    case .write(let record): return "write \(describe(record))"
    case .lock: return "lock"
    case .contend: return "contend"
    case .endRemains(let step): return "end remains \(step)"
    case .abandonLock: return "abandon"
    case .unlock: return "unlock"
    case .step(let step, .run(let command, _)): return "\(word(command)) \(steps[step].name)"
    case .step(let step, .stop): return "stop \(steps[step].name)"
    case .step(let step, .kill): return "kill \(steps[step].name)"
    case .step(let step, .ended(.skipped, _)): return "skip \(steps[step].name)"
    case .waiting(let holder): return "wait for \(holder)"
    case .finished(let outcome): return "finished: \(describe(outcome))"
    case .schedule, .awaitChange, .unschedule, .scheduleHeartbeat, .note,
      .step:
      return nil
    }
  }

  private func describe(_ record: ReleaseRecord) -> String {
    let names = record.claim?.running.map(\.step).joined(separator: "+") ?? ""
    let claim = record.claim.map { "\($0.attempt):\(names.isEmpty ? "-" : names)" } ?? "no claim"
    var words = [claim, "[\(record.entries.map(\.step).joined(separator: " "))]"]
    if let failure = record.failure { words.append("failed \(failure.step)") }
    if record.completedAt != nil { words.append("complete") }
    return words.joined(separator: " ")
  }

  private func describe(_ outcome: InfrastructurePhase.Outcome) -> String {
    switch outcome {
    case .ready(let ran, _): return ran ? "ready, ran" : "ready"
    case .failed(let step, let reason): return "\(step) failed: \(reason)"
    case .timedOut: return "timed out"
    case .storeUnusable(let failure): return "unusable: \(failure.text)"
    case .lockLost: return "lock lost"
    case .interrupted: return "interrupted"
    }
  }
}

/// A step's end in a few words.
func describe(_ step: String, _ outcome: StepOutcome) -> String {
  switch outcome {
  case .done: "\(step) done"
  case .skipped(let reason): "\(step) skipped: \(reason)"
  case .failed(let reason): "\(step) failed: \(reason)"
  case .interrupted: "\(step) interrupted"
  case .notStarted(let reason): "\(step) not started: \(reason)"
  case .undone: "\(step) undone"
  case .undoFailed(let reason): "\(step) not undone: \(reason)"
  }
}

extension ReleaseRecord {
  /// A record as another node would have left it.
  static func left(
    by owner: String = "them", attempt: Int = 1, at step: String = "", done: [PhaseStep] = [],
    completedAt: UInt64? = nil, heartbeat: UInt64 = 1, failure: Failure? = nil, declaredBy: String? = nil
  ) -> ReleaseRecord {
    var record = ReleaseRecord(runID: "r1")
    record.claim = Claim(
      owner: owner, attempt: attempt, startedAt: 1, heartbeat: heartbeat,
      running: step.isEmpty ? [] : [Running(step: step, startedAt: 1)])
    record.entries = done.map { Entry(step: $0.name, hash: $0.hash, doneAt: 5) }
    record.completedAt = completedAt
    record.failure = failure
    record.declaredBy = declaredBy
    return record
  }

  /// A record of a try that failed.
  static func failed(
    count: Int = 1, attempt: Int = 1, step: String = "migrate", at time: UInt64 = 1, done: [PhaseStep] = []
  ) -> ReleaseRecord {
    .left(
      attempt: attempt, done: done,
      failure: Failure(count: count, attempt: attempt, step: step, reason: "exit code 1", failedAt: time))
  }
}
