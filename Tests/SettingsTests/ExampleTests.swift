import Testing

@testable import Settings

@Suite struct ExampleTests {
  /// The repository, seen from this file.
  private static let root = #filePath.split(separator: "/").dropLast(3).map { "/\($0)" }.joined()

  @Test(arguments: [
    "Config/supervisor.yml", "Config/examples/services.yml", "Config/examples/steps.yml",
    "Config/examples/graph.yml",
  ])
  func examplesAreValid(_ path: String) throws {
    let outcome = SettingsLoader.load(
      path: "\(Self.root)/\(path)", environment: { $0 == "RELEASE_ID" ? "v7" : nil })
    guard case .settings(let settings, let notes) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(settings.runID == "v7")
    #expect(settings.app.command != nil)
    #expect(notes.isEmpty)
  }
}
