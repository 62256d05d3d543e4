import Glibc
import TestSupport
import Testing

/// The promise: no step runs twice at the same time, none again once it is recorded done, and everybody starts.
@Suite("phases: fleet", .drivesProcesses)
struct PhaseFleetTests {
  private static let names = ["a", "b", "c", "d"]

  /// What has been seen in the record, and how often each step had begun by then.
  private struct Watch {
    var begunWhenDone: [String: Int] = [:]

    /// The record first: whatever begins after it is too late.
    mutating func look(_ site: PhaseSite) {
      let record = site.record()
      let fresh = PhaseFleetTests.names.filter {
        begunWhenDone[$0] == nil && record.contains("\ndone \($0) ")
      }
      if fresh.isEmpty { return }
      let lines = site.lines()
      for name in fresh { begunWhenDone[name] = lines.filter { $0 == "enter \(name)" }.count }
    }
  }

  @Test("twelve runs on one state_dir, some killed at random moments and started again", .tags(.floods))
  func killedAtRandom() throws {
    try withPhaseSite { site in
      let alone = "exec 9>\(site.path("alone")); flock -n 9 || \(site.append("overlap"))"
      let steps = Self.names.map { name in
        site.step(
          name, "\(alone); \(site.append("enter \(name)")); sleep 0.25; \(site.append("leave \(name)"))")
      }
      let settings = PhaseSettings(
        infrastructure: steps, node: [site.note("node-$SUPERVISOR_RUN_ID")],
        coordination: "takeover_delay: 50ms, poll_interval: 200ms")
      func launch(_ node: Int) throws -> Launch {
        var settings = settings
        settings.markers = "markers-\(node)"
        return try site.run(settings, app: site.append("app-\(node)"), name: "n\(node)")
      }
      let seed = UInt64.random(in: 0 ... .max)
      var random = SeededRandom(seed: seed)
      var watch = Watch()
      func killAndRestart(_ left: Int, _ stages: [Stage], _ old: [Stage]) throws {
        let pause = Deadline(in: Double(random.next() % 300) / 1000)
        while !pause.hasPassed {
          for stage in stages + old { try stage.pump() }
          watch.look(site)
          poll(nil, 0, 5)
        }
        let alive = stages.indices.filter { stages[$0].ending == nil }
        guard left > 0, !alive.isEmpty else { return try finish(stages, old) }
        // Every other time the one that works.
        let holder = site.record().split(separator: "\n").first { $0.hasPrefix("claim ") }
        let working = alive.first {
          holder?.contains("(pid%20\(stages[$0].pid))") == true
            || holder?.contains("pid%20\(stages[$0].pid)") == true
        }
        let victim =
          random.next() % 2 == 0 ? working ?? alive[0] : alive[Int(random.next() % UInt64(alive.count))]
        kill(stages[victim].pid, SIGKILL)
        _ = try stages[victim].waitForEnd()
        try Stage.run(launch(victim)) { next in
          var now = stages
          now[victim] = next
          try killAndRestart(left - 1, now, old + [stages[victim]])
        }
      }
      func finish(_ stages: [Stage], _ old: [Stage]) throws {
        try eventually("everybody's start, seed \(seed)") {
          for stage in stages + old { try stage.pump() }
          watch.look(site)
          return stages.allSatisfy { $0.ending != nil }
        }
        for stage in stages { #expect(stage.ending == .exited(0), "seed \(seed): \(stage.errors.tail)") }
      }
      try withStages((0..<12).map { try launch($0) }) { try killAndRestart(8, $0, []) }
      watch.look(site)
      let lines = site.lines()
      #expect(!lines.contains("overlap"), "seed \(seed)")
      for name in Self.names {
        let begun = lines.filter { $0 == "enter \(name)" }.count
        #expect(begun >= 1 && watch.begunWhenDone[name] == begun, "step \(name), seed \(seed): \(lines)")
      }
      #expect(site.record().split(separator: "\n").filter { $0.hasPrefix("done ") }.count == Self.names.count)
      for node in 0..<12 { #expect(lines.contains("app-\(node)"), "seed \(seed)") }
    }
  }
}
