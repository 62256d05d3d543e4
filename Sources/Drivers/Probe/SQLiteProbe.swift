import AgentProtocol
import Blocking
import CSQLite
import Glibc

/// Looks whether an SQLite database is there and answers. Blocks as long as its file system does.
enum SQLiteProbe {
  /// The first bytes of every database (https://www.sqlite.org/fileformat2.html, section 1.3).
  private static let header = Array("SQLite format 3\0".utf8)

  static func look(_ path: String) -> ProbeOutcome {
    // Looked at before SQLite is asked: it takes an empty file for a database, and answers late for what is none.
    if let outcome = lookAtHeader(path) { return outcome }
    var database: OpaquePointer?
    // Read-only: a probe must neither make a database nor roll another's transaction back.
    let opened = sqlite3_open_v2(path, &database, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nil)
    defer { sqlite3_close(database) }
    guard opened == SQLITE_OK else { return failure(opened, database, path) }
    var statement: OpaquePointer?
    let prepared = sqlite3_prepare_v2(database, "PRAGMA schema_version", -1, &statement, nil)
    defer { sqlite3_finalize(statement) }
    guard prepared == SQLITE_OK else { return failure(prepared, database, path) }
    let result = sqlite3_step(statement)
    guard result == SQLITE_ROW else { return failure(result, database, path) }
    return .ready("the database \(path) answers")
  }

  /// What the start of the file already decides.
  private static func lookAtHeader(_ path: String) -> ProbeOutcome? {
    // Non-blocking, or a pipe of this name would wait for a writer.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      switch errno {
      case ENOENT, ENOTDIR: return .notYet("the database \(path) does not exist")
      case let code: return .notYet("the database \(path) cannot be opened: \(text(of: code))")
      }
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      return .notYet("the database \(path) cannot be looked at: \(text(of: errno))")
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      return .refused("\(path) is not a file, so it is no database")
    }
    var bytes = [UInt8](repeating: 0, count: header.count)
    let size = pread(descriptor, &bytes, bytes.count, 0)
    guard size >= 0 else { return .notYet("the database \(path) cannot be read: \(text(of: errno))") }
    guard header.starts(with: bytes.prefix(size)) else {
      return .refused("\(path) is not an SQLite database: it does not begin as one")
    }
    return size < header.count ? .notYet("the database \(path) is still empty") : nil
  }

  private static func failure(_ code: CInt, _ database: OpaquePointer?, _ path: String) -> ProbeOutcome {
    let reason = database.flatMap { sqlite3_errmsg($0) }.map { String(cString: $0) } ?? "error \(code)"
    switch code & 0xFF {
    case SQLITE_BUSY, SQLITE_LOCKED: return .notYet("the database \(path) is locked by another process")
    case SQLITE_NOTADB, SQLITE_CORRUPT, SQLITE_FORMAT:
      return .refused("\(path) is not a usable SQLite database: \(reason)")
    default: return .notYet("the database \(path) does not answer: \(reason)")
    }
  }
}
