import AgentProtocol
import NIOCore

/// What the looks at LiteFS have found and PID 1 does not know yet: of each kind the newest.
struct Findings {
  enum Kind: Hashable, CaseIterable {
    case mount, lag, information, stream, positions, variables
  }

  private struct Finding {
    var report: LiteFSReport
    /// When it was asked for.
    var since: NIODeadline?
    var isNews: Bool
  }

  private var waiting: [Kind: Finding] = [:]
  /// What was found last, told or not, without what changes by itself.
  private var known: [Kind: LiteFSReport] = [:]

  mutating func add(_ kind: Kind, _ report: LiteFSReport, since: NIODeadline? = nil) {
    let essence = Self.essence(report)
    let isNews = known[kind] != essence || waiting[kind]?.isNews == true
    known[kind] = essence
    waiting[kind] = Finding(report: report, since: since, isNews: isNews)
  }

  /// What comes next of this kind is news.
  mutating func forget(_ kind: Kind) { known[kind] = nil }

  /// Takes everything out when something of it is news, since PID 1 is woken by that.
  mutating func takeNews(at now: NIODeadline) -> [LiteFSReport] {
    waiting.values.contains(where: \.isNews) ? takeAll(at: now) : []
  }

  mutating func takeAll(at now: NIODeadline) -> [LiteFSReport] {
    defer { waiting = [:] }
    return Kind.allCases.compactMap { waiting[$0] }.map { finding in
      finding.since.map { Self.aged(finding.report, Duration(now - $0)) } ?? finding.report
    }
  }

  private static func essence(_ report: LiteFSReport) -> LiteFSReport {
    switch report {
    case .mount(let mount): .mount(LiteFSMount(mount.state, text: mount.text, layers: mount.layers))
    // It grows and falls all the time, unless nothing has ever come: then it is this.
    case .lag(let text, _): .lag(text.hasPrefix("+2147483647") ? text : "", readBefore: .zero)
    // It has figures of memory.
    case .variables: .variables(body: [], askedBefore: .zero)
    default: report
    }
  }

  private static func aged(_ report: LiteFSReport, _ age: Duration) -> LiteFSReport {
    switch report {
    case .info(let body, let nodeID, let clusterID, _):
      .info(body: body, nodeID: nodeID, clusterID: clusterID, askedBefore: age)
    case .lag(let text, _): .lag(text, readBefore: age)
    case .variables(let body, _): .variables(body: body, askedBefore: age)
    default: report
    }
  }
}

/// Lines of LiteFS's stream that PID 1 is not told at once: the last one about transactions, and the last other one.
struct EventLines {
  private var other: [UInt8]?
  private var transaction: [UInt8]?

  mutating func keep(_ line: [UInt8]) {
    if Self.isTransaction(line) { transaction = line } else { other = line }
  }

  mutating func takeAll() -> [[UInt8]] {
    defer { (other, transaction) = (nil, nil) }
    return [other, transaction].compactMap { $0 }
  }

  /// Whether a line is about a transaction; they may come by the hundred. LiteFS writes the type first.
  static func isTransaction(_ line: [UInt8]) -> Bool { line.starts(with: Array("{\"type\":\"tx\"".utf8)) }
}
