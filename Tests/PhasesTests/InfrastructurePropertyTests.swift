import Testing

@testable import Phases

/// Rules that hold whatever happens, and in whatever order.
@Suite struct InfrastructurePropertyTests {
  /// Many seeds, so that what is rare happens too.
  struct Play: CustomTestStringConvertible, Sendable {
    var testDescription: String
    var nodes: Int
    var lives: Int
    var withFaults: Bool
    var block: UInt64
  }

  private static let plays: [Play] = (0..<6).flatMap { block in
    [
      Play(
        testDescription: "one node, whatever the store does", nodes: 1, lives: 2, withFaults: true,
        block: block),
      Play(
        testDescription: "two nodes that crash and come back", nodes: 2, lives: 2, withFaults: false,
        block: block),
      Play(
        testDescription: "three nodes over a store that fails", nodes: 3, lives: 1, withFaults: true,
        block: block),
      Play(testDescription: "five nodes", nodes: 5, lives: 1, withFaults: false, block: block),
    ]
  }

  @Test(arguments: plays) func keepsItsPromises(_ play: Play) {
    var (ran, undone, ready, other) = (0, 0, 0, 0)
    for seed in play.block * 100..<play.block * 100 + 100 {
      let cluster = InfrastructureCluster(
        seed: seed * 8 + UInt64(play.nodes), nodes: play.nodes, lives: play.lives, withFaults: play.withFaults
      )
      let hasEnded = cluster.play()
      #expect(hasEnded, "seed \(seed): no end: \(cluster.nodes.map(\.phase.state))")
      #expect(cluster.problems.isEmpty, "seed \(seed): \(cluster.problems)")
      if !hasEnded || !cluster.problems.isEmpty { return }
      ran += cluster.ran.filter { $0.hasPrefix("run") }.count
      undone += cluster.ran.filter { $0.hasPrefix("rollback") }.count
      for outcome in cluster.outcomes {
        if case .ready = outcome { ready += 1 } else { other += 1 }
      }
    }
    // The play reaches the good and the bad ends.
    #expect(ran > 100 && ready > 15 && other > 20 && undone > 0, "\(ran) \(undone) \(ready) \(other)")
  }
}
