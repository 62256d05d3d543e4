/// What the nodes of a cluster say about each other: whether there is one primary, and one cluster.
public struct PeerWatch: Sendable {
  /// What another node answered.
  public struct Report: Equatable, Sendable {
    /// Its API's URL, or its name.
    public var peer: String
    /// Its answer; nil when there was none. That says nothing about its role.
    public var info: LiteFSInfo?

    /// A report.
    public init(peer: String, info: LiteFSInfo?) {
      self.peer = peer
      self.info = info
    }
  }

  /// What follows from it.
  public enum Verdict: Equatable, Sendable {
    /// Nobody else was heard: this is not "fine".
    case unknown(reason: String)
    /// Of those that were heard, none contradicts this node.
    case fine
    /// More than one node says that it is the primary.
    case twoPrimaries([String])
    /// Another node has another cluster's data.
    case differentClusters(own: String, other: String, peer: String)

    /// Whether it must not go on like this.
    public var isBad: Bool {
      switch self {
      case .twoPrimaries, .differentClusters: true
      case .unknown, .fine: false
      }
    }
  }

  /// What counts: something bad only when two rounds in a row said so, since the answers of one round are not from the
  /// same moment, and a hand-off may lie between them.
  public private(set) var verdict = Verdict.unknown(reason: "no other node has been asked yet")
  private var suspicion: Verdict?

  /// A watch that has seen nothing.
  public init() {}

  /// Takes a round of answers. Returns whether the verdict is another one now.
  ///
  /// - Parameters:
  ///   - own: what this node's LiteFS says; nil when it says nothing.
  ///   - name: this node's.
  ///   - reports: one for each other node that is known.
  public mutating func handle(own: LiteFSInfo?, name: String, _ reports: [Report]) -> Bool {
    let found = Self.judge(own: own, name: name, reports)
    let before = verdict
    if !found.isBad || Self.isSameKind(found, suspicion) { verdict = found }
    suspicion = found
    return verdict != before
  }

  /// The verdict over one round.
  public static func judge(own: LiteFSInfo?, name: String, _ reports: [Report]) -> Verdict {
    let heard = reports.compactMap { report in report.info.map { (peer: report.peer, info: $0) } }
    if let cluster = own?.clusterID,
      let other = heard.first(where: { ($0.info.clusterID ?? cluster) != cluster })
    {
      return .differentClusters(own: cluster, other: other.info.clusterID ?? "", peer: other.peer)
    }
    let primaries = (own?.isPrimary == true ? [name] : []) + heard.filter(\.info.isPrimary).map(\.peer)
    if primaries.count > 1 { return .twoPrimaries(primaries) }
    if reports.isEmpty { return .unknown(reason: "no other node is known") }
    if heard.isEmpty { return .unknown(reason: "no other node answers") }
    return .fine
  }

  private static func isSameKind(_ one: Verdict, _ other: Verdict?) -> Bool {
    switch (one, other) {
    case (.twoPrimaries, .twoPrimaries), (.differentClusters, .differentClusters): true
    default: false
    }
  }
}
