/// What PID 1 asks of its agent.
public enum AgentRequest: Hashable, Sendable {
  /// Look at this target once, and answer with `AgentReport.probeResult` of the same number within `timeout`.
  case startProbe(id: UInt64, target: ProbeTarget, timeout: Duration)
  /// A probe of a method that only a newer agent knows; what `startProbe` of it becomes when it is received.
  case startUnknownProbe(id: UInt64, method: String)
  /// The answer is no longer wanted; none comes.
  case cancelProbe(id: UInt64)
  /// Of lock, record and readiness.
  case coordination(CoordinationRequest)
  /// Of LiteFS.
  case litefs(LiteFSRequest)
  /// End in order.
  case end

  private enum Kind {
    static let startProbe: UInt16 = 0x0101
    static let cancelProbe: UInt16 = 0x0102
    static let end: UInt16 = 0x0103
  }

  private enum Field {
    static let id: UInt8 = 1
    static let timeout: UInt8 = 2
  }

  /// The request as a frame. An unknown probe has no target any more and cannot be sent on: it becomes its
  /// cancellation.
  public var frame: Frame {
    var fields = FieldWriter()
    switch self {
    case .startProbe(let id, let target, let timeout):
      fields.write(id, as: Field.id)
      fields.write(timeout, as: Field.timeout)
      target.write(to: &fields)
      return Frame(kind: Kind.startProbe, payload: fields.bytes)
    case .startUnknownProbe(let id, _), .cancelProbe(let id):
      fields.write(id, as: Field.id)
      return Frame(kind: Kind.cancelProbe, payload: fields.bytes)
    case .coordination(let request): return request.frame
    case .litefs(let request): return request.frame
    case .end: return Frame(kind: Kind.end)
    }
  }

  /// The request in a frame; nil for a kind that this program does not know, to be passed over.
  public init?(_ frame: Frame) throws(FrameError) {
    switch frame.kind {
    case Kind.startProbe:
      let fields = try FieldReader(frame)
      let id = try fields.integer(Field.id)
      let timeout = try fields.duration(Field.timeout)
      if let target = try ProbeTarget.read(fields) {
        self = .startProbe(id: id, target: target, timeout: timeout)
      } else {
        self = .startUnknownProbe(id: id, method: try ProbeTarget.method(fields))
      }
    case Kind.cancelProbe: self = .cancelProbe(id: try FieldReader(frame).integer(Field.id))
    case Kind.end: self = .end
    default:
      if let request = try CoordinationRequest(frame) {
        self = .coordination(request)
      } else if let request = try LiteFSRequest(frame) {
        self = .litefs(request)
      } else {
        return nil
      }
    }
  }
}
