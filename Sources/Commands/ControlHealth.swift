import Control
import Glibc

/// `supervisor health [live|ready]`: the exit code tells, for Docker's HEALTHCHECK and other probes that run a
/// command. Parsed by hand, since it is started again and again.
enum HealthCommand {
  static let usage = """
    usage: supervisor health [live|ready] [--run-dir DIRECTORY]

      live     the supervisor answers
      ready    this node may get traffic (default)

    Exit code 0: yes. 1: no, or no supervisor runs here; standard error says why.

    """

  struct Options: Equatable {
    var page = "readyz"
    var runDirectory: String?
  }

  enum Rejection: Error, Equatable {
    case help
    case usage(String)
  }

  /// Asks, and returns the exit code of this process.
  static func run(
    arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>, count: Int, first: Int
  ) -> Int32 {
    let words = (first..<max(first, count)).compactMap { arguments[$0].map { String(cString: $0) } }
    let options: Options
    switch parse(words) {
    case .success(let parsed): options = parsed
    case .failure(.help):
      Stdout.write(usage)
      return 0
    case .failure(.usage(let message)):
      Stderr.write("supervisor health: \(message)\n\n\(usage)")
      return ExitCode.usage
    }
    ControlSession.unblockSignals()
    do throws(ControlClientError) {
      let client = ControlSession.client(runDirectory: options.runDirectory)
      let answer = try client.send(.get, "/\(options.page)")
      guard answer.status == 200 else {
        Stderr.write("\(answer.text)\n")
        return 1
      }
      Stdout.write("\(answer.text)\n")
      return 0
    } catch {
      Stderr.write("supervisor health: \(error)\n")
      return 1
    }
  }

  static func parse(_ words: [String]) -> Result<Options, Rejection> {
    var options = Options()
    var rest = words[...]
    var hasPage = false
    while let word = rest.popFirst() {
      switch word {
      case "live" where !hasPage, "ready" where !hasPage:
        options.page = word == "live" ? "livez" : "readyz"
        hasPage = true
      case "--help", "-h": return .failure(.help)
      case "--run-dir":
        guard let value = rest.popFirst(), !value.isEmpty else {
          return .failure(.usage("--run-dir takes a directory"))
        }
        options.runDirectory = value
      case _ where word.hasPrefix("--run-dir=") && word.count > "--run-dir=".count:
        options.runDirectory = String(word.dropFirst("--run-dir=".count))
      default: return .failure(.usage("'\(word)' is not understood"))
      }
    }
    return .success(options)
  }
}
