import Glibc
import Wire

/// A whole database as of one transaction: what is kept beside it, and what goes to the replicas.
struct Transaction {
  var name: String
  var id: UInt64
  var checksum: UInt64
  var pageSize: Int
  var timestamp: Int64
  var image: [UInt8]

  var pages: Int { image.count / max(pageSize, 1) }

  init(name: String, id: UInt64, pageSize: Int, image: [UInt8]) {
    self.name = name
    self.id = id
    self.pageSize = pageSize
    self.image = image
    timestamp = unixMilliseconds()
    // Any checksum will do; the highest bit is set in LiteFS's too.
    checksum = image.withUnsafeBytes { bytes in
      var sum: UInt64 = 0xcbf2_9ce4_8422_2325
      for offset in stride(from: 0, to: bytes.count - bytes.count % 8, by: 8) {
        sum = (sum ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x0000_0100_0000_01b3
        sum ^= sum >> 29
      }
      return (bytes.isEmpty ? 0 : sum) | 1 << 63
    }
  }

  /// A line of words, then the image: in the file beside the database, and on the wire.
  var head: String {
    "TX \(escaped(name)) \(id.hex) \(checksum.hex) \(pageSize) \(timestamp) \(image.count)"
  }

  init?(head: [Substring], image: (Int) throws -> [UInt8]) rethrows {
    guard head.count == 7, head[0] == "TX", let id = UInt64(head[2], radix: 16),
      let checksum = UInt64(head[3], radix: 16), let pageSize = Int(head[4]), let timestamp = Int64(head[5]),
      let count = Int(head[6])
    else { return nil }
    self.init(
      name: unescaped(head[1]), id: id, pageSize: pageSize, image: try image(count))
    self.checksum = checksum
    self.timestamp = timestamp
  }
}

enum FileType: String, CaseIterable {
  case database = ""
  case journal = "-journal"
  case wal = "-wal"
  case shm = "-shm"
  case position = "-pos"
  case lock = "-lock"

  /// What a name in the mount means.
  static func parse(_ name: String) -> (String, FileType) {
    for type in allCases where type != .database && name.hasSuffix(type.rawValue) {
      return (String(name.dropLast(type.rawValue.count)), type)
    }
    return (name, .database)
  }
}

/// One database: its files under DATA/dbs/NAME, its position, its locks. Used under the store's lock.
final class Database {
  let name: String
  let directory: String
  var last: Transaction?
  var locks: [FileType: LockTable] = [.database: LockTable(), .shm: LockTable(), .lock: LockTable()]
  var commits = 0
  /// Where the newest committed copy of a page is in the WAL.
  private var inWAL: [UInt32: Int] = [:]
  private var pending: [(frame: Int, page: UInt32, offset: Int)] = []
  private var walPageSize = 0
  /// The database's size, after a transaction that is whole in the WAL, but not LiteFS's yet: SQLite holds its lock.
  var finishedPages: Int?

  var id: UInt64 { last?.id ?? 0 }
  var checksum: UInt64 { last?.checksum ?? 0 }
  var position: String { "\(id.hex)/\(checksum.hex)" }

  init(name: String, under directory: String) {
    self.name = name
    self.directory = directory + "/" + name
  }

  func path(_ type: FileType) -> String {
    directory + "/" + (type == .database ? "database" : String(type.rawValue.dropFirst()))
  }

  private var savedPath: String { directory + "/ltx" }

  func size(_ type: FileType) -> Int? {
    var status = stat()
    return stat(path(type), &status) == 0 ? status.st_size : nil
  }

  /// Some bytes of one of its files; fewer at its end.
  func bytes(_ type: FileType, at offset: Int, count: Int) -> [UInt8] {
    let descriptor = Glibc.open(path(type), O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var result = [UInt8](repeating: 0, count: count)
    let read = pread(descriptor, &result, count, offset)
    return Array(result.prefix(max(read, 0)))
  }

  var isWAL: Bool { bytes(.database, at: 18, count: 1) == [2] }

  static func bigEndian(_ bytes: some Collection<UInt8>) -> Int { bytes.reduce(0) { $0 << 8 | Int($1) } }

  /// The page size that a database's first bytes name; nil when they are none.
  static func pageSize(header: [UInt8]) -> Int? {
    guard header.count >= 18, header.starts(with: "SQLite format 3\0".utf8) else { return nil }
    let size = bigEndian(header[16..<18])
    return size == 1 ? 65536 : size
  }

  var pageSize: Int? { Database.pageSize(header: bytes(.database, at: 0, count: 18)) }

  // MARK: Opening

  /// Goes back to the last committed transaction, whatever an earlier process left in the files.
  func open() throws {
    try makeDirectories(savedPath)
    guard let newest = try? readFile(savedPath + "/newest") else {
      if size(.database) == nil { try create() }
      return
    }
    let end = newest.firstIndex(of: 0x0a) ?? newest.endIndex
    let head = String(decoding: newest[..<end], as: UTF8.self).split(separator: " ")
    guard let saved = Transaction(head: head, image: { _ in Array(newest.dropFirst(end + 1)) }) else {
      throw Failure("open database(\"\(name)\"): invalid ltx file")
    }
    // Pages changed under a journal that nobody sees (MEMORY, OFF), and no later commit that took them along.
    let isUnseen =
      !endOfJournal() && (size(.wal) ?? 0) == 0 && access(savedPath + "/applying", F_OK) != 0
      && bytes(.database, at: 0, count: size(.database) ?? 0) != saved.image
    if isUnseen || Orders.given("fail-open") {
      throw Failure(
        "open database(\"\(name)\"): recover ltx: database checksum \(UInt64.max.hex) on TXID "
          + "\(saved.id.hex) does not match LTX post-apply checksum \(saved.checksum.hex)")
    }
    try overwrite(with: saved)
  }

  func create() throws {
    try makeDirectories(savedPath)
    let descriptor = Glibc.open(path(.database), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else { throw Failure(words(errno)) }
    close(descriptor)
  }

  // MARK: Writes of whoever uses the mount (a primary)

  func willWriteDatabase(_ data: UnsafeRawBufferPointer, at offset: Int) throws {
    let header = offset == 0 ? Array(data.prefix(18)) : bytes(.database, at: 0, count: 18)
    guard let pageSize = Database.pageSize(header: header) else {
      throw Failure("cannot read database header: invalid database header")
    }
    guard data.count == pageSize else {
      throw Failure("database write must be exactly one page (\(pageSize) bytes)")
    }
  }

  /// True when the journal's end is the end of a transaction.
  func endOfJournal() -> Bool { size(.journal).map { $0 > 0 } ?? false }

  /// Looks at the frames that a write to the WAL has completed.
  func wroteWAL(at offset: Int, count: Int) {
    if offset == 0 {
      let header = bytes(.wal, at: 0, count: 32)
      guard header.count == 32 else { return }
      forgetWAL()
      walPageSize = Database.bigEndian(header[8..<12])
      return
    }
    let frameSize = walPageSize + 24
    guard walPageSize > 0, offset >= 32 else { return }
    let frame = (offset - 32) / frameSize
    // A frame written again makes the later ones void: they were rolled back.
    if (offset - 32) % frameSize == 0 { pending.removeAll { $0.frame >= frame } }
    guard (offset + count - 32) % frameSize == 0 else { return }
    for frame in frame..<((offset + count - 32) / frameSize) {
      let at = 32 + frame * frameSize
      let header = bytes(.wal, at: at, count: 8)
      guard header.count == 8 else { return }
      if !pending.contains(where: { $0.frame == frame }) {
        pending.append((frame, UInt32(Database.bigEndian(header[..<4])), at + 24))
      }
      let pages = Database.bigEndian(header[4...])
      guard pages > 0 else { continue }
      for (_, page, offset) in pending { inWAL[page] = offset }
      pending = []
      finishedPages = pages
    }
  }

  func forgetWAL() {
    inWAL = [:]
    pending = []
    finishedPages = nil
  }

  /// The next transaction: what the files say now. Nil when nothing has changed (a rollback).
  func commit(walPages: Int? = nil) throws -> Transaction? {
    var image = bytes(.database, at: 0, count: size(.database) ?? 0)
    let pageSize = walPages == nil ? Database.pageSize(header: image) ?? 4096 : walPageSize
    if let walPages {
      let wanted = walPages * pageSize
      image = Array(image.prefix(wanted)) + [UInt8](repeating: 0, count: max(0, wanted - image.count))
      for (page, offset) in inWAL where page > 0 && Int(page) <= walPages {
        let start = (Int(page) - 1) * pageSize
        image.replaceSubrange(start..<start + pageSize, with: bytes(.wal, at: offset, count: pageSize))
      }
    }
    let next = Transaction(name: name, id: id + 1, pageSize: pageSize, image: image)
    if walPages == nil, next.checksum == checksum || image.isEmpty && last == nil { return nil }
    try save(next)
    return next
  }

  /// Remembers a transaction as the newest.
  func save(_ transaction: Transaction) throws {
    try makeDirectories(savedPath)
    try writeFile(savedPath + "/newest", Array((transaction.head + "\n").utf8) + transaction.image)
    last = transaction
    commits += 1
  }

  // MARK: Applying

  /// Before a transaction is saved that is then put in the place of what is there: killed in between, the next start
  /// does it again.
  func willOverwrite() throws {
    try makeDirectories(savedPath)
    try writeFile(savedPath + "/applying", [])
  }

  /// Makes the files those of a transaction, with no journal, an empty WAL, and a -shm that makes readers look again.
  func overwrite(with transaction: Transaction) throws {
    try willOverwrite()
    defer { unlink(savedPath + "/applying") }
    if transaction.image.isEmpty {
      for type in [FileType.database, .journal, .wal, .shm] { unlink(path(type)) }
    } else {
      let descriptor = Glibc.open(path(.database), O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
      guard descriptor >= 0 else { throw Failure("open \(path(.database)): \(words(errno))") }
      defer { close(descriptor) }
      let count = transaction.image.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
      guard count == transaction.image.count, ftruncate(descriptor, count) == 0 else {
        throw Failure("write \(path(.database)): \(words(errno))")
      }
      unlink(path(.journal))
      truncate(path(.wal), 0)
      resetSharedMemory(transaction)
    }
    forgetWAL()
    last = transaction
  }

  /// A new header in the WAL's index (https://www.sqlite.org/walformat.html#the_wal_index_file_format): no frames, and
  /// another change counter, by which readers know that what they cached is old.
  private func resetSharedMemory(_ transaction: Transaction) {
    let old = bytes(.shm, at: 0, count: 48)
    guard old.count == 48 else { return }
    var words = old.withUnsafeBytes { bytes in
      (0..<12).map { bytes.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self) }
    }
    words[0] = 3_007_000
    words[2] &+= 1
    words[3] = 1 | UInt32(truncatingIfNeeded: transaction.pageSize == 65536 ? 1 : transaction.pageSize) << 16
    words[4] = 0
    words[5] = UInt32(transaction.pages)
    words[6] = 0
    words[7] = 0
    var (first, second): (UInt32, UInt32) = (0, 0)
    for index in stride(from: 0, to: 10, by: 2) {
      first = first &+ words[index] &+ second
      second = second &+ words[index + 1] &+ first
    }
    words[10] = first
    words[11] = second
    // Twice the header; then nothing is checkpointed, and nobody has a mark.
    let marks: [UInt32] = [0, 0, 0, UInt32.max, UInt32.max, UInt32.max]
    let written = words + words + marks
    let descriptor = Glibc.open(path(.shm), O_RDWR | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    written.withUnsafeBytes { _ = pwrite(descriptor, $0.baseAddress, $0.count, 0) }
    close(descriptor)
  }

  /// Takes what SQLite would need to write, in SQLite's order, and keeps what it got: so that nobody new begins to read
  /// while this waits. False when somebody still reads or writes.
  func tryLockAll() -> Bool {
    let file: FileType = isWAL ? .shm : .database
    let ranges =
      isWAL ? SQLiteLock.wal.map { $0...$0 } : [SQLiteLock.pending...SQLiteLock.reserved, SQLiteLock.shared]
    for range in ranges {
      let start = range.lowerBound
      let isFree = locks[file]?.set(
        owner: LockTable.ours, start: start, end: range.upperBound, exclusive: true)
      if isFree != true { return false }
    }
    return true
  }

  func unlockAll() {
    for type in locks.keys { locks[type]?.release(owner: LockTable.ours) }
  }
}
