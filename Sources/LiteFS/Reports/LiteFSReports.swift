/// What `GET /info` answers.
public struct LiteFSInfo: Equatable, Sendable {
  /// Whose data this is; nil before there is any.
  public var clusterID: String?
  /// Whether this node is the primary: LiteFS's own word, and the only one there is.
  public var isPrimary: Bool
  /// Whether it may become one.
  public var isCandidate: Bool
  /// The data directory.
  public var path: String
  /// The primary's name: its own on the primary; nil when none is known.
  public var primary: String?

  /// An answer.
  public init(
    clusterID: String? = nil, isPrimary: Bool, isCandidate: Bool = true, path: String = "",
    primary: String? = nil
  ) {
    self.clusterID = clusterID
    self.isPrimary = isPrimary
    self.isCandidate = isCandidate
    self.path = path
    self.primary = primary
  }

  /// Reads the body; nil when it is something else. Names that are not known are passed over.
  public init?(json bytes: some Collection<UInt8>) {
    guard let value = JSONReader.read(bytes), let isPrimary = value["isPrimary"]?.boolean else { return nil }
    self.init(
      clusterID: value["clusterID"]?.string.flatMap { $0.isEmpty ? nil : $0 }, isPrimary: isPrimary,
      isCandidate: value["candidate"]?.boolean ?? false, path: value["path"]?.string ?? "",
      primary: value["primary"]?["hostname"]?.string.flatMap { $0.isEmpty ? nil : $0 })
  }
}

/// A line of `GET /events`.
public enum LiteFSEvent: Equatable, Sendable {
  /// The first one, or a change: whether this node is the primary, and the primary's name where it is another one.
  case role(isPrimary: Bool, primary: String?)
  /// A transaction was committed here or has arrived here.
  case transaction(database: String, Position)
  /// Something that this version does not know.
  case other(String)

  /// Reads a line, with or without its end; nil when it is none of LiteFS's.
  public init?(line: some Collection<UInt8>) {
    guard let value = JSONReader.read(line), let type = value["type"]?.string else { return nil }
    switch type {
    case "init", "primaryChange":
      guard let isPrimary = value["data"]?["isPrimary"]?.boolean else { return nil }
      self = .role(
        isPrimary: isPrimary,
        primary: value["data"]?["hostname"]?.string.flatMap { $0.isEmpty ? nil : $0 })
    case "tx":
      guard let database = value["db"]?.string,
        let transaction = value["data"]?["txID"]?.string.flatMap({ Hexadecimal.number($0) }),
        let checksum = value["data"]?["postApplyChecksum"]?.string.flatMap({ Hexadecimal.number($0) })
      else { return nil }
      self = .transaction(database: database, Position(transaction: transaction, checksum: checksum))
    default: self = .other(type)
    }
  }
}

/// What `GET /debug/vars` says about the databases: the way to read another node's positions.
public struct LiteFSVariables: Equatable, Sendable {
  /// Whether the node is the primary.
  public var isPrimary: Bool
  /// Whether it may become one.
  public var isCandidate: Bool
  /// Where its databases are.
  public var positions: Positions

  /// Reads the body; nil when it is something else.
  public init?(json bytes: some Collection<UInt8>) {
    guard let store = JSONReader.read(bytes)?["store"], let isPrimary = store["isPrimary"]?.boolean,
      let databases = store["dbs"]?.object
    else { return nil }
    var positions: [String: Position] = [:]
    for (name, database) in databases {
      guard let transaction = database["txid"]?.string.flatMap({ Hexadecimal.number($0) }),
        let checksum = database["checksum"]?.string.flatMap({ Hexadecimal.number($0) })
      else { return nil }
      positions[name] = Position(transaction: transaction, checksum: checksum)
    }
    self.isPrimary = isPrimary
    isCandidate = store["candidate"]?.boolean ?? false
    self.positions = Positions(positions)
  }
}
