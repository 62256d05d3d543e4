import CLinux
import EventLoop
import Frameworks
import Glibc
import Lifecycle
import Processes

/// Runs our Python programs in a project, one after the other, and touches files, on a loop of its own: for commands, and
/// for `run` before there is a supervision. A stop signal ends it, a project that hangs is killed, and nobody is left
/// behind.
final class DjangoAsker {
  /// What a program left.
  struct Answer {
    var result: [UInt8]
    var ending: String
  }

  /// How long the project may take to import its settings, or to set itself up.
  static let patience = Duration.seconds(60)
  /// How long what a program left behind may take to be gone.
  private static let strayPatience = Duration.seconds(2)
  private static let mark: RawString = "django"

  private let loop: EventLoop
  private let table: ProcessTable
  private let helper: FileHelper
  private var stoppedBy: Signal?
  private var onStop: (() -> Void)?

  init() throws {
    loop = try EventLoop()
    table = try ProcessTable(loop: loop)
    helper = try FileHelper(loop: loop, table: table)
    // A cache that hangs is not worth waiting for.
    helper.patience = .seconds(2)
    // What leaves its parent comes to us. Where we may not, it is out of our sight.
    _ = clinux_subreaper_set(true)
    // From here on: as PID 1, a signal that nobody receives would be lost.
    try loop.receiveSignals { [weak self] signals in self?.received(signals) }
  }

  deinit {
    helper.close()
  }

  /// A file's bytes; nil when they cannot be had.
  func read(_ path: String) -> [UInt8]? {
    var bytes: [UInt8]?
    var isAnswered = false
    helper.read(path) { [loop] result in
      bytes = try? result.get()
      isAnswered = true
      loop.stop()
    }
    while !isAnswered { loop.run() }
    return bytes
  }

  /// Whether what lies in the last of these directories is ours: it says what is run. Of one alone that is known.
  func mayKeep(in directories: [String]) -> Bool {
    guard directories.count > 1 else { return true }
    var isOurs = true
    for (index, directory) in directories.enumerated() {
      helper.makeDirectory(directory, mode: 0o755) { [loop] failure in
        if failure != nil { isOurs = false }
        if index == directories.count - 1 { loop.stop() }
      }
    }
    loop.run()
    return isOurs
  }

  func write(_ bytes: [UInt8], to path: String, in folder: String) {
    var isAnswered = false
    helper.makeDirectory(folder, mode: 0o700) { _ in }
    helper.write(path, bytes, mode: 0o600) { [loop] _ in
      isAnswered = true
      loop.stop()
    }
    while !isAnswered { loop.run() }
  }

  /// What the program left. Program and result are in memory; what the project prints goes to standard error.
  func ask(
    _ program: DjangoProgram, python: String, environment: ProcessEnvironment, directory: String
  ) throws(StartFailure) -> Answer {
    let result = clinux_memory_file("result")
    guard result >= 0 else {
      throw StartFailure(SystemError(code: -result, operation: "make", subject: "a file in memory"))
    }
    defer { _ = clinux_close(result) }
    var image = ProcessImage(
      arguments: [RawString(python)] + program.arguments.map { RawString($0) }, environment: environment)
    image.environment.remove(DjangoProgram.resultFileVariable)
    image.environment.set(DjangoProgram.resultDescriptorVariable, to: "3")
    image.environment.set(StrayMark.variable, to: Self.mark)
    image.environment.set("PYTHONUNBUFFERED", to: "1")
    image.directory = RawString(directory)
    image.standardInput = .text(Array(program.text.utf8))
    image.outputGoesToErrors = true
    image.keptDescriptor = result
    image.deathSignal = .kill

    var ending: String?
    var isLate = false
    let group: CInt
    do {
      group = try table.spawn(
        image,
        started: { [loop] failure in
          guard let failure else { return }
          ending = "\(failure)"
          loop.stop()
        },
        ended: { [loop] status in
          ending = "\(status)"
          loop.stop()
        })
    } catch {
      throw StartFailure(["\(python) cannot be started: \(error)"], code: ExitCode.configuration)
    }
    onStop = { [table] in table.signalGroup(group, .kill) }
    let timer = loop.schedule(after: Self.patience) { [table] in
      isLate = true
      table.signalGroup(group, .kill)
    }
    // A stop that came before there was anything to stop.
    if stoppedBy != nil { table.signalGroup(group, .kill) }
    while ending == nil { loop.run() }
    loop.cancel(timer)
    onStop = nil
    endStrays(group)
    try heedStop()
    if isLate {
      throw StartFailure(
        [
          "the Django project's settings did not import within \(Self.patience.readable) (does the settings module wait for something?)"
        ],
        code: ExitCode.configuration)
    }
    return Answer(result: Self.content(of: result), ending: ending ?? "no ending")
  }

  /// A stop signal that came while there was nothing to stop has been received, and comes to nobody else.
  func heedStop() throws(StartFailure) {
    guard let stoppedBy else { return }
    throw StartFailure(
      ["\(stoppedBy) received while the Django project's settings were imported"],
      code: 128 + stoppedBy.rawValue)
  }

  // MARK: What it left behind

  /// A settings module may start what it likes; none of it has any business here.
  private func endStrays(_ group: CInt) {
    let deadline = MonotonicInstant.now + Self.strayPatience
    var isFirst = true
    while isFirst || MonotonicInstant.now < deadline {
      isFirst = false
      table.signalGroup(group, .kill)
      while !table.reap() {}
      let found = strays()
      for pid in found { _ = clinux_kill(pid, SIGKILL) }
      guard !found.isEmpty || table.groupExists(group) else { return }
      // Until one of them has ended, and whoever it leaves behind has come to us.
      let timer = loop.schedule(after: .milliseconds(50)) { [loop] in loop.stop() }
      loop.run()
      loop.cancel(timer)
    }
  }

  /// Those that came to us and carry our mark, and whoever is below them. Others may be here too: what an entrypoint
  /// started before us.
  private func strays() -> [CInt] {
    let marked = ProcessTree.children(of: getpid()).filter { pid in
      guard !table.contains(pid), let environment = read("/proc/\(pid)/environ") else { return false }
      return StrayMark.isIn(environment, Self.mark)
    }
    guard !marked.isEmpty, let all = try? ProcessTree.all() else { return marked }
    return marked + marked.flatMap { ProcessTree.descendants(of: $0, in: all).map(\.pid) }
  }

  private func received(_ signals: [ReceivedSignal]) {
    for received in signals {
      switch received.signal {
      case .terminate, .interrupt, .quit, .containerHalt, .hangup:
        stoppedBy = received.signal
        onStop?()
      default: break
      }
    }
    if !table.reap() { loop.defer { [weak self] in self?.received([]) } }
    // Whoever waits looks again.
    loop.stop()
  }

  private static func content(of descriptor: CInt) -> [UInt8] {
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while result.count < 4 << 20 {
      let count = pread(descriptor, &buffer, buffer.count, result.count)
      guard count > 0 else { break }
      result += buffer[..<count]
    }
    return result
  }
}

/// Looks for the interpreter of a project.
enum PythonInterpreter {
  /// The first of the candidates that is there, as a path.
  /// - Parameter advice: what to do when there is none.
  static func find(
    _ candidates: [String], environment: ProcessEnvironment, directory: String, advice: String
  ) throws(StartFailure) -> String {
    let path = environment.value(of: "PATH").map { "\($0)" } ?? ExecutableSearch.standardPath
    for candidate in candidates {
      let places =
        candidate.contains("/")
        ? [candidate.hasPrefix("/") ? candidate : "\(directory)/\(candidate)"]
        : path.split(separator: ":").map { "\($0)/\(candidate)" }
      if let place = places.first(where: { access($0, X_OK) == 0 }) { return place }
    }
    throw StartFailure(
      [
        "no Python interpreter was found: looked for \(candidates.joined(separator: ", ")) for the Django project in \(directory); \(advice)"
      ],
      code: ExitCode.configuration)
  }
}
