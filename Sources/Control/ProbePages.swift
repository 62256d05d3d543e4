import Journal

/// The pages that probes ask: the status code is the answer, the text says why.
enum ProbePages {
  /// Whoever reads this knows that the loop turns.
  static let live = HTTPResponse.text(200, "ok")

  /// 200 once the phases are done and the app has been spawned.
  static func startup(_ snapshot: Snapshot, isVerbose: Bool) -> HTTPResponse {
    let failures = snapshot.startFailures
    guard isVerbose else { return verdict("started", "not started", failures) }
    let passed =
      snapshot.phases
      .filter { phase in !failures.contains { $0.name == phase.name } }
      .map { Snapshot.Check(name: $0.name, isOK: true, detail: "the phase is \($0.state.rawValue)") }
    return list("started", "not started", passed + failures)
  }

  /// 200 when this node may get traffic.
  static func ready(_ snapshot: Snapshot, isVerbose: Bool) -> HTTPResponse {
    let failures = snapshot.failures
    guard isVerbose else { return verdict("ready", "not ready", failures) }
    let unlisted = failures.filter { !snapshot.checks.contains($0) }
    return list("ready", "not ready", unlisted + snapshot.checks)
  }

  /// 200 when this node has that very role.
  static func role(_ wanted: Snapshot.Role, _ snapshot: Snapshot) -> HTTPResponse {
    .text(snapshot.role == wanted ? 200 : 503, "role: \(snapshot.role.rawValue)")
  }

  private static func verdict(_ good: String, _ bad: String, _ failures: [Snapshot.Check]) -> HTTPResponse {
    if failures.isEmpty { return .text(200, good) }
    let reasons = failures.map { check in
      let detail = check.detail.isEmpty ? "fails" : check.detail
      return "\(oneLine(check.name)): \(oneLine(detail))"
    }
    return .text(503, ([bad] + reasons).joined(separator: "\n"))
  }

  private static func list(_ good: String, _ bad: String, _ checks: [Snapshot.Check]) -> HTTPResponse {
    let isGood = checks.allSatisfy(\.isOK)
    let lines = checks.map { check in
      "\(check.isOK ? "[ok]  " : "[fail]") \(oneLine(check.name))"
        + (check.detail.isEmpty ? "" : ": \(oneLine(check.detail))")
    }
    return .text(isGood ? 200 : 503, (lines + [isGood ? good : bad]).joined(separator: "\n"))
  }
}

/// The text without anything that would begin a new line or steer a terminal: what a process says about itself must
/// not be able to forge a line of ours.
func oneLine(_ text: String) -> String {
  var line = ""
  for scalar in text.unicodeScalars {
    let isControl = scalar.value < 0x20 || (0x7f..<0xa0).contains(scalar.value)
    line.unicodeScalars.append(isControl || scalar == "\u{2028}" || scalar == "\u{2029}" ? " " : scalar)
  }
  return line
}
