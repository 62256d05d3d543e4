import LiteFS
import Settings
import Testing

/// litefs.yml, from settings.
struct ConfigurationTests {
  static let consul = "{mode: mount, lease: {type: consul, consul: {url: 'http://consul:8500/app'}}}"

  @Test func `the whole file, with a static lease`() throws {
    let found = try configuration("{mode: mount, lease: {primary: node-1}}")
    #expect(
      found.text == """
        # Made from the settings (litefs.*) at each start: what is changed here is lost.
        # For what has no key of its own there is litefs.extra.
        exit-on-error: true
        data:
          dir: "/var/lib/litefs"
          compress: true
          retention: 1h
          retention-monitor-interval: 1m
        fuse:
          dir: "/litefs"
          allow-other: false
        http:
          addr: ":20202"
        lease:
          type: "static"
          hostname: "node-1"
          advertise-url: "http://node-1:20202"
          candidate: true
        log:
          format: "text"

        """)
    #expect(found.findings.isEmpty)
  }

  @Test func `the lease in Consul`() throws {
    let found = try configuration(Self.consul, node: "node-2")
    #expect(
      has(
        found.text,
        """
        lease:
          type: "consul"
          hostname: "node-2"
          advertise-url: "http://node-2:20202"
          candidate: true
          consul:
            url: "http://consul:8500/app"
            key: "litefs/shop"
            ttl: 10s
            lock-delay: 1s

        """))
  }

  /// LF-04: LiteFS reads a static replica's name and URL as the primary's, and `candidate` as being the primary.
  @Test(arguments: [("node-1", true), ("node-2", false), ("Node-1", false)])
  func `a static replica carries the primary's name and URL`(node: String, isPrimary: Bool) throws {
    let found = try configuration(
      "{mode: mount, advertise_url: 'http://{node}.internal:2020', lease: {primary: node-1}}", node: node)
    #expect(found.isCandidate == isPrimary)
    #expect(try found.value("lease", "candidate") == .scalar(isPrimary ? "true" : "false", isPlain: true))
    #expect(try found.value("lease", "hostname") == .scalar("node-1", isPlain: false))
    #expect(
      try found.value("lease", "advertise-url") == .scalar("http://node-1.internal:2020", isPlain: false))
    #expect(found.ownURL == "http://\(node).internal:2020")
    #expect(found.primaryURL == "http://node-1.internal:2020")
    #expect(found.nodeName == node)
  }

  @Test func `a name that differs in case only is likely a mistake`() throws {
    let found = try configuration("{mode: mount, lease: {primary: node-1}}", node: "Node-1")
    #expect(found.findings.map(\.severity) == [.warning])
    #expect(found.findings.first.map { has($0.message, "differ in case only") } == true)
  }

  @Test func `a URL that is written out is taken as it is`() throws {
    let found = try configuration(
      "{mode: mount, advertise_url: 'http://10.0.0.1:20202', lease: {primary: node-1}}", node: "node 2")
    #expect(try found.value("lease", "advertise-url") == .scalar("http://10.0.0.1:20202", isPlain: false))
    #expect(found.findings.isEmpty)
  }

  @Test(arguments: ["node 1", "a/b", "a@b", "nöde"])
  func `a node name that is no host cannot be in the URL`(name: String) throws {
    let found = try configuration(Self.consul, node: name)
    #expect(found.findings.map(\.severity) == [.error])
  }

  @Test(arguments: [(true, true, true), (true, false, false), (false, true, false), (false, false, false)])
  func `a candidate, unless it has no data yet`(setting: Bool, joins: Bool, expected: Bool) throws {
    let found = try configuration(
      "{mode: mount, lease: {type: consul, candidate: \(setting), consul: {url: 'http://c:8500'}}}",
      joinsAsCandidate: joins)
    #expect(found.isCandidate == expected)
    #expect(try found.value("lease", "candidate") == .scalar(expected ? "true" : "false", isPlain: true))
    // Nothing else differs, so who catches up needs no other file but this.
    let other = try configuration(
      "{mode: mount, lease: {type: consul, candidate: \(setting), consul: {url: 'http://c:8500'}}}",
      joinsAsCandidate: !joins)
    #expect((found.text == other.text) == !setting)
  }

  @Test(arguments: [
    ("auto", true, "true"), ("auto", false, "false"), ("true", false, "true"), ("false", true, "false"),
  ])
  func `other users`(setting: String, runsOthers: Bool, expected: String) throws {
    let found = try configuration(
      "{mode: mount, allow_other: \(setting), lease: {primary: node-1}}", runsOthers: runsOthers)
    #expect(try found.value("fuse", "allow-other") == .scalar(expected, isPlain: true))
  }

  @Test func `the same settings make the same bytes`() throws {
    let text =
      "{mode: mount, lease: {primary: node-1}, extra: {tracing: {path: /t}, backup: {type: file, path: /b}}}"
    #expect(try configuration(text).bytes == configuration(text).bytes)
  }

  @Test(arguments: ["directory", "external"]) func `only for a LiteFS of ours`(mode: String) throws {
    let settings = try litefs("{mode: \(mode)}")
    #expect(
      LiteFSConfiguration(
        settings, node: LiteFSConfiguration.Node(hostName: "n", project: "p", runsOthers: false)) == nil)
  }

  // MARK: Values

  /// Whatever is in a text, LiteFS gets it as it is: LF-10, C4-20.
  @Test(arguments: [
    "true", "null", "~", "010", "1e3", "2001-01-01", "a: b", "a #b", "- a", "[a", "{a", "*a", "&a", "!a",
    "%a", "@a",
    "`a", "'", "\"", "\\", "a\\nb", "ü", "日本", "🦆", "$HOME ${X} $$", "\u{85}", "\u{2028}", "\u{FEFF}",
    "\u{9F}", "a  b",
    "|", ">", "?", ":", "a\tb",
  ])
  func `texts are literal`(text: String) throws {
    let found = try configuration(
      "{mode: mount, lease: {primary: node-1}, mount_path: \"${P}\"}".replacingPath(text))
    #expect(try found.value("fuse", "dir") == .scalar("/" + text, isPlain: false))
  }

  @Test(arguments: [
    ("1h", "1h"), ("90s", "1m30s"), ("250ms", "250ms"), ("1.5s", "1.5s"), ("3600", "1h"), ("forever", "0s"),
    ("1ns", "1ns"),
  ])
  func `durations have a unit`(setting: String, expected: String) throws {
    let found = try configuration("{mode: mount, lease: {primary: node-1}, retention: \(setting)}")
    #expect(try found.value("data", "retention") == .scalar(expected, isPlain: true))
  }

  // MARK: Extra

  @Test func `extra goes over it, and exec never gets through`() throws {
    var settings = try litefs(
      """
      {mode: mount, lease: {primary: node-2}, extra: {
        fuse: {debug: true}, log: {debug: yes}, strict-verify: false, http: {snapshot-timeout: 1m},
        lease: {reconnect-delay: 2s, databases: [a.db, "b c.db"]}, backup: {type: file, path: "/b: c"},
        proxy: {addr: ":8080", target: "localhost:8000", db: db.sqlite3, passthrough: ["*.ico"], max-lag: 5s}}}
      """)
    // Settings refuse it already.
    let exec = try YAMLReader.read(Array("exec: [{cmd: x}]".utf8), file: "f")
    guard case .mapping(let entries)? = exec?.content else { return }
    settings.extra += entries
    let found = try #require(
      LiteFSConfiguration(
        settings, node: LiteFSConfiguration.Node(hostName: "node-1", project: "p", runsOthers: false)))
    #expect(!has(found.text, "exec"))
    for (path, expected) in [
      (["fuse", "debug"], ("true", true)), (["log", "debug"], ("yes", true)),
      (["log", "format"], ("text", false)),
      (["fuse", "dir"], ("/litefs", false)), (["strict-verify"], ("false", true)),
      (["http", "snapshot-timeout"], ("1m", true)), (["http", "addr"], (":20202", false)),
      (["lease", "reconnect-delay"], ("2s", true)), (["lease", "hostname"], ("node-2", false)),
      (["backup", "path"], ("/b: c", false)), (["proxy", "target"], ("localhost:8000", false)),
      (["proxy", "max-lag"], ("5s", true)),
    ] as [([String], (String, Bool))] {
      var node = try YAMLReader.read(found.bytes, file: "litefs.yml")
      for name in path {
        guard case .mapping(let entries)? = node?.content else { break }
        node = entries.first { $0.key == name }?.value
      }
      #expect(node?.content == .scalar(expected.0, isPlain: expected.1), "\(path)")
    }
    #expect(has(found.text, "  databases: [a.db, \"b c.db\"]\n"))
    #expect(found.reconnectDelay == .seconds(2))
  }

  /// LiteFS refuses a part of the databases on a candidate, and the settings are the same on all nodes.
  @Test func `the primary has all databases`() throws {
    let text = "{mode: mount, lease: {primary: node-1}, extra: {lease: {databases: [a]}}}"
    #expect(try configuration(text, node: "node-1").value("lease", "databases") == nil)
    #expect(try configuration(text, node: "node-2").value("lease", "databases") != nil)
    #expect(try configuration(text).reconnectDelay == .seconds(1))
  }

  // MARK: Secrets

  @Test func `the token is in the file and nowhere else`() throws {
    let found = try configuration(
      """
      {mode: mount, lease: {type: consul, consul: {url: 'http://:hu%2Fsh+1@consul:8500/app'}},
       extra: {backup: {auth-token: hush2}}}
      """)
    #expect(has(found.text, "http://:hu%2Fsh+1@consul:8500/app") && has(found.text, "auth-token: hush2"))
    #expect(has(found.maskedText, "url: \"http://:****@consul:8500/app\""))
    #expect(has(found.maskedText, "auth-token: \"****\""))
    #expect(!has(found.maskedText, "sh+1") && !has(found.maskedText, "hush2"))
    #expect(!has(String(describing: found.mask.masked("token hu/sh+1, hu%2Fsh+1")), "sh+1"))
    #expect(try YAMLReader.read(Array(found.maskedText.utf8), file: "f") != nil)
  }

  @Test(
    arguments: [
      (
        ["hush"], #"level=INFO msg="initializing consul: key=litefs/shop url=http://:hush@consul:8500/app""#,
        #"level=INFO msg="initializing consul: key=litefs/shop url=http://:****@consul:8500/app""#
      ),
      ([#"a"\b"#], #"msg="token a\"\\b""#, #"msg="token ****""#),
      (["hush", "hushhush"], "hushhush hush", "**** ****"),
      (["abc"], "abc http://u:abc@h", "abc http://u:****@h"), ([], "http://u:other@h/p", "http://u:****@h/p"),
      ([""], "nothing", "nothing"), (["hush"], "", ""), (["hu%40sh"], "hu@sh", "****"),
      (["%zz%4"], "%zz%4", "****"),
    ] as [([String], String, String)])
  func `lines without secrets`(secrets: [String], line: String, expected: String) {
    #expect(SecretMask(secrets).masked(line) == expected)
  }
}

extension String {
  /// The text as the mount path, in YAML's quotes; the settings' own dollars are doubled.
  fileprivate func replacingPath(_ text: String) -> String {
    var path = ""
    for scalar in ("/" + text).unicodeScalars {
      switch scalar {
      case "\"", "\\": path += "\\\(scalar)"
      case "$": path += "$$"
      default:
        let digits = String(scalar.value, radix: 16)
        path +=
          scalar.value < 0x20 || (0x7F...0xFFFF).contains(scalar.value)
          ? "\\u" + String(repeating: "0", count: 4 - digits.count) + digits : String(scalar)
      }
    }
    guard let place = firstRange(of: "${P}") else { return self }
    return self[..<place.lowerBound] + path + self[place.upperBound...]
  }
}
