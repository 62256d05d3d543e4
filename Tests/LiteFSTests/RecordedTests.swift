import EventLoop
import LiteFS
import Settings
import Testing

/// What a real LiteFS said, as it was read: `Recorded`.
struct RecordedTests {
  private static let folder =
    #filePath.split(separator: "/").dropLast().map { "/\($0)" }.joined() + "/Recorded"

  private static func file(_ name: String) throws -> [UInt8] { try NamedFile.bytes(of: "\(folder)/\(name)") }

  private struct Line {
    var time: Int
    var kind: Substring
    var text: Substring
  }

  private static func lines(_ name: String) throws -> [Line] {
    try String(decoding: file(name), as: UTF8.self).split(separator: "\n").compactMap { line in
      let parts = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count >= 2, let time = Int(parts[0]) else { return nil }
      return Line(time: time, kind: parts[1], text: parts.count == 3 ? parts[2] : "")
    }
  }

  private func replay(
    _ name: String, node: String, leaseTime: Duration? = nil, kinds: Set<Substring>
  ) throws -> Stage {
    var stage = Stage(node: node, leaseTime: leaseTime)
    for line in try Self.lines(name) where kinds.contains(line.kind) {
      let bytes = Array(line.text.utf8)
      stage.pass(to: line.time)
      switch line.kind {
      case "event": stage.feed(.event(try #require(LiteFSEvent(line: bytes))), at: line.time)
      case "info": stage.look(try #require(LiteFSInfo(json: bytes)), at: line.time)
      case "lag": stage.feed(.lag(try #require(Lag(String(line.text)))), at: line.time)
      case "lease": stage.feed(.lease(holder: line.text.isEmpty ? nil : String(line.text)), at: line.time)
      case "end": stage.feed(.streamEnded, at: line.time)
      case "stopped": stage.feed(.stopped, at: line.time)
      default: stage.feed(.failed, at: line.time)
      }
    }
    return stage
  }

  /// No primary at first; it comes, is killed, comes back, hangs for eight seconds, and stops.
  @Test(
    arguments: [["event", "info", "lag"], ["event", "info"], ["info", "lag"], ["info"]] as [Set<Substring>])
  func `a static replica and its primary`(kinds: Set<Substring>) throws {
    let stage = try replay("static-replica.txt", node: "node-2", kinds: kinds)
    // With the stream each change is known in 1.5 s; looks alone take a round or two more.
    let patience = kinds.contains("event") ? 1500 : 4000
    let changes: [(since: Int, role: LiteFSRole)] = [
      (0, .none), (6613, .replica(of: "node-1")), (13_301, .none), (25_319, .replica(of: "node-1")),
      (46_502, .none),
    ]
    #expect(stage.roles == changes.map(\.role), "\(stage.reports)")
    for (report, change) in zip(stage.reports, changes) {
      #expect((change.since...change.since + patience).contains(report.at), "\(report)")
    }
  }

  private static let everything: Set<Substring> = [
    "event", "info", "lag", "lease", "end", "stopped", "failed",
  ]

  /// nodeB is promoted, then nodeA; nodeA is killed and comes back; Consul hangs for 25 seconds; nodeA, which got the
  /// lease after that, stops. A change that LiteFS shows at once is reported at once.
  @Test(
    arguments: [
      (
        "nodeA",
        [
          (2, .primary), (4003, .none), (5009, .replica(of: "nodeB")), (10_409, .primary), (16_211, .unknown),
          (38_025, .replica(of: "nodeB")), (70_307, .primary), (78_011, .unknown),
        ]
      ),
      (
        "nodeB",
        [
          (5, .replica(of: "nodeA")), (4005, .primary), (10_404, .none), (11_411, .replica(of: "nodeA")),
          (16_201, .none), (37_279, .primary),
          // LiteFS says that it is the primary until Consul answers again; ten seconds after the last answer we do not.
          (53_300, .none), (70_315, .replica(of: "nodeA")), (79_010, .primary),
        ]
      ),
    ] as [(String, [(Int, LiteFSRole)])])
  func `two candidates with a lease in Consul`(node: String, changes: [(Int, LiteFSRole)]) throws {
    let stage = try replay(
      "consul-\(node).txt", node: node, leaseTime: .seconds(10), kinds: Self.everything)
    #expect(stage.roles == changes.map(\.1), "\(stage.reports)")
    for (report, change) in zip(stage.reports, changes) {
      let patience = change.1 == .primary || change.1 == .unknown ? 0 : 1500
      #expect((change.0...change.0 + patience).contains(report.at), "\(report)")
    }
  }

  @Test func `variables`() throws {
    let found = try #require(LiteFSVariables(json: Self.file("variables.json")))
    #expect(!found.isPrimary && !found.isCandidate)
    #expect(
      found.positions.byDatabase
        == ["db": Position(transaction: 2, checksum: 0xe04f_c447_16e5_272f)])
  }
}
