import EventLoop
import NIOCore
import PostgreSQLDriver

/// The connection for everything but the lock: opened when there is something to do, and closed when the agent may
/// have no more than one. One job at a time, in their order.
final class RecordConnection {
  /// Another connection to read with.
  enum Loan {
    /// There is none: use an own one.
    case none
    /// There will be one in a moment.
    case later
    case connection(PostgreSQLConnection)
  }

  /// What becomes of the connection while there is nothing to do.
  enum Keeping {
    case keep
    case closeLater
    case close
  }

  private static let openPatience = Duration.seconds(5)
  private static let idlePatience = TimeAmount.seconds(5)
  /// As `SessionLock`'s: less than a second from a server's return to our noticing, and a second look at what seems to
  /// be for good.
  private static let firstPause = Duration.milliseconds(100)
  private static let longestPause = Duration.milliseconds(800)
  private static let doubt = Duration.seconds(1)

  private let client: PostgreSQLClient
  private let target: PostgreSQLTarget
  private let tables: ReleaseTables
  private let eventLoop: any NIOCore.EventLoop
  private let lender: () -> Loan
  private let keeping: () -> Keeping

  private var jobs: [RecordJob] = []
  private var current: (job: RecordJob, connection: PostgreSQLConnection)?
  /// Tells the answer to what is under way from those to what was given up.
  private var turn: UInt64 = 0
  private var connection: PostgreSQLConnection?
  /// Whether the tables were looked for on our connection.
  private var isReady = false
  private var retry: Scheduled<Void>?
  private var idle: Scheduled<Void>?
  private var attempts = 0
  private var doubtBegan: MonotonicInstant?

  /// Whether the tables were there at least once.
  var isPrepared = false

  init(
    client: PostgreSQLClient, target: PostgreSQLTarget, tables: ReleaseTables,
    eventLoop: any NIOCore.EventLoop, lender: @escaping () -> Loan, keeping: @escaping () -> Keeping
  ) {
    self.client = client
    self.target = target
    self.tables = tables
    self.eventLoop = eventLoop
    self.lender = lender
    self.keeping = keeping
  }

  /// Does it when its turn comes.
  func add(_ job: RecordJob) {
    jobs.append(job)
    if let deadline = job.deadline {
      after(deadline - .now) { [weak self, weak job] in
        if let job { self?.giveUp(job) }
      }
    }
    go()
  }

  /// Forgets the job of this request.
  func cancel(_ id: UInt64) {
    for job in jobs where job.id == id { drop(job) }
    go()
  }

  /// To be called when a lock's connection may have changed.
  func look() {
    if let current, !current.connection.isOpen, current.connection !== connection { interrupt() }
    go()
  }

  /// Closes the connection; nothing is done any more.
  func close() {
    jobs = []
    interrupt()
    retry?.cancel()
    idle?.cancel()
    closeConnection()
  }

  // MARK: Within

  private func after(_ duration: Duration, _ body: @escaping () -> Void) {
    eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(max(duration.wholeNanoseconds, 0)), body)
  }

  private func interrupt() {
    turn += 1
    current = nil
  }

  /// Nobody knows what becomes of a statement that is given up, so its connection is not used any more.
  private func drop(_ job: RecordJob) {
    jobs.removeAll { $0 === job }
    guard let current, current.job === job else { return }
    if current.connection === connection { closeConnection() }
    interrupt()
  }

  private func giveUp(_ job: RecordJob) {
    guard jobs.contains(where: { $0 === job }) else { return }
    drop(job)
    job.fail(job.lastFailure ?? PostgreSQLFailure(.noAnswer, "PostgreSQL: no answer in time"))
    go()
  }

  private func closeConnection() {
    connection?.close()
    connection = nil
    isReady = false
  }

  private func go() {
    idle?.cancel()
    idle = nil
    guard current == nil, retry == nil else { return }
    guard let job = jobs.first else { return rest() }
    if job.mayBorrow, isPrepared {
      switch lender() {
      case .connection(let loan): return run(job, on: loan)
      case .later: return pause(Self.firstPause)
      case .none: break
      }
    }
    guard let connection else { return open() }
    if isReady { run(job, on: connection) }
  }

  private func rest() {
    guard let connection, isReady else { return }
    switch keeping() {
    case .keep: break
    case .close: closeConnection()
    case .closeLater:
      idle = eventLoop.assumeIsolated().scheduleTask(in: Self.idlePatience) { [weak self] in
        guard let self, self.connection === connection, jobs.isEmpty else { return }
        closeConnection()
      }
    }
  }

  private func open() {
    var made: PostgreSQLConnection?
    made = client.open(
      target, timeout: Self.openPatience,
      onEnd: { [weak self] _ in
        guard let self, connection === made else { return }
        closeConnection()
        if current?.connection === made { interrupt() }
        go()
      },
      { [weak self] result in
        guard let self, connection === made else { return }
        switch result {
        case .success: prepare()
        case .failure(let failure):
          connection = nil
          failed(failure)
        }
      })
    connection = made
  }

  private func prepare() {
    guard let connection else { return }
    tables.prepare(on: connection) { [weak self] result in
      guard let self, self.connection === connection else { return }
      switch result {
      case .success:
        (isReady, isPrepared) = (true, true)
        attempts = 0
        doubtBegan = nil
        go()
      case .failure(let failure):
        closeConnection()
        failed(failure)
      }
    }
  }

  private func run(_ job: RecordJob, on connection: PostgreSQLConnection) {
    turn += 1
    let turn = turn
    current = (job, connection)
    job.run(connection) { [weak self] failure in
      guard let self, self.turn == turn, current != nil else { return }
      interrupt()
      guard let failure else {
        attempts = 0
        jobs.removeAll { $0 === job }
        return go()
      }
      // Somebody removed the tables, or the schema, while we worked.
      if failure.sqlState == "42P01" || failure.sqlState == "3F000", !job.isSecondLook {
        job.isSecondLook = true
        isPrepared = false
        closeConnection()
        return go()
      }
      guard !failure.isPermanent else {
        jobs.removeAll { $0 === job }
        job.fail(failure)
        return go()
      }
      self.failed(failure)
    }
  }

  /// A try has failed: all that wait for the server learn of it.
  private func failed(_ failure: PostgreSQLFailure) {
    let now = MonotonicInstant.now
    var pause = Self.firstPause
    if failure.isPermanent {
      if let doubtBegan, now - doubtBegan >= Self.doubt {
        self.doubtBegan = nil
        let given = jobs
        jobs = []
        given.forEach { $0.fail(failure) }
        return go()
      }
      doubtBegan = doubtBegan ?? now
      pause = Self.doubt
    } else {
      doubtBegan = nil
      for _ in 0..<min(attempts, 3) { pause = pause * 2 }
      pause = min(pause, Self.longestPause) * Double.random(in: 0.8...1.2)
    }
    attempts += 1
    self.pause(pause)
    for job in jobs {
      job.lastFailure = failure
      if job.told.isDue(failure, at: now) { job.isUnavailable(failure) }
    }
  }

  private func pause(_ duration: Duration) {
    retry?.cancel()
    let nanoseconds = duration.wholeNanoseconds
    retry = eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(max(nanoseconds, 0))) { [weak self] in
      self?.retry = nil
      self?.go()
    }
  }
}
