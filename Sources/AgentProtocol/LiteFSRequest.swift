/// Where a LiteFS is, and how often it is looked at.
public struct LiteFSPlace: Hashable, Sendable {
  /// Where it mounts; absolute.
  public var mountPath: String
  /// Its data directory; absolute.
  public var dataPath: String
  /// The host of its API: an address, or a name.
  public var host: String
  /// The port of its API.
  public var port: UInt16
  /// The databases whose position files are read; nil: all that there are.
  public var databases: [String]?
  /// From look to look; a tenth of a second at least.
  public var interval: Duration

  /// A place, looked at each second.
  public init(
    mountPath: String, dataPath: String, host: String, port: UInt16, databases: [String]? = nil,
    interval: Duration = .seconds(1)
  ) {
    self.mountPath = mountPath
    self.dataPath = dataPath
    self.host = host
    self.port = port
    self.databases = databases
    self.interval = interval
  }
}

/// What PID 1 asks of the agent that watches LiteFS. What has a number is answered with the same number, once.
public enum LiteFSRequest: Hashable, Sendable {
  /// The first request of a connection; another one replaces it. Nothing is looked at before `running`.
  case watch(LiteFSPlace)
  /// Whether LiteFS runs. While it does there are looks and the stream of events; when it does not there are none, and
  /// `paused` says that the last one is over. Asked for before LiteFS is ended: a look under way keeps the mount busy.
  case running(Bool)
  /// Look now, and not only when the time has come.
  case look
  /// Unmount what LiteFS mounted, also when it is in use, until the mount table has nothing of it any more; answered
  /// with `cleared` or `failed`. `abort`: first cut the kernel's connection to the process that served it, so that
  /// whoever waits for an answer gets an error. That is the last resort.
  case clear(id: UInt64, abort: Bool)
  /// Find the processes that hold something in the mount; answered with `holders` or `failed`.
  case holders(id: UInt64)
  /// Make this node the primary; answered with `done` or `failed`.
  case promote(id: UInt64)
  /// Hand the lease over to the node with this ID (16 hexadecimal digits); answered with `done` or `failed`.
  case handoff(id: UInt64, nodeID: String)

  private enum Kind {
    static let watch: UInt16 = 0x0120
    static let running: UInt16 = 0x0121
    static let look: UInt16 = 0x0122
    static let clear: UInt16 = 0x0123
    static let holders: UInt16 = 0x0124
    static let promote: UInt16 = 0x0125
    static let handoff: UInt16 = 0x0126
  }

  private enum Field {
    static let id: UInt8 = 1
    static let flag: UInt8 = 2
    static let nodeID: UInt8 = 3
    static let mountPath: UInt8 = 16
    static let dataPath: UInt8 = 17
    static let host: UInt8 = 18
    static let port: UInt8 = 19
    static let databases: UInt8 = 20
    static let interval: UInt8 = 21
  }

  /// Between names of databases: none has one, since each is a file's.
  private static let separator: Character = "/"

  /// The request as a frame.
  var frame: Frame {
    var fields = FieldWriter()
    let kind: UInt16
    switch self {
    case .watch(let place):
      kind = Kind.watch
      fields.write(place.mountPath, as: Field.mountPath)
      fields.write(place.dataPath, as: Field.dataPath)
      fields.write(place.host, as: Field.host)
      fields.write(UInt64(place.port), as: Field.port)
      if let databases = place.databases {
        fields.write(databases.joined(separator: String(Self.separator)), as: Field.databases)
      }
      fields.write(place.interval, as: Field.interval)
    case .running(let isRunning):
      kind = Kind.running
      fields.write(isRunning ? 1 : 0, as: Field.flag)
    case .look: kind = Kind.look
    case .clear(let id, let abort):
      kind = Kind.clear
      fields.write(id, as: Field.id)
      fields.write(abort ? 1 : 0, as: Field.flag)
    case .holders(let id):
      kind = Kind.holders
      fields.write(id, as: Field.id)
    case .promote(let id):
      kind = Kind.promote
      fields.write(id, as: Field.id)
    case .handoff(let id, let nodeID):
      kind = Kind.handoff
      fields.write(id, as: Field.id)
      fields.write(nodeID, as: Field.nodeID)
    }
    return Frame(kind: kind, payload: fields.bytes)
  }

  private static func place(_ fields: FieldReader) throws(FrameError) -> LiteFSPlace {
    var place = LiteFSPlace(
      mountPath: try fields.text(Field.mountPath), dataPath: try fields.text(Field.dataPath),
      host: try fields.text(Field.host), port: try fields.port(Field.port),
      interval: try fields.duration(Field.interval))
    if fields.has(Field.databases) {
      place.databases = try fields.text(Field.databases).split(separator: separator).map(String.init)
    }
    return place
  }

  /// The request in a frame; nil for a kind that this program does not know.
  init?(_ frame: Frame) throws(FrameError) {
    guard (Kind.watch...Kind.handoff).contains(frame.kind) else { return nil }
    let fields = try FieldReader(frame)
    switch frame.kind {
    case Kind.watch: self = .watch(try Self.place(fields))
    case Kind.running: self = .running(try fields.flag(Field.flag))
    case Kind.look: self = .look
    case Kind.clear:
      self = .clear(id: try fields.integer(Field.id), abort: try fields.flag(Field.flag))
    case Kind.holders: self = .holders(id: try fields.integer(Field.id))
    case Kind.promote: self = .promote(id: try fields.integer(Field.id))
    case Kind.handoff:
      self = .handoff(id: try fields.integer(Field.id), nodeID: try fields.text(Field.nodeID))
    default: return nil
    }
  }
}

extension LiteFSRequest {
  /// Its number; nil when it has none.
  public var id: UInt64? {
    switch self {
    case .watch, .running, .look: nil
    case .clear(let id, _), .holders(let id), .promote(let id), .handoff(let id, _): id
    }
  }
}
