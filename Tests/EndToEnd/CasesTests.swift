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

  @Test("has one row for each case from E01 to E95")
  func isComplete() throws {
    let absent: Set = [57, 58, 59, 79]
    #expect(try rows().map(\.number) == (1...95).filter { !absent.contains($0) })
  }

  @Test("names only tests that exist, and a test, a later piece of work or a reason in every row")
  func namesTests() throws {
    let functions = try DeclaredTests.functions()
    for (number, cell) in try rows() {
      let (missing, count) = DeclaredTests.missing(in: cell, functions)
      #expect(missing == [], "E\(number)")
      #expect(count > 0 || cell.contains("later"), "E\(number) has no test")
    }
  }
}
