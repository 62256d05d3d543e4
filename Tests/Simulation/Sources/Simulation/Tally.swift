import Glibc

/// What came of many seeds.
struct Tally: Sendable {
  var seeds = 0
  var events = 0
  var seen: [Sight: Int] = [:]
  var violations: [(seed: UInt64, text: String)] = []

  /// Simulates them on all processors.
  static func of(_ seeds: Range<UInt64>, bug: PlantedBug?) async -> Tally {
    let workers = UInt64(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    return await withTaskGroup(of: Tally.self) { group in
      for worker in 0..<workers {
        group.addTask {
          var tally = Tally()
          for seed in stride(from: seeds.lowerBound + worker, to: seeds.upperBound, by: Int(workers)) {
            // A third of the seeds has lock and record in servers, which some of the bugs are about.
            if bug?.needsDatabase == true, seed % 3 != 0 { continue }
            tally.add(seed, bug)
          }
          return tally
        }
      }
      var whole = Tally()
      for await part in group { whole.add(part) }
      whole.violations.sort { $0.seed < $1.seed }
      return whole
    }
  }

  private mutating func add(_ seed: UInt64, _ bug: PlantedBug?) {
    let world = World(Scenario(seed: seed), bug: bug)
    world.run()
    seeds += 1
    events += world.events
    for (sight, count) in world.watch.seen { seen[sight, default: 0] += count }
    if let violation = world.violation { violations.append((seed, violation)) }
    // What cannot be repeated cannot be replayed.
    guard seed % 64 == 0 else { return }
    let again = World(Scenario(seed: seed), bug: bug)
    again.run()
    if again.events != world.events || again.violation != world.violation || again.now != world.now {
      violations.append((seed, "a seed tells it all: it went differently the second time"))
    }
  }

  mutating func add(_ other: Tally) {
    seeds += other.seeds
    events += other.events
    for (sight, count) in other.seen { seen[sight, default: 0] += count }
    violations += other.violations
  }
}
