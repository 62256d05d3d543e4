// The record as a text file of one fact a line, so that a person can read it at night; it ends with the line `end`, so
// that a truncated one is never taken for a short one. Values are percent-escaped, times are Unix nanoseconds. A fact
// that begins with `+` may be ignored: a version that does not know it loses time by that, and nothing else. Any other
// unknown fact makes the record unusable, and a change of what is known makes a new version.

extension ReleaseRecord {
  /// Why a record could not be read.
  public enum Damage: Error, Equatable, Sendable, CustomStringConvertible {
    /// Not one of our files, or cut short.
    case malformed(line: Int)
    /// Written by a later version.
    case future(version: String)
    /// Another run ID's.
    case foreign(runID: String)

    /// One sentence.
    public var description: String {
      switch self {
      case .malformed(let line):
        return "it is damaged at line \(line) (cut short, or not written by supervisor)"
      case .future(let version): return "it has format \(version), which this version does not know"
      case .foreign(let runID): return "it belongs to run ID \(runID)"
      }
    }
  }

  private static let title = "supervisor-release"
  private static let version = "1"

  /// The file's bytes.
  public func encoded() -> [UInt8] {
    var lines = ["\(Self.title) \(Self.version)", "run_id \(FieldEscape.escaped(runID))"]
    if let claim {
      let owner = FieldEscape.escaped(claim.owner)
      lines.append("claim \(owner) \(claim.attempt) \(claim.startedAt) \(claim.heartbeat)")
      for step in claim.running {
        let deadline = step.deadline.map { "\($0)" } ?? "-"
        lines.append("running \(FieldEscape.escaped(step.step)) \(step.startedAt) \(deadline)")
      }
    }
    for entry in entries {
      lines.append("done \(FieldEscape.escaped(entry.step)) \(entry.hash) \(entry.doneAt)")
      for output in entry.outputs {
        lines.append("output \(FieldEscape.escaped(output.key)) \(FieldEscape.escaped(output.value))")
      }
    }
    for part in parts {
      lines.append("+part \(FieldEscape.escaped(part.step)) \(part.hash) \(FieldEscape.escaped(part.name))")
    }
    if let failure {
      let (step, reason) = (FieldEscape.escaped(failure.step), FieldEscape.escaped(failure.reason))
      lines.append("failed \(failure.count) \(failure.attempt) \(step) \(failure.failedAt) \(reason)")
    }
    if let completedAt { lines.append("complete \(completedAt)") }
    if let declaredBy { lines.append("declared \(FieldEscape.escaped(declaredBy))") }
    return Array((lines + ["end", ""]).joined(separator: "\n").utf8)
  }

  /// Reads a record for `runID`.
  public static func decode(_ bytes: [UInt8], runID: String) throws(Damage) -> ReleaseRecord {
    // By bytes and not by characters: a name that begins with a combining mark would swallow the space before it.
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    let head = lines.first.map { String(decoding: $0, as: UTF8.self) } ?? ""
    guard head.hasPrefix(title + " ") else { throw .malformed(line: 1) }
    let found = head.dropFirst(title.count + 1)
    guard found == version else { throw .future(version: String(found)) }
    guard lines.count >= 4, lines[lines.count - 2].elementsEqual("end".utf8), lines[lines.count - 1].isEmpty
    else { throw .malformed(line: lines.count) }
    var record = ReleaseRecord(runID: runID)
    for (index, line) in lines.dropFirst().dropLast(2).enumerated() {
      let fields = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        .map { String(decoding: $0, as: UTF8.self) }
      // The first fact is whose record this is.
      guard index > 0 || fields.first == "run_id", try record.take(fields) else {
        throw .malformed(line: index + 2)
      }
    }
    return record
  }

  private mutating func take(_ fields: [String]) throws(Damage) -> Bool {
    switch (fields.first ?? "", fields.count) {
    case ("run_id", 2):
      guard let name = FieldEscape.unescaped(fields[1]) else { return false }
      guard name == runID else { throw .foreign(runID: name) }
    case ("claim", 5):
      guard let owner = FieldEscape.unescaped(fields[1]), let attempt = Int(fields[2]),
        let started = UInt64(fields[3]), let heartbeat = UInt64(fields[4])
      else { return false }
      claim = Claim(owner: owner, attempt: attempt, startedAt: started, heartbeat: heartbeat)
    case ("running", 4):
      guard claim != nil, let step = FieldEscape.unescaped(fields[1]), let started = UInt64(fields[2]),
        let deadline = UInt64(fields[3]) ?? (fields[3] == "-" ? 0 : nil)
      else { return false }
      claim?.running.append(
        Running(step: step, startedAt: started, deadline: fields[3] == "-" ? nil : deadline))
    case ("done", 4):
      guard let step = FieldEscape.unescaped(fields[1]), let time = UInt64(fields[3]) else { return false }
      entries.append(Entry(step: step, hash: fields[2], doneAt: time))
    case ("output", 3):
      guard !entries.isEmpty, let key = FieldEscape.unescaped(fields[1]),
        let value = FieldEscape.unescaped(fields[2])
      else { return false }
      entries[entries.count - 1].outputs.append(StepOutput(key: key, value: value))
    case ("+part", 4):
      guard let step = FieldEscape.unescaped(fields[1]), let name = FieldEscape.unescaped(fields[3]) else {
        return false
      }
      parts.append(Part(step: step, hash: fields[2], name: name))
    case ("failed", 6):
      guard let count = Int(fields[1]), let attempt = Int(fields[2]),
        let step = FieldEscape.unescaped(fields[3]), let time = UInt64(fields[4]),
        let reason = FieldEscape.unescaped(fields[5])
      else { return false }
      failure = Failure(count: count, attempt: attempt, step: step, reason: reason, failedAt: time)
    case ("complete", 2):
      guard let time = UInt64(fields[1]) else { return false }
      completedAt = time
    case ("declared", 2):
      guard let name = FieldEscape.unescaped(fields[1]) else { return false }
      declaredBy = name
    default: return fields.first?.utf8.first == UInt8(ascii: "+") && fields[0] != "+part"
    }
    return true
  }
}
