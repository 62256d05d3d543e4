import Blocking
import EventLoop
import Glibc

/// Takes what LiteFS mounted away, in use or not, whether its process lives or not. Blocks.
public enum MountClearing {
  /// How often and how long it is tried: somebody may mount again and again.
  private static let tries = 32
  private static let time = Duration.seconds(4)

  /// Unmounts lazily until the table has nothing of LiteFS's at the path. Never unmounts what is somebody else's.
  ///
  /// - Parameter abort: first cut the connection between the kernel and LiteFS.
  /// - Returns: nil when nothing of LiteFS's is there, else why it still is: the rest of a sentence.
  static func clear(_ givenPath: String, abort: Bool) -> String? {
    let start = MonotonicInstant.now
    var reason = "it was mounted again and again"
    var notes: [String] = []
    for _ in 0..<tries where MonotonicInstant.now - start < time {
      let table: MountTable
      do throws(SmallFile.Failure) {
        table = try MountTable.read()
      } catch {
        return "the mount table cannot be read: \(error.text)"
      }
      let path = table.resolve(givenPath)
      let entries = table.entries(at: path)
      guard let top = entries.last, entries.contains(where: \.isLiteFS) else { return nil }
      guard top.isLiteFS else {
        return "a file system of type \(top.type) (\(top.source)) is mounted over it: unmount that first"
      }
      if abort, let note = cut(path, top.minorNumber), !notes.contains(note) { notes.append(note) }
      if umount2(path, CInt(MNT_DETACH) | CInt(UMOUNT_NOFOLLOW)) == 0 { continue }
      switch errno {
      // Somebody else was faster.
      case EINVAL, ENOENT: continue
      case EPERM:
        // A user may unmount what fusermount3 mounted for him.
        guard let failure = Fusermount.unmountLazily(path) else { continue }
        reason = failure
      case let code: reason = "it cannot be unmounted: \(text(of: code).lowercased())"
      }
      return ([reason] + notes).joined(separator: "; ")
    }
    return ([reason] + notes).joined(separator: "; ")
  }

  /// Whoever waits for an answer of LiteFS's gets an error. Returns what went wrong.
  private static func cut(_ path: String, _ connection: UInt32) -> String? {
    do throws(SmallFile.Failure) {
      try SmallFile.write("1", to: "/sys/fs/fuse/connections/\(connection)/abort")
      return nil
    } catch {
      // Containers seldom have that file system. By force the kernel cuts the connection itself, and unmounts.
      if umount2(path, CInt(MNT_FORCE) | CInt(MNT_DETACH) | CInt(UMOUNT_NOFOLLOW)) == 0 { return nil }
      let code = errno
      return "its connection cannot be cut: \(error.text), and by force: \(text(of: code).lowercased())"
    }
  }
}
