import AgentSupervision
import ArgumentParser
import CLinux
import Coordination
import EventLoop
import Glibc
import Lifecycle
import Phases
import Processes
import ReleaseRecords
import Settings

/// `supervisor ready check|set|clear`: release readiness.
struct ReadyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ready",
    abstract: "Ask for, declare or take back the readiness of a release.",
    subcommands: [Check.self, Set.self, Clear.self])

  struct Options: ParsableArguments {
    @Option(name: .customLong("settings"), help: "The settings file.")
    var file: String?
    @Option(name: .customLong("run-id"), help: "The release.")
    var runID: String?
    @Option(
      name: .customLong("timeout"), help: "How long to wait for the lock; the setting's when not given.")
    var timeout: String?

    /// The store of the release that the settings name, and their steps.
    func open() throws -> (store: ReleaseStore, steps: [PhaseStep], runID: RunID) {
      let environment = ProcessEnvironment(vector: clinux_environment_vector())
      var overrides: [String: String] = [:]
      overrides["run_id"] = runID
      overrides["timeout"] = timeout
      let loaded: FrameworkStart.Loaded
      do throws(FrameworkStart.Failure) {
        loaded = try FrameworkStart.load(path: file, overrides: overrides, environment: environment)
      } catch {
        throw ArgumentParser.ExitCode(error.report())
      }
      let settings = loaded.settings
      do {
        let directory = RunStart.workingDirectory() ?? "/"
        let runID = RunID(given: settings.runID, workingDirectory: directory.bytes)
        let layout = FileLayout(
          stateDirectory: settings.stateDirectory
            ?? StateDirectory.standard(environment: environment, workingDirectory: directory),
          markerDirectory: settings.node.markerDirectory, runID: runID.value)
        let owner = "\(RunStart.hostName()) (pid \(getpid()), supervisor ready)"
        let steps = settings.infrastructure.steps.map { Planner.phaseStep($0, isFatal: true) }
        do {
          var servers: CoordinationServers?
          if let scope = Planner.coordination(
            settings, runID: runID, owner: owner, workingDirectory: directory)
          {
            servers = CoordinationServers(
              scope: scope, agentProgram: try AgentPath.find(environment: environment),
              agentEnvironment: environment)
          }
          let store = try ReleaseStore(
            layout: layout, runID: runID, owner: owner, patience: settings.timeout, servers: servers)
          return (store, steps, runID)
        } catch {
          throw ReadyCommand.failed(error)
        }
      }
    }
  }

  /// Prints what went wrong, and gives it an exit code.
  static func failed(_ error: any Error) -> any Error {
    if error is ArgumentParser.ExitCode { return error }
    Stderr.write("supervisor ready: \(error)\n")
    switch error {
    case let failure as ReleaseStore.Failure: return ArgumentParser.ExitCode(failure.exitCode)
    default: return ArgumentParser.ExitCode(ExitCode.software)
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print READY and exit with 0, or NOT READY and exit with 1.")
    @OptionGroup var options: Options

    func run() throws {
      let (store, steps, runID) = try options.open()
      do {
        defer { store.close() }
        let record = try store.read()
        let isReady =
          record?.completedAt != nil
          && (record?.declaredBy != nil
            || steps.allSatisfy { record?.isDone($0.name, hash: $0.hash) ?? false })
        print(isReady ? "READY" : "NOT READY")
        if runID.isDevelopment {
          Stderr.write(
            "supervisor ready: note: no run ID is set: under \(runID.value) what is recorded is not trusted\n"
          )
        }
        if !isReady { throw ArgumentParser.ExitCode(1) }
      } catch {
        throw ReadyCommand.failed(error)
      }
    }
  }

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract:
        "Declare the release ready: steps with a check are checked at the next start, the others believed.")
    @OptionGroup var options: Options

    func run() throws {
      let (store, _, runID) = try options.open()
      do {
        defer { store.close() }
        try store.change { record in
          var record = record ?? ReleaseRecord(runID: runID.value)
          guard record.completedAt == nil else { return .keep }
          record.completedAt = clinux_realtime_ns()
          record.declaredBy = store.owner
          record.failure = nil
          return .replace(record)
        }
        print("SET")
      } catch {
        throw ReadyCommand.failed(error)
      }
    }
  }

  struct Clear: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract:
        "Forget the release: readiness, ledger, failure. The next start runs the infrastructure phase anew.")
    @OptionGroup var options: Options

    func run() throws {
      let (store, _, _) = try options.open()
      do {
        defer { store.close() }
        try store.change { $0 == nil ? .keep : .remove }
        print("CLEARED")
      } catch {
        throw ReadyCommand.failed(error)
      }
    }
  }
}
