import Coordination
import EventLoop
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
    _ name: String, version: Int = 1, check: Bool = false, timeout: Duration? = nil, retries: Int = 0,
    fatal: Bool = true, failsWhenInterrupted: Bool = false
  ) -> PhaseStep {
    PhaseStep(
      name: name, definition: "\(name) \(version)", hasCheck: check, timeout: timeout, retries: retries,
      isFatal: fatal, failsWhenInterrupted: failsWhenInterrupted)
  }
}

func instant(_ milliseconds: Int) -> MonotonicInstant {
  MonotonicInstant(nanoseconds: 1_000_000_000 + UInt64(milliseconds) * 1_000_000)
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
  var notes: [String] = []
  var timer: MonotonicInstant?
  var heartbeat: MonotonicInstant?
  var milliseconds = 0

  init(
    _ steps: [PhaseStep] = [.named("migrate"), .named("warm")], runID: String? = "r1",
    stored: ReleaseRecord? = nil, timeout: Duration? = .seconds(300), maximumWait: Duration? = nil
  ) {
    self.steps = steps
    self.stored = stored
    let wall = wall
    phase = InfrastructurePhase(
      runID: RunID(given: runID, workingDirectory: [47]), steps: steps, owner: "us", timeout: timeout,
      maximumWait: maximumWait, wallClock: { wall.now })
  }

  /// Feeds one event and returns what it caused, in words.
  @discardableResult
  func send(_ event: InfrastructurePhase.Event, after delay: Int = 0) -> [String] {
    milliseconds += delay
    var words: [String] = []
    for effect in phase.handle(event, at: instant(milliseconds)) {
      switch effect {
      case .schedule(let deadline): timer = deadline
      case .unschedule: timer = nil
      case .scheduleHeartbeat(let deadline): heartbeat = deadline
      case .note(let text): notes.append(text)
      case .read, .write, .lock, .unlock, .run: due.append(effect)
      case .abandonLock: due.removeAll { $0 == .lock }
      default: break
      }
      if let word = describe(effect) { words.append(word) }
    }
    trace += words
    return words
  }

  /// Gives the oldest request its answer: it worked.
  @discardableResult
  func answer() -> [String] {
    guard !due.isEmpty else { return [] }
    switch due.removeFirst() {
    case .read: return send(.record(stored))
    case .write(let record):
      stored = record
      return send(.written)
    case .lock: return send(.lockHeld)
    case .unlock: return send(.unlocked)
    case .run: return send(.commandEnded(.succeeded))
    default: return []
    }
  }

  /// Answers until nothing is due.
  func answerAll() {
    while !due.isEmpty { answer() }
  }

  /// Answers until `word` has been said, and returns whether it was.
  @discardableResult
  func answer(until word: String) -> Bool {
    while trace.last != word {
      if due.isEmpty { return false }
      answer()
    }
    return true
  }

  /// The request for which an answer of another kind is sent by hand.
  func takeDue() { if !due.isEmpty { due.removeFirst() } }

  private func describe(_ effect: InfrastructurePhase.Effect) -> String? {
    switch effect {
    case .read: return "read"
    case .write(let record): return "write \(describe(record))"
    case .lock: return "lock"
    case .abandonLock: return "abandon"
    case .unlock: return "unlock"
    case .run(let step, let command): return "\(command == .main ? "run" : "check") \(steps[step].name)"
    case .stopCommand(let step): return "stop \(steps[step].name)"
    case .killCommand(let step): return "kill \(steps[step].name)"
    case .stepEnded(let step, _, _, skipped: true): return "skip \(steps[step].name)"
    case .waiting(let holder): return "wait for \(holder)"
    case .finished(let outcome): return "finished: \(describe(outcome))"
    case .schedule, .unschedule, .scheduleHeartbeat, .note, .stepBegan, .stepEnded: return nil
    }
  }

  private func describe(_ record: ReleaseRecord) -> String {
    let claim = record.claim.map { "\($0.attempt):\($0.step.isEmpty ? "-" : $0.step)" } ?? "no claim"
    var words = [claim, "[\(record.entries.map(\.step).joined(separator: " "))]"]
    if let failure = record.failure { words.append("failed \(failure.step)") }
    if record.completedAt != nil { words.append("complete") }
    return words.joined(separator: " ")
  }

  private func describe(_ outcome: InfrastructurePhase.Outcome) -> String {
    switch outcome {
    case .ready(let ran): return ran ? "ready, ran" : "ready"
    case .failed(let step, let reason): return "\(step) failed: \(reason)"
    case .timedOut: return "timed out"
    case .storeUnusable(let text): return "unusable: \(text)"
    case .lockLost: return "lock lost"
    case .interrupted: return "interrupted"
    }
  }
}

extension ReleaseRecord {
  /// A record as another node would have left it.
  static func left(
    by owner: String = "them", attempt: Int = 1, at step: String = "", done: [PhaseStep] = [],
    completedAt: UInt64? = nil, heartbeat: UInt64 = 1, failure: Failure? = nil
  ) -> ReleaseRecord {
    var record = ReleaseRecord(runID: "r1")
    record.claim = Claim(owner: owner, attempt: attempt, startedAt: 1, heartbeat: heartbeat, step: step)
    record.entries = done.map { Entry(step: $0.name, hash: $0.hash, doneAt: 5) }
    record.completedAt = completedAt
    record.failure = failure
    return record
  }
}
