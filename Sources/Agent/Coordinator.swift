import AgentProtocol
import EventLoop
import NIOCore
import PostgreSQLDriver
import RedisDriver
import ReleaseRecords

/// Lock, record and readiness, as PID 1 asks for them. On one event loop, like everything here.
///
/// A node that waits has one connection, and reads on it; a holder has two, since the lock's own must answer its pings;
/// the leader has its lock's alone.
final class Coordinator {
  /// A write that has not worked by then has failed: its owner has to know while its lock is still its own.
  private static let writePatience = Duration.seconds(5)
  /// After the loss of a lock PID 1 kills what was under it. What is guarded still then is left to us.
  private static let lossPatience = Duration.milliseconds(500)

  private let eventLoop: any NIOCore.EventLoop
  private let client: PostgreSQLClient
  private let report: (CoordinationReport) -> Void
  private let log: (AgentReport.LogLevel, String) -> Void
  private let groups: GuardedGroups
  private var place: Place?
  private var scope: CoordinationScope?
  private var locks: [UInt64: CoordinationLock] = [:]
  private let certificateFile: String?
  private var readiness: ReadinessRequests?
  private var readinessFailure = Coordinator.unconfigured
  private var ending: (() -> Void)?

  /// Where the tables are.
  private struct Place {
    var scope: CoordinationScope
    var connection: String
    var layout: TablesLayout
    var tables: ReleaseTables
    var record: RecordConnection
  }

  init(
    eventLoop: any NIOCore.EventLoop, certificateFile: String?,
    log: @escaping (AgentReport.LogLevel, String) -> Void, report: @escaping (CoordinationReport) -> Void
  ) {
    self.certificateFile = certificateFile
    self.eventLoop = eventLoop
    self.log = log
    self.report = report
    client = PostgreSQLClient(eventLoop: eventLoop)
    groups = GuardedGroups(eventLoop: eventLoop)
  }

  /// How many connections to PostgreSQL there are, or are being made.
  var connections: Int { client.count }

  // MARK: Requests

  func handle(_ request: CoordinationRequest) {
    switch request {
    // Also while we end: what PID 1 began in that moment is to end, too.
    case .guardGroup(let id, let group): return groups.add(group, under: id)
    case .unguardGroup(let id, let group): return groups.remove(group, under: id)
    default: break
    }
    guard ending == nil else { return }
    switch request {
    case .configure(let scope): configure(scope)
    case .read(let id): read(id)
    case .write(let id, let record, let isLast): write(id, record, isLast: isLast)
    case .remove(let id): remove(id)
    case .prune: prune()
    case .lock(let id, let name): lock(id, name)
    case .contend(let id): locks[id]?.contend()
    case .unlock(let id, let isOrderly): unlock(id, isOrderly: isOrderly)
    case .guardGroup, .unguardGroup: break
    case .endRemains(let id, let step): endRemains(id, step)
    case .readReadiness(let id): withReadiness(id) { $0.read(id) }
    case .writeReadiness(let id, let isReady): withReadiness(id) { $0.write(id, isReady: isReady) }
    case .watchReadiness(let id): withReadiness(id) { $0.watch(id) }
    case .cancel(let id):
      readiness?.cancel(id)
      place?.record.cancel(id)
      for lock in locks.values { lock.takeover?.cancel(id) }
    }
  }

  private func configure(_ scope: CoordinationScope) {
    place?.record.close()
    place = nil
    self.scope = scope
    settingsFailure = nil
    readiness?.end()
    readiness = nil
    readinessFailure = CoordinationFailure(.settings, "no Redis was named for readiness")
    if let redis = scope.redis {
      do throws(RedisFailure) {
        readiness = try ReadinessRequests(
          redis, eventLoop: eventLoop, certificateFile: certificateFile, log: log, report: report)
      } catch {
        readinessFailure = CoordinationFailure(error)
      }
    }
    guard let postgres = scope.postgres else { return }
    do throws(PostgreSQLFailure) {
      let layout = try TablesLayout(schema: postgres.schema, table: postgres.table)
      let tables = ReleaseTables(layout: layout, project: scope.project, runID: scope.runID)
      let record = RecordConnection(
        client: client,
        target: PostgreSQLTarget(
          connectionString: postgres.connection,
          applicationName: ApplicationName(project: scope.project, run: scope.runID, purpose: "record")),
        tables: tables, eventLoop: eventLoop, lender: { [weak self] in self?.loan() ?? .none },
        keeping: { [weak self] in self?.keeping() ?? .close })
      place = Place(
        scope: scope, connection: postgres.connection, layout: layout, tables: tables, record: record)
    } catch {
      settingsFailure = CoordinationFailure(error)
    }
  }

  /// Why there is no place.
  private var settingsFailure: CoordinationFailure?
  private var noPlace: CoordinationFailure {
    if scope == nil {
      return CoordinationFailure(.settings, "it was asked before it was told about the servers")
    }
    return settingsFailure ?? CoordinationFailure(.settings, "no PostgreSQL was named for lock and record")
  }
  private static let unconfigured = CoordinationFailure(
    .settings, "the agent was asked before it was told about the servers")

  private func withReadiness(_ id: UInt64, _ body: (ReadinessRequests) -> Void) {
    guard let readiness else { return report(.failed(id: id, readinessFailure)) }
    body(readiness)
  }

  // MARK: The record

  private func read(_ id: UInt64) {
    guard let place else { return report(.failed(id: id, noPlace)) }
    let isUnavailable: (PostgreSQLFailure) -> Void = { [report] failure in
      report(.unavailable(id: id, CoordinationFailure(failure)))
    }
    let job = RecordJob(
      id: id, mayBorrow: true,
      run: { [report] connection, done in
        place.tables.read(on: connection) { result in
          switch result {
          case .success(let snapshot):
            switch RecordBytes.encode(snapshot.release) {
            case .success(let record): report(.record(id: id, record, now: snapshot.now))
            case .failure(let failure): report(.failed(id: id, failure))
            }
            done(nil)
          case .failure(let failure): done(failure)
          }
        }
      }, isUnavailable: isUnavailable,
      fail: { [report] in report(.failed(id: id, CoordinationFailure($0))) })
    guard let takeover = locks.values.first(where: { $0.state == .held && $0.takeover != nil })?.takeover
    else { return place.record.add(job) }
    takeover.whenOver(id, isUnavailable: isUnavailable) { [report] failure in
      if let failure { return report(.failed(id: id, failure)) }
      place.record.add(job)
    }
  }

  private func write(_ id: UInt64, _ bytes: [UInt8], isLast: Bool) {
    guard let place else { return report(.failed(id: id, noPlace)) }
    let release: ReleaseRecord
    switch RecordBytes.decode(bytes, runID: place.scope.runID) {
    case .success(let decoded): release = decoded
    case .failure(let failure): return report(.failed(id: id, failure))
    }
    // PID 1 may not have heard of the loss yet, as when it stood still: what it makes of a step that was killed for it is
    // no failure of the step's.
    let lost = CoordinationFailure(.unavailable, "the lock was lost before the record was written")
    guard let held = locks.values.first(where: { $0.name == .infrastructure && $0.state == .held }) else {
      return report(.failed(id: id, lost))
    }
    // With a release that is complete and nothing of which was stopped, as in an errand; else statements may go on in the
    // server.
    let isWhole = release.completedAt != nil && release.claim?.running.isEmpty ?? true
    let lock = isLast && isWhole ? held : nil
    let owner = lock == nil ? nil : place.scope.owner
    place.record.add(
      RecordJob(
        id: id, patience: Self.writePatience,
        run: { [report] connection, done in
          // It waited for the server, and another node may have the lock by now, and have read the record.
          if held.state == .over {
            report(.failed(id: id, lost))
            return done(nil)
          }
          place.tables.write(release, unmarking: owner, on: connection) { result in
            if case .failure(let failure) = result { return done(failure) }
            lock?.wasUnmarked()
            report(.done(id: id))
            done(nil)
          }
        }, fail: { [report] in report(.failed(id: id, CoordinationFailure($0))) }))
  }

  private func endRemains(_ id: UInt64, _ step: String) {
    guard let held = locks.values.first(where: { $0.name == .infrastructure && $0.state == .held }) else {
      return report(
        .failed(id: id, CoordinationFailure(.unavailable, "the lock was lost before the step's end")))
    }
    held.endRemains(of: step) { [report] failure in
      report(failure.map { .failed(id: id, $0) } ?? .done(id: id))
    }
  }

  private func remove(_ id: UInt64) {
    guard let place else { return report(.failed(id: id, noPlace)) }
    place.record.add(
      RecordJob(
        id: id, patience: Self.writePatience,
        run: { [report] connection, done in
          place.tables.remove(on: connection) { result in
            if case .failure(let failure) = result { return done(failure) }
            report(.done(id: id))
            done(nil)
          }
        }, fail: { [report] in report(.failed(id: id, CoordinationFailure($0))) }))
  }

  private func prune() {
    guard let place else { return }
    place.record.add(
      RecordJob(
        patience: Self.writePatience,
        run: { [log] connection, done in
          place.tables.prune(on: connection) { result in
            switch result {
            case .success(let gone):
              if !gone.isEmpty {
                log(.debug, "removed the records of \(gone.joined(separator: ", ")) from PostgreSQL")
              }
              done(nil)
            case .failure(let failure): done(failure)
            }
          }
        },
        fail: { [log] in log(.warning, "old records stay in PostgreSQL: \($0)") }))
  }

  /// Another connection to read with: that of a lock that waits.
  private func loan() -> RecordConnection.Loan {
    guard !locks.values.contains(where: { $0.name == .infrastructure && $0.isTaken }),
      let lender = locks.values.filter({ !$0.isTaken && $0.isBusy }).min(by: {
        $0.name.rawValue < $1.name.rawValue
      })
    else { return .none }
    return lender.loan.map { .connection($0) } ?? .later
  }

  private func keeping() -> RecordConnection.Keeping {
    let infrastructure = locks.values.filter { $0.name == .infrastructure }
    if infrastructure.contains(where: \.isTaken) { return .keep }
    if locks.values.contains(where: { !$0.isTaken && $0.isBusy }) { return .close }
    // Those that have just begun will be busy, or taken, in a moment.
    if !infrastructure.isEmpty { return .closeLater }
    return locks.isEmpty ? .closeLater : .close
  }

  // MARK: The locks

  private func lock(_ id: UInt64, _ name: LockName) {
    guard let place else { return report(.lockFailed(id: id, noPlace)) }
    guard locks[id] == nil else {
      return report(
        .lockFailed(id: id, CoordinationFailure(.settings, "the number \(id) is that of another lock")))
    }
    let scope = place.scope
    let purpose = CoordinationLock.purpose(of: name)
    let target = PostgreSQLTarget(
      connectionString: place.connection,
      applicationName: ApplicationName(project: scope.project, run: scope.runID, purpose: purpose))
    let rows = LockRows(
      layout: place.layout, project: scope.project, runID: scope.runID, owner: scope.owner,
      name: name == .infrastructure ? .infrastructure : .leader)
    let lock = CoordinationLock(
      id, name,
      CoordinationLock.Means(
        client: client, target: target,
        key: name == .infrastructure ? .infrastructure : .leader(project: scope.project), rows: rows,
        tables: place.tables, record: place.record, scope: scope, eventLoop: eventLoop, report: report,
        log: { [log] in log(.warning, $0) }, changed: { [weak self] in self?.changed($0) }))
    locks[id] = lock
    lock.begin()
  }

  private func changed(_ lock: CoordinationLock) {
    if lock.state == .over, locks[lock.id] === lock {
      locks[lock.id] = nil
      if groups.locks.contains(lock.id) { killLater(under: lock.id) }
    }
    place?.record.look()
  }

  /// PID 1 knows that the lock is lost. Should it not have ended what was under it soon, we do.
  private func killLater(under id: UInt64) {
    eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Self.lossPatience.wholeNanoseconds)) {
      [weak self] in
      guard let self, groups.locks.contains(id), ending == nil else { return }
      log(.warning, "a step still ran \(Self.lossPatience.readable) after its lock was lost: killing it")
      groups.end(under: id) {}
    }
  }

  private func unlock(_ id: UInt64, isOrderly: Bool) {
    guard let lock = locks[id] else { return report(.unlocked(id: id)) }
    guard groups.locks.contains(id) else { return lock.unlock(isOrderly: isOrderly) }
    // The lock goes after the step, whoever asks for it.
    groups.end(under: id) { lock.unlock(isOrderly: isOrderly) }
  }

  // MARK: The end

  /// Ends what is guarded, then lets the locks go as one who vanishes: the next holder looks for what goes on in the
  /// server. Nothing to end or to give back: calls back at once.
  /// - Parameter isHeard: whether PID 1 is there, and must know why its steps are killed.
  func end(isHeard: Bool, _ completion: @escaping () -> Void) {
    guard ending == nil else { return }
    ending = completion
    // What is being given back in order is, or the next holder would wait for one that has left nothing behind.
    let isReleasing = locks.values.contains { $0.state == .releasing }
    guard !groups.isEmpty || isReleasing else { return completion() }
    if isHeard {
      for id in groups.locks.sorted() where locks[id]?.state == .held {
        let failure = CoordinationFailure(.unavailable, "the agent that holds the lock has to end")
        report(.lockLost(id: id, failure))
      }
    }
    groups.end { [self] in release() }
  }

  private func release() {
    for lock in locks.values {
      if lock.isTaken { lock.unlock(isOrderly: false) } else { lock.abandon() }
    }
    waitForRelease(until: .now + .milliseconds(2500))
  }

  private func waitForRelease(until deadline: MonotonicInstant) {
    if locks.values.allSatisfy({ $0.state == .over }) || .now >= deadline {
      ending?()
      return
    }
    eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(2)) { [self] in
      waitForRelease(until: deadline)
    }
  }
}
