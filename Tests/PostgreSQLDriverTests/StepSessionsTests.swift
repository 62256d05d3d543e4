import AgentProtocol
import EventLoop
import TestSupport
import Testing

@testable import PostgreSQLDriver

@Suite("PostgreSQL: sessions of steps")
struct StepSessionsTests {
  @Test("a statement whose client is gone is found by its step's name, and ended; nobody else's is")
  func leftBehind() throws {
    let rig = try Rig()
    // The server is shared: names of its own.
    let project = "left-\(rig.database)"
    func target(_ name: ApplicationName) -> PostgreSQLTarget {
      PostgreSQLTarget(connectionString: rig.target().connectionString, applicationName: name)
    }
    let (step, session) = try rig.open(target(ApplicationName(project: project, run: "r1", step: "migrate")))
    let (ours, _) = try rig.open(target(ApplicationName(project: project, run: "r1", purpose: "lock")))
    let (other, _) = try rig.open(target(ApplicationName(project: project, run: "r10", step: "migrate")))
    let (connection, _) = try rig.open(
      target(ApplicationName(project: project, run: "r1", purpose: "record")))
    try rig.onLoop { step.send(Statement("SELECT pg_sleep(60)"), timeout: nil) { _ in } }
    let admin = try rig.admin()
    try admin.eventually(
      "it sleeps", "SELECT wait_event FROM pg_stat_activity WHERE pid = \(session.backend)", is: "PgSleep")
    try rig.onLoop { step.close() }

    let sessions = StepSessions(project: project, run: "r1")
    let found = try rig.answer { sessions.find(on: connection, $0) }.get()
    #expect(found.map(\.backend) == [session.backend])
    #expect(found.first?.applicationName == "supervisor/\(project)/r1/migrate")
    #expect(try rig.answer { sessions.terminate(on: connection, $0) }.get() == 1)
    try admin.eventually(
      "it is gone", "SELECT count(*) FROM pg_stat_activity WHERE pid = \(session.backend)", is: "0")
    #expect(try rig.answer { sessions.find(on: connection, $0) }.get().isEmpty)
    #expect(try rig.answer { sessions.terminate(on: connection, $0) }.get() == 0)
    for alive in [ours, other] { #expect(try rig.send(alive, Statement("SELECT 1")).get().rows == [["1"]]) }
  }
}
