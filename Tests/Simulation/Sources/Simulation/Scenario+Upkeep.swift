import EventLoop
import Phases

// What is checked and repeated while the app runs, and what goes wrong with it.
extension Scenario {
  /// Of how many intervals a life may have time for.
  private static let intervals: ClosedRange<Duration> = .seconds(1)...(.seconds(20))

  /// Steps of this release are looked after.
  mutating func chooseUpkeep(of release: Int, _ random: inout SeededGenerator) {
    for index in releases[release].infrastructure.indices {
      Scenario.choose(&releases[release].infrastructure[index], &random)
    }
    for index in releases[release].node.indices {
      Scenario.choose(&releases[release].node[index], &random)
    }
  }

  private static func choose(_ plan: inout Step, _ random: inout SeededGenerator) {
    if random.chance(30) { plan.step.hasCheck = true }
    if plan.step.hasCheck, random.chance(60) {
      plan.step.rechecksAfter = random.duration(intervals)
      plan.step.affectsReady = random.chance(50)
    }
    if random.chance(35) { plan.step.repeatsAfter = random.duration(intervals) }
    if plan.behaviour == .succeeds, random.chance(10) {
      plan.behaviour = .failsLater(random.pick([30, 100]))
    }
    if random.chance(5) { plan.process.startFails = 20 }
  }

  /// Somebody undoes what steps did, while apps run; then there is time for more than one round.
  mutating func chooseLaterDamage(_ random: inout SeededGenerator) {
    let window: Duration = random.pick([.seconds(10), .seconds(40), .seconds(90)])
    for _ in 0..<random.pick([0, 1, 2, 4]) {
      let release = random.number(0...releases.count - 1)
      let (steps, local) = (releases[release].infrastructure.count, releases[release].node.count)
      let fault: Fault
      if local > 0, steps == 0 || random.chance(40) {
        fault = .damageNode(release: release, step: random.number(0...local - 1))
      } else if steps > 0 {
        fault = .damage(release: release, step: random.number(0...steps - 1))
      } else {
        continue
      }
      let at = random.duration(.zero...window)
      faults.append((at, random.number(0...nodes - 1), nil, fault))
      // While it is being put right.
      if random.chance(40) {
        let next: Fault = random.pick([
          .killFirst, .killHelper, .killContainer, .killHost, .pause(random.duration(.zero...(.seconds(10)))),
          .stop(thenRelease: release), .diskFull(random.duration(.zero...(.seconds(15)))), fault,
        ])
        let later = at + random.duration(.zero...(.seconds(20)))
        faults.append((later, random.number(0...nodes - 1), .infrastructure, next))
      }
    }
    // Whoever repeats them.
    if random.chance(30) {
      let fault: Fault = random.pick([.killHelper, .killContainer, .pause(.seconds(8)), .killFirst])
      faults.append((random.duration(.zero...window), random.number(0...nodes - 1), .leader, fault))
    }
    quietTime = random.pick([.seconds(5), .seconds(30), .seconds(60)])
  }

  /// Whether anybody's calendar is set while it runs.
  var setsClocks: Bool {
    faults.contains { if case .clockStep = $0.fault { true } else { false } }
  }
}
