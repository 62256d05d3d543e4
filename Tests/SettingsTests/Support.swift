import Testing

@testable import Settings

/// Loads a text as `supervisor.yml`.
func load(
  _ text: String, overrides: [String: String] = [:], environment: [String: String] = [:]
) -> SettingsOutcome {
  SettingsLoader.load(
    bytes: Array(text.utf8), file: "supervisor.yml", overrides: overrides, environment: { environment[$0] },
    environmentNames: Array(environment.keys))
}

/// The settings of a text that must be fine.
func settings(
  _ text: String, overrides: [String: String] = [:], environment: [String: String] = [:],
  sourceLocation: SourceLocation = #_sourceLocation
) throws -> EffectiveSettings {
  switch load(text, overrides: overrides, environment: environment) {
  case .settings(let settings, notes: _):
    return settings
  case .failure(let problems):
    Issue.record("\(problems.map(\.description).joined(separator: "\n"))", sourceLocation: sourceLocation)
    throw LoadFailure(problems: problems)
  }
}

struct LoadFailure: Error { var problems: [Diagnostic] }

/// The lines of the report: errors, or else notes.
func report(
  _ text: String, overrides: [String: String] = [:], environment: [String: String] = [:]
) -> [String] {
  switch load(text, overrides: overrides, environment: environment) {
  case .settings(_, let notes): notes.map(\.description)
  case .failure(let problems): problems.map(\.description)
  }
}

/// A file that must be refused, and the whole report on it, each line without the file's name.
struct BrokenFile: Sendable, CustomTestStringConvertible {
  var name: String
  var text: String
  var expected: [String]

  init(_ name: String, _ text: String, _ expected: [String]) {
    self.name = name
    self.text = text
    self.expected = expected
  }

  var testDescription: String { name }
}

extension IPAddress {
  /// ::1
  static let loopback6 = IPAddress.ipv6([UInt8](repeating: 0, count: 15) + [1])
}
