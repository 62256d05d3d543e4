import CLinux
import Coordination
import EventLoop
import Frameworks
import Glibc
import Phases
import Processes
import Settings

/// What a Django project's settings say: from the cache in `state_dir` when nothing has changed, else asked of its own
/// interpreter.
struct DjangoSource {
  let settings: EffectiveSettings
  let environment: ProcessEnvironment
  let directory: String
  let command: [RawString]

  /// The report, and the interpreter that it is of.
  func report() throws(FrameworkStart.Failure) -> (python: String, Result<DjangoReport, DjangoFailure>) {
    let variables = childEnvironment
    let python: String
    do throws(StartFailure) {
      python = try PythonInterpreter.find(
        candidates, environment: variables, directory: directory, advice: "set framework.python")
    } catch {
      throw .start(error)
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
    let layout = FileLayout(stateDirectory: stateDirectory, markerDirectory: "", runID: runID.value)
    let keeps = !runID.isDevelopment && asker.mayKeep(in: layout.stateDirectories)
    if keeps, let bytes = asker.read(file),
      let cache = try? DjangoImportCache.decode(bytes, runID: runID.value),
      cache.staleBecause(key: key, environment: pairs, stamp: Self.stamp) == nil
    {
      try heedStop(of: asker)
      return (python, .success(cache.report))
    }
    let answer: DjangoAsker.Answer
    do throws(StartFailure) {
      answer = try asker.ask(
        .settings(
          settingsModule: settings.framework.settingsModule, runID: (runID.value, runID.isDevelopment)),
        python: python, environment: variables,
        directory: directory)
    } catch {
      throw .start(error)
    }
    let report: DjangoReport
    do throws(DjangoFailure) {
      report = try DjangoReport.decode(answer.result, ending: answer.ending)
    } catch {
      return (python, .failure(error))
    }
    if keeps,
      let cache = DjangoImportCache(
        key: key, isDevelopment: runID.isDevelopment, reportBytes: answer.result, report: report,
        environment: pairs)
    {
      // Only saves time: what cannot be kept is asked again.
      asker.write(cache.encoded(), to: file, in: folder)
    }
    try heedStop(of: asker)
    return (python, .success(report))
  }

  private func heedStop(of asker: DjangoAsker) throws(FrameworkStart.Failure) {
    do throws(StartFailure) {
      try asker.heedStop()
    } catch {
      throw .start(error)
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

  private static func stamp(_ path: String) -> DjangoReport.FileStamp.State? {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    let time = Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec)
    return DjangoReport.FileStamp.State(modifiedAt: time, size: Int64(status.st_size))
  }
}
