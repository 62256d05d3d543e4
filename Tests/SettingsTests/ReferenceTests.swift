import Glibc
import Testing

@testable import Settings

/// What is made from the table of keys and kept beside the code.
@Suite struct ReferenceTests {
  private static let config =
    #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined() + "/Config"

  /// With WRITE_REFERENCE=1 in the environment the files are written anew instead.
  @Test(arguments: ["supervisor.schema.json", "reference.md"])
  func theFilesAreWhatTheTableMakes(_ name: String) throws {
    let expected = name == "reference.md" ? ReferencePage.text() : SettingsSchema.text()
    let path = "\(Self.config)/\(name)"
    if getenv("WRITE_REFERENCE") != nil {
      let file = try #require(fopen(path, "w"))
      defer { fclose(file) }
      #expect(fputs(expected, file) >= 0)
      return
    }
    guard case .success(let bytes) = SettingsFile.contents(of: path) else {
      Issue.record("\(path) cannot be read")
      return
    }
    #expect(
      String(decoding: bytes, as: UTF8.self) == expected,
      "Config/\(name) differs from the table: WRITE_REFERENCE=1 swift test --filter ReferenceTests")
  }

  @Test(arguments: KeyTable.keys.map(\.path)) func everyKeyIsOnThePage(_ path: String) throws {
    let key = try #require(KeyTable.byPath[path])
    if case .misplaced = key.availability { return }
    let prefix = ReferencePage.prefix(of: path)
    let name = prefix.isEmpty ? path : String(path.dropFirst(prefix.utf8.count + 1))
    #expect(Self.page.contains("| `\(name)`"), "\(path)")
    if let variable = key.environmentName { #expect(Self.page.contains("`\(variable)`"), "\(path)") }
  }

  private static let page = ReferencePage.text()

  @Test func everySectionIsExplained() {
    for key in KeyTable.keys {
      let names = key.path.split(separator: ".").map { String($0) }
      for count in 1..<max(names.count, 1) {
        var path = names.prefix(count).joined(separator: ".")
        if path.hasSuffix("[]") { path.removeLast(2) }
        guard !path.hasSuffix("*") else { continue }
        #expect(KeyTable.sections[path] != nil, "\(path)")
      }
    }
  }
}
