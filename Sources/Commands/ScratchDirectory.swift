import EventLoop
import Glibc

/// A directory of our own for the time of one command: what its steps write into.
struct ScratchDirectory {
  let path: String

  /// Below `$TMPDIR`, `/tmp` or `/dev/shm`, whichever can be written to.
  init() throws(StartFailure) {
    let parents = [getenv("TMPDIR").map { String(cString: $0) } ?? "", "/tmp", "/dev/shm", "/run"]
    var reason: CInt = ENOENT
    for parent in parents where parent.hasPrefix("/") {
      var template = Array("\(parent)/supervisor-init-XXXXXX".utf8CString)
      let made = template.withUnsafeMutableBufferPointer { buffer in
        buffer.baseAddress.flatMap { mkdtemp($0) } != nil
      }
      if made {
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        // A step that runs as another user has to reach its file.
        _ = chmod(path, 0o711)
        return
      }
      reason = errno
    }
    throw StartFailure(
      [
        "no temporary directory can be made in \(parents.filter { $0.hasPrefix("/") }.joined(separator: ", ")): "
          + "\(errorText(reason)); set TMPDIR to one that can be written to"
      ],
      code: ExitCode.permission)
  }

  /// Removes it; what it held are files without further directories.
  func remove() {
    guard let list = opendir(path) else { return }
    while let entry = readdir(list) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { unlink("\(path)/\(name)") }
    }
    closedir(list)
    rmdir(path)
  }
}
