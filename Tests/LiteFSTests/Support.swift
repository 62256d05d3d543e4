import LiteFS
import Settings
import Testing

/// The LiteFS settings of a text that must be fine; `litefs:` stands before it.
func litefs(_ text: String, environment: [String: String] = [:]) throws -> LiteFSSettings {
  let outcome = SettingsLoader.load(
    bytes: Array("run_id: v1\nlitefs: \(text)\n".utf8), file: "supervisor.yml",
    environment: { environment[$0] },
    files: .none)
  switch outcome {
  case .settings(let settings, _): return try #require(settings.litefs)
  case .failure(let problems):
    Issue.record("\(problems.map(\.description).joined(separator: "\n"))")
    throw Refusal(problems: problems)
  }
}

struct Refusal: Error { var problems: [Diagnostic] }

/// The configuration that a text makes on a node.
func configuration(
  _ text: String, node: String = "node-1", project: String = "shop", runsOthers: Bool = false,
  joinsAsCandidate: Bool = true
) throws -> LiteFSConfiguration {
  let settings = try litefs(text)
  return try #require(
    LiteFSConfiguration(
      settings, node: LiteFSConfiguration.Node(hostName: node, project: project, runsOthers: runsOthers),
      joinsAsCandidate: joinsAsCandidate))
}

extension LiteFSConfiguration {
  var text: String { String(decoding: bytes, as: UTF8.self) }

  /// What a YAML reader finds at a path.
  func value(_ path: String...) throws -> YAMLNode.Content? {
    var node = try YAMLReader.read(bytes, file: "litefs.yml")
    for name in path {
      guard case .mapping(let entries)? = node?.content else { return nil }
      node = entries.first { $0.key == name }?.value
    }
    return node?.content
  }
}

/// Text with a part in it.
func has(_ text: String, _ part: String) -> Bool { text.firstRange(of: part) != nil }
