import ArgumentParser
import CLinux
import Glibc

/// What the program's main calls.
public enum EntryPoint {
  /// Runs the command line and returns the exit code.
  ///
  /// Signals are blocked before anything else, so that none can arrive while there is nobody to take it.
  /// `exec`, `run`, `init` and `health` are parsed by hand: they are what containers start, and must start fast.
  public static func main() -> Int32 {
    var inherited = clinux_signal_state()
    clinux_signals_take_over(&inherited)
    clinux_stdio_ensure()
    let count = Int(clinux_argument_count())
    let arguments = clinux_argument_vector()
    guard count > 1, let first = arguments[1] else {
      Stderr.write(RootCommand.helpMessage() + "\n")
      return ExitCode.usage
    }
    if strcmp(first, "exec") == 0 {
      return ExecCommand.run(arguments: arguments, count: count, first: 2, inherited: inherited)
    }
    if strcmp(first, "run") == 0 {
      return RunCommand.run(arguments: arguments, count: count, first: 2)
    }
    if strcmp(first, "init") == 0 {
      return InitCommand.run(arguments: arguments, count: count, first: 2)
    }
    if strcmp(first, "health") == 0 {
      return HealthCommand.run(arguments: arguments, count: count, first: 2)
    }
    let words = (1..<count).compactMap { arguments[$0].map { String(cString: $0) } }
    if words.contains("--version"), words.allSatisfy({ $0 == "--version" || $0 == "--verbose" }) {
      print("supervisor \(Version.text)")
      if words.contains("--verbose") { print(Version.features(), terminator: "") }
      return 0
    }
    return RootCommand.run(words)
  }
}

/// Everything that is not parsed by hand.
struct RootCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "supervisor",
    abstract: "PID 1 for a web app's container: phases, processes, health.",
    discussion: """
      supervisor run [options] [-- COMMAND...]   phases, then the app and its services (run --help)
      supervisor init [infrastructure|node]      the phases alone, as an init container does (init --help)
      supervisor exec [options] -- COMMAND...    only what tini and dumb-init do (exec --help)
      supervisor health [live|ready]             exit 0 or 1, for health checks
      supervisor --version [--verbose]           version; which kernel features are used
      """,
    subcommands: [
      StatusCommand.self, RestartCommand.self, StopCommand.self, StartCommand.self, SignalCommand.self,
      ReadyCommand.self, WaitCommand.self, SettingsCommand.self, LiteFSCommand.self,
    ])

  static func run(_ words: [String]) -> Int32 {
    do {
      var command = try parseAsRoot(words)
      try command.run()
      return 0
    } catch {
      let code = exitCode(for: error).rawValue
      let message = fullMessage(for: error)
      if !message.isEmpty {
        if code == 0 { print(message) } else { Stderr.write(message + "\n") }
      }
      return code
    }
  }
}
