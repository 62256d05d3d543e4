/// The number of an advisory lock (https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS). Locks
/// are per database.
public struct LockKey: Sendable, Equatable {
  /// What the functions take.
  public var value: Int64

  /// A key.
  public init(value: Int64) {
    self.value = value
  }

  /// The lock of django-autoinit's infrastructure phase, so that both exclude each other: the first 8 bytes of the
  /// SHA-256 of `autoinit_infrastructure`, as a little-endian number. pg_locks shows it as classid 1311669808, objid
  /// 3514919506, objsubid 1.
  public static let infrastructure = LockKey(value: 5_633_578_932_025_518_674)

  /// The lock of whoever is a project's primary where there is no LiteFS.
  public static func leader(project: String) -> LockKey {
    // FNV-1a with 64 bits (http://www.isthe.com/chongo/tech/comp/fnv).
    var hash: UInt64 = 14_695_981_039_346_656_037
    for byte in "supervisor_leader:\(project)".utf8 { hash = (hash ^ UInt64(byte)) &* 1_099_511_628_211 }
    return LockKey(value: Int64(bitPattern: hash))
  }

  /// Its upper half, as pg_locks shows it.
  var classID: UInt32 { UInt32(truncatingIfNeeded: value >> 32) }
  /// Its lower half.
  var objectID: UInt32 { UInt32(truncatingIfNeeded: value) }
}
