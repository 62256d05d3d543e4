import CLinux
import Control
import Glibc
import Settings

/// Standard output of the client commands.
enum Stdout {
  /// Writes the text at once. Returns false when nobody takes it any more.
  @discardableResult
  static func write(_ text: String) -> Bool {
    var text = text
    return text.withUTF8 { bytes in
      guard let start = bytes.baseAddress else { return true }
      var offset = 0
      while offset < bytes.count {
        let written = clinux_write(1, start + offset, bytes.count - offset)
        guard written > 0 else { return false }
        offset += written
      }
      return true
    }
  }

  /// Columns and rows of the terminal; nil when the output is none, or does not say.
  static var terminalSize: (columns: Int, rows: Int)? {
    var size = winsize()
    guard isatty(1) == 1, ioctl(1, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
    return (Int(size.ws_col), Int(size.ws_row))
  }
}

/// What every client of the control socket does.
enum ControlSession {
  /// A client for the supervisor of `runDirectory`, or of the one that `run` would choose here: by the environment, by
  /// the settings file, or by the usual places.
  static func client(runDirectory: String?) -> ControlClient {
    let environment = { (name: String) in getenv(name).map { String(cString: $0) } }
    var chosen = runDirectory
    if chosen == nil, case .settings(let settings, _) = SettingsLoader.load(environment: environment) {
      chosen = settings.runDirectory
    }
    return ControlClient(
      directories: RunDirectory.candidates(chosen: chosen, environment: environment, userID: geteuid()))
  }

  /// Gives signals their way again, which our main blocks for the sake of PID 1: a client is an ordinary program that
  /// Ctrl-C ends.
  static func unblockSignals() {
    var none = sigset_t()
    sigemptyset(&none)
    sigprocmask(SIG_SETMASK, &none, nil)
  }

  /// The exit code for an answer of the supervisor to a change.
  static func exitCode(forStatus status: Int) -> Int32 {
    switch status {
    case 200...299: 0
    case 400, 404: ExitCode.usage
    case 403: ExitCode.permission
    default: 1
    }
  }
}
