import Glibc

/// A network cable between this machine and a namespace of its own, in which one program runs. It goes with that program.
final class Link {
  /// Whether we may make one.
  static let isPossible: Bool = {
    guard let link = try? Link() else { return false }
    return (try? run("/usr/bin/unshare", "--net", "/bin/true")) != nil && link.isMade
  }()

  /// The addresses of both ends.
  let here: String
  let there: String
  private let name: String
  private var namespace: pid_t?
  private var isMade = false

  /// Both ends are on this side, until a program joins.
  init() throws {
    // Several of these at once, also of other runs of the tests.
    let number = Int.random(in: 0..<16384)
    name = "link\(number)"
    let stem = "10.213.\(number / 64)."
    here = stem + "\(number % 64 * 4 + 1)"
    there = stem + "\(number % 64 * 4 + 2)"
    try Self.run("/sbin/ip", "link", "add", name, "type", "veth", "peer", "name", name + "x")
    isMade = true
    try Self.run("/sbin/ip", "addr", "add", here + "/30", "dev", name)
    try Self.run("/sbin/ip", "link", "set", name, "up")
  }

  deinit {
    if isMade { _ = try? Self.run("/sbin/ip", "link", "del", name) }
  }

  @discardableResult
  private static func run(_ words: String...) throws -> Outcome {
    let outcome = try Stage.result(Launch(words))
    guard outcome.ending == .exited(0) else { throw HarnessError("\(words): \(outcome.errors)") }
    return outcome
  }

  /// What to put in front of the program: it waits for `join`.
  var prefix: [[UInt8]] {
    let ip = "/sbin/ip"
    let script =
      "until \(ip) link show dev \(name)x >/dev/null 2>&1; do sleep 0.02; done; \(ip) link set lo up && "
      + "\(ip) addr add \(there)/30 dev \(name)x && \(ip) link set \(name)x up && exec \"$@\""
    return ["/usr/bin/unshare", "--net", "/bin/sh", "-c", script, "sh"].map { Array($0.utf8) }
  }

  /// Gives the other end to the program that was started with `prefix`.
  func join(_ pid: pid_t) throws {
    let own = readLink("/proc/self/ns/net")
    try eventually("a namespace of its own") { readLink("/proc/\(pid)/ns/net") != own }
    try Self.run("/sbin/ip", "link", "set", name + "x", "netns", "\(pid)")
    namespace = pid
  }

  /// From now on nothing that one end says reaches the other, and neither is told: both talk to a station that is not
  /// there.
  func cut() throws {
    try changeNeighbours("replace", ["lladdr", "02:00:00:00:00:01", "nud", "permanent"])
  }

  /// They find each other again.
  func mend() throws { try changeNeighbours("del", []) }

  private func changeNeighbours(_ verb: String, _ more: [String]) throws {
    guard let namespace else { throw HarnessError("nobody is at the other end") }
    let near = ["/sbin/ip", "neigh", verb, there] + more + ["dev", name]
    let far =
      ["/usr/bin/nsenter", "--target", "\(namespace)", "--net", "/sbin/ip", "neigh", verb, here] + more
      + ["dev", name + "x"]
    for words in [near, far] {
      let outcome = try Stage.result(Launch(words))
      guard outcome.ending == .exited(0) else { throw HarnessError("\(words): \(outcome.errors)") }
    }
  }
}
