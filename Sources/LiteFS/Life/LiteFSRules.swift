/// How LiteFS is started, waited for and started again.
public struct LiteFSRules: Sendable, Equatable {
  /// Whether the process is ours: else somebody else runs it, and it is only watched.
  public var isOurs = true
  /// How long until it is mounted, connected and has a role; nil: without end.
  public var patience: Duration? = .seconds(300)
  /// The first pause after it has ended by itself; it doubles with each further end.
  public var firstPause = Duration.milliseconds(500)
  /// The longest.
  public var longestPause = Duration.seconds(30)
  /// After so long a time of service the next end is the first again.
  public var resetAfter = Duration.seconds(60)
  /// The pause after a fatal error of its data (exit code 99): a disk that is full stays so for a while.
  public var fatalPause = Duration.seconds(5)
  /// How often a mount may seem to hang in a row before it counts as hung.
  public var looksUntilHung = 2
  /// From the loss of the mount to that of those who use it, which may wait for a handle of it in the kernel: then the
  /// connection is cut for them.
  public var usersPatience = Duration.seconds(15)
  /// How often it says whom or what it waits for.
  public var noticeInterval = Duration.seconds(10)
  /// What it connects to, for messages: `the primary node-1 (litefs.lease.primary)`, `Consul at …`.
  public var waitsFor = "the cluster"

  /// The defaults.
  public init() {}
}
