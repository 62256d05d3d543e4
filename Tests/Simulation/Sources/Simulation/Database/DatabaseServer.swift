import EventLoop
import Phases
import ReleaseRecords

/// A PostgreSQL server: sessions, advisory locks, and the tables of `supervisor`.
final class DatabaseServer {
  /// Why a lock goes.
  enum Release {
    /// Its holder asked for it.
    case given
    /// Its holder's connection was closed at the other end.
    case gone
    /// The session was ended here.
    case ended
  }

  /// A row of the lock's table.
  struct Row: Equatable {
    var project: String
    var name: String
    var runID: String
    var owner: String
  }

  unowned let world: World
  let settings: Scenario.Database
  private(set) var sessions: [ServerSession] = []
  /// Statements of steps, some of whose clients are gone.
  private(set) var work: [StepWork] = []
  private var lastBackend: Int32 = 100
  private(set) lazy var infrastructure = AdvisoryLock(.infrastructure, self)
  private(set) lazy var leader = AdvisoryLock(.leader, self)
  private(set) lazy var pooler = settings.poolSize.map { Pooler(self, size: $0) }
  private(set) var downUntil: MonotonicInstant?
  var fullUntil = MonotonicInstant(nanoseconds: 0)
  var slowUntil = MonotonicInstant(nanoseconds: 0)

  // What is durable.
  var hasTables = false
  var releases: [String: ReleaseRecord] = [:]
  var rows: [Row] = []
  /// When somebody put an empty database in its place.
  private(set) var droppedAt: MonotonicInstant?

  init(_ world: World, _ settings: Scenario.Database) {
    self.world = world
    self.settings = settings
  }

  var locks: [AdvisoryLock] { [infrastructure, leader] }
  var isUp: Bool { downUntil == nil }
  /// Unix time on its clock, in the microseconds that it keeps.
  var now: UInt64 {
    let real = Int64(1_800_000_000_000_000_000) + Int64(world.now.nanoseconds)
    return UInt64(real + settings.clockSkew.wholeNanoseconds) / 1000 * 1000
  }

  func lock(_ key: LockKey) -> AdvisoryLock { key == .infrastructure ? infrastructure : leader }

  func latency() -> Duration {
    if world.now < slowUntil || world.random.chance(settings.slowPercent) {
      return world.random.duration(.milliseconds(20)...(.seconds(2)))
    }
    return world.random.duration(.microseconds(50)...(.milliseconds(2)))
  }

  // MARK: Sessions

  /// Why nobody is let in; nil: a session can be had.
  func refusal() -> PostgreSQLFailure? {
    guard isUp else {
      return world.random.chance(50)
        ? PostgreSQLFailure(.unreachable, "connection refused")
        : PostgreSQLFailure(.startingUp, sqlState: "57P03", "the database system is starting up")
    }
    let limit = world.now < fullUntil ? 1 : settings.maximumConnections
    guard sessions.count + work.count < limit else {
      world.watch.saw(.connectionsFull)
      return PostgreSQLFailure(.tooManyConnections, sqlState: "53300", "sorry, too many clients already")
    }
    return nil
  }

  func open() -> ServerSession {
    let session = ServerSession(self, backend: nextBackend())
    sessions.append(session)
    return session
  }

  func nextBackend() -> Int32 {
    lastBackend += 1
    return lastBackend
  }

  func forget(_ session: ServerSession) { sessions.removeAll { $0 === session } }

  // MARK: Steps' statements

  func begin(_ one: StepWork) { work.append(one) }

  func ended(_ one: StepWork) { work.removeAll { $0 === one } }

  // MARK: Locks

  func taken(_ lock: AdvisoryLock, by session: ServerSession) {
    guard let life = session.agent?.life else { return }
    world.watch.lockTaken(lock.kind, "the \(lock.kind) lock", by: life)
  }

  func released(_ lock: AdvisoryLock, by session: ServerSession, _ why: Release) {
    guard let agent = session.agent else { return }
    let life = agent.life
    let text = "the \(lock.kind) lock"
    if why == .given { return world.watch.lockReleased(lock.kind, text, by: life, why: "unlock") }
    world.watch.lockReleased(lock.kind, text, by: life, why: nil)
    guard agent.toldHeld.contains(lock.kind), life.lostAt[lock.kind] == nil else { return }
    life.lostAt[lock.kind] = world.now
    if life.processes.contains(where: { $0.lock == lock.kind && $0.groupRuns }) {
      world.watch.saw(lock.kind == .leader ? .leaderLost : .lockLost)
    }
  }

  /// Who holds this one.
  func holder(of kind: LockKind) -> Life? {
    (kind == .leader ? leader : infrastructure).exclusive?.agent?.life
  }

  // MARK: What goes wrong

  /// Somebody ends the session of whoever holds the lock.
  func terminateHolder(of kind: LockKind) {
    let session = (kind == .leader ? leader : infrastructure).exclusive
    guard let session else { return }
    world.watch.saw(.terminated)
    session.end(
      .ended,
      PostgreSQLFailure(.shutDown, sqlState: "57P01", "terminating connection due to administrator command"))
  }

  /// As `pg_ctl restart -m immediate`: what is durable stays.
  func restart(after down: Duration) {
    world.watch.saw(.serverRestarted)
    let until = world.now + down
    downUntil = until
    endAll(PostgreSQLFailure(.shutDown, sqlState: "57P02", "terminating connection because of crash"))
    world.at(until) { [self] in if downUntil == until { downUntil = nil } }
  }

  /// Another database, which is empty, in the place of this one.
  func drop() {
    world.watch.saw(.databaseDropped)
    endAll(
      PostgreSQLFailure(.shutDown, sqlState: "57P01", "terminating connection due to administrator command"))
    droppedAt = world.now
    hasTables = false
    releases = [:]
    rows = []
    world.databaseDropped()
  }

  private func endAll(_ failure: PostgreSQLFailure) {
    for one in work { one.endedByServer() }
    for session in sessions { session.end(.ended, failure) }
  }

  /// The world is over.
  func forgetAll() {
    for one in work { one.command.forgetWork() }
    (sessions, work) = ([], [])
    pooler?.forgetAll()
  }
}

/// What a step's command does in the server: it goes on there when its client is killed.
final class StepWork {
  let applicationName: String
  let backend: Int32
  let command: Command
  private(set) var isOver = false
  private unowned let server: DatabaseServer
  private var onEnd: () -> Void
  /// Whether a client is there.
  private(set) var hasClient = true

  init(_ server: DatabaseServer, _ command: Command, applicationName: String, onEnd: @escaping () -> Void) {
    self.server = server
    self.command = command
    self.applicationName = applicationName
    self.onEnd = onEnd
    backend = server.nextBackend()
    server.begin(self)
  }

  /// The command has ended by itself, and what it did here with it.
  func finish() {
    guard !isOver else { return }
    isOver = true
    server.ended(self)
    onEnd()
  }

  /// Its client was killed: mostly it was between two statements.
  func clientKilled() {
    guard !isOver else { return }
    hasClient = false
    let world = server.world
    onEnd()
    onEnd = {}
    guard world.random.chance(server.settings.goesOnPercent) else {
      return world.after(world.random.duration(.milliseconds(1)...(.milliseconds(20)))) { [self] in finish() }
    }
    world.watch.saw(.wentOn)
    world.after(world.random.duration(.milliseconds(100)...(.seconds(12)))) { [self] in finish() }
  }

  func terminate() {
    server.world.watch.saw(.workTerminated)
    server.world.after(server.world.random.duration(.milliseconds(1)...(.milliseconds(100)))) { [self] in
      endedByServer()
    }
  }

  func endedByServer() {
    guard !isOver else { return }
    finish()
    command.lostDatabase()
  }
}
