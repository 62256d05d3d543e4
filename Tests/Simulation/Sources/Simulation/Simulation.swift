import EventLoop
import Glibc

/// Simulates fleets of supervisors, a fleet for each seed, and looks whether they keep their promises.
@main
struct Simulation {
  private static let usage = """
    usage: Simulation [--first N] [--seeds N]     so many seeds, the planted bugs, and what large fleets cost
           Simulation --first N --seeds N --only-seeds   so many seeds, and nothing else
           Simulation --seed N [--trace] [--bug NAME]   one seed
    bugs: \(PlantedBug.allCases.map(\.rawValue).joined(separator: ", "))
    """

  static func main() async {
    var first: UInt64 = 1
    var count: UInt64 = 20_000
    var seed: UInt64?
    var isTracing = false
    var isShort = false
    var bug: PlantedBug?
    var arguments = CommandLine.arguments.dropFirst()
    func number() -> UInt64 {
      guard let text = arguments.popFirst(), let number = UInt64(text) else { giveUp() }
      return number
    }
    while let argument = arguments.popFirst() {
      switch argument {
      case "--first": first = number()
      case "--seeds": count = number()
      case "--seed": seed = number()
      case "--trace": isTracing = true
      case "--only-seeds": isShort = true
      case "--bug":
        bug = arguments.popFirst().flatMap { PlantedBug(rawValue: $0) }
        if bug == nil { giveUp() }
      default: giveUp()
      }
    }
    guard count > 0 else { giveUp() }
    if let seed { exit(replay(seed, bug, isTracing: isTracing) ? 0 : 1) }
    // Every part, whatever the one before it says.
    let seeds = first..<(first + count)
    if isShort { exit(await check(seeds) ? 0 : 1) }
    let results = [await check(seeds), await findPlanted(seeds), measure()]
    exit(results.contains(false) ? 1 : 0)
  }

  private static func giveUp() -> Never {
    print(usage)
    exit(64)
  }

  /// One seed; the invariant that it violates comes first.
  private static func replay(_ seed: UInt64, _ bug: PlantedBug?, isTracing: Bool) -> Bool {
    let world = World(Scenario(seed: seed), bug: bug)
    world.run()
    print("seed \(seed): \(world.violation ?? "every invariant held, \(world.events) events")")
    if isTracing {
      print(World.describe(Scenario(seed: seed)))
      World(Scenario(seed: seed), bug: bug, isTracing: true).run()
    }
    return world.violation == nil
  }

  // MARK: Many seeds

  private static func check(_ seeds: Range<UInt64>) async -> Bool {
    let began = MonotonicInstant.now
    let tally = await Tally.of(seeds, bug: nil)
    let took = MonotonicInstant.now - began
    if let failing = tally.violations.min(by: { $0.seed < $1.seed }) {
      let arguments = "--seed \(failing.seed) --trace"
      _ = replay(failing.seed, nil, isTracing: true)
      print("\(tally.violations.count) of \(seeds.count) seeds failed:")
      let kinds = Dictionary(grouping: tally.violations) { String($0.text.prefix { $0 != ":" }) }
      for (kind, found) in kinds.sorted(by: { $0.key < $1.key }) {
        print("  \(kind): \(found.count), seeds \(found.prefix(5).map(\.seed)), \(found[0].text)")
      }
      print("again: Tests/Simulation/run.sh \(arguments)")
      return false
    }
    print("\(seeds.count) seeds, \(tally.events) events, every invariant held (\(took.readable))")
    for sight in Sight.allCases { print("  \(tally.seen[sight, default: 0]) \(sight.rawValue)") }
    // Few seeds need not show everything.
    guard seeds.count >= 10_000, let missing = Sight.allCases.first(where: { tally.seen[$0] == nil }) else {
      return true
    }
    print("not once in all seeds: \(missing.rawValue)")
    return false
  }

  /// Each in as many seeds as it takes.
  private static func findPlanted(_ seeds: Range<UInt64>) async -> Bool {
    var isFine = true
    for bug in PlantedBug.allCases {
      var tally = Tally()
      var next = seeds.lowerBound
      while tally.violations.isEmpty, next < seeds.upperBound {
        let end = min(next + 1000, seeds.upperBound)
        tally.add(await Tally.of(next..<end, bug: bug))
        next = end
      }
      guard let first = tally.violations.first else {
        print("planted bug \(bug.rawValue): NOT FOUND by \(tally.seeds) seeds")
        isFine = false
        continue
      }
      print(
        "planted bug \(bug.rawValue): found by \(tally.violations.count) of \(tally.seeds) seeds, first by \(first.seed):"
      )
      print("  \(first.text)")
    }
    return isFine
  }

  // MARK: Cost

  /// Events are the measure: the time depends on what else this machine does.
  private static func measure() -> Bool {
    var isFine = true
    var before: Double?
    print("nodes   events  a node   to n log n      time")
    for nodes in [10, 30, 100, 300, 1000] {
      let began = MonotonicInstant.now
      let world = World(Scenario.fleet(of: nodes))
      world.run()
      let took = MonotonicInstant.now - began
      let ratio = Double(world.events) / (Double(nodes) * log2(Double(nodes)))
      let tooFast = before.map { ratio > $0 * 1.05 } ?? false
      before = ratio
      let columns = [
        pad("\(nodes)", 5), pad("\(world.events)", 8), pad("\(world.events / nodes)", 7),
        pad("\((ratio * 100).rounded() / 100)", 12), pad(took.readable, 9),
      ]
      print(columns.joined(separator: " ") + (tooFast ? "  grows faster than n log n" : ""))
      if let violation = world.violation { print("  \(violation)") }
      if tooFast || world.violation != nil || world.watch.seen[.appStarted] != nodes { isFine = false }
    }
    return isFine
  }

  private static func pad(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
