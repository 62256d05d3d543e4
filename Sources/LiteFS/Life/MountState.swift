/// What is at the mount point.
public enum MountState: Equatable, Sendable, CustomStringConvertible {
  /// Nothing has been seen of it yet.
  case unknown
  /// No mount is listed there: whoever writes there writes into an ordinary directory.
  case absent
  /// LiteFS's, and it answers.
  case works
  /// It is listed, and nobody serves it any more ("Transport endpoint is not connected").
  case dead
  /// It is listed, and a look at it does not come back.
  case hung
  /// Another file system is mounted there; its type.
  case foreign(String)
  /// It may not be looked into, as without `allow_other`: only the mount table says that it is there.
  case closed

  /// Whether it can be used, as far as can be seen.
  public var isUsable: Bool { self == .works || self == .closed }

  /// For people.
  public var description: String {
    switch self {
    case .unknown: "not looked at yet"
    case .absent: "not mounted"
    case .works: "mounted"
    case .dead: "mounted, but its server is gone"
    case .hung: "mounted, but it does not answer"
    case .foreign(let type): "a \(type) file system"
    case .closed: "mounted, and not to be looked into by us"
    }
  }
}
