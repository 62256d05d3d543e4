import CFUSE
import Glibc
import Wire

/// What libfuse calls (https://libfuse.github.io/doxygen/structfuse__lowlevel__ops.html).
extension FileSystem {
  private static func locked<Result>(_ body: (FileSystem) -> Result) -> Result? {
    guard let current else { return nil }
    return current.store.monitor.locked { body(current) }
  }

  private static func string(_ name: UnsafePointer<CChar>?) -> String {
    name.map { String(cString: $0) } ?? ""
  }

  static let operations: fuse_lowlevel_ops = {
    var operations = fuse_lowlevel_ops()
    operations.`init` = { _, connection in
      guard let connection else { return }
      connection.pointee.want &= ~UInt32(
        FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_SPLICE_READ)
      if connection.pointee.capable & UInt32(FUSE_CAP_EXPLICIT_INVAL_DATA) != 0 {
        connection.pointee.want |= UInt32(FUSE_CAP_EXPLICIT_INVAL_DATA)
      }
    }
    operations.lookup = { request, _, name in
      let name = FileSystem.string(name)
      guard var entry = FileSystem.locked({ $0.entry(name) }) ?? nil else {
        fuse_reply_err(request, ENOENT)
        return
      }
      fuse_reply_entry(request, &entry)
    }
    operations.getattr = { request, number, _ in
      guard var attributes = FileSystem.locked({ $0.attributes(number) }) ?? nil else {
        fuse_reply_err(request, ENOENT)
        return
      }
      // The kernel may remember the root's for a while: it is told no better by LiteFS.
      fuse_reply_attr(request, &attributes, number == FUSE_ROOT_ID ? 60 : 0)
    }
    operations.setattr = { request, number, wanted, which, _ in
      let size = wanted?.pointee.st_size ?? 0
      let failed: Int32 =
        FileSystem.locked { current in
          guard which & FUSE_SET_ATTR_SIZE != 0 else { return 0 }
          return current.names[number].map { current.truncate($0, to: size) } ?? EIO
        } ?? EIO
      guard failed == 0, var attributes = FileSystem.locked({ $0.attributes(number) }) ?? nil else {
        fuse_reply_err(request, failed == 0 ? ENOENT : failed)
        return
      }
      fuse_reply_attr(request, &attributes, 0)
    }
    operations.open = { request, number, info in
      guard let info else { return }
      let failed: Int32 =
        FileSystem.locked { current in
          guard let name = current.names[number] else { return ENOENT }
          if current.content(name) != nil {
            info.pointee.direct_io = 1
            info.pointee.fh = UInt64.max
            return 0
          }
          let (base, type) = FileType.parse(name)
          guard let database = current.store.databases[base] else { return ENOENT }
          let file = Glibc.open(database.path(type), O_RDWR | O_CLOEXEC)
          if file < 0 { return errno }
          info.pointee.fh = UInt64(file)
          info.pointee.keep_cache = 1
          return 0
        } ?? EIO
      if failed == 0 { fuse_reply_open(request, info) } else { fuse_reply_err(request, failed) }
    }
    operations.create = { request, _, name, _, info in
      guard let info else { return }
      let name = FileSystem.string(name)
      var failed: Int32 = EIO
      var entry = fuse_entry_param()
      _ = FileSystem.locked { current in
        failed = current.create(name)
        guard failed == 0 else { return }
        current.forget(name)
        let (base, type) = FileType.parse(name)
        guard let made = current.entry(name), let database = current.store.databases[base] else {
          failed = EIO
          return
        }
        let file = Glibc.open(database.path(type), O_RDWR | O_CLOEXEC)
        if file < 0 { failed = errno }
        info.pointee.fh = UInt64(max(file, 0))
        info.pointee.keep_cache = 1
        entry = made
      }
      if failed == 0 { fuse_reply_create(request, &entry, info) } else { fuse_reply_err(request, failed) }
    }
    operations.read = { request, number, size, offset, info in
      let file = info?.pointee.fh ?? UInt64.max
      if file == UInt64.max {
        let text =
          FileSystem.locked { current in current.names[number].flatMap { current.content($0) } } ?? nil
        guard let text else {
          fuse_reply_err(request, ENOENT)
          return
        }
        let bytes = Array(text.utf8.dropFirst(offset).prefix(size)).map { CChar(bitPattern: $0) }
        fuse_reply_buf(request, bytes, bytes.count)
        return
      }
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: size) { buffer in
        let count = pread(Int32(file), buffer.baseAddress, size, offset)
        if count < 0 {
          fuse_reply_err(request, errno)
        } else {
          fuse_reply_buf(request, buffer.baseAddress, count)
        }
      }
    }
    operations.write = { request, number, data, size, offset, info in
      let file = info?.pointee.fh ?? UInt64.max
      let failed: Int32 =
        FileSystem.locked { current in
          guard file != UInt64.max, let name = current.names[number] else { return EIO }
          return current.write(
            name, Int32(file), UnsafeRawBufferPointer(start: data, count: size), at: offset)
        } ?? EIO
      if failed == 0 { fuse_reply_write(request, size) } else { fuse_reply_err(request, failed) }
    }
    operations.flush = { request, number, info in
      let owner = info?.pointee.lock_owner ?? 0
      _ = FileSystem.locked { current in
        guard let (database, type) = current.lockTable(number) else { return }
        if type == .shm { current.store.unlocks(database, owner: owner) }
        database.locks[type]?.release(owner: owner)
      }
      fuse_reply_err(request, 0)
    }
    operations.release = { request, number, info in
      if let info, info.pointee.fh != UInt64.max { close(Int32(info.pointee.fh)) }
      fuse_reply_err(request, 0)
    }
    operations.fsync = { request, _, _, _ in fuse_reply_err(request, 0) }
    operations.fsyncdir = { request, _, _, _ in fuse_reply_err(request, 0) }
    operations.opendir = { request, _, info in fuse_reply_open(request, info) }
    operations.readdir = { request, _, size, offset, _ in
      var bytes: [CChar] = []
      let listing = FileSystem.locked { $0.listing() } ?? []
      for (index, name) in listing.enumerated().dropFirst(Int(offset)) {
        var attributes = stat()
        attributes.st_ino = ino_t(index + 1)
        attributes.st_mode = S_IFREG
        var one = [CChar](repeating: 0, count: 512)
        let length = fuse_add_direntry(request, &one, one.count, name, &attributes, off_t(index + 1))
        if bytes.count + length > size { break }
        bytes += one[..<length]
      }
      fuse_reply_buf(request, bytes, bytes.count)
    }
    operations.statfs = { request, _ in
      var status = statvfs()
      if let path = FileSystem.current?.store.path, statvfs(path, &status) == 0 {
        fuse_reply_statfs(request, &status)
      } else {
        fuse_reply_err(request, EIO)
      }
    }
    operations.unlink = { request, _, name in
      let name = FileSystem.string(name)
      fuse_reply_err(request, FileSystem.locked { $0.remove(name) } ?? EIO)
    }
    operations.mkdir = { request, _, _, _ in fuse_reply_err(request, EPERM) }
    operations.mknod = { request, _, _, _, _ in fuse_reply_err(request, EPERM) }
    operations.rename = { request, _, _, _, _, _ in fuse_reply_err(request, EIO) }
    operations.symlink = { request, _, _, _ in fuse_reply_err(request, EIO) }
    operations.link = { request, _, _, _ in fuse_reply_err(request, EIO) }
    operations.getlk = { request, number, info, lock in
      guard var answer = lock?.pointee else { return }
      let owner = info?.pointee.lock_owner ?? 0
      let end = answer.l_len == 0 ? UInt64.max : UInt64(answer.l_start + answer.l_len - 1)
      let found =
        FileSystem.locked { current -> LockTable.Held? in
          guard let (database, type) = current.lockTable(number) else { return nil }
          return database.locks[type]?.conflict(
            owner: owner, start: UInt64(answer.l_start), end: end, exclusive: answer.l_type == F_WRLCK)
        } ?? nil
      if let found {
        answer.l_type = Int16(found.exclusive ? F_WRLCK : F_RDLCK)
        answer.l_start = off_t(found.start)
        answer.l_len = off_t(clamping: found.end - found.start + 1)
        answer.l_pid = found.process
      } else {
        answer.l_type = Int16(F_UNLCK)
      }
      fuse_reply_lock(request, &answer)
    }
    operations.setlk = { request, number, info, lock, sleeps in
      guard let lock = lock?.pointee else { return }
      let owner = info?.pointee.lock_owner ?? 0
      let end = lock.l_len == 0 ? UInt64.max : UInt64(lock.l_start + lock.l_len - 1)
      let failed: Int32 =
        FileSystem.locked { current in
          guard let (database, type) = current.lockTable(number) else { return EIO }
          if sleeps != 0, type != .lock { return ENOSYS }
          let exclusive: Bool? = Int32(lock.l_type) == F_UNLCK ? nil : Int32(lock.l_type) == F_WRLCK
          if type == .shm, exclusive == nil, UInt64(lock.l_start) <= SQLiteLock.wal.lowerBound {
            current.store.unlocks(database, owner: owner)
          }
          let granted = database.locks[type]?.set(
            owner: owner, start: UInt64(lock.l_start), end: end, exclusive: exclusive, process: lock.l_pid)
          return granted == true ? 0 : EAGAIN
        } ?? EIO
      fuse_reply_err(request, failed)
    }
    return operations
  }()
}
