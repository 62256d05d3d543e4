import LiteFS
import Settings
import Testing

/// A hand-written litefs.yml, as settings: LF-12.
struct ImportTests {
  private func imported(_ text: String) throws -> LiteFSImport {
    do throws(Diagnostic) {
      return try LiteFSImport(Array(text.utf8), file: "litefs.yml")
    } catch {
      throw Refusal(problems: [error])
    }
  }

  /// The page read back as settings.
  private func settings(_ text: String, environment: [String: String] = [:]) throws -> EffectiveSettings {
    let page = try imported(text).page(of: "litefs.yml")
    let outcome = SettingsLoader.load(
      bytes: Array(page.utf8), file: "supervisor.yml", overrides: ["run_id": "v1"],
      environment: { environment[$0] }, files: .none)
    switch outcome {
    case .settings(let settings, _): return settings
    case .failure(let problems):
      Issue.record("\(problems.map(\.description).joined(separator: "\n"))\n\(page)")
      throw Refusal(problems: problems)
    }
  }

  /// As LiteFS's own example has it, for Fly.
  static let usual = """
    fuse:
      dir: "/litefs"
      allow-other: true
    data:
      dir: "/var/lib/litefs"
      compress: false
      retention: 2h
    exit-on-error: false
    proxy:
      addr: ":8080"
      target: "localhost:8081"
      db: "db"
      passthrough:
        - "*.ico"
    lease:
      type: "consul"
      advertise-url: "http://${HOSTNAME}.vm.${FLY_APP_NAME}.internal:20202"
      candidate: ${FLY_REGION == PRIMARY_REGION}
      promote: true
      reconnect-delay: 2s
      consul:
        url: "${FLY_CONSUL_URL}"
        key: "litefs/${FLY_APP_NAME}"
        lock-delay: 0s
    log:
      debug: true
    exec:
      - cmd: "python manage.py migrate --noinput"
        if-candidate: true
      - cmd: "python manage.py 'create cache'"
      - cmd: "gunicorn --bind :8081 mysite.wsgi"

    """

  @Test func `a usual file, read back`() throws {
    let environment = [
      "HOSTNAME": "d8d", "FLY_APP_NAME": "shop", "FLY_CONSUL_URL": "https://:hush@consul.fly/shop",
    ]
    let settings = try settings(Self.usual, environment: environment)
    let found = try #require(settings.litefs)
    #expect(found.mode == .mount && found.allowsOther == true && !found.compresses)
    #expect(found.retention == .seconds(7200) && found.leaseType == .consul && found.isCandidate)
    #expect(found.advertiseURL == "http://d8d.vm.shop.internal:20202")
    #expect(found.consul?.url == "https://:hush@consul.fly/shop" && found.consul?.key == "litefs/shop")
    #expect(found.consul?.lockDelay == .seconds(1))
    #expect(found.extra.map(\.key) == ["lease", "log"])
    // Nothing of it runs by itself.
    #expect(settings.infrastructure.steps.isEmpty && settings.app.command == nil)
  }

  @Test(arguments: [
    "# litefs.yml:8:1: note: exit-on-error: not taken over: a LiteFS that failed to start is restarted\n",
    "proxy: not taken over: off Fly it answers a replica's write with an empty 200, and the write is lost; a write forwarder comes with a later version",
    "warning: lease.candidate: not taken over", "SUPERVISOR_LITEFS_LEASE_CANDIDATE",
    "lease.promote: not taken over: under load it kills the primary",
    "lease.consul.lock-delay: left out: LiteFS takes zero for its default",
    "exec: LiteFS does not run the app any more", "# proxy:\n#   addr: \":8080\"\n",
    """
    # infrastructure:
    #   steps:
    #     - name: exec-1
    #       run: ["python", "manage.py", "migrate", "--noinput"]   # ran on every candidate; a step runs once, on the primary
    #     - name: exec-2
    #       run: ["python", "manage.py", "create cache"]   # ran on every node; a step runs once, on the primary (node.steps: on every node)
    #       needs: [exec-1]
    # app:
    #   command: ["gunicorn", "--bind", ":8081", "mysite.wsgi"]   # or behind --
    """,
  ])
  func `what is said about it`(part: String) throws {
    let page = try imported(Self.usual).page(of: "litefs.yml")
    let wanted = part.hasPrefix("warning: lease.candidate") ? "note: lease.candidate: not taken over" : part
    #expect(has(page, wanted), "\(page)")
  }

  /// The comments are YAML when the marks are taken away.
  @Test func `exec's comment is good settings`() throws {
    let page = try imported(Self.usual).page(of: "litefs.yml")
    let lines = page.split(separator: "\n").drop { !$0.hasPrefix("# infrastructure:") }
    let text = lines.map { $0.dropFirst(2) }.joined(separator: "\n")
    let outcome = SettingsLoader.load(
      bytes: Array(text.utf8), file: "s.yml", environment: { _ in nil }, files: .none)
    guard case .settings(let settings, _) = outcome else {
      Issue.record("\(outcome)\n\(text)")
      return
    }
    #expect(settings.infrastructure.steps.map(\.name) == ["exec-1", "exec-2"])
    #expect(settings.infrastructure.steps.last?.needs == ["exec-1"])
    #expect(settings.app.command == .arguments(["gunicorn", "--bind", ":8081", "mysite.wsgi"]))
  }

  @Test(arguments: [
    ("candidate: ${HOSTNAME == 'node-1'}", "node-1"), ("candidate: ${ HOSTNAME==\"node-1\" }", "node-1"),
    ("hostname: node-2\n  candidate: false", "node-2"), ("candidate: true\n  hostname: node-3", "node-3"),
  ])
  func `a static lease names its primary`(lease: String, primary: String) throws {
    let found = try settings(
      "lease:\n  type: static\n  advertise-url: \"http://10.0.0.1:20202\"\n  \(lease)\n"
    ).litefs
    #expect(found?.leaseType == .static && found?.primary == primary)
    #expect(found?.advertiseURL == "http://10.0.0.1:20202")
  }

  /// LiteFS's defaults where the file says nothing.
  @Test func `retention stays as it was`() throws {
    let lease = "lease: {type: static, hostname: n}\n"
    #expect(try settings(lease).litefs?.retention == .seconds(600))
    #expect(try settings(lease + "data: {retention: 0s}").litefs?.retention == nil)
    #expect(try settings(lease + "data: {retention: 1h30m}").litefs?.retention == .seconds(5400))
  }

  @Test(
    arguments: [
      ("/a$b", ["b": "x"], "/ax"), ("/a${b}c", ["b": "x"], "/axc"), ("/a$ b", [:], "/a$ b"),
      ("/a$$b", [:], "/ab"),
      ("/a$1b", [:], "/ab"), ("/a${x y}b", [:], "/ab"), ("/a${b", [:], "/a${b"), ("/a$", [:], "/a$"),
    ] as [(String, [String: String], String)])
  func `variables as LiteFS knows them`(text: String, environment: [String: String], path: String) throws {
    let found = try settings(
      "lease: {type: static, hostname: n}\nfuse:\n  dir: '\(text)'\n", environment: environment)
    #expect(found.litefs?.mountPath == path)
  }

  @Test(
    arguments: [
      ("a b", ["a", "b"], ""), ("a && b", ["a"], "&& b"),
      ("a 'b c' \"d \\\" e\" f\\ g", ["a", "b c", "d \" e", "f g"], ""),
      ("a | b", ["a"], "| b"), ("a ''", ["a", ""], ""), ("  ", [], ""),
    ] as [(String, [String], String)])
  func `commands are split as LiteFS does`(command: String, words: [String], rest: String) throws {
    let quoted = command.map { $0 == "'" ? "''" : String($0) }.joined()
    let found = try imported("lease: {type: static, hostname: n}\nexec: '\(quoted)'\n")
    let page = found.page(of: "litefs.yml")
    let expected = words.map { word in
      "\"" + word.map { $0 == "\"" ? "\\\"" : String($0) }.joined() + "\""
    }
    #expect(has(page, "#   command: [\(expected.joined(separator: ", "))]") == !words.isEmpty, "\(page)")
    #expect(found.findings.contains { has($0.message, "never run what follows: \(rest)") } == !rest.isEmpty)
  }

  @Test(arguments: [
    "lease: {type: consul, consul: {url: 'http://:hush@c:8500', key: k}}\n",
    "lease: {type: static, hostname: n}\nbackup: {type: litefs-cloud, auth-token: hush}\n",
  ])
  func `secrets are not shown`(text: String) throws {
    let page = try imported(text).page(of: "litefs.yml")
    #expect(!has(page, "hush"))
    #expect(has(page, "secret") || has(page, "not shown, since it has a token in it"))
  }

  @Test(arguments: [
    ("lease: {type: raft}", "lease.type: not taken over: \"raft\" is no lease"),
    ("data: {retention: banana}", "data.retention: not taken over: \"banana\" is not a duration"),
    ("fuse: {dir: relative}", "fuse.dir: not taken over"), ("skip-sync: true", "skip-sync: not taken over"),
    ("log: {format: json}", "log.format: not taken over"),
    ("exec: []", "exec: not taken over: it has no command"),
    ("fuse: {dir: [a]}", "fuse.dir: not taken over: it must be a single value"),
  ])
  func `what cannot be is a comment`(text: String, part: String) throws {
    let page = try imported(text).page(of: "litefs.yml")
    #expect(has(page, "note: \(part)"), "\(page)")
  }

  @Test(arguments: ["", "- a", "a", "a: [", "# nothing\n"]) func `no file of LiteFS's`(text: String) {
    #expect(throws: Refusal.self) { try imported(text) }
  }

  /// A line end in a value must not end a comment.
  @Test func `comments stay comments`() throws {
    let page = try imported("exec: \"a 'b\\nmode: off'\"\nproxy: {addr: \"x\\ny: z\"}\n").page(of: "f\ng")
    #expect(
      page.split(separator: "\n").allSatisfy {
        $0.hasPrefix("#") || $0.hasPrefix("litefs:") || $0.hasPrefix("  ")
      })
  }
}
