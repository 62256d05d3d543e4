import ArgumentParser
import LiteFS
import Settings

/// `supervisor settings import-litefs FILE`: a `litefs.yml` that somebody wrote, as a settings file of ours.
struct ImportLiteFSCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "import-litefs",
    abstract: "Print a litefs.yml as a settings file; exit code 78 if it cannot be read.",
    discussion: """
      Every key becomes one of ours, goes into litefs.extra, or stands in a comment with the reason. What `exec` becomes
      (steps, the app) is a comment too: look at it first. Variables stay variables; secrets are not shown.
      """)

  @Argument(help: "LiteFS's file, for instance /etc/litefs.yml.")
  var file: String

  func run() throws {
    do throws(Diagnostic) {
      let found = try LiteFSImport(try NamedFile.bytes(of: file), file: file)
      Stdout.write(found.page(of: file))
    } catch {
      Stderr.write("supervisor: \(error)\n")
      throw ArgumentParser.ExitCode(ExitCode.configuration)
    }
  }
}
