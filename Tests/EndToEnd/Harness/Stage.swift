import Glibc

/// How a program ended.
enum Ending: Equatable, CustomStringConvertible {
  case exited(Int32)
  case signaled(Int32)

  var description: String {
    switch self {
    case .exited(let code): "exit code \(code)"
    case .signaled(let signal): "killed by signal \(signal)"
    }
  }
}

/// Where the program under test reads from and writes to.
enum Streams {
  /// Input from /dev/null, output and errors through a pipe each.
  case pipes
  /// As `pipes`, and the test can write to its input.
  case pipesWithInput
  /// All three are one terminal.
  case terminal(Terminal)
  /// Standard error through a pipe that the test does not read until it calls `readErrors`.
  case unreadErrors
}

/// What to start, and with what state. Strings are bytes without a trailing zero.
struct Launch {
  var command: [[UInt8]]
  var environment: [[UInt8]] = Launch.plainEnvironment
  /// Options of the probe's `with`, in order: `["--ignore", "CHLD"]`.
  var state: [String] = []
  /// The program is PID 1 of a namespace of its own (root only).
  var isInitOfNamespace = false
  var streams = Streams.pipes

  init(_ command: [String]) {
    self.command = command.map { Array($0.utf8) }
  }

  static let plainEnvironment = ["PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8"].map { Array($0.utf8) }
}

/// A program under test, and the stage manager (`Probe launch`) between it and the test: it starts the
/// program, reports its changes of state, adopts what loses its parent, and kills the rest at the end.
///
/// Every waiting call reads all pipes, so nothing can block on a full one. Used by one thread.
final class Stage {
  /// The program under test, in the test's own PID namespace.
  private(set) var pid: pid_t = 0
  /// Everything written so far.
  private(set) var output = Capture()
  private(set) var errors = Capture()
  /// What the stage manager reported and nobody has waited for yet.
  private(set) var reports: [String] = []
  /// The `errno` with which starting the program itself failed.
  private(set) var startFailure: Int32?
  private(set) var ending: Ending?

  private let manager: pid_t
  private let control: Descriptor
  private var controlText = Capture()
  private var outputPipe: Descriptor?
  private var errorPipe: Descriptor?
  private var inputPipe: Descriptor?
  private let terminal: Terminal?
  private var readsErrors: Bool

  private init(_ launch: Launch) throws {
    let (ours, theirs) = try Descriptor.socketPair()
    control = ours
    if case .terminal(let terminal) = launch.streams { self.terminal = terminal } else { terminal = nil }
    var given = try GivenStreams(launch.streams)
    readsErrors = given.readsErrors
    outputPipe = given.output
    errorPipe = given.errors
    inputPipe = given.input
    var command = [Programs.probe, "launch"]
    if launch.isInitOfNamespace { command.append("--pid-namespace") }
    command += launch.state
    if launch.isInitOfNamespace && !launch.state.contains("--no-proc") && !launch.state.contains("--hidepid")
    {
      command.append("--mount-proc")
    }
    command.append("--")
    manager = try spawn(
      command.map { Array($0.utf8) } + launch.command, environment: launch.environment,
      descriptors: [given.child.0.number, given.child.1.number, given.child.2.number, theirs.number])
    theirs.close()
    given.closeChildSide()
    control.makeNonBlocking()
    outputPipe?.makeNonBlocking()
    errorPipe?.makeNonBlocking()
  }

  private func waitForStart() throws {
    let first = try report("the start") { $0.hasPrefix("started ") || $0.hasPrefix("failed ") }
    let number = Int32(first.split(separator: " ")[1]) ?? 0
    if first.hasPrefix("started ") { pid = number } else { startFailure = number }
  }

  /// Starts the program, runs `body`, and ends whatever is left of the program and its descendants.
  static func run<Result>(_ launch: Launch, _ body: (Stage) throws -> Result) throws -> Result {
    let stage = try Stage(launch)
    defer { stage.finish() }
    try stage.waitForStart()
    return try body(stage)
  }

  /// Starts the program and waits for its end.
  static func result(_ launch: Launch) throws -> Outcome {
    try run(launch) { stage in
      let ending = try stage.waitForEnd()
      try stage.waitForEndOfOutput()
      return Outcome(ending: ending, output: stage.output.text, errors: stage.errors.text)
    }
  }

  // MARK: Acting

  /// Sends a signal to the program under test.
  func send(_ signal: Int32) throws {
    guard ending == nil else { throw HarnessError("signal \(signal) after the end (\(state))") }
    guard kill(pid, signal) == 0 else { throw HarnessError.system("kill \(pid) \(signal)") }
  }

  /// Writes to the program's input (or types at its terminal).
  func write(_ bytes: [UInt8]) throws {
    guard let inputPipe else { throw HarnessError("no input to write to") }
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.write(inputPipe.number, buffer.baseAddress?.advanced(by: sent), bytes.count - sent)
      }
      guard count > 0 else { throw HarnessError.system("write to the program") }
      sent += count
    }
  }

  func closeInput() { inputPipe?.close() }

  /// Stops reading standard output for good: the program gets EPIPE.
  func closeOutput() {
    outputPipe?.close()
    outputPipe = nil
  }

  /// Stops reading standard error for good.
  func closeErrors() {
    errorPipe?.close()
    errorPipe = nil
  }

  /// Begins to read standard error (`Streams.unreadErrors`).
  func readErrors() { readsErrors = true }

  /// Takes the terminal away: the kernel sends HUP, and reads and writes end with EIO.
  func hangUp() {
    closeInput()
    closeOutput()
    terminal?.master.close()
  }

  // MARK: Waiting

  /// The next line of output that `matches`; lines before it are passed over (and stay in `output`).
  @discardableResult
  func line(
    _ what: String, within seconds: Double = Deadline.usual, where matches: (String) -> Bool
  ) throws -> String {
    try wait("the line “\(what)”", within: seconds, forOutput: true) { output.nextLine(where: matches) }
  }

  /// The next line of output that starts with `prefix`.
  @discardableResult
  func line(_ prefix: String, within seconds: Double = Deadline.usual) throws -> String {
    try line(prefix, within: seconds) { $0.hasPrefix(prefix) }
  }

  /// The number after `prefix` in the next line that starts with it: `pid("ready ")`.
  func number(after prefix: String) throws -> Int32 {
    let text = try line(prefix).dropFirst(prefix.count)
    guard let number = Int32(text) else { throw HarnessError("no number after “\(prefix)”: \(text)") }
    return number
  }

  /// The next line on standard error that contains `part`.
  @discardableResult
  func errorLine(containing part: String, within seconds: Double = Deadline.usual) throws -> String {
    try wait("“\(part)” on standard error", within: seconds, forOutput: true) {
      errors.nextLine { $0.contains(part) }
    }
  }

  /// The next report of the stage manager that `matches`.
  @discardableResult
  func report(
    _ what: String, within seconds: Double = Deadline.usual, where matches: (String) -> Bool
  ) throws -> String {
    try wait(what, within: seconds) {
      guard let index = reports.firstIndex(where: matches) else { return nil }
      return reports.remove(at: index)
    }
  }

  @discardableResult
  func waitForEnd(within seconds: Double = Deadline.usual) throws -> Ending {
    try wait("the end of the program", within: seconds) { ending }
  }

  /// Waits until the program has ended and no process that it left behind remains.
  func waitUntilNobodyIsLeft(within seconds: Double = Deadline.usual) throws {
    try report("the end of all its processes", within: seconds) { $0 == "gone" }
  }

  /// Waits until every holder of the program's output and errors has gone.
  func waitForEndOfOutput(within seconds: Double = Deadline.usual) throws {
    try wait("the end of output", within: seconds) {
      outputPipe == nil && errorPipe == nil ? () : nil
    }
  }

  /// Processes that lost their parent and still live, as `PID:NAME`. Meaningful after the program's end.
  func survivors() throws -> [String] {
    _ = "\n".withCString { Glibc.write(control.number, $0, 1) }
    let line = try report("the list of survivors") { $0.hasPrefix("survivors") }
    return line.split(separator: " ").dropFirst().map(String.init)
  }

  /// Reads what has come in, waiting up to `milliseconds` for something to come.
  func pump(_ milliseconds: Int32 = 0) throws {
    var polled = [pollfd(fd: control.number, events: Int16(POLLIN), revents: 0)]
    if let outputPipe {
      polled.append(pollfd(fd: outputPipe.number, events: Int16(POLLIN), revents: 0))
    }
    if let errorPipe { polled.append(pollfd(fd: errorPipe.number, events: Int16(POLLIN), revents: 0)) }
    poll(&polled, nfds_t(polled.count), milliseconds)
    // The reports first: what was written before a reported end is then there to be read.
    let managerEnded = controlText.take(from: control) == .end
    if let pipe = outputPipe, output.take(from: pipe) == .end { outputPipe = nil }
    if readsErrors, let pipe = errorPipe, errors.take(from: pipe) == .end { errorPipe = nil }
    while let line = controlText.nextLine(where: { _ in true }) { note(line) }
    if managerEnded && ending == nil { throw HarnessError("the stage manager ended early; \(state)") }
  }

  /// - Parameter forOutput: nothing can come any more once every writer has gone.
  private func wait<Value>(
    _ what: String, within seconds: Double, forOutput: Bool = false, _ value: () -> Value?
  ) throws -> Value {
    let deadline = Deadline(in: seconds)
    while true {
      try pump()
      if let value = value() { return value }
      guard !forOutput || outputPipe != nil || errorPipe != nil else {
        throw HarnessError("\(what) did not come before the end of all output; \(state)")
      }
      guard !deadline.hasPassed else { throw HarnessError("no \(what) within \(seconds) s; \(state)") }
      try pump(deadline.milliseconds)
      if let value = value() { return value }
    }
  }

  private func note(_ line: String) {
    let words = line.split(separator: " ")
    if words.count == 2, let number = Int32(words[1]) {
      if words[0] == "exited" { ending = .exited(number) }
      if words[0] == "signaled" { ending = .signaled(number) }
    }
    reports.append(line)
  }

  /// All that is known, for the message of a failure.
  private var state: String {
    """
    pid \(pid), \(ending.map(\.description) ?? "still running"), reports \(reports), \
    output “\(output.tail)”, errors “\(errors.tail)”
    """
  }

  /// Lets go of the stage manager, which then kills what is left, and waits for it.
  private func finish() {
    shutdown(control.number, Int32(SHUT_WR))
    inputPipe?.close()
    let deadline = Deadline(in: 15)
    while !deadline.hasPassed {
      var polled = [pollfd(fd: control.number, events: Int16(POLLIN), revents: 0)]
      poll(&polled, 1, deadline.milliseconds)
      if controlText.take(from: control) == .end { break }
    }
    // Somebody else in this process may reap every child there is; the manager's status means nothing.
    waitpid(manager, nil, 0)
  }
}

/// A finished program.
struct Outcome {
  let ending: Ending
  let output: String
  let errors: String
}
