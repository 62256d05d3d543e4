import AgentProtocol
import Checks
import EventLoop
import Glibc
import Phases
import Processes
import Settings

// How each process looks when it starts.
extension Planner {
  mutating func appImage() -> ProcessImage {
    if settings.app.command == nil, context.command.isEmpty {
      problems.append(
        "there is no app to run: give it after --, as in `supervisor run -- gunicorn mysite.wsgi`, or set app.command"
      )
    }
    var image = image(of: settings.app, phase: "app")
    if !context.command.isEmpty { image.arguments = context.command }
    // A group in the background that reads from a terminal is stopped by it, so without --tty there is none.
    image.standardInput = context.hasTerminal && !context.handsTerminalOver ? .null : .inherited
    image.takesTerminal = context.handsTerminalOver && context.hasTerminal
    return image
  }

  mutating func image(of process: ProcessSettings, phase: String) -> ProcessImage {
    var image = base(
      process.command, user: process.user, groups: process.groups, directory: process.workingDirectory,
      environment: process.environment, key: process.name == "app" ? "app" : "services.\(process.name)",
      phase: phase)
    image.umask = process.umask
    image.limits = process.limits.map { ResourceLimit(resource: $0.resource, soft: $0.soft, hard: $0.hard) }
    image.deathSignal = Signal(rawValue: process.stop.signal)
    for limit in process.limits where geteuid() != 0 {
      var current = rlimit()
      guard getrlimit(__rlimit_resource_t(UInt32(limit.resource)), &current) == 0,
        limit.hard > current.rlim_max
      else { continue }
      problems.append(
        "\(process.name): limits.\(limit.name): \(limit.hard) is more than this user may have (\(current.rlim_max)): "
          + "start as root, or raise the limit of the container")
    }
    return image
  }

  mutating func image(
    of step: StepSettings, _ command: Command, phase: String, isCheck: Bool = false
  ) -> ProcessImage {
    var image = base(
      command, user: step.user, groups: step.groups, directory: step.workingDirectory,
      environment: step.environment,
      key: "\(phase) step \(step.name)", phase: phase)
    // What it does in PostgreSQL can be told from everything else there. Only what runs under the lock is ended with it:
    // a check, or a step of the node phase, may run on every node.
    if let project {
      let runsUnderLock = phase == "infrastructure" && !isCheck
      let name =
        runsUnderLock
        ? ApplicationName(project: project, run: runID.value, step: step.name)
        : ApplicationName(project: project, run: runID.value, purpose: isCheck ? "check" : phase)
      image.environment.set("PGAPPNAME", to: RawString(name.text))
    }
    image.deathSignal = .kill
    return image
  }

  mutating func base(
    _ command: Command?, user: String?, groups: [String]?, directory: String?,
    environment: [EnvironmentVariable],
    key: String, phase: String
  ) -> ProcessImage {
    var variables = settings.clearEnvironment ? ProcessEnvironment() : context.environment
    var identity: Identity?
    if let user {
      do throws(UserDatabase.UnknownName) {
        let (found, entry) = try users.resolve(user: user, groups: groups)
        identity = found
        if let entry {
          variables.set("HOME", to: RawString(entry.home))
          variables.set("USER", to: RawString(entry.name))
          variables.set("LOGNAME", to: RawString(entry.name))
        } else {
          // Without an entry in /etc/passwd there is no home; HOME must not stay root's.
          variables.set("HOME", to: "/")
        }
      } catch {
        problems.append("\(key): \(error)")
      }
      if geteuid() != 0, identity?.user != geteuid() {
        problems.append("\(key): user \(user) needs root to change to, and this is user \(geteuid())")
      }
      // Changing to oneself needs no privilege, and setgroups would ask for one.
      if geteuid() != 0 { identity = nil }
    }
    for variable in settings.environment + environment {
      variables.set(variable.name, to: RawString(variable.value))
    }
    variables.set("SUPERVISOR_RUN_ID", to: RawString(runID.value))
    variables.set("AUTOINIT_RUN_ID", to: RawString(runID.value))
    variables.set("SUPERVISOR_PHASE", to: RawString(phase))
    variables.set("SUPERVISOR_ROLE", to: "none")
    if let litefs = settings.litefs { variables.set("LITEFS_MOUNT_PATH", to: RawString(litefs.mountPath)) }
    // How strays of this process are told from those of others.
    variables.set(StrayMark.variable, to: RawString(key))
    variables.set("SUPERVISOR_ROLE_FILE", to: RawString(roleFile))
    var image = ProcessImage(arguments: arguments(command), environment: variables)
    image.identity = identity
    setDirectory(of: &image, directory)
    return image
  }

  private func arguments(_ command: Command?) -> [RawString] {
    switch command {
    case .arguments(let list): return list.map { RawString($0) }
    case .shell(let text): return ["/bin/sh", "-c", RawString(text)]
    case nil: return []
    }
  }

  private func setDirectory(of image: inout ProcessImage, _ directory: String?) {
    guard let directory else {
      image.directory = context.directory ?? "/"
      image.directoryIsOptional = true
      return
    }
    if directory.hasPrefix("/") {
      image.directory = RawString(directory)
    } else {
      var whole = context.directory ?? "/"
      whole.bytes += Array("/\(directory)".utf8)
      image.directory = whole
    }
  }

  /// The image of a health check's command: everything but the command is the process's own.
  public static func checkImage(_ command: CheckDefinition.Command, of process: ProcessImage) -> ProcessImage
  {
    var image = process
    switch command {
    case .list(let list): image.arguments = list.map { RawString($0) }
    case .shell(let text): image.arguments = ["/bin/sh", "-c", RawString(text)]
    }
    image.standardInput = .null
    image.takesTerminal = false
    image.deathSignal = .kill
    return image
  }
}
