import Testing

@testable import Settings

@Suite struct YAMLReaderTests {
  private func read(_ text: String) throws -> YAMLNode? {
    try YAMLReader.read(Array(text.utf8), file: "f")
  }

  private func problem(_ bytes: [UInt8]) -> String? {
    do throws(Diagnostic) {
      _ = try YAMLReader.read(bytes, file: "f")
      return nil
    } catch {
      return error.description
    }
  }

  private func entries(_ node: YAMLNode?) -> [YAMLNode.Entry] {
    if case .mapping(let entries) = node?.content { entries } else { [] }
  }

  @Test func everyNodeKnowsItsPlace() throws {
    let root = try #require(try read("# c\na: ä  # c\nb:\n  - x\n  - {c: 'd'}\n"))
    let entries = entries(root)
    #expect(root.position == SourcePosition(file: "f", line: 2, column: 1))
    #expect(entries.map(\.key) == ["a", "b"])
    #expect(entries.map(\.position.line) == [2, 3])
    #expect(entries[0].value.position == SourcePosition(file: "f", line: 2, column: 4))
    guard case .sequence(let items) = entries[1].value.content else {
      Issue.record("b is no list")
      return
    }
    #expect(
      items.map(\.position) == [
        SourcePosition(file: "f", line: 4, column: 5), SourcePosition(file: "f", line: 5, column: 5),
      ])
    #expect(self.entries(items[1])[0].value.position == SourcePosition(file: "f", line: 5, column: 9))
  }

  @Test(arguments: ["yes", "010", "0x10", "1_000", "1e3", "22:22", "on", "2001-01-01", "=", ".inf"])
  func scalarsStayText(_ text: String) throws {
    #expect(entries(try read("k: \(text)")).first?.value.content == .scalar(text, isPlain: true))
    #expect(try settings("run_id: \(text)").runID == text)
  }

  @Test(arguments: [
    ("", true), ("~", true), ("null", true), ("NULL", true), ("nULL", false), ("''", false), ("\"~\"", false),
    ("'null'", false),
  ])
  func nothingIsOnlyPlain(_ text: String, _ isNull: Bool) throws {
    #expect(entries(try read("k: \(text)")).first?.value.isNull == isNull)
  }

  @Test(arguments: [
    "a: b\r\nc: d\r\n", "\u{FEFF}a: b\nc: d\n", "a: b\nc: d", "---\na: b\nc: d\n...\n", "{a: b, c: d}",
  ])
  func formsOfTheSameMap(_ text: String) throws {
    let entries = entries(try read(text))
    #expect(entries.map(\.key) == ["a", "c"])
    #expect(entries.map(\.value.content) == [.scalar("b", isPlain: true), .scalar("d", isPlain: true)])
    #expect(entries[0].position.column == (text.hasPrefix("{") ? 2 : 1))
  }

  @Test func linesAreCountedWithAllLineEnds() {
    #expect(report("run_id: x\r\ntimeout: y\r\n").first?.hasPrefix("supervisor.yml:2:10: error") == true)
    #expect(report("run_id: x\rtimeout: y\r").first?.hasPrefix("supervisor.yml:2:10: error") == true)
    #expect(report("\u{FEFF}timeout: y\n").first?.hasPrefix("supervisor.yml:1:10: error") == true)
  }

  static let broken: [(String, [UInt8], String)] = [
    (
      "NUL", Array("a: b\nc: \0d\n".utf8),
      "f:2:4: error: there is a NUL byte here; is this a text file at all?"
    ),
    (
      "control character", Array("a: b\n\u{1B}[0m".utf8),
      "f:2:1: error: there is a control character (0x1b) here; remove it, or write it as an escape in double quotes"
    ),
    (
      "control character of two bytes", Array("a: \u{81}\n".utf8),
      "f:1:4: error: a control character is not allowed here; remove it, or write it as an escape in double quotes"
    ),
    (
      "invalid UTF-8", Array("a: ü\nb: ".utf8) + [0xFC, 0x0A],
      "f:2:4: error: the text is not valid UTF-8; save the file as UTF-8"
    ),
    (
      "half a character", Array("a: ".utf8) + [0xC3],
      "f:1:4: error: the text is not valid UTF-8; save the file as UTF-8"
    ),
    ("surrogate", [0xED, 0xA0, 0x80], "f:1:1: error: the text is not valid UTF-8; save the file as UTF-8"),
    ("overlong", [0xC0, 0x80], "f:1:1: error: the text is not valid UTF-8; save the file as UTF-8"),
    ("UTF-16, little endian", [0xFF, 0xFE, 0x61, 0], "f:1:1: error: the file is UTF-16; save it as UTF-8"),
    ("UTF-16, big endian", [0xFE, 0xFF, 0, 0x61], "f:1:1: error: the file is UTF-16; save it as UTF-8"),
    (
      "invalid behind a mark", [0xEF, 0xBB, 0xBF, 0x61, 0xFF],
      "f:1:2: error: the text is not valid UTF-8; save the file as UTF-8"
    ),
  ]

  @Test(arguments: broken) func brokenBytesAreExplained(_ name: String, _ bytes: [UInt8], _ expected: String)
  {
    #expect(problem(bytes) == expected)
  }

  @Test func theSizeIsBounded() {
    let fits = Array("# \(String(repeating: "x", count: YAMLReader.maximumSize - 2))".utf8)
    #expect(fits.count == YAMLReader.maximumSize)
    #expect(problem(fits) == nil)
    #expect(problem(fits + [0x78]) == "f:1:1: error: the file is larger than 1 MiB; is this the right file?")
  }

  @Test(arguments: [("[", "]"), ("{a: ", "}")]) func nestingIsBounded(_ open: String, _ close: String) {
    func nested(_ depth: Int) -> [UInt8] {
      Array((String(repeating: open, count: depth) + String(repeating: close, count: depth)).utf8)
    }
    #expect(problem(nested(YAMLReader.maximumDepth)) == nil)
    #expect(problem(nested(YAMLReader.maximumDepth + 1))?.contains("more than 64 deep") == true)
    #expect(problem(nested(50_000))?.contains("more than 64 deep") == true)
    #expect(
      problem(Array(String(repeating: open, count: 200_000).utf8))?.contains("more than 64 deep") == true)
    #expect(
      problem(Array(String(repeating: "- ", count: 200_000).utf8))?.contains("more than 64 deep") == true)
  }

  @Test func nestingThroughAliasesIsBounded() {
    var text = "a0: &a0 [x]\n"
    for level in 1...70 { text += "a\(level): &a\(level) [*a\(level - 1)]\n" }
    let message = problem(Array(text.utf8))
    #expect(message?.contains("through this alias") == true)
    // The map at the top is one level, each list another: a62 is the last that fits.
    #expect(message?.hasPrefix("f:64:") == true, "\(message ?? "")")
  }

  @Test func anAliasBombIsRefused() {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...9 {
      text +=
        "a\(level): &a\(level) [\(Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", "))]\n"
    }
    #expect(problem(Array(text.utf8))?.contains("more than 100000 values, aliases written out") == true)
  }

  @Test func manyValuesAreRefused() {
    #expect(problem(Array("[\(String(repeating: "x,", count: 99_999))]".utf8)) == nil)
    #expect(
      problem(Array("[\(String(repeating: "x,", count: 100_000))]".utf8))?.contains("more than 100000")
        == true)
  }

  @Test func aliasesStandForTheirAnchors() throws {
    let settings = try settings(
      """
      app: {environment: &common {A: "1", B: &b two}, cwd: &here /srv}
      services:
        x: {command: &run [a, b], environment: *common, cwd: *here}
        y: {command: *run, environment: {C: *b}}
      """)
    #expect(settings.services.map(\.command) == [.arguments(["a", "b"]), .arguments(["a", "b"])])
    #expect(settings.services[0].environment == settings.app.environment)
    #expect(settings.services[0].workingDirectory == "/srv")
    #expect(settings.services[1].environment == [EnvironmentVariable(name: "C", value: "two")])
  }

  @Test func aLaterAnchorOfTheSameNameWins() throws {
    let entries = entries(try read("a: &x 1\nb: *x\nc: &x 2\nd: *x\n"))
    #expect(entries.map(\.value.content) == ["1", "1", "2", "2"].map { .scalar($0, isPlain: true) })
  }

  @Test func blocksKeepTheirLines() throws {
    let settings = try settings("app:\n  command: |\n    set -e\n    echo ${HOME}\n")
    #expect(settings.app.command == .shell("set -e\necho ${HOME}\n"))
  }

  @Test func reportsAreBounded() {
    let text = (0..<5000).map { "unknown\($0): 1\n" }.joined()
    let report = report(text)
    #expect(report.count == 101)
    #expect(report.last == "error: there are more like these; only the first 100 are shown")
  }

  @Test func aFloodOfWarningsDoesNotHideTheError() {
    let text = "environment:\n" + (0..<3000).map { "  A\($0): ${X}\n" }.joined() + "timeout: x\n"
    #expect(
      report(text) == [
        "supervisor.yml:3002:10: error: timeout: \"x\" is not a duration; "
          + "write for instance 90s, 1h30m, 250ms, or whole seconds"
      ])
  }

  @Test func warningsDoNotCutTheSettingsShort() throws {
    let text = "environment:\n" + (0..<3000).map { "  A\($0): ${X}\n" }.joined() + "timeout: 7\n"
    let settings = try settings(text)
    #expect(settings.environment.count == 3000)
    #expect(settings.timeout == .seconds(7))
  }

  @Test func untrustedTextCannotDisturbATerminal() {
    let report = report("\"a\\e[2J\\u202Eb\": 1\ntimeout: \"\\e]0;x\\a\"\n").joined()
    #expect(report.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x202E && $0.value != 0x7F })
    #expect(report.contains("\\u{1b}"))
  }
}
