import Phases
import Testing

@Suite struct MarkerTests {
  @Test(arguments: [
    [], ["static"], ["collect static", "b"], ["a\nfailed b", "\r\n", ""], ["-", "%0A", "%", "\u{0}"],
    ["e\u{301}", "\u{301}", "日本語"],
  ]) func itSurvivesItsText(names: [String]) {
    let marker = Marker(failedSteps: names)
    let bytes = marker.encoded()
    #expect(Marker(decoding: bytes).failedSteps.map { Array($0.utf8) } == names.map { Array($0.utf8) })
    #expect(bytes.filter { $0 == UInt8(ascii: "\n") }.count == names.count)
  }

  /// django-autoinit writes others; only their being there means something.
  @Test(
    arguments: [
      ("2024-01-01 done\nfailed x\n", ["x"]), ("", []), ("failed\n", []), ("failed a b\n", ["a"]),
      ("failed %zz\nfailed ok", ["ok"]), ("FAILED x\n failed x\n", []),
    ] as [(String, [String])]) func linesOfOthersMeanNothing(text: String, names: [String])
  {
    #expect(Marker(decoding: Array(text.utf8)).failedSteps == names)
  }

  @Test func whatIsLeftOfAStepSurvivesToo() {
    let marker = Marker(failedSteps: ["hooks", "x"], unfinished: ["hooks": ["a.node", "b c\nd"]])
    #expect(Marker(decoding: marker.encoded()) == marker)
  }

  @Test func whenStepsWereDoneSurvivesToo() {
    let marker = Marker(failedSteps: ["x"], doneAt: ["a b\nc": 5, "é": .max])
    #expect(Marker(decoding: marker.encoded()) == marker)
    #expect(Marker(decoding: Array("done a\ndone b x\ndone c -1\ndone d 1 2\n".utf8)).doneAt.isEmpty)
  }

  @Test func bytesThatAreNoTextMeanNothing() {
    #expect(Marker(decoding: [0xff, 0x0a, 0x66, 0xfe]).failedSteps.isEmpty)
  }
}
