import ArgumentParser
import CLinux
import Glibc
import Processes
import Settings

/// `supervisor settings check|show|schema|import-django|import-litefs`.
struct SettingsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "settings",
    abstract: "Check the settings, or show what is in effect and where it comes from.",
    subcommands: [Check.self, Show.self, Schema.self, ImportDjangoCommand.self, ImportLiteFSCommand.self])

  struct FileOption: ParsableArguments {
    @Option(name: .customLong("settings"), help: "The settings file.")
    var file: String?

    /// - Parameter looksOnly: nothing is started.
    func load(looksOnly: Bool = false) -> SettingsOutcome {
      let environment = ProcessEnvironment(vector: clinux_environment_vector())
      do throws(FrameworkStart.Failure) {
        let loaded = try FrameworkStart.load(path: file, environment: environment, looksOnly: looksOnly)
        return .settings(loaded.settings, notes: loaded.notes)
      } catch {
        switch error {
        case .settings(let findings): return .failure(findings)
        case .start(let failure):
          return .failure(
            failure.lines.map { Diagnostic(.error, at: nil, key: "framework", $0, suggestion: nil) })
        }
      }
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Report every error at once; exit code 78 if there is one.")
    @OptionGroup var option: FileOption

    func run() throws {
      switch option.load() {
      case .failure(let findings):
        for finding in findings { print(finding) }
        let errors = findings.filter { $0.severity == .error }.count
        print(errors == 1 ? "1 error" : "\(errors) errors")
        throw ArgumentParser.ExitCode(ExitCode.configuration)
      case .settings(let settings, let notes):
        for finding in notes { print(finding) }
        print("\(settings.file ?? "no settings file: the defaults"): good")
      }
    }
  }

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print each value with its origin; secrets are masked.")
    @OptionGroup var option: FileOption

    func run() throws {
      switch option.load() {
      case .failure(let findings):
        for finding in findings { print(finding) }
        throw ArgumentParser.ExitCode(ExitCode.configuration)
      case .settings(let settings, _):
        for (key, value, origin) in settings.rendered() { print("\(key): \(value)  (\(origin))") }
      }
    }
  }

  struct Schema: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print the JSON Schema of settings files, for editors.")

    func run() throws { print(SettingsSchema.text(), terminator: "") }
  }
}
