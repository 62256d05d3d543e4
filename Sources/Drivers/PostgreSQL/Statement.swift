/// What is sent to the server.
public struct Statement: Sendable, Equatable {
  /// The text, with `$1`, `$2`, … for the parameters. Without parameters it may be several statements, which are then
  /// one transaction.
  public var sql: String
  /// In text form; nil is NULL.
  public var parameters: [String?]

  /// A statement.
  public init(_ sql: String, _ parameters: [String?] = []) {
    self.sql = sql
    self.parameters = parameters
  }
}

/// What the server answered.
public struct StatementResult: Sendable, Equatable {
  /// Whether the connection is within a transaction after it.
  public enum Transaction: Sendable, Equatable {
    case none
    case open
    /// It failed, and waits for its end.
    case failed
  }

  /// The rows of the last statement that has any, in text form.
  public var rows: [[String?]] = []
  /// Whether a transaction is open now.
  public var transaction = Transaction.none

  /// An answer.
  public init(rows: [[String?]] = [], transaction: Transaction = .none) {
    self.rows = rows
    self.transaction = transaction
  }

  /// The field at this place; nil when it is NULL, or not there.
  public func field(_ row: Int, _ column: Int) -> String? {
    row < rows.count && column < rows[row].count ? rows[row][column] : nil
  }
}
