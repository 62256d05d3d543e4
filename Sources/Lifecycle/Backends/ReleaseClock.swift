import CLinux
import Synchronization

/// The time by which a release's record is kept: this machine's, or that of the server which has the record, as far as
/// its answers have told it. Records of several nodes need one clock, and a node's own may be hours off.
final class ReleaseClock: Sendable {
  /// What has to be added to this machine's time, in nanoseconds.
  private let offset = Atomic<Int64>(0)

  /// Takes the server's time of an answer that has just come, in Unix nanoseconds. It is late by the answer's way.
  func learn(server: UInt64) {
    guard server > 0 else { return }
    let difference = Int64(clamping: server).subtractingReportingOverflow(
      Int64(clamping: clinux_realtime_ns()))
    offset.store(difference.partialValue, ordering: .relaxed)
  }

  /// Unix time in nanoseconds.
  var now: UInt64 {
    let sum = Int64(clamping: clinux_realtime_ns()).addingReportingOverflow(offset.load(ordering: .relaxed))
    return UInt64(clamping: sum.partialValue)
  }
}
