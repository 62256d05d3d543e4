import Glibc

/// The record locks of one file: whoever uses the mount locks here, and so does what applies a transaction.
struct LockTable {
  struct Held {
    var owner: UInt64
    var start: UInt64
    var end: UInt64
    var exclusive: Bool
    var process: Int32
  }

  private(set) var held: [Held] = []
  /// The owner that stands for this process.
  static let ours = UInt64.max

  func conflict(owner: UInt64, start: UInt64, end: UInt64, exclusive: Bool) -> Held? {
    held.first { $0.owner != owner && $0.start <= end && start <= $0.end && (exclusive || $0.exclusive) }
  }

  /// `exclusive` nil unlocks. False when somebody else's lock is in the way.
  mutating func set(owner: UInt64, start: UInt64, end: UInt64, exclusive: Bool?, process: Int32 = 0) -> Bool {
    if let exclusive, conflict(owner: owner, start: start, end: end, exclusive: exclusive) != nil {
      return false
    }
    var result: [Held] = []
    for lock in held {
      guard lock.owner == owner, lock.start <= end, start <= lock.end else {
        result.append(lock)
        continue
      }
      var left = lock
      var right = lock
      if lock.start < start {
        left.end = start - 1
        result.append(left)
      }
      if lock.end > end {
        right.start = end + 1
        result.append(right)
      }
    }
    if let exclusive {
      result.append(Held(owner: owner, start: start, end: end, exclusive: exclusive, process: process))
    }
    held = result
    return true
  }

  mutating func release(owner: UInt64) { held.removeAll { $0.owner == owner } }

  /// The state of one byte as /debug/vars names it.
  func state(_ byte: UInt64) -> String {
    let those = held.filter { $0.start <= byte && byte <= $0.end }
    return those.contains { $0.exclusive } ? "exclusive" : those.isEmpty ? "unlocked" : "shared"
  }
}

/// Where SQLite locks (https://www.sqlite.org/lockingv3.html, https://www.sqlite.org/walformat.html).
enum SQLiteLock {
  static let pending: UInt64 = 0x4000_0000
  static let reserved: UInt64 = 0x4000_0001
  static let shared: ClosedRange<UInt64> = 0x4000_0002...0x4000_01ff
  /// In the -shm file: write, checkpoint, recover, read 0 to 4.
  static let wal: ClosedRange<UInt64> = 120...127
  static let deadMan: UInt64 = 128
}
