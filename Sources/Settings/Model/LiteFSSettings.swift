/// `litefs`: how LiteFS is run, where it is not off.
public struct LiteFSSettings: Sendable, Equatable {
  /// Who runs LiteFS.
  public enum Mode: String, Sendable, CaseIterable {
    /// We do, with its file system mounted.
    case mount
    /// Nobody: one node with an ordinary directory, always the primary.
    case directory
    /// A sidecar: it is watched, not spawned.
    case external
  }

  /// How the primary is chosen.
  public enum LeaseType: String, Sendable, CaseIterable {
    /// By these settings, for good.
    case `static`
    /// By a lease in Consul, which moves.
    case consul
  }

  /// `lease.consul`.
  public struct Consul: Sendable, Equatable {
    /// `url`: with its token, where it has one.
    public var url: String
    /// `key`: may have `{project}` in it.
    public var key: String
    /// `ttl`: life of the lease.
    public var timeToLive: Duration
    /// `lock_delay`: pause after a lost lease.
    public var lockDelay: Duration
  }

  /// `without_primary`: how long a node stays ready while no primary is known.
  public enum WithoutPrimary: Sendable, Equatable {
    /// This long.
    case readyFor(Duration)
    /// For ever.
    case ready
    /// Not at all.
    case notReady
  }

  /// `on_new_release`: what a node of a new release does while one of an older release is the primary.
  public enum OnNewRelease: String, Sendable, CaseIterable {
    /// It asks the old primary for the lease.
    case takeover
    /// It starts the app on the old schema.
    case start
    /// It waits.
    case wait
  }

  /// `mode`.
  public var mode: Mode
  /// `binary_path`: the program, a path or a name to search for.
  public var binaryPath: String
  /// `mount_path`: where the databases are; absolute, without `..`.
  public var mountPath: String
  /// `data_path`: LiteFS's own files; absolute, without `..`, neither in the mount nor around it.
  public var dataPath: String
  /// `database_name`: the app's database, a name in the mount.
  public var databaseName: String
  /// `node_name`, or else LITEFS_NODE_ID; nil: the host name.
  public var nodeName: String?
  /// `http_addr`: where LiteFS's API listens.
  public var httpAddress: ListenAddress
  /// `advertise_url`: LiteFS's API as others reach it; may have `{node}` in it.
  public var advertiseURL: String
  /// `peers`: API URLs of the other nodes; nil: they are found by themselves, or not at all.
  public var peers: [String]?
  /// `lease.type`.
  public var leaseType: LeaseType
  /// `lease.primary`: the primary's node name; not nil where we run LiteFS with a static lease.
  public var primary: String?
  /// `lease.candidate`: whether this node may become the primary, with a lease that moves.
  public var isCandidate: Bool
  /// `lease.consul`; not nil where we run LiteFS with that lease.
  public var consul: Consul?
  /// `retention`: how long transaction files are kept; nil: for ever.
  public var retention: Duration?
  /// `retention_monitor_interval`: how often they are pruned.
  public var retentionMonitorInterval: Duration
  /// `compress`: of transaction files.
  public var compresses: Bool
  /// `allow_other`: other users may use the mount; nil: when a child runs as one.
  public var allowsOther: Bool?
  /// `max_lag`: a replica further behind is not ready.
  public var maximumLag: Duration
  /// `min_free_space`: with less, in bytes, the node is not ready.
  public var minimumFreeSpace: UInt64
  /// `without_primary`.
  public var withoutPrimary: WithoutPrimary
  /// `on_new_release`.
  public var onNewRelease: OnNewRelease
  /// `handoff_timeout`: how long a hand-off may take.
  public var handoffTimeout: Duration
  /// `allow_lossy_promotion`: the lease may be taken even if commits are lost.
  public var allowsLossyPromotion: Bool
  /// `extra`: entries for litefs.yml that no key here has, with variables expanded.
  public var extra: [YAMLNode.Entry]
}
