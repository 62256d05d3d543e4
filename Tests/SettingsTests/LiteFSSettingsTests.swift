import Testing

@testable import Settings

/// `litefs`: what its keys become. What is refused is in `Broken/litefs*.yml`.
@Suite struct LiteFSSettingsTests {
  static let staticLease = "run_id: v1\nlitefs: {mode: mount, lease: {primary: node-1}}\n"

  private func litefs(_ text: String, environment: [String: String] = [:]) throws -> LiteFSSettings {
    try #require(try settings("run_id: v1\n" + text, environment: environment).litefs)
  }

  @Test(arguments: ["", "litefs: {mode: off}", "litefs: {mode: off, mount_path: /x}"])
  func offIsNothing(_ text: String) throws {
    let settings = try settings(text)
    #expect(settings.litefs == nil)
    #expect(settings.coordination.lock == .file && settings.coordination.readiness == .file)
    #expect(report(text).isEmpty)
  }

  @Test func theDefaults() throws {
    let settings = try settings(Self.staticLease)
    #expect(
      settings.litefs
        == LiteFSSettings(
          mode: .mount, binaryPath: "litefs", mountPath: "/litefs", dataPath: "/var/lib/litefs",
          databaseName: "db.sqlite3", nodeName: nil,
          httpAddress: ListenAddress(address: .any6, port: 20202, isAllInterfaces: true, text: ":20202"),
          advertiseURL: "http://{node}:20202", peers: nil, leaseType: .static, primary: "node-1",
          isCandidate: true, consul: nil, retention: .seconds(3600), retentionMonitorInterval: .seconds(60),
          compresses: true, allowsOther: nil, maximumLag: .seconds(10), minimumFreeSpace: 64 << 20,
          withoutPrimary: .readyFor(.seconds(60)), onNewRelease: .start, handoffTimeout: .seconds(30),
          allowsLossyPromotion: false, extra: []))
    #expect(settings.coordination.lock == .litefs && settings.coordination.readiness == .litefs)
    #expect(settings.coordination.isShared)
    #expect(report(Self.staticLease).isEmpty)
  }

  @Test func everythingElse() throws {
    let text = """
      litefs:
        mode: mount
        binary_path: /opt/litefs
        mount_path: /mnt/db
        data_path: /data
        database_name: app.db
        node_name: node-2
        http_addr: "127.0.0.1:2020"
        advertise_url: "http://{node}.internal:2020"
        peers: ["http://node-1:2020"]
        lease:
          type: consul
          candidate: false
          consul: {url: "http://:hush@consul:8500/app", key: "x/{project}", ttl: 15s, lock_delay: 500ms}
        retention: forever
        retention_monitor_interval: 10s
        compress: false
        allow_other: "true"
        max_lag: 1500ms
        min_free_space: 1GB
        without_primary: not_ready
        on_new_release: wait
        handoff_timeout: 5s
        allow_lossy_promotion: true
      """
    let found = try litefs(text)
    #expect(found.binaryPath == "/opt/litefs" && found.mountPath == "/mnt/db" && found.dataPath == "/data")
    #expect(found.databaseName == "app.db" && found.nodeName == "node-2")
    #expect(found.httpAddress.address == .loopback4 && found.httpAddress.port == 2020)
    #expect(found.advertiseURL == "http://{node}.internal:2020" && found.peers == ["http://node-1:2020"])
    #expect(found.leaseType == .consul && found.primary == nil && !found.isCandidate)
    #expect(
      found.consul
        == LiteFSSettings.Consul(
          url: "http://:hush@consul:8500/app", key: "x/{project}", timeToLive: .seconds(15),
          lockDelay: .milliseconds(500)))
    #expect(found.retention == nil && found.retentionMonitorInterval == .seconds(10))
    #expect(!found.compresses && found.allowsOther == true && found.maximumLag == .milliseconds(1500))
    #expect(found.minimumFreeSpace == 1_000_000_000 && found.withoutPrimary == .notReady)
    #expect(found.onNewRelease == .wait && found.handoffTimeout == .seconds(5) && found.allowsLossyPromotion)
    let shown = try settings("run_id: v1\n" + text).rendered()
    #expect(!shown.contains { $0.value.hasPart("hush") })
    #expect(shown.contains { $0.key == "litefs.lease.consul.url" && $0.value == "****" })
  }

  /// Every single value has a variable.
  @Test func variables() throws {
    let found = try litefs(
      "",
      environment: [
        "SUPERVISOR_LITEFS_MODE": "mount", "SUPERVISOR_LITEFS_LEASE_TYPE": "consul",
        "SUPERVISOR_LITEFS_LEASE_CONSUL_URL": "http://consul:8500", "SUPERVISOR_LITEFS_MOUNT_PATH": "/m",
        "SUPERVISOR_LITEFS_LEASE_CANDIDATE": "false", "SUPERVISOR_LITEFS_WITHOUT_PRIMARY": "ready",
        "SUPERVISOR_LITEFS_MIN_FREE_SPACE": "1MiB", "SUPERVISOR_LITEFS_HTTP_ADDR": ":21000",
      ])
    #expect(found.mode == .mount && found.leaseType == .consul && found.consul?.url == "http://consul:8500")
    #expect(found.mountPath == "/m" && !found.isCandidate && found.withoutPrimary == .ready)
    #expect(found.minimumFreeSpace == 1 << 20 && found.onNewRelease == .takeover)
    // Who moves the API moves its URL.
    #expect(found.advertiseURL == "http://{node}:21000")
  }

  @Test func theURLMayBeInAFile() throws {
    let files = try TemporaryFiles()
    let path = try files.write("url", "http://:hush@consul:8500\n")
    let found = try litefs("litefs: {mode: mount, lease: {type: consul, consul: {url_file: \(path)}}}")
    #expect(found.consul?.url == "http://:hush@consul:8500")
  }

  @Test(
    arguments: [
      ([:], nil), (["LITEFS_NODE_ID": "a"], "a"), (["LITEFS_NODE_ID": " a "], "a"),
      (["LITEFS_NODE_ID": "a", "SUPERVISOR_LITEFS_NODE_NAME": "b"], "b"),
    ] as [([String: String], String?)])
  func theNodesName(_ environment: [String: String], _ name: String?) throws {
    #expect(try litefs("litefs: {mode: directory}", environment: environment).nodeName == name)
  }

  @Test(
    arguments: [
      ([:], "", "litefs"), (["LITEFS_BINARY_PATH": "/opt/litefs"], "", "/opt/litefs"),
      (["LITEFS_BINARY_PATH": " "], "", "litefs"),
      (["LITEFS_BINARY_PATH": "/opt/litefs"], ", binary_path: /usr/bin/litefs", "/usr/bin/litefs"),
    ] as [([String: String], String, String)])
  func theProgram(_ environment: [String: String], _ more: String, _ path: String) throws {
    #expect(try litefs("litefs: {mode: directory\(more)}", environment: environment).binaryPath == path)
  }

  @Test(arguments: [
    (":8686", "", 1), ("127.0.0.1:8686", "", 1), ("10.0.0.1:8686", "", 0), (":8687", "", 0),
    (":8687", "health: {listen: ':8687'}", 1), ("10.0.0.1:8687", "health: {listen: '10.0.0.1:8687'}", 1),
    ("10.0.0.1:8687", "health: {listen: ':8687'}", 1), (":0", "", 1),
  ])
  func theAPIHasAPortOfItsOwn(_ address: String, _ health: String, _ count: Int) {
    let found = report(
      "run_id: v1\nlitefs: {mode: mount, http_addr: '\(address)', lease: {primary: n}}\n\(health)")
    #expect(found.count == count, "\(found)")
    #expect(found.allSatisfy { $0.hasPart("error: litefs.http_addr: ") })
  }

  @Test func aBlankNameIsTheHosts() throws {
    let text = "litefs: {mode: directory}"
    #expect(try litefs(text, environment: ["LITEFS_NODE_ID": "  "]).nodeName == nil)
    #expect(
      report(text, environment: ["LITEFS_NODE_ID": "  "]) == [
        "LITEFS_NODE_ID: warning: litefs.node_name: is blank, so this node has the name of its host; give it a name, or unset it"
      ])
  }

  /// One node, or somebody else's LiteFS: no lease of ours, no run ID needed.
  @Test(arguments: ["directory", "external"]) func otherModesNeedLess(_ mode: String) throws {
    let settings = try settings("litefs: {mode: \(mode)}")
    #expect(settings.litefs?.mode.rawValue == mode)
    #expect(settings.coordination.lock == .litefs)
  }

  @Test(
    arguments: [
      ("v1", [:], 0), ("", [:], 1), ("", ["SUPERVISOR_RUN_ID": "v1"], 0), ("", ["AUTOINIT_RUN_ID": "v1"], 0),
    ] as [(String, [String: String], Int)])
  func aMountNeedsARunID(_ runID: String, _ environment: [String: String], _ count: Int) {
    let text = (runID.isEmpty ? "" : "run_id: \(runID)\n") + "litefs: {mode: mount, lease: {primary: n}}"
    let found = report(text, environment: environment)
    #expect(found.count == count)
    #expect(found.allSatisfy { $0.hasPart("litefs.mode: replicas wait for the release") })
  }

  @Test(
    arguments: [
      ("primary", "mount, lease: {primary: n}", nil), ("replica", "mount, lease: {primary: n}", nil),
      ("replica", "external", nil),
      ("replica", "directory", "this node is always the primary"),
      ("replica", "off", "there are replicas with LiteFS only"), ("primary", "off", nil),
    ] as [(String, String, String?)])
  func boundServices(_ role: String, _ mode: String, _ problem: String?) {
    let found = report("run_id: v1\nlitefs: {mode: \(mode)}\nservices: {a: {command: [x], role: \(role)}}")
    #expect(found.count == (problem == nil ? 0 : 1), "\(found)")
    if let problem { #expect(found.first?.hasPart(problem) == true, "\(found)") }
  }

  @Test func aServiceMayStartBeforeLiteFS() throws {
    let settings = try settings(
      Self.staticLease + "services: {dns: {command: [x], start: before_litefs}}")
    #expect(settings.services.map(\.start) == [.beforeLiteFS])
  }

  @Test(arguments: [
    ("lock: litefs", true), ("readiness: litefs", true), ("lock: litefs, readiness: litefs", true),
    ("readiness: redis, redis: {url: \"redis://r\"}", true), ("lock: file", false),
    ("readiness: file", false),
  ])
  func backends(_ coordination: String, _ isGood: Bool) {
    let found = report(Self.staticLease + "coordination: {\(coordination)}")
    #expect(found.isEmpty == isGood, "\(found)")
  }

  @Test(arguments: [
    ("node-1", "true", 0), ("node-1", "false", 1), ("node-2", "true", 1), ("node-2", "false", 0),
  ])
  func aStaticLeaseDecidesWhoIsTheCandidate(_ node: String, _ candidate: String, _ count: Int) {
    let found = report(
      "run_id: v1\nlitefs: {mode: mount, node_name: \(node), lease: {primary: node-1, candidate: \(candidate)}}"
    )
    #expect(found.count == count)
    #expect(found.allSatisfy { $0.hasPart("warning: litefs.lease.candidate: has no effect") })
  }

  // MARK: Extra

  @Test func extraIsATreeWithVariablesExpanded() throws {
    let found = try litefs(
      """
      litefs:
        mode: mount
        lease: {primary: n}
        extra:
          backup: {type: file, path: "${DIR}/b", auth-token: hush1}
          log: {debug: yes, timestamp: }
          lease: {databases: [a.db, "${NAME}"], reconnect-delay: 2s}
      """, environment: ["DIR": "/backup", "NAME": "b.db"])
    func at(_ path: String...) -> YAMLNode.Content? {
      var entries = found.extra
      for name in path.dropLast() {
        guard case .mapping(let next)? = entries.first(where: { $0.key == name })?.value.content else {
          return nil
        }
        entries = next
      }
      return entries.first { $0.key == path.last }?.value.content
    }
    #expect(at("backup", "path") == .scalar("/backup/b", isPlain: false))
    #expect(at("log", "debug") == .scalar("yes", isPlain: true))
    // To LiteFS an empty value is its default, which nobody means who leaves it out.
    #expect(at("log", "timestamp") == nil)
    guard case .sequence(let names)? = at("lease", "databases") else {
      Issue.record("\(found.extra)")
      return
    }
    #expect(names.map(\.content) == [.scalar("a.db", isPlain: true), .scalar("b.db", isPlain: false)])
  }

  @Test func extraIsShownLeafByLeaf() throws {
    let shown = try settings(
      Self.staticLease.dropLast(2)
        + ", extra: {backup: {auth-token: hush1, url: \"http://u:hush2@h\"}, log: {debug: true}}}"
    ).rendered().filter { $0.key.hasPrefix("litefs.extra") }
    #expect(
      shown.map { "\($0.key)=\($0.value)" } == [
        "litefs.extra.backup.auth-token=****", "litefs.extra.backup.url=http://u:****@h",
        "litefs.extra.log.debug=true",
      ])
  }

  @Test(
    arguments: [
      ("proxy: {addr: ':8080'}", "warning: litefs.extra.proxy: LiteFS's proxy answers"),
      ("lease: {promote: true}", "error: litefs.extra.lease.promote: a static lease cannot be taken"),
      ("skip-sync: false", nil), ("exit-on-error: true", nil), ("lease: {databases: [a]}", nil),
      ("http: {snapshot-timeout: 0s}", nil), ("tracing: {path: /t, max-size: 5}", nil),
      ("later: 1", "warning: litefs.extra.later: LiteFS 0.5.14 has no such key"),
    ] as [(String, String?)])
  func whatMayBeInIt(_ extra: String, _ finding: String?) {
    let found = report("run_id: v1\nlitefs: {mode: mount, lease: {primary: n}, extra: {\(extra)}}")
    #expect(found.count == (finding == nil ? 0 : 1), "\(found)")
    if let finding { #expect(found.first?.hasPart(finding) == true, "\(found)") }
  }

  // MARK: Paths

  @Test(
    arguments: [
      ("/litefs", "/data", [:], nil), ("/litefs", "/litefs", [:], "are the same directory"),
      ("//litefs/./", "/litefs/", [:], "are the same directory"), ("/litefs", "/litefs2", [:], nil),
      ("/litefs", "/litefs/data", [:], "data_path lies in mount_path"),
      ("/data/m", "/data", [:], "mount_path lies in data_path"),
      ("/", "/data", [:], "the root of the file system"),
      ("/a/../b", "/data", [:], "has a '..'"),
      (
        "/litefs", "/data", ["/data": "/litefs"],
        "(links followed: mount_path is \"/litefs\", data_path \"/litefs\")"
      ),
      ("/mnt/l", "/var/lib/l", ["/mnt": "var/./lib"], "are the same directory"),
      ("/mnt/l", "/data", ["/mnt": "../x/../data"], "mount_path lies in data_path"),
      ("/a/x", "/data", ["/a": "/b", "/b": "/a"], nil),
    ] as [(String, String, [String: String], String?)])
  func paths(_ mount: String, _ data: String, _ links: [String: String], _ problem: String?) {
    var files = FileAccess.none
    files.target = { links[$0] }
    let outcome = SettingsLoader.load(
      bytes: Array(Self.staticLease.utf8), file: "supervisor.yml",
      environment: { ["SUPERVISOR_LITEFS_MOUNT_PATH": mount, "SUPERVISOR_LITEFS_DATA_PATH": data][$0] },
      files: files)
    switch outcome {
    case .settings: #expect(problem == nil)
    case .failure(let problems):
      #expect(problems.count == 1, "\(problems)")
      #expect(problem.map { problems.first?.message.hasPart($0) == true } == true, "\(problems)")
    }
  }

  @Test func aDirectoryNeedsNoDataPath() {
    #expect(report("litefs: {mode: directory, mount_path: /data, data_path: /data}").isEmpty)
  }
}
