import Foundation
import Testing

/// CASES.md is only worth something as long as it is true.
@Suite("CASES.md")
struct CasesTests {
  private let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()

  /// Row by row: the case, and the cell that names its tests.
  private func rows() throws -> [(number: Int, tests: Substring)] {
    let text = try String(contentsOf: folder.appendingPathComponent("CASES.md"), encoding: .utf8)
    return text.split(separator: "\n").compactMap { line in
      guard line.hasPrefix("| E"), let number = Int(line.dropFirst(3).prefix(2)) else { return nil }
      let cells = line.split(separator: "|")
      return cells.count >= 2 ? (number, cells[1]) : nil
    }
  }

  /// Functions by suite, as the sources declare them.
  private func functions() throws -> [String: Set<Substring>] {
    var found: [String: Set<Substring>] = [:]
    // Some cases are proven by the tests of one module.
    let tests = folder.deletingLastPathComponent()
    let files = try #require(FileManager.default.enumerator(at: tests, includingPropertiesForKeys: nil))
    for case let file as URL in files where file.pathExtension == "swift" {
      let text = try String(contentsOf: file, encoding: .utf8)
      let names = Set(text.matches(of: #/func (\w+)\(/#).map(\.output.1))
      for suite in text.matches(of: #/(?:struct|extension) (\w+Tests)\b/#) {
        found[String(suite.output.1), default: []].formUnion(names)
      }
    }
    return found
  }

  @Test("has one row for each case from E01 to E95")
  func isComplete() throws {
    let absent: Set = [57, 58, 59, 79]
    #expect(try rows().map(\.number) == (1...95).filter { !absent.contains($0) })
  }

  @Test("names only tests that exist, and a test, a later piece of work or a reason in every row")
  func namesTests() throws {
    let functions = try functions()
    for (number, cell) in try rows() {
      var suite = ""
      for name in cell.matches(of: #/`([^`]+)`/#).map(\.output.1) {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        guard parts[0].isEmpty || parts[0].hasSuffix("Tests") else { continue }
        if !parts[0].isEmpty { suite = String(parts[0]) }
        let known = functions[suite] ?? []
        #expect(!known.isEmpty && (parts.count == 1 || known.contains(parts[1])), "E\(number): \(name)")
      }
      #expect(!suite.isEmpty || cell.contains("later"), "E\(number) has no test")
    }
  }
}
