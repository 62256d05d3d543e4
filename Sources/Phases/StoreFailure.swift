/// Why lock, record or marker cannot be used.
public struct StoreFailure: Error, Sendable, Equatable {
  /// One sentence: what, where, why, and what to do about it.
  public var text: String
  /// Whether it is for want of permission.
  public var isPermission: Bool
  /// Whether the lock is not ours any more.
  public var losesLock = false

  /// A failure.
  public init(_ text: String, isPermission: Bool = false) {
    self.text = text
    self.isPermission = isPermission
  }
}
