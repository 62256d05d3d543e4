import Testing

@testable import Frameworks

/// The hooks program, on real interpreters with the project Tests/Fixtures/probe.
@Suite(.enabled(if: PythonEnvironment.first != nil, PythonEnvironment.areMissing))
struct HooksProgramTests {
  var python: PythonEnvironment {
    get throws { try #require(PythonEnvironment.first) }
  }

  static let order = ["first", "second", "third"]

  static func events(_ apps: [String], _ phase: String) -> [String] {
    apps.flatMap { ["\($0).\(phase) enter", "\($0).\(phase) leave"] }
  }

  @Test(arguments: PythonEnvironment.all)
  func `each hook is called once, in the order of INSTALLED_APPS`(python: PythonEnvironment) throws {
    let (outcome, results, events) = try python.hooks(.infrastructure)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(events == Self.events(Self.order, "infrastructure"))
    #expect(results.results.map(\.name) == Self.order.map { $0 + ".handle_infrastructure_init" })
    #expect(results.results.allSatisfy { $0.isDone && ($0.seconds ?? -1) >= 0 && $0.startedAt > 0 })
    #expect(results.isComplete)
    #expect(results.problem == nil)
    #expect(results.unfinished.isEmpty)
    #expect(outcome.errors.contains("hook third.handle_infrastructure_init: done in 0."))
  }

  @Test(arguments: PythonEnvironment.all)
  func `the node phase goes on after a failure, and names what to call again`(python: PythonEnvironment)
    throws
  {
    let (outcome, results, events) = try python.hooks(
      .node(fatal: false, only: []), environment: ["PROBE_FIRST_NODE": "raise:no luck"])
    #expect(outcome.status == 1)
    #expect(events == ["first.node enter"] + Self.events(["second", "third"], "node"))
    #expect(results.isComplete)
    #expect(results.unfinished == ["first.handle_node_init"])
    let failure = try #require(results.results.first?.failure)
    #expect(failure.message == "ValueError: no luck")
    #expect(failure.file.hasSuffix("/probe/hooks.py"))
    #expect(failure.line > 0)
    #expect(failure.traceback.hasPrefix("Traceback (most recent call last):\n"))
    #expect(failure.traceback.contains("/first/apps.py"))
    #expect(!failure.traceback.contains("<stdin>"))
    #expect(outcome.errors.contains("hook first.handle_node_init: failed after"))
    #expect(results.problem?.contains("hook first.handle_node_init failed at ") == true)

    let again = try python.hooks(.node(fatal: false, only: results.unfinished))
    #expect(again.outcome.status == 0)
    #expect(again.events == Self.events(["first"], "node"))
    #expect(again.results.unfinished.isEmpty)
  }

  @Test(arguments: PythonEnvironment.all)
  func `the hooks are listed, and not called`(python: PythonEnvironment) throws {
    let (outcome, results, events) = try python.hooks(.list, environment: ["PROBE_APPS": "third first"])
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(events.isEmpty)
    #expect(
      results.hooks
        == [
          ("third", "infrastructure", "ThirdConfig"), ("first", "infrastructure", "FirstConfig"),
          ("third", "node", "ThirdConfig"), ("first", "node", "FirstConfig"),
        ].map { app, phase, type in
          HookResults.Hook(
            name: "\(app).handle_\(phase)_init", phase: phase, app: app, type: "\(app).apps.\(type)")
        })
    #expect(results.results.isEmpty)
    #expect(results.isComplete)
  }

  /// Anything but a normal return is a failure.
  @Test(
    arguments: [
      ("raise:no", "ValueError: no"), ("exit:0", "SystemExit: the hook calls sys.exit(0)"),
      ("exit:3", "SystemExit: the hook calls sys.exit(3)"),
      ("exit", "SystemExit: the hook calls sys.exit(None)"),
      ("exit:bye", "SystemExit: the hook calls sys.exit('bye')"), ("interrupt", "KeyboardInterrupt"),
    ])
  func `the first failure ends the infrastructure phase`(order: String, message: String) throws {
    let (outcome, results, events) = try python.hooks(
      .infrastructure, environment: ["PROBE_SECOND_INFRASTRUCTURE": order])
    #expect(outcome.status == 1)
    #expect(events == Self.events(["first"], "infrastructure") + ["second.infrastructure enter"])
    #expect(results.results.map(\.isDone) == [true, false])
    #expect(results.results.last?.failure?.message == message)
    #expect(results.problem != nil)
  }

  @Test(arguments: [
    ("exit:0", false, 3), ("interrupt", false, 1), ("raise:x", true, 1), ("raise:x", false, 3),
  ])
  func `the node phase ends early when failures are fatal, or somebody interrupts it`(
    order: String, isFatal: Bool, calls: Int
  ) throws {
    let (outcome, results, _) = try python.hooks(
      .node(fatal: isFatal, only: []), environment: ["PROBE_FIRST_NODE": order])
    #expect(outcome.status == 1)
    #expect(results.results.count == calls)
    #expect(results.results.first?.isDone == false)
  }

  /// Orders after which everything is as if nothing had been; with results in a file, and through a descriptor.
  @Test(
    arguments: [
      ("close", false), ("descriptors", false), ("chdir", false), ("fork", false), ("fork:raise", false),
      ("binary", false), ("silent", false), ("thread", false), ("sleep:0.01", false), ("coroutine", false),
      ("fork", true), ("binary", true), ("silent", true),
    ])
  func `a hook that does strange things confuses nobody`(order: String, byDescriptor: Bool) throws {
    let (outcome, results, events) = try python.hooks(
      .infrastructure, environment: ["PROBE_FIRST_INFRASTRUCTURE": order], byDescriptor: byDescriptor)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(results.results.map(\.isDone) == [true, true, true])
    #expect(results.isComplete)
    #expect(
      events.filter { $0.hasPrefix("second") || $0.hasPrefix("third") }
        == Self.events(["second", "third"], "infrastructure"))
    if order == "coroutine" { #expect(outcome.errors.contains("is a coroutine, which is never awaited")) }
    if order == "fork:raise" { #expect(outcome.errors.contains("ValueError: in the child")) }
  }

  @Test func `an error of binary and of any length is one field`() throws {
    let (outcome, results, _) = try python.hooks(
      .node(fatal: false, only: []), environment: ["PROBE_FIRST_NODE": "binary-error"])
    #expect(outcome.status == 1)
    #expect(results.results.map(\.isDone) == [false, true, true])
    let failure = try #require(results.results.first?.failure)
    #expect(failure.message.utf8.count < 2100)
    #expect(failure.traceback.utf8.count < 17000)
  }

  @Test(
    arguments: [("vanish:0", 0, false), ("vanish:5", 5, false), ("killed", 9, true)]
      as [(String, Int32, Bool)])
  func `a process that is gone in a hook has not done it, whatever its exit code`(
    order: String, status: Int32, isSignal: Bool
  ) throws {
    let (outcome, results, _) = try python.hooks(
      .infrastructure, environment: ["PROBE_SECOND_INFRASTRUCTURE": order])
    // `timeout` ends as its command did.
    #expect(outcome.status == status || outcome.status == 128 + status)
    #expect(!results.isComplete)
    #expect(
      results.problem
        == "hook second.handle_infrastructure_init ended the process, or the process was killed in it")
    #expect(
      results.unfinished == ["second.handle_infrastructure_init", "third.handle_infrastructure_init"])
  }

  @Test func `an app that cannot be set up says where`() throws {
    let (outcome, results, _) = try python.hooks(
      .infrastructure, environment: ["PROBE_APPS": "first missing"])
    #expect(outcome.status == 1)
    #expect(results.failure?.kind == .setupFailed)
    #expect(results.failure?.message == "ModuleNotFoundError: No module named 'missing'")
    #expect(results.problem?.hasPrefix("/") == true)
  }

  @Test func `a hook to call again that is no longer there is said, and no failure`() throws {
    let (outcome, results, events) = try python.hooks(.node(fatal: false, only: ["gone.handle_node_init"]))
    #expect(outcome.status == 0)
    #expect(events.isEmpty)
    #expect(results.isComplete)
    #expect(outcome.errors.contains("hook gone.handle_node_init: there is none of this name any more"))
  }

  @Test func `hooks that are recorded done are not called, and those of tomorrow are`() throws {
    let (outcome, results, events) = try python.hooks(
      .infrastructure,
      environment: ["SUPERVISOR_DONE": "second.handle_infrastructure_init gone.handle_infrastructure_init"])
    #expect(outcome.status == 0)
    #expect(events == Self.events(["first", "third"], "infrastructure"))
    #expect(results.done == ["first", "third"].map { $0 + ".handle_infrastructure_init" })
    #expect(results.problem == nil)
    #expect(outcome.errors.contains("hook second.handle_infrastructure_init: recorded done"))
  }

  @Test func `results are for us alone`() throws {
    let directory = try TemporaryDirectory()
    let outcome = try python.run(
      .hooks(.list, settingsModule: "x"), in: directory.path,
      environment: [DjangoProgram.resultFileVariable: ""])
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains("neither SUPERVISOR_RESULT_FILE nor SUPERVISOR_RESULT_FD"))
  }
}
