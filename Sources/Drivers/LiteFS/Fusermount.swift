import Blocking
import Glibc

/// The program by which users unmount what it mounted for them.
enum Fusermount {
  /// Unmounts lazily. Blocks. Returns what went wrong; nil: nothing.
  static func unmountLazily(_ path: String) -> String? {
    var ends: [CInt] = [-1, -1]
    guard pipe(&ends) == 0 else { return "no pipe: \(text(of: errno).lowercased())" }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0)
    posix_spawn_file_actions_adddup2(&actions, 0, 1)
    posix_spawn_file_actions_adddup2(&actions, ends[1], 2)
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    // Our thread takes no signals, which a child would inherit.
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words: [UnsafeMutablePointer<CChar>?] = []
    for word in ["fusermount3", "-u", "-z", "--", path] { words.append(strdup(word)) }
    words.append(nil)
    defer { for word in words { free(word) } }
    var pid: pid_t = 0
    let code = posix_spawnp(&pid, "fusermount3", &actions, &attributes, words, environ)
    close(ends[1])
    guard code == 0 else { return "fusermount3 cannot be started: \(text(of: code).lowercased())" }
    var said: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1024)
    while true {
      let count = read(ends[0], &chunk, chunk.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      said += chunk.prefix(max(0, min(count, 1024 - said.count)))
    }
    var status: CInt = 0
    while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    guard status != 0 else { return nil }
    let line = String(decoding: said.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    return line.isEmpty ? "fusermount3 failed" : line
  }
}
