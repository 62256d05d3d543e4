import AgentProtocol
import EventLoop
import NIOCore
import PostgreSQLDriver

/// What comes between the lock of a holder that vanished and the first use of it, and between a step of ours that failed
/// and whatever follows: nothing of it may be left in the server, where a statement goes on after its client was killed.
final class Takeover {
  private static let interval = Duration.milliseconds(200)
  /// How long sessions that were terminated have to end.
  private static let patience = Duration.seconds(5)

  private let left: [LockRows.Holder]
  private let ownRelease: StepSessions.Release
  private let owner: String
  private let sessions: StepSessions
  private let rows: LockRows
  private let record: RecordConnection
  private let eventLoop: any NIOCore.EventLoop
  private let log: (String) -> Void

  private let terminationDue: MonotonicInstant
  private var terminatedAt: MonotonicInstant?
  private var refusal: PostgreSQLFailure?
  private var waiting: [(id: UInt64, done: (CoordinationFailure?) -> Void)] = []
  private var isRunning = false

  /// Whether nothing is left.
  private(set) var isOver = false

  /// - Parameters:
  ///   - step: nil: all of theirs.
  ///   - delay: from now until what is left is terminated.
  init(
    from left: [LockRows.Holder], step: String? = nil, by scope: CoordinationScope, rows: LockRows,
    record: RecordConnection, delay: Duration, eventLoop: any NIOCore.EventLoop,
    log: @escaping (String) -> Void
  ) {
    self.left = left
    ownRelease = StepSessions.Release(project: scope.project, run: scope.runID)
    owner = scope.owner
    sessions =
      step.map { StepSessions(project: scope.project, run: scope.runID, step: $0) }
      ?? StepSessions(of: Array(Set(left.map { StepSessions.Release(project: $0.project, run: $0.runID) })))
    self.rows = rows
    self.record = record
    terminationDue = .now + delay
    self.eventLoop = eventLoop
    self.log = log
  }

  /// Waits until nothing is left. `unavailable` is told meanwhile.
  func whenOver(
    _ id: UInt64, isUnavailable: @escaping (PostgreSQLFailure) -> Void,
    _ done: @escaping (CoordinationFailure?) -> Void
  ) {
    guard !isOver else { return done(nil) }
    waiting.append((id, done))
    guard !isRunning else { return }
    isRunning = true
    find(isUnavailable)
  }

  /// The answer is no longer wanted.
  func cancel(_ id: UInt64) {
    waiting.removeAll { $0.id == id }
  }

  /// The lock is gone: whoever waits need not wait for this.
  func end() {
    guard !isOver else { return }
    isOver = true
    answer(nil)
  }

  // MARK: Within

  private func answer(_ failure: CoordinationFailure?) {
    isRunning = false
    let waiting = waiting
    self.waiting = []
    waiting.forEach { $0.done(failure) }
  }

  private func perform(
    _ isUnavailable: @escaping (PostgreSQLFailure) -> Void,
    _ run: @escaping (PostgreSQLConnection, @escaping (PostgreSQLFailure?) -> Void) -> Void
  ) {
    record.add(
      RecordJob(
        run: run, isUnavailable: isUnavailable,
        fail: { [weak self] in self?.answer(CoordinationFailure($0)) }))
  }

  private func find(_ isUnavailable: @escaping (PostgreSQLFailure) -> Void) {
    guard !isOver else { return }
    perform(isUnavailable) { [weak self, sessions] connection, done in
      sessions.find(on: connection) { result in
        switch result {
        case .success(let found):
          done(nil)
          self?.judge(found, isUnavailable)
        case .failure(let failure): done(failure)
        }
      }
    }
  }

  private func judge(_ found: [LockHolder], _ isUnavailable: @escaping (PostgreSQLFailure) -> Void) {
    guard !isOver else { return }
    let now = MonotonicInstant.now
    if found.isEmpty { return forget(isUnavailable) }
    if let terminatedAt, now - terminatedAt >= Self.patience {
      // Whoever asks again has the same time again.
      self.terminatedAt = nil
      return answer(failure(found))
    }
    if terminatedAt == nil, now >= terminationDue {
      terminatedAt = now
      return terminate(found, isUnavailable)
    }
    eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Self.interval.wholeNanoseconds)) { [weak self] in
      self?.find(isUnavailable)
    }
  }

  private func terminate(_ found: [LockHolder], _ isUnavailable: @escaping (PostgreSQLFailure) -> Void) {
    let others = vanished
    log(
      (others.isEmpty
        ? "what a step ran in PostgreSQL goes on after the step's end: "
        : "\(others.joined(separator: ", ")) vanished, and what its steps ran in PostgreSQL did not end: ")
        + "terminating \(Self.list(found))")
    perform(isUnavailable) { [weak self, sessions] connection, done in
      sessions.terminate(on: connection) { result in
        if case .failure(let failure) = result {
          // A role may end its own sessions only; perhaps they end by themselves.
          guard failure.cause == .privilege else { return done(failure) }
          self?.refusal = failure
        }
        done(nil)
        self?.find(isUnavailable)
      }
    }
  }

  private var vanished: [String] { left.map(\.owner).filter { $0 != owner } }

  private func failure(_ found: [LockHolder]) -> CoordinationFailure {
    let what = vanished.isEmpty ? "what a step" : "what a vanished holder"
    if let refusal {
      let roles = Set(found.compactMap(\.role)).sorted().map { "\"\($0)\"" }.joined(separator: ", ")
      return CoordinationFailure(
        .permission,
        "\(what) ran in PostgreSQL goes on, and we may not end it: \(Self.list(found)); end it with "
          + "pg_terminate_backend, or let us: GRANT \(roles.isEmpty ? "pg_signal_backend" : roles) TO our role "
          + "(\(refusal.text))")
    }
    return CoordinationFailure(
      .unavailable,
      "\(what) ran in PostgreSQL goes on although it was terminated: \(Self.list(found)); "
        + "look for what it waits for in pg_stat_activity")
  }

  /// Its rows go: nobody else need wait for it.
  private func forget(_ isUnavailable: @escaping (PostgreSQLFailure) -> Void) {
    let others = left.filter {
      StepSessions.Release(project: $0.project, run: $0.runID) != ownRelease
    }
    guard !others.isEmpty else { return end() }
    perform(isUnavailable) { [weak self, rows] connection, done in
      rows.forget(others, on: connection) { result in
        if case .failure(let failure) = result { return done(failure) }
        done(nil)
        self?.end()
      }
    }
  }

  private static func list(_ found: [LockHolder]) -> String {
    found.map(\.description).joined(separator: ", ")
  }
}
