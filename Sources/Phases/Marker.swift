import Coordination

/// What the node phase's marker says. Its existence is the whole meaning for django-autoinit; ours also names the
/// steps that failed and were skipped, which the next start of the same run ID tries again.
public struct Marker: Equatable, Sendable {
  /// Steps to try again.
  public var failedSteps: [String]

  /// A marker.
  public init(failedSteps: [String] = []) {
    self.failedSteps = failedSteps
  }

  /// One `failed NAME` a line, the name escaped so that it stays one.
  public func encoded() -> [UInt8] {
    Array(failedSteps.map { "failed \(FieldEscape.escaped($0))\n" }.joined().utf8)
  }

  /// Lines that are not ours mean nothing.
  public init(decoding bytes: [UInt8]) {
    failedSteps = bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
      let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
      guard words.count == 2, words[0].elementsEqual("failed".utf8) else { return nil }
      return FieldEscape.unescaped(String(decoding: words[1], as: UTF8.self))
    }
  }
}
