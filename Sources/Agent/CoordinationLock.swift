import AgentProtocol
import EventLoop
import NIOCore
import PostgreSQLDriver

/// One of PID 1's locks: the advisory lock, and beside it the row that says who holds it.
final class CoordinationLock {
  /// What it works with.
  struct Means {
    var client: PostgreSQLClient
    var target: PostgreSQLTarget
    var key: LockKey
    var rows: LockRows
    var tables: ReleaseTables
    var record: RecordConnection
    var scope: CoordinationScope
    var eventLoop: any NIOCore.EventLoop
    var report: (CoordinationReport) -> Void
    var log: (String) -> Void
    /// Is called when its connection may have changed, and when it is over.
    var changed: (CoordinationLock) -> Void
  }

  enum State {
    case waiting
    /// The holder is gone; PID 1 looks at the record.
    case looking
    /// The advisory lock is ours, and PID 1 does not know yet.
    case marking
    case held
    case releasing
    case over
  }

  /// How long a connection that nobody needs stays.
  private static let restOfConnection = TimeAmount.milliseconds(500)
  /// How long a release may take before the advisory lock goes: the row stays behind then, and costs the next holder
  /// the time for a takeover.
  private static let unmarkPatience = Duration.seconds(2)

  /// A session whose client has just ended by itself ends in a moment.
  private static let closingPatience = Duration.milliseconds(100)

  let id: UInt64
  let name: LockName
  /// What steps of ours left behind.
  private var remains: [Takeover] = []
  private let means: Means
  private var lock: PostgreSQLLock?
  private var told = ToldFailure()
  private(set) var state = State.waiting
  /// Whether another session has it, as far as we know.
  private(set) var isBusy = false
  private var isMarked = false
  /// What has to be over before the record is read; nil when nobody vanished.
  private(set) var takeover: Takeover?

  init(_ id: UInt64, _ name: LockName, _ means: Means) {
    self.id = id
    self.name = name
    self.means = means
  }

  /// The connection to read with while it waits; nil in the moments in which it is being made.
  var loan: PostgreSQLConnection? {
    guard let connection = lock?.connection, connection.isOpen else { return nil }
    return connection
  }

  /// Whether the advisory lock is ours, or may be.
  var isTaken: Bool {
    switch state {
    case .marking, .held, .releasing: true
    case .waiting, .looking, .over: false
    }
  }

  /// Takes it.
  func begin() {
    state = .waiting
    isBusy = false
    let lock = PostgreSQLLock(
      client: means.client, target: means.target, key: means.key, eventLoop: means.eventLoop
    ) { [weak self] in self?.handle($0) }
    self.lock = lock
    lock.begin()
  }

  /// PID 1 still wants it.
  func contend() {
    guard state == .looking else { return }
    state = .waiting
    lock?.looked(wantsLock: true)
  }

  /// Gives it back, or stops waiting.
  func unlock(isOrderly: Bool) {
    switch state {
    case .releasing, .over: break
    // Until nothing is left of one that vanished before us, the next holder has to look for it, too: our row, which has
    // taken the place of that one's, tells of it.
    case .held where isOrderly && isMarked && takeover?.isOver ?? true:
      state = .releasing
      if name == .infrastructure { endSessions() } else { unmark() }
    // Nothing is ours, nor asked for. The end of a connection is work, too, and in this moment all nodes of a machine
    // start their apps.
    case .looking:
      finish()
      means.report(.unlocked(id: id))
      means.changed(self)
      means.eventLoop.assumeIsolated().scheduleTask(in: Self.restOfConnection) { [lock] in lock?.abandon() }
    default:
      // Within `marking` the row may be there already, in the place of one that vanished: it stays.
      state = .releasing
      lock?.release()
    }
  }

  /// A step that did not come to its end may go on in the server, whose statements outlive their clients: nothing of it
  /// may be left when the next holder comes. If that cannot be had in time the row stays, and the next one sees to it.
  private func endSessions() {
    let takeover = ending(of: nil, delay: .zero)
    self.takeover = takeover
    let limit = means.eventLoop.assumeIsolated().scheduleTask(
      in: .nanoseconds(Self.unmarkPatience.wholeNanoseconds)
    ) { [weak self] in
      // Its answer, if it still comes, is nobody's.
      takeover.cancel(0)
      self?.lock?.release()
    }
    takeover.whenOver(0, isUnavailable: { _ in }) { [weak self] failure in
      limit.cancel()
      guard let self, state == .releasing else { return }
      if failure == nil { unmark() } else { lock?.release() }
    }
  }

  /// Ends what this step of ours, or any of them, left behind.
  private func ending(of step: String?, delay: Duration) -> Takeover {
    let scope = means.scope
    let own = LockRows.Holder(project: scope.project, runID: scope.runID, owner: scope.owner)
    return Takeover(
      from: [own], step: step, by: scope, rows: means.rows, record: means.record, delay: delay,
      eventLoop: means.eventLoop, log: means.log)
  }

  /// Ends what this step left behind while the lock is held. Nothing is called once that is lost.
  func endRemains(of step: String, _ completion: @escaping (CoordinationFailure?) -> Void) {
    let ending = ending(of: step, delay: Self.closingPatience)
    remains.append(ending)
    ending.whenOver(0, isUnavailable: { _ in }) { [weak self, weak ending] failure in
      self?.remains.removeAll { $0 === ending }
      completion(failure)
    }
  }

  private func unmark() {
    means.record.add(
      RecordJob(
        patience: Self.unmarkPatience,
        run: { [weak self, rows = means.rows] connection, done in
          rows.unmark(on: connection) { result in
            if case .failure(let failure) = result { return done(failure) }
            done(nil)
            self?.lock?.release()
          }
        }, fail: { [weak self] _ in self?.lock?.release() }))
  }

  /// The record was written for the last time, and the row went with it.
  func wasUnmarked() { isMarked = false }

  /// Goes without a word to PID 1; the row stays.
  func abandon() {
    lock?.abandon()
    finish()
  }

  // MARK: Within

  private func handle(_ event: PostgreSQLLock.Event) {
    // It would begin again by itself.
    guard state != .over else {
      lock?.abandon()
      return
    }
    switch event {
    case .busy(let holder):
      isBusy = true
      if let holder { tell(holder) }
    case .stillBusy(let holder):
      // A sign of life of a supervisor. A stranger's session lives as long as it likes: that must not hold up the clock.
      if holder.applicationName?.hasPrefix(ApplicationName.family) == true { tell(holder) }
    case .unavailable(let failure): unavailable(failure)
    case .look: look()
    case .held: held()
    case .lost(let failure): lost(failure)
    case .failed(let failure):
      finish()
      means.report(.lockFailed(id: id, CoordinationFailure(failure)))
    case .released:
      finish()
      means.report(.unlocked(id: id))
    }
    means.changed(self)
  }

  private func finish() {
    state = .over
    takeover?.end()
    for ending in remains { ending.cancel(0) }
    remains.forEach { $0.end() }
    remains = []
  }

  private func unavailable(_ failure: PostgreSQLFailure) {
    guard told.isDue(failure, at: .now) else { return }
    means.report(.lockUnavailable(id: id, CoordinationFailure(failure)))
  }

  /// Says who has it: by our own table when that names the very session that the server shows, else by the server.
  private func tell(_ holder: LockHolder) {
    guard holder.applicationName?.hasPrefix(ApplicationName.family) == true, let connection = lock?.connection
    else { return means.report(.lockBusy(id: id, holder: holder.description)) }
    prepare(on: connection) { [weak self] result in
      guard let self, state == .waiting else { return }
      guard case .success = result else {
        return means.report(.lockBusy(id: id, holder: holder.description))
      }
      means.rows.holders(on: connection) { [weak self] result in
        guard let self, state == .waiting else { return }
        let rows = (try? result.get()) ?? []
        let row = rows.first { row in
          let purpose = CoordinationLock.purpose(of: name)
          return ApplicationName(project: row.project, run: row.runID, purpose: purpose).text
            == holder.applicationName
        }
        means.report(.lockBusy(id: id, holder: row.map(describe) ?? holder.description))
      }
    }
  }

  /// Sees to it that the tables are there, once.
  private func prepare(
    on connection: PostgreSQLConnection, _ completion: @escaping (Result<Void, PostgreSQLFailure>) -> Void
  ) {
    guard !means.record.isPrepared else { return completion(.success(())) }
    means.tables.prepare(on: connection) { [record = means.record] result in
      if case .success = result { record.isPrepared = true }
      completion(result)
    }
  }

  static func purpose(of name: LockName) -> String {
    switch name {
    case .infrastructure: "lock"
    case .leader: "leader"
    }
  }

  /// The owner; of another release with all that its nodes would say of it.
  private func describe(_ row: LockRows.Holder) -> String {
    var facts: [String] = []
    if row.project != means.scope.project { facts.append("project \(row.project)") }
    if row.runID != means.scope.runID { facts.append("run ID \(row.runID)") }
    guard !facts.isEmpty else { return row.owner }
    if !row.running.isEmpty { facts.append("running \(row.running.joined(separator: ", "))") }
    return "\(row.owner) (\(facts.joined(separator: ", ")))"
  }

  // MARK: From free to held

  private func look() {
    state = .looking
    guard name == .infrastructure, let connection = lock?.connection else { return contend() }
    prepare(on: connection) { [weak self] result in
      guard let self, state == .looking else { return }
      switch result {
      case .success: readWhileFree(on: connection)
      case .failure(let failure): cannotLook(failure)
      }
    }
  }

  private func readWhileFree(on connection: PostgreSQLConnection) {
    means.tables.read(on: connection) { [weak self] result in
      guard let self, state == .looking else { return }
      switch result {
      case .success(let snapshot):
        switch RecordBytes.encode(snapshot.release) {
        case .success(let record): means.report(.lockFree(id: id, record: record, now: snapshot.now))
        case .failure(let failure): fail(failure)
        }
      case .failure(let failure): cannotLook(failure)
      }
    }
  }

  /// The connection's own end is told by the lock. Anything else that may pass does not keep us from contending: who has
  /// the lock reads the record.
  private func cannotLook(_ failure: PostgreSQLFailure) {
    if failure.isPermanent { return fail(CoordinationFailure(failure)) }
    unavailable(failure)
    contend()
  }

  private func fail(_ failure: CoordinationFailure) {
    lock?.abandon()
    finish()
    means.report(.lockFailed(id: id, failure))
    means.changed(self)
  }

  private func held() {
    state = .marking
    isBusy = false
    means.record.add(
      RecordJob(
        run: { [weak self, rows = means.rows] connection, done in
          guard let self, state == .marking else { return done(nil) }
          rows.mark(on: connection) { [weak self] result in
            switch result {
            case .success(let left):
              done(nil)
              self?.marked(left)
            case .failure(let failure): done(failure)
            }
          }
        },
        isUnavailable: { [weak self] failure in
          guard let self, state == .marking else { return }
          means.report(.lockUnavailable(id: id, CoordinationFailure(failure)))
        },
        fail: { [weak self] failure in
          guard let self, state == .marking else { return }
          fail(CoordinationFailure(failure))
        }))
  }

  private func marked(_ left: [LockRows.Holder]) {
    guard state == .marking else { return }
    state = .held
    isMarked = true
    if name == .infrastructure, !left.isEmpty {
      takeover = Takeover(
        from: left, by: means.scope, rows: means.rows, record: means.record, delay: means.scope.takeoverDelay,
        eventLoop: means.eventLoop, log: means.log)
    }
    means.report(.lockHeld(id: id, leftBy: left.map(describe).joined(separator: ", ")))
    means.changed(self)
  }

  private func lost(_ failure: PostgreSQLFailure) {
    guard state == .marking else {
      let wasHeld = state == .held
      finish()
      // A release that ends with the connection has had its way.
      means.report(
        wasHeld ? .lockLost(id: id, CoordinationFailure(failure)) : .unlocked(id: id))
      return
    }
    // PID 1 was not told that it was ours.
    unavailable(failure)
    begin()
  }
}
