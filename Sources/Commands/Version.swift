import AgentProtocol
import CLinux
import EventLoop
import Glibc

/// What this program is, and what it runs on.
enum Version {
  /// Version of the program.
  static let text = Release.version

  /// For `--version --verbose`: which of the kernel's mechanisms are used here, and which fall back.
  static func features() -> String {
    clinux_spawn_features_probe()
    let spawn = clinux_spawn_features_get()
    let pidfd = clinux_pidfd_open(getpid())
    let signalsByPidfd = pidfd >= 0 ? clinux_pidfd_signal(pidfd, 0) : pidfd
    if pidfd >= 0 { _ = clinux_close(pidfd) }
    let signals = clinux_signalfd_create()
    if signals >= 0 { _ = clinux_close(signals) }
    let timer = clinux_timerfd_create()
    if timer >= 0 { _ = clinux_close(timer) }
    let wasSubreaper = clinux_subreaper_get() == 1
    let subreaper = clinux_subreaper_set(true)
    _ = clinux_subreaper_set(wasSubreaper)
    let rows: [(String, Bool, String)] = [
      ("clone with vfork semantics (exec)", spawn.clone_vfork, "a copying clone"),
      ("clone with a process descriptor (run)", spawn.clone_pidfd, "signals by process number"),
      ("signals by process descriptor", signalsByPidfd == 0, "signals by process number"),
      ("close_range", spawn.close_range, "/proc/self/fd, else one by one"),
      ("signalfd", signals >= 0, "signal handlers and a pipe"),
      ("timerfd", timer >= 0, "the timeout of the wait"),
      (
        "child subreaper", subreaper == 0,
        getpid() == 1 ? "not needed by PID 1" : "none: orphans are not adopted"
      ),
      ("/proc", access("/proc/self/stat", R_OK) == 0, "strays are found by PID 1 only"),
    ]
    return rows.map { name, works, fallback in
      "  \(name): \(works ? "yes" : "no, falls back to \(fallback)")\n"
    }.joined()
  }
}
