/// `coordination`: who may run the infrastructure phase, and how the others learn of it.
public struct CoordinationSettings: Sendable, Equatable {
  /// A place for the lock, the ledger and failures.
  public enum Backend: String, Sendable, CaseIterable {
    /// Files in `state_dir`.
    case file
    /// A PostgreSQL database.
    case postgres
    /// Being LiteFS's primary.
    case litefs
  }

  /// A place for release readiness. Where it is not the lock's, it is in Redis.
  public enum ReadinessBackend: String, Sendable, CaseIterable {
    /// Files in `state_dir`.
    case file
    /// The PostgreSQL database of the lock.
    case postgres
    /// Redis.
    case redis
    /// A database in LiteFS's mount.
    case litefs
  }

  /// `project`: the namespace in a shared backend; nil: to be derived.
  public var project: String?
  /// `lock`: where the lock is, and with it ledger and failures.
  public var lock: Backend
  /// `readiness`: where release readiness is.
  public var readiness: ReadinessBackend
  /// `retry_after`: how long after a failure a new node waits before it tries; doubles with each failure.
  public var retryAfter: Duration
  /// `takeover_delay`: how long a new holder waits before it takes over an unfinished claim of another one.
  public var takeoverDelay: Duration
  /// `poll_interval`: how often a waiter looks although nothing told it to.
  public var pollInterval: Duration
  /// `postgres`; has effect where `lock` says so, and for who waits for `postgres`.
  public var postgres: PostgreSQLSettings
  /// `redis`; nil when no server was named, never with readiness in Redis.
  public var redis: RedisSettings?

  /// Whether others than those who share `state_dir` look into the same place, so that `project` tells releases apart.
  public var isShared: Bool { lock != .file || readiness != .file }
}

/// `coordination.postgres`.
public struct PostgreSQLSettings: Sendable, Equatable {
  /// `url`: a connection string as libpq reads it, with its secrets; empty: libpq's own environment and files.
  public var url: String
  /// `schema`: of our tables.
  public var schema: String
  /// `table`: what the tables' names begin with.
  public var table: String
}

/// `coordination.redis`, and what `coordination` says of readiness there.
public struct RedisSettings: Sendable, Equatable {
  /// `url`: `redis://` or `rediss://`, with its secrets.
  public var url: String
  /// `readiness_key_prefix`: the key is this, a colon, and the run ID.
  public var keyPrefix: String
  /// The key of this run ID, where the project's own cache makes it in another way; nil: of the prefix.
  public var key: String?
  /// `readiness_ttl`: how long the key lives.
  public var timeToLive: Duration

  /// The key of a run ID.
  public func key(of runID: String) -> String { key ?? "\(keyPrefix):\(runID)" }
}

extension EffectiveSettings {
  /// Takes the whole key of this release from the system that has it in the same Redis, unless the user chose a prefix.
  public mutating func setReadinessKey(_ key: String, origin: String) {
    let path = "coordination.readiness_key_prefix"
    guard coordination.redis != nil, let index = entries.firstIndex(where: { $0.key == path }) else { return }
    switch entries[index].origin {
    case .flag, .environment, .file: return
    case .imported, .preset, .default: break
    }
    coordination.redis?.key = key
    entries[index].value = "\(key) (the whole key)"
    entries[index].origin = .imported(origin)
  }
}
