import AgentProtocol
import ReleaseRecords

/// The record as it goes between PID 1 and us.
enum RecordBytes {
  /// Nil when there is no record.
  static func encode(_ record: ReleaseRecord?) -> Result<[UInt8]?, CoordinationFailure> {
    guard let record else { return .success(nil) }
    let bytes = record.encoded()
    // The other fields have their place, too.
    guard bytes.count <= Frame.maximumLength - 1024 else {
      return .failure(
        CoordinationFailure(
          .damaged,
          "the record of run ID \(record.runID) has \(bytes.count) bytes, and at most 1 MiB is possible"))
    }
    return .success(bytes)
  }

  static func decode(_ bytes: [UInt8], runID: String) -> Result<ReleaseRecord, CoordinationFailure> {
    do throws(ReleaseRecord.Damage) {
      return .success(try ReleaseRecord.decode(bytes, runID: runID))
    } catch {
      return .failure(CoordinationFailure(.damaged, "the record to write cannot be used: \(error)"))
    }
  }
}
