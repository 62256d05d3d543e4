import CLinux
import Control
import Coordination
import EventLoop
import Glibc
import Journal
import Lifecycle
import Phases
import Processes
import Settings

/// From valid settings to a running loop: the preflight, of `run` and of `init`.
struct RunStart {
  var scope = LifecyclePlan.Scope.life
  let settings: EffectiveSettings
  var inputs: [StepInput] = []
  let options: RunCommand.Options
  let environment: ProcessEnvironment

  func run() throws(StartFailure) -> Int32 {
    var notes: [String] = []
    let subreaper = clinux_subreaper_set(true)
    if subreaper < 0, getpid() != 1 {
      notes.append(
        "this process may not be a subreaper (\(errorText(-subreaper))): orphans of the app will not be reaped or "
          + "stopped by it")
    }
    notes += refusedFeatures()
    var descriptors = rlimit()
    if getrlimit(__rlimit_resource_t(UInt32(RLIMIT_NOFILE.rawValue)), &descriptors) == 0,
      descriptors.rlim_cur < 64
    {
      notes.append(
        "this process may open only \(descriptors.rlim_cur) files (RLIMIT_NOFILE): the health page will take few "
          + "connections, and children inherit the limit unless `limits: {nofile: …}` says otherwise")
    }
    let directory = RunStart.workingDirectory()
    if directory == nil { notes.append("the working directory is gone or cannot be read: starting in /") }

    let project = ProjectName(settings, workingDirectory: directory?.bytes ?? [UInt8(ascii: "/")])
    if let warning = project.warning(settings.coordination) { notes.append(warning) }

    let context = StartContext(
      command: options.command, environment: environment, directory: directory,
      handsTerminalOver: options.handsTerminalOver, hasTerminal: isatty(0) == 1, hostName: RunStart.hostName()
    )
    if scope != .life { return try runPhases(context, notes) }
    let privateDirectory = try makePrivateDirectory()
    do throws(StartFailure) {
      return try start(context, privateDirectory, notes)
    } catch {
      // What an earlier run left there must not pass for how this one ended.
      let record = ExitRecord.text(
        code: error.code, reason: "preflight_failed", text: error.lines.joined(separator: "; "), at: .now)
      privateDirectory.write(ExitRecord.fileName, record, mode: 0o600)
      throw error
    }
  }

  private func start(
    _ context: StartContext, _ privateDirectory: PrivateDirectory, _ notes: [String]
  ) throws(StartFailure) -> Int32 {
    let (supervision, loop, log) = try prepare(context, runDirectory: privateDirectory.path, notes)
    return try serve(supervision, privateDirectory, loop, log)
  }

  /// The phases alone: no page, no socket, nothing that a supervisor running here could be in the way of.
  private func runPhases(_ context: StartContext, _ notes: [String]) throws(StartFailure) -> Int32 {
    let scratch = try ScratchDirectory()
    defer { scratch.remove() }
    let (supervision, _, log) = try prepare(context, runDirectory: scratch.path, notes)
    let ending: Lifecycle.Ending
    do throws(SystemError) {
      ending = try supervision.run()
    } catch {
      throw StartFailure(error)
    }
    if ending.code != 0 { log.write(.info, ending.lastLine) }
    log.flush(patience: .milliseconds(200))
    return ending.code
  }

  private func prepare(
    _ context: StartContext, runDirectory: String, _ notes: [String]
  ) throws(StartFailure) -> (Supervision, EventLoop, LogOutput) {
    let directory = context.directory
    let stateDirectory =
      settings.stateDirectory
      ?? StateDirectory.standard(environment: environment, workingDirectory: directory ?? "/")
    var planner = Planner(
      settings: settings, context: context, users: .system(), scope: scope, runDirectory: runDirectory,
      stateDirectory: stateDirectory, inputs: inputs)
    let (plan, launch) = planner.make()
    if !planner.problems.isEmpty { throw StartFailure(planner.problems, code: ExitCode.configuration) }
    // A mount that our own working directory lies on could not be unmounted.
    _ = chdir("/")

    do throws(SystemError) {
      let loop = try EventLoop()
      let table = try ProcessTable(loop: loop)
      let log = LogOutput(loop: loop)
      log.level = level
      log.hasTimestamps = settings.log.timestamps
      if settings.log.format == .json {
        log.format = .json
        log.common = [("node", .string(context.hostName)), ("run_id", .string(plan.runID.value))]
      }
      let layout = FileLayout(
        stateDirectory: stateDirectory, markerDirectory: settings.node.markerDirectory,
        runID: plan.runID.value)
      var identity = Supervision.Identity(
        version: Version.text, nodeName: context.hostName, settingsPath: settings.file,
        runDirectory: runDirectory)
      identity.notes = notes
      for note in notes { log.write(.warning, note) }
      if scope == .life {
        noteStopBudget(plan, log)
        noteMissingPrograms(plan, launch, log)
      }
      let supervision = Supervision(
        loop: loop, table: table, plan: plan, launch: launch, layout: layout, log: log, identity: identity)
      return (supervision, loop, log)
    } catch {
      throw StartFailure(error)
    }
  }

  private func serve(
    _ supervision: Supervision, _ privateDirectory: PrivateDirectory, _ loop: EventLoop, _ log: LogOutput
  ) throws(StartFailure) -> Int32 {
    let pages = supervision.makePages()
    let handler: HTTPServer.Handler = { request, peer in pages.response(to: request, from: peer) }
    let page = try listen(loop, handler, log)
    let socket = try controlSocket(loop, privateDirectory, handler)
    if let problem = privateDirectory.write("role", "none\n", mode: 0o644) {
      log.write(.warning, "\(problem)")
    }
    let ending: Lifecycle.Ending
    do throws(SystemError) {
      ending = try supervision.run()
    } catch {
      throw StartFailure(error)
    }
    socket.close()
    page?.close()
    // Why it ends was said when it was known.
    log.write(.info, ending.lastLine)
    let record = ExitRecord.text(code: ending.code, reason: ending.reason, text: ending.text, at: .now)
    if let problem = privateDirectory.write(ExitRecord.fileName, record, mode: 0o600) {
      log.write(.warning, "\(problem)")
    }
    log.flush(patience: .milliseconds(200))
    return ending.code
  }

  // MARK: Preflight

  private func makePrivateDirectory() throws(StartFailure) -> PrivateDirectory {
    let candidates = RunDirectory.candidates(
      chosen: settings.runDirectory, environment: { environment.value(of: $0).map { "\($0)" } },
      userID: geteuid())
    do throws(PrivateDirectory.Failure) {
      return try PrivateDirectory(candidates: candidates)
    } catch {
      throw StartFailure(["\(error)"], code: ExitCode.configuration)
    }
  }

  private func listen(
    _ loop: EventLoop, _ handler: @escaping HTTPServer.Handler, _ log: LogOutput
  ) throws(StartFailure) -> HTTPServer? {
    let listen = settings.health.listen
    var address = clinux_address()
    let bytes: [UInt8]
    switch listen.address {
    case .ipv4(let four): bytes = four
    case .ipv6(let sixteen): bytes = sixteen
    }
    address.length = UInt8(bytes.count)
    address.port = listen.port
    withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: bytes) }
    var descriptor = clinux_tcp_listen(&address, 1024)
    if descriptor == -EAFNOSUPPORT, listen.isAllInterfaces {
      // No IPv6 on this machine: all interfaces are then those of IPv4.
      address.length = 4
      withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: [0, 0, 0, 0]) }
      descriptor = clinux_tcp_listen(&address, 1024)
    }
    if descriptor < 0 {
      let reason = "cannot serve the health page on \(listen.text): \(errorText(-descriptor))"
      guard settings.health.listenWasSet else {
        log.write(.warning, "\(reason); going on without it (set health.listen to another address)")
        return nil
      }
      throw StartFailure(
        ["health.listen: \(reason): stop what uses it, or choose another port"], code: ExitCode.configuration)
    }
    do throws(SystemError) {
      let server = try HTTPServer(
        on: loop, listener: FileDescriptor(owning: descriptor), transport: .tcp, handler: handler)
      if listen.port == 0 { log.write(.info, "health page on port \(server.port ?? 0)") }
      return server
    } catch {
      throw StartFailure(error)
    }
  }

  private func controlSocket(
    _ loop: EventLoop, _ directory: PrivateDirectory, _ handler: @escaping HTTPServer.Handler
  ) throws(StartFailure) -> ControlSocket {
    do throws(ControlSocketError) {
      return try ControlSocket(on: loop, runDirectory: directory.path, handler: handler)
    } catch {
      throw StartFailure(["\(error)"], code: ExitCode.configuration)
    }
  }

  /// A stop that has to cut a grace that somebody chose is said now, when it can still be changed.
  private func noteStopBudget(_ plan: LifecyclePlan, _ log: LogOutput) {
    let usable = plan.stopTimeout - StopBudget.reserve(of: plan.stopTimeout)
    let all = ([plan.app] + plan.services).map(\.stop.timeout)
    let wanted = all.reduce(.zero, +)
    guard wanted > usable else { return }
    log.write(
      all.contains { $0 != StopPolicy().timeout } ? .info : .debug,
      "stop timeouts add up to \(wanted.readable), but stop_timeout is \(plan.stopTimeout.readable): each gets its "
        + "share of it")
  }

  /// The phases may take long and cannot be undone: what will be missing after them is better known before.
  private func noteMissingPrograms(_ plan: LifecyclePlan, _ launch: LaunchPlan, _ log: LogOutput) {
    let services = plan.services.enumerated().map { (ProcessID.service($0.offset), $0.element.name) }
    for (id, name) in [(ProcessID.app, plan.app.name)] + services {
      guard let image = launch.processes[id], !ExecutableSearch.mayFind(image) else { continue }
      let command = image.arguments.first.map { "\($0)" } ?? ""
      log.write(
        .warning, "\(name): \(command) is not there now: unless a step makes it, \(name) will not start")
    }
  }

  /// Tries what spawning would like to use, once, so that the fallbacks are chosen before they are needed.
  private func refusedFeatures() -> [String] {
    clinux_spawn_features_probe()
    let spawn = clinux_spawn_features_get()
    var notes: [String] = []
    if !spawn.clone_pidfd {
      notes.append("the kernel refuses process descriptors: signals go by process number")
    }
    if !spawn.close_range {
      notes.append("the kernel refuses close_range: descriptors are closed one by one")
    }
    return notes
  }

  // MARK: Where we are

  private var level: LogLevel {
    switch settings.log.level {
    case .debug: return .debug
    case .info: return .info
    case .warning: return .warning
    case .error: return .error
    }
  }

  static func workingDirectory() -> RawString? {
    guard let path = getcwd(nil, 0) else { return nil }
    defer { free(path) }
    // The kernel shows a directory that cannot be reached from the root like this.
    guard path[0] == CChar(UInt8(ascii: "/")), access(path, X_OK) == 0 else { return nil }
    return RawString(cString: path)
  }

  static func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}

/// Where release records and locks are by default (design, section 6).
enum StateDirectory {
  /// `/var/lib/supervisor` if it can be written to, else a directory of this user and working directory.
  static func standard(environment: ProcessEnvironment, workingDirectory: RawString) -> String {
    let shared = "/var/lib/supervisor"
    if mkdir(shared, 0o755) == 0 || (errno == EEXIST && access(shared, W_OK) == 0) { return shared }
    let home = environment.value(of: "HOME").map { "\($0)" } ?? ""
    let hash = MD5.hexadecimal(of: workingDirectory.bytes).prefix(16)
    guard home.hasPrefix("/"), home != "/" else { return "\(FileLayout.fallbackPrefix)\(geteuid())/\(hash)" }
    return "\(home)/.local/state/supervisor/\(hash)"
  }
}
