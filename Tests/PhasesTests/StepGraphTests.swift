import EventLoop
import TestSupport
import Testing

@testable import Phases

/// A graph of steps, its effects as words, every command in the test's hands.
private final class GraphRig {
  let steps: [PhaseStep]
  var graph: StepGraph
  var words: [String] = []

  init(_ steps: [PhaseStep], parallelism: Int = 1, stopsOnFailure: Bool = false) {
    self.steps = steps
    graph = StepGraph(steps, parallelism: parallelism, stopsOnFailure: stopsOnFailure)
  }

  func index(_ name: String) -> Int { steps.firstIndex { $0.name == name } ?? -1 }

  @discardableResult
  func carry(_ effects: [StepGraph.Effect]) -> [String] {
    let new = effects.compactMap { effect -> String? in
      switch effect {
      case .run(let index, let command): "\(word(command)) \(steps[index].name)"
      case .step(let index, .stop): "stop \(steps[index].name)"
      case .step(let index, .kill): "kill \(steps[index].name)"
      case .ended(let index, let outcome, _, _): describe(steps[index].name, outcome)
      case .step: nil
      }
    }
    words += new
    return new
  }

  /// Starts what can start.
  @discardableResult
  func go() -> [String] {
    var said = carry(graph.leaveOutBlocked())
    for index in graph.takeStartable() { said += carry(graph.start(index, at: instant(0))) }
    return said
  }

  @discardableResult
  func end(_ name: String, _ result: CommandResult = .succeeded(), settles: Bool = true) -> [String] {
    let said = carry(graph.commandEnded(index(name), result, at: instant(0)))
    if settles { graph.settle(index(name)) }
    return said
  }

  func state(_ name: String) -> StepGraph.State { graph.state(of: index(name)) }
  var completed: [String] { graph.completed.map { steps[$0].name } }
}

@Suite struct StepGraphTests {
  private static let failed = CommandResult.failed("exit code 1")

  // MARK: Order

  @Test(arguments: [
    ("c", "b", "a"), ("a", "b", "c"), ("b", "a", "c"),
  ]) func amongEqualsTheOrderIsThatOfTheFile(names: (String, String, String)) {
    let rig = GraphRig([.named(names.0), .named(names.1), .named(names.2)])
    for name in [names.0, names.1, names.2] {
      #expect(rig.go() == ["run \(name)"])
      #expect(rig.go() == [])
      rig.end(name)
    }
    #expect(rig.completed == [names.0, names.1, names.2] && rig.graph.isQuiet)
  }

  @Test func aStepStartsWhenAllThatItNeedsIsDone() {
    let rig = GraphRig(
      [.named("d", needs: ["b", "c"]), .named("b", needs: ["a"]), .named("c", needs: ["a"]), .named("a")],
      parallelism: 4)
    #expect(rig.go() == ["run a"])
    rig.end("a", settles: false)
    #expect(rig.state("a") == .settling)
    #expect(rig.go() == [])
    rig.graph.settle(3)
    #expect(rig.go() == ["run b", "run c"])
    rig.end("c")
    #expect(rig.go() == [])
    rig.end("b")
    #expect(rig.go() == ["run d"])
    rig.end("d")
    #expect(rig.completed == ["a", "c", "b", "d"])
  }

  @Test(arguments: 0...6) func noMoreThanItsParallelismRuns(parallelism: Int) {
    let names = ["a", "b", "c", "d", "e"]
    let rig = GraphRig(names.map { .named($0) }, parallelism: parallelism)
    var running: [String] = []
    var most = 0
    for _ in 0..<10 {
      running += rig.go().map { String($0.dropFirst(4)) }
      most = max(most, running.count)
      if !running.isEmpty { rig.end(running.removeLast()) }
    }
    #expect(most == min(max(1, parallelism), 5))
    #expect(rig.completed.sorted() == names)
  }

  @Test func whatIsStartingTakesAPlaceAndStartsOnce() {
    let rig = GraphRig([.named("a"), .named("b"), .named("c")], parallelism: 2)
    #expect(rig.graph.takeStartable() == [0, 1])
    #expect(rig.graph.takeStartable() == [])
    #expect(!rig.graph.isQuiet)
    #expect(rig.carry(rig.graph.start(0, at: instant(0))) == ["run a"])
    #expect(rig.carry(rig.graph.start(0, at: instant(0))) == [])
    #expect(rig.carry(rig.graph.start(2, at: instant(0))) == [])
  }

  @Test func aNeedThatNoStepHasIsNoNeed() {
    #expect(GraphRig([.named("a", needs: ["gone"])]).go() == ["run a"])
  }

  @Test func whatWasDoneBeforeIsLeftAloneAndNotTakenBack() {
    let rig = GraphRig([.named("a"), .named("b", needs: ["a"])])
    #expect(rig.carry(rig.graph.skip(0, because: "recorded done")) == ["a skipped: recorded done"])
    #expect(rig.carry(rig.graph.skip(0, because: "recorded done")) == [])
    #expect(rig.go() == ["run b"])
    rig.end("b")
    #expect(rig.completed == ["b"])
  }

  @Test(
    arguments: [
      ("a", ["b", "c", "d"]), ("b", ["d"]), ("c", ["d"]), ("d", []), ("e", []),
    ] as [(String, [String])]) func dependentsAreAllThatNeedIt(name: String, expected: [String])
  {
    let rig = GraphRig([
      .named("d", needs: ["b", "c"]), .named("c", needs: ["a"]), .named("b", needs: ["a"]), .named("a"),
      .named("e"),
    ])
    let found = rig.graph.dependents(of: rig.index(name)).map { rig.steps[$0].name }
    #expect(found.sorted() == expected)
  }

  /// Settings refuse it; here it must only not run forever.
  @Test func aCircleNeverStartsAndEnds() {
    let rig = GraphRig([
      .named("a", needs: ["b"]), .named("b", needs: ["a"]), .named("self", needs: ["self"]),
    ])
    #expect(rig.go() == [] && rig.graph.isQuiet)
    #expect(rig.graph.dependents(of: 0) == [1])
    _ = rig.carry(rig.graph.interrupt(at: instant(0)))
    rig.go()
    #expect(rig.state("a") == .notStarted && rig.state("self") == .notStarted)
  }

  // MARK: Failure

  static let five: [PhaseStep] = [
    .named("a"), .named("b"), .named("after a", needs: ["a"]), .named("after that", needs: ["after a"]),
    .named("alone"),
  ]

  @Test func aFailureLetsWhatRunsEndAndStartsNothing() {
    let rig = GraphRig(Self.five, parallelism: 2)
    #expect(rig.go() == ["run a", "run b"])
    #expect(rig.end("a", Self.failed) == ["a failed: exit code 1"])
    #expect(
      rig.go() == [
        "after a not started: needs a", "after that not started: needs after a",
        "alone not started: step a failed",
      ])
    #expect(!rig.graph.isQuiet && rig.graph.isClosed)
    #expect(rig.end("b") == ["b done"])
    #expect(rig.graph.isQuiet && rig.completed == ["b"])
    #expect(rig.graph.failure?.step == 0 && rig.graph.failure?.reason == "exit code 1")
  }

  @Test func aFailureStopsWhatRunsWhereThatIsWanted() {
    let rig = GraphRig(Self.five, parallelism: 2, stopsOnFailure: true)
    rig.go()
    #expect(rig.end("a", Self.failed) == ["a failed: exit code 1", "stop b"])
    #expect(rig.end("b") == ["b interrupted"])
    #expect(rig.completed == [] && rig.graph.isQuiet)
  }

  @Test func aStepBetweenTwoTriesIsStoppedAtOnce() {
    let rig = GraphRig([.named("a"), .named("b", retries: 1)], parallelism: 2, stopsOnFailure: true)
    rig.go()
    rig.end("b", Self.failed)
    #expect(rig.end("a", Self.failed) == ["a failed: exit code 1", "b interrupted"])
    #expect(rig.graph.isQuiet && rig.carry(rig.graph.timer(1, at: instant(9))) == [])
  }

  @Test func theFirstFailureIsTheOneThatCounts() {
    let rig = GraphRig([.named("a"), .named("b")], parallelism: 2)
    rig.go()
    rig.end("b", .failed("exit code 2"))
    rig.end("a", Self.failed)
    #expect(rig.graph.failure?.step == 1 && rig.graph.failure?.reason == "exit code 2")
  }

  @Test func aFailureThatIsNotFatalOnlyHoldsUpWhatNeedsIt() {
    let rig = GraphRig([.named("a", fatal: false), .named("b", needs: ["a"]), .named("c")])
    rig.go()
    rig.end("a", Self.failed)
    #expect(rig.go() == ["b not started: needs a", "run c"])
    #expect(rig.graph.failure == nil && !rig.graph.isClosed)
  }

  /// Its need will be done; it is the failure elsewhere that keeps it from starting.
  @Test func theReasonIsTheFailureWhereTheNeedStillRuns() {
    let rig = GraphRig([.named("a"), .named("b"), .named("c", needs: ["b"])], parallelism: 2)
    rig.go()
    rig.end("a", Self.failed)
    #expect(rig.go() == ["c not started: step a failed"])
  }

  // MARK: Closed

  @Test func interruptStopsWhatRunsOnceAndStartsNothing() {
    let rig = GraphRig(Self.five, parallelism: 2)
    rig.go()
    #expect(rig.carry(rig.graph.interrupt(at: instant(0))) == ["stop a", "stop b"])
    #expect(rig.carry(rig.graph.interrupt(at: instant(0))) == [])
    #expect(
      rig.go() == [
        "after a not started: stopped before", "after that not started: needs after a",
        "alone not started: stopped before",
      ])
    #expect(rig.end("a") == ["a interrupted"])
    #expect(!rig.graph.isQuiet)
    #expect(rig.end("b") == ["b interrupted"])
    #expect(rig.graph.isQuiet)
  }

  @Test func whatWasStartingWhenItClosedNeverBegins() {
    let rig = GraphRig([.named("a"), .named("b", needs: ["a"])])
    #expect(rig.graph.takeStartable() == [0])
    _ = rig.graph.interrupt(at: instant(0))
    #expect(rig.carry(rig.graph.start(0, at: instant(0))) == ["a not started: stopped before"])
    #expect(rig.go() == ["b not started: needs a"])
    #expect(rig.graph.isQuiet)
    let other = GraphRig([.named("a"), .named("b")], parallelism: 2)
    _ = other.graph.takeStartable()
    #expect(
      other.carry(other.graph.cancelStarting()) == [
        "a not started: stopped before", "b not started: stopped before",
      ])
    #expect(other.graph.isQuiet && other.graph.isClosed)
  }

  @Test func killWaitsForWhatRunsAndForNothingElse() {
    let rig = GraphRig(
      [.named("a", check: true), .named("b", retries: 1), .named("c"), .named("d")], parallelism: 3)
    rig.go()
    rig.end("b", Self.failed)
    rig.end("c")
    #expect(rig.graph.takeStartable() == [3])
    #expect(
      rig.carry(rig.graph.kill()) == ["d not started: stopped before", "kill a", "b interrupted"])
    #expect(!rig.graph.isQuiet && rig.state("a") == .dying)
    // A timer that was late, and another stop.
    #expect(rig.carry(rig.graph.timer(0, at: instant(0)) + rig.graph.interrupt(at: instant(0))) == [])
    #expect(rig.carry(rig.graph.kill()) == [])
    // Its success counts no more than its failure.
    #expect(rig.end("a") == ["a interrupted"])
    #expect(rig.graph.isQuiet && rig.completed == ["c"])
  }

  // MARK: Undo

  @Test(arguments: [true, false]) func undoTakesBackAStepAndWhatNeedsIt(succeeds: Bool) {
    let rig = GraphRig([.named("a", rollback: true), .named("b", needs: ["a"]), .named("c")])
    for name in ["a", "b", "c"] {
      rig.go()
      rig.end(name)
    }
    #expect(rig.carry(rig.graph.undo(0, at: instant(0))) == ["rollback a"])
    #expect(rig.state("a") == .undoing && rig.state("b") == .undone && rig.state("c") == .done)
    #expect(!rig.graph.isQuiet)
    #expect(
      rig.end("a", succeeds ? .succeeded() : Self.failed) == [
        succeeds ? "a undone" : "a not undone: exit code 1"
      ])
    #expect(rig.state("a") == .undone && rig.graph.isQuiet)
  }

  @Test func aRollbackIsKilledAsACommandIs() {
    let rig = GraphRig([.named("a", rollback: true)])
    rig.go()
    rig.end("a")
    _ = rig.graph.undo(0, at: instant(0))
    #expect(rig.carry(rig.graph.kill()) == ["kill a"])
    #expect(rig.end("a") == ["a interrupted"])
    #expect(rig.graph.isQuiet)
  }

  // MARK: Many graphs

  /// Random graphs, random ends: nothing starts before what it needs, nothing twice, and each comes to an end.
  @Test(arguments: 0..<40) func anyGraphEnds(block: UInt64) {
    for seed in block * 25..<block * 25 + 25 {
      var random = SeededRandom(seed: seed)
      let count = Int.random(in: 1...9, using: &random)
      let steps = (0..<count).map { number in
        PhaseStep.named(
          "s\(number)",
          needs: (0..<number).filter { _ in random.once(in: 3) }.map { "s\($0)" },
          retries: random.once(in: 4) ? 1 : 0, fatal: !random.once(in: 3))
      }.shuffled(using: &random)
      let parallelism = Int.random(in: 1...4, using: &random)
      let rig = GraphRig(steps, parallelism: parallelism, stopsOnFailure: random.once(in: 2))
      var running: Set<String> = []
      var settling: [Int] = []
      var done: Set<String> = []
      func carry(_ words: [String]) {
        for line in words {
          let name = String(line.split(separator: " ")[1])
          guard line.hasPrefix("run ") else { continue }
          #expect(running.insert(name).inserted, "seed \(seed)")
          #expect(!done.contains(name), "seed \(seed)")
          let needs = steps.first { $0.name == name }?.needs ?? []
          #expect(needs.allSatisfy { done.contains($0) }, "seed \(seed): \(name)")
          #expect(running.count <= parallelism, "seed \(seed)")
        }
      }
      var moves = 0
      while moves < 500 {
        moves += 1
        carry(rig.go())
        if random.once(in: 60) { carry(rig.carry(rig.graph.interrupt(at: instant(0)))) }
        if !settling.isEmpty, random.once(in: 2) {
          let index = settling.removeFirst()
          rig.graph.settle(index)
          done.insert(steps[index].name)
        } else if let name = running.sorted().randomElement(using: &random) {
          running.remove(name)
          rig.end(name, random.once(in: 6) ? Self.failed : .succeeded(), settles: false)
          if rig.state(name) == .settling { settling.append(rig.index(name)) }
          carry(rig.carry(rig.graph.timer(rig.index(name), at: instant(0))))
        } else if rig.graph.isQuiet, settling.isEmpty {
          break
        }
      }
      #expect(moves < 500, "seed \(seed): \(rig.words)")
      let final: [StepGraph.State] = [.done, .failed, .interrupted, .notStarted]
      #expect(
        steps.indices.allSatisfy { final.contains(rig.graph.state(of: $0)) }, "seed \(seed): \(rig.words)")
    }
  }
}
