import Glibc

/// Tells when somebody has written to a file and closed it, until it is let go of; by inotify(7).
///
/// For files on a file system of our own: the kernel looks the path up, and tells nothing of what other machines write.
public final class FileWatch {
  private let loop: EventLoop
  private let descriptor: FileDescriptor

  /// Watches a file that is there.
  public init(loop: EventLoop, path: String, _ body: @escaping () -> Void) throws(SystemError) {
    self.loop = loop
    let number = inotify_init1(CInt(IN_CLOEXEC | IN_NONBLOCK))
    guard number >= 0 else { throw SystemError(code: errno, operation: "make an inotify descriptor") }
    descriptor = FileDescriptor(owning: number)
    guard inotify_add_watch(number, path, UInt32(IN_CLOSE_WRITE)) >= 0 else {
      throw SystemError(code: errno, operation: "watch", subject: path)
    }
    try loop.watch(number, for: .reading) { _ in
      var buffer = [UInt8](repeating: 0, count: 4096)
      while read(number, &buffer, buffer.count) > 0 {}
      body()
    }
  }

  deinit {
    loop.unwatch(descriptor.rawValue)
  }
}
