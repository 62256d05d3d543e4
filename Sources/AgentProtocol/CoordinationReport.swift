/// Why lock, record or readiness cannot be used.
public struct CoordinationFailure: Error, Hashable, Sendable {
  /// What a program makes of it.
  public enum Kind: UInt64, Hashable, Sendable, CaseIterable {
    /// It may pass: the server is not there, starts, is full, or does not answer.
    case unavailable = 0
    /// The server refuses for good: credentials, certificate, a database that is not there.
    case refused = 1
    /// The role may not do it.
    case permission = 2
    /// What the settings say cannot be used.
    case settings = 3
    /// Another node has claimed the release since: the lock is not ours any more.
    case superseded = 4
    /// What stands there is damaged, or another program's.
    case damaged = 5
  }

  /// What a program makes of it.
  public var kind: Kind
  /// One sentence for people, without the final stop; never with a password.
  public var text: String

  /// A failure.
  public init(_ kind: Kind, _ text: String) {
    self.kind = kind
    self.text = text
  }
}

/// What an agent tells PID 1 about lock, record and readiness. The numbers are those of the requests.
public enum CoordinationReport: Hashable, Sendable {
  /// The record; nil when there is none. `now`: Unix time in nanoseconds on the server's clock.
  case record(id: UInt64, [UInt8]?, now: UInt64)
  /// What was asked for is done.
  case done(id: UInt64)
  /// It cannot be done.
  case failed(id: UInt64, CoordinationFailure)
  /// Not now; it is tried again until it is cancelled.
  case unavailable(id: UInt64, CoordinationFailure)
  /// Another session has the lock: this one, for people. Told for each that is seen.
  case lockBusy(id: UInt64, holder: String)
  /// The server cannot be used; it is tried again.
  case lockUnavailable(id: UInt64, CoordinationFailure)
  /// The holder is gone, and the record is this now. Wants `contend` or `unlock`.
  case lockFree(id: UInt64, record: [UInt8]?, now: UInt64)
  /// The lock is ours. `leftBy`: a holder that vanished, whose steps may still run; else empty.
  case lockHeld(id: UInt64, leftBy: String)
  /// It cannot be had until a person has done something.
  case lockFailed(id: UInt64, CoordinationFailure)
  /// It was ours, and another may have it already.
  case lockLost(id: UInt64, CoordinationFailure)
  /// It is given back.
  case unlocked(id: UInt64)
  /// Readiness in Redis. `text`: what stands under our key, when that is nobody's we know; else empty.
  case readiness(id: UInt64, isReady: Bool, text: String)
  /// It may have changed.
  case readinessChanged(id: UInt64)

  private enum Kind {
    static let record: UInt16 = 0x0210
    static let done: UInt16 = 0x0211
    static let failed: UInt16 = 0x0212
    static let unavailable: UInt16 = 0x0213
    static let lockBusy: UInt16 = 0x0214
    static let lockUnavailable: UInt16 = 0x0215
    static let lockFree: UInt16 = 0x0216
    static let lockHeld: UInt16 = 0x0217
    static let lockFailed: UInt16 = 0x0218
    static let lockLost: UInt16 = 0x0219
    static let unlocked: UInt16 = 0x021A
    static let readiness: UInt16 = 0x021B
    static let readinessChanged: UInt16 = 0x021C
  }

  private enum Field {
    static let id: UInt8 = 1
    static let record: UInt8 = 2
    static let now: UInt8 = 3
    static let failure: UInt8 = 4
    static let text: UInt8 = 5
    static let flag: UInt8 = 6
  }

  /// The report as a frame.
  var frame: Frame {
    var fields = FieldWriter()
    let kind: UInt16
    switch self {
    case .record(let id, let record, let now):
      kind = Kind.record
      Self.write(id, record, now, to: &fields)
    case .done(let id):
      kind = Kind.done
      fields.write(id, as: Field.id)
    case .failed(let id, let failure):
      kind = Kind.failed
      Self.write(id, failure, to: &fields)
    case .unavailable(let id, let failure):
      kind = Kind.unavailable
      Self.write(id, failure, to: &fields)
    case .lockBusy(let id, let holder):
      kind = Kind.lockBusy
      fields.write(id, as: Field.id)
      fields.write(holder, as: Field.text)
    case .lockUnavailable(let id, let failure):
      kind = Kind.lockUnavailable
      Self.write(id, failure, to: &fields)
    case .lockFree(let id, let record, let now):
      kind = Kind.lockFree
      Self.write(id, record, now, to: &fields)
    case .lockHeld(let id, let leftBy):
      kind = Kind.lockHeld
      fields.write(id, as: Field.id)
      fields.write(leftBy, as: Field.text)
    case .lockFailed(let id, let failure):
      kind = Kind.lockFailed
      Self.write(id, failure, to: &fields)
    case .lockLost(let id, let failure):
      kind = Kind.lockLost
      Self.write(id, failure, to: &fields)
    case .unlocked(let id):
      kind = Kind.unlocked
      fields.write(id, as: Field.id)
    case .readiness(let id, let isReady, let text):
      kind = Kind.readiness
      fields.write(id, as: Field.id)
      fields.write(isReady ? 1 : 0, as: Field.flag)
      fields.write(text, as: Field.text)
    case .readinessChanged(let id):
      kind = Kind.readinessChanged
      fields.write(id, as: Field.id)
    }
    return Frame(kind: kind, payload: fields.bytes)
  }

  private static func write(_ id: UInt64, _ record: [UInt8]?, _ now: UInt64, to fields: inout FieldWriter) {
    fields.write(id, as: Field.id)
    if let record { fields.write(record, as: Field.record) }
    fields.write(now, as: Field.now)
  }

  private static func write(_ id: UInt64, _ failure: CoordinationFailure, to fields: inout FieldWriter) {
    fields.write(id, as: Field.id)
    fields.write(failure.kind.rawValue, as: Field.failure)
    fields.write(failure.text, as: Field.text)
  }

  private static func failure(_ fields: FieldReader) throws(FrameError) -> CoordinationFailure {
    // A kind of a newer agent: trying again is of no use that we know of.
    let kind = CoordinationFailure.Kind(rawValue: try fields.integer(Field.failure)) ?? .refused
    return CoordinationFailure(kind, try fields.text(Field.text))
  }

  private static func record(_ fields: FieldReader) throws(FrameError) -> [UInt8]? {
    fields.has(Field.record) ? try fields.bytes(Field.record) : nil
  }

  /// The report in a frame; nil for a kind that this program does not know.
  init?(_ frame: Frame) throws(FrameError) {
    guard (Kind.record...Kind.readinessChanged).contains(frame.kind) else { return nil }
    let fields = try FieldReader(frame)
    func id() throws(FrameError) -> UInt64 { try fields.integer(Field.id) }
    switch frame.kind {
    case Kind.record:
      self = .record(id: try id(), try Self.record(fields), now: try fields.integer(Field.now))
    case Kind.done: self = .done(id: try id())
    case Kind.failed: self = .failed(id: try id(), try Self.failure(fields))
    case Kind.unavailable: self = .unavailable(id: try id(), try Self.failure(fields))
    case Kind.lockBusy: self = .lockBusy(id: try id(), holder: try fields.text(Field.text))
    case Kind.lockUnavailable: self = .lockUnavailable(id: try id(), try Self.failure(fields))
    case Kind.lockFree:
      self = .lockFree(
        id: try id(), record: try Self.record(fields), now: try fields.integer(Field.now))
    case Kind.lockHeld: self = .lockHeld(id: try id(), leftBy: try fields.text(Field.text))
    case Kind.lockFailed: self = .lockFailed(id: try id(), try Self.failure(fields))
    case Kind.lockLost: self = .lockLost(id: try id(), try Self.failure(fields))
    case Kind.unlocked: self = .unlocked(id: try id())
    case Kind.readiness:
      self = .readiness(
        id: try id(), isReady: try fields.flag(Field.flag), text: try fields.text(Field.text))
    case Kind.readinessChanged: self = .readinessChanged(id: try id())
    default: return nil
    }
  }
}

extension CoordinationReport {
  /// The number of the request that it is about.
  public var id: UInt64 {
    switch self {
    case .record(let id, _, _), .done(let id), .failed(let id, _), .unavailable(let id, _),
      .lockBusy(let id, _), .lockUnavailable(let id, _), .lockFree(let id, _, _), .lockHeld(let id, _),
      .lockFailed(let id, _), .lockLost(let id, _), .unlocked(let id), .readiness(let id, _, _),
      .readinessChanged(let id):
      return id
    }
  }
}

extension CoordinationReport {
  /// Whether nothing of its request's number follows.
  public var isLast: Bool {
    switch self {
    case .record, .done, .failed, .lockFailed, .unlocked, .readiness: true
    // Giving it back is still answered.
    case .lockLost: false
    case .unavailable, .lockBusy, .lockUnavailable, .lockFree, .lockHeld, .readinessChanged: false
    }
  }
}
