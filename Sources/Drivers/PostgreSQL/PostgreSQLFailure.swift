/// Why PostgreSQL could not be used: a reason that programs act on, and a text for people that never has a password.
public struct PostgreSQLFailure: Error, Equatable, Sendable, CustomStringConvertible {
  /// What is wrong. The first group stays wrong until a person does something, the second may pass.
  public enum Cause: Sendable, Equatable, CaseIterable {
    /// The connection string cannot be understood.
    case settings
    /// User or password.
    case credentials
    /// TLS: a certificate that is not believed, or an encryption that one side refuses.
    case certificate
    /// The database is not there.
    case database
    /// The role may not do it.
    case privilege
    /// Our tables are of another version, or not ours.
    case tables
    /// Another node has claimed the release since.
    case superseded
    /// The server rejects the statement.
    case statement

    /// Nobody listens, or the name is unknown.
    case unreachable
    /// The server starts up, or recovers (57P03).
    case startingUp
    /// It takes no writes.
    case standby
    /// All its connections are in use.
    case tooManyConnections
    /// The server, or an administrator, ended the connection (57P01, 57P02).
    case shutDown
    /// The connection broke.
    case lost
    /// No answer within the time.
    case noAnswer
    /// The statement was cancelled (57014).
    case cancelled
    /// What the statement needs is locked (55P03), or another one won (40001, 40P01).
    case busy
    /// Disk or memory is full, or an error of the server's own.
    case resources
  }

  /// What is wrong.
  public var cause: Cause
  /// The server's code (https://www.postgresql.org/docs/current/errcodes-appendix.html); nil when it is none of
  /// the server's errors.
  public var sqlState: String?
  /// One sentence, without the final stop.
  public var text: String

  /// A failure.
  public init(_ cause: Cause, sqlState: String? = nil, _ text: String) {
    self.cause = cause
    self.sqlState = sqlState
    self.text = text
  }

  /// Whether trying again is of no use until a person has done something.
  public var isPermanent: Bool {
    switch cause {
    case .settings, .credentials, .certificate, .database, .privilege, .tables, .superseded, .statement:
      return true
    case .unreachable, .startingUp, .standby, .tooManyConnections, .shutDown, .lost, .noAnswer, .cancelled,
      .busy, .resources:
      return false
    }
  }

  /// The text.
  public var description: String { text }
}

extension PostgreSQLFailure {
  /// What the server's code means.
  static func cause(sqlState: String, message: String) -> Cause {
    switch sqlState {
    case "57P03": return .startingUp
    case "57P01", "57P02", "57P05", "25P03", "25P04": return .shutDown
    case "57P04", "3D000": return .database
    case "57014": return .cancelled
    case "55P03", "40001", "40P01": return .busy
    case "25006": return .standby
    case "53300": return .tooManyConnections
    case "42501": return .privilege
    case "08P01": return poolersCause(message)
    default: break
    }
    switch sqlState.prefix(2) {
    case "28": return .credentials
    case "08": return .lost
    case "53", "54", "57", "58", "XX", "F0": return .resources
    default: return .statement
    }
  }

  /// PgBouncer has one code for all its errors (protocol_violation), the server's own included.
  private static func poolersCause(_ message: String) -> Cause {
    if message.contains("no such user") || message.contains("authentication failed") { return .credentials }
    if message.contains("no such database") || message.contains("\" does not exist") { return .database }
    if message.contains("unsupported startup parameter") { return .settings }
    if message.contains("no more connections") { return .tooManyConnections }
    if message.contains("SSL required") || message.contains("TLS required") { return .certificate }
    return .unreachable
  }

  /// Judges what libpq says of an attempt to connect. Older libraries than 18 give no code with it, so it is asked for
  /// the verbose form (`FATAL:  28P01: …`), whose code does not depend on the server's language. Several hosts, or
  /// several addresses of one, each leave a line: the attempt failed for good only when none of them may still come.
  static func connecting(_ message: String) -> PostgreSQLFailure {
    var texts: [String] = []
    var found: [(cause: Cause, code: String?)] = []
    for line in message.split(separator: "\n") {
      // Where in the server's source it was raised, and the like of it.
      if line.hasPrefix("LOCATION:") { continue }
      guard let (before, code, said) = parts(of: line) else {
        texts.append(line.trimmed)
        if line.contains("failed: ") || found.isEmpty { found.append((clientsCause(line), nil)) }
        continue
      }
      found.append((cause(sqlState: code, message: said), code))
      texts.append((before + said).trimmed)
    }
    let temporary = found.first { !PostgreSQLFailure($0.cause, "").isPermanent && $0.cause != .unreachable }
    let permanent = found.first { PostgreSQLFailure($0.cause, "").isPermanent }
    let chosen = temporary ?? permanent ?? found.first ?? (.unreachable, nil)
    let text = texts.joined(separator: "; ")
      .replacing("connection to server at ", with: "PostgreSQL at ")
      .replacing("connection to server on socket ", with: "PostgreSQL on socket ")
      .replacing(" failed: ", with: ": ")
    let advice =
      chosen.cause == .standby
      ? " (a standby, or the role has default_transaction_read_only; the lock needs the primary)" : ""
    return PostgreSQLFailure(
      chosen.cause, sqlState: chosen.code, (text.isEmpty ? "PostgreSQL gave no reason" : text) + advice)
  }

  /// The parts of `… failed: FATAL:  28P01: password authentication failed`, without the severity.
  private static func parts(of line: Substring) -> (before: String, code: String, said: String)? {
    let words = line.split(separator: " ")
    for (index, word) in words.enumerated().dropFirst() where words[index - 1].hasSuffix(":") {
      // All codes have a digit; the severity in front of it (`FATAL:`) has none.
      guard word.utf8.count == 6, word.hasSuffix(":"),
        word.utf8.contains(where: { (0x30...0x39).contains($0) }),
        word.utf8.dropLast().allSatisfy({ (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) })
      else { continue }
      let before = words[..<(index - 1)].joined(separator: " ")
      return (
        before.isEmpty ? "" : before + " ", String(word.dropLast()),
        words[(index + 1)...].joined(separator: " ")
      )
    }
    return nil
  }

  /// What libpq itself says, which is not translated: the agent sets no locale.
  private static func clientsCause(_ line: some StringProtocol) -> Cause {
    let permanentTexts: [(String, Cause)] = [
      ("session is read-only", .standby), ("hot standby", .standby),
      ("no password supplied", .credentials), ("authentication method", .credentials),
      ("certificate", .certificate), ("SSL was required", .certificate), ("private key file", .certificate),
      ("invalid connection option", .settings), ("invalid port number", .settings), ("invalid ", .settings),
      ("definition of service", .settings), ("could not match", .settings),
      ("timeout expired", .noAnswer), ("server closed the connection", .lost),
    ]
    return permanentTexts.first { line.contains($0.0) }?.1 ?? .unreachable
  }
}

extension StringProtocol {
  /// Without spaces and tabs at both ends.
  var trimmed: String {
    let kept = drop { $0 == " " || $0 == "\t" }
    var end = kept.endIndex
    while end > kept.startIndex, " \t\r\n".contains(kept[kept.index(before: end)]) {
      end = kept.index(before: end)
    }
    return String(kept[..<end])
  }
}
