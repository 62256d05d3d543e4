import CLinux
import Coordination
import EventLoop
import Frameworks
import Glibc
import Phases
import Processes
import Settings

/// What a Django project's settings say: from the cache in `state_dir` when nothing has changed, else asked of its own
/// interpreter. Before there is a supervision, but with a loop: a stop signal ends it, and a project that hangs is killed.
struct DjangoSource {
  /// How long the project may take to import its settings.
  static let patience = Duration.seconds(60)

  let settings: EffectiveSettings
  let environment: ProcessEnvironment
  let directory: String
  let command: [RawString]

  /// The report, and the interpreter that it is of.
  func report() throws(FrameworkStart.Failure) -> (python: String, Result<DjangoReport, DjangoFailure>) {
    let variables = childEnvironment
    guard let python = interpreter(variables) else {
      let tried = candidates.joined(separator: ", ")
      throw .start(
        StartFailure(
          [
            "no Python interpreter was found for the Django project in \(directory): looked for \(tried); set framework.python"
          ],
          code: ExitCode.configuration))
    }
    let runID = RunID(given: settings.runID, workingDirectory: Array(directory.utf8))
    let key = DjangoImportCache.Key(
      runID: runID.value, directory: directory, python: python,
      settingsModule: settings.framework.settingsModule)
    let pairs = variables.names.compactMap { name in
      variables.value(of: name).map { (name: name, value: "\($0)") }
    }
    let asker: DjangoAsker
    do {
      asker = try DjangoAsker()
    } catch {
      throw .start(StartFailure(["\(error)"], code: ExitCode.software))
    }
    let folder = stateDirectory + "/django"
    let file = folder + "/" + key.fileName
    if !runID.isDevelopment, let bytes = asker.read(file),
      let cache = try? DjangoImportCache.decode(bytes, runID: runID.value),
      cache.staleBecause(key: key, environment: pairs, stamp: Self.stamp) == nil
    {
      return (python, .success(cache.report))
    }
    let answer = try asker.ask(
      .settings(settingsModule: settings.framework.settingsModule), python: python, environment: variables,
      directory: directory, within: Self.patience)
    do throws(DjangoFailure) {
      let report = try DjangoReport.decode(answer.result, ending: answer.ending)
      if let cache = DjangoImportCache(
        key: key, isDevelopment: runID.isDevelopment, reportBytes: answer.result, report: report,
        environment: pairs)
      {
        // Only saves time: what cannot be kept is asked again.
        asker.write(cache.encoded(), to: file, in: folder)
      }
      return (python, .success(report))
    } catch {
      return (python, .failure(error))
    }
  }

  private var stateDirectory: String {
    settings.stateDirectory
      ?? StateDirectory.standard(environment: environment, workingDirectory: RawString(directory))
  }

  /// As the app's own steps have it.
  private var childEnvironment: ProcessEnvironment {
    var variables = settings.clearEnvironment ? ProcessEnvironment() : environment
    for variable in settings.environment + settings.app.environment {
      variables.set(variable.name, to: RawString(variable.value))
    }
    return variables
  }

  private var candidates: [String] {
    var words = command.map { "\($0)" }
    if words.isEmpty, case .arguments(let list)? = settings.app.command { words = list }
    return PythonCandidates.list(
      setting: settings.framework.python, appCommand: words,
      virtualEnvironment: environment.value(of: "VIRTUAL_ENV").map { "\($0)" })
  }

  /// The first that is there, as a path where it was found.
  private func interpreter(_ variables: ProcessEnvironment) -> String? {
    let path = variables.value(of: "PATH").map { "\($0)" } ?? ExecutableSearch.standardPath
    for candidate in candidates {
      if candidate.contains("/") {
        let whole = candidate.hasPrefix("/") ? candidate : "\(directory)/\(candidate)"
        if access(whole, X_OK) == 0 { return whole }
        continue
      }
      for folder in path.split(separator: ":") where access("\(folder)/\(candidate)", X_OK) == 0 {
        return "\(folder)/\(candidate)"
      }
    }
    return nil
  }

  private static func stamp(_ path: String) -> DjangoReport.FileStamp.State? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    let time = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
    return DjangoReport.FileStamp.State(modifiedAt: time, size: Int64(status.st_size))
  }
}

/// Runs one of our Python programs, and touches files, on a loop of its own.
final class DjangoAsker {
  struct Answer {
    var result: [UInt8]
    var ending: String
  }

  private let loop: EventLoop
  private let table: ProcessTable
  private let helper: FileHelper
  private var stoppedBy: Signal?

  init() throws {
    loop = try EventLoop()
    table = try ProcessTable(loop: loop)
    helper = try FileHelper(loop: loop, table: table)
    // A cache that hangs is not worth waiting for.
    helper.patience = .seconds(2)
    // From here on: as PID 1, a signal that nobody receives would be lost.
    try loop.receiveSignals { [weak self] signals in self?.received(signals) }
  }

  deinit {
    helper.close()
  }

  /// A file's bytes; nil when they cannot be had.
  func read(_ path: String) -> [UInt8]? {
    var bytes: [UInt8]?
    helper.read(path) { [loop] result in
      bytes = try? result.get()
      loop.stop()
    }
    loop.run()
    return bytes
  }

  func write(_ bytes: [UInt8], to path: String, in folder: String) {
    helper.makeDirectory(folder, mode: 0o700) { _ in }
    helper.write(path, bytes, mode: 0o600) { [loop] _ in loop.stop() }
    loop.run()
  }

  /// What the program left. What the project prints goes where our own output goes.
  func ask(
    _ program: DjangoProgram, python: String, environment: ProcessEnvironment, directory: String,
    within limit: Duration
  ) throws(FrameworkStart.Failure) -> Answer {
    let scratch: ScratchDirectory
    do throws(StartFailure) {
      scratch = try ScratchDirectory()
    } catch {
      throw .start(error)
    }
    defer { scratch.remove() }
    let resultPath = scratch.path + "/result"
    var image = ProcessImage(
      arguments: [RawString(python)] + program.arguments.map { RawString($0) }, environment: environment)
    image.environment.set(DjangoProgram.resultFileVariable, to: RawString(resultPath))
    image.environment.set("PYTHONUNBUFFERED", to: "1")
    image.directory = RawString(directory)
    image.standardInput = .text(Array(program.text.utf8))
    image.deathSignal = .kill

    var ending: String?
    var isLate = false
    do {
      let group = try table.spawn(
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
      onStop = { [table] in table.signalGroup(group, .kill) }
      let timer = loop.schedule(after: limit) { [table] in
        isLate = true
        table.signalGroup(group, .kill)
      }
      // A stop that came before there was anything to stop.
      if stoppedBy != nil { table.signalGroup(group, .kill) }
      loop.run()
      loop.cancel(timer)
      // What it left behind has no business here.
      table.signalGroup(group, .kill)
    } catch {
      throw .start(StartFailure(["\(python) cannot be started: \(error)"], code: ExitCode.configuration))
    }
    if let stoppedBy {
      throw .start(
        StartFailure(
          ["\(stoppedBy) received while the Django project's settings were imported"],
          code: 128 + stoppedBy.rawValue))
    }
    if isLate {
      throw .start(
        StartFailure(
          [
            "the Django project's settings did not import within \(limit.readable) (does the settings module wait for something?)"
          ],
          code: ExitCode.configuration))
    }
    return Answer(result: Self.content(of: resultPath), ending: ending ?? "no ending")
  }

  private var onStop: (() -> Void)?

  private func received(_ signals: [ReceivedSignal]) {
    for received in signals {
      switch received.signal {
      case .terminate, .interrupt, .quit, .containerHalt, .hangup:
        stoppedBy = received.signal
        onStop?()
      default: break
      }
    }
    table.reap()
  }

  private static func content(of path: String) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var result: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while result.count < 4 << 20 {
      let count = Glibc.read(descriptor, &buffer, buffer.count)
      guard count > 0 else { break }
      result += buffer[..<count]
    }
    return result
  }
}
