import ArgumentParser
import CLinux
import EventLoop
import Glibc
import Lifecycle
import LiteFS
import Phases
import Processes
import Settings

/// `supervisor litefs config`.
struct LiteFSCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "litefs", abstract: "LiteFS on this node.", subcommands: [Config.self])

  struct Config: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print the litefs.yml that LiteFS would get on this node.",
      discussion: "Secrets are masked, unless --reveal or --output asks for them.")

    @OptionGroup var option: SettingsCommand.FileOption
    @Flag(help: "Print secrets too.")
    var reveal = false
    @Option(
      help: ArgumentHelp("Write the whole file here instead, readable by this user alone.", valueName: "file")
    )
    var output: String?

    func run() throws {
      let settings: EffectiveSettings
      switch option.load(looksOnly: true) {
      case .failure(let findings):
        for finding in findings { Stderr.write("\(finding)\n") }
        throw ArgumentParser.ExitCode(ExitCode.configuration)
      case .settings(let loaded, _): settings = loaded
      }
      guard let found = Self.configuration(of: settings) else {
        let mode = settings.litefs?.mode.rawValue ?? "off"
        Stderr.write("supervisor: litefs.mode is \(mode): there is no litefs.yml (only 'mount' has one)\n")
        throw ArgumentParser.ExitCode(ExitCode.configuration)
      }
      for finding in found.findings { Stderr.write("\(finding)\n") }
      if found.findings.contains(where: { $0.severity == .error }) {
        throw ArgumentParser.ExitCode(ExitCode.configuration)
      }
      if let output { return try Self.write(found.bytes, to: output) }
      let text = reveal ? String(decoding: found.bytes, as: UTF8.self) : found.maskedText
      Stdout.write(text)
      if Array(text.utf8) != found.bytes, isatty(1) != 1 {
        Stderr.write("supervisor: secrets are masked (--reveal prints them, --output writes a file)\n")
      }
    }

    private static func configuration(of settings: EffectiveSettings) -> LiteFSConfiguration? {
      let directory = RunStart.workingDirectory()?.bytes ?? [UInt8(ascii: "/")]
      let node = LiteFSConfiguration.Node(
        hostName: RunStart.hostName(),
        project: ProjectName(settings, workingDirectory: directory).value, settings: settings,
        isOther: LiteFSUsers.isOther)
      return settings.litefs.flatMap { LiteFSConfiguration($0, node: node) }
    }

    /// All or nothing, and never readable by others in between: there may be a token in it.
    private static func write(_ bytes: [UInt8], to path: String) throws {
      let new = "\(path).\(getpid()).new"
      let descriptor = open(new, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
      var failure = descriptor < 0 ? errno : 0
      if descriptor >= 0 {
        var rest = bytes[...]
        while failure == 0, !rest.isEmpty {
          let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
          if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { failure = errno }
        }
        if failure == 0, fsync(descriptor) != 0 { failure = errno }
        close(descriptor)
        if failure == 0, rename(new, path) != 0 { failure = errno }
        if failure != 0 { unlink(new) }
      }
      guard failure != 0 else { return }
      Stderr.write("supervisor: \(path) cannot be written: \(errorText(failure))\n")
      throw ArgumentParser.ExitCode(1)
    }
  }
}
