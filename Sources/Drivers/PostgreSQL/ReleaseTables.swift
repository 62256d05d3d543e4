import ReleaseRecords

/// The record of one run ID in the tables: the record's part of the `postgres` backend.
///
/// Any connection will do, direct or pooled. `prepare` comes first, once in the life of a process.
public struct ReleaseTables: Sendable {
  /// How long records are kept.
  public static let keptDays = 30
  /// From a statement to its answer.
  static let patience = Duration.seconds(8)

  private let statements: ReleaseStatements

  /// The record of this run ID.
  public init(layout: TablesLayout, project: String, runID: String) {
    statements = ReleaseStatements(layout: layout, project: project, runID: runID)
  }

  /// Looks whether the tables are there and ours, and makes them when they are missing.
  public func prepare(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    look(on: connection) { finding in
      switch finding {
      case .success(.ready): completion(.success(()))
      case .failure(let failure): completion(.failure(failure))
      case .success(.missing(let making)):
        connection.send(making, timeout: Self.patience) { result in
          if case .failure(let failure) = result {
            let role = connection.session?.role ?? ""
            return completion(.failure(statements.layout.explain(failure, role: role)))
          }
          // Another one may have been quicker, with another version.
          look(on: connection) { finding in
            switch finding {
            case .success(.ready): completion(.success(()))
            case .success(.missing):
              completion(
                .failure(
                  PostgreSQLFailure(.tables, "the tables vanished in the moment in which they were made")))
            case .failure(let failure): completion(.failure(failure))
            }
          }
        }
      }
    }
  }

  private func look(
    on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<TablesLayout.Finding, PostgreSQLFailure>) -> Void
  ) {
    connection.send(statements.layout.inspection, timeout: Self.patience) { result in
      completion(
        result.flatMap { answer in
          do throws(PostgreSQLFailure) {
            return .success(try statements.layout.judge(answer.rows.first ?? []))
          } catch {
            return .failure(error)
          }
        })
    }
  }

  /// Reads the record, and the server's time.
  public func read(
    on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<ReleaseSnapshot, PostgreSQLFailure>) -> Void
  ) {
    connection.send(statements.reading, timeout: Self.patience) { result in
      completion(
        result.flatMap { answer in
          guard let snapshot = statements.snapshot(answer.rows) else {
            return .failure(
              PostgreSQLFailure(
                .tables,
                "the record of run ID \(statements.runID) in \(statements.layout.release) cannot be understood; "
                  + "somebody has changed it by hand"))
          }
          return .success(snapshot)
        })
    }
  }

  /// Puts the record in the place of what is there, durably, and answers with the server's time. The times of claim,
  /// heartbeat and failure are set by the server. Fails as `superseded` when another one has claimed the release since.
  /// - Parameters:
  ///   - release: this run ID's.
  ///   - unmarking: whose mark on the infrastructure lock (`LockRows`) goes in the same transaction.
  public func write(
    _ release: ReleaseRecord, unmarking owner: String? = nil, on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<UInt64, PostgreSQLFailure>) -> Void
  ) {
    connection.send(statements.writing(release, unmarking: owner), timeout: Self.patience) { result in
      completion(
        result.flatMap { answer in
          guard answer.field(0, 1) == "1", let now = answer.field(0, 0).flatMap({ UInt64($0) }) else {
            let owner = answer.field(0, 2) ?? "another node"
            let attempt = answer.field(0, 3).map { " (attempt \($0))" } ?? ""
            return .failure(
              PostgreSQLFailure(
                .superseded,
                "\(owner) has claimed run ID \(statements.runID) since\(attempt); nothing was written"))
          }
          return .success(now)
        })
    }
  }

  /// Removes the record.
  public func remove(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    connection.send(statements.removal, timeout: Self.patience) { completion($0.map { _ in }) }
  }

  /// Removes what the project's other run IDs left behind more than 30 days ago; which ones.
  public func prune(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<[String], PostgreSQLFailure>) -> Void
  ) {
    connection.send(statements.pruning(olderThan: Self.keptDays), timeout: Self.patience) { result in
      completion(result.map { $0.rows.compactMap { $0.first ?? nil } })
    }
  }
}
