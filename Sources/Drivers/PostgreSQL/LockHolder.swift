import EventLoop

/// Whom a lock belongs to, as far as the server tells us.
public struct LockHolder: Sendable, Equatable, CustomStringConvertible {
  /// The server's process; nil for a prepared transaction.
  public var backend: Int32?
  /// Its role; nil when we may not see it.
  public var role: String?
  /// What it calls itself.
  public var applicationName: String?
  /// Its address; nil when it came by a Unix socket, or we may not see it.
  public var address: String?
  /// How long its session, or its open transaction, lasts already. The server does not know since when it has the lock.
  public var age: Duration?

  /// A holder.
  public init(
    backend: Int32?, role: String? = nil, applicationName: String? = nil, address: String? = nil,
    age: Duration? = nil
  ) {
    self.backend = backend
    self.role = role
    self.applicationName = applicationName
    self.address = address
    self.age = age
  }

  /// From process, role, name, address, and age in milliseconds.
  init?(row: [String?]) {
    guard row.count == 5 else { return nil }
    self.init(
      backend: row[0].flatMap { Int32($0) }, role: row[1], applicationName: row[2], address: row[3],
      age: row[4].flatMap { Int64($0) }.map { .milliseconds(max($0, 0)) })
  }

  /// `"manage.py" (PostgreSQL process 712, role app, from 10.0.0.3, connected for 12s)`.
  public var description: String {
    guard let backend else { return "a prepared transaction" }
    let name = applicationName.flatMap { $0.isEmpty ? nil : "\"\($0)\"" } ?? "a session without a name"
    var facts = ["PostgreSQL process \(backend)"]
    if let role { facts.append("role \(role)") }
    if let address { facts.append("from \(address)") }
    if let age { facts.append("connected for \(age.readable)") }
    return "\(name) (\(facts.joined(separator: ", ")))"
  }

  /// Whether it is the same session; its age does not count.
  func isSame(as other: LockHolder?) -> Bool {
    backend == other?.backend && applicationName == other?.applicationName
  }
}
