import Control
import EventLoop
import Phases
import Processes
import TestSupport
import Testing

@testable import Lifecycle

/// Whole lives from a seed: whatever happens, a stop signal ends them in time, once, and starts nothing.
@Suite struct LifecyclePropertyTests {
  private func script(_ random: inout SeededRandom, endsSoon: Bool) -> ChildScript {
    var script = ChildScript()
    if random.once(in: 20) {
      script.startFails = (random.once(in: 2) ? ChildScript.missing : .noProcess).startFails
    }
    if endsSoon || random.once(in: 4) {
      script.ends = (random.upTo(3000), .exited(CInt(endsSoon && !random.once(in: 6) ? 0 : random.upTo(2))))
    }
    script.obeysAfter = random.once(in: 4) ? nil : random.upTo(3000)
    if random.once(in: 3) { script.members = random.upTo(3) }
    script.membersObey = !random.once(in: 3)
    if random.once(in: 3) { script.strays = random.upTo(3) }
    script.straysObey = !random.once(in: 3)
    script.isUnkillable = random.once(in: 25)
    return script
  }

  private func world(_ random: inout SeededRandom) -> LifecycleWorld {
    let services = (0..<random.upTo(3)).map { index in
      LifecyclePlan.Process.service(
        "s\(index)", early: random.once(in: 3), mode: random.once(in: 2) ? .always : .onFailure,
        limit: 2 + random.upTo(8), ignored: random.once(in: 2))
    }
    let steps = (0..<random.upTo(3)).map { "step\($0)" }
    let node = (0..<random.upTo(2)).map { "node\($0)" }
    let drain = random.once(in: 2) ? random.upTo(6000) : 0
    let plan = LifecyclePlan.simple(
      services: services, steps: steps, node: node, appRestart: random.once(in: 2) ? .always : .never
    ) {
      $0.drainDelay = .milliseconds(drain)
      for index in $0.infrastructure.indices { $0.infrastructure[index].phase.retries = random.upTo(1) }
    }
    var scripts: [String: [ChildScript]] = [:]
    for name in ["web"] + services.map(\.name) {
      scripts[name] = (0...2).map { _ in script(&random, endsSoon: false) }
    }
    for name in steps.map({ "step \($0)" }) + node.map({ "node step \($0)" }) {
      scripts[name] = [script(&random, endsSoon: true), script(&random, endsSoon: true)]
    }
    let world = LifecycleWorld(plan, scripts)
    world.lockIsTaken = random.once(in: 10)
    if random.once(in: 15) { world.storeFaults["write"] = "disk full" }
    return world
  }

  private func disturb(_ world: LifecycleWorld, _ random: inout SeededRandom) {
    let name = (["web", "nobody"] + world.plan.services.map(\.name)).randomElement(using: &random) ?? "web"
    switch random.upTo(8) {
    case 0: world.ask(.restart(name))
    case 1: world.ask(.stop(name))
    case 2: world.ask(.start(name))
    case 3: world.ask(.signal(name, .user1))
    case 4: world.signal(.user1, .hangup)
    case 5: if random.once(in: 6) { world.submit(.infrastructure(.lockLost)) }
    case 6: world.submit(.childrenChanged)
    default:
      let pid = world.children.keys.sorted().randomElement(using: &random)
      if let pid { world.die(pid, random.once(in: 2) ? .signaled(.kill) : .exited(CInt(random.upTo(2)))) }
    }
  }

  @Test func aStopSignalEndsEveryLifeInTimeAndStartsNothing() {
    var stages: Set<String> = []
    for seed in UInt64(0)..<3000 {
      var random = SeededRandom(seed: seed)
      let world = world(&random)
      let hasUnkillable = world.scripts.values.contains { $0.contains(where: \.isUnkillable) }
      world.begin()
      for _ in 0..<random.upTo(12) {
        world.run(for: random.upTo(1500))
        if world.exitedAt == nil { disturb(world, &random) }
      }
      if world.exitedAt == nil {
        stages.insert(world.lifecycle.stage.rawValue)
        // A stop that began by itself has its own time, which this signal does not shorten.
        let asked = world.milliseconds
        let before = world.trace.count
        world.signal([Signal.terminate, .interrupt, .quit].randomElement(using: &random) ?? .terminate)
        for _ in 0..<random.upTo(5) {
          world.run(for: random.upTo(1200))
          if world.exitedAt == nil { disturb(world, &random) }
          if world.exitedAt == nil, random.once(in: 3) { world.signal(.terminate) }
        }
        world.runToExit(limit: 60_000)
        let took = (world.exitedAt ?? .max) - asked
        // The budget, and three rounds of two seconds for what not even KILL ends.
        #expect(took <= 9500 + 6100, "seed \(seed): took \(took) ms")
        let spawned = world.trace.dropFirst(before).filter { $0.hasPrefix("spawn") }
        #expect(spawned.isEmpty, "seed \(seed): \(spawned)")
      }
      world.run(for: 10_000)
      #expect(world.endings.count == 1, "seed \(seed)")
      // What not even KILL ends is left behind after two seconds, and then the lock goes too.
      let ours = world.problems.filter { !$0.hasPrefix("the lock went") || !hasUnkillable }
      #expect(ours.isEmpty, "seed \(seed): \(ours)")
      let left = world.children.values.filter { !$0.script.isUnkillable }
      #expect(left.isEmpty, "seed \(seed): \(left.count) left")
    }
    // The signal came in every stage that there is.
    #expect(stages == ["early_services", "infrastructure", "node", "running", "draining"])
  }
}
