import AgentProtocol
import EventLoop
import ReleaseRecords

// What the driver's statements do, as decisions of the simulated server.

struct TablesLayout {
  init(schema: String, table: String) throws(PostgreSQLFailure) {}
}

struct LockStatements {
  let key: LockKey

  init(key: LockKey, serverVersion: Int) {
    self.key = key
  }

  private static func answer(_ answer: SessionLock.Answer) -> Result<StatementResult, PostgreSQLFailure> {
    .success(StatementResult(value: answer))
  }

  func answer(_ question: SessionLock.Question, _ result: StatementResult) -> SessionLock.Answer {
    result.value as? SessionLock.Answer ?? .done
  }

  func statement(_ question: SessionLock.Question) -> Statement {
    let key = key
    switch question {
    case .take:
      return .immediate { session in
        Self.answer(.got(session.server.lock(key).tryExclusive(session, inTransaction: false)))
      }
    case .takeInTransaction:
      return Statement(.begins) { session, done in
        done(Self.answer(.got(session.server.lock(key).tryExclusive(session, inTransaction: true))))
      }
    case .endTransaction: return Statement(.ends) { _, done in done(Self.answer(.done)) }
    case .waitUntilFree:
      return Statement { session, done in Self.wait(key, session, for: SessionLock.slice, done) }
    case .isFree:
      return .immediate { Self.answer(.free($0.server.lock(key).tryShared())) }
    case .whoHolds:
      return .immediate { session in
        let holder = session.server.lock(key).exclusive
        return Self.answer(
          .holder(holder.map { LockHolder(backend: $0.backend, applicationName: $0.applicationName) }))
      }
    case .ping: return .immediate { _ in Self.answer(.alive(true)) }
    case .pingInTransaction:
      return Statement(.within) { session, done in done(Self.answer(.alive(session.isInTransaction))) }
    case .giveBack:
      return .immediate { session in
        session.server.lock(key).release(session, .given)
        return Self.answer(.done)
      }
    }
  }

  /// The shared form, until it is had or the slice is over, and given back with the statement's transaction.
  private static func wait(
    _ key: LockKey, _ session: ServerSession, for slice: Duration, _ done: @escaping Statement.Completion
  ) {
    let lock = session.server.lock(key)
    var isOver = false
    lock.wait(session, isExclusive: false) {
      guard !isOver else { return }
      isOver = true
      session.server.world.watch.saw(.sharedGrant)
      let world = session.server.world
      let keeps = world.bug == .sharedKept
      world.after(world.random.duration(.microseconds(20)...(.microseconds(300)))) {
        if !keeps { lock.releaseShared(session) }
        done(answer(.free(true)))
      }
    }
    session.server.world.after(slice) {
      guard !isOver, !session.hasEnded else { return }
      isOver = true
      lock.leave(session)
      done(answer(.free(false)))
    }
  }
}

struct LockRows {
  enum Name: String {
    case infrastructure
    case leader
  }

  struct Holder: Equatable {
    var project: String
    var runID: String
    var owner: String
    var running: [String] = []
  }

  private let own: DatabaseServer.Row

  init(layout: TablesLayout, project: String, runID: String, owner: String, name: Name) {
    own = DatabaseServer.Row(project: project, name: name.rawValue, runID: runID, owner: owner)
  }

  private func holders(_ server: DatabaseServer) -> [Holder] {
    server.rows.reversed().filter {
      $0.name == own.name && (own.name != "leader" || $0.project == own.project)
    }
    .map { row in
      Holder(
        project: row.project, runID: row.runID, owner: row.owner,
        running: server.releases[row.runID]?.claim?.running.map(\.step) ?? [])
    }
  }

  private func send(
    on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<[Holder], PostgreSQLFailure>) -> Void,
    _ perform: @escaping (DatabaseServer) -> [Holder]
  ) {
    connection.send(.table { .success(perform($0)) }, timeout: .seconds(8)) {
      completion($0.map { $0.value as? [Holder] ?? [] })
    }
  }

  func mark(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<[Holder], PostgreSQLFailure>) -> Void
  ) {
    send(on: connection, completion) { server in
      let left = holders(server)
      if !left.isEmpty { server.world.watch.saw(.vanished) }
      server.rows.removeAll { row in
        row.name == own.name && row.project == own.project && (row.runID == own.runID || own.name == "leader")
      }
      server.rows.append(own)
      return left
    }
  }

  func unmark(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    send(on: connection, { completion($0.map { _ in }) }) { server in
      server.rows.removeAll { $0 == own }
      return []
    }
  }

  func forget(
    _ holders: [Holder], on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    send(on: connection, { completion($0.map { _ in }) }) { server in
      server.rows.removeAll { row in
        row.name == own.name
          && holders.contains { $0.project == row.project && $0.runID == row.runID && $0.owner == row.owner }
      }
      return []
    }
  }

  func holders(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<[Holder], PostgreSQLFailure>) -> Void
  ) {
    send(on: connection, completion) { holders($0) }
  }
}

extension Statement {
  /// One on the tables, which may have been removed.
  static func table(_ perform: @escaping (DatabaseServer) -> Result<Any, PostgreSQLFailure>) -> Statement {
    .immediate { session in
      guard session.server.hasTables else {
        return .failure(PostgreSQLFailure(.statement, sqlState: "42P01", "relation does not exist"))
      }
      return perform(session.server).map { StatementResult(value: $0) }
    }
  }
}

struct ReleaseTables {
  private let runID: String

  init(layout: TablesLayout, project: String, runID: String) {
    self.runID = runID
  }

  func prepare(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    connection.send(
      .immediate { session in
        session.server.hasTables = true
        return .success(StatementResult())
      }, timeout: .seconds(8)
    ) { completion($0.map { _ in }) }
  }

  func read(
    on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<ReleaseSnapshot, PostgreSQLFailure>) -> Void
  ) {
    let runID = runID
    connection.send(
      .table { .success(ReleaseSnapshot(release: $0.releases[runID], now: $0.now)) }, timeout: .seconds(8)
    ) { result in
      completion(
        result.flatMap { answer in
          if let snapshot = answer.value as? ReleaseSnapshot { return .success(snapshot) }
          return .failure(PostgreSQLFailure(.tables, "no snapshot"))
        })
    }
  }

  func write(
    _ release: ReleaseRecord, unmarking owner: String? = nil, on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<UInt64, PostgreSQLFailure>) -> Void
  ) {
    let runID = runID
    let statement = Statement { session, done in
      let server = session.server
      guard server.hasTables else {
        return done(.failure(PostgreSQLFailure(.statement, sqlState: "42P01", "relation does not exist")))
      }
      let before = server.releases[runID]
      let isFenced =
        before?.claim.map { claim in
          guard let own = release.claim else { return true }
          return own.attempt <= claim.attempt && !(own.attempt == claim.attempt && own.owner == claim.owner)
        } ?? false
      if isFenced, let claim = before?.claim {
        server.world.watch.saw(.superseded)
        return done(
          .failure(PostgreSQLFailure(.superseded, "\(claim.owner) has claimed run ID \(runID) since")))
      }
      var stored = release
      server.setTimes(&stored, before)
      server.releases[runID] = stored
      if let owner {
        server.rows.removeAll { $0.runID == runID && $0.owner == owner && $0.name == "infrastructure" }
      }
      if let life = session.agent?.life { server.world.recorded(stored, before: before, by: life) }
      done(.success(StatementResult(value: server.now)))
    }
    connection.send(statement, timeout: .seconds(8)) { completion($0.map { $0.value as? UInt64 ?? 0 }) }
  }

  func remove(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    let runID = runID
    connection.send(
      .table { server in
        server.releases[runID] = nil
        return .success(())
      }, timeout: .seconds(8)
    ) { completion($0.map { _ in }) }
  }

  func prune(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<[String], PostgreSQLFailure>) -> Void
  ) {
    connection.send(.table { _ in .success([String]()) }, timeout: .seconds(8)) {
      completion($0.map { _ in [] })
    }
  }
}

extension DatabaseServer {
  /// Which times are the server's own, and that it keeps microseconds.
  func setTimes(_ release: inout ReleaseRecord, _ before: ReleaseRecord?) {
    if var claim = release.claim {
      let isSame = before?.claim?.owner == claim.owner && before?.claim?.attempt == claim.attempt
      claim.startedAt = isSame ? before?.claim?.startedAt ?? now : now
      claim.heartbeat = now
      release.claim = claim
    }
    if var failure = release.failure {
      let isSame = before?.failure?.count == failure.count && before?.failure?.attempt == failure.attempt
      failure.failedAt = isSame ? before?.failure?.failedAt ?? now : now
      release.failure = failure
    }
    release.completedAt = release.completedAt.map { $0 / 1000 * 1000 }
    for index in release.entries.indices {
      release.entries[index].doneAt = release.entries[index].doneAt / 1000 * 1000
    }
  }
}

struct StepSessions {
  struct Release: Hashable {
    var project: String
    var run: String
  }

  private let isOne: (String) -> Bool

  init(of releases: [Release]) {
    let prefixes = releases.map { ApplicationName.prefix(project: $0.project, run: $0.run) }
    isOne = { name in prefixes.contains { name.hasPrefix($0) } }
  }

  init(project: String, run: String, step: String) {
    let name = ApplicationName(project: project, run: run, step: step).text
    isOne = { $0 == name }
  }

  private func found(in server: DatabaseServer) -> [StepWork] {
    if server.world.bug == .blindTakeover { return [] }
    return server.work.filter { isOne($0.applicationName) }
  }

  func find(
    on connection: PostgreSQLConnection,
    _ completion: @escaping (Result<[LockHolder], PostgreSQLFailure>) -> Void
  ) {
    connection.send(
      .immediate { session in
        .success(
          StatementResult(
            value: found(in: session.server).map {
              LockHolder(backend: $0.backend, applicationName: $0.applicationName)
            }))
      }, timeout: .seconds(8)
    ) { completion($0.map { $0.value as? [LockHolder] ?? [] }) }
  }

  func terminate(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Int, PostgreSQLFailure>) -> Void
  ) {
    connection.send(
      .immediate { session in
        let found = found(in: session.server)
        for work in found { work.terminate() }
        return .success(StatementResult(value: found.count))
      }, timeout: .seconds(8)
    ) { completion($0.map { $0.value as? Int ?? 0 }) }
  }
}
