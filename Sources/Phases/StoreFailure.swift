/// Why lock, record or marker cannot be used.
public struct StoreFailure: Error, Sendable, Equatable {
  /// What becomes of it.
  public enum Kind: Sendable, Equatable {
    /// It is damaged, or the machine is at fault.
    case unusable
    /// For want of permission.
    case permission
    /// A server that is not there, or does not answer: that may pass.
    case unavailable
    /// A server that refuses for good.
    case refused
    /// The settings cannot be meant.
    case settings
  }

  /// One sentence: what, where, why, and what to do about it.
  public var text: String
  /// What becomes of it.
  public var kind: Kind
  /// Whether the lock is not ours any more.
  public var losesLock = false

  /// Whether it is for want of permission.
  public var isPermission: Bool { kind == .permission }

  /// A failure.
  public init(_ text: String, isPermission: Bool = false) {
    self.init(text, kind: isPermission ? .permission : .unusable)
  }

  /// A failure of this kind.
  public init(_ text: String, kind: Kind) {
    self.text = text
    self.kind = kind
  }

  /// The program's exit code for it (design, section 9).
  public var exitCode: Int32 {
    switch kind {
    case .unusable: 70
    case .permission: 77
    case .unavailable, .refused: 69
    case .settings: 78
    }
  }
}
