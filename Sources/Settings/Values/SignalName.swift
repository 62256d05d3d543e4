import EventLoop
import Glibc

/// Signals by name or number: `TERM`, `SIGTERM`, `RTMIN+3`, `15`.
public enum SignalName {
  /// The number of a signal; nil when there is no such signal. Upper and lower case are the same.
  public static func parse(_ text: String) -> Int32? { Signal(name: text)?.rawValue }

  /// The name of a signal without `SIG`, or its number when it has none.
  public static func text(_ number: Int32) -> String { Signal(rawValue: number).description }

  static func parseAny(_ text: String) throws(ValueProblem) -> Int32 {
    if let number = parse(text) { return number }
    if text == "32" || text == "33" {
      throw ValueProblem(
        "signal \(text) belongs to the C library", "use TERM, or RTMIN for the first real-time signal")
    }
    var name = text.uppercased()
    if name.hasPrefix("SIG") { name.removeFirst(3) }
    let near = nearest(to: name, among: Signal.names.sorted())
    throw ValueProblem(
      "\(quoted(text)) is not a signal",
      near.map { "did you mean \($0)?" } ?? "write a name such as TERM, RTMIN+3, or a number from 1 to 64")
  }

  /// A signal that asks a process to stop.
  static func parseForSending(_ text: String) throws(ValueProblem) -> Int32 {
    let number = try parseAny(text)
    if [SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGCHLD].contains(number) {
      throw ValueProblem("\(Self.text(number)) does not make a process end", "use TERM, INT or QUIT")
    }
    return number
  }

  /// A signal that is forwarded to the app and can be remapped.
  static func parseForwarded(_ text: String) throws(ValueProblem) -> Int32 {
    let number = try parseAny(text)
    switch number {
    case SIGTERM, SIGINT, SIGQUIT, Signal.containerHalt.rawValue:
      throw ValueProblem(
        "\(Self.text(number)) stops the supervisor and is not forwarded",
        "set app.stop.signal to choose what the app gets")
    case SIGKILL, SIGSTOP:
      throw ValueProblem("\(Self.text(number)) cannot be caught, so it cannot be changed")
    case SIGCHLD:
      throw ValueProblem("CHLD is about our own children and is not forwarded")
    default:
      return number
    }
  }
}
