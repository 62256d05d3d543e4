import CLinux
import EventLoop
import Glibc
import Phases
import Processes
import ReleaseRecords

/// The file that `$SUPERVISOR_OUTPUT` names, in our private directory: made before a step's command starts, read after
/// it, removed then. The directory is on a file system of ours, so this may be done here.
struct OutputFile {
  let path: String

  /// Makes it anew, for whoever the step runs as.
  init(path: String, owner: Identity?) throws(SystemError) {
    self.path = path
    unlink(path)
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard descriptor >= 0 else { throw SystemError(code: errno, operation: "make", subject: path) }
    defer { close(descriptor) }
    guard let owner, geteuid() == 0 else { return }
    guard fchown(descriptor, owner.user, owner.group) == 0 else {
      throw SystemError(code: errno, operation: "give to its user", subject: path)
    }
  }

  /// The name of a step's file.
  static func name(of id: ProcessID) -> String {
    switch id {
    case .infrastructureStep(let index): return "output-infrastructure-\(index)"
    case .nodeStep(let index): return "output-node-\(index)"
    case .app, .service, .roleHook, .litefs: return "output"
    }
  }

  func remove() { unlink(path) }

  /// What is in it, at most `limit` bytes, without waiting; nothing when it is not the file any more.
  func bytes(limit: Int) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return [] }
    var bytes = [UInt8](repeating: 0, count: min(Int(status.st_size), limit))
    let size = read(descriptor, &bytes, bytes.count)
    return Array(bytes.prefix(max(size, 0)))
  }

  /// What the step wrote; it may have put anything in its place.
  func take() throws(StepOutputs.Malformed) -> [StepOutput] {
    defer { remove() }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
    if descriptor < 0 {
      if errno == ENOENT { return [] }
      throw StepOutputs.Malformed(description: "its $SUPERVISOR_OUTPUT cannot be read: \(errorText(errno))")
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
      throw StepOutputs.Malformed(description: "its $SUPERVISOR_OUTPUT is not a file any more")
    }
    var bytes = [UInt8](repeating: 0, count: StepOutputs.limit + 1)
    let size = read(descriptor, &bytes, bytes.count)
    guard size >= 0 else {
      throw StepOutputs.Malformed(description: "its $SUPERVISOR_OUTPUT cannot be read: \(errorText(errno))")
    }
    return try StepOutputs.parse(Array(bytes.prefix(size)))
  }
}
