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
    let environment = ProcessEnvironment(vector: clinux_environment_vector())
    let directory = RunStart.workingDirectory().map { "\($0)" } ?? "/"
    let candidates = PythonCandidates.list(
      setting: python, appCommand: [],
      virtualEnvironment: environment.value(of: "VIRTUAL_ENV").map { "\($0)" })
    do {
      let found = try PythonInterpreter.find(
        candidates, environment: environment, directory: directory, advice: "say it with --python")
      let asker = try DjangoAsker()
      func ask(_ program: DjangoProgram) throws -> DjangoAsker.Answer {
        try asker.ask(program, python: found, environment: environment, directory: directory)
      }
      let answer = try ask(.settings(settingsModule: settingsModule))
      let report = try DjangoReport.decode(answer.result, ending: answer.ending)
      let hooks =
        showHooks ? try Self.hooks(in: ask(.hooks(.list, settingsModule: report.settingsModule))) : nil
      let values = DjangoImport(
        report,
        context: DjangoImport.Context(
          environment: { environment.value(of: $0).map { "\($0)" } }, hostName: RunStart.hostName()))
      Stdout.write(DjangoImportPage.text(values, report: report, hooks: hooks))
      guard !values.problems.isEmpty else { return }
      for problem in values.problems { Stderr.write("\(problem)\n") }
    } catch let failure as DjangoFailure {
      Stderr.write("supervisor: \(failure)\n")
    } catch let failure as StartFailure {
      for line in failure.lines { Stderr.write("supervisor: \(line)\n") }
      throw ArgumentParser.ExitCode(failure.code)
    }
    throw ArgumentParser.ExitCode(ExitCode.configuration)
  }

  private static func hooks(in answer: DjangoAsker.Answer) throws -> [HookResults.Hook] {
    guard let results = HookResults.decode(answer.result), results.isComplete else {
      throw DjangoFailure(.noResult, "listing the hooks came to no end (\(answer.ending))")
    }
    if let failure = results.failure { throw failure }
    return results.hooks
  }
}
