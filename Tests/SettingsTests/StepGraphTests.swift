import Testing

@testable import Settings

/// `needs`: names that nothing has, and circles. Seed rows DG-03, DG-04 and DG-05.
@Suite struct StepGraphTests {
  static let broken = [
    BrokenFile(
      "DG-03: a step that needs itself",
      "infrastructure:\n  steps:\n    - {name: a, run: [x], needs: [a]}\n",
      [
        "3:35: error: infrastructure.steps[0].needs[0]: the step \"a\" needs itself; remove it from its needs"
      ]),
    BrokenFile(
      "DG-04: two steps of one name",
      "infrastructure:\n  steps:\n    - {name: a, run: [x]}\n    - {name: a, run: [y]}\n    - {name: b, run: [z], needs: [a]}\n",
      [
        "4:14: error: infrastructure.steps[1].name: the name \"a\" is taken by the step at supervisor.yml:3:14; give each step of a phase its own name"
      ]),
    BrokenFile(
      "DG-05: a step that nobody knows",
      "infrastructure:\n  steps:\n    - {name: migrate, run: [x]}\n    - {name: warm, run: [y], needs: [migrat]}\n",
      [
        "4:38: error: infrastructure.steps[1].needs[0]: no step of this phase is called \"migrat\"; did you mean migrate?"
      ]),
    BrokenFile(
      "DG-05: a circle of two",
      "infrastructure:\n  steps:\n    - {name: a, run: [x], needs: [b]}\n    - {name: b, run: [y], needs: [a]}\n",
      [
        "3:35: error: infrastructure.steps[0].needs[0]: the steps need each other in a circle: a → b → a; remove one of these needs"
      ]),
    BrokenFile(
      "a circle that others lead to",
      "node:\n  steps:\n    - {name: start, run: [x], needs: [c]}\n    - {name: b, run: [y], needs: [d]}\n    - {name: c, run: [y], needs: [b]}\n    - {name: d, run: [y], needs: [free, c]}\n    - {name: free, run: [z]}\n",
      [
        "4:35: error: node.steps[1].needs[0]: the steps need each other in a circle: b → d → c → b; remove one of these needs"
      ]),
    BrokenFile(
      "two circles",
      "node:\n  steps:\n    - {name: a, run: [x], needs: [b, c]}\n    - {name: b, run: [y], needs: [a]}\n    - {name: c, run: [y], needs: [a]}\n",
      [
        "3:35: error: node.steps[0].needs[0]: the steps need each other in a circle: a → b → a; remove one of these needs",
        "3:38: error: node.steps[0].needs[1]: the steps need each other in a circle: a → c → a; remove one of these needs",
      ]),
    BrokenFile(
      "steps of the other phase",
      "infrastructure:\n  steps:\n    - {name: migrate, run: [x], needs: [static]}\nnode:\n  steps:\n    - {name: static, run: [y], needs: [migrate, zebra]}\n",
      [
        "3:41: error: infrastructure.steps[0].needs[0]: no step of this phase is called \"static\"; that is a node step, and those run after all infrastructure steps",
        "6:40: error: node.steps[0].needs[0]: no step of this phase is called \"migrate\"; remove it: that is an infrastructure step, and those are done before any node step",
        "6:49: error: node.steps[0].needs[1]: no step of this phase is called \"zebra\"; the steps are static",
      ]),
    BrokenFile(
      "twice the same need",
      "node:\n  steps:\n    - {name: a, run: [x]}\n    - {name: b, run: [y], needs: [a, a]}\n",
      [
        "4:38: error: node.steps[1].needs[1]: \"a\" stands here twice; remove one of the two"
      ]),
    BrokenFile(
      "too often",
      "node:\n  steps:\n    - {name: a, run: [x], check: [y], recheck: 10ms, every: 999ms}\n",
      [
        "3:48: error: node.steps[0].recheck: more often than once a second is not possible; use '1s' or more",
        "3:61: error: node.steps[0].every: more often than once a second is not possible; use '1s' or more",
      ]),
    BrokenFile(
      "keys that do nothing alone",
      "node:\n  steps:\n    - {name: a, run: [x], recheck: on_start, affects_ready: true}\n    - {name: b, run: [x], affects_ready: true, rollback_on_stop: true}\n    - {name: c, run: [x], wait_for: \"tcp://db:5432\"}\n",
      [
        "3:36: error: node.steps[0].recheck: the step has no check to run again; add 'check: [program, argument]'",
        "3:61: error: node.steps[0].affects_ready: nothing looks at the step while the app runs; add 'recheck: 60s'",
        "4:42: error: node.steps[1].affects_ready: nothing looks at the step while the app runs; add 'recheck: 60s'",
        "4:66: error: node.steps[1].rollback_on_stop: the step has no rollback; add 'rollback: [program, argument]'",
        "5:37: error: node.steps[2].wait_for: a step either runs a command or waits, not both; make the wait a step of its own, and let this one need it",
      ]),
  ]

  @Test(arguments: broken) func isExplained(_ file: BrokenFile) {
    #expect(report(file.text) == file.expected.map { "supervisor.yml:\($0)" })
  }

  @Test func everythingAStepCanSay() throws {
    let settings = try settings(
      """
      infrastructure:
        parallelism: 4
        steps:
          - {name: database, wait_for: {target: "tcp://db:5432", timeout: 30s}}
          - name: migrate
            run: [migrate]
            check: [migrate, --check]
            needs: [database]
            rollback: [migrate, zero]
            rollback_on_stop: true
            rollback_failed: true
            recheck: 60s
            affects_ready: true
          - {name: warm, run: warm, needs: [migrate, database], check: [warm, --check], recheck: on_start, every: 12h}
      """)
    #expect(settings.infrastructure.parallelism == 4)
    let steps = settings.infrastructure.steps
    #expect(steps.map(\.needs) == [[], ["database"], ["migrate", "database"]])
    #expect(steps.map(\.recheck) == [.never, .every(.seconds(60)), .onStart])
    #expect(steps.map(\.every) == [nil, nil, .seconds(12 * 3600)])
    #expect(steps.map(\.affectsReady) == [false, true, false])
    #expect(steps[0].run == nil)
    #expect(
      steps[0].wait
        == WaitSettings(
          target: .tcp(host: "db", port: 5432), timeout: .seconds(30), text: "tcp://db:5432"))
    #expect(steps[1].rollback == .arguments(["migrate", "zero"]))
    #expect(steps[1].rollbackOnStop)
    #expect(steps[1].rollbackFailed)
    #expect(!steps[2].rollbackOnStop)
  }

  /// Neither calls that nest too deep, nor a search that takes for ever.
  @Test func aLongChainIsNoProblem() {
    let count = 5000
    let chain = (0..<count).map { "{name: s\($0), run: [x], needs: [s\(($0 + 1) % count)]}" }
    let report = report("node: {steps: [\(chain.joined(separator: ", "))]}")
    #expect(report.count == 1)
    #expect(report.first?.hasSuffix("s18 → s19 → … → s0; remove one of these needs") == true)
  }
}
