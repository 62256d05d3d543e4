/// What an agent tells PID 1 about LiteFS: what it saw and read, and nothing that follows from it. The numbers are those
/// of the requests.
///
/// What has changed since the last look is told at once, what has not with the next heartbeat: whoever hears nothing new
/// is woken once a second. So an answer says how long ago it was asked for.
public enum LiteFSReport: Hashable, Sendable {
  /// How the mount is; one for each look.
  case mount(LiteFSMount)
  /// What `GET /info` answered. `nodeID` and `clusterID` are headers; empty when there are none.
  case info(body: [UInt8], nodeID: String, clusterID: String, askedBefore: Duration)
  /// It did not answer, or with something else than 200.
  case infoFailed(String)
  /// A line of `GET /events`, without its end. Of transactions at most five a second are told, the last ones.
  case event(line: [UInt8])
  /// The stream of events has ended, or could not be opened; it is tried again.
  case streamEnded(String)
  /// What the file `.lag` says.
  case lag(String, readBefore: Duration)
  /// What the position files say, by the database's name; those that can be read.
  case positions([String: String])
  /// What `GET /debug/vars` answered.
  case variables(body: [UInt8], askedBefore: Duration)
  /// It did not answer, or with something else than 200.
  case variablesFailed(String)
  /// There are no looks, and none is under way: nothing of the agent's is in the mount.
  case paused
  /// Nothing of LiteFS's is mounted there any more.
  case cleared(id: UInt64)
  /// Who holds something in the mount.
  case holders(id: UInt64, [LiteFSHolder])
  /// What was asked for is done.
  case done(id: UInt64)
  /// It cannot be done: one sentence, without the final stop.
  case failed(id: UInt64, String)

  /// The longest answer of `/info`, and the longest line of an event: longer ones are a failure.
  public static let maximumBody = 64 << 10
  /// The longest answer of `/debug/vars`, which has about a KiB for each database.
  public static let maximumVariables = 512 << 10

  private enum Kind {
    static let mount: UInt16 = 0x0220
    static let info: UInt16 = 0x0221
    static let infoFailed: UInt16 = 0x0222
    static let event: UInt16 = 0x0223
    static let streamEnded: UInt16 = 0x0224
    static let lag: UInt16 = 0x0225
    static let positions: UInt16 = 0x0226
    static let variables: UInt16 = 0x0227
    static let variablesFailed: UInt16 = 0x0228
    static let paused: UInt16 = 0x0229
    static let cleared: UInt16 = 0x022A
    static let holders: UInt16 = 0x022B
    static let done: UInt16 = 0x022C
    static let failed: UInt16 = 0x022D
  }

  private enum Field {
    static let id: UInt8 = 1
    static let body: UInt8 = 2
    static let text: UInt8 = 3
    static let nodeID: UInt8 = 4
    static let clusterID: UInt8 = 5
    static let askedBefore: UInt8 = 6
  }

  /// The report as a frame.
  var frame: Frame {
    var fields = FieldWriter()
    func numbered(_ kind: UInt16, _ id: UInt64, _ text: String? = nil) -> Frame {
      fields.write(id, as: Field.id)
      if let text { fields.write(text, as: Field.text) }
      return Frame(kind: kind, payload: fields.bytes)
    }
    func said(_ kind: UInt16, _ text: String) -> Frame {
      fields.write(text, as: Field.text)
      return Frame(kind: kind, payload: fields.bytes)
    }
    switch self {
    case .mount(let mount):
      mount.write(to: &fields)
      return Frame(kind: Kind.mount, payload: fields.bytes)
    case .info(let body, let nodeID, let clusterID, let askedBefore):
      fields.write(body, as: Field.body)
      fields.write(nodeID, as: Field.nodeID)
      fields.write(clusterID, as: Field.clusterID)
      fields.write(askedBefore, as: Field.askedBefore)
      return Frame(kind: Kind.info, payload: fields.bytes)
    case .infoFailed(let text): return said(Kind.infoFailed, text)
    case .event(let line):
      fields.write(line, as: Field.body)
      return Frame(kind: Kind.event, payload: fields.bytes)
    case .streamEnded(let text): return said(Kind.streamEnded, text)
    case .lag(let text, let readBefore):
      fields.write(readBefore, as: Field.askedBefore)
      return said(Kind.lag, text)
    case .positions(let positions): return said(Kind.positions, Self.lines(positions))
    case .variables(let body, let askedBefore):
      fields.write(body, as: Field.body)
      fields.write(askedBefore, as: Field.askedBefore)
      return Frame(kind: Kind.variables, payload: fields.bytes)
    case .variablesFailed(let text): return said(Kind.variablesFailed, text)
    case .paused: return Frame(kind: Kind.paused)
    case .cleared(let id): return numbered(Kind.cleared, id)
    case .holders(let id, let holders):
      return numbered(Kind.holders, id, holders.map { "\($0.pid) \($0.what)\n" }.joined())
    case .done(let id): return numbered(Kind.done, id)
    case .failed(let id, let text): return numbered(Kind.failed, id, text)
    }
  }

  /// `POSITION NAME`, a line each, in the order of the names. A position has no blank and no line end.
  private static func lines(_ positions: [String: String]) -> String {
    positions.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)\n" }.joined()
  }

  private static func positions(_ text: String) -> [String: String] {
    var positions: [String: String] = [:]
    for (position, name) in wholeLines(text) where !name.isEmpty { positions[name] = position }
    return positions
  }

  private static func holders(_ text: String) -> [LiteFSHolder] {
    wholeLines(text).compactMap { word, what in
      // What is signalled as 0 is our own group.
      guard let pid = Int32(word), pid > 0 else { return nil }
      return LiteFSHolder(pid: pid, what: what)
    }
  }

  /// The lines that have a blank, as what is before it and what is behind; not one that the text's limit has cut.
  private static func wholeLines(_ text: String) -> [(String, String)] {
    text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().compactMap {
      line in
      guard let blank = line.firstIndex(of: UInt8(ascii: " ")) else { return nil }
      return (String(Substring(line[..<blank])), String(Substring(line[line.index(after: blank)...])))
    }
  }

  /// The report in a frame; nil for a kind that this program does not know.
  init?(_ frame: Frame) throws(FrameError) {
    guard (Kind.mount...Kind.failed).contains(frame.kind) else { return nil }
    let fields = try FieldReader(frame)
    func id() throws(FrameError) -> UInt64 { try fields.integer(Field.id) }
    func text() throws(FrameError) -> String { try fields.text(Field.text) }
    switch frame.kind {
    case Kind.mount: self = .mount(try LiteFSMount(fields))
    case Kind.info:
      self = .info(
        body: try fields.bytes(Field.body), nodeID: try fields.text(Field.nodeID),
        clusterID: try fields.text(Field.clusterID), askedBefore: try fields.duration(Field.askedBefore))
    case Kind.infoFailed: self = .infoFailed(try text())
    case Kind.event: self = .event(line: try fields.bytes(Field.body))
    case Kind.streamEnded: self = .streamEnded(try text())
    case Kind.lag: self = .lag(try text(), readBefore: try fields.duration(Field.askedBefore))
    case Kind.positions: self = .positions(Self.positions(try text()))
    case Kind.variables:
      self = .variables(
        body: try fields.bytes(Field.body), askedBefore: try fields.duration(Field.askedBefore))
    case Kind.variablesFailed: self = .variablesFailed(try text())
    case Kind.paused: self = .paused
    case Kind.cleared: self = .cleared(id: try id())
    case Kind.holders: self = .holders(id: try id(), Self.holders(try text()))
    case Kind.done: self = .done(id: try id())
    case Kind.failed: self = .failed(id: try id(), try text())
    default: return nil
    }
  }
}

extension LiteFSReport {
  /// The number of the request that it answers; nil when it answers none.
  public var id: UInt64? {
    switch self {
    case .cleared(let id), .holders(let id, _), .done(let id), .failed(let id, _): id
    case .mount, .info, .infoFailed, .event, .streamEnded, .lag, .positions, .variables, .variablesFailed,
      .paused:
      nil
    }
  }
}
