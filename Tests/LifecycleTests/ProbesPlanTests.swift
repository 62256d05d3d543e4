import Checks
import EventLoop
import Lifecycle
import Processes
import Settings
import Testing

/// From the settings' text to what the probes are given.
@Suite struct ProbesPlanTests {
  /// The check of the app in the plan that the given value of `app.ready` makes.
  private func planned(_ ready: String) throws -> CheckDefinition? {
    let text = "app: {command: [x], ready: \(ready)}\nservices: {s: {command: [x], ready: \(ready)}}\n"
    let outcome = SettingsLoader.load(bytes: Array(text.utf8), file: nil, environment: { _ in nil })
    guard case .settings(let settings, notes: _) = outcome else {
      Issue.record("\(outcome)")
      return nil
    }
    let context = StartContext(
      command: [], environment: ProcessEnvironment(), directory: "/", handsTerminalOver: false,
      hasTerminal: false, hostName: "node")
    var planner = Planner(
      settings: settings, context: context, users: UserDatabase(passwd: "", group: ""), runDirectory: "/run",
      stateDirectory: "/var")
    let (plan, _) = planner.make()
    #expect(planner.problems.isEmpty)
    #expect(plan.services.map(\.check) == [plan.app.check])
    return plan.app.check
  }

  @Test(arguments: [
    ("127.0.0.1:8000", CheckEndpoint(host: .address([127, 0, 0, 1]), port: 8000)),
    ("tcp://10.1.2.3:1", CheckEndpoint(host: .address([10, 1, 2, 3]), port: 1)),
    ("[::1]:65535", CheckEndpoint(host: .address(Array(repeating: 0, count: 15) + [1]), port: 65535)),
    ("LocalHost:80", CheckEndpoint(host: .localhost, port: 80)),
  ])
  func aTCPCheckIsPlanned(text: String, endpoint: CheckEndpoint) throws {
    #expect(try #require(try planned("{tcp: \"\(text)\"}")).method == .tcp(endpoint))
  }

  @Test(arguments: [
    (
      "http://127.0.0.1:8000/health?full=1", CheckEndpoint(host: .address([127, 0, 0, 1]), port: 8000),
      "/health?full=1", "127.0.0.1:8000"
    ),
    ("HTTP://LocalHost", CheckEndpoint(host: .localhost, port: 80), "/", "LocalHost"),
    (
      "http://[::1]:81?q", CheckEndpoint(host: .address(Array(repeating: 0, count: 15) + [1]), port: 81),
      "/?q",
      "[::1]:81"
    ),
  ])
  func anHTTPCheckIsPlanned(url: String, endpoint: CheckEndpoint, path: String, hostHeader: String) throws {
    let target = HTTPCheckTarget(endpoint: endpoint, path: path, hostHeader: hostHeader)
    #expect(try #require(try planned("{http: \"\(url)\"}")).method == .http(target))
  }

  @Test func aCommandAndTheNumbersArePlanned() throws {
    let numbers = "interval: 1s, timeout: 3s, failures: 4, successes: 2, start_period: 7s"
    let list = CheckDefinition(
      method: .exec(.list(["a", "b"])), interval: .seconds(1), timeout: .seconds(3), failures: 4,
      successes: 2,
      startPeriod: .seconds(7))
    #expect(try planned("{exec: [a, b], \(numbers)}") == list)
    #expect(try #require(try planned("{exec: a b}")).method == .exec(.shell("a b")))
  }
}
