import CLinux

/// An open descriptor with exactly one owner: closed when the owner goes.
public struct FileDescriptor: ~Copyable {
  /// The kernel's number.
  public let rawValue: CInt

  /// Takes ownership of an open descriptor.
  public init(owning rawValue: CInt) {
    self.rawValue = rawValue
  }

  deinit {
    _ = clinux_close(rawValue)
  }

  /// Gives the descriptor up without closing it.
  public consuming func release() -> CInt {
    let value = rawValue
    discard self
    return value
  }
}
