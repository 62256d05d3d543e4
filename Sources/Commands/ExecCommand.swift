import CLinux
import EventLoop
import Glibc
import Processes

/// `supervisor exec [options] -- COMMAND`: the duties of PID 1 for one command, and nothing else.
///
/// Stands in for tini and dumb-init: one process between parent and child, no file, no port, no descriptor, no
/// thread. Parsed by hand from C's own arguments, so that bytes that are no UTF-8 pass through unchanged.
enum ExecCommand {
  enum Target {
    /// The child leads a session of its own, and signals go to its process group.
    case group
    /// Signals go to the child alone.
    case child
  }

  struct Options {
    var target = Target.group
    /// Signal number → what is sent instead; 0 drops it.
    var rewrites: [CInt: CInt] = [:]
    var isSubreaper = false
    var warnsOnReap = false
    var expectedExitCodes: Set<CInt> = []
    var parentDeathSignal: CInt = 0
    var inheritsSignals = false
    var isVerbose = false
    /// Index of the command in C's argument vector.
    var commandIndex = 0
  }

  static let usage = """
    usage: supervisor exec [options] [--] COMMAND [ARGUMENT...]

      --signal-target group|child  send signals to the command's process group (default) or to it alone
      --rewrite A:B                send B when A arrives; B = 0 drops A (repeatable, the last one for A counts)
      --subreaper                  adopt and reap orphans even when not PID 1
      --warn-on-reap               name each reaped orphan on stderr
      --expect-exit N              turn the command's exit code N into 0 (repeatable)
      --parent-death-signal S      have the kernel send S to this process when its parent ends
      --inherit-signals            leave the command the signal mask and ignored signals that were inherited
      --verbose                    say on stderr what is done

    """

  /// Runs the command and returns the exit code of this process.
  static func run(
    arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, count: Int, first: Int,
    inherited: clinux_signal_state
  ) -> CInt {
    let options: Options
    switch parse(arguments: arguments, count: count, first: first) {
    case .success(let parsed): options = parsed
    case .failure(.help):
      Stderr.write("\(usage)")
      return 0
    case .failure(.usage(let message)):
      Stderr.write("supervisor exec: \(message)\n\n\(usage)")
      return ExitCode.usage
    }
    guard let command = arguments[options.commandIndex] else { return ExitCode.usage }

    if options.parentDeathSignal != 0 {
      let parent = getppid()
      _ = clinux_death_signal_set(options.parentDeathSignal)
      // The parent may have ended before the line above.
      if getppid() != parent { _ = clinux_kill(getpid(), options.parentDeathSignal) }
    }
    if options.isSubreaper {
      let result = clinux_subreaper_set(true)
      if result < 0 {
        Stderr.write("supervisor exec: cannot become a subreaper: \(errorText(-result))\n")
      }
    }
    if options.isVerbose, getpid() != 1, !options.isSubreaper {
      Stderr.write(
        "supervisor exec: not PID 1 and no subreaper: zombie reaping won't work for orphans (use --subreaper)\n"
      )
    }
    let forwarder = SignalForwarder(options: options)
    forwarder.releaseTerminal()

    var status = SpawnedCommand.start(
      command: command, arguments: arguments + options.commandIndex, options: options, inherited: inherited)
    switch status {
    case .failed(let message, let code):
      Stderr.write("supervisor exec: \(message)\n")
      return code
    case .running(let pid):
      if options.isVerbose { Stderr.write("supervisor exec: started process \(pid)\n") }
      // Its own working folder would pin a mount; the command keeps the one it has.
      _ = chdir("/")
      status = forwarder.forward(to: pid)
    case .ended: break
    }
    guard case .ended(let code) = status else { return ExitCode.software }
    return options.expectedExitCodes.contains(code) ? 0 : code
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
      index += 1
      if argument == "--" { break }
      guard argument.hasPrefix("-") else {
        index -= 1
        break
      }
      let (name, inlineValue) = split(argument)
      func value() -> String? {
        if let inlineValue { return inlineValue }
        guard index < count, let next = arguments[index] else { return nil }
        index += 1
        return String(cString: next)
      }
      switch name {
      case "--subreaper": options.isSubreaper = true
      case "--warn-on-reap": options.warnsOnReap = true
      case "--inherit-signals": options.inheritsSignals = true
      case "--verbose", "-v": options.isVerbose = true
      case "--help", "-h": return .failure(.help)
      case "--signal-target":
        switch value() {
        case "group": options.target = .group
        case "child": options.target = .child
        case let other:
          return .failure(.usage("--signal-target takes 'group' or 'child', not '\(other ?? "")'"))
        }
      case "--rewrite":
        let text = value() ?? ""
        guard let (from, to) = rewrite(text) else {
          return .failure(
            .usage("--rewrite takes two signals, as in TERM:QUIT or 15:3 (0 drops), not '\(text)'"))
        }
        options.rewrites[from] = to
      case "--expect-exit":
        let text = value() ?? ""
        guard let code = CInt(text), (0...255).contains(code) else {
          return .failure(.usage("--expect-exit takes an exit code from 0 to 255, not '\(text)'"))
        }
        options.expectedExitCodes.insert(code)
      case "--parent-death-signal":
        let text = value() ?? ""
        guard let signal = Signal(name: text) else {
          return .failure(.usage("--parent-death-signal takes a signal, as in TERM or 15, not '\(text)'"))
        }
        options.parentDeathSignal = signal.rawValue
      default:
        return .failure(.usage("unknown option '\(argument)'"))
      }
      if inlineValue != nil,
        ["--subreaper", "--warn-on-reap", "--inherit-signals", "--verbose"].contains(name)
      {
        return .failure(.usage("\(name) takes no value"))
      }
    }
    guard index < count, arguments[index] != nil else { return .failure(.usage("no command given")) }
    options.commandIndex = index
    return .success(options)
  }

  private static func split(_ argument: String) -> (name: String, value: String?) {
    guard argument.hasPrefix("--"), let equals = argument.firstIndex(of: "=") else { return (argument, nil) }
    return (String(argument[..<equals]), String(argument[argument.index(after: equals)...]))
  }

  private static func rewrite(_ text: String) -> (CInt, CInt)? {
    guard let colon = text.firstIndex(of: ":") else { return nil }
    let right = text[text.index(after: colon)...]
    guard let from = Signal(name: String(text[..<colon])) else { return nil }
    if right == "0" { return (from.rawValue, 0) }
    guard let to = Signal(name: String(right)) else { return nil }
    return (from.rawValue, to.rawValue)
  }
}

/// The command of `exec` from its start to its end.
private enum SpawnedCommand {
  case running(pid: CInt)
  case ended(code: CInt)
  case failed(message: String, code: CInt)

  static func start(
    command: UnsafeMutablePointer<CChar>, arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>,
    options: ExecCommand.Options, inherited: clinux_signal_state
  ) -> SpawnedCommand {
    var paths = ExecutableSearch.candidates(for: command, path: getenv("PATH"))
    defer { for path in paths { free(path) } }
    paths.append(nil)
    var handedOn = inherited
    var spawned = clinux_spawned()
    let result = paths.withUnsafeMutableBufferPointer { candidates -> CInt in
      withUnsafePointer(to: &handedOn) { signals -> CInt in
        guard let start = candidates.baseAddress else { return -ENOENT }
        var request = clinux_spawn_request()
        request.candidates = UnsafePointer(start)
        request.arguments = UnsafePointer(arguments)
        request.environment = UnsafePointer(clinux_environment_vector())
        request.stdio = (-1, -1, -1)
        request.group = options.target == .group ? CLINUX_GROUP_SESSION : CLINUX_GROUP_OWN
        request.take_terminal = true
        request.umask = -1
        request.signals = options.inheritsSignals ? signals : nil
        request.share_memory = true
        return clinux_spawn(&request, &spawned)
      }
    }
    if result < 0 {
      return .failed(message: "cannot start a process: \(errorText(-result))", code: ExitCode.software)
    }
    let report = spawned.report
    guard report.stage != 0 else { return .running(pid: spawned.pid) }
    let candidate = paths.indices.contains(Int(report.index)) ? paths[Int(report.index)] : nil
    var failure = SpawnFailure(
      report: report, command: String(cString: command),
      candidate: candidate.map { String(cString: $0) },
      searched: strchr(command, CInt(UInt8(ascii: "/"))) == nil
        ? getenv("PATH").map { String(cString: $0) } : nil)
    failure.size = size(arguments) + size(clinux_environment_vector())
    return .failed(message: failure.description, code: failure.exitCode)
  }
}

/// The bytes of a vector of C strings, as the kernel counts them.
private func size(_ vector: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>) -> Int {
  var (total, index) = (0, 0)
  while let string = vector[index] {
    total += strlen(string) + 1
    index += 1
  }
  return total
}

/// The wait-and-forward loop of `exec`.
private struct SignalForwarder {
  let options: ExecCommand.Options
  init(options: ExecCommand.Options) {
    self.options = options
  }

  /// In group mode the child's session is to have the terminal, so this process lets go of it first.
  func releaseTerminal() {
    guard options.target == .group else { return }
    let state = clinux_terminal_state(0)
    guard state != 0, clinux_terminal_release(0) == 0 else { return }
    // The kernel sends HUP and CONT when a session leader gives its terminal up, before the call returns: they are
    // not for the child.
    if state == 1 {
      clinux_signal_discard_own(SIGHUP)
      clinux_signal_discard_own(SIGCONT)
    }
  }

  func forward(to pid: CInt) -> SpawnedCommand {
    let destination = options.target == .group ? -pid : pid
    var mayHaveMore = false
    while true {
      var signal = clinux_signal()
      // Between two portions of a burst of orphans whoever sent a signal gets his turn.
      let number = mayHaveMore ? clinux_signal_poll(&signal) : clinux_signal_wait(&signal)
      if number < 0 { continue }
      if number == SIGCHLD || number == 0 {
        let (code, isDry) = reap(main: pid)
        mayHaveMore = !isDry
        if let code {
          // What is left of the group is told, but not waited for.
          if options.target == .group { _ = clinux_kill(-pid, SIGTERM) }
          return .ended(code: code)
        }
      }
      // A PIPE from ourselves is what a closed standard error made of our own words.
      if number == 0 || (number == SIGPIPE && signal.pid == getpid()) { continue }
      handle(number, destination: destination)
    }
  }

  private func handle(_ number: CInt, destination: CInt) {
    let rewritten = options.rewrites[number]
    let isJobControl = number == SIGTSTP || number == SIGTTIN || number == SIGTTOU
    if number == SIGCHLD, rewritten == nil { return }
    var sent = rewritten ?? number
    // A session of its own has no shell to continue it, so the terminal's stops become the one that always works.
    if isJobControl, rewritten == nil, options.target == .group { sent = SIGSTOP }
    if sent != 0 {
      let result = clinux_kill(destination, sent)
      if options.isVerbose {
        let outcome = result < 0 ? ": \(errorText(-result))" : ""
        let target = options.target == .group ? "process group" : "process"
        let name = Signal(rawValue: sent)
        Stderr.write("supervisor exec: sent \(name) to \(target) \(abs(destination))\(outcome)\n")
      }
    }
    if isJobControl { _ = clinux_kill(getpid(), SIGSTOP) }
  }

  /// Takes ended children, a portion at a time. Returns the main child's code when it was among them, and whether
  /// there are no more.
  private func reap(main pid: CInt) -> (code: CInt?, isDry: Bool) {
    var code: CInt?
    var ended = clinux_exit()
    for _ in 0..<ProcessTable.portion {
      var name = ""
      if options.warnsOnReap, clinux_reap_peek(&ended) == 1, ended.pid != pid {
        var process = clinux_process()
        if clinux_process_read(ended.pid, &process) == 0 {
          name = withUnsafeBytes(of: process.name) { bytes in
            String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
          }
        }
      }
      guard clinux_reap(&ended) == 1 else { return (code, true) }
      if ended.pid == pid {
        code = ended.signal == 0 ? ended.exit_code : 128 + ended.signal
      } else if options.warnsOnReap {
        Stderr.write("supervisor exec: reaped orphan \(ended.pid)\(name.isEmpty ? "" : " (\(name))")\n")
      }
    }
    return (code, false)
  }
}
