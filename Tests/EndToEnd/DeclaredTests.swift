import Foundation
import Testing

/// The tests that there are, for the pages that name them.
enum DeclaredTests {
  /// Functions by suite, as the sources declare them.
  static func functions() throws -> [String: Set<Substring>] {
    var found: [String: Set<Substring>] = [:]
    // Some cases are proven by the tests of one module.
    let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
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

  /// What a page names in one cell, `Suite.function` or `.function` of the suite before it, and is not there.
  static func missing(in cell: Substring, _ functions: [String: Set<Substring>]) -> (
    names: [String], count: Int
  ) {
    var suite = ""
    var missing: [String] = []
    var count = 0
    for name in cell.matches(of: #/`([^`]+)`/#).map(\.output.1) {
      let parts = name.split(separator: ".", omittingEmptySubsequences: false)
      guard parts[0].isEmpty || parts[0].hasSuffix("Tests") else { continue }
      if !parts[0].isEmpty { suite = String(parts[0]) }
      let known = functions[suite] ?? []
      if known.isEmpty || (parts.count > 1 && !known.contains(parts[1])) { missing.append(String(name)) }
      count += 1
    }
    return (missing, count)
  }
}
