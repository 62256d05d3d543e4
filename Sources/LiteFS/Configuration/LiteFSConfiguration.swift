import Settings

/// What this node's `litefs.yml` says: made from the settings, which are the same on every node, and what is this node's.
public struct LiteFSConfiguration: Equatable, Sendable {
  /// What the settings do not know.
  public struct Node: Equatable, Sendable {
    /// This host's name; this node's where the settings give no other.
    public var hostName: String
    /// The namespace of the deployment, for the lease's key.
    public var project: String
    /// Whether the app, a service or a step runs as another user than LiteFS.
    public var runsOthers: Bool

    /// A node.
    public init(hostName: String, project: String, runsOthers: Bool) {
      self.hostName = hostName
      self.project = project
      self.runsOthers = runsOthers
    }

    /// A node of these settings.
    ///
    /// - Parameter isOther: whether a user, as settings name it, is another one than LiteFS's.
    public init(
      hostName: String, project: String, settings: EffectiveSettings, isOther: (String) -> Bool
    ) {
      let users =
        [settings.app.user] + settings.services.map(\.user)
        + (settings.infrastructure.steps + settings.node.steps).map(\.user)
      self.init(
        hostName: hostName, project: project, runsOthers: users.contains { $0.map(isOther) == true })
    }
  }

  /// This node's name.
  public let nodeName: String
  /// Whether this node may become the primary; with a static lease, whether it is.
  public let isCandidate: Bool
  /// LiteFS's API on this node, as others reach it.
  public let ownURL: String
  /// With a static lease, the primary's API; nil with one that moves.
  public let primaryURL: String?
  /// How long LiteFS waits between tries to reach a primary or a lease.
  public let reconnectDelay: Duration
  /// What cannot be (errors) or is likely not meant (warnings) on this node.
  public let findings: [Diagnostic]

  private let content: Content

  /// Kept apart so that the tree needs no public form.
  private struct Content: Equatable, Sendable {
    var text: String
    var masked: String
    var secrets: [String]
  }

  /// The configuration of a node; nil where we do not run LiteFS.
  ///
  /// - Parameters:
  ///   - settings: the settings.
  ///   - node: what is this node's own.
  ///   - joinsAsCandidate: false while a node that never had the data joins: an empty candidate that wins an election
  ///     overwrites fuller nodes. Does not matter with a static lease.
  public init?(_ settings: LiteFSSettings, node: Node, joinsAsCandidate: Bool = true) {
    guard settings.mode == .mount else { return nil }
    nodeName = settings.nodeName ?? node.hostName
    var findings: [Diagnostic] = []
    let owner: String
    switch settings.leaseType {
    case .static:
      // LiteFS reads a static replica's own name and URL as the primary's.
      owner = settings.primary ?? nodeName
      isCandidate = owner == nodeName
      if !isCandidate, owner.lowercased() == nodeName.lowercased() {
        findings.append(
          Diagnostic(
            .warning, at: nil, key: "litefs.lease.primary",
            "'\(owner)' and this node's name '\(nodeName)' differ in case only, so this node is a replica",
            suggestion: "write both alike if this is the primary"))
      }
    case .consul:
      owner = nodeName
      isCandidate = settings.isCandidate && joinsAsCandidate
    }
    func url(of name: String) -> String {
      settings.advertiseURL.replacing("{node}", with: name)
    }
    ownURL = url(of: nodeName)
    primaryURL = settings.leaseType == .static ? url(of: owner) : nil
    for name in Set([nodeName, owner]).sorted()
    where settings.advertiseURL.firstRange(of: "{node}") != nil && !Self.isHost(name) {
      findings.append(
        Diagnostic(
          .error, at: nil, key: "litefs.advertise_url",
          "the node name '\(name)' cannot stand for {node} in a URL",
          suggestion: "give the node the name of a host, or the URL another one"))
    }
    self.findings = findings

    var tree = Self.typed(settings, node, owner: owner, url: url(of: owner), isCandidate: isCandidate)
    tree = tree.merged(
      with: .map(
        settings.extra.filter { $0.key != "exec" }.map {
          ConfigurationValue.Entry($0.key, ConfigurationValue($0.value))
        }))
    // A part of the databases is for replicas only, and the settings are the same on all nodes.
    if isCandidate { tree = tree.removing("lease", "databases") }
    reconnectDelay = Self.reconnectDelay(in: tree)
    content = Content(
      text: Self.text(tree),
      masked: Self.text(
        tree.replacingTexts { key, text in
          Self.isSecret(key) ? "****" : SecretText.maskingPasswords(in: text)
        }),
      secrets: Self.secrets(in: tree))
  }

  /// The file: literal values, the same bytes for the same settings.
  public var bytes: [UInt8] { Array(content.text.utf8) }

  /// The file, fit for any output.
  public var maskedText: String { content.masked }

  /// What must not appear in LiteFS's own lines, which name the lease's URL with its token.
  public var mask: SecretMask { SecretMask(content.secrets) }
}

extension LiteFSConfiguration {
  private static let header = [
    "# Made from the settings (litefs.*) at each start: what is changed here is lost.",
    "# For what has no key of its own there is litefs.extra.",
  ]

  private static func text(_ tree: ConfigurationValue) -> String {
    (header + tree.lines()).joined(separator: "\n") + "\n"
  }

  private static func typed(
    _ settings: LiteFSSettings, _ node: Node, owner: String, url: String, isCandidate: Bool
  ) -> ConfigurationValue {
    typealias Entry = ConfigurationValue.Entry
    var lease = [
      Entry("type", .text(settings.leaseType.rawValue)), Entry("hostname", .text(owner)),
      Entry("advertise-url", .text(url)), Entry("candidate", .boolean(isCandidate)),
    ]
    if settings.leaseType == .consul, let consul = settings.consul {
      lease.append(
        Entry(
          "consul",
          .map([
            Entry("url", .text(consul.url)),
            Entry("key", .text(consul.key.replacing("{project}", with: node.project))),
            Entry("ttl", .duration(consul.timeToLive)), Entry("lock-delay", .duration(consul.lockDelay)),
          ])))
    }
    return .map([
      Entry("exit-on-error", .boolean(true)),
      Entry(
        "data",
        .map([
          Entry("dir", .text(settings.dataPath)), Entry("compress", .boolean(settings.compresses)),
          // To LiteFS zero is for ever.
          Entry("retention", .duration(settings.retention ?? .zero)),
          Entry("retention-monitor-interval", .duration(settings.retentionMonitorInterval)),
        ])),
      Entry(
        "fuse",
        .map([
          Entry("dir", .text(settings.mountPath)),
          Entry("allow-other", .boolean(settings.allowsOther ?? node.runsOthers)),
        ])),
      Entry("http", .map([Entry("addr", .text(settings.httpAddress.text))])),
      Entry("lease", .map(lease)),
      Entry("log", .map([Entry("format", .text("text"))])),
    ])
  }

  private static func reconnectDelay(in tree: ConfigurationValue) -> Duration {
    switch tree["lease", "reconnect-delay"] {
    case .bare(let text), .text(let text): (try? SettingsText.timeout(text)).flatMap { $0 } ?? .seconds(1)
    case .list, .map, nil: .seconds(1)
    }
  }

  private static func isSecret(_ key: String) -> Bool { key == "auth-token" }

  private static func secrets(in tree: ConfigurationValue) -> [String] {
    var secrets: [String] = []
    _ = tree.replacingTexts { key, text in
      if isSecret(key) {
        secrets.append(text)
      } else if let password = SecretText.password(in: text) {
        secrets.append(password)
      }
      return text
    }
    return secrets
  }

  /// What may stand as a host in a URL (RFC 3986, 3.2.2), IPv6 addresses in brackets.
  private static func isHost(_ name: String) -> Bool {
    !name.isEmpty
      && name.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
          || "-._~[:]".utf8.contains(byte)
      }
  }
}

extension String {
  fileprivate func replacing(_ part: String, with other: String) -> String {
    guard let range = firstRange(of: part) else { return self }
    return self[..<range.lowerBound] + other + String(self[range.upperBound...]).replacing(part, with: other)
  }
}
