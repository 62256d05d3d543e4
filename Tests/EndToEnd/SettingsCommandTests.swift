import Foundation
import Glibc
import Testing

/// `supervisor settings check|show|schema`, and `run` with the same files.
@Suite("settings", .drivesProcesses)
struct SettingsCommandTests {
  private static let root =
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().path

  /// Runs the program in a shell that first goes to `folder`, so that files are named as people name them.
  private func outcome(
    _ words: [String], in folder: String, environment: [String] = []
  ) throws -> Outcome {
    var launch = Launch(
      ["/bin/sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh", folder, Programs.supervisor] + words)
    launch.environment += environment.map { Array($0.utf8) }
    return try Stage.result(launch)
  }

  @Test(
    "DG-03, DG-04, DG-05, C3-1: a self-need, a duplicate, an unknown need and a circle: exit 78 with the place, nothing started",
    arguments: ["step-needs-itself", "step-names", "unknown-needs", "needs-in-a-circle"])
  func graphErrors(_ name: String) throws {
    let folder = Self.root + "/Tests/SettingsTests/Broken"
    let expected = try String(contentsOfFile: "\(folder)/\(name).txt", encoding: .utf8)
    let check = try outcome(["settings", "check", "--settings", "\(name).yml"], in: folder)
    #expect(check.ending == .exited(78))
    #expect(check.output.hasPrefix(expected))
    try withTemporaryDirectory { site in
      let run = try outcome(
        ["run", "--settings", "\(name).yml", "--", "/usr/bin/touch", "\(site)/started"], in: folder,
        environment: ["SUPERVISOR_RUN_DIR=\(site)/run", "SUPERVISOR_STATE_DIR=\(site)/state"])
      #expect(run.ending == .exited(78))
      #expect(run.errors.hasPrefix(expected))
      #expect(try FileManager.default.contentsOfDirectory(atPath: site).isEmpty)
    }
  }

  @Test("BF-06: secrets by variable and by file are shown nowhere, whether the settings are good or not")
  func secretsAreMasked() throws {
    try withTemporaryDirectory { folder in
      try writeFile("\(folder)/url", "postgres://shop:hush@db/shop\n")
      try writeFile(
        "\(folder)/good.yml", "environment: {DATABASE_URL: \"${DATABASE_URL}\", API_KEY: \"${KEY}\"}\n")
      try writeFile(
        "\(folder)/later.yml", "coordination: {postgres: {url_file: url}, redis: {url: \"x hush\"}}\n")
      let environment = ["DATABASE_URL=postgres://shop:hush@db/shop", "KEY=hush"]
      let good = try outcome(
        ["settings", "show", "--settings", "good.yml"], in: folder, environment: environment)
      #expect(good.ending == .exited(0))
      #expect(
        good.output.contains("environment.DATABASE_URL: postgres://shop:****@db/shop  (good.yml:1:29)\n"))
      #expect(good.output.contains("environment.API_KEY: ****  (good.yml:1:57)\n"))
      #expect(!good.output.contains("hush"))
      let later = try outcome(
        ["settings", "show", "--settings", "later.yml"], in: folder,
        environment: ["SUPERVISOR_COORDINATION_POSTGRES_URL=postgres://shop:hush@db/shop"])
      #expect(later.ending == .exited(78))
      #expect(!(later.output + later.errors).contains("hush"))
      #expect(later.output.contains("coordination.redis.url: "))
    }
  }

  @Test("BF-11: the same file with variables on top: what is shown differs only there")
  func overridesDifferOnlyThere() throws {
    let folder = Self.root + "/Config/examples"
    let words = ["settings", "show", "--settings", "services.yml"]
    let production = try outcome(words, in: folder, environment: ["RELEASE_ID=v7"])
    let development = try outcome(
      words, in: folder,
      environment: ["RELEASE_ID=v7", "SUPERVISOR_STOP_TIMEOUT=1s", "SUPERVISOR_APP_READY_INTERVAL=100ms"])
    #expect(production.ending == .exited(0))
    let before = production.output.split(separator: "\n")
    let after = development.output.split(separator: "\n")
    #expect(before.count == after.count)
    #expect(
      zip(before, after).filter { $0 != $1 }.map { $1 } == [
        "stop_timeout: 1s  (SUPERVISOR_STOP_TIMEOUT)",
        "app.ready.interval: 100ms  (SUPERVISOR_APP_READY_INTERVAL)",
      ])
  }

  @Test("the schema that is printed is the one that is kept")
  func schema() throws {
    let schema = try String(contentsOfFile: Self.root + "/Config/supervisor.schema.json", encoding: .utf8)
    let outcome = try outcome(["settings", "schema"], in: "/")
    #expect(outcome.ending == .exited(0))
    #expect(outcome.output == schema)
  }
}
