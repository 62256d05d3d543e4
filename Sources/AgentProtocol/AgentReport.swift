/// What an agent is for.
public enum AgentRole: String, Hashable, Sendable, CaseIterable {
  /// Probes, and the coordination backends.
  case coordination
  /// LiteFS: its mount, its API.
  case litefs

  /// The name on the agent's command line.
  public var name: String { rawValue }
}

/// What an agent tells PID 1.
public enum AgentReport: Hashable, Sendable {
  /// How much a log line matters.
  public enum LogLevel: UInt64, Hashable, Sendable {
    /// For the curious.
    case debug = 0
    /// As expected.
    case info = 1
    /// Worth a look.
    case warning = 2
    /// Something does not work.
    case error = 3
  }

  /// The first report: it is there. `role` is text, since a newer agent may have more of them.
  case hello(version: String, role: String, pid: Int32)
  /// It lives; one comes each second.
  case heartbeat
  /// The outcome of the probe of this number.
  case probeResult(id: UInt64, outcome: ProbeOutcome)
  /// Of lock, record and readiness.
  case coordination(CoordinationReport)
  /// Of LiteFS.
  case litefs(LiteFSReport)
  /// A line for the log.
  case log(level: LogLevel, text: String)
  /// It ends now, by itself, for this reason.
  case end(reason: String)

  private enum Kind {
    static let hello: UInt16 = 0x0201
    static let heartbeat: UInt16 = 0x0202
    static let probeResult: UInt16 = 0x0203
    static let log: UInt16 = 0x0204
    static let end: UInt16 = 0x0205
  }

  private enum Field {
    static let id: UInt8 = 1
    static let verdict: UInt8 = 2
    static let text: UInt8 = 3
    static let level: UInt8 = 4
    static let version: UInt8 = 5
    static let role: UInt8 = 6
    static let pid: UInt8 = 7
  }

  private enum Verdict {
    static let ready: UInt64 = 0
    static let notYet: UInt64 = 1
    static let refused: UInt64 = 2
  }

  /// The report as a frame.
  public var frame: Frame {
    var fields = FieldWriter()
    switch self {
    case .hello(let version, let role, let pid):
      fields.write(version, as: Field.version)
      fields.write(role, as: Field.role)
      fields.write(UInt64(UInt32(bitPattern: pid)), as: Field.pid)
      return Frame(kind: Kind.hello, payload: fields.bytes)
    case .heartbeat: return Frame(kind: Kind.heartbeat)
    case .probeResult(let id, let outcome):
      fields.write(id, as: Field.id)
      switch outcome {
      case .ready: fields.write(Verdict.ready, as: Field.verdict)
      case .notYet: fields.write(Verdict.notYet, as: Field.verdict)
      case .refused: fields.write(Verdict.refused, as: Field.verdict)
      }
      fields.write(outcome.text, as: Field.text)
      return Frame(kind: Kind.probeResult, payload: fields.bytes)
    case .coordination(let report): return report.frame
    case .litefs(let report): return report.frame
    case .log(let level, let text):
      fields.write(level.rawValue, as: Field.level)
      fields.write(text, as: Field.text)
      return Frame(kind: Kind.log, payload: fields.bytes)
    case .end(let reason):
      fields.write(reason, as: Field.text)
      return Frame(kind: Kind.end, payload: fields.bytes)
    }
  }

  /// The report in a frame; nil for a kind that this program does not know, to be passed over.
  public init?(_ frame: Frame) throws(FrameError) {
    switch frame.kind {
    case Kind.hello:
      let fields = try FieldReader(frame)
      guard let pid = Int32(exactly: try fields.integer(Field.pid)) else {
        throw .malformed(kind: frame.kind, reason: "has a process ID that is none")
      }
      self = .hello(version: try fields.text(Field.version), role: try fields.text(Field.role), pid: pid)
    case Kind.heartbeat: self = .heartbeat
    case Kind.probeResult:
      let fields = try FieldReader(frame)
      let text = try fields.text(Field.text)
      let outcome: ProbeOutcome
      switch try fields.integer(Field.verdict) {
      case Verdict.ready: outcome = .ready(text)
      case Verdict.refused: outcome = .refused(text)
      // A verdict of a newer agent: at least it is not ready.
      default: outcome = .notYet(text)
      }
      self = .probeResult(id: try fields.integer(Field.id), outcome: outcome)
    case Kind.log:
      let fields = try FieldReader(frame)
      let level = LogLevel(rawValue: try fields.integer(Field.level)) ?? .error
      self = .log(level: level, text: try fields.text(Field.text))
    case Kind.end: self = .end(reason: try FieldReader(frame).text(Field.text))
    default:
      if let report = try CoordinationReport(frame) {
        self = .coordination(report)
      } else if let report = try LiteFSReport(frame) {
        self = .litefs(report)
      } else {
        return nil
      }
    }
  }
}
