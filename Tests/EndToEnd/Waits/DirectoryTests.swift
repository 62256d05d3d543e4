import Foundation
import Glibc
import Testing

/// `state_dir` and `marker_dir` that cannot be used: a clear message, the right code, and a program that answers meanwhile.
@Suite("run: directories", .drivesProcesses)
struct DirectoryTests {
  private static let app = ["on-signal", "--exit-on", "TERM=0"]
  private static let hasFUSE = Programs.isRoot && access("/dev/fuse", R_OK | W_OK) == 0

  enum Which: String, CaseIterable {
    case state = "state_dir"
    case marker = "node.marker_dir"
  }

  private func settings(_ which: Which, _ directory: String) -> RunSettings {
    var settings = RunSettings(
      infrastructure: ["{name: migrate, run: \(RunSettings.probe("echo", "migrate"))}"],
      node: ["{name: static, run: \(RunSettings.probe("echo", "static"))}"])
    if which == .state { settings.stateDirectory = directory } else { settings.markerDirectory = directory }
    return settings
  }

  private func outcome(_ which: Which, _ directory: String) throws -> (Outcome, ExitRecord) {
    try withRunSite { site in
      let outcome = try Stage.result(site.probe(["echo", "app"], settings(which, directory)))
      return (outcome, try site.exitRecord())
    }
  }

  private func run(_ command: String...) throws {
    let outcome = try Stage.result(Launch(command))
    guard outcome.ending == .exited(0) else { throw HarnessError("\(command): \(outcome.errors)") }
  }

  /// A directory with a file system of its own.
  private func withMount(_ options: String, _ body: (String) throws -> Void) throws {
    try withTemporaryDirectory { folder in
      let path = folder + "/mount"
      mkdir(path, 0o755)
      try run("/usr/bin/mount", "-t", "tmpfs", "-o", options, "none", path)
      defer { try? run("/usr/bin/umount", "-l", path) }
      try body(path)
    }
  }

  @Test("read-only: the key, the path and the reason", .needsRoot, arguments: Which.allCases)
  func readOnly(which: Which) throws {
    try withMount("ro,size=64k") { path in
      let (outcome, record) = try outcome(which, path + "/in")
      #expect(outcome.ending == .exited(77) && record.code == 77, "\(outcome.ending)")
      #expect(
        outcome.errors.contains("\(which.rawValue): ") && outcome.errors.contains(path)
          && outcome.errors.lowercased().contains("read-only file system"), "\(outcome.errors)")
      #expect(!outcome.output.contains("app"))
    }
  }

  /// `room`: pages that are left; one is enough for who holds the lock, but not for the record.
  @Test(
    "full: nothing is taken for done", .needsRoot, arguments: [(Which.state, 0), (.state, 1), (.marker, 0)])
  func full(which: Which, room: Int) throws {
    // A marker is an empty file: there it is the files that are used up, all but the two that are made here.
    try withMount(which == .state ? "size=16k" : "size=16k,nr_inodes=3") { path in
      mkdir(path + "/in", 0o755)
      let file = open(path + "/filler", O_WRONLY | O_CREAT, 0o600)
      let block = [UInt8](repeating: 1, count: 4096)
      // One page for a directory is left where one is still to be made.
      for _ in 0..<(which == .state ? 4 - room : 1) where write(file, block, block.count) < 0 { break }
      close(file)
      let (outcome, record) = try outcome(which, path + "/in")
      #expect(outcome.ending == .exited(70) && record.code == 70, "\(outcome.ending)")
      #expect(
        outcome.errors.contains("\(which.rawValue): ")
          && outcome.errors.lowercased().contains("no space left"),
        "\(outcome.errors)")
      #expect(!outcome.output.contains("app"))
    }
  }

  @Test("marker_dir is a symbolic link: refused")
  func symbolicLink() throws {
    try withTemporaryDirectory { folder in
      #expect(symlink("/tmp", folder + "/link") == 0)
      let (outcome, _) = try outcome(.marker, folder + "/link")
      #expect(outcome.ending == .exited(77))
      #expect(
        outcome.errors.contains("node.marker_dir: ") && outcome.errors.contains("symbolic link"),
        "\(outcome.errors)")
    }
  }

  @Test("somebody else's, where all may write: refused", .needsRoot, arguments: Which.allCases)
  func foreign(which: Which) throws {
    try withTemporaryDirectory { folder in
      mkdir(folder + "/open", 0o777)
      chmod(folder + "/open", 0o1777)
      mkdir(folder + "/open/theirs", 0o755)
      chown(folder + "/open/theirs", 4242, 4242)
      let (outcome, _) = try outcome(which, folder + "/open/theirs")
      #expect(outcome.ending == .exited(77), "\(outcome.ending)")
      #expect(
        outcome.errors.contains("\(which.rawValue): ") && outcome.errors.contains("\(folder)/open/theirs"),
        "\(outcome.errors)")
    }
  }

  @Test("not permitted, as another user: 77", .needsRoot, arguments: Which.allCases)
  func notPermitted(which: Which) throws {
    try withTemporaryDirectory { closed in
      chmod(closed, 0o700)
      try withPublicPrograms { supervisor, probe in
        try withRunSite { site in
          chown(site.folder, 4242, 4242)
          var settings = settings(which, closed + "/in")
          settings.infrastructure = ["{name: migrate, run: [/bin/true]}"]
          settings.node = ["{name: static, run: [/bin/true]}"]
          _ = try site.launch(["/bin/true"], settings)
          let outcome = try Stage.result(
            Launch([
              "/usr/bin/setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", supervisor, "run",
              "--settings",
              site.folder + "/supervisor.yml", "--", probe, "echo", "app",
            ]))
          #expect(outcome.ending == .exited(77), "\(outcome.ending) \(outcome.errors)")
          #expect(
            outcome.errors.contains("\(which.rawValue): ") && outcome.errors.contains(closed),
            "\(outcome.errors)")
          #expect(outcome.output == "")
        }
      }
    }
  }

  @Test(
    "state_dir vanishes under a waiter: it goes on while the lock is held, ends with TERM, and says what is missing once it is its turn",
    arguments: ["stop", "turn"])
  func vanished(then end: String) throws {
    try withRunSite { site in
      let state = site.folder + "/state"
      mkdir(state, 0o755)
      let lock = open(state + "/infrastructure.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
      #expect(flock(lock, LOCK_EX) == 0)
      defer { close(lock) }
      var settings = settings(.state, state)
      settings.more = ["coordination: {poll_interval: 50ms}"]
      try Stage.run(site.probe(Self.app, settings)) { stage in
        try site.waitForStatus("it waits", stage) { $0.phases.first?.state == "waiting" }
        try FileManager.default.removeItem(atPath: state)
        // A few looks later.
        try letPass(seconds: 0.3, stage)
        #expect(try site.get("/livez").status == 200)
        try #require(stage.ending == nil)
        if end == "stop" { try stage.send(SIGTERM) } else { flock(lock, LOCK_UN) }
        #expect(try stage.waitForEnd(within: 10) == .exited(end == "stop" ? 143 : 70))
        if end == "turn" {
          try stage.waitForEndOfOutput()
          #expect(
            stage.errors.text.contains(
              "state_dir: cannot open \(state)/infrastructure.lock: No such file or directory"))
          #expect(stage.output.text == "")
        }
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }

  @Test(
    "a release record that cannot be used is named, with what to do, and no step runs",
    arguments: [
      "", "supervisor", "supervisor-release 99\nrun_id release-1\nend\n", "garbage\n\u{0}\u{1}",
      String(repeating: "x", count: 2_000_000),
    ])
  func badRecord(text: String) throws {
    try withRunSite { site in
      let settings = settings(.state, site.folder + "/state")
      let first = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(first.ending == .exited(0))
      let record = try recordPath(site)
      try writeFile(record, text)
      let outcome = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(outcome.ending == .exited(70), "\(outcome.ending)")
      #expect(outcome.errors.contains(record), "\(outcome.errors)")
      #expect(outcome.output == "")
    }
  }

  @Test("a release record cut anywhere, or of another run ID, is never taken for readiness")
  func cutRecord() throws {
    try withRunSite { site in
      let settings = settings(.state, site.folder + "/state")
      let first = try Stage.result(site.probe(["echo", "app"], settings))
      #expect(first.ending == .exited(0))
      let record = try recordPath(site)
      let text = try #require(readText(record))
      for broken in [
        String(text.prefix(text.count / 2)), String(text.dropLast(3)),
        text.replacing("release-1", with: "release-2"),
      ] {
        try writeFile(record, broken)
        let outcome = try Stage.result(site.probe(["echo", "app"], settings))
        #expect(
          outcome.ending == .exited(70) && outcome.output == "",
          "\(broken): \(outcome.output)\(outcome.errors)")
        #expect(outcome.errors.contains(record))
      }
    }
  }

  private func recordPath(_ site: RunSite) throws -> String {
    let folder = site.folder + "/state"
    let files = try #require(FileManager.default.enumerator(atPath: folder)?.allObjects as? [String])
    return folder + "/" + (try #require(files.first { $0.contains("release-1") && !$0.hasSuffix(".lock") }))
  }

  @Test(
    "a file system that hangs: /livez answers within a second all the time, and TERM ends it",
    .enabled(if: hasFUSE, "needs root and /dev/fuse"), arguments: Which.allCases)
  func frozen(which: Which) throws {
    try withTemporaryDirectory { folder in
      let path = folder + "/frozen"
      mkdir(path, 0o755)
      try Stage.run(Launch([Programs.probe, "frozen", path])) { server in
        defer {
          try? server.send(SIGKILL)
          _ = try? server.waitForEnd()
          try? run("/usr/bin/umount", "-l", path)
        }
        try server.line("ready")
        try Stage.node {
          var settings = settings(which, path)
          settings.stopTimeout = "5s"
          return try $0.probe(Self.app, settings)
        } _: { stage, site in
          // The helper hangs in it.
          try server.line("asked")
          let end = Deadline(in: 1.5)
          while !end.hasPassed {
            let began = monotonicNow()
            #expect(try site.get("/livez").status == 200)
            #expect(monotonicNow() - began < 1)
            try stage.pump(20)
          }
          try stage.send(SIGTERM)
          #expect(try stage.waitForEnd(within: 8) == .exited(143))
          try server.send(SIGKILL)
          try stage.waitUntilNobodyIsLeft()
        }
      }
    }
  }
}
