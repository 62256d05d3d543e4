/// How far a database has got: the number of its last transaction, and the checksum of what it has been ever since.
///
/// Numbers repeat when a history is abandoned (a primary died with commits that nobody had): only together with the
/// checksum do they say which history it is.
public struct Position: Equatable, Hashable, Sendable, CustomStringConvertible {
  /// The last transaction (TXID); 0 for a database that has none.
  public var transaction: UInt64
  /// The database's checksum after it.
  public var checksum: UInt64

  /// A position.
  public init(transaction: UInt64, checksum: UInt64) {
    self.transaction = transaction
    self.checksum = checksum
  }

  /// Reads `16 digits/16 digits`, hexadecimal, as the file `NAME-pos` has it: with or without the line end.
  public init?(_ text: String) {
    let parts = (text.hasSuffix("\n") ? text.dropLast() : text[...]).split(
      separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let transaction = Hexadecimal.number(parts[0]),
      let checksum = Hexadecimal.number(parts[1])
    else { return nil }
    self.init(transaction: transaction, checksum: checksum)
  }

  /// As LiteFS writes it, without a line end.
  public var description: String { "\(Hexadecimal.text(transaction))/\(Hexadecimal.text(checksum))" }

  /// How this one stands to another one.
  public enum Relation: Equatable, Sendable {
    /// The same transaction of the same history.
    case same
    /// This many transactions are missing.
    case behind(UInt64)
    /// This many further; whether of the same history only the later positions can tell.
    case ahead(UInt64)
    /// The same number with another content: another history.
    case diverged
  }

  /// How this one stands to `other`.
  public func relation(to other: Position) -> Relation {
    if transaction == other.transaction { return checksum == other.checksum ? .same : .diverged }
    return transaction < other.transaction
      ? .behind(other.transaction - transaction) : .ahead(transaction - other.transaction)
  }
}

/// The positions of a node's databases, by name.
public struct Positions: Equatable, Sendable {
  /// By database.
  public var byDatabase: [String: Position]

  /// Positions.
  public init(_ byDatabase: [String: Position] = [:]) {
    self.byDatabase = byDatabase
  }

  /// What keeps a node from being where it must be.
  public enum Gap: Equatable, Sendable, CustomStringConvertible {
    /// It does not have the database.
    case missing(String)
    /// It lacks transactions of it.
    case behind(String, by: UInt64)
    /// It has another history of it.
    case diverged(String)

    /// One sentence's end: `app.db is 3 transactions behind`.
    public var description: String {
      switch self {
      case .missing(let name): "\(name) is not here yet"
      case .behind(let name, 1): "\(name) is 1 transaction behind"
      case .behind(let name, let count): "\(name) is \(count) transactions behind"
      case .diverged(let name): "\(name) has another history at the same transaction"
      }
    }
  }

  /// What is missing until every database of `required` is at its position or past it; in the order of the names.
  /// Databases that only this node has do not matter.
  public func gaps(to required: Positions) -> [Gap] {
    required.byDatabase.sorted { $0.key < $1.key }.compactMap { name, position in
      guard let own = byDatabase[name] else { return .missing(name) }
      return switch own.relation(to: position) {
      case .same, .ahead: nil
      case .behind(let count): .behind(name, by: count)
      case .diverged: .diverged(name)
      }
    }
  }
}

/// How long ago the primary was heard, as the file `.lag` says it.
public enum Lag: Equatable, Sendable {
  /// Nothing has come yet: this is not "no lag".
  case neverSynced
  /// By the primary's clock, so clocks that differ make it larger, or negative.
  case behind(Duration)

  /// Reads the file: a sign and digits, milliseconds; 2147483647 for never, and then LiteFS cuts the line end off.
  public init?(_ text: String) {
    let digits = text.hasSuffix("\n") ? text.dropLast() : text[...]
    guard let sign = digits.first, sign == "+" || sign == "-", (2...11).contains(digits.utf8.count),
      digits.dropFirst().utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      let value = Int64(digits.dropFirst())
    else { return nil }
    if sign == "+", value >= Int64(Int32.max) {
      self = .neverSynced
    } else {
      self = .behind(.milliseconds(sign == "+" ? value : -value))
    }
  }

  /// Whether it is known and at most this long.
  public func isAtMost(_ limit: Duration) -> Bool {
    if case .behind(let time) = self { time <= limit } else { false }
  }
}
