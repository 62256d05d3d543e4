import Glibc
import TestSupport
import Testing

/// Fleets while everything around them, and they themselves, are killed at random. `FLEET_ROUNDS` says how many, and
/// `FLEET_SEED` with which seed the first begins: as the seed of one that failed, it gives the same disturbances again.
/// Tests/Nightly/fleet.sh runs a hundred.
@Suite("fleet: chaos", .drivesProcesses)
struct FleetChaosTests {
  @Test(
    "twenty nodes, random trouble: nothing twice at a time, nothing recorded twice, nobody stuck",
    .tags(.floods))
  func rounds() throws {
    try FleetChaos.rounds("FLEET_ROUNDS", usually: 5, as: "chaos") {
      FleetChaos($0, seed: $1, isMixed: false)
    }
  }
}

/// The same of fleets that django-autoinit takes part in: each node takes seconds. `FLEET_MIXED_ROUNDS` says how many.
@Suite("fleet: chaos beside django-autoinit", .drivesProcesses, .needsFleet)
struct FleetMixedChaosTests {
  @Test(
    "AI-01, AI-08: ten nodes, half of them on django-autoinit, and trouble that it can stand: each migration recorded once, no hook beside another, every app",
    .tags(.floods))
  func rounds() throws {
    try FleetChaos.rounds("FLEET_MIXED_ROUNDS", usually: 1, as: "mixed chaos") {
      FleetChaos($0, seed: $1, isMixed: true)
    }
  }
}

/// One round.
final class FleetChaos {
  /// What is done to a fleet.
  enum Trouble: String, CaseIterable {
    case killNode, killHolder, killAgent, killHoldersAgent, freezeNode, freezeAgent
    case terminateHolder, terminateWaiters, terminateStep, terminateAll
    case flushRedis, restartRedis, restartServer, crashServer, restartPool
  }

  private let site: FleetSite
  private let nodes: [FleetNode]
  /// Half of them are on django-autoinit, and the release is a project of Django's.
  private let isMixed: Bool
  private let redis: Bool
  private let isPooled: Bool
  private var random: SeededRandom
  private var begin = monotonicNow()
  /// What was done, and when.
  private(set) var story = ""
  /// Stopped processes, and when they go on.
  private var frozen: [(pid: pid_t, until: Double)] = []
  private var unexpected: [String] = []

  private static var mixed: [FleetNode] {
    FleetNode.mixed(10).map { node in
      var node = node
      // Whom a flushed Redis lets wait in vain is through after its next start.
      if node.member == .autoinit { node.variables["FLEET_TIMEOUT"] = "20" }
      return node
    }
  }

  private static let steps = (1...5).map { "step-\($0)" }

  init(_ site: FleetSite, seed: UInt64, isMixed: Bool) {
    self.site = site
    self.isMixed = isMixed
    nodes = isMixed ? Self.mixed : FleetNode.several(20, .supervisor)
    var random = SeededRandom(seed: seed)
    let (redis, isPooled) = (random.once(in: 2), random.once(in: 3))
    self.random = random
    self.redis = redis || isMixed
    self.isPooled = isPooled && !isMixed
  }

  /// What a round has of it. The other half holds no lock that outlives its connection to the database, and reads no ledger:
  /// its server stays as it is; and whom a flushed Redis lets wait in vain ends and is started again.
  private var troubles: [Trouble] {
    isMixed
      ? [.killNode, .killHolder, .killAgent, .killHoldersAgent, .flushRedis]
      : Trouble.allCases
  }

  /// What is wrong afterwards.
  func run() throws -> [String] {
    if isMixed { return try runMixed() }
    if isPooled { site.databasePort = try site.server.startBouncer(size: 5) }
    defer { if isPooled { try? site.server.order("unbouncer") } }
    // Now and then one goes on in the server for longer than a holder waits for those that vanished.
    let long = random.once(in: 3) ? random.upTo(2) : nil
    let steps = Self.steps.indices.map { index in
      PlainStep.work(Self.steps[index], index == long ? 5 : Double(2 + random.upTo(4)) / 10)
    }
    try site.becomePlain(
      steps, readiness: redis ? "redis" : "postgres",
      more: ["retry_after: 200ms"])
    note(
      (redis ? "Redis" : "tables") + (isPooled ? ", pool of 5" : "") + (long == nil ? "" : ", a long step"))
    begin = monotonicNow()
    return try site.start(nodes, over: 1) { try trouble(4 + random.upTo(4), $0) }
  }

  private func runMixed() throws -> [String] {
    site.variables["FLEET_ORDERS_INFRASTRUCTURE"] = "sleep:0.5"
    site.variables["FLEET_STOCK_INFRASTRUCTURE"] = "sleep:0.5"
    note("half on django-autoinit")
    begin = monotonicNow()
    return try site.start(nodes, over: 1) { try trouble(4 + random.upTo(4), $0) }
  }

  private func note(_ what: String) {
    let time = Int((monotonicNow() - begin) * 1000)
    story += (story.isEmpty ? "" : "; ") + "\(time) ms \(what)"
  }

  /// So many of them, each with a line in the output.
  ///
  /// - Parameter variable: says how many.
  static func rounds(
    _ variable: String, usually: Int, as name: String, _ make: (FleetSite, UInt64) -> FleetChaos
  ) throws {
    let server = try PostgreSQLServer()
    defer { server.end() }
    let redis = try RedisServer()
    defer { redis.end() }
    let rounds = Programs.variable(variable).flatMap { Int($0) } ?? usually
    let first = Programs.variable("FLEET_SEED").flatMap { UInt64($0) } ?? UInt64.random(in: 0..<1_000_000_000)
    for round in 0..<rounds {
      let seed = first &+ UInt64(round)
      try withFleetSite(server: server, redis: redis) { site in
        let chaos = make(site, seed)
        do {
          let findings = try chaos.run()
          #expect(findings == [], "FLEET_SEED=\(seed): \(chaos.story)")
          print("\(name): FLEET_SEED=\(seed): \(findings.isEmpty ? "passed" : "failed"): \(chaos.story)")
        } catch {
          print("\(name): FLEET_SEED=\(seed): failed: \(chaos.story)")
          throw HarnessError("FLEET_SEED=\(seed): \(chaos.story): \(error)")
        }
      }
    }
  }

  // MARK: Watching

  private func look(_ stages: [Stage]) throws {
    for stage in stages { try stage.pump() }
    frozen.removeAll { process in
      guard monotonicNow() >= process.until else { return false }
      kill(process.pid, SIGCONT)
      return true
    }
  }

  private func freeze(_ pid: pid_t) {
    kill(pid, SIGSTOP)
    frozen.append((pid, monotonicNow() + 2))
  }

  /// Starts those again that have ended, as Docker does, then goes on.
  private func withAll<Result>(_ stages: [Stage], _ body: ([Stage]) throws -> Result) throws -> Result {
    guard let index = stages.indices.first(where: { stages[$0].ending != nil }) else {
      return try body(stages)
    }
    if let ending = stages[index].ending, !isExpected(ending, of: nodes[index]) {
      unexpected.append("\(nodes[index].name) ended: \(site.log(stages[index]))")
    }
    return try Stage.run(site.start(nodes[index])) { again in
      var stages = stages
      stages[index] = again
      return try withAll(stages, body)
    }
  }

  private func isExpected(_ ending: Ending, of node: FleetNode) -> Bool {
    switch node.member {
    // What waits for readiness says so when its time is over.
    case .autoinit: ending == .exited(1)
    case .supervisor: ending == .signaled(SIGKILL) || ending == .exited(76) && !isMixed
    }
  }

  private func trouble(_ left: Int, _ stages: [Stage]) throws -> [String] {
    // A node of Django's takes seconds.
    let due = Deadline(in: 0.05 + Double(random.upTo(isMixed ? 3000 : 350)) / 1000)
    while !due.hasPassed {
      try look(stages)
      poll(nil, 0, min(due.milliseconds, 10))
    }
    return try withAll(stages) { stages in
      guard left > 0 else { return try finish(stages) }
      let trouble = troubles[random.upTo(troubles.count - 1)]
      try perform(trouble, stages)
      return try self.trouble(left - 1, stages)
    }
  }

  private func finish(_ stages: [Stage]) throws -> [String] {
    let deadline = Deadline(in: FleetSite.patience)
    while true {
      try look(stages)
      let started = site.lines("apps")
      if frozen.isEmpty, nodes.allSatisfy({ started.contains($0.name) }), try isReady() { break }
      guard !deadline.hasPassed else {
        let missing = nodes.indices.filter { !started.contains(nodes[$0].name) }
        throw HarnessError("stuck: \(missing.map { "\(nodes[$0].name): \(site.log(stages[$0]))" })")
      }
      if stages.contains(where: { $0.ending != nil }) { return try withAll(stages) { try finish($0) } }
      poll(nil, 0, 10)
    }
    note("all there")
    let findings = try site.findings(nodes, wasDisturbed: true).filter(isOurs) + unexpected
    // Nobody ends by itself: for what Django does not do nobody ends.
    try site.stop(stages.filter { $0.ending == nil })
    return findings
  }

  /// What a server goes on with after its client was killed, django-autoinit does not wait for (C1-2); supervisor does.
  private func isOurs(_ finding: String) -> Bool {
    !(finding.hasPrefix("left-behind of ") && finding.contains(" at autoinit-"))
  }

  private func isReady() throws -> Bool {
    guard let admin = try? site.admin() else { return false }
    return try admin.value(
      "SELECT count(*) FROM supervisor_release WHERE run_id = '\(site.runID)' AND completed_at IS NOT NULL")
      == "1"
  }

  // MARK: Doing

  private func perform(_ trouble: Trouble, _ stages: [Stage]) throws {
    let ours = stages.indices.filter { nodes[$0].member == .supervisor }
    let any = stages[ours[random.upTo(ours.count - 1)]]
    switch trouble {
    case .killNode: node(any, trouble) { site.killTree($0) }
    case .killHolder: node(holder(stages), trouble) { site.killTree($0) }
    case .killAgent: agent(any, trouble) { kill($0, SIGKILL) }
    case .killHoldersAgent: agent(holder(stages), trouble) { kill($0, SIGKILL) }
    case .freezeNode: node(holder(stages) ?? any, trouble) { freeze($0.pid) }
    case .freezeAgent: agent(holder(stages) ?? any, trouble) { freeze($0) }
    case .terminateHolder:
      try terminate(
        trouble, "pid IN (SELECT pid \(FleetSite.infrastructureLock) AND granted AND mode = 'ExclusiveLock')")
    case .terminateWaiters:
      try terminate(trouble, "pid IN (SELECT pid \(FleetSite.infrastructureLock) AND NOT granted)")
    case .terminateStep: try terminate(trouble, "wait_event = 'PgSleep'")
    case .terminateAll: try terminate(trouble, "pid <> pg_backend_pid()")
    case .flushRedis:
      note(trouble.rawValue)
      try site.redis.ask("FLUSHALL")
    case .restartRedis:
      note(trouble.rawValue)
      try site.redis.kill()
      try site.redis.start()
    case .restartServer, .crashServer:
      note(trouble.rawValue)
      try site.server.order(trouble == .restartServer ? "fast" : "stop")
      try site.server.order("start")
    case .restartPool:
      guard isPooled else { return }
      note(trouble.rawValue)
      try site.server.order("unbouncer")
      try site.server.order("bouncer \(site.databasePort) 5")
    }
  }

  private func node(_ stage: Stage?, _ trouble: Trouble, _ act: (Stage) -> Void) {
    guard let stage, stage.ending == nil else { return }
    note("\(trouble) \(stage.pid)")
    act(stage)
  }

  private func agent(_ stage: Stage?, _ trouble: Trouble, _ act: (pid_t) -> Void) {
    guard let stage, stage.ending == nil, let agent = site.agent(stage) else { return }
    note("\(trouble) \(stage.pid)")
    act(agent)
  }

  private func terminate(_ trouble: Trouble, _ condition: String) throws {
    // The server may be on its way down or up.
    let count = try? site.admin().value(
      "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND \(condition)"
    )
    note("\(trouble) \(count ?? "nobody")")
  }

  /// The node whose step is under way.
  private func holder(_ stages: [Stage]) -> Stage? {
    guard let event = site.events().last else { return nil }
    return nodes.firstIndex { $0.member == .supervisor && event.who.hasPrefix($0.name + " ") }.map {
      stages[$0]
    }
  }
}
