import Glibc
import Testing

@testable import Settings

/// `Broken/*.yml`: files as people write them, each with what `settings check` says about it beside it.
@Suite struct BrokenFilesTests {
  private static let directory =
    #filePath.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/Broken"

  static let names = (FileAccess.system.names(directory) ?? []).filter { $0.hasSuffix(".yml") }.sorted()

  /// Reads beside the tests what the files name relative to themselves.
  private static let files = FileAccess(
    contents: { FileAccess.system.contents($0.hasPrefix("/") ? $0 : "\(directory)/\($0)") },
    names: { FileAccess.system.names($0.hasPrefix("/") ? $0 : "\(directory)/\($0)") })

  @Test func thereAreThirty() { #expect(Self.names.count >= 30) }

  /// With WRITE_REFERENCE=1 in the environment the expected texts are written anew, to be read and judged.
  @Test(arguments: names) func isExplained(_ name: String) throws {
    let bytes = try FileAccess.system.contents("\(Self.directory)/\(name)").get()
    let outcome = SettingsLoader.load(
      bytes: bytes, file: name, environment: { ["HOME": "/root"][$0] }, files: Self.files)
    guard case .failure(let problems) = outcome else {
      Issue.record("\(name) is accepted")
      return
    }
    let report = problems.map { "\($0)\n" }.joined()
    let expected = "\(Self.directory)/\(name.dropLast(4)).txt"
    if getenv("WRITE_REFERENCE") != nil {
      let file = try #require(fopen(expected, "w"))
      defer { fclose(file) }
      #expect(fputs(report, file) >= 0)
      return
    }
    let text = try FileAccess.system.contents(expected).get()
    #expect(report == String(decoding: text, as: UTF8.self))
    // Every error at once, in the order of the file, none of them a riddle, and no secret in any.
    #expect(problems.contains { $0.severity == .error })
    #expect(problems.allSatisfy { $0.origin != nil })
    #expect(!report.contains("hush"))
  }
}
