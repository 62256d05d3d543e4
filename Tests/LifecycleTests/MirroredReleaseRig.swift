import AgentProtocol
import AgentSupervision
import CLinux
import Coordination
import EventLoop
import Glibc
import Phases
import ReleaseRecords
import Processes
import Testing

@testable import Lifecycle

/// A `MirroredRelease` between a ledger in memory and an agent whose part the test plays, with a Redis in memory.
final class MirroredRig {
  static let key = "autoinit:ready:r1"

  let loop: EventLoop
  let ledger: StandInLedger
  let agent: StandInAgent
  let mirrored: MirroredRelease
  /// What the phase is told, in short.
  private(set) var heard: [String] = []
  /// The record that the phase was told last.
  private(set) var record: ReleaseRecord?
  private(set) var notes: [String] = []
  private let shared = SharedAgent()
  private let connection: AgentConnection

  init(hasAgent: Bool = true, runID: String? = "r1") throws {
    loop = try EventLoop()
    ledger = StandInLedger(loop)
    agent = try StandInAgent(loop)
    let table = try ProcessTable(loop: loop)
    let connection = AgentConnection(
      loop: loop, table: table, program: RawString(agent.program), role: .coordination,
      environment: ProcessEnvironment(["PATH=/usr/bin:/bin"]))
    connection.coordinate(
      CoordinationScope(project: "shop", runID: "r1", owner: "web-1 (pid 1)", takeoverDelay: .zero))
    self.connection = connection
    if hasAgent { shared.open = { connection } }
    mirrored = MirroredRelease(
      ledger, loop: loop, key: Self.key, runID: RunID(given: runID, workingDirectory: Array("/app".utf8)),
      agent: shared)
    mirrored.onNote = { [weak self] _, text in self?.notes.append(text) }
    mirrored.onEvent = { [weak self] in self?.hear($0) }
  }

  /// A child that nobody collects would be seen first, again and again, by whoever waits for any child of this process.
  deinit {
    let pid = connection.pid
    guard pid > 0 else { return }
    kill(pid, SIGKILL)
    waitpid(pid, nil, 0)
  }

  private func hear(_ event: InfrastructurePhase.Event) {
    switch event {
    case .record(let found):
      record = found
      heard.append(
        found.map { $0.completedAt == nil ? "open" : $0.isHearsay ? "hearsay" : "complete" } ?? "nothing")
    case .storeUnavailable(let failure): heard.append("unavailable: \(failure.text)")
    case .storeFailed(let failure): heard.append("failed: \(failure.text)")
    case .written:
      heard.append("written")
      ledger.journal.append("told")
    case .lockHeld: heard.append("held")
    case .lockLost: heard.append("lost")
    case .unlocked: heard.append("unlocked")
    default: heard.append("\(event)")
    }
  }

  /// Turns the loop until the phase has been told so many things; an issue when that does not come.
  func hears(_ count: Int, sourceLocation: SourceLocation = #_sourceLocation) throws {
    try until("\(count) words, after \(heard)", sourceLocation) { heard.count >= count }
  }

  func until(
    _ what: @autoclosure () -> String, _ sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () -> Bool
  ) throws {
    let end = MonotonicInstant.now + .seconds(30)
    loop.schedule(at: end) {}
    while !condition() {
      try #require(
        MonotonicInstant.now < end, "never came: \(what()); asked: \(agent.asked)",
        sourceLocation: sourceLocation)
      loop.turn(waiting: true)
    }
  }

  /// Until all that was asked has come to the agent, and its answers have been heard.
  func settle() throws {
    var isOver = false
    agent.isGreeted = true
    connection.ask(.readReadiness(id: connection.nextID())) { _ in isOver = true }
    try until("the agent's turn") { isOver }
  }

  /// The phase looks, and hears this.
  func look() throws -> String {
    let before = heard.count
    mirrored.read()
    try hears(before + 1)
    return heard[before]
  }
}

extension ReleaseRecord {
  /// Of the run ID of these tests.
  static func r1(isComplete: Bool = false, isClaimed: Bool = false) -> ReleaseRecord {
    var record = ReleaseRecord(runID: "r1")
    if isComplete { record.completedAt = 7 }
    if isClaimed { record.claim = Claim(owner: "web-2 (pid 1)", attempt: 1, startedAt: 5, heartbeat: 6) }
    return record
  }
}

/// The authority, in memory: every answer in a turn of its own, as a server's, and none to an attempt that is over.
final class StandInLedger: ReleaseBackend {
  var onEvent: (InfrastructurePhase.Event) -> Void = { _ in }
  var onNote: (LogLevel, String) -> Void = { _, _ in }
  var record: ReleaseRecord?
  /// Every question is answered with this instead.
  var trouble: InfrastructurePhase.Event?
  /// Writes are not durable before `finishWrites`.
  var isSlow = false
  /// What happened to ledger and Redis, in its order.
  var journal: [String] = []
  private(set) var wishes = 0
  private let loop: EventLoop
  private var generation = 0
  private var due: [() -> Void] = []

  init(_ loop: EventLoop) { self.loop = loop }

  private func answer(_ event: @escaping () -> InfrastructurePhase.Event) {
    let asked = generation
    loop.defer { [weak self] in
      guard let self, generation == asked else { return }
      onEvent(trouble ?? event())
    }
  }

  private func change(_ word: String, _ change: @escaping (StandInLedger) -> Void) {
    let asked = generation
    let durable = { [weak self] in
      guard let self else { return }
      if trouble == nil {
        change(self)
        journal.append(word)
      }
      guard generation == asked else { return }
      onEvent(trouble ?? .written)
    }
    if isSlow { due.append(durable) } else { loop.defer(durable) }
  }

  func finishWrites() {
    let due = due
    self.due = []
    due.forEach { $0() }
  }

  /// As a terminated session does.
  func loseLock() {
    generation += 1
    onEvent(.lockLost)
  }

  func read() { answer { [record] in .record(record) } }
  func write(_ record: ReleaseRecord, isLast: Bool) {
    change(record.completedAt == nil ? "claimed" : "complete") { $0.record = record }
  }
  func remove() { change("removed") { $0.record = nil } }
  func lock() { answer { .lockHeld(leftBy: "") } }
  func contend() {}
  func abandon() { generation += 1 }
  func unlock() { answer { .unlocked } }
  func awaitChange(within limit: Duration, _ look: @escaping () -> Void) { wishes += 1 }
  func endRemains(of step: Int, named name: String) { onEvent(.remainsEnded(step: step, nil)) }
  func guardGroup(_ group: CInt) {}
  func unguardGroup(_ group: CInt) {}
  func close() {}
}

/// The agent's end of the talk, and a Redis behind it that fails as a real one does: what is asked of one that is away is
/// tried again until it is back, and what is refused for good is refused.
final class StandInAgent {
  enum Redis {
    case up
    /// Takes what it is asked and never answers.
    case frozen
    /// Away: a look is told of it and tried again, a change fails.
    case away
    /// Refuses for good.
    case refusing
  }

  let program: String
  /// What it was asked, without who asked.
  private(set) var asked: [String] = []
  /// Under the key.
  var value: String?
  /// The next look is the test's own, and always answered.
  var isGreeted = false
  var onChange: (String) -> Void = { _ in }
  var redis = Redis.up {
    didSet { if redis == .up { for id in looks.sorted() { readiness(id) } } }
  }

  private let loop: EventLoop
  private let folder: String
  /// Both ends of each stay open here: nobody waits for anybody in opening them.
  private var pipes: [CInt] = []
  private var decoder = FrameDecoder()
  private var looks: Set<UInt64> = []
  private(set) var watches: Set<UInt64> = []

  /// Whoever runs `program` with the socket as descriptor 3 is carried to here.
  init(_ loop: EventLoop) throws {
    self.loop = loop
    var template = Array("/tmp/stand-in-agent-XXXXXX".utf8CString)
    folder = try #require(mkdtemp(&template).map { String(cString: $0) })
    program = folder + "/agent"
    // The socket does not block, which no plain program is ready for.
    let script =
      "#!/usr/bin/perl\n$^F = 9; open(S, '+<&=', 3) && fcntl(S, 4, 0) || die $!;\n"
      + "exec '/bin/sh', '-c', 'cat \(folder)/answers >&3 & exec cat <&3 >\(folder)/questions';\n"
    let file = try #require(fopen(program, "we"))
    fputs(script, file)
    fclose(file)
    chmod(program, 0o755)
    for name in ["questions", "answers"] {
      try #require(mkfifo(folder + "/" + name, 0o600) == 0)
      pipes.append(open(folder + "/" + name, O_RDWR | O_NONBLOCK | O_CLOEXEC))
    }
    try #require(pipes.allSatisfy { $0 >= 0 })
    try loop.watch(pipes[0], for: .reading) { [weak self] _ in self?.receive() }
    say(.hello(version: "1", role: AgentRole.coordination.name, pid: 1))
    beat()
  }

  deinit {
    loop.unwatch(pipes[0])
    for pipe in pipes { close(pipe) }
    for name in ["/questions", "/answers", "/agent", ""] { remove(folder + name) }
  }

  private func beat() {
    loop.schedule(after: .milliseconds(500)) { [weak self] in
      self?.say(.heartbeat)
      self?.beat()
    }
  }

  private func say(_ report: AgentReport) {
    let bytes = report.frame.bytes
    #expect(write(pipes[1], bytes, bytes.count) == bytes.count)
  }

  private func say(_ report: CoordinationReport) { say(.coordination(report)) }

  private func receive() {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let size = read(pipes[0], &buffer, buffer.count)
    guard size > 0 else { return }
    decoder.append(buffer.prefix(size))
    do {
      while let frame = try decoder.next() {
        if case .coordination(let request)? = try AgentRequest(frame) { take(request) }
      }
    } catch {
      Issue.record("the agent was sent what it cannot read: \(error)")
    }
  }

  private static let away = CoordinationFailure(.unavailable, "Redis is away")
  private static let refusal = CoordinationFailure(.refused, "Redis wants a password")

  private func take(_ request: CoordinationRequest) {
    switch request {
    case .readReadiness(let id):
      if isGreeted {
        isGreeted = false
        return say(.readiness(id: id, isReady: false, text: ""))
      }
      asked.append("look")
      looks.insert(id)
      switch redis {
      case .up: readiness(id)
      case .frozen: break
      case .away: say(.unavailable(id: id, Self.away))
      case .refusing:
        looks.remove(id)
        say(.failed(id: id, Self.refusal))
      }
    case .writeReadiness(let id, let isReady):
      asked.append(isReady ? "set" : "clear")
      switch redis {
      case .up:
        value = isReady ? "1" : nil
        onChange(isReady ? "set" : "clear")
        say(.done(id: id))
      case .frozen: break
      case .away: say(.failed(id: id, Self.away))
      case .refusing: say(.failed(id: id, Self.refusal))
      }
    case .watchReadiness(let id):
      asked.append("watch")
      watches.insert(id)
    case .cancel(let id):
      looks.remove(id)
      if watches.remove(id) != nil { asked.append("watch no more") }
    default: break
    }
  }

  private func readiness(_ id: UInt64) {
    looks.remove(id)
    say(
      .readiness(
        id: id, isReady: value == "1",
        text: value.map { $0 == "1" ? "" : "the text \"\($0)\"" } ?? ""))
  }

  /// Somebody says on the channel that the key has changed.
  func publish() {
    for id in watches.sorted() { say(.readinessChanged(id: id)) }
  }
}
