import ArgumentParser
import Control
import EventLoop
import Glibc

/// Where the supervisor is that a client talks to.
struct RunDirectoryOption: ParsableArguments {
  @Option(
    name: .customLong("run-dir"),
    help: ArgumentHelp(
      "The supervisor's private directory.",
      discussion:
        "Default: $SUPERVISOR_RUN_DIR, else run_dir of the settings file here, else /run/supervisor, $XDG_RUNTIME_DIR/supervisor, "
        + "/tmp/supervisor-<uid>, whichever has a supervisor.",
      valueName: "directory"))
  var runDirectory: String?

  /// Sends one request; says on standard error why there is no answer, and then ends with 69.
  func send(_ method: HTTPRequest.Method, _ target: String) throws -> ControlAnswer {
    ControlSession.unblockSignals()
    do throws(ControlClientError) {
      return try ControlSession.client(runDirectory: runDirectory).send(method, target)
    } catch {
      Stderr.write("supervisor: \(error)\n")
      throw ArgumentParser.ExitCode(ExitCode.unavailable)
    }
  }

  /// Asks for a change, and prints what will come of it.
  func change(_ target: String) throws {
    let answer = try send(.post, target)
    let code = ControlSession.exitCode(forStatus: answer.status)
    if code == 0 {
      Stdout.write(answer.text + "\n")
    } else {
      Stderr.write("supervisor: \(answer.text)\n")
      throw ArgumentParser.ExitCode(code)
    }
  }
}

/// `supervisor status`: what runs, and what waits for whom.
struct StatusCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Show what runs, how the phases went, and why this node is not ready.")

  @Flag(help: "Print the status as JSON.")
  var json = false

  @Flag(help: "Show it again every second, until Ctrl-C.")
  var watch = false

  @OptionGroup var location: RunDirectoryOption

  func validate() throws {
    if json && watch { throw ValidationError("--watch shows a table: it does not go with --json") }
  }

  func run() throws {
    repeat {
      let size = Stdout.terminalSize
      let target = json ? "/status" : "/status?format=text&width=\(size?.columns ?? 80)"
      let answer = try location.send(.get, target)
      guard answer.status == 200 else {
        Stderr.write("supervisor: \(answer.text)\n")
        throw ArgumentParser.ExitCode(ExitCode.software)
      }
      guard Stdout.write(frame(answer.text, rows: size?.rows)) else { return }
      if watch { usleep(1_000_000) }
    } while watch
  }

  /// One picture of the watch: on a terminal the screen is overwritten and holds what fits; in a pipe pictures
  /// follow each other.
  private func frame(_ text: String, rows: Int?) -> String {
    guard watch else { return text + "\n" }
    guard let rows else { return text + "\n\n" }
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).prefix(max(rows - 1, 1))
    // Home, each line with the rest of its row cleared, then everything below: no flicker.
    return "\u{1b}[H" + lines.map { "\($0)\u{1b}[K\n" }.joined() + "\u{1b}[J"
  }
}

/// `supervisor restart NAME`.
struct RestartCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "restart", abstract: "Stop a process and start it again.")

  @Argument(help: "The process: app, or a service's name.")
  var name: String

  @OptionGroup var location: RunDirectoryOption

  func run() throws {
    try location.change("/processes/\(ControlClient.percentEncoded(name))/restart")
  }
}

/// `supervisor stop NAME`.
struct StopCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "stop",
    abstract: "Stop a process and leave it stopped.",
    discussion: "Stopping the app leaves the container up, but not ready.")

  @Argument(help: "The process: app, or a service's name.")
  var name: String

  @OptionGroup var location: RunDirectoryOption

  func run() throws {
    try location.change("/processes/\(ControlClient.percentEncoded(name))/stop")
  }
}

/// `supervisor start NAME`.
struct StartCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "start", abstract: "Start a process that is stopped, or has been given up.")

  @Argument(help: "The process: app, or a service's name.")
  var name: String

  @OptionGroup var location: RunDirectoryOption

  func run() throws {
    try location.change("/processes/\(ControlClient.percentEncoded(name))/start")
  }
}

/// `supervisor signal NAME SIGNAL`.
struct SignalCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "signal", abstract: "Send a signal to a process's leader.")

  @Argument(help: "The process: app, or a service's name.")
  var name: String

  @Argument(help: "The signal, as in USR1, SIGHUP, RTMIN+3 or 10.")
  var signal: String

  @OptionGroup var location: RunDirectoryOption

  func validate() throws {
    if Signal(name: signal) == nil { throw ValidationError("'\(signal)' is no signal") }
  }

  func run() throws {
    let path = "/processes/\(ControlClient.percentEncoded(name))/signal"
    try location.change("\(path)?signal=\(ControlClient.percentEncoded(signal))")
  }
}
