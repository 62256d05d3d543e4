import AgentProtocol
import Glibc
import Testing

/// A running `supervisor-agent`, and the supervisor's end of its socket. Used by one thread.
final class AgentRig {
  let pid: pid_t
  private let socket: Descriptor
  private var decoder = FrameDecoder()
  private var reports: [AgentReport] = []
  private var isAtEnd = false
  private var status: CInt?
  private var lastID: UInt64 = 0

  private init(environment: [String]) throws {
    let (ours, theirs) = try Descriptor.socketPair()
    let null = try Descriptor.null()
    // Its complaints are the test's.
    let errors = try Descriptor(adopting: dup(2), from: "dup of standard error")
    let command = [Programs.agent, "--role", "coordination", "--descriptor", "3"]
    pid = try spawn(
      command.map { Array($0.utf8) },
      environment: Launch.plainEnvironment + environment.map { Array($0.utf8) },
      descriptors: [null.number, null.number, errors.number, theirs.number])
    socket = ours
    socket.makeNonBlocking()
  }

  /// Starts an agent, waits until it has said hello, runs `body`, and ends the agent.
  static func run<Result>(
    environment: [String] = [], _ body: (AgentRig, _ hello: AgentReport) throws -> Result
  ) throws -> Result {
    let rig = try AgentRig(environment: environment)
    defer {
      rig.hangUp()
      kill(rig.pid, SIGKILL)
      _ = try? rig.waitForEnd()
    }
    return try body(rig, try rig.report("hello") { _ in true })
  }

  func send(_ bytes: [UInt8]) throws {
    let deadline = Deadline()
    var sent = 0
    while sent < bytes.count {
      let rest = Array(bytes[sent...])
      let count = Glibc.send(socket.number, rest, rest.count, CInt(MSG_NOSIGNAL))
      if count > 0 {
        sent += count
      } else {
        guard errno == EAGAIN, !deadline.hasPassed else { throw HarnessError.system("send to the agent") }
        // It may be waiting for us to read.
        try pump(1)
      }
    }
  }

  func send(_ request: AgentRequest) throws {
    try send(request.frame.bytes)
  }

  /// Starts a probe and returns its number.
  func start(_ target: ProbeTarget, timeout: Duration = .seconds(20)) throws -> UInt64 {
    lastID += 1
    try send(.startProbe(id: lastID, target: target, timeout: timeout))
    return lastID
  }

  /// The outcome of this probe.
  func outcome(of id: UInt64) throws -> ProbeOutcome {
    let found = try report("the result of probe \(id)") { report in
      if case .probeResult(id, _) = report { true } else { false }
    }
    guard case .probeResult(_, let outcome) = found else { throw HarnessError("no result") }
    return outcome
  }

  /// Probes once and waits for the outcome.
  func probe(_ target: ProbeTarget, timeout: Duration = .seconds(20)) throws -> ProbeOutcome {
    try outcome(of: start(target, timeout: timeout))
  }

  /// Probes until the outcome is this kind.
  func probe(_ target: ProbeTarget, until isRight: (ProbeOutcome) -> Bool) throws -> ProbeOutcome {
    let deadline = Deadline()
    while true {
      let outcome = try probe(target)
      if isRight(outcome) { return outcome }
      guard !deadline.hasPassed else { throw HarnessError("\(target) stays \(outcome)") }
      poll(nil, 0, 5)
    }
  }

  /// The next report that `matches`; those before it are kept.
  func report(_ what: String, where matches: (AgentReport) -> Bool) throws -> AgentReport {
    let deadline = Deadline()
    while true {
      if let index = reports.firstIndex(where: matches) { return reports.remove(at: index) }
      guard !isAtEnd else {
        throw HarnessError("the agent closed its socket before \(what); it said \(reports)")
      }
      guard !deadline.hasPassed else { throw HarnessError("no \(what); it said \(reports)") }
      try pump(deadline.milliseconds)
    }
  }

  private func pump(_ milliseconds: CInt) throws {
    var polled = pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)
    poll(&polled, 1, milliseconds)
    var capture = Capture()
    if capture.take(from: socket) == .end { isAtEnd = true }
    decoder.append(capture.bytes)
    while let frame = try decoder.next() {
      reports.append(try #require(try AgentReport(frame), "a report of an unknown kind"))
    }
  }

  /// Closes our end, as the kernel does when the supervisor is gone.
  func hangUp() {
    socket.close()
  }

  /// Waits for the end of the process. Returns its wait status.
  @discardableResult
  func waitForEnd() throws -> CInt {
    if let status { return status }
    var result: CInt = 0
    try eventually("the agent's end") { waitpid(pid, &result, WNOHANG) != 0 }
    status = result
    return result
  }

  var threads: Int { ProcessEntry(pid: pid)?.threads ?? 0 }
}

extension ProbeOutcome {
  var isReady: Bool { if case .ready = self { true } else { false } }
  var isNotYet: Bool { if case .notYet = self { true } else { false } }
  var isRefused: Bool { if case .refused = self { true } else { false } }
}
