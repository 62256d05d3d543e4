import CLinux
import Control
import EventLoop
import Glibc

/// The supervisor's private directory (`run_dir`): 0755, owned by us, never a symbolic link. In it: the instance lock,
/// the control socket, the role file, exit.json.
public final class PrivateDirectory {
  /// Why there is none.
  public struct Failure: Error, Sendable, Equatable, CustomStringConvertible {
    /// One sentence with the remedy.
    public var description: String
    /// Whether another supervisor has it.
    public var isInUse = false
  }

  /// Where it is.
  public let path: String
  private let lock: FileDescriptor

  /// Takes the first of `candidates` that is there and ours, or can be made.
  /// - Throws: when none can be used, or another supervisor runs in it.
  public init(candidates: [String]) throws(Failure) {
    var problems: [String] = []
    for candidate in candidates {
      guard let problem = PrivateDirectory.prepare(candidate) else {
        path = candidate
        lock = try PrivateDirectory.takeLock(in: candidate)
        return
      }
      problems.append(problem)
    }
    throw Failure(
      description:
        "no private directory can be used: \(problems.joined(separator: "; ")). Set run_dir (or --run-dir) to "
        + "a directory that only this user can write to")
  }

  /// Makes the directory if need be. Returns what is wrong with it.
  private static func prepare(_ path: String) -> String? {
    guard path.hasPrefix("/") else { return "\(path) is not an absolute path" }
    makeParents(of: path)
    if mkdir(path, 0o755) != 0, errno != EEXIST { return "cannot make \(path): \(errorText(errno))" }
    var status = stat()
    guard lstat(path, &status) == 0 else { return "cannot look at \(path): \(errorText(errno))" }
    if status.st_mode & S_IFMT == S_IFLNK { return "\(path) is a symbolic link" }
    if status.st_mode & S_IFMT != S_IFDIR { return "\(path) is not a directory" }
    if status.st_uid != geteuid() {
      return "\(path) belongs to user \(status.st_uid), not to us (\(geteuid()))"
    }
    if status.st_mode & 0o022 != 0, chmod(path, 0o755) != 0 {
      return "\(path) can be written to by others"
    }
    if access(path, W_OK) != 0 { return "cannot write to \(path): \(errorText(errno))" }
    return nil
  }

  private static func makeParents(of path: String) {
    var parent = ""
    for part in path.split(separator: "/").dropLast() {
      parent += "/\(part)"
      _ = mkdir(parent, 0o755)
    }
  }

  /// How long the lock of a supervisor that is gone is waited for, in milliseconds.
  private static let patience = 2000

  private static func takeLock(in directory: String) throws(Failure) -> FileDescriptor {
    let file = directory + "/supervisor.lock"
    let opened = open(file, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard opened >= 0 else { throw Failure(description: "cannot open \(file): \(errorText(errno))") }
    let descriptor = FileDescriptor(owning: opened)
    var waited = 0
    while flock(opened, LOCK_EX | LOCK_NB) != 0 {
      var text = [UInt8](repeating: 0, count: 16)
      let size = max(pread(opened, &text, text.count, 0), 0)
      let pid = String(decoding: text.prefix(size), as: UTF8.self)
      // One that was killed while it started a process: that process holds a copy of the lock until its exec.
      if waited < patience, let owner = CInt(pid), isGone(owner) {
        _ = poll(nil, 0, 10)
        waited += 10
        continue
      }
      throw Failure(
        description:
          "another supervisor\(pid.isEmpty ? "" : " (pid \(pid))") runs with run_dir \(directory): stop it, or "
          + "give this one its own directory (--run-dir)",
        isInUse: true)
    }
    let own = Array("\(getpid())".utf8)
    if ftruncate(opened, 0) == 0 { _ = pwrite(opened, own, own.count, 0) }
    return descriptor
  }

  /// Whether a supervisor with this number has ended. Our own number was one of an earlier life: PID 1's is always 1.
  private static func isGone(_ pid: CInt) -> Bool {
    if pid == getpid() || clinux_kill(pid, 0) == -ESRCH { return true }
    var process = clinux_process()
    return clinux_process_read(pid, &process) == 0 && UInt8(bitPattern: process.state) == UInt8(ascii: "Z")
  }

  /// Writes a small file as a whole. Returns what went wrong; the directory may be full.
  @discardableResult
  public func write(_ name: String, _ text: String, mode: mode_t) -> SystemError? {
    let target = path + "/" + name
    let temporary = target + ".tmp"
    _ = unlink(temporary)
    let opened = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode)
    guard opened >= 0 else { return SystemError(code: errno, operation: "open", subject: temporary) }
    let bytes = Array(text.utf8)
    let written = clinux_write(opened, bytes, bytes.count)
    _ = clinux_close(opened)
    guard written == bytes.count else {
      _ = unlink(temporary)
      return SystemError(code: written < 0 ? CInt(-written) : ENOSPC, operation: "write", subject: target)
    }
    guard rename(temporary, target) == 0 else {
      return SystemError(code: errno, operation: "rename", subject: target)
    }
    return nil
  }
}
