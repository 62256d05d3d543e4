/// What the coordination backends need to know: which servers, and whose release it is about.
public struct CoordinationScope: Hashable, Sendable {
  /// Where lock and record are.
  public struct PostgreSQL: Hashable, Sendable {
    /// As libpq takes it; may have a password.
    public var connection: String
    /// The schema of the tables.
    public var schema: String
    /// What the names of the tables begin with.
    public var table: String

    /// A place.
    public init(connection: String, schema: String, table: String) {
      self.connection = connection
      self.schema = schema
      self.table = table
    }
  }

  /// Where readiness is.
  public struct Redis: Hashable, Sendable {
    /// `redis://` or `rediss://`; may have a password.
    public var url: String
    /// The whole key.
    public var key: String
    /// How long the key lives.
    public var timeToLive: Duration

    /// A place.
    public init(url: String, key: String, timeToLive: Duration) {
      self.url = url
      self.key = key
      self.timeToLive = timeToLive
    }
  }

  /// The namespace.
  public var project: String
  /// The release.
  public var runID: String
  /// How other nodes see us.
  public var owner: String
  /// How long what a vanished holder ran has to end.
  public var takeoverDelay: Duration
  /// Lock and record; nil when they are elsewhere.
  public var postgres: PostgreSQL?
  /// Readiness; nil when it is elsewhere.
  public var redis: Redis?

  /// A scope without servers.
  public init(project: String, runID: String, owner: String, takeoverDelay: Duration) {
    self.project = project
    self.runID = runID
    self.owner = owner
    self.takeoverDelay = takeoverDelay
  }
}

/// Which of the locks.
public enum LockName: UInt64, Hashable, Sendable, CaseIterable {
  /// Of the infrastructure phase: one for the database, django-autoinit's.
  case infrastructure = 1
  /// Of the project's primary.
  case leader = 2
}

/// What PID 1 asks of its agent about lock, record and readiness. Each request has a number of its own, and its
/// reports have the same.
///
/// What was asked before `configure` is an error. When the agent ends everything is asked again of the next one, but
/// for a lock that was held: that one is lost.
public enum CoordinationRequest: Hashable, Sendable {
  /// The first request of a connection.
  case configure(CoordinationScope)
  /// Read the release's record; answered with `record` or `failed`, before it any number of `unavailable`. While its
  /// lock is held, only once nothing of a vanished holder's steps is left in the server.
  case read(id: UInt64)
  /// Make this the release's record, as `ReleaseRecord` encodes it; answered with `done` or `failed`. `isLast`: nothing
  /// runs any more, and the lock goes next.
  case write(id: UInt64, record: [UInt8], isLast: Bool)
  /// Remove the release's record; answered with `done` or `failed`.
  case remove(id: UInt64)
  /// Remove what other releases of the project left behind long ago; not answered.
  case prune
  /// Take a lock, and wait for it; answered with `lockHeld` or `lockFailed`, before it any number of `lockBusy`,
  /// `lockUnavailable` and `lockFree`; after `lockHeld` perhaps `lockLost`.
  case lock(id: UInt64, LockName)
  /// The answer to `lockFree`: the lock is still wanted.
  case contend(id: UInt64)
  /// Give the lock of this number back, or stop waiting for it; answered with `unlocked`. Out of order: as one who
  /// vanishes, so that the next holder gives what ran time to end.
  case unlock(id: UInt64, isOrderly: Bool)
  /// Should PID 1 vanish, this process group is killed, and has ended, before the lock of this number goes.
  case guardGroup(id: UInt64, group: Int32)
  /// No longer.
  case unguardGroup(id: UInt64, group: Int32)
  /// While the infrastructure lock is held: end what this step's commands left behind in the server; answered with
  /// `done`, once nothing of it is left, or `failed`.
  case endRemains(id: UInt64, step: String)
  /// Look at readiness in Redis; answered with `readiness` or `failed`, before it any number of `unavailable`.
  case readReadiness(id: UInt64)
  /// Set it, or take it away; answered with `done` or `failed`.
  case writeReadiness(id: UInt64, isReady: Bool)
  /// Report `readinessChanged` with this number from now on, until it is cancelled.
  case watchReadiness(id: UInt64)
  /// The answer is no longer wanted; none comes.
  case cancel(id: UInt64)

  private enum Kind {
    static let configure: UInt16 = 0x0110
    static let read: UInt16 = 0x0111
    static let write: UInt16 = 0x0112
    static let remove: UInt16 = 0x0113
    static let prune: UInt16 = 0x0114
    static let lock: UInt16 = 0x0115
    static let contend: UInt16 = 0x0116
    static let unlock: UInt16 = 0x0117
    static let guardGroup: UInt16 = 0x0118
    static let unguardGroup: UInt16 = 0x0119
    static let readReadiness: UInt16 = 0x011A
    static let writeReadiness: UInt16 = 0x011B
    static let watchReadiness: UInt16 = 0x011C
    static let cancel: UInt16 = 0x011D
    static let endRemains: UInt16 = 0x011E
  }

  private enum Field {
    static let id: UInt8 = 1
    static let record: UInt8 = 2
    static let flag: UInt8 = 3
    static let lock: UInt8 = 4
    static let group: UInt8 = 5
    static let step: UInt8 = 6
    static let project: UInt8 = 16
    static let runID: UInt8 = 17
    static let owner: UInt8 = 18
    static let takeoverDelay: UInt8 = 19
    static let connection: UInt8 = 20
    static let schema: UInt8 = 21
    static let table: UInt8 = 22
    static let url: UInt8 = 23
    static let key: UInt8 = 24
    static let timeToLive: UInt8 = 25
  }

  /// The request as a frame.
  var frame: Frame {
    var fields = FieldWriter()
    let kind: UInt16
    switch self {
    case .configure(let scope):
      kind = Kind.configure
      Self.write(scope, to: &fields)
    case .read(let id):
      kind = Kind.read
      fields.write(id, as: Field.id)
    case .write(let id, let record, let isLast):
      kind = Kind.write
      fields.write(id, as: Field.id)
      fields.write(record, as: Field.record)
      fields.write(isLast ? 1 : 0, as: Field.flag)
    case .remove(let id):
      kind = Kind.remove
      fields.write(id, as: Field.id)
    case .prune: kind = Kind.prune
    case .lock(let id, let name):
      kind = Kind.lock
      fields.write(id, as: Field.id)
      fields.write(name.rawValue, as: Field.lock)
    case .contend(let id):
      kind = Kind.contend
      fields.write(id, as: Field.id)
    case .unlock(let id, let isOrderly):
      kind = Kind.unlock
      fields.write(id, as: Field.id)
      fields.write(isOrderly ? 1 : 0, as: Field.flag)
    case .guardGroup(let id, let group):
      kind = Kind.guardGroup
      fields.write(id, as: Field.id)
      fields.write(UInt64(UInt32(bitPattern: group)), as: Field.group)
    case .unguardGroup(let id, let group):
      kind = Kind.unguardGroup
      fields.write(id, as: Field.id)
      fields.write(UInt64(UInt32(bitPattern: group)), as: Field.group)
    case .readReadiness(let id):
      kind = Kind.readReadiness
      fields.write(id, as: Field.id)
    case .writeReadiness(let id, let isReady):
      kind = Kind.writeReadiness
      fields.write(id, as: Field.id)
      fields.write(isReady ? 1 : 0, as: Field.flag)
    case .watchReadiness(let id):
      kind = Kind.watchReadiness
      fields.write(id, as: Field.id)
    case .cancel(let id):
      kind = Kind.cancel
      fields.write(id, as: Field.id)
    case .endRemains(let id, let step):
      kind = Kind.endRemains
      fields.write(id, as: Field.id)
      fields.write(step, as: Field.step)
    }
    return Frame(kind: kind, payload: fields.bytes)
  }

  private static func write(_ scope: CoordinationScope, to fields: inout FieldWriter) {
    fields.write(scope.project, as: Field.project)
    fields.write(scope.runID, as: Field.runID)
    fields.write(scope.owner, as: Field.owner)
    fields.write(scope.takeoverDelay, as: Field.takeoverDelay)
    if let postgres = scope.postgres {
      fields.write(postgres.connection, as: Field.connection)
      fields.write(postgres.schema, as: Field.schema)
      fields.write(postgres.table, as: Field.table)
    }
    if let redis = scope.redis {
      fields.write(redis.url, as: Field.url)
      fields.write(redis.key, as: Field.key)
      fields.write(redis.timeToLive, as: Field.timeToLive)
    }
  }

  private static func scope(_ fields: FieldReader) throws(FrameError) -> CoordinationScope {
    var scope = CoordinationScope(
      project: try fields.text(Field.project), runID: try fields.text(Field.runID),
      owner: try fields.text(Field.owner), takeoverDelay: try fields.duration(Field.takeoverDelay))
    if fields.has(Field.connection) {
      scope.postgres = CoordinationScope.PostgreSQL(
        connection: try fields.text(Field.connection), schema: try fields.text(Field.schema),
        table: try fields.text(Field.table))
    }
    if fields.has(Field.url) {
      scope.redis = CoordinationScope.Redis(
        url: try fields.text(Field.url), key: try fields.text(Field.key),
        timeToLive: try fields.duration(Field.timeToLive))
    }
    return scope
  }

  private static func group(_ frame: Frame, _ fields: FieldReader) throws(FrameError) -> Int32 {
    // 0 and 1 would be our own group, or everybody.
    guard let group = Int32(exactly: try fields.integer(Field.group)), group > 1 else {
      throw .malformed(kind: frame.kind, reason: "has a process group that is none")
    }
    return group
  }

  /// The request in a frame; nil for a kind that this program does not know.
  init?(_ frame: Frame) throws(FrameError) {
    guard (Kind.configure...Kind.endRemains).contains(frame.kind) else { return nil }
    let fields = try FieldReader(frame)
    switch frame.kind {
    case Kind.configure: self = .configure(try Self.scope(fields))
    case Kind.read: self = .read(id: try fields.integer(Field.id))
    case Kind.write:
      self = .write(
        id: try fields.integer(Field.id), record: try fields.bytes(Field.record),
        isLast: try fields.flag(Field.flag))
    case Kind.remove: self = .remove(id: try fields.integer(Field.id))
    case Kind.prune: self = .prune
    case Kind.lock:
      guard let name = LockName(rawValue: try fields.integer(Field.lock)) else {
        throw .malformed(kind: frame.kind, reason: "names a lock that is unknown")
      }
      self = .lock(id: try fields.integer(Field.id), name)
    case Kind.contend: self = .contend(id: try fields.integer(Field.id))
    case Kind.unlock:
      self = .unlock(id: try fields.integer(Field.id), isOrderly: try fields.flag(Field.flag))
    case Kind.guardGroup:
      self = .guardGroup(id: try fields.integer(Field.id), group: try Self.group(frame, fields))
    case Kind.unguardGroup:
      self = .unguardGroup(id: try fields.integer(Field.id), group: try Self.group(frame, fields))
    case Kind.readReadiness: self = .readReadiness(id: try fields.integer(Field.id))
    case Kind.writeReadiness:
      self = .writeReadiness(id: try fields.integer(Field.id), isReady: try fields.flag(Field.flag))
    case Kind.watchReadiness: self = .watchReadiness(id: try fields.integer(Field.id))
    case Kind.cancel: self = .cancel(id: try fields.integer(Field.id))
    case Kind.endRemains:
      self = .endRemains(id: try fields.integer(Field.id), step: try fields.text(Field.step))
    default: return nil
    }
  }
}

extension CoordinationRequest {
  /// Its number; nil when it has none.
  public var id: UInt64? {
    switch self {
    case .configure, .prune: return nil
    case .read(let id), .write(let id, _, _), .remove(let id), .lock(let id, _), .contend(let id),
      .unlock(let id, _), .guardGroup(let id, _), .unguardGroup(let id, _), .readReadiness(let id),
      .writeReadiness(let id, _), .watchReadiness(let id), .cancel(let id), .endRemains(let id, _):
      return id
    }
  }
}
