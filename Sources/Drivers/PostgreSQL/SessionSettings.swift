/// What a session of ours needs to be set to, whatever `ALTER ROLE … SET` and the server's own file say.
enum SessionSettings {
  /// No limit ends our sessions, or what they wait for, from outside.
  private static let limits: [(name: String, since: Int)] = [
    ("statement_timeout", 0), ("lock_timeout", 0), ("idle_in_transaction_session_timeout", 90_600),
    ("idle_session_timeout", 140_000), ("transaction_timeout", 170_000),
  ]

  /// When the server drops a session whose client is cut off: after 12 s at the earliest, since a holder that hears
  /// nothing for 8 s still has to find that out and to kill its step; and after 15 s at the latest.
  ///
  /// Linux looks at the user timeout when a probe is due, with unanswered ones before it: probes each second from the third
  /// on make it 14 s after the last word, and an answer of the server's that is still on its way 13.5 s after its first
  /// loss (tcp(7)). Measured by cutting a link: 14.2 to 14.5 s after the last word. A holder says one each second.
  /// Systems without a user timeout count: 3 s and 11 probes.
  private static let network: [(name: String, value: String, since: Int)] = [
    ("tcp_keepalives_idle", "3", 0), ("tcp_keepalives_interval", "1", 0), ("tcp_keepalives_count", "11", 0),
    ("tcp_user_timeout", "13500", 120_000),
  ]

  /// Who answers; and the settings, in the same statement, if that is the process that the protocol named. Through a
  /// pooler they would be left behind in the session of whoever comes next.
  static func settle(version: Int, process: Int32) -> Statement {
    var values = limits.filter { version >= $0.since }.map { ($0.name, "0") }
    values += network.filter { version >= $0.since }.map { ($0.name, $0.value) }
    values.append(("default_transaction_isolation", "read committed"))
    let settings = values.map { "pg_catalog.set_config('\($0.0)', '\($0.1)', false)" }
    return Statement(
      """
      SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_is_in_recovery(), current_user, pg_catalog.current_database(),
        CASE WHEN pg_catalog.pg_backend_pid() = \(process) THEN ARRAY[\(settings.joined(separator: ", "))] END
      """)
  }

  /// The same limits for one transaction, as statements to put behind its BEGIN.
  static func forTransaction(version: Int) -> String {
    limits.filter { version >= $0.since }.map { "SET LOCAL \($0.name) = 0; " }.joined()
  }
}
