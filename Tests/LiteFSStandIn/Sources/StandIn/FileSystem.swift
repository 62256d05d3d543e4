import CFUSE
import Glibc
import Wire

/// The mount: one flat directory of databases, each with its companions. Open files are the real ones under DATA.
final class FileSystem: @unchecked Sendable {
  /// The callbacks are C functions; they find it here.
  nonisolated(unsafe) static var current: FileSystem?

  let store: Store
  private var session: OpaquePointer?
  private(set) var numbers: [String: fuse_ino_t] = [:]
  private(set) var names: [fuse_ino_t: String] = [:]
  private var next: fuse_ino_t = 2

  init(store: Store) { self.store = store }

  /// Mounts, and answers on threads of its own until something unmounts it.
  func mount() throws {
    let path = store.configuration.string("fuse.dir")
    if let milliseconds = Orders.content("delay-mount") { usleep(UInt32(milliseconds) * 1000) }
    try makeDirectories(path)
    let descriptor = try Mounting.mount(path, allowOther: store.configuration.flag("fuse.allow-other"))
    FileSystem.current = self
    var operations = FileSystem.operations
    var argument: UnsafeMutablePointer<CChar>? = strdup("litefs")
    session = withUnsafeMutablePointer(to: &argument) {
      var arguments = fuse_args(argc: 1, argv: $0, allocated: 0)
      return fuse_session_new(&arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, nil)
    }
    guard let session, fuse_session_mount(session, "/dev/fd/\(descriptor)") == 0 else {
      throw Failure("fusermount: no session")
    }
    store.invalidate = { [self] name in
      if let number = store.monitor.locked({ numbers[name] }) {
        fuse_lowlevel_notify_inval_inode(session, number, 0, 0)
      }
    }
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    for _ in 0..<4 { Thread { [self] in answer() }.detach() }
  }

  private func answer() {
    guard let session else { return }
    var buffer = fuse_buf()
    while fuse_session_exited(session) == 0 {
      // Who asks a LiteFS that is stopped can be killed; who waits for an answer to what was taken cannot.
      var device = pollfd(fd: fuse_session_fd(session), events: Int16(POLLIN), revents: 0)
      poll(&device, 1, -1)
      Orders.hold("hang-fuse")
      let count = fuse_session_receive_buf(session, &buffer)
      if count == -EINTR || count == -EAGAIN { continue }
      if count <= 0 { return }
      Orders.hold("hang-fuse-hard")
      fuse_session_process_buf(session, &buffer)
    }
  }

  // MARK: Names and attributes, under the store's lock

  func number(_ name: String) -> fuse_ino_t {
    if let number = numbers[name] { return number }
    defer { next += 1 }
    numbers[name] = next
    names[next] = name
    return next
  }

  /// The next file of this name is another one.
  func forget(_ name: String) { numbers[name] = nil }

  /// Nil: there is no such file.
  func attributes(_ number: fuse_ino_t) -> stat? {
    var result = stat()
    result.st_ino = ino_t(number)
    result.st_uid = getuid()
    result.st_gid = getgid()
    result.st_nlink = 1
    var modified = Int64(0)
    if number == FUSE_ROOT_ID {
      result.st_mode = S_IFDIR | (store.isPrimary ? 0o777 : 0o555)
      return result
    }
    guard let name = names[number] else { return nil }
    if name == ".lag" {
      result.st_mode = S_IFREG | 0o444
      result.st_size = 11
      modified = store.primaryTimestamp == 0 ? unixMilliseconds() : max(store.primaryTimestamp, 0)
    } else if name == ".primary", let primary = store.primary {
      result.st_mode = S_IFREG | 0o444
      result.st_size = off_t(primary.hostname.utf8.count + 1)
    } else {
      let (base, type) = FileType.parse(name)
      guard let database = store.databases[base] else { return nil }
      switch type {
      case .position:
        result.st_mode = S_IFREG | 0o666
        result.st_size = 34
        modified = database.last?.timestamp ?? 0
      case .lock: result.st_mode = S_IFREG | 0o666
      default:
        var status = stat()
        guard stat(database.path(type), &status) == 0 else { return nil }
        result.st_mode = S_IFREG | (type == .database && !store.isPrimary ? 0o444 : 0o666)
        result.st_size = status.st_size
        result.st_blocks = status.st_blocks
        modified = Int64(status.st_mtim.tv_sec) * 1000
      }
    }
    result.st_mtim.tv_sec = time_t(modified / 1000)
    result.st_mtim.tv_nsec = Int(modified % 1000) * 1_000_000
    return result
  }

  func entry(_ name: String) -> fuse_entry_param? {
    let number = number(name)
    guard let attributes = attributes(number) else { return nil }
    var entry = fuse_entry_param()
    entry.ino = number
    entry.attr = attributes
    return entry
  }

  /// What is made on reading.
  func content(_ name: String) -> String? {
    if name == ".lag" { return store.lagText }
    if name == ".primary", let primary = store.primary { return primary.hostname + "\n" }
    let (base, type) = FileType.parse(name)
    guard type == .position, let database = store.databases[base] else { return type == .lock ? "" : nil }
    return database.position + "\n"
  }

  func listing() -> [String] {
    var result = [".lag"] + (store.primary == nil ? [] : [".primary"])
    for database in store.databases.values.sorted(by: { $0.name < $1.name })
    where (database.last?.pages ?? 0) > 0 {
      result += [database.name, database.name + "-pos"]
      for type in [FileType.journal, .shm, .wal] where database.size(type) != nil {
        result.append(database.name + type.rawValue)
      }
    }
    return result
  }

  // MARK: Changes; each returns an error number

  func create(_ name: String) -> Int32 {
    let (base, type) = FileType.parse(name)
    if type == .database {
      do {
        guard let database = store.databases[base] else {
          _ = try store.database(creating: base)
          return 0
        }
        try database.create()
        return 0
      } catch { return EEXIST }
    }
    guard let database = store.databases[base] else {
      Log.info(
        "fuse: create(): cannot create \(type == .journal ? "journal" : type.rawValue.dropFirst() + ""), database not found: \(base)"
      )
      return ENOENT
    }
    if type == .journal, !store.isPrimary {
      Log.info("fuse: create(): cannot create journal: read only replica")
      return EACCES
    }
    guard [.journal, .wal, .shm].contains(type) else { return ENOSYS }
    let descriptor = Glibc.open(database.path(type), O_RDWR | O_CREAT | O_CLOEXEC, 0o666)
    if descriptor < 0 { return errno }
    close(descriptor)
    return 0
  }

  func write(_ name: String, _ file: Int32, _ data: UnsafeRawBufferPointer, at offset: Int) -> Int32 {
    let (base, type) = FileType.parse(name)
    guard let database = store.databases[base] else { return EIO }
    do {
      switch type {
      case .database:
        if !store.isPrimary { throw Failure("database error: read only replica") }
        do { try database.willWriteDatabase(data, at: offset) } catch {
          throw Failure("database error: \(error)")
        }
      case .journal:
        if !store.isPrimary { throw Failure("journal error: read only replica") }
      case .wal:
        if !store.isPrimary { throw Failure("wal error: read only replica") }
      default: break
      }
    } catch {
      Log.info("fuse: write(): \(error)")
      return type == .database ? EIO : EACCES
    }
    // PERSIST ends a transaction by a header of zeros. Who is killed after the commit finds it, and the journal, again.
    if type == .journal, offset == 0, data.count >= 8, !data.prefix(8).contains(where: { $0 != 0 }) {
      do { try store.commit(database) } catch {
        Log.info("fuse: commit error: \(error)")
        return EIO
      }
    }
    guard pwrite(file, data.baseAddress, data.count, offset) == data.count else { return errno }
    if type == .wal { database.wroteWAL(at: offset, count: data.count) }
    return 0
  }

  func truncate(_ name: String, to size: Int) -> Int32 {
    let (base, type) = FileType.parse(name)
    guard let database = store.databases[base] else { return EIO }
    if type == .database || type == .journal, !store.isPrimary { return EACCES }
    if type == .journal, size == 0, database.endOfJournal() {
      do { try store.commit(database) } catch { return EIO }
    }
    guard Glibc.truncate(database.path(type), size) == 0 else { return errno }
    if type == .wal, size == 0 { database.forgetWAL() }
    return 0
  }

  func remove(_ name: String) -> Int32 {
    let (base, type) = FileType.parse(name)
    guard type != .database || store.isPrimary else { return EACCES }
    guard let database = store.databases[base], let size = database.size(type) else { return ENOENT }
    do {
      switch type {
      case .database: try store.drop(database)
      case .journal:
        if !store.isPrimary { return EACCES }
        if size > 0 { try store.commit(database) }
        unlink(database.path(type))
      case .wal:
        database.forgetWAL()
        unlink(database.path(type))
      case .shm: unlink(database.path(type))
      default: return ENOSYS
      }
    } catch {
      Log.info("fuse: commit error: \(error)")
      return EIO
    }
    for type in type == .database ? FileType.allCases : [type] { forget(base + type.rawValue) }
    return 0
  }

  func lockTable(_ number: fuse_ino_t) -> (Database, FileType)? {
    guard let name = names[number] else { return nil }
    let (base, type) = FileType.parse(name)
    return store.databases[base].map { ($0, type) }
  }
}
