import AgentProtocol
import Coordination
import PostgreSQLDriver

/// The record as it goes between PID 1 and us.
enum RecordBytes {
  /// Nil when there is no record.
  static func encode(_ snapshot: ReleaseSnapshot, runID: String) -> Result<[UInt8]?, CoordinationFailure> {
    guard let release = snapshot.release else { return .success(nil) }
    let bytes = ReleaseRecord(release, runID: runID).encoded()
    // The other fields have their place, too.
    guard bytes.count <= Frame.maximumLength - 1024 else {
      return .failure(
        CoordinationFailure(
          .damaged, "the record of run ID \(runID) has \(bytes.count) bytes, and at most 1 MiB is possible"))
    }
    return .success(bytes)
  }

  static func decode(_ bytes: [UInt8], runID: String) -> Result<StoredRelease, CoordinationFailure> {
    do throws(ReleaseRecord.Damage) {
      return .success(StoredRelease(try ReleaseRecord.decode(bytes, runID: runID)))
    } catch {
      return .failure(CoordinationFailure(.damaged, "the record to write cannot be used: \(error)"))
    }
  }
}
