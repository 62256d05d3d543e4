import AgentProtocol
import EventLoop
import Foundation
import Glibc
import TestSupport

/// A running agent, and PID 1's end of its socket.
final class AgentProcess: @unchecked Sendable {
  private static let binary: String = {
    if let given = getenv("SUPERVISOR_BINARY") {
      return URL(fileURLWithPath: String(cString: given)).deletingLastPathComponent().path
        + "/supervisor-agent"
    }
    // The test bundle lies beside the programs.
    let bundle = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: bundle).deletingLastPathComponent().path + "/supervisor-agent"
  }()

  let pid: pid_t
  let runID: String
  let project: String
  private var socket: CInt
  private let condition = NSCondition()
  private var reports: [AgentReport] = []
  private var isAtEnd = false
  private var lastID: UInt64 = 0
  private var isReaped = false
  private var heartbeats = 0
  private var arrivals = 0

  init(project: String = "shop", runID: String = "r1", role: AgentRole = .coordination) throws {
    self.project = project
    self.runID = runID
    var ends: [CInt] = [-1, -1]
    guard socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
      throw HarnessError("socketpair: \(errno)")
    }
    // dup2 onto itself would leave close-on-exec as it is.
    let theirs = fcntl(ends[1], F_DUPFD_CLOEXEC, 10)
    close(ends[1])
    pid = try spawnProcess(
      [Self.binary, "--role", role.name, "--descriptor", "3"], ownGroup: false, descriptors: [theirs: 3])
    close(theirs)
    socket = ends[0]
    let descriptor = ends[0]
    Thread.detachNewThread { [weak self] in
      var decoder = FrameDecoder()
      var bytes = [UInt8](repeating: 0, count: 1 << 16)
      while true {
        let count = recv(descriptor, &bytes, bytes.count, 0)
        guard count > 0 else { break }
        self?.countArrival()
        decoder.append(bytes.prefix(count))
        while let frame = try? decoder.next() {
          if let report = try? AgentReport(frame) { self?.take(report) }
        }
      }
      self?.end()
    }
  }

  deinit {
    hangUp()
    if !isReaped {
      kill(pid, SIGKILL)
      waitpid(pid, nil, 0)
    }
    close(socket)
  }

  private func take(_ report: AgentReport) {
    condition.lock()
    guard report != .heartbeat else {
      heartbeats += 1
      condition.unlock()
      return
    }
    reports.append(report)
    condition.broadcast()
    condition.unlock()
  }

  private func end() {
    condition.lock()
    isAtEnd = true
    condition.broadcast()
    condition.unlock()
  }

  /// As the kernel does when PID 1 is gone.
  func hangUp() { shutdown(socket, CInt(SHUT_RDWR)) }

  /// Without a word to anybody.
  func vanish() {
    kill(pid, SIGKILL)
    waitForEnd()
  }

  @discardableResult
  func waitForEnd() -> CInt {
    var status: CInt = 0
    if !isReaped { waitpid(pid, &status, 0) }
    isReaped = true
    return status
  }

  /// Memory that is really there, in KiB.
  var resident: Int {
    let text = (try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
    return Int(line.split(separator: " ").dropLast().last?.trimmingCharacters(in: .whitespaces) ?? "") ?? 0
  }

  private func countArrival() {
    condition.lock()
    arrivals += 1
    condition.unlock()
  }

  /// How often something has come, be it one report or many.
  var arrivalCount: Int {
    condition.lock()
    defer { condition.unlock() }
    return arrivals
  }

  /// How many heartbeats have come.
  var heartbeatCount: Int {
    condition.lock()
    defer { condition.unlock() }
    return heartbeats
  }

  // MARK: Talking

  func send(_ request: CoordinationRequest) throws {
    let bytes = AgentRequest.coordination(request).frame.bytes
    guard Glibc.send(socket, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count else {
      throw HarnessError("send to the agent: \(errno)")
    }
  }

  func send(_ request: AgentRequest) throws {
    let bytes = request.frame.bytes
    guard Glibc.send(socket, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count else {
      throw HarnessError("send to the agent: \(errno)")
    }
  }

  /// Sends a request with a number of its own, and returns that.
  @discardableResult
  func ask(_ request: (UInt64) -> CoordinationRequest) throws -> UInt64 {
    lastID += 1
    try send(request(lastID))
    return lastID
  }

  /// The next report that is made something of; those before it are kept for others, unless they are old then.
  func report<Value>(
    _ what: String, within seconds: Double = 40, forgetting isOld: (AgentReport) -> Bool = { _ in false },
    _ take: (AgentReport) -> Value?
  ) throws -> Value {
    let end = Date().addingTimeInterval(seconds)
    condition.lock()
    defer { condition.unlock() }
    while true {
      for (index, report) in reports.enumerated() {
        guard let value = take(report) else { continue }
        reports = reports[..<index].filter { !isOld($0) } + reports[(index + 1)...]
        return value
      }
      guard !isAtEnd else { throw HarnessError("the agent ended before \(what); it said \(reports)") }
      guard condition.wait(until: end) else { throw HarnessError("no \(what); it said \(reports)") }
    }
  }

  /// The next report of lock, record and readiness that is made something of.
  func coordination<Value>(
    _ what: String, within seconds: Double = 40, _ take: (CoordinationReport) -> Value?
  ) throws -> Value {
    try report(what, within: seconds) { report in
      if case .coordination(let inner) = report { take(inner) } else { nil }
    }
  }

  /// Takes everything that has come.
  func takeAll() -> [AgentReport] {
    condition.lock()
    defer { condition.unlock() }
    defer { reports = [] }
    return reports
  }

  /// What has not been taken.
  var rest: [CoordinationReport] {
    condition.lock()
    defer { condition.unlock() }
    return reports.compactMap { if case .coordination(let report) = $0 { report } else { nil } }
  }
}

/// Starts a program with standard error alone, besides what is given.
func spawnProcess(_ words: [String], ownGroup: Bool, descriptors: [CInt: CInt] = [:]) throws -> pid_t {
  var actions = posix_spawn_file_actions_t()
  posix_spawn_file_actions_init(&actions)
  defer { posix_spawn_file_actions_destroy(&actions) }
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
  posix_spawn_file_actions_adddup2(&actions, 0, 1)
  for (from, to) in descriptors { posix_spawn_file_actions_adddup2(&actions, from, to) }
  // A pipe of a test server's that a step keeps open would keep the server.
  for name in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
    if let descriptor = CInt(name), descriptor > 2 { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
  }
  var attributes = posix_spawnattr_t()
  posix_spawnattr_init(&attributes)
  defer { posix_spawnattr_destroy(&attributes) }
  if ownGroup {
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
    posix_spawnattr_setpgroup(&attributes, 0)
  }
  var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
  defer { for argument in arguments { free(argument) } }
  var pid: pid_t = 0
  let code = posix_spawn(&pid, words[0], &actions, &attributes, &arguments, environ)
  guard code == 0 else { throw HarnessError("spawn \(words[0]): \(code)") }
  return pid
}
