import AgentProtocol
import CPostgreSQL

/// Which database, as whom, and under which name.
public struct PostgreSQLTarget: Sendable, Equatable {
  /// What libpq takes (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING): a URL, `key=value`
  /// pairs, or empty for libpq's own environment and files.
  public var connectionString: String
  /// What others see in pg_stat_activity.
  public var applicationName: String
  /// Whether a standby will do: for those who only want to know whether the server takes connections.
  public var takesStandby = false

  /// A target.
  public init(connectionString: String, applicationName: ApplicationName) {
    self.connectionString = connectionString
    self.applicationName = applicationName.text
  }

  /// What we would have, which the connection string may set otherwise, and behind it what must be ours.
  ///
  /// The client notices a cut connection 8 s after the last sign of life, the time that a holder grants its own pings.
  func parameters() throws(PostgreSQLFailure) -> [(String, String)] {
    _ = try secrets()
    var parameters = [
      ("target_session_attrs", takesStandby ? "any" : "read-write"), ("keepalives", "1"),
      ("keepalives_idle", "3"),
      ("keepalives_interval", "1"), ("keepalives_count", "5"), ("tcp_user_timeout", "8000"),
    ]
    if !connectionString.isEmpty { parameters.append(("dbname", connectionString)) }
    return parameters + [("application_name", applicationName), ("client_encoding", "UTF8")]
  }

  /// The words of the connection string that no text may repeat.
  ///
  /// libpq's own complaint about a string is not passed on: it quotes the part that it did not understand, which may
  /// be the end of a password with a space in it.
  func secrets() throws(PostgreSQLFailure) -> [String] {
    let shape =
      "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE with special characters of the password "
      + "percent-encoded (@ is %40), or KEY=VALUE pairs with values quoted by '"
    guard !connectionString.utf8.contains(0) else {
      throw PostgreSQLFailure(.settings, "the connection string has a NUL; \(shape)")
    }
    guard connectionString.contains("=") || connectionString.contains("://") else { return [] }
    var complaint: UnsafeMutablePointer<CChar>?
    guard let options = PQconninfoParse(connectionString, &complaint) else {
      PQfreemem(complaint)
      throw PostgreSQLFailure(.settings, "the connection string cannot be understood; \(shape)")
    }
    defer { PQconninfoFree(options) }
    var secrets: [String] = []
    var option = options
    while let name = option.pointee.keyword {
      if let value = option.pointee.val.map({ String(cString: $0) }), !value.isEmpty {
        switch String(cString: name) {
        case "password", "sslpassword": secrets.append(value)
        // What follows an unescaped @ in a password ends here.
        case "host" where value.contains("@"), "port" where value.contains("@"):
          throw PostgreSQLFailure(
            .settings, "the connection string has an @ in the place of the host; \(shape)")
        default: break
        }
      }
      option += 1
    }
    return secrets
  }

  /// The text without what is secret in the connection string.
  func masked(_ failure: PostgreSQLFailure) -> PostgreSQLFailure {
    var masked = failure
    // A password of a letter or two would leave nothing to read; and whoever has it is known not to be secret.
    for secret in (try? secrets()) ?? [] where secret.utf8.count > 2 {
      masked.text = masked.text.replacing(secret, with: "***")
    }
    return masked
  }
}
