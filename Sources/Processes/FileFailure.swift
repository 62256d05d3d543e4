import EventLoop
import Glibc

/// What a file helper could not do.
public struct FileFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The step that failed.
  public enum Stage: Sendable, Equatable {
    /// Opening or creating the file.
    case open
    /// Reading it.
    case read
    /// Writing it beside its place.
    case write
    /// Making it durable.
    case sync
    /// Putting it in its place.
    case rename
    /// Locking it.
    case lock
    /// The file of a lock that we hold was removed or replaced.
    case lockGone
    /// Making the directory.
    case makeDirectory
    /// The directory's name is a symbolic link.
    case symbolicLink
    /// Somebody else owns the directory, below a parent that everybody may write to.
    case foreign
    /// More than 1 MiB.
    case tooLarge
    /// Removing it.
    case remove
    /// The helper did not answer in time: a hanging file system.
    case deadline
    /// The helper itself ended, or could not be started.
    case helper
  }

  /// Where it failed.
  public var stage: Stage
  /// The kernel's error number.
  public var code: CInt
  /// The file or directory.
  public var path: String

  /// A failure with its context.
  public init(stage: Stage, code: CInt, path: String) {
    self.stage = stage
    self.code = code
    self.path = path
  }

  /// Whether it is for want of permission: another user's, or a file system that is only to be read.
  public var isPermission: Bool {
    stage == .foreign || stage == .symbolicLink || [EACCES, EPERM, EROFS].contains(code)
  }

  /// Whether the file simply is not there.
  public var isMissing: Bool { stage == .open && code == ENOENT }

  /// One sentence: what, where, why, and what to do about it.
  public var description: String {
    let reason = errorText(code)
    switch stage {
    case .open: return "cannot open \(path): \(reason)"
    case .read: return "cannot read \(path): \(reason)"
    case .write: return "cannot write \(path): \(reason)"
    case .sync: return "cannot make \(path) durable: \(reason)"
    case .rename: return "cannot put \(path) in place: \(reason)"
    case .lock: return "cannot lock \(path): \(reason)"
    case .lockGone:
      return
        "cannot write \(path): the lock it needs was removed while we held it, so another process may hold it now"
    case .makeDirectory: return "cannot make directory \(path): \(reason)"
    case .symbolicLink: return "\(path) is a symbolic link: name the real directory"
    case .foreign:
      return
        "\(path) belongs to another user, below a directory that everybody may write to: remove it, or choose "
        + "another directory"
    case .tooLarge: return "\(path) is larger than 1 MiB: it is not one of our files"
    case .remove: return "cannot remove \(path): \(reason)"
    case .deadline: return "no answer from the file system about \(path): it hangs"
    case .helper: return "the helper process for \(path) ended unexpectedly: \(reason)"
    }
  }
}
