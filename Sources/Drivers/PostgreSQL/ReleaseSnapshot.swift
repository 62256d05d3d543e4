import ReleaseRecords

/// What a look at the tables found.
public struct ReleaseSnapshot: Sendable, Equatable {
  /// The record; nil when there is none. The ledger is in the order in which the steps were done, and the parts of one
  /// step are together.
  public var release: ReleaseRecord?
  /// The server's time then: ages are told from it, and from no node's clock.
  public var now: UInt64
}
