import Testing

@testable import Phases

/// Rules that hold whatever happens, and in whatever order.
@Suite struct InfrastructurePropertyTests {
  /// Plays many seeds and returns the outcomes.
  private func play(
    _ seeds: Range<UInt64>, nodes: Int, crashes: Int, withFaults: Bool
  ) -> (ran: Int, ready: Int, other: Int) {
    var sum = (ran: 0, ready: 0, other: 0)
    for seed in seeds {
      let cluster = InfrastructureCluster(
        seed: seed, nodes: nodes, crashes: crashes, withFaults: withFaults)
      let hasEnded = cluster.play()
      #expect(hasEnded, "seed \(seed): no end")
      #expect(cluster.problems.isEmpty, "seed \(seed): \(cluster.problems)")
      if !hasEnded || !cluster.problems.isEmpty { break }
      sum.ran += cluster.ran.count
      for outcome in cluster.nodes.flatMap(\.outcomes) {
        if case .ready = outcome { sum.ready += 1 } else { sum.other += 1 }
      }
    }
    return sum
  }

  @Test func oneNodeWhateverTheStoreDoes() {
    let sum = play(0..<2000, nodes: 1, crashes: 1, withFaults: true)
    // The play reaches the good and the bad ends.
    #expect(sum.ran > 1000 && sum.ready > 300 && sum.other > 300)
  }

  @Test func twoNodesThatCrashAndComeBack() {
    let sum = play(10_000..<12_000, nodes: 2, crashes: 2, withFaults: false)
    #expect(sum.ran > 2000 && sum.ready > 1500 && sum.other > 100)
  }

  @Test func threeNodesOverAStoreThatFails() {
    let sum = play(20_000..<20_500, nodes: 3, crashes: 1, withFaults: true)
    #expect(sum.ran > 300 && sum.ready > 200 && sum.other > 200)
  }
}
