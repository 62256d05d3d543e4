import Glibc

/// A system call that failed: which one, on what, and the kernel's reason.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The kernel's error number (errno).
  public var code: CInt
  /// What was attempted, as a verb phrase: `open`, `listen on`.
  public var operation: String
  /// The path, address or name it was attempted on; empty when there is none.
  public var subject: String

  /// An error with its context.
  public init(code: CInt, operation: String, subject: String = "") {
    self.code = code
    self.operation = operation
    self.subject = subject
  }

  /// `listen on 127.0.0.1:80: Permission denied`.
  public var description: String {
    let what = subject.isEmpty ? operation : "\(operation) \(subject)"
    return "\(what): \(errorText(code))"
  }

  /// Passes a result >= 0 through and turns a negated errno into an error.
  @discardableResult
  public static func check(
    _ result: CInt, _ operation: @autoclosure () -> String, _ subject: @autoclosure () -> String = ""
  ) throws(SystemError) -> CInt {
    if result < 0 { throw SystemError(code: -result, operation: operation(), subject: subject()) }
    return result
  }
}

/// The C library's text for an error number.
public func errorText(_ code: CInt) -> String {
  guard let text = strerror(code) else { return "error \(code)" }
  return String(cString: text)
}
