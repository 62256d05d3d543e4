import CLinux
import Control
import EventLoop
import Glibc
import Lifecycle
import Processes
import Settings

/// `supervisor run [options] [-- COMMAND…]`: settings, preflight, then the life cycle. Parsed by hand.
enum RunCommand {
  struct Options {
    var settings: String?
    var overrides: [String: String] = [:]
    var handsTerminalOver = false
    var command: [RawString] = []
  }

  static let usage = """
    usage: supervisor run [options] [-- COMMAND [ARGUMENT...]]

      --settings FILE  the settings file (else $SUPERVISOR_SETTINGS, ./supervisor.yml, /etc/supervisor.yml)
      --run-id ID      names this release
      --run-dir DIR    the private directory: control socket, locks
      --tty            give the app the terminal: Ctrl-C then goes to it and not to the supervisor

    """

  static func run(
    arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, count: Int, first: Int
  ) -> CInt {
    let options: Options
    switch parse(arguments: arguments, count: count, first: first) {
    case .success(let parsed): options = parsed
    case .failure(.help):
      Stderr.write(usage)
      return 0
    case .failure(.usage(let message)):
      Stderr.write("supervisor run: \(message)\n\n\(usage)")
      return ExitCode.usage
    }
    let environment = ProcessEnvironment(vector: clinux_environment_vector())
    do throws(FrameworkStart.Failure) {
      let loaded = try FrameworkStart.load(
        path: options.settings, overrides: options.overrides, environment: environment,
        command: options.command)
      for finding in loaded.notes { Stderr.write("\(finding)\n") }
      return start(loaded, options, environment)
    } catch {
      return error.report()
    }
  }

  private static func start(
    _ loaded: FrameworkStart.Loaded, _ options: Options, _ environment: ProcessEnvironment
  ) -> CInt {
    do throws(StartFailure) {
      return try RunStart(
        settings: loaded.settings, inputs: loaded.inputs, options: options, environment: environment
      ).run()
    } catch {
      return error.report()
    }
  }

  // MARK: Parsing

  enum Rejection: Error {
    case help
    case usage(String)
  }

  static func parse(
    arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, count: Int, first: Int
  ) -> Result<Options, Rejection> {
    var options = Options()
    var index = first
    while index < count, let raw = arguments[index] {
      let argument = String(cString: raw)
      if argument == "--" {
        index += 1
        break
      }
      guard argument.hasPrefix("-") else { break }
      index += 1
      let equals = argument.hasPrefix("--") ? argument.firstIndex(of: "=") : nil
      let name = equals.map { String(argument[..<$0]) } ?? argument
      if name == "--tty" || name == "--help" || name == "-h" {
        guard equals == nil else { return .failure(.usage("\(name) takes no value")) }
        if name != "--tty" { return .failure(.help) }
        options.handsTerminalOver = true
        continue
      }
      guard ["--settings", "--run-id", "--run-dir"].contains(name) else {
        return .failure(.usage("unknown option '\(argument)' (the app's own options go after --)"))
      }
      var value = equals.map { String(argument[argument.index(after: $0)...]) }
      if value == nil, index < count, let next = arguments[index] {
        value = String(cString: next)
        index += 1
      }
      guard let value else { return .failure(.usage("\(name) needs a value")) }
      switch name {
      case "--settings": options.settings = value
      case "--run-id": options.overrides["run_id"] = value
      default: options.overrides["run_dir"] = value
      }
    }
    while index < count, let raw = arguments[index] {
      options.command.append(RawString(cString: raw))
      index += 1
    }
    return .success(options)
  }
}

/// Why `run` did not start anything.
struct StartFailure: Error {
  var lines: [String]
  var code: Int32

  init(_ lines: [String], code: Int32) {
    self.lines = lines
    self.code = code
  }

  init(_ error: SystemError) {
    self.init(["\(error)"], code: ExitCode.software)
  }

  /// Prints it, with the final line that every end has. Returns the exit code.
  func report() -> Int32 {
    for line in lines { Stderr.write("supervisor: error: \(line)\n") }
    Stderr.write("supervisor: exiting with code \(code) (preflight_failed)\n")
    return code
  }

  /// Prints what is wrong with the settings. Returns the exit code.
  static func reportSettings(_ findings: [Diagnostic]) -> Int32 {
    for finding in findings { Stderr.write("\(finding)\n") }
    let errors = findings.filter { $0.severity == .error }.count
    Stderr.write(
      "supervisor: \(errors == 1 ? "1 error" : "\(errors) errors") in the settings: nothing was started\n")
    Stderr.write("supervisor: exiting with code \(ExitCode.configuration) (settings_invalid)\n")
    return ExitCode.configuration
  }
}
