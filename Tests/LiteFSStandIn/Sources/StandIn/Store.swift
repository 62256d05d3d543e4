import Glibc
import Wire

struct PrimaryInfo: Equatable {
  var hostname: String
  var advertiseURL: String
}

/// Whom /events or /stream tells.
final class Subscriber {
  /// Lines for /events.
  var lines: [String] = []
  /// Transactions for a replica, and its node ID.
  var transactions: [Transaction] = []
  var nodeID: UInt64 = 0
  var handoff: String?
}

/// This node: databases, role, and who listens. One lock for all of it.
final class Store: @unchecked Sendable {
  let monitor = Monitor()
  let configuration: Configuration
  let nodeID = UInt64.random(in: 1...UInt64.max)
  let leaser: any Leaser
  let path: String
  let candidate: Bool

  private(set) var clusterID = ""
  private(set) var databases: [String: Database] = [:]
  private(set) var isPrimary = false
  /// The primary that this replica follows, or tries to.
  private(set) var primary: PrimaryInfo?
  /// Of the last message from the primary, in milliseconds; 0: we are the primary; -1: never synced, or just demoted.
  private(set) var primaryTimestamp: Int64 = -1
  private(set) var isReady = false
  var isClosing = false
  /// The streams to replicas are to end in good order.
  var endsStreams = false
  var handoffRequest: UInt64?
  var events: [ObjectIdentifier: Subscriber] = [:]
  var streams: [ObjectIdentifier: Subscriber] = [:]
  /// What is to be cut so that the election's thread comes back at the end.
  var upstream: Connection?
  /// Drops what the kernel has cached of a file; set when mounted.
  var invalidate: (String) -> Void = { _ in }

  init(_ configuration: Configuration, leaser: any Leaser) {
    self.configuration = configuration
    self.leaser = leaser
    path = configuration.string("data.dir")
    candidate = configuration.flag("lease.candidate")
  }

  var name: String { nodeID.hex.uppercased() }

  func open() throws {
    try makeDirectories(path)
    if let bytes = try? readFile(path + "/clusterid") {
      clusterID = String(decoding: bytes, as: UTF8.self).filter { !$0.isWhitespace }
      guard clusterID.count == 20, clusterID.hasPrefix("LFSC") else {
        throw Failure("load cluster id: invalid cluster id")
      }
    }
    do {
      try makeDirectories(path + "/dbs")
      guard let directory = opendir(path + "/dbs") else { throw Failure("readdir: \(words(errno))") }
      defer { closedir(directory) }
      while let entry = readdir(directory) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
          $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name == "." || name == ".." { continue }
        let database = Database(name: name, under: path + "/dbs")
        try database.open()
        databases[name] = database
      }
    } catch let failure as Failure {
      throw Failure("open databases: \(failure)")
    }
    if !clusterID.isEmpty { Log.info("using existing cluster id: \(JSON.quoted(clusterID))") }
  }

  func setClusterID(_ id: String) throws {
    try writeFile(path + "/clusterid", Array((id + "\n").utf8))
    clusterID = id
  }

  func database(creating name: String) throws -> Database {
    try monitor.locked {
      if let database = databases[name] { return database }
      let database = Database(name: name, under: path + "/dbs")
      if database.size(.database) == nil { try database.create() }
      databases[name] = database
      return database
    }
  }

  // MARK: Role

  func setPrimary(_ holds: Bool) {
    monitor.locked {
      if isPrimary != holds { primaryTimestamp = holds ? 0 : -1 }
      isPrimary = holds
      if holds { isReady = true }
      announceRole()
    }
  }

  func setPrimaryInfo(_ info: PrimaryInfo?) {
    monitor.locked {
      primary = info
      announceRole()
    }
  }

  func heard(at timestamp: Int64) {
    monitor.locked { primaryTimestamp = timestamp }
  }

  func markReady() {
    monitor.locked {
      isReady = true
      monitor.wake()
    }
  }

  /// The fields of `init` and `primaryChange`.
  var role: JSON {
    .object([("isPrimary", .bool(isPrimary))] + (primary.map { [("hostname", .string($0.hostname))] } ?? []))
  }

  private func announceRole() {
    announce(.object([("type", .string("primaryChange")), ("data", role)]))
    monitor.wake()
  }

  private func announce(_ event: JSON) {
    for subscriber in events.values { subscriber.lines.append(event.text()) }
    monitor.wake()
  }

  var lag: Int64 {
    primaryTimestamp == 0
      ? 0 : primaryTimestamp < 0 ? Int64(Int32.max) : unixMilliseconds() - primaryTimestamp
  }

  /// What `.lag` holds: always 11 bytes.
  var lagText: String {
    let digits = String(abs(lag))
    let padded = String(repeating: "0", count: max(0, 9 - digits.count)) + digits
    return String(((lag < 0 ? "-" : "+") + padded + "\n").prefix(11))
  }

  // MARK: Transactions

  /// Ends a transaction of an application here: SQLite's journal is gone. Exit 99 when ordered.
  func commit(_ database: Database) throws {
    if Orders.taken("exit-99") { fatal(database, "write ltx file: no space left on device") }
    if let transaction = try database.commit() { publish(transaction) }
  }

  /// A lock in -shm goes: with the one for writing, a transaction in the WAL ends. SQLite calls it a success whatever
  /// comes of it here, so what fails, fails hard.
  func unlocks(_ database: Database, owner: UInt64) {
    guard let pages = database.finishedPages,
      database.locks[.shm]?.held.contains(where: {
        $0.owner == owner && $0.exclusive && $0.start == SQLiteLock.wal.lowerBound
      })
        == true
    else { return }
    if !isPrimary { fatal(database, "node lost write access during transaction, rolling back") }
    if Orders.taken("exit-99") { fatal(database, "write ltx file: no space left on device") }
    do {
      if let transaction = try database.commit(walPages: pages) { publish(transaction) }
    } catch {
      fatal(database, "\(error)")
    }
    database.finishedPages = nil
  }

  private func fatal(_ database: Database, _ reason: String) -> Never {
    Log.info("fatal error occurred while committing WAL to \(JSON.quoted(database.name)): \(reason)\n")
    _exit(99)
  }

  private func publish(_ transaction: Transaction) {
    for subscriber in streams.values {
      // Who is far behind gets the newest alone.
      if subscriber.transactions.count >= 16 {
        subscriber.transactions.removeAll { $0.name == transaction.name }
      }
      subscriber.transactions.append(transaction)
    }
    announce(
      .object([
        ("type", .string("tx")), ("db", .string(transaction.name)),
        (
          "data",
          .object([
            ("txID", .string(transaction.id.hex)), ("postApplyChecksum", .string(transaction.checksum.hex)),
            ("pageSize", .number(Double(transaction.pageSize))),
            ("commit", .number(Double(transaction.pages))),
            ("timestamp", .string(timestampText(transaction.timestamp))),
          ])
        ),
      ]))
  }

  /// Puts a transaction in the place of what is there: from the primary, by import, or our own last one again. Waits
  /// for whoever reads or writes, as long as `giveUp` says false. False when it gave up.
  func install(_ transaction: Transaction, in database: Database, isNew: Bool, giveUp: () -> Bool) throws
    -> Bool
  {
    defer { monitor.locked { database.unlockAll() } }
    while !monitor.locked({ database.tryLockAll() }) {
      if giveUp() { return false }
      usleep(1000)
    }
    // Not under the lock: the kernel writes back what it has, and may read, while this waits for it.
    invalidate(database.name + "-shm")
    try monitor.locked {
      if isNew {
        try database.willOverwrite()
        try database.save(transaction)
        publish(transaction)
      }
      try database.overwrite(with: transaction)
    }
    for type in [FileType.database, .wal, .shm] { invalidate(database.name + type.rawValue) }
    return true
  }

  /// A new database, or another in its place (POST /import).
  func importDatabase(_ name: String, _ image: [UInt8]) throws {
    let database = try database(creating: name)
    guard let pageSize = Database.pageSize(header: Array(image.prefix(18))), image.count % pageSize == 0
    else {
      throw Failure("read database header: invalid database header")
    }
    let next = Transaction(
      name: name, id: monitor.locked { database.id } + 1, pageSize: pageSize, image: image)
    _ = try install(next, in: database, isNew: true) { monitor.locked { isClosing } }
  }

  /// Deletes a database: its pages go everywhere, its history stays.
  func drop(_ database: Database) throws {
    let empty = Transaction(
      name: database.name, id: database.id + 1, pageSize: database.last?.pageSize ?? 4096, image: [])
    try database.willOverwrite()
    try database.save(empty)
    try database.overwrite(with: empty)
    publish(empty)
  }

  /// Applies what the primary sent.
  func apply(_ transaction: Transaction) throws {
    while Orders.given("pause-replication"), !monitor.locked({ isClosing }) { usleep(10_000) }
    let database = try database(creating: transaction.name)
    if Orders.taken("exit-99") {
      Log.info(
        "fatal error occurred while applying ltx to \(JSON.quoted(database.name)), exiting: "
          + "database checksum \(database.checksum.hex) on TXID \(transaction.id.hex) does not match "
          + "LTX post-apply checksum \(transaction.checksum.hex)\n")
      _exit(99)
    }
    let isSnapshot = monitor.locked { database.id == 0 || transaction.id != database.id + 1 }
    if isSnapshot {
      Log.info(
        "snapshot received for \(JSON.quoted(database.name)), removing other ltx files: "
          + "\(UInt64(1).hex)-\(transaction.id.hex).ltx")
    }
    guard try install(transaction, in: database, isNew: true, giveUp: { monitor.locked { isClosing } }) else {
      throw Failure("store closed")
    }
    monitor.locked { if isReady { primaryTimestamp = transaction.timestamp } }
  }

  /// After a change of role: takes back what was not committed.
  func recover() {
    let deadline = monotonicSeconds() + 5
    for database in monitor.locked({ Array(databases.values) }) {
      guard let last = monitor.locked({ database.last }),
        (database.size(.wal) ?? 0) > 0 || database.endOfJournal()
      else { continue }
      _ = try? install(last, in: database, isNew: false) { monotonicSeconds() > deadline }
    }
  }
}
