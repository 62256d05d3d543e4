import Glibc
import Wire

/// `litefs`: the commands, with LiteFS's words and exit codes.
@main
struct LiteFS {
  static func main() {
    var arguments = Array(CommandLine.arguments.dropFirst())
    let command = arguments.isEmpty ? "" : arguments.removeFirst()
    switch command {
    case "mount": Mount(arguments).run()
    case "version":
      Log.raw(1, version)
    case "export", "import":
      do { try transfer(command, arguments) } catch { fail(1, "\(error)") }
    case "run":
      fail(1, "the stand-in has no litefs run")
    case _ where command.isEmpty || command == "help" || command.hasPrefix("-"):
      Log.raw(1, usage)
      _exit(2)
    default: fail(1, "litefs \(command): unknown command")
    }
  }

  static var version: String {
    "LiteFS \(environment("LITEFS_STANDIN_VERSION") ?? "v0.5.14"), commit=a51e72d84eeb96ad210ef407230161192120ab96"
  }

  static let usage = """
    litefs is a distributed file system for replicating SQLite databases.

    Usage:

    \tlitefs <command> [arguments]

    The commands are:

    \texport       export a database from a LiteFS cluster to disk
    \timport       import a SQLite database into a LiteFS cluster
    \tmount        mount the LiteFS FUSE file system
    \trun          executes a subcommand for remote writes
    \tversion      prints the version

    (This one is a stand-in, for tests.)
    """

  static func fail(_ code: Int32, _ text: String) -> Never {
    Log.raw(2, "ERROR: \(text)")
    _exit(code)
  }

  /// Go's flags: -name VALUE, -name=VALUE, with one dash or two. What is left.
  static func flags(_ arguments: [String], values: Set<String>, switches: Set<String>) throws -> (
    [String: String], [String]
  ) {
    var found: [String: String] = [:]
    var rest = arguments[...]
    while let argument = rest.first, argument.hasPrefix("-"), argument != "-" {
      rest = rest.dropFirst()
      let parts = argument.drop { $0 == "-" }.split(
        separator: "=", maxSplits: 1, omittingEmptySubsequences: false
      ).map(String.init)
      let name = parts.first ?? ""
      if switches.contains(name) {
        found[name] = parts.count > 1 ? parts[1] : "true"
      } else if values.contains(name) {
        guard let value = parts.count > 1 ? parts[1] : rest.popFirst() else {
          throw Failure("flag needs an argument: -\(name)")
        }
        found[name] = value
      } else {
        throw Failure(name == "h" || name == "help" ? "" : "flag provided but not defined: -\(name)")
      }
    }
    return (found, Array(rest))
  }

  static func transfer(_ command: String, _ arguments: [String]) throws {
    let (options, files) = try flags(arguments, values: ["url", "name"], switches: [])
    let url = options["url"] ?? "http://localhost:20202"
    guard let name = options["name"], let file = files.first else {
      Log.raw(2, "ERROR: database name and path required")
      _exit(2)
    }
    let isImport = command == "import"
    let answer = try fetch(
      isImport ? "POST" : "GET", "\(url)/\(command)?name=\(escaped(name))",
      body: isImport ? try readFile(file) : [])
    guard answer.status == 200 else { throw Failure("invalid response: code=\(answer.status)") }
    if !isImport { try writeFile(file, answer.body) }
  }
}

/// `litefs mount`: start, wait, stop.
struct Mount {
  private let arguments: [String]

  init(_ arguments: [String]) { self.arguments = arguments }

  func run() {
    Mount.prepareSignals()
    if environment("HOSTNAME") == nil {
      var name = [CChar](repeating: 0, count: 256)
      gethostname(&name, 255)
      setenv("HOSTNAME", name, 1)
    }
    var configuration: Configuration
    let options: [String: String]
    do {
      let own = Array(arguments.prefix { $0 != "--" })
      let rest: [String]
      (options, rest) = try LiteFS.flags(
        own, values: ["config"],
        switches: ["no-expand-env", "skip-unmount", "fuse.debug", "debug", "tracing"])
      if !rest.isEmpty { throw Failure("too many arguments, specify a '--' to specify an exec command") }
      configuration = try Mount.configuration(options)
      if configuration.flag("tracing.enabled"), !configuration.string("tracing.path").isEmpty {
        Log.raw(2, "trace log enabled: \(configuration.string("tracing.path"))")
      }
      if own.count < arguments.count {
        configuration.commands = [(arguments.dropFirst(own.count + 1).joined(separator: " "), false)]
      }
      try configuration.validate()
    } catch {
      if "\(error)".isEmpty || "\(error)".hasPrefix("flag provided") {
        Log.raw(1, "Usage:\n\n\tlitefs mount [arguments]\n")
      }
      if "\(error)".isEmpty { _exit(2) }
      LiteFS.fail(2, "\(error)")
    }
    let node = Node(configuration, skipsUnmount: options["skip-unmount"] == "true")
    do {
      try node.start()
    } catch {
      Log.raw(2, "ERROR: \(error)")
      if configuration.flag("exit-on-error") {
        try? node.stop()
        _exit(1)
      }
    }
    Log.raw(1, "waiting for signal or subprocess to exit")
    var code: Int32 = 0
    switch node.waitForEnd() {
    case .signal:
      Log.raw(1, "signal received, litefs shutting down")
    case .command(let status):
      code = status
      let how = code == 0 ? "successfully" : "with error code \(code)"
      Log.raw(1, "subprocess exited \(how), litefs shutting down")
    }
    do {
      try node.stop()
    } catch {
      LiteFS.fail(1, "\(error)")
    }
    Log.raw(1, "litefs shut down complete")
    _exit(code)
  }

  /// TERM and INT wait until somebody asks for them: as in LiteFS, that is nobody before the node is connected.
  private static func prepareSignals() {
    var mask = sigset_t()
    sigemptyset(&mask)
    for signal in [SIGTERM, SIGINT, SIGCHLD] { sigaddset(&mask, signal) }
    pthread_sigmask(SIG_BLOCK, &mask, nil)
    for signal in [SIGUSR1, SIGUSR2, SIGPIPE] { Glibc.signal(signal, SIG_IGN) }
    Glibc.signal(SIGQUIT) { _ in
      let text: StaticString = "SIGQUIT: quit\nPC=0x0 m=0 sigcode=0\n\ngoroutine 1 [running]:\n"
      _ = write(2, text.utf8Start, text.utf8CodeUnitCount)
      _exit(2)
    }
  }

  private static func configuration(_ options: [String: String]) throws -> Configuration {
    let expands = options["no-expand-env"] != "true"
    if let path = options["config"], !path.isEmpty {
      return try Configuration(yaml: readFile(path), expandingEnvironment: expands)
    }
    var directory = [CChar](repeating: 0, count: 4096)
    getcwd(&directory, 4096)
    let here = directory.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    for folder in [here, environment("HOME") ?? "/root", "/etc"] {
      let path = folder + "/litefs.yml"
      guard access(path, F_OK) == 0 else { continue }
      do {
        let configuration = try Configuration(yaml: readFile(path), expandingEnvironment: expands)
        Log.raw(1, "config file read from \(path)")
        return configuration
      } catch {
        throw Failure("cannot unmarshal config file at \(path): \(error)")
      }
    }
    throw Failure("config file not found")
  }
}
