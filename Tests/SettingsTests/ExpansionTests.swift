import Testing

@testable import Settings

@Suite struct ExpansionTests {
  static let variables = ["A": "1", "B": "two words", "EMPTY": "", "N_1": "n", "REF": "${A}"]

  static let expansions: [(String, String)] = [
    ("", ""), ("plain", "plain"), ("${A}", "1"), ("x${A}y${B}z", "x1ytwo wordsz"), ("$A", "$A"), ("$", "$"),
    ("a$", "a$"), ("$$", "$"), ("$$$$", "$$"), ("$${A}", "${A}"), ("$$$", "$$"), ("$${", "${"),
    ("100$ ${A}", "100$ 1"),
    ("${N_1}", "n"), ("${EMPTY}", ""), ("${EMPTY:-d}", "d"), ("${NOPE:-d}", "d"), ("${NOPE:-}", ""),
    ("${A:-d}", "1"), ("${A:?m}", "1"), ("${NOPE:-${A}}", "1"),
    ("${NOPE:-a${NOPE:-b${B}}c}d", "abtwo wordscd"),
    ("${NOPE:-$${x}}", "${x}"), ("${REF}", "${A}"), ("${NOPE:-a:-b}", "a:-b"), ("ä${A}ö", "ä1ö"),
    ("}{", "}{"),
  ]

  @Test(arguments: expansions) func scalarsAreExpanded(_ text: String, _ expected: String) throws {
    var expansion = Expansion { Self.variables[$0] }
    #expect(try expansion.expand(text) == expected)
  }

  @Test(arguments: [
    "${", "${A", "${}", "${1}", "${A-x}", "${A+x}", "${A B}", "${A:}", "${A:+x}", "${-}", "${A:-${B}", "${ä}",
  ])
  func brokenReferencesAreErrors(_ text: String) {
    var expansion = Expansion { Self.variables[$0] }
    #expect(throws: ValueProblem.self) { try expansion.expand(text) }
  }

  @Test(arguments: [("${NOPE:?say it}", "not set", "say it"), ("${EMPTY:?}", "empty", "set it")])
  func requiredVariables(_ text: String, _ state: String, _ suggestion: String) {
    var expansion = Expansion { Self.variables[$0] }
    let name = text.dropFirst(2).prefix { $0 != ":" }
    #expect(throws: ValueProblem("the environment variable \(name) is \(state)", suggestion)) {
      try expansion.expand(text)
    }
  }

  @Test func unsetVariablesAreNamedOnce() throws {
    var expansion = Expansion { _ in nil }
    #expect(try expansion.expand("${X}${Y}${X}${Z:-}") == "")
    #expect(expansion.unset == ["X", "Y"])
    #expect(try expansion.expand("none") == "none")
    #expect(expansion.unset.isEmpty)
  }

  @Test func theSumOfAllExpansionsIsBounded() {
    let large = String(repeating: "x", count: 1 << 20)
    let text = "app: {command: [\(Array(repeating: "\"${L}\"", count: 5).joined(separator: ", "))]}"
    let report = report(text, environment: ["L": large])
    #expect(report.count == 1)
    #expect(report.first?.contains("4 MiB") == true)
  }

  @Test func nestedDefaultsAreBounded() {
    let text = String(repeating: "${A:-", count: 20) + String(repeating: "}", count: 20)
    var expansion = Expansion { _ in nil }
    #expect(throws: ValueProblem.self) { try expansion.expand(text) }
  }

  @Test func listsAreExpandedAndStringsAreNot() throws {
    let settings = try settings(
      """
      app: {command: [echo, "${A}", "$$A", "$A"]}
      services:
        s: {command: "echo ${A} $$ $A", ready: {exec: "test ${A}"}, cwd: "/${A}"}
      environment: {X: "${A}"}
      node: {steps: [{name: "n${A}", run: "x ${A}", check: [y, "${B}"], environment: {Y: "${B}"}}]}
      """, environment: Self.variables)
    #expect(settings.app.command == .arguments(["echo", "1", "$A", "$A"]))
    #expect(settings.services[0].command == .shell("echo ${A} $$ $A"))
    #expect(settings.services[0].healthCheck?.probe == .exec(.shell("test ${A}")))
    #expect(settings.services[0].workingDirectory == "/1")
    #expect(settings.environment == [EnvironmentVariable(name: "X", value: "1")])
    #expect(settings.node.steps[0].name == "n1")
    #expect(settings.node.steps[0].run == .shell("x ${A}"))
    #expect(settings.node.steps[0].check == .arguments(["y", "two words"]))
    #expect(settings.node.steps[0].environment == [EnvironmentVariable(name: "Y", value: "two words")])
  }

  @Test func anUnsetVariableIsAWarning() {
    #expect(
      report("app:\n  cwd: /a${NOPE}\n") == [
        "supervisor.yml:2:8: warning: app.cwd: the environment variable NOPE is not set, so it counts as empty; "
          + "set it, or write ${NOPE:-default}"
      ])
  }

  @Test func typedKeysAreReadAfterExpansion() throws {
    let settings = try settings(
      "timeout: ${T}\nnode: {fatal_on_error: \"${F}\"}\nhealth: {listen: \":${P}\"}\n",
      environment: ["T": "90s", "F": "true", "P": "81"])
    #expect(settings.timeout == .seconds(90))
    #expect(settings.node.fatalOnError)
    #expect(settings.health.listen.port == 81)
  }

  /// A value that comes from a variable is text, whatever it looks like.
  @Test func expansionDoesNotMakeYAML() throws {
    let settings = try settings(
      "app: {command: [echo, \"${A}\"], cwd: \"${N}\"}", environment: ["A": "[a, b]: {c}", "N": "null"])
    #expect(settings.app.command == .arguments(["echo", "[a, b]: {c}"]))
    #expect(settings.app.workingDirectory == "null")
  }
}
