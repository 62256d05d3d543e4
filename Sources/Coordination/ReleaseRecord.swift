/// The durable record of one run ID's infrastructure phase in the `file` backend: claim, ledger, failure, readiness.
///
/// A text file of one fact a line, so that a person can read it at night; it ends with the line `end`, so that a
/// truncated one is never taken for a short one. Values are percent-escaped, times are Unix nanoseconds.
public struct ReleaseRecord: Equatable, Sendable {
  /// Who has begun the phase.
  public struct Claim: Equatable, Sendable {
    /// Node and process.
    public var owner: String
    /// Counts the tries of this run ID.
    public var attempt: Int
    /// When it began.
    public var startedAt: UInt64
    /// Renewed while the owner works.
    public var heartbeat: UInt64
    /// The step it is at; empty between steps.
    public var step: String

    /// A claim.
    public init(owner: String, attempt: Int, startedAt: UInt64, heartbeat: UInt64, step: String) {
      self.owner = owner
      self.attempt = attempt
      self.startedAt = startedAt
      self.heartbeat = heartbeat
      self.step = step
    }
  }

  /// A step that is done.
  public struct Entry: Equatable, Sendable {
    /// Its name.
    public var step: String
    /// Of its definition: a changed step is a new step.
    public var hash: String
    /// When it was done.
    public var doneAt: UInt64

    /// An entry.
    public init(step: String, hash: String, doneAt: UInt64) {
      self.step = step
      self.hash = hash
      self.doneAt = doneAt
    }
  }

  /// How the last try failed.
  public struct Failure: Equatable, Sendable {
    /// Which try.
    public var attempt: Int
    /// The step.
    public var step: String
    /// One sentence.
    public var reason: String
    /// When.
    public var failedAt: UInt64

    /// A failure.
    public init(attempt: Int, step: String, reason: String, failedAt: UInt64) {
      self.attempt = attempt
      self.step = step
      self.reason = reason
      self.failedAt = failedAt
    }
  }

  /// The run ID, unescaped.
  public var runID: String
  /// The last claim; nil before the first.
  public var claim: Claim?
  /// The ledger.
  public var entries: [Entry] = []
  /// The last failure; nil after a success.
  public var failure: Failure?
  /// When the phase was complete: release readiness.
  public var completedAt: UInt64?

  /// An empty record.
  public init(runID: String) {
    self.runID = runID
  }

  /// Whether this step, with this definition, is recorded done.
  public func isDone(_ step: String, hash: String) -> Bool {
    entries.contains { $0.step == step && $0.hash == hash }
  }

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
      let step = FieldEscape.escaped(claim.step)
      lines.append(
        "claim \(FieldEscape.escaped(claim.owner)) \(claim.attempt) \(claim.startedAt) \(claim.heartbeat) \(step)"
      )
    }
    for entry in entries {
      lines.append("done \(FieldEscape.escaped(entry.step)) \(entry.hash) \(entry.doneAt)")
    }
    if let failure {
      let (step, reason) = (FieldEscape.escaped(failure.step), FieldEscape.escaped(failure.reason))
      lines.append("failed \(failure.attempt) \(step) \(failure.failedAt) \(reason)")
    }
    if let completedAt { lines.append("complete \(completedAt)") }
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
    case ("claim", 6):
      guard let owner = FieldEscape.unescaped(fields[1]), let attempt = Int(fields[2]),
        let started = UInt64(fields[3]), let heartbeat = UInt64(fields[4]),
        let step = FieldEscape.unescaped(fields[5])
      else { return false }
      claim = Claim(owner: owner, attempt: attempt, startedAt: started, heartbeat: heartbeat, step: step)
    case ("done", 4):
      guard let step = FieldEscape.unescaped(fields[1]), let time = UInt64(fields[3]) else { return false }
      entries.append(Entry(step: step, hash: fields[2], doneAt: time))
    case ("failed", 5):
      guard let attempt = Int(fields[1]), let step = FieldEscape.unescaped(fields[2]),
        let time = UInt64(fields[3]),
        let reason = FieldEscape.unescaped(fields[4])
      else { return false }
      failure = Failure(attempt: attempt, step: step, reason: reason, failedAt: time)
    case ("complete", 2):
      guard let time = UInt64(fields[1]) else { return false }
      completedAt = time
    default: return false
    }
    return true
  }
}

/// Keeps a value inside one field of one line: space, control characters and `%` become %XX; empty becomes `-`.
enum FieldEscape {
  static func escaped(_ text: String) -> String {
    if text.isEmpty { return "-" }
    if text == "-" { return "%2D" }
    let digits = Array("0123456789ABCDEF".utf8)
    var result: [UInt8] = []
    for byte in text.utf8 {
      if byte <= 0x20 || byte == 0x7f || byte == UInt8(ascii: "%") {
        result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      } else {
        result.append(byte)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  static func unescaped(_ text: String) -> String? {
    if text == "-" { return "" }
    var result: [UInt8] = []
    var bytes = Array(text.utf8)[...]
    while let byte = bytes.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        result.append(byte)
        continue
      }
      let pair = String(decoding: bytes.prefix(2), as: UTF8.self)
      guard bytes.count >= 2, let value = UInt8(pair, radix: 16) else { return nil }
      result.append(value)
      bytes = bytes.dropFirst(2)
    }
    return String(decoding: result, as: UTF8.self)
  }
}
