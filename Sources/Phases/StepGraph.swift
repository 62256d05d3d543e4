import EventLoop
import ReleaseRecords

/// The steps of one phase on their way: which may start, which run, how they ended. Shared by both phases, which decide
/// what must be durable before a step starts and after it ended.
///
/// Order among steps that could start at the same time is that of the file.
struct StepGraph: Sendable {
  enum Effect: Sendable, Equatable {
    case run(Int, StepCommand)
    case step(Int, StepEffect)
    /// A step has come to an end; what was `done` waits for `settle`.
    case ended(Int, StepOutcome, attempts: Int, outputs: [StepOutput])
  }

  enum State: Sendable, Equatable {
    /// For what it needs, or for its turn.
    case waiting
    /// Its owner makes durable that it begins.
    case starting
    case running
    /// Being killed, or stopped because another step failed; its end is not its own.
    case dying
    /// Done, and being recorded.
    case settling
    case done
    case failed
    case interrupted
    case notStarted
    case undoing
    case undone
  }

  private struct Item: Sendable {
    let step: PhaseStep
    let needs: [Int]
    var state = State.waiting
    var runner: StepRunner?
  }

  private var items: [Item]
  private let parallelism: Int
  private let stopsOnFailure: Bool
  /// Nothing starts any more.
  private(set) var isClosed = false
  /// The first fatal failure.
  private(set) var failure: (step: Int, reason: String)?
  /// What was done by this graph and not before, in the order of completion.
  private(set) var completed: [Int] = []

  /// A graph of steps none of which has begun. Names in `needs` that no step has are ignored: settings refuse them.
  init(_ steps: [PhaseStep], parallelism: Int = 1, stopsOnFailure: Bool = false) {
    let indexes = Dictionary(
      steps.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { first, _ in first })
    items = steps.map { step in Item(step: step, needs: step.needs.compactMap { indexes[$0] }) }
    self.parallelism = max(1, parallelism)
    self.stopsOnFailure = stopsOnFailure
  }

  /// Where a step is.
  func state(of index: Int) -> State { items[index].state }

  /// Whether nothing is begun, runs or is being undone.
  var isQuiet: Bool {
    items.allSatisfy { item in
      switch item.state {
      case .starting, .running, .dying, .undoing: false
      case .waiting, .settling, .done, .failed, .interrupted, .notStarted, .undone: true
      }
    }
  }

  /// Whether a command may be running.
  var isBusy: Bool { items.contains { [.running, .dying, .undoing].contains($0.state) } }

  /// All that need this step, directly or not.
  func dependents(of index: Int) -> [Int] {
    var found: Set<Int> = [index]
    var grows = true
    while grows {
      let more = items.indices.filter {
        !found.contains($0) && items[$0].needs.contains { found.contains($0) }
      }
      grows = !more.isEmpty
      found.formUnion(more)
    }
    return found.subtracting([index]).sorted()
  }

  // MARK: Starting

  /// It was done before: nothing is to be run.
  mutating func skip(_ index: Int, because reason: String) -> [Effect] {
    guard items[index].state == .waiting else { return [] }
    items[index].state = .done
    return [.ended(index, .skipped(reason), attempts: 0, outputs: [])]
  }

  /// The steps that may start now. They count as starting from here on.
  mutating func takeStartable() -> [Int] {
    guard !isClosed else { return [] }
    var busy = items.filter { [.starting, .running, .dying].contains($0.state) }.count
    var found: [Int] = []
    for index in items.indices where busy < parallelism && items[index].state == .waiting {
      guard items[index].needs.allSatisfy({ items[$0].state == .done }) else { continue }
      items[index].state = .starting
      found.append(index)
      busy += 1
    }
    return found
  }

  /// Begins a step that was starting; one that must not begin any more becomes `notStarted`.
  mutating func start(_ index: Int, at now: MonotonicInstant) -> [Effect] {
    guard items[index].state == .starting else { return [] }
    if isClosed { return leaveOut(index) }
    items[index].state = .running
    items[index].runner = StepRunner(step: items[index].step)
    return [.step(index, .began)] + feed(index, .begin, at: now)
  }

  /// What was starting must not begin: it could not be made durable.
  mutating func cancelStarting() -> [Effect] {
    isClosed = true
    return items.indices.filter { items[$0].state == .starting }.flatMap { leaveOut($0) }
  }

  /// Gives up those that cannot start any more.
  mutating func leaveOutBlocked() -> [Effect] {
    var effects: [Effect] = []
    var grows = true
    while grows {
      grows = false
      for index in items.indices where items[index].state == .waiting && (isClosed || isBlocked(index)) {
        effects += leaveOut(index)
        grows = true
      }
    }
    return effects
  }

  private func isBlocked(_ index: Int) -> Bool { blocker(of: index) != nil }

  /// The need that will not be met.
  private func blocker(of index: Int) -> Int? {
    items[index].needs.first { need in
      switch items[need].state {
      case .failed, .interrupted, .notStarted, .undone: true
      default: false
      }
    }
  }

  private mutating func leaveOut(_ index: Int) -> [Effect] {
    let reason: String
    if let blocker = blocker(of: index) {
      reason = "needs \(items[blocker].step.name)"
    } else if let need = items[index].needs.first(where: { items[$0].state == .waiting }) {
      reason = "needs \(items[need].step.name)"
    } else if let failure {
      reason = "step \(items[failure.step].step.name) failed"
    } else {
      reason = "stopped before"
    }
    items[index].state = .notStarted
    return [.ended(index, .notStarted(reason: reason), attempts: 0, outputs: [])]
  }

  // MARK: Running

  /// - Parameter isLast: whether it must not be tried again.
  mutating func commandEnded(
    _ index: Int, _ result: CommandResult, isLast: Bool = false, at now: MonotonicInstant
  ) -> [Effect] {
    if items[index].state == .dying, items[index].runner == nil {
      items[index].state = .interrupted
      return [.ended(index, .interrupted, attempts: 0, outputs: [])]
    }
    if isLast { items[index].runner?.mayRetry = false }
    return feed(index, .commandEnded(result), at: now)
  }

  mutating func timer(_ index: Int, at now: MonotonicInstant) -> [Effect] { feed(index, .timer, at: now) }

  /// What is done is recorded, and what needs it may start.
  mutating func settle(_ index: Int) {
    guard items[index].state == .settling else { return }
    items[index].state = .done
    completed.append(index)
  }

  /// Nothing starts any more, and what runs is stopped.
  mutating func interrupt(at now: MonotonicInstant) -> [Effect] {
    isClosed = true
    return items.indices.filter { items[$0].state == .running }.flatMap { feed($0, .interrupt, at: now) }
  }

  /// Nothing starts any more, and what runs is killed at once. The commands that ran still answer.
  mutating func kill() -> [Effect] {
    var effects = cancelStarting()
    for index in items.indices {
      guard let runner = items[index].runner else { continue }
      items[index].runner = nil
      if runner.commandRuns {
        items[index].state = .dying
        effects += [.step(index, .unschedule), .step(index, .kill)]
      } else {
        // Between two tries there is no command whose end could be waited for.
        items[index].state = .interrupted
        effects += [
          .step(index, .unschedule), .ended(index, .interrupted, attempts: runner.attempts, outputs: []),
        ]
      }
    }
    return effects
  }

  // MARK: Undoing

  /// The rollback of a step, and all that need it count as not done any more.
  mutating func undo(_ index: Int, at now: MonotonicInstant) -> [Effect] {
    for other in dependents(of: index) where items[other].state == .done { items[other].state = .undone }
    items[index].state = .undoing
    items[index].runner = StepRunner(step: items[index].step, task: .rollback)
    return feed(index, .begin, at: now)
  }

  // MARK: One step

  private mutating func feed(_ index: Int, _ event: StepRunner.Event, at now: MonotonicInstant) -> [Effect] {
    guard var runner = items[index].runner else { return [] }
    let inner = runner.handle(event, at: now)
    items[index].runner = runner
    var effects: [Effect] = []
    for effect in inner {
      switch effect {
      case .run(let command): effects.append(.run(index, command))
      case .stop, .schedule, .unschedule, .note:
        if let passedOn = StepEffect(effect) { effects.append(.step(index, passedOn)) }
      case .ended(let outcome, let outputs):
        effects.append(.ended(index, outcome, attempts: runner.attempts, outputs: outputs))
        effects += ended(index, outcome, at: now)
      }
    }
    return effects
  }

  private mutating func ended(_ index: Int, _ outcome: StepOutcome, at now: MonotonicInstant) -> [Effect] {
    items[index].runner = nil
    switch outcome {
    case .done: items[index].state = .settling
    case .skipped: items[index].state = .done
    case .interrupted: items[index].state = .interrupted
    case .notStarted: items[index].state = .notStarted
    case .undone, .undoFailed: items[index].state = .undone
    case .failed(let reason):
      items[index].state = .failed
      guard items[index].step.isFatal else { return [] }
      if failure == nil { failure = (index, reason) }
      isClosed = true
      guard stopsOnFailure else { return [] }
      return interrupt(at: now)
    }
    return []
  }
}
