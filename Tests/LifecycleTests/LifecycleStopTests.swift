import EventLoop
import Phases
import Processes
import Testing

@testable import Lifecycle

/// The stop: order, signals, escalation, budget, strays, exit codes.
@Suite struct LifecycleStopTests {
  @Test func stopsInReverseStartOrder() {
    let world = LifecycleWorld(
      .simple(services: [.service("db", early: true), .service("cache"), .service("queue")]))
    world.beginAndRun()
    #expect(
      world.trace.filter { $0.hasPrefix("spawn") } == ["spawn db", "spawn cache", "spawn queue", "spawn web"])
    world.signal(.terminate)
    world.runToExit()
    #expect(
      world.trace.filter { $0.hasPrefix("TERM") || $0.hasPrefix("end") } == [
        "TERM web", "end web", "TERM queue", "end queue", "TERM cache", "end cache", "TERM db", "end db",
      ])
    #expect(world.trace.last == "exit 143 stopped_on_request")
    #expect(world.problems.isEmpty)
  }

  // MARK: Signals

  enum Meaning: Sendable, Equatable {
    case stop
    case forward(Signal)
    case nothing
  }

  static let signals: [(Signal, kernel: Bool, terminal: Bool, Meaning)] = [
    (.terminate, false, false, .stop), (.interrupt, false, true, .stop),
    (.containerHalt, false, false, .stop),
    (.quit, false, false, .stop), (.hangup, true, true, .stop), (.hangup, false, true, .forward(.hangup)),
    (.user1, false, false, .forward(.user1)), (.user2, false, false, .forward(.user2)),
    (.terminalInput, false, false, .forward(.terminalInput)), (.terminalInput, false, true, .nothing),
    (.terminalOutput, false, false, .forward(.terminalOutput)), (.terminalOutput, false, true, .nothing),
    (.windowChange, false, true, .forward(.windowChange)), (.windowChange, false, false, .nothing),
    (Signal(rawValue: 11), false, false, .forward(Signal(rawValue: 11))),
    (Signal(rawValue: 34), false, false, .forward(Signal(rawValue: 34))),
    (.child, true, false, .nothing),
  ]

  @Test(arguments: signals)
  func signal(_ signal: Signal, kernel: Bool, terminal: Bool, meaning: Meaning) {
    let world = LifecycleWorld(.simple { $0.hasTerminal = terminal })
    world.beginAndRun()
    world.signal(signal, fromKernel: kernel)
    #expect(world.trace.contains("stage draining") == (meaning == .stop))
    let forwarded = world.trace.filter { $0.hasPrefix("forward") }
    if case .forward(let other) = meaning {
      #expect(forwarded == ["forward \(other)"])
    } else {
      #expect(forwarded.isEmpty)
    }
  }

  @Test func remapsAndDrops() {
    let world = LifecycleWorld(.simple { $0.signals = [.user1: .drop, .hangup: .send(.user2)] })
    world.beginAndRun()
    world.signal(.user1, .hangup, .user2)
    #expect(world.trace.filter { $0.hasPrefix("forward") } == ["forward USR2", "forward USR2"])
  }

  @Test func duringPhasesForwardedSignalsAreDroppedWithOneLine() {
    let world = LifecycleWorld(.simple(steps: ["migrate"]))
    world.begin()
    world.run(until: "started step migrate")
    world.signal(.user1)
    world.signal(.user1)
    #expect(world.logs.filter { $0.contains("USR1 arrived while the app does not run: dropped") }.count == 1)
    #expect(!world.trace.contains("forward USR1"))
  }

  // MARK: Escalation

  @Test func twoStopSignalsWithinHalfASecondAreOne() {
    let world = LifecycleWorld(.simple(), ["web": [.stubborn]])
    world.beginAndRun()
    world.signal(.terminate, .interrupt)
    world.run(for: 499)
    world.signal(.interrupt)
    world.run(for: 100)
    #expect(!world.trace.contains("KILL web"))
  }

  @Test func theSecondKillsWhoeversTurnItIs() {
    let world = LifecycleWorld(
      .simple(services: [.service("cache")]), ["web": [.stubborn], "cache": [.stubborn]])
    world.beginAndRun()
    world.signal(.terminate)
    world.run(for: 500)
    world.signal(.terminate)
    #expect(world.trace.contains("KILL web") && world.trace.contains("KILL cache"))
    world.runToExit(limit: 100)
    #expect(world.ending?.code == 137)
  }

  @Test func theThirdKillsStraysToo() {
    var stubborn = ChildScript.stubborn
    stubborn.strays = 2
    stubborn.straysObey = false
    stubborn.isUnkillable = false
    let world = LifecycleWorld(.simple(), ["web": [stubborn]])
    world.beginAndRun()
    world.signal(.terminate)
    world.run(for: 600)
    world.signal(.terminate)
    world.run(for: 600)
    #expect(world.trace.contains("sweep TERM CONT") && world.exitedAt == nil)
    world.signal(.terminate)
    #expect(world.trace.last == "sweep KILL")
    world.runToExit(limit: 100)
    #expect(world.exitedAt != nil && world.children.isEmpty)
  }

  // MARK: Codes

  @Test(arguments: [
    (Processes.ExitStatus.exited(0), Int32(0)), (.exited(3), 3), (.signaled(.kill), 137),
    (.signaled(.user1), 138),
  ])
  func theAppsOwnEnd(_ status: Processes.ExitStatus, code: Int32) {
    let world = LifecycleWorld(
      .simple(services: [.service("cache")]), ["web": [ChildScript(ends: (50, status))]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == code && world.ending?.reason == "app_ended")
    #expect(world.trace.contains("TERM cache"))
  }

  @Test func theAppsCodeAfterARequestedStop() {
    let world = LifecycleWorld(.simple(), ["web": [ChildScript(endsWith: .exited(5))]])
    world.beginAndRun()
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.last == "exit 5 stopped_on_request")
  }

  @Test(arguments: [Signal.terminate, .interrupt, .quit, .containerHalt])
  func aStopBeforeTheAppRan(_ signal: Signal) {
    let world = LifecycleWorld(.simple(steps: ["migrate"]))
    world.begin()
    world.run(until: "started step migrate")
    world.signal(signal)
    world.runToExit()
    #expect(world.trace.last == "exit \(128 + signal.rawValue) stopped_before_app")
    #expect(!world.trace.contains("spawn web"))
    #expect(world.problems.isEmpty)
  }

  @Test func aStopAfterTheAppsOwnEndChangesNoCode() {
    let world = LifecycleWorld(
      .simple(services: [.service("cache")]), ["web": [.ending(7)], "cache": [.stubborn]])
    world.begin()
    world.run(until: "end web")
    world.signal(.terminate)
    world.runToExit()
    #expect(world.ending?.code == 7)
  }

  @Test(arguments: [(ChildScript.missing, Int32(127)), (.noProcess, 70)])
  func anAppThatCannotStart(_ script: ChildScript, code: Int32) {
    let world = LifecycleWorld(.simple(), ["web": [script]])
    world.begin()
    world.runToExit()
    #expect(world.ending?.code == code)
  }

  // MARK: Drain

  @Test func drainsOnlyOnARequestedStopOfAReadyApp() {
    let world = LifecycleWorld(.simple { $0.drainDelay = .seconds(2) })
    world.beginAndRun()
    world.signal(.terminate)
    #expect(!world.lifecycle.isReady)
    world.run(for: 1999)
    #expect(!world.trace.contains("TERM web"))
    world.run(for: 2)
    #expect(world.trace.contains("TERM web"))
  }

  @Test func quitAndTheAppsOwnEndDoNotDrain() {
    let quit = LifecycleWorld(.simple { $0.drainDelay = .seconds(2) })
    quit.beginAndRun()
    quit.signal(.quit)
    #expect(quit.trace.contains("TERM web"))
    let ended = LifecycleWorld(
      .simple(services: [.service("cache")]) { $0.drainDelay = .seconds(2) }, ["web": [.ending(0)]])
    ended.begin()
    ended.run(until: "end web")
    #expect(ended.trace.contains("TERM cache"))
  }

  @Test func aSecondSignalEndsTheDrain() {
    let world = LifecycleWorld(.simple { $0.drainDelay = .seconds(4) })
    world.beginAndRun()
    world.signal(.terminate)
    world.run(for: 600)
    world.signal(.terminate)
    world.runToExit(limit: 100)
    #expect(world.trace.contains("KILL web") && world.exitedAt != nil)
  }

  @Test func drainLeavesHalfOfTheBudget() {
    let world = LifecycleWorld(.simple { $0.drainDelay = .seconds(60) }, ["web": [.stubborn]])
    world.beginAndRun()
    let began = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect((world.saidAt["TERM web"] ?? 0) - began == 4750)
    #expect((world.exitedAt ?? .max) - began <= 9500)
  }

  // MARK: Nothing starts after a stop

  @Test(arguments: [false, true]) func noRestartWhenTheAppDiesWithTheSignal(drains: Bool) {
    let world = LifecycleWorld(
      .simple(appRestart: .always) { if drains { $0.drainDelay = .seconds(4) } },
      ["web": [.ending(1, after: 50)]])
    world.begin()
    world.run(until: "started web")
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.filter { $0 == "spawn web" }.count == 1)
    #expect(world.ending?.reason == "stopped_on_request")
  }

  @Test(arguments: [false, true]) func noStartOutOfTheBackoff(drains: Bool) {
    let world = LifecycleWorld(
      .simple(services: [.service("queue", mode: .always)]) { if drains { $0.drainDelay = .seconds(4) } },
      ["queue": [.ending(1, after: 50)], "web": [ChildScript(obeysAfter: 3000)]])
    world.beginAndRun()
    world.run(until: "end queue")
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.filter { $0 == "spawn queue" }.count == 1)
  }

  @Test func noRestartOfAServiceThatDiesWhileAnotherIsStopped() {
    let world = LifecycleWorld(
      .simple(services: [.service("queue")]),
      ["queue": [.ending(1, after: 1000)], "web": [ChildScript(obeysAfter: 4000)]])
    world.beginAndRun()
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.filter { $0 == "spawn queue" }.count == 1)
  }

  @Test func noStartAfterAnAskedRestart() {
    let world = LifecycleWorld(
      .simple(services: [.service("queue")]),
      ["queue": [ChildScript(obeysAfter: 500)], "web": [ChildScript(obeysAfter: 3000)]])
    world.beginAndRun()
    world.ask(.restart("queue"))
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.filter { $0 == "spawn queue" }.count == 1)
  }

  // MARK: Strays and budget

  @Test func aRollbackThatComesAfterTheBudgetHasNoTime() {
    let world = LifecycleWorld(
      .simple(steps: ["first", "second"]) { plan in
        plan.stopTimeout = .seconds(2)
        plan.infrastructure[0].phase.hasRollback = true
        plan.infrastructure[0].phase.rollsBackOnStop = true
      }, ["step first": [.ending(0), .stubborn], "step second": [.stubborn]])
    world.begin()
    world.run(until: "spawn step second")
    let began = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.filter { $0 == "spawn step first" }.count == 2, "the rollback")
    #expect((world.exitedAt ?? .max) - began <= 2500)
    #expect(world.children.isEmpty && world.problems.isEmpty)
  }

  @Test(arguments: [true, false]) func straysAtTheEnd(obey: Bool) {
    let world = LifecycleWorld(.simple(), ["web": [ChildScript(strays: 2, straysObey: obey)]])
    world.beginAndRun()
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.contains("sweep TERM CONT"))
    #expect(world.trace.contains("sweep KILL") == !obey)
    #expect(world.children.isEmpty)
  }

  @Test func straysAreKilledEvenWhereAHangingStoreKeepsTheStopFromItsEnd() {
    let world = LifecycleWorld(
      .simple(services: [.service("db", early: true)], steps: ["first"]),
      ["db": [ChildScript(strays: 1, straysObey: false)], "step first": [ChildScript()]])
    world.unlockHangs = true
    world.begin()
    world.run(until: "spawn step first")
    world.signal(.terminate)
    world.runToExit()
    #expect(world.logs.contains { $0.hasPrefix("the stop does not come to an end") })
    #expect(world.trace.contains("sweep KILL"))
  }

  @Test func straysThatNothingEndsAreLeftWithAnError() {
    let world = LifecycleWorld(
      .simple(), ["web": [ChildScript(obeysAfter: nil, strays: 1, straysObey: false, isUnkillable: true)]])
    world.beginAndRun()
    let began = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect(world.logs.contains { $0.hasPrefix("some processes do not end even by KILL") })
    #expect((world.exitedAt ?? .max) - began <= 9500 + 4100)
  }

  @Test(arguments: [1, 2, 5]) func theBudgetBoundsTheWholeStop(services: Int) {
    let names = (0..<services).map { "s\($0)" }
    var scripts: [String: [ChildScript]] = ["web": [.stubborn]]
    for name in names { scripts[name] = [.stubborn] }
    let world = LifecycleWorld(.simple(services: names.map { .service($0) }), scripts)
    world.beginAndRun()
    let began = world.milliseconds
    world.signal(.terminate)
    world.runToExit()
    #expect((world.exitedAt ?? .max) - began <= 9500)
    // Everybody had a share.
    for name in names { #expect(world.trace.contains("TERM \(name)")) }
  }

  @Test func membersOfTheGroupGoWithTheirLeader() {
    let world = LifecycleWorld(.simple(), ["web": [ChildScript(members: 3, membersObey: false)]])
    world.beginAndRun()
    world.signal(.terminate)
    world.runToExit()
    #expect(world.trace.contains("TERM group of web") && world.trace.contains("KILL group of web"))
    #expect(world.children.isEmpty && world.problems.isEmpty)
  }
}
