import CLinux
import EventLoop

/// The user and groups that a process runs with.
public struct Identity: Hashable, Sendable {
  /// User ID.
  public var user: UInt32
  /// Primary group ID.
  public var group: UInt32
  /// Supplementary groups; nil leaves ours.
  public var supplementaryGroups: [UInt32]?

  /// An identity by numbers.
  public init(user: UInt32, group: UInt32, supplementaryGroups: [UInt32]?) {
    self.user = user
    self.group = group
    self.supplementaryGroups = supplementaryGroups
  }
}

/// One resource limit (setrlimit).
public struct ResourceLimit: Hashable, Sendable {
  /// The kernel's number of the resource.
  public var resource: CInt
  /// Soft limit; `UInt64.max` is unlimited.
  public var soft: UInt64
  /// Hard limit; `UInt64.max` is unlimited.
  public var hard: UInt64

  /// A limit by numbers.
  public init(resource: CInt, soft: UInt64, hard: UInt64) {
    self.resource = resource
    self.soft = soft
    self.hard = hard
  }
}

/// Everything that makes a process what it is when its program starts.
///
/// What is not here is fixed: default signal dispositions, an empty mask, no other descriptor above 2, a process group
/// of its own.
public struct ProcessImage: Hashable, Sendable {
  /// Where descriptor 0 comes from.
  public enum StandardInput: Hashable, Sendable {
    /// The one that we have.
    case inherited
    /// /dev/null.
    case null
    /// These bytes, and then the end.
    case text([UInt8])
  }

  /// The command and its arguments, byte for byte.
  public var arguments: [RawString]
  /// The whole environment, byte for byte.
  public var environment: ProcessEnvironment
  /// Entered before the program is looked for; nil stays where we are.
  public var directory: RawString?
  /// Where `directory` cannot be entered the process starts in / instead of failing.
  public var directoryIsOptional = false
  /// nil: ours.
  public var identity: Identity?
  /// nil: ours.
  public var umask: UInt32?
  /// Set in order, before the identity changes.
  public var limits: [ResourceLimit] = []
  /// Sent by the kernel when we end.
  public var deathSignal: Signal?
  /// Where descriptor 0 comes from.
  public var standardInput = StandardInput.null
  /// Whether what it writes to standard output goes where our errors go.
  public var outputGoesToErrors = false
  /// A descriptor of ours, above 2, that the process gets as descriptor 3. It must stay open until the spawn returns.
  public var keptDescriptor: CInt?
  /// Takes the foreground of the terminal on descriptor 0.
  public var takesTerminal = false

  /// A process with this command and environment.
  public init(arguments: [RawString], environment: ProcessEnvironment) {
    self.arguments = arguments
    self.environment = environment
  }
}

/// How a process ended.
public enum ExitStatus: Hashable, Sendable, CustomStringConvertible {
  /// By itself, with this code.
  case exited(CInt)
  /// By this signal.
  case signaled(Signal)

  /// The code a shell would report: 128 + n for a signal.
  public var shellCode: CInt {
    switch self {
    case .exited(let code): return code
    case .signaled(let signal): return 128 + signal.rawValue
    }
  }

  /// `exit code 1`, `killed by KILL`.
  public var description: String {
    switch self {
    case .exited(let code): return "exit code \(code)"
    case .signaled(let signal): return "killed by \(signal)"
    }
  }
}
