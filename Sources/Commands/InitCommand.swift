import CLinux
import EventLoop
import Glibc
import Lifecycle
import Processes
import Settings

/// `supervisor init [infrastructure|node]`: the phases alone, as an init container does. Parsed by hand: a warm one is
/// to cost next to nothing.
enum InitCommand {
  static let usage = """
    usage: supervisor init [infrastructure|node] [options]

      --settings FILE    the settings file (else $SUPERVISOR_SETTINGS, ./supervisor.yml, /etc/supervisor.yml)
      --run-id ID        names this release
      --timeout DURATION how long to wait for lock or readiness without progress; 0: one try
      --fatal-on-error   a failed node step ends it with 76

    exit codes: 0 complete, 75 waited in vain, 76 a step failed, 77 not permitted, 78 settings

    """

  private struct Words {
    var scope = LifecyclePlan.Scope.phases
    var settings: String?
    var overrides: [String: String] = [:]
  }

  static func run(
    arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, count: Int, first: Int
  ) -> CInt {
    let given = (first..<count).compactMap { arguments[$0].map { String(cString: $0) } }
    let words: Words
    switch parse(given) {
    case .success(let parsed): words = parsed
    case .failure(.help):
      Stderr.write(usage)
      return 0
    case .failure(.usage(let message)):
      Stderr.write("supervisor init: \(message)\n\n\(usage)")
      return ExitCode.usage
    }
    let environment = ProcessEnvironment(vector: clinux_environment_vector())
    let loaded: FrameworkStart.Loaded
    do throws(FrameworkStart.Failure) {
      loaded = try FrameworkStart.load(
        path: words.settings, overrides: words.overrides, environment: environment)
    } catch {
      return error.report()
    }
    for finding in loaded.notes { Stderr.write("\(finding)\n") }
    do throws(StartFailure) {
      return try RunStart(
        scope: words.scope, settings: loaded.settings, inputs: loaded.inputs, options: RunCommand.Options(),
        environment: environment
      ).run()
    } catch {
      return error.report()
    }
  }

  private static func parse(_ given: [String]) -> Result<Words, RunCommand.Rejection> {
    let keys = ["--run-id": "run_id", "--timeout": "timeout"]
    var words = Words()
    var hasScope = false
    var rest = given[...]
    while let word = rest.popFirst() {
      let equals = word.hasPrefix("--") ? word.firstIndex(of: "=") : nil
      let name = equals.map { String(word[..<$0]) } ?? word
      switch name {
      case "--help", "-h": return .failure(.help)
      case "--fatal-on-error" where equals == nil: words.overrides["node.fatal_on_error"] = "true"
      case "infrastructure" where !hasScope, "node" where !hasScope:
        words.scope = name == "node" ? .node : .infrastructure
        hasScope = true
      case "--settings", "--run-id", "--timeout":
        guard let value = equals.map({ String(word[word.index(after: $0)...]) }) ?? rest.popFirst() else {
          return .failure(.usage("\(name) needs a value"))
        }
        if let key = keys[name] { words.overrides[key] = value } else { words.settings = value }
      default: return .failure(.usage("unknown argument '\(word)'"))
      }
    }
    return .success(words)
  }
}
