import Coordination
import ReleaseRecords
import Testing

struct ReleaseLedgerTests {
  private static let record: ReleaseRecord = {
    var record = ReleaseRecord(runID: "r1")
    record.entries = [
      ReleaseRecord.Entry(step: "a", hash: "00ff", doneAt: 7, outputs: [StepOutput(key: "X", value: "1")]),
      ReleaseRecord.Entry(step: "b", hash: "1", doneAt: 8),
      ReleaseRecord.Entry(
        step: "c", hash: "1", doneAt: 9,
        outputs: [StepOutput(key: "X", value: "2"), StepOutput(key: "Y", value: "3")]),
    ]
    record.parts = [
      ReleaseRecord.Part(step: "a", hash: "00ff", name: "one"),
      ReleaseRecord.Part(step: "b", hash: "2", name: "x"),
      ReleaseRecord.Part(step: "a", hash: "00ff", name: "two"),
    ]
    return record
  }()

  @Test func `a step counts as done only with the same definition`() {
    #expect(Self.record.isDone("a", hash: "00ff"))
    #expect(!Self.record.isDone("a", hash: "00fe"))
    #expect(!Self.record.isDone("d", hash: "00ff"))
  }

  @Test func `parts are those of a step with the same definition`() {
    #expect(Self.record.parts(of: "a", hash: "00ff") == ["one", "two"])
    #expect(Self.record.parts(of: "b", hash: "1") == [])
    #expect(Self.record.parts(of: "b", hash: "2") == ["x"])
  }

  @Test func `outputs are those of all steps, in the order in which they were done`() {
    #expect(Self.record.outputs.map(\.key) == ["X", "X", "Y"])
    #expect(Self.record.outputs.map(\.value) == ["1", "2", "3"])
  }
}
