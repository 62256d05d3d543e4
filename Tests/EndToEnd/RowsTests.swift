import Foundation
import Testing

/// ROWS.md is only worth something as long as it is true.
@Suite("ROWS.md")
struct RowsTests {
  /// Row by row: its ID, the cell that names its tests, and its status.
  private func rows() throws -> [(id: String, tests: Substring, status: Substring)] {
    let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    let text = try String(contentsOf: folder.appendingPathComponent("ROWS.md"), encoding: .utf8)
    return text.split(separator: "\n").compactMap { line in
      guard let id = line.prefixMatch(of: #/\| ((?:AI|BF|DG)-\d\d|C[1-3]-\d+) /#)?.output.1 else {
        return nil
      }
      let cells = line.split(separator: "|")
      return cells.count >= 3 ? (String(id), cells[1], cells[2]) : nil
    }
  }

  @Test("has one row for each of AI-01 to AI-34, BF-01 to BF-17, DG-01 to DG-14, and of C1, C2 and C3")
  func isComplete() throws {
    let expected = [("AI", 34), ("BF", 17), ("DG", 14)].flatMap { group, last in
      (1...last).map { "\(group)-\($0 < 10 ? "0" : "")\($0)" }
    }
    let weaknesses = [("C1", 27), ("C2", 8), ("C3", 7)].flatMap { group, last in
      (1...last).map { "\(group)-\($0)" }
    }
    #expect(try rows().map(\.id) == expected + weaknesses)
  }

  @Test("names only tests that exist, and says of a row without one what it waits for")
  func namesTests() throws {
    let functions = try DeclaredTests.functions()
    for row in try rows() {
      let (missing, count) = DeclaredTests.missing(in: row.tests, functions)
      #expect(missing == [], "\(row.id)")
      #expect(
        count > 0 || row.status.contains("later") || row.status.contains("Django"), "\(row.id) has no test")
    }
  }
}
