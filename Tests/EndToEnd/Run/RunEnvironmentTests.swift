import Glibc
import Testing

@Suite("run: hostile environments", .drivesProcesses)
struct RunEnvironmentTests {
  /// Phases, app, forwarding, strays, stop, all at once.
  private func expectAllDuties(
    state: [String], asInit: Bool = false, adopts: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    try Stage.node { site in
      for name in ["run", "state", "markers"] { mkdir(site.folder + "/" + name, 0o755) }
      return try site.probe(
        ["family", "--member", "daemon"],
        RunSettings(
          infrastructure: ["{name: a, run: \(RunSettings.probe("echo", "infrastructure"))}"],
          node: ["{name: b, run: \(RunSettings.probe("echo", "node"))}"],
          app: ["ready: {exec: [/bin/true], interval: 100ms}"]), state: state, asInit: asInit)
    } _: { stage, site in
      try stage.line("infrastructure")
      try stage.line("node")
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      try site.waitFor("/readyz", 200, stage)
      try stage.send(SIGTERM)
      if adopts { try stage.line("member 1 signal 15") }
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(0), sourceLocation: sourceLocation)
      if adopts { #expect(stage.adopted == [], sourceLocation: sourceLocation) }
    }
  }

  @Test("nothing special: the duties that the other tests here expect")
  func plain() throws {
    try expectAllDuties(state: [])
  }

  @Test("E80: a read-only root with only run_dir, state_dir and marker_dir writable", .needsRoot)
  func readOnlyRoot() throws {
    try withRunSite { site in
      var state = ["--read-only-root"]
      for name in ["run", "state", "markers"] {
        mkdir(site.folder + "/" + name, 0o755)
        state += ["--mount-tmpfs", site.folder + "/" + name]
      }
      let settings = RunSettings(
        infrastructure: ["{name: a, run: \(RunSettings.probe("echo", "infrastructure"))}"],
        node: ["{name: b, run: \(RunSettings.probe("echo", "node"))}"])
      try Stage.run(site.probe(["on-signal", "--exit-on", "TERM=0"], settings, state: state)) { stage in
        try stage.line("node")
        try stage.line("ready")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test(
    "E81: run_dir is ours, 0755, its socket open to all; nothing in it that others may not see is readable")
  func runDirectory() throws {
    try Stage.node {
      try $0.probe(["on-signal"])
    } _: { stage, site in
      try stage.line("ready")
      var found = stat()
      #expect(stat(site.runDirectory, &found) == 0)
      #expect(found.st_mode & 0o777 == 0o755 && found.st_uid == geteuid())
      var sockets = 0
      for name in list(site.runDirectory) {
        #expect(lstat(site.runDirectory + "/" + name, &found) == 0)
        let mode = found.st_mode & 0o777
        if found.st_mode & S_IFMT == S_IFSOCK {
          sockets += 1; #expect(mode == 0o666)
        } else {
          #expect(mode == (name == "role" ? 0o644 : 0o600))
        }
      }
      #expect(sockets == 1)
    }
  }

  @Test(
    "E81: a run_dir that is a symlink or somebody else's is refused", .needsRoot,
    arguments: ["symlink", "foreign"])
  func untrustedRunDirectory(kind: String) throws {
    try withRunSite { site in
      mkdir(site.folder + "/elsewhere", 0o755)
      if kind == "symlink" {
        symlink(site.folder + "/elsewhere", site.runDirectory)
      } else {
        mkdir(site.runDirectory, 0o755)
        chown(site.runDirectory, 54321, 54321)
      }
      let outcome = try Stage.result(site.launch(["/bin/echo", "app"]))
      #expect(outcome.ending == .exited(78))
      #expect(outcome.output == "")
      #expect(outcome.errors.contains(site.runDirectory))
    }
  }

  @Test("E81: a run_dir of ours that others may write to is closed to them before it is used")
  func openRunDirectory() throws {
    try Stage.node { site in
      mkdir(site.runDirectory, 0o755)
      chmod(site.runDirectory, 0o777)
      return try site.probe(["on-signal"])
    } _: { stage, site in
      try stage.line("ready")
      var found = stat()
      #expect(stat(site.runDirectory, &found) == 0)
      #expect(found.st_mode & 0o777 == 0o755)
    }
  }

  @Test("E81: without /run, /tmp or a home the default directories give way to the next", .needsRoot)
  func noUsualDirectories() throws {
    try withTemporaryDirectory { folder in
      try writeFile(
        folder + "/s.yml", "run_id: r\nhealth: {listen: \"127.0.0.1:0\"}\nstate_dir: \(folder)/state\n")
      var launch = Launch([
        Programs.supervisor, "run", "--settings", folder + "/s.yml", "--", Programs.probe, "exit", "3",
      ])
      launch.environment += [Array("XDG_RUNTIME_DIR=\(folder)".utf8)]
      launch.state = ["--private-mounts", "--mount-tmpfs", "/run", "--remount-read-only", "/run"]
      let outcome = try Stage.result(launch)
      #expect(outcome.ending == .exited(3))
      #expect(access(folder + "/supervisor/exit.json", F_OK) == 0)
    }
  }

  @Test("E82: a run_dir too long for a socket address works, or is refused with the reason")
  func longSocketPath() throws {
    try withTemporaryDirectory { folder in
      let long = folder + "/" + String(repeating: "d", count: 120)
      mkdir(long, 0o755)
      let reservation = try Listener.reservation()
      try writeFile(
        folder + "/s.yml",
        "run_id: r\nhealth: {listen: \"127.0.0.1:\(reservation.port)\"}\nstate_dir: \(folder)/state\nrun_dir: \(long)/run\n"
      )
      try Stage.run(
        Launch([
          Programs.supervisor, "run", "--settings", folder + "/s.yml", "--", Programs.probe, "on-signal",
          "--exit-on", "TERM=0",
        ])
      ) { stage in
        try stage.line("ready")
        let answer = try Stage.result(
          Launch([Programs.supervisor, "health", "live", "--run-dir", long + "/run"]))
        #expect(answer.ending == .exited(0))
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("E82: the socket of a dead instance does not stand in the way")
  func staleSocket() throws {
    try withRunSite { site in
      for round in 0..<2 {
        try Stage.run(site.probe(["on-signal", "--exit-on", "TERM=0"])) { stage in
          try stage.line("ready")
          #expect(try site.client("health", "live").ending == .exited(0))
          try stage.send(round == 0 ? SIGKILL : SIGTERM)
          try stage.waitForEnd()
        }
      }
    }
  }

  @Test("E83: a random user without a passwd entry or a home", .needsRoot)
  func unknownUser() throws {
    try withPublicPrograms { supervisor, probe in
      try withRunSite { site in
        chmod(site.folder, 0o777)
        let settings = RunSettings(
          infrastructure: ["{name: a, run: [\(probe), echo, infrastructure]}"],
          node: ["{name: b, run: [\(probe), echo, node]}"])
        var launch = try site.launch(
          [probe, "on-signal", "--exit-on", "TERM=0"], settings,
          state: ["--groups", "none", "--gid", "0", "--uid", "1000660000"])
        launch.command[0] = Array(supervisor.utf8)
        launch.environment = [Array("PATH=/bin".utf8)]
        try Stage.run(launch) { stage in
          try stage.line("infrastructure")
          try stage.line("node")
          try stage.line("ready")
          try stage.send(SIGTERM)
          #expect(try stage.waitForEnd() == .exited(0))
        }
      }
    }
  }

  @Test(
    "E84: a refused system call has a fallback",
    arguments: [
      "clone3", "clone-pidfd", "clone-vfork", "pidfd_open", "pidfd_send_signal", "close_range", "signalfd4",
      "timerfd_create", "eventfd2", "getrandom",
    ], ["ENOSYS", "EPERM"])
  func refusedCall(name: String, error: String) throws {
    try expectAllDuties(state: ["--seccomp", "\(name):\(error)"])
  }

  @Test("E84: all of them at once", arguments: ["ENOSYS", "EPERM"])
  func refusedTogether(error: String) throws {
    let names = [
      "clone3", "clone-pidfd", "clone-vfork", "pidfd_open", "pidfd_send_signal", "close_range", "signalfd4",
      "timerfd_create", "eventfd2", "getrandom", "prctl",
    ]
    try expectAllDuties(state: names.flatMap { ["--seccomp", "\($0):\(error)"] }, adopts: false)
  }

  @Test(
    "E84: --version --verbose shows which feature falls back",
    arguments: [
      "clone-pidfd", "pidfd_send_signal", "close_range", "signalfd4", "timerfd_create", "prctl-subreaper",
    ])
  func shownFallback(name: String) throws {
    func lines(_ state: [String]) throws -> [String] {
      var launch = Launch([Programs.supervisor, "--version", "--verbose"])
      launch.state = state
      return try Stage.result(launch).output.split(separator: "\n").map(String.init)
    }
    let usual = try lines([])
    let refused = try lines(["--seccomp", "\(name):EPERM"])
    #expect(usual.count == refused.count && usual.count > 4)
    #expect(zip(usual, refused).filter { $0 != $1 }.count == 1)
  }

  @Test("E85: without /proc, and with hidepid, as PID 1", .needsRoot, arguments: ["--no-proc", "--hidepid"])
  func noProc(option: String) throws {
    try expectAllDuties(state: [option], asInit: true)
  }

  @Test("E85: without /proc and not PID 1 the app runs and stops; what is not possible is said", .needsRoot)
  func noProcNotInit() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=0"], state: ["--no-proc"])
    } _: { stage, site in
      try stage.line("ready")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("E86: an app killed by KILL is 137, and recorded")
  func killedApp() throws {
    try Stage.node {
      try $0.probe(["on-signal"])
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      kill(app, SIGKILL)
      #expect(try stage.waitForEnd() == .exited(137))
      #expect(stage.errors.text.contains("KILL"))
      #expect(try site.exitRecord().code == 137)
    }
  }

  @Test("E86: when we are killed, the app and the services are told to stop")
  func killedSupervisor() throws {
    try Stage.node { site in
      let service =
        "web: {command: \(RunSettings.probe("on-signal", "--exit-on", "QUIT=0")), stop: {signal: QUIT}}"
      return try site.probe(["on-signal", "--exit-on", "TERM=0"], RunSettings(services: [service]))
    } _: { stage, site in
      try stage.line("ready")
      try stage.line("ready")
      try stage.send(SIGKILL)
      try stage.waitUntilNobodyIsLeft()
      #expect(Set(stage.output.lines.filter { $0.hasPrefix("signal") }) == ["signal 15", "signal 3"])
    }
  }

  @Test("E86: children do not inherit an oom_score_adj of ours")
  func oomScore() throws {
    try Stage.node {
      try $0.probe(["on-signal"])
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      #expect(readText("/proc/\(app)/oom_score_adj") == readText("/proc/self/oom_score_adj"))
    }
  }

  @Test("E88: a low limit of descriptors is enough, and the app gets the configured one")
  func fewDescriptors() throws {
    try Stage.node { site in
      try site.probe(
        ["state"], RunSettings(app: ["limits: {nofile: 50}"]), state: ["--limit", "nofile=40:60"])
    } _: { stage, site in
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitForEndOfOutput()
      #expect(try ChildState(text: stage.output.text)["limit nofile"] == "50 50")
    }
  }

  @Test("E88: a limit that we may not give is refused before anything starts, or named when the app starts")
  func limitTooHigh() throws {
    try withRunSite { site in
      let outcome = try Stage.result(
        site.launch(
          ["/bin/echo", "app"], RunSettings(app: ["limits: {nofile: 999999999}"]),
          state: ["--limit", "nofile=100"]))
      #expect(outcome.ending != .exited(0))
      #expect(outcome.output == "")
      #expect(outcome.errors.contains("limit"))
    }
  }
}

private func list(_ folder: String) -> [String] {
  guard let directory = opendir(folder) else { return [] }
  defer { closedir(directory) }
  var names: [String] = []
  while let entry = readdir(directory) {
    let name = withUnsafeBytes(of: &entry.pointee.d_name) {
      String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    if name != "." && name != ".." { names.append(name) }
  }
  return names
}
