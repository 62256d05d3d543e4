import Glibc

/// Where the built programs are, and which one is under test.
enum Programs {
  /// The build folder: the test bundle lies beside the programs.
  private static let folder: String = {
    let bundle = readLink("/proc/self/exe") ?? CommandLine.arguments[0]
    return String(bundle[..<(bundle.lastIndex(of: "/") ?? bundle.startIndex)])
  }()

  static let supervisor = variable("SUPERVISOR_BINARY") ?? folder + "/supervisor"
  /// The agent beside the supervisor under test.
  static let agent =
    String(supervisor[..<(supervisor.lastIndex(of: "/") ?? supervisor.startIndex)]) + "/supervisor-agent"
  static let probe = variable("SUPERVISOR_PROBE") ?? folder + "/Probe"

  /// The program that `exec` tests drive. `E2E_PEER=tini` (`dumb-init`, `catatonit`) runs the same
  /// scenarios against a peer, to see that they tell a wrong answer from a right one.
  static let underTest = variable("E2E_PEER").flatMap(ExecProgram.init) ?? .supervisor

  static func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }
  }

  static let isRoot = getuid() == 0
}

/// Something that stands between a container and its one command.
enum ExecProgram: String {
  case supervisor
  case tini
  case dumbInit = "dumb-init"
  case catatonit
}

/// The options of `supervisor exec`, as values.
struct ExecOptions {
  enum Target: String { case group, child }

  var target = Target.group
  var rewrites: [String] = []
  var isSubreaper = false
  var warnsOnReap = false
  var expectedCodes: [Int] = []
  var parentDeathSignal: String?
  var inheritsSignals = false
  var isVerbose = false

  /// The words of `supervisor exec`.
  private var ours: [String] {
    var words = [Programs.supervisor, "exec"]
    if target != .group { words += ["--signal-target", target.rawValue] }
    for rewrite in rewrites { words += ["--rewrite", rewrite] }
    if isSubreaper { words.append("--subreaper") }
    if warnsOnReap { words.append("--warn-on-reap") }
    for code in expectedCodes { words += ["--expect-exit", "\(code)"] }
    if let parentDeathSignal { words += ["--parent-death-signal", parentDeathSignal] }
    if inheritsSignals { words.append("--inherit-signals") }
    if isVerbose { words.append("--verbose") }
    return words
  }

  private var tini: [String] {
    var words = ["tini"]
    if target == .group { words.append("-g") }
    if isSubreaper { words.append("-s") }
    if warnsOnReap { words.append("-w") }
    for code in expectedCodes { words += ["-e", "\(code)"] }
    if let parentDeathSignal { words += ["-p", "SIG" + parentDeathSignal] }
    if isVerbose { words.append("-vvv") }
    return words
  }

  private var dumbInit: [String] {
    var words = ["dumb-init"]
    if target == .child { words.append("-c") }
    for rewrite in rewrites { words += ["-r", rewrite] }
    if isVerbose { words.append("-v") }
    return words
  }

  /// What `program` has no option for, so that a scenario which needs it fails with the reason.
  private func missing(in program: ExecProgram) -> String? {
    switch program {
    case .supervisor: return nil
    case .tini: return rewrites.isEmpty ? nil : "rewriting"
    case .dumbInit, .catatonit:
      if program == .catatonit && !rewrites.isEmpty { return "rewriting" }
      if isSubreaper { return "a subreaper mode" }
      if warnsOnReap { return "warnings about reaped processes" }
      if !expectedCodes.isEmpty { return "expected exit codes" }
      if parentDeathSignal != nil { return "a parent death signal" }
      return nil
    }
  }

  /// The complete command line for `command` under the program under test.
  func command(_ command: [String]) throws -> [String] {
    let program = Programs.underTest
    if let missing = missing(in: program) { throw HarnessError("\(program.rawValue) has no \(missing)") }
    switch program {
    case .supervisor: return ours + ["--"] + command
    case .tini: return ["/usr/bin/tini"] + tini.dropFirst() + ["--"] + command
    case .dumbInit: return ["/usr/bin/dumb-init"] + dumbInit.dropFirst() + ["--"] + command
    case .catatonit: return ["/usr/bin/catatonit", "--"] + command
    }
  }
}

extension Launch {
  /// `command` under `exec` of the program under test.
  static func exec(
    _ command: [String], options: ExecOptions = ExecOptions(), state: [String] = [], asInit: Bool = false,
    streams: Streams = .pipes
  ) throws -> Launch {
    var launch = Launch(try options.command(command))
    launch.state = state
    launch.isInitOfNamespace = asInit
    launch.streams = streams
    return launch
  }

  /// A part of the probe under `exec` of the program under test.
  static func probe(
    _ words: [String], options: ExecOptions = ExecOptions(), state: [String] = [], asInit: Bool = false,
    streams: Streams = .pipes
  ) throws -> Launch {
    try exec([Programs.probe] + words, options: options, state: state, asInit: asInit, streams: streams)
  }
}
