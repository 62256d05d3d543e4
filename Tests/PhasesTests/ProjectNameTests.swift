import Phases
import Settings
import Testing

struct ProjectNameTests {
  private func settings(_ text: String) throws -> EffectiveSettings {
    let outcome = SettingsLoader.load(bytes: Array(text.utf8), file: nil, environment: { _ in nil })
    guard case .settings(let settings, _) = outcome else { throw Refused(text: "\(outcome)") }
    return settings
  }

  private struct Refused: Error { var text: String }

  /// `printf /srv/shop | md5sum` begins with the digits.
  @Test(
    arguments: [
      ("coordination: {project: shop}\nframework: {settings_module: site.settings}", "/srv/shop", "shop"),
      ("framework: {settings_module: site.settings.production}", "/srv/shop", "site"),
      ("framework: {settings_module: settings}", "/srv/shop", "settings"),
      ("framework: {name: none, settings_module: site.settings}", "/srv/shop", "shop-35fcd764"),
      ("{}", "/srv/shop", "shop-35fcd764"), ("app: {command: [/opt/app, x]}", "/srv/shop", "shop-35fcd764"),
      ("{}", "/", "root-6666cd76"),
    ])
  func `a project has the name that was given, or one that all its nodes make alike`(
    text: String, directory: String, expected: String
  ) throws {
    let name = ProjectName(try settings(text), workingDirectory: Array(directory.utf8))
    #expect(name.value == expected)
    #expect((name.derivation == nil) == (expected == "shop"))
  }

  @Test(
    arguments: [
      ("{}", nil), ("coordination: {lock: postgres, project: shop}", nil),
      ("coordination: {lock: postgres}", "'shop-35fcd764', after the working directory"),
      (
        "{coordination: {readiness: redis, redis: {url: \"redis://c\"}}, framework: {settings_module: site.s}}",
        "'site', after the settings module"
      ),
    ] as [(String, String?)])
  func `a derived name is said where others could meet it`(text: String, expected: String?) throws {
    let settings = try settings(text)
    let name = ProjectName(settings, workingDirectory: Array("/srv/shop".utf8))
    let warning = name.warning(settings.coordination)
    #expect((warning == nil) == (expected == nil))
    if let expected { #expect(warning?.contains(expected) == true, "\(warning ?? "")") }
  }
}
