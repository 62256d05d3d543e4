import Coordination

/// What the node phase's marker says. Its existence is the whole meaning for django-autoinit; ours also names the
/// steps that failed and were skipped, which the next start of the same run ID tries again.
public struct Marker: Equatable, Sendable {
  /// Steps to try again.
  public var failedSteps: [String]
  /// Of some of them: which part of their work is still to be done, in words of their own.
  public var unfinished: [String: [String]]

  /// A marker.
  public init(failedSteps: [String] = [], unfinished: [String: [String]] = [:]) {
    self.failedSteps = failedSteps
    self.unfinished = unfinished
  }

  /// One `failed NAME [PART...]` a line, each escaped so that it stays one.
  public func encoded() -> [UInt8] {
    let lines = failedSteps.map { step in
      (["failed", FieldEscape.escaped(step)] + (unfinished[step] ?? []).map { FieldEscape.escaped($0) })
        .joined(separator: " ") + "\n"
    }
    return Array(lines.joined().utf8)
  }

  /// Lines that are not ours mean nothing.
  public init(decoding bytes: [UInt8]) {
    self.init()
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        .map { FieldEscape.unescaped(String(decoding: $0, as: UTF8.self)) }
      guard words.count >= 2, words[0] == "failed", let step = words[1] else { continue }
      failedSteps.append(step)
      let parts = words.dropFirst(2).compactMap { $0 }
      if !parts.isEmpty { unfinished[step] = parts }
    }
  }
}
