import ReleaseRecords

/// What the node phase's marker says. Its existence is the whole meaning for django-autoinit; ours also names the
/// steps that failed and were skipped, which the next start of the same run ID tries again, and says when those that are
/// repeated were done.
public struct Marker: Equatable, Sendable {
  /// Steps to try again.
  public var failedSteps: [String]
  /// Of some of them: which part of their work is still to be done, in words of their own.
  public var unfinished: [String: [String]]
  /// When steps that are repeated (`every`) were done, in Unix nanoseconds.
  public var doneAt: [String: UInt64]

  /// A marker.
  public init(
    failedSteps: [String] = [], unfinished: [String: [String]] = [:], doneAt: [String: UInt64] = [:]
  ) {
    self.failedSteps = failedSteps
    self.unfinished = unfinished
    self.doneAt = doneAt
  }

  /// One `failed NAME [PART...]` or `done NAME TIME` a line, each escaped so that it stays one.
  public func encoded() -> [UInt8] {
    var lines = failedSteps.map { step in
      ["failed", FieldEscape.escaped(step)] + (unfinished[step] ?? []).map { FieldEscape.escaped($0) }
    }
    for (step, time) in doneAt.sorted(by: { $0.key < $1.key }) {
      lines.append(["done", FieldEscape.escaped(step), "\(time)"])
    }
    return Array(lines.map { $0.joined(separator: " ") + "\n" }.joined().utf8)
  }

  /// Lines that are not ours mean nothing.
  public init(decoding bytes: [UInt8]) {
    self.init()
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      let words = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        .map { FieldEscape.unescaped(String(decoding: $0, as: UTF8.self)) }
      guard words.count >= 2, let step = words[1] else { continue }
      if words[0] == "done", words.count == 3, let time = words[2].flatMap({ UInt64($0) }) {
        doneAt[step] = time
      }
      guard words[0] == "failed" else { continue }
      failedSteps.append(step)
      let parts = words.dropFirst(2).compactMap { $0 }
      if !parts.isEmpty { unfinished[step] = parts }
    }
  }
}
