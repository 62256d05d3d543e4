import Phases
import Testing

struct RunIDTests {
  @Test func `a given run ID is taken as it is`() {
    let runID = RunID(given: "v1.2", workingDirectory: Array("/app".utf8))
    #expect(runID.value == "v1.2")
    #expect(!runID.isDevelopment)
  }

  // The value that django-autoinit makes for /app.
  @Test(arguments: [nil, ""])
  func `none, or an empty one, is made from the working directory`(given: String?) {
    let runID = RunID(given: given, workingDirectory: Array("/app".utf8))
    #expect(runID.value == "dev-8c069df5")
    #expect(runID.isDevelopment)
  }

  @Test func `the working directory counts byte for byte`() {
    #expect(
      RunID(given: nil, workingDirectory: [0x2f, 0xff]).value
        != RunID(given: nil, workingDirectory: [0x2f, 0xfe]).value)
  }
}
