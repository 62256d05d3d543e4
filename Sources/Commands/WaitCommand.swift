import AgentProtocol
import AgentSupervision
import ArgumentParser
import CLinux
import EventLoop
import Processes
import Settings

/// `supervisor wait TARGET…`: the waits of `wait_for`, for scripts.
struct WaitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wait",
    abstract: "Wait until everything named is there.",
    discussion: """
      A target is postgres://…, redis(s)://…, tcp://HOST:PORT, http(s)://… (a GET has to be answered with 200 to \
      399), file:/PATH or sqlite:/PATH, as in wait_for. All are looked at side by side, again and again. Others on \
      this machine can see a password in the arguments: PGPASSWORD or ~/.pgpass keep it out of them.

      Exit code 0: all are there. 69: one never came, or refused for good; standard error says which, and why.
      """)

  /// As the top-level `timeout` of the settings.
  private static let defaultTimeout = Duration.seconds(300)

  @Argument(help: "What to wait for.")
  var target: [String]

  @Option(
    help: ArgumentHelp(
      "How long at most, such as 90s or 5m; none waits for ever. Default: 5m.", valueName: "duration"))
  var timeout: String?

  func validate() throws {
    _ = try parse()
  }

  func run() throws {
    let (dependencies, timeout) = try parse()
    let code = try WaitSession.run(dependencies, timeout: timeout)
    if code != 0 { throw ArgumentParser.ExitCode(code) }
  }

  private func parse() throws -> ([Dependency], Duration?) {
    do throws(SettingsText.Problem) {
      var dependencies: [Dependency] = []
      for text in target {
        if let dependency = Dependency(try SettingsText.wait(text)) { dependencies.append(dependency) }
      }
      return (dependencies, try timeout.map(SettingsText.timeout) ?? Self.defaultTimeout)
    } catch {
      throw ValidationError(error.description)
    }
  }
}

/// One wait on a loop of its own.
private final class WaitSession {
  private let loop: EventLoop
  private let table: ProcessTable
  private let agent: AgentConnection
  private var waiter: DependencyWaiter?
  private var code: Int32 = 0

  /// Waits, saying on standard error what is missing. Returns the exit code.
  static func run(_ dependencies: [Dependency], timeout: Duration?) throws -> Int32 {
    let environment = ProcessEnvironment(vector: clinux_environment_vector())
    let program: RawString
    do throws(AgentPath.Missing) {
      program = try AgentPath.find(environment: environment)
    } catch {
      say("\(error)")
      return ExitCode.unavailable
    }
    do throws(SystemError) {
      return try WaitSession(program, environment).run(DependencyWait(dependencies, timeout: timeout))
    } catch {
      say("\(error)")
      return ExitCode.software
    }
  }

  private init(_ program: RawString, _ environment: ProcessEnvironment) throws(SystemError) {
    loop = try EventLoop()
    table = try ProcessTable(loop: loop)
    agent = AgentConnection(
      loop: loop, table: table, program: program, role: .coordination, environment: environment)
    agent.onLog = { level, text in
      if level.rawValue >= AgentReport.LogLevel.warning.rawValue { Self.say(text) }
    }
  }

  private func run(_ wait: DependencyWait) throws(SystemError) -> Int32 {
    try loop.receiveSignals { [unowned self] signals in
      for received in signals { take(received.signal) }
    }
    let waiter = DependencyWaiter(loop: loop, agent: agent, wait: wait, onSay: Self.say) { [unowned self] in
      ended($0)
    }
    self.waiter = waiter
    waiter.start()
    loop.run()
    return code
  }

  private func take(_ signal: Signal) {
    switch signal {
    case .child: while !table.reap() {}
    case .interrupt, .terminate, .hangup, .quit:
      waiter?.cancel()
      end(128 + signal.rawValue)
    default: break
    }
  }

  private func ended(_ outcome: DependencyWait.Outcome) {
    switch outcome {
    case .ready: end(0)
    case .failed(let reason), .timedOut(let reason):
      Self.say(reason)
      end(ExitCode.unavailable)
    }
  }

  private func end(_ code: Int32) {
    // The first reason counts.
    guard waiter != nil else { return }
    waiter = nil
    self.code = code
    agent.stop { [unowned self] in loop.stop() }
  }

  private static func say(_ text: String) {
    Stderr.write("supervisor wait: \(text)\n")
  }
}
