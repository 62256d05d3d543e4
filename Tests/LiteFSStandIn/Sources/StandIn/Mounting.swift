import CFUSE
import Glibc
import Wire

/// Mounting and unmounting by fusermount3, also as root: as LiteFS does.
enum Mounting {
  private static func fusermount() throws -> String {
    for directory in (environment("PATH") ?? "").split(separator: ":") {
      let path = directory + "/fusermount3"
      if access(String(path), X_OK) == 0 { return String(path) }
    }
    throw Failure("exec: \"fusermount3\": executable file not found in $PATH")
  }

  /// Runs it, with `socket` as its communication channel. Its exit status and what it said.
  private static func run(_ arguments: [String], socket: Int32? = nil) throws -> (Int32, String) {
    let path = try fusermount()
    var pipes: [Int32] = [0, 0]
    guard pipe(&pipes) == 0 else { throw Failure("pipe: \(words(errno))") }
    for pipe in pipes { _ = fcntl(pipe, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 1)
    posix_spawn_file_actions_adddup2(&actions, pipes[1], 2)
    if let socket { posix_spawn_file_actions_adddup2(&actions, socket, 3) }
    let argv: [UnsafeMutablePointer<CChar>?] = (["fusermount3"] + arguments).map { strdup($0) } + [nil]
    let variables = ["_FUSE_COMMFD=3", "PATH=" + (environment("PATH") ?? "")]
    let envp: [UnsafeMutablePointer<CChar>?] = variables.map { strdup($0) } + [nil]
    defer { for pointer in argv + envp { free(pointer) } }
    var process: pid_t = 0
    let failed = posix_spawn(&process, path, &actions, nil, argv, envp)
    close(pipes[1])
    defer { close(pipes[0]) }
    if failed != 0 { throw Failure("fork/exec \(path): \(words(failed))") }
    var said: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while case let count = read(pipes[0], &chunk, chunk.count), count > 0 { said += chunk[..<count] }
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0, errno == EINTR {}
    let text = String(decoding: said, as: UTF8.self)
    return ((status >> 8) & 0xff, String(text.reversed().drop { $0 == "\n" }.reversed()))
  }

  static func unmount(_ path: String) throws {
    let (status, said) = try run(["-u", path])
    if status != 0 { throw Failure("exit status \(status): \(said)") }
  }

  /// The descriptor of /dev/fuse for a new mount.
  static func mount(_ path: String, allowOther: Bool) throws -> Int32 {
    do {
      var sockets: [Int32] = [0, 0]
      guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0, &sockets) == 0
      else {
        throw Failure(words(errno))
      }
      defer { for socket in sockets { close(socket) } }
      let options = "fsname=litefs" + (allowOther ? ",allow_other" : "")
      let (status, said) = try run(["-o", options, "--", path], socket: sockets[1])
      for line in said.split(separator: "\n") { Log.info("mount helper error: \(line)") }
      if status != 0 { throw Failure("exit status \(status)") }
      return try descriptor(from: sockets[0])
    } catch {
      throw Failure("fusermount: \(error)")
    }
  }

  private static func descriptor(from socket: Int32) throws -> Int32 {
    var byte: UInt8 = 0
    var control = [Int](repeating: 0, count: 8)
    let count = withUnsafeMutablePointer(to: &byte) { byte in
      control.withUnsafeMutableBytes { control in
        var vector = iovec(iov_base: byte, iov_len: 1)
        return withUnsafeMutablePointer(to: &vector) { vector in
          var message = msghdr()
          message.msg_iov = vector
          message.msg_iovlen = 1
          message.msg_control = control.baseAddress
          message.msg_controllen = control.count
          return recvmsg(socket, &message, Int32(MSG_CMSG_CLOEXEC))
        }
      }
    }
    // After the length (8 bytes), the level and the type (4 each) comes the descriptor.
    guard count > 0, control[0] >= 20 else { throw Failure("no descriptor received") }
    return control.withUnsafeBytes { $0.load(fromByteOffset: 16, as: Int32.self) }
  }
}
