import Glibc

extension FleetSite {
  /// How long a fleet may take to start, on two busy cores.
  static let patience = 180.0

  /// Starts the nodes within that many seconds, evenly, and runs `body` with their stages in the same order.
  func start<Result>(
    _ nodes: [FleetNode], over seconds: Double = 2.5, _ body: ([Stage]) throws -> Result
  ) throws -> Result {
    let begin = monotonicNow()
    func next(_ stages: [Stage]) throws -> Result {
      guard stages.count < nodes.count else { return try body(stages) }
      let due = Deadline(in: begin + seconds * Double(stages.count) / Double(nodes.count) - monotonicNow())
      while !due.hasPassed {
        for stage in stages { try stage.pump() }
        poll(nil, 0, min(due.milliseconds, 20))
      }
      return try Stage.run(start(nodes[stages.count])) { try next(stages + [$0]) }
    }
    return try next([])
  }

  /// Waits until the app of each node has been started; a node that ends before is an error that quotes it.
  ///
  /// - Parameter earlier: how many apps had been started before.
  func waitForApps(
    _ nodes: [FleetNode], _ stages: [Stage], after earlier: Int = 0, within seconds: Double = patience
  ) throws {
    let deadline = Deadline(in: seconds)
    while true {
      for stage in stages { try stage.pump() }
      let started = lines("apps").dropFirst(earlier)
      let missing = nodes.indices.filter { !started.contains(nodes[$0].name) }
      if missing.isEmpty { return }
      if let ended = missing.first(where: { stages[$0].ending != nil }) {
        try? stages[ended].waitForEndOfOutput(within: 2)
        throw HarnessError("\(nodes[ended].name) ended without its app: \(log(stages[ended]))")
      }
      guard !deadline.hasPassed else {
        let stuck = missing.map { "\(nodes[$0].name): \(log(stages[$0]))" }
        throw HarnessError("stuck after \(seconds) s: " + stuck.joined(separator: "\n"))
      }
      poll(nil, 0, 5)
    }
  }

  /// What a node said last.
  func log(_ stage: Stage) -> String {
    let ending = stage.ending.map(\.description) ?? "still running"
    return "\(ending); output “\(stage.output.tail)”, errors “\(stage.errors.tail)”"
  }

  /// Stops everybody who still runs, as `docker stop` does, and waits until none of their processes is left.
  func stop(_ stages: [Stage]) throws {
    for stage in stages where stage.ending == nil { try stage.send(SIGTERM) }
    for stage in stages {
      _ = try stage.waitForEnd()
      try stage.waitUntilNobodyIsLeft()
    }
  }

  /// A whole start and stop of a fleet in which nothing goes wrong; what is wrong afterwards.
  func startAndStop(_ nodes: [FleetNode], over seconds: Double = 2.5) throws -> [String] {
    let earlier = lines("apps").count
    return try start(nodes, over: seconds) { stages in
      try waitForApps(nodes, stages, after: earlier)
      let findings = try findings(nodes)
      try stop(stages)
      return findings
    }
  }
}
