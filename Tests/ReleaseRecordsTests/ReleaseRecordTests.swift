import ReleaseRecords
import Testing

struct ReleaseRecordTests {
  /// Names that would break a format of fields and lines, if it were careless.
  static let hostileNames = [
    "migrate", "", "-", "--", "%", "%2D", "%zz", "a b", " ", "a\nend\n", "\r\n", "\u{0}", "\t", "end",
    "run_id x", "e\u{301}tape", "\u{301}", "\u{FE0F}", "\u{200D}x", "日本語", "🇩🇪", "x\u{7F}y", "\u{85}", "~",
    "/etc",
  ]

  static func full(_ name: String) -> ReleaseRecord {
    var record = ReleaseRecord(runID: name)
    record.claim = ReleaseRecord.Claim(
      owner: name, attempt: 3, startedAt: 1, heartbeat: .max,
      running: [
        ReleaseRecord.Running(step: name, startedAt: 4, deadline: .max),
        ReleaseRecord.Running(step: "c", startedAt: 5),
      ])
    record.entries = [
      ReleaseRecord.Entry(
        step: name, hash: "00ff", doneAt: 7,
        outputs: [StepOutput(key: name, value: name), StepOutput(key: "K", value: "")]),
      ReleaseRecord.Entry(step: "b", hash: "1", doneAt: 8),
    ]
    record.parts = [
      ReleaseRecord.Part(step: name, hash: "00ff", name: name),
      ReleaseRecord.Part(step: "b", hash: "2", name: "x"),
    ]
    record.failure = ReleaseRecord.Failure(
      count: 4, attempt: 2, step: name, reason: name, failedAt: 9)
    record.completedAt = 10
    record.declaredBy = name
    return record
  }

  @Test(arguments: hostileNames)
  func `what is written is what is read, whatever the names`(name: String) throws {
    let record = Self.full(name)
    let read = try ReleaseRecord.decode(record.encoded(), runID: name)
    #expect(read == record)
    // Equal strings may differ in their bytes; ours may not.
    #expect(read.claim?.running.first.map { Array($0.step.utf8) } == Array(name.utf8))
    #expect(read.entries.first?.outputs.first.map { Array($0.value.utf8) } == Array(name.utf8))
    #expect(read.parts.first.map { Array($0.name.utf8) } == Array(name.utf8))
    #expect(read.declaredBy.map { Array($0.utf8) } == Array(name.utf8))
    #expect(read.failure.map { Array($0.reason.utf8) } == Array(name.utf8))
  }

  @Test func `an empty record is a record`() throws {
    let record = ReleaseRecord(runID: "r1")
    #expect(try ReleaseRecord.decode(record.encoded(), runID: "r1") == record)
    #expect(String(decoding: record.encoded(), as: UTF8.self) == "supervisor-release 1\nrun_id r1\nend\n")
  }

  @Test(arguments: ["r1", "a b", "日本語", "end"])
  func `a record cut short at any byte is damaged, never a shorter record`(name: String) {
    let bytes = Self.full(name).encoded()
    for length in 0..<bytes.count {
      #expect(throws: ReleaseRecord.Damage.self, "cut at \(length)") {
        try ReleaseRecord.decode(Array(bytes.prefix(length)), runID: name)
      }
    }
  }

  @Test func `a record with bytes behind its end is damaged`() {
    let bytes = Self.full("r1").encoded()
    for tail in ["x", "\n", "done a b 1\n", "end\nx"] {
      #expect(throws: ReleaseRecord.Damage.self) {
        try ReleaseRecord.decode(bytes + Array(tail.utf8), runID: "r1")
      }
    }
  }

  @Test(
    arguments: [
      ("supervisor-release 2\nanything\n", ReleaseRecord.Damage.future(version: "2")),
      ("supervisor-release 10\nrun_id r1\nend\n", .future(version: "10")),
      ("supervisor-release 1\nrun_id r2\nend\n", .foreign(runID: "r2")),
      ("supervisor-release 1\nrun_id r%202\nend\n", .foreign(runID: "r 2")),
      ("", .malformed(line: 1)),
      ("\u{7F}ELF", .malformed(line: 1)),
      ("supervisor-release 1\nrun_id r1\nclaim a b 1 1\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\nclaim a 1 1\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\nclaim a 1 1 1 b\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\nrunning a 1 -\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\nclaim a 1 1 1\nrunning a 1 soon\nend\n", .malformed(line: 4)),
      ("supervisor-release 1\nrun_id r1\nclaim a 1 1 1\nrunning a - 1\nend\n", .malformed(line: 4)),
      ("supervisor-release 1\nrun_id r1\noutput K v\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\ndone a h 1\noutput K\nend\n", .malformed(line: 4)),
      ("supervisor-release 1\nrun_id r1\ndone a h 1\noutput K %4\nend\n", .malformed(line: 4)),
      ("supervisor-release 1\nrun_id r1\nfailed 1 1 a 1\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\nfailed x 1 a 1 b\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\ndeclared\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\ndone a h 1\ndone a h -1\nend\n", .malformed(line: 4)),
      ("supervisor-release 1\nrun_id r1\nfailed 1 a 1 b c\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\ncomplete soon\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id %4\nend\n", .malformed(line: 2)),
      ("supervisor-release 1\nrun_id r1\nmystery 1\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\n+part a h\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\n+part a h %4\nend\n", .malformed(line: 3)),
      ("supervisor-release 1\nrun_id r1\n\nend\n", .malformed(line: 3)),
    ] as [(String, ReleaseRecord.Damage)])
  func `what is not a record of ours says why`(text: String, expected: ReleaseRecord.Damage) {
    #expect(throws: expected) { try ReleaseRecord.decode(Array(text.utf8), runID: "r1") }
    #expect(!"\(expected)".isEmpty)
  }

  @Test(arguments: ["+mystery", "+mystery 1 %zz", "+", "+ part", "+parts a h b"])
  func `a fact of a later version that may be ignored is ignored`(line: String) throws {
    let text = "supervisor-release 1\nrun_id r1\ndone a h 1\n\(line)\noutput K v\ncomplete 2\nend\n"
    let read = try ReleaseRecord.decode(Array(text.utf8), runID: "r1")
    #expect(read.completedAt == 2)
    #expect(read.entries.map(\.outputs) == [[StepOutput(key: "K", value: "v")]])
    #expect(read.parts.isEmpty)
  }

  @Test func `a record without a run ID belongs to nobody`() {
    #expect(throws: ReleaseRecord.Damage.self) {
      try ReleaseRecord.decode(Array("supervisor-release 1\ncomplete 1\nend\n".utf8), runID: "r1")
    }
  }

  @Test func `a single flipped bit never reads as complete when it was not`() throws {
    var record = ReleaseRecord(runID: "r1")
    record.claim = ReleaseRecord.Claim(
      owner: "n", attempt: 1, startedAt: 1, heartbeat: 1,
      running: [ReleaseRecord.Running(step: "a", startedAt: 1)])
    let bytes = record.encoded()
    for index in bytes.indices {
      for bit in 0..<8 {
        var broken = bytes
        broken[index] ^= 1 << bit
        let read = try? ReleaseRecord.decode(broken, runID: "r1")
        #expect(read?.completedAt == nil)
        #expect(read?.entries.isEmpty ?? true)
      }
    }
  }

  /// The record of another step's outputs is that step's, in the order in which the steps were done.
  @Test func outputsStayWithTheirSteps() throws {
    var record = ReleaseRecord(runID: "r1")
    record.entries = [
      ReleaseRecord.Entry(step: "a", hash: "1", doneAt: 1, outputs: [StepOutput(key: "X", value: "1")]),
      ReleaseRecord.Entry(step: "b", hash: "1", doneAt: 2),
      ReleaseRecord.Entry(
        step: "c", hash: "1", doneAt: 3,
        outputs: [StepOutput(key: "X", value: "2"), StepOutput(key: "Y", value: " a\nb=%20")]),
    ]
    let read = try ReleaseRecord.decode(record.encoded(), runID: "r1")
    #expect(read.entries.map(\.outputs.count) == [1, 0, 2])
    #expect(read == record)
  }
}
