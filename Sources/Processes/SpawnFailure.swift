import CLinux
import EventLoop
import Glibc

/// A process that did not become its program: at which step, and why.
public struct SpawnFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The step between clone and exec that failed.
  public enum Stage: Sendable, Equatable {
    /// The kernel gave no process (limits, memory).
    case clone
    /// Own session or process group.
    case group
    /// Putting 0, 1 and 2 in place.
    case standardDescriptors
    /// A resource limit, by its number.
    case limit(CInt)
    /// Supplementary groups, group or user.
    case identity
    /// The working directory.
    case directory
    /// The parent-death signal.
    case deathSignal
    /// execve itself.
    case exec
    /// The file is there, but not the interpreter it asks for.
    case interpreter(String)
    /// The child said nothing within the deadline: most likely it hangs on a file system.
    case deadline
    /// The child ended, or was killed, before it came to exec.
    case vanished
  }

  /// Where it failed.
  public var stage: Stage
  /// The kernel's error number.
  public var code: CInt
  /// The command as it was given.
  public var command: String
  /// The path that was found, if one was.
  public var path: String?
  /// The PATH that was searched, for a command without a slash.
  public var searched: String?
  /// The working directory that was asked for.
  public var directory: String?
  /// Bytes of arguments and environment, for the message about too many of them.
  public var size: Int?

  /// A failure with its context.
  public init(
    stage: Stage, code: CInt, command: String, path: String? = nil, searched: String? = nil,
    directory: String? = nil
  ) {
    self.stage = stage
    self.code = code
    self.command = command
    self.path = path
    self.searched = searched
    self.directory = directory
  }

  /// A failure as the child reported it.
  public init(
    report: clinux_spawn_report, command: String, candidate: String?, searched: String?,
    directory: String? = nil
  ) {
    let stage: Stage
    switch UInt32(bitPattern: report.stage) {
    case CLINUX_STAGE_CLONE.rawValue: stage = .clone
    case CLINUX_STAGE_GROUP.rawValue: stage = .group
    case CLINUX_STAGE_STDIO.rawValue, CLINUX_STAGE_DESCRIPTORS.rawValue: stage = .standardDescriptors
    case CLINUX_STAGE_LIMIT.rawValue: stage = .limit(report.index)
    case CLINUX_STAGE_GROUPS.rawValue, CLINUX_STAGE_GID.rawValue, CLINUX_STAGE_UID.rawValue: stage = .identity
    case CLINUX_STAGE_DIRECTORY.rawValue: stage = .directory
    case CLINUX_STAGE_DEATH_SIGNAL.rawValue: stage = .deathSignal
    case CLINUX_STAGE_INTERPRETER.rawValue:
      let name = withUnsafeBytes(of: report.interpreter) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      stage = .interpreter(name)
    default: stage = .exec
    }
    self.init(
      stage: stage, code: report.error, command: command, path: candidate, searched: searched,
      directory: directory)
  }

  /// What a shell would exit with: 127 not found, 126 found but not to be run; 70 when it is not the command's
  /// doing.
  public var exitCode: CInt {
    switch stage {
    case .exec: return code == ENOENT || code == ENOTDIR ? 127 : 126
    case .interpreter: return 127
    case .clone, .vanished, .deadline: return 70
    case .identity, .limit: return code == EPERM ? 77 : 126
    case .group, .standardDescriptors, .directory, .deathSignal: return 126
    }
  }

  /// Whether trying again can help: the kernel was short of something.
  public var isTemporary: Bool {
    switch stage {
    case .clone, .deadline, .vanished: return true
    case .exec: return code == ENOMEM || code == EAGAIN || code == ETXTBSY
    default: return false
    }
  }

  /// One sentence with the command, the step, the reason and, where there is one, the remedy.
  public var description: String {
    let reason = errorText(code)
    switch stage {
    case .exec: return execDescription
    case .interpreter(let name):
      let file = path ?? command
      if name.hasSuffix("\\r") {
        return
          "\(file): its interpreter '\(name)' is missing: the script has Windows line endings, save it with LF"
      }
      return name.isEmpty
        ? "\(file): the file is there, but the interpreter or loader that it asks for is missing"
        : "\(file): interpreter \(name) is missing"
    case .clone: return "cannot start a process for '\(command)': \(reason)"
    case .group: return "'\(command)': cannot give it a process group of its own: \(reason)"
    case .standardDescriptors: return "'\(command)': cannot set up its standard descriptors: \(reason)"
    case .limit(let index):
      return "'\(command)': cannot set resource limit \(index + 1) of its limits: \(reason)"
    case .identity: return "'\(command)': cannot change to its user and groups: \(reason)"
    case .directory: return "'\(command)': cannot enter its working directory \(directory ?? ""): \(reason)"
    case .deathSignal: return "'\(command)': cannot set its parent-death signal: \(reason)"
    case .deadline:
      return "'\(command)': did not get as far as its program in time (a hanging file system under "
        + "\(directory ?? path ?? "its path")?)"
    case .vanished: return "'\(command)': ended before it became its program"
    }
  }

  private var execDescription: String {
    switch code {
    case ENOENT, ENOTDIR:
      if command.isEmpty { return "the command is empty" }
      guard let searched else { return "\(command): not found" }
      return "\(command): not found in PATH (\(searched.isEmpty ? "which is empty" : searched))"
    case EACCES: return "\(path ?? command): not executable, or a directory (permission denied)"
    case ENOEXEC:
      return
        "\(path ?? command): neither a program for this machine nor a script with a #! line (exec format error)"
    case E2BIG:
      let total = size.map { "\($0) bytes, " } ?? ""
      return
        "\(path ?? command): arguments and environment are too long for the kernel (\(total)128 KiB for one string, "
        + "a quarter of the stack limit in all)"
    default: return "\(path ?? command): cannot be executed: \(errorText(code))"
    }
  }
}
