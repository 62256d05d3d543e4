import ArgumentParser
import CLinux
import Frameworks
import Glibc
import Processes

/// `supervisor settings import-django`: the settings of the Django project here, as a settings file of ours.
struct ImportDjangoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import-django",
    abstract:
      "Print the Django project's own settings as a settings file; exit code 78 if they cannot be used.",
    discussion: """
      Runs the project's interpreter in the working directory. Its settings module is imported; django.setup() is only
      called for --show-hooks. What the project prints goes to standard error.
      """)

  @Flag(help: "Also list the hooks of the apps, by phase and in order.")
  var showHooks = false

  @Option(help: ArgumentHelp("The interpreter; default: of VIRTUAL_ENV, else in PATH.", valueName: "program"))
  var python: String?

  @Option(
    help: ArgumentHelp("The settings module, when DJANGO_SETTINGS_MODULE is not set.", valueName: "module"))
  var settingsModule: String?

  func run() throws {
    ControlSession.unblockSignals()
    let environment = ProcessEnvironment(vector: clinux_environment_vector())
    let question = DjangoQuestion(environment: environment)
    let candidates = PythonCandidates.list(
      setting: python, appCommand: [],
      virtualEnvironment: environment.value(of: "VIRTUAL_ENV").map { "\($0)" })
    do {
      let (found, answer) = try question.ask(
        .settings(settingsModule: settingsModule), candidates: candidates)
      let report = try DjangoReport.decode(answer.result, ending: answer.ending)
      let hooks = showHooks ? try hooks(of: report, python: found, question) : nil
      let values = DjangoImport(
        report,
        context: DjangoImport.Context(
          environment: { environment.value(of: $0).map { "\($0)" } }, hostName: Self.hostName))
      Stdout.write(DjangoImportPage.text(values, report: report, hooks: hooks))
      guard !values.problems.isEmpty else { return }
      for problem in values.problems { Stderr.write("\(problem)\n") }
    } catch let failure as DjangoFailure {
      Stderr.write("supervisor: \(failure)\n")
    } catch let failure as DjangoQuestion.Failure {
      Stderr.write("supervisor: \(failure.text)\n")
    }
    throw ArgumentParser.ExitCode(ExitCode.configuration)
  }

  private func hooks(
    of report: DjangoReport, python: String, _ question: DjangoQuestion
  ) throws -> [HookResults.Hook] {
    let (_, answer) = try question.ask(
      .hooks(.list, settingsModule: report.settingsModule), candidates: [python])
    guard let results = HookResults.decode(answer.result), results.isComplete else {
      throw DjangoFailure(.noResult, "listing the hooks came to no end (\(answer.ending))")
    }
    if let failure = results.failure { throw failure }
    return results.hooks
  }

  private static var hostName: String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
