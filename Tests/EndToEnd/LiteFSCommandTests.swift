import Foundation
import Glibc
import Testing

/// `supervisor litefs config`, `settings import-litefs`, and what LiteFS itself says to our file.
@Suite("litefs commands", .drivesProcesses)
struct LiteFSCommandTests {
  /// A real LiteFS, where there is one.
  static let binary = ProcessInfo.processInfo.environment["LITEFS_BINARY"]

  private func outcome(_ words: [String], in folder: String, environment: [String] = []) throws -> Outcome {
    var launch = Launch(["/bin/sh", "-c", "cd \"$1\" && shift && exec \"$@\"", "sh", folder] + words)
    launch.environment += environment.map { Array($0.utf8) }
    return try Stage.result(launch)
  }

  private func supervisor(
    _ words: [String], in folder: String, environment: [String] = []
  ) throws -> Outcome {
    try outcome([Programs.supervisor] + words, in: folder, environment: environment)
  }

  private static let consul = """
    run_id: v1
    litefs:
      mode: mount
      node_name: node-1
      lease: {type: consul, consul: {url: "http://:hush@127.0.0.1:9/app", key: litefs/shop}}

    """

  @Test(
    "LF-11: the file is whole and for this user alone; what is printed has no secrets, unless it is asked for"
  )
  func output() throws {
    try withTemporaryDirectory { folder in
      try writeFile("\(folder)/supervisor.yml", Self.consul)
      let masked = try supervisor(["litefs", "config"], in: folder)
      #expect(masked.ending == .exited(0), "\(masked.errors)")
      #expect(masked.output.contains("    url: \"http://:****@127.0.0.1:9/app\"\n"))
      #expect(!masked.output.contains("hush"))
      #expect(
        masked.errors == "supervisor: secrets are masked (--reveal prints them, --output writes a file)\n")

      let whole = try supervisor(["litefs", "config", "--reveal"], in: folder)
      #expect(whole.output.contains("http://:hush@127.0.0.1:9/app") && whole.errors.isEmpty)

      // What was there before is replaced as a whole, whoever could read it.
      try writeFile("\(folder)/litefs.yml", "old")
      let written = try supervisor(["litefs", "config", "--output", "litefs.yml"], in: folder)
      #expect(written.ending == .exited(0) && written.output.isEmpty && written.errors.isEmpty)
      #expect(try String(contentsOfFile: "\(folder)/litefs.yml", encoding: .utf8) == whole.output)
      var status = stat()
      #expect(stat("\(folder)/litefs.yml", &status) == 0 && status.st_mode & 0o777 == 0o600)
      #expect(
        try FileManager.default.contentsOfDirectory(atPath: folder).sorted() == [
          "litefs.yml", "supervisor.yml",
        ])
    }
  }

  @Test(
    "no file where LiteFS is not ours",
    arguments: [
      ("", "supervisor: litefs.mode is off"),
      ("litefs: {mode: directory}", "supervisor: litefs.mode is directory"),
      ("litefs: {mode: mount}", "s.yml:1:16: error: litefs.mode: replicas wait for the release"),
      (
        "run_id: v1\nlitefs: {mode: mount, node_name: a b, lease: {primary: c}}",
        "error: litefs.advertise_url: the node name 'a b' cannot stand for {node}"
      ),
    ])
  func none(settings: String, message: String) throws {
    try withTemporaryDirectory { folder in
      try writeFile("\(folder)/s.yml", settings + "\n")
      let found = try supervisor(["litefs", "config", "--settings", "s.yml"], in: folder)
      #expect(found.ending == .exited(78) && found.output.isEmpty)
      #expect(found.errors.hasPrefix(message), "\(found.errors)")
    }
  }

  @Test("LF-12: an imported file is a settings file, and makes a file for LiteFS again")
  func importing() throws {
    try withTemporaryDirectory { folder in
      try writeFile(
        "\(folder)/old.yml",
        """
        fuse: {dir: /mnt/db}
        data: {dir: /data, retention: 2h}
        exec: [{cmd: "manage migrate", if-candidate: true}, {cmd: "gunicorn site"}]
        lease:
          type: consul
          advertise-url: "http://${HOSTNAME}:20202"
          consul: {url: "${CONSUL_URL}", key: shop}

        """)
      let page = try supervisor(["settings", "import-litefs", "old.yml"], in: folder)
      #expect(page.ending == .exited(0), "\(page.errors)")
      #expect(page.output.contains("#       run: [\"manage\", \"migrate\"]"))
      try writeFile("\(folder)/supervisor.yml", page.output)
      let made = try supervisor(
        ["litefs", "config", "--reveal"], in: folder,
        environment: ["HOSTNAME=n1", "CONSUL_URL=http://:hush@consul:8500", "SUPERVISOR_RUN_ID=v1"])
      #expect(made.ending == .exited(0), "\(made.errors)")
      for line in [
        "  dir: \"/mnt/db\"", "  dir: \"/data\"", "  retention: 2h", "  advertise-url: \"http://n1:20202\"",
        "    url: \"http://:hush@consul:8500\"", "    key: \"shop\"",
      ] { #expect(made.output.contains("\n\(line)\n"), "\(line)\n\(made.output)") }
      #expect(!made.output.contains("exec"))
    }
  }

  @Test("a file that is none of LiteFS's", arguments: ["- a\n", "", "a: [\n"])
  func notLiteFS(text: String) throws {
    try withTemporaryDirectory { folder in
      try writeFile("\(folder)/f.yml", text)
      let found = try supervisor(["settings", "import-litefs", "f.yml"], in: folder)
      #expect(found.ending == .exited(78) && found.output.isEmpty)
      #expect(found.errors.hasPrefix("supervisor: f.yml:"), "\(found.errors)")
    }
  }

  /// Settings, each with `FOLDER` for a directory in which LiteFS can mount nothing: it ends with 1 where it has taken
  /// the file, and with 2 where it has not.
  static let accepted = [
    "lease: {primary: node-1}", "lease: {primary: node-2}", "lease: {primary: node-1}, compress: false",
    "lease: {primary: node-1}, retention: forever, retention_monitor_interval: 1500ms, allow_other: 'true'",
    "lease: {primary: node-1}, node_name: 'yes', advertise_url: 'http://10.0.0.1:1'",
    "lease: {type: consul, candidate: false, consul: {url: 'http://:p%40$$ss@127.0.0.1:9/app', key: 'a: b', ttl: 1h, lock_delay: 1ms}}",
    "lease: {type: consul, consul: {url: 'http://127.0.0.1:9/app'}}, max_lag: 90s, without_primary: ready",
    "lease: {primary: node-1}, mount_path: \"FOLDER/m: $$X \\\" \\\\ #ü\"",
    "lease: {primary: node-1}, extra: {strict-verify: no, skip-sync: false, exit-on-error: true}",
    "lease: {primary: node-1}, extra: {fuse: {debug: on}, http: {snapshot-timeout: 0s}}",
    "lease: {primary: node-1}, extra: {log: {format: text, timestamp: Yes, debug: n}, tracing: {enabled: false, path: '', max-size: 5, max-count: 2, compress: true}}",
    "lease: {primary: node-2}, extra: {lease: {reconnect-delay: 2s, demote-delay: 1m, promote: false, databases: [a.db, 'b: c', \"true\"]}}",
    "lease: {primary: node-1}, extra: {lease: {databases: [a.db]}}",
    "lease: {primary: node-1}, extra: {backup: {path: 'true', url: 'x: y', cluster: '1', auth-token: '#'}}",
    "lease: {primary: node-1}, extra: {proxy: {addr: ':0', target: 'localhost:1', db: x, max-lag: 0s, debug: off, passthrough: ['*.ico', '/a b'], always-forward: [], primary-redirect-timeout: 5s, read-timeout: 1s, write-timeout: 1s, read-header-timeout: 1s, idle-timeout: 1s}}",
  ]

  @Test(
    "LF-10: LiteFS takes the file, whatever the settings", .enabled(if: binary != nil), arguments: accepted)
  func accepts(settings: String) throws {
    let binary = try #require(Self.binary)
    try withTemporaryDirectory { folder in
      try writeFile("\(folder)/file", "")
      let text = "{mode: mount, data_path: FOLDER/file/data, http_addr: '127.0.0.1:29777', \(settings)}"
        .replacingOccurrences(of: "FOLDER", with: folder)
      // Where the settings have a mount point of their own it counts.
      let mount = text.contains("mount_path") ? [] : ["SUPERVISOR_LITEFS_MOUNT_PATH=\(folder)/mount"]
      try writeFile("\(folder)/supervisor.yml", "run_id: v1\nlitefs: \(text)\n")
      let made = try supervisor(
        ["litefs", "config", "--output", "litefs.yml"], in: folder,
        environment: mount + (text.contains("node_name") ? [] : ["LITEFS_NODE_ID=node-1"]))
      #expect(made.ending == .exited(0), "\(made.errors)")
      let started = try outcome(
        [binary, "mount", "-config", "litefs.yml", "-no-expand-env"], in: folder)
      #expect(started.ending == .exited(1), "\(started.errors)")
      #expect(!started.errors.contains("yaml") && !started.errors.contains("unmarshal"), "\(started.errors)")
    }
  }

  @Test("the phases alone would have no mount: 78, and nothing runs")
  func phasesAlone() throws {
    try withTemporaryDirectory { folder in
      try writeFile(
        "\(folder)/s.yml",
        "run_id: v1\nlitefs: {mode: mount, lease: {primary: n}}\nstate_dir: \(folder)/state\n"
          + "node: {steps: [{name: static, run: [/usr/bin/touch, \(folder)/done]}]}\n")
      let found = try supervisor(["init", "--settings", "s.yml"], in: folder)
      #expect(found.ending == .exited(78))
      #expect(found.errors.contains("the phases run within `supervisor run`"), "\(found.errors)")
      #expect(access("\(folder)/done", F_OK) != 0)
    }
  }

  @Test(
    "a LiteFS that this version cannot run is said before anything starts",
    arguments: [
      ("mode: directory", "", "\"directory\" is not supported yet"),
      ("mode: external", "", "\"external\" is not supported yet"),
      (
        "mode: mount, lease: {primary: n}", "infrastructure: {steps: [{name: migrate, run: [/bin/true]}]}\n",
        "infrastructure steps are not supported yet where LiteFS is mounted"
      ),
    ])
  func notYet(litefs: String, more: String, message: String) throws {
    try withTemporaryDirectory { folder in
      try writeFile(
        "\(folder)/s.yml", "run_id: v1\nlitefs: {\(litefs)}\nrun_dir: \(folder)/run\n\(more)")
      let found = try supervisor(
        ["run", "--settings", "s.yml", "--", "/usr/bin/touch", "\(folder)/started"], in: folder)
      #expect(found.ending == .exited(78))
      #expect(
        found.errors.hasPrefix("s.yml:2:16: error: litefs.mode: \(message)"),
        "\(found.errors)")
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["s.yml"])
    }
  }
}
