import Settings
import Testing

struct SettingsTextTests {
  @Test func `a target keeps its text, without a timeout of its own`() throws {
    let wait = try SettingsText.wait("tcp://db:5432")
    #expect(wait.target == .tcp(host: "db", port: 5432))
    #expect(wait.text == "tcp://db:5432" && wait.timeout == nil)
  }

  @Test(arguments: [
    ("", "a target is empty: write for instance tcp://db:5432"),
    ("tcp://db", "\"tcp://db\" has no port: write for instance tcp://db:5432"),
    ("/run/ready", "\"/run/ready\" cannot be waited for: write file:/run/ready"),
    ("redis", "\"redis\" is what a settings file says it is, and none is read here: write its URL"),
    ("postgres", "\"postgres\" is what a settings file says it is, and none is read here: write its URL"),
  ])
  func `a target that is wrong says what to write`(text: String, message: String) {
    let problem = #expect(throws: SettingsText.Problem.self) { try SettingsText.wait(text) }
    #expect(problem?.description.hasPrefix(message) == true, "\(problem?.description ?? "")")
  }

  @Test(
    arguments: [("90s", Duration.seconds(90)), ("2", .seconds(2)), ("none", nil)] as [(String, Duration?)])
  func `a timeout is a duration or none`(text: String, duration: Duration?) throws {
    #expect(try SettingsText.timeout(text) == duration)
  }

  @Test(arguments: ["0", "0s", "soon", "-1s", ""])
  func `a timeout that is none is refused`(text: String) {
    #expect(throws: SettingsText.Problem.self) { try SettingsText.timeout(text) }
  }
}
