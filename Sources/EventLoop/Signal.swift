import CLinux
import Glibc

/// A signal number with its name.
public struct Signal: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
  /// The kernel's number, 1 to 64.
  public var rawValue: CInt

  /// A signal by number.
  public init(rawValue: CInt) {
    self.rawValue = rawValue
  }

  /// SIGHUP.
  public static let hangup = Signal(rawValue: SIGHUP)
  /// SIGINT.
  public static let interrupt = Signal(rawValue: SIGINT)
  /// SIGQUIT.
  public static let quit = Signal(rawValue: SIGQUIT)
  /// SIGKILL.
  public static let kill = Signal(rawValue: SIGKILL)
  /// SIGUSR1.
  public static let user1 = Signal(rawValue: SIGUSR1)
  /// SIGUSR2.
  public static let user2 = Signal(rawValue: SIGUSR2)
  /// SIGTERM.
  public static let terminate = Signal(rawValue: SIGTERM)
  /// SIGCHLD.
  public static let child = Signal(rawValue: SIGCHLD)
  /// SIGCONT.
  public static let resume = Signal(rawValue: SIGCONT)
  /// SIGSTOP.
  public static let stop = Signal(rawValue: SIGSTOP)
  /// SIGTSTP.
  public static let terminalStop = Signal(rawValue: SIGTSTP)
  /// SIGTTIN.
  public static let terminalInput = Signal(rawValue: SIGTTIN)
  /// SIGTTOU.
  public static let terminalOutput = Signal(rawValue: SIGTTOU)
  /// SIGWINCH.
  public static let windowChange = Signal(rawValue: SIGWINCH)
  /// SIGPIPE.
  public static let pipe = Signal(rawValue: SIGPIPE)

  /// The first real-time signal as C programs count them: glibc and musl keep 32 and 33.
  public static let realTimeMinimum: CInt = 34
  /// RTMIN+3: how systemd and podman ask a container to stop.
  public static let containerHalt = Signal(rawValue: realTimeMinimum + 3)

  /// The last real-time signal.
  public static let realTimeMaximum: CInt = 64

  /// The names of 1 to 31, without SIG (signal(7)).
  public static let names: [String] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
    "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
    "WINCH", "IO", "PWR", "SYS",
  ]

  /// Other names that are in use.
  private static let aliases = [
    "IOT": "ABRT", "CLD": "CHLD", "POLL": "IO", "RTMIN": "RTMIN+0", "RTMAX": "RTMAX-0",
  ]

  /// A signal by name, with or without `SIG`, in any case (`TERM`, `sigterm`, `RTMIN+3`, `RTMAX-1`), or by number. 32
  /// and 33 are the C library's own and no signals here.
  public init?(name: String) {
    var text = name.uppercased()
    if text.hasPrefix("SIG") { text.removeFirst(3) }
    text = Signal.aliases[text] ?? text
    if let number = Signal.digits(text[...]) {
      guard (1...31).contains(number) || (Signal.realTimeMinimum...Signal.realTimeMaximum).contains(number)
      else {
        return nil
      }
      self.init(rawValue: number)
    } else if let index = Signal.names.firstIndex(of: text) {
      self.init(rawValue: CInt(index + 1))
    } else {
      guard let offset = Signal.digits(text.dropFirst(6)) else { return nil }
      let number: CInt
      if text.hasPrefix("RTMIN+") {
        number = Signal.realTimeMinimum + offset
      } else if text.hasPrefix("RTMAX-") {
        number = Signal.realTimeMaximum - offset
      } else {
        return nil
      }
      guard (Signal.realTimeMinimum...Signal.realTimeMaximum).contains(number) else { return nil }
      self.init(rawValue: number)
    }
  }

  /// One or two decimal digits and nothing else: no sign, no blank.
  private static func digits(_ text: Substring) -> CInt? {
    guard (1...2).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
      return nil
    }
    return CInt(text)
  }

  /// `TERM`, `RTMIN+3`.
  public var description: String {
    if (1...Signal.names.count).contains(Int(rawValue)) { return Signal.names[Int(rawValue) - 1] }
    if rawValue > Signal.realTimeMinimum { return "RTMIN+\(rawValue - Signal.realTimeMinimum)" }
    return rawValue == Signal.realTimeMinimum ? "RTMIN" : "\(rawValue)"
  }
}

/// A signal as it reached this process.
public struct ReceivedSignal: Sendable, Equatable {
  /// Which one.
  public var signal: Signal
  /// Whether the kernel made it (a terminal that went away, a child that ended) rather than a process.
  public var isFromKernel: Bool
  /// Who sent it; 0 when the kernel did, or when the sender lives outside our PID namespace.
  public var sender: CInt

  /// A signal with its origin.
  public init(signal: Signal, isFromKernel: Bool, sender: CInt) {
    self.signal = signal
    self.isFromKernel = isFromKernel
    self.sender = sender
  }
}
