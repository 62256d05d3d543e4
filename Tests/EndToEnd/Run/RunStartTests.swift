import Glibc
import Testing

@Suite("run: start", .drivesProcesses)
struct RunStartTests {
  @Test(
    "E01: the app is not found: 127 at once, named with PATH, and no restart loop",
    arguments: ["no-such-command-here", "/nowhere/at-all"])
  func appNotFound(command: String) throws {
    try withRunSite { site in
      let settings = RunSettings(app: ["restart: always"])
      let outcome = try Stage.result(site.launch([command], settings))
      #expect(outcome.ending == .exited(127))
      #expect(outcome.errors.contains(command))
      if !command.hasPrefix("/") { #expect(outcome.errors.contains("/usr/local/bin:/usr/bin:/bin")) }
      #expect(try site.exitRecord().reason == "command_not_found")
    }
  }

  @Test(
    "E01, E02: a step's command is not found or not executable: 76, the app is not started",
    arguments: ["/nowhere/at-all", "/etc/passwd"])
  func stepNotFound(command: String) throws {
    try withRunSite { site in
      let settings = RunSettings(infrastructure: ["{name: migrate, run: [\(command)]}"])
      let outcome = try Stage.result(site.launch(["/bin/echo", "the app"], settings))
      #expect(outcome.ending == .exited(76))
      #expect(outcome.output == "")
      #expect(outcome.errors.contains(command) && outcome.errors.contains("migrate"))
    }
  }

  @Test("E02: the app is not executable, or a folder: 126", arguments: ["/etc/passwd", "/etc"])
  func appNotExecutable(command: String) throws {
    try withRunSite { site in
      let outcome = try Stage.result(site.launch([command], RunSettings(app: ["restart: on-failure"])))
      #expect(outcome.ending == .exited(126))
      #expect(outcome.errors.contains(command))
    }
  }

  @Test("E03: a missing interpreter is named; the app: 127")
  func missingInterpreter() throws {
    try withRunSite { site in
      let script = site.folder + "/script"
      try writeFile(script, "#!/nowhere/interpreter\n", mode: 0o755)
      let outcome = try Stage.result(site.launch([script]))
      #expect(outcome.ending == .exited(127))
      #expect(outcome.errors.contains("/nowhere/interpreter") && outcome.errors.contains(script))
    }
  }

  @Test(
    "E06: no process to be had is a failed start: backoff, and the next try comes and succeeds", .needsRoot)
  func processLimit() throws {
    try withPublicPrograms { supervisor, probe in
      try withRunSite { site in
        // 1: the supervisor itself is the only process that this user may have.
        let settings = RunSettings(app: [
          "restart: always", "backoff: {initial: 20ms, maximum: 20ms}", "start_limit: {count: 1000000}",
        ])
        let identity = ["--groups", "none", "--gid", "54321", "--uid", "54322", "--limit", "nproc=1:100"]
        var launch = try site.launch([probe, "on-signal", "--exit-on", "TERM=0"], settings, state: identity)
        launch.command[0] = Array(supervisor.utf8)
        chmod(site.folder, 0o777)
        try Stage.run(launch) { stage in
          try stage.errorLine(containing: "Resource temporarily unavailable")
          try stage.errorLine(containing: "Resource temporarily unavailable")
          // As that user: root in a container need not have the right.
          var raise = Launch(["/usr/bin/prlimit", "--pid", "\(stage.pid)", "--nproc=100:100"])
          raise.state = Array(identity.prefix(6))
          #expect(try Stage.result(raise).ending == .exited(0))
          try stage.line("ready")
          try stage.send(SIGTERM)
          #expect(try stage.waitForEnd() == .exited(0))
        }
      }
    }
  }

  @Test("E07: an app that ends at once keeps its code")
  func instantEnd() throws {
    for code in Int32(1)...10 {
      try withRunSite { site in
        let outcome = try Stage.result(site.probe(["exit", "\(code)"]))
        #expect(outcome.ending == .exited(code))
      }
    }
  }

  @Test("E08: a stop that is pending at our start is not lost", arguments: [false, true])
  func pendingStop(asInit: Bool) throws {
    guard !asInit || Programs.isRoot else { return }
    try withRunSite { site in
      let launch = try site.launch(
        ["/bin/sleep", "1000"], state: ["--block", "TERM", "--raise", "TERM"], asInit: asInit)
      #expect(try Stage.result(launch).ending == .exited(143))
    }
  }

  @Test("E09: with SIGCHLD ignored at our start the app's end is seen")
  func childSignalIgnored() throws {
    try withRunSite { site in
      let launch = try site.probe(["exit", "5"], state: ["--ignore", "CHLD", "--block", "CHLD"])
      #expect(try Stage.result(launch).ending == .exited(5))
    }
  }

  @Test("E10 to E13: the app starts with an empty mask, default dispositions, and descriptors 0 to 2 only")
  func inheritedState() throws {
    try withRunSite { site in
      let signals = [1, 2, 13, 15, 17, 21, 25, 34, 64].flatMap { ["--ignore", "\($0)", "--block", "\($0)"] }
      let open = ["--open", "3", "--open", "19", "--open", "700"]
      let state = try ChildState(text: Stage.result(site.probe(["state"], state: signals + open)).output)
      #expect(state.blocked == [] && state.ignored == [])
      #expect(state.descriptors.keys.sorted() == [0, 1, 2])
      #expect(state["pgid"] == state["pid"])
    }
  }

  @Test(
    "E14: standard descriptors that are closed at our start are /dev/null in the app",
    arguments: [[0], [1], [2], [0, 1, 2]])
  func closedDescriptors(closed: [Int32]) throws {
    try withRunSite { site in
      let file = site.folder + "/app-state"
      let launch = try site.probe(["state", "--to", file], state: closed.flatMap { ["--close", "\($0)"] })
      #expect(try Stage.result(launch).ending == .exited(0))
      let state = try ChildState(text: #require(readText(file)))
      #expect(state.descriptors.keys.sorted() == [0, 1, 2])
      for number in closed { #expect(state.descriptors[number] == "/dev/null") }
    }
  }

  @Test("E15, E16: argument and environment bytes reach the app as they are")
  func bytes() throws {
    try withRunSite { site in
      var launch = try site.probe(["state"])
      let odd: [[UInt8]] = [[0xff, 0xfe], [], [0x0a], [0xc3, 0x28]]
      launch.command += odd
      let environment: [[UInt8]] = [
        Array("A=1".utf8), Array("A=2".utf8), Array("no equals".utf8), Array("=unnamed".utf8),
        [0x42, 0x3d, 0xff, 0xfe], [0xff, 0x3d, 0x31],
      ]
      launch.environment += environment
      let state = try ChildState(text: Stage.result(launch).output)
      #expect(Array(state.arguments.suffix(odd.count)) == odd)
      #expect(state.environment.filter { environment.contains($0) } == environment)
    }
  }

  @Test("the app is told run ID and phase; a step is told its own phase")
  func variables() throws {
    try withRunSite { site in
      let script = "echo $SUPERVISOR_RUN_ID $AUTOINIT_RUN_ID $SUPERVISOR_PHASE"
      let settings = RunSettings(
        infrastructure: ["{name: a, run: \(RunSettings.shell(script))}"],
        node: ["{name: b, run: \(RunSettings.shell(script))}"])
      let outcome = try Stage.result(site.launch(["/bin/sh", "-c", script], settings))
      #expect(
        outcome.output
          == "release-1 release-1 infrastructure\nrelease-1 release-1 node\nrelease-1 release-1 app\n")
    }
  }

  @Test("E18: a relative command is resolved in the app's own working folder, with the app's own PATH")
  func relativeCommand() throws {
    try withRunSite { site in
      mkdir(site.folder + "/work", 0o755)
      try writeFile(site.folder + "/work/thing", "#!/bin/sh\npwd\n", mode: 0o755)
      let relative = RunSettings(app: ["cwd: \(site.folder)/work"])
      #expect(try Stage.result(site.launch(["./thing"], relative)).output == site.folder + "/work\n")
      let path = RunSettings(app: ["environment: {PATH: \"\(site.folder)/work:/bin\"}"])
      #expect(try Stage.result(site.launch(["thing"], path, state: ["--cwd", "/usr"])).output == "/usr\n")
    }
  }

  @Test("E19: a working folder that is gone: start in /, said once; our own is / in any case")
  func removedWorkingFolder() throws {
    try Stage.node { site in
      mkdir(site.folder + "/gone", 0o755)
      return try site.launch(
        ["/bin/sh", "-c", "pwd; exec \(Programs.probe) on-signal"],
        state: ["--cwd", site.folder + "/gone", "--remove-cwd"])
    } _: { stage, site in
      try stage.line("/")
      try stage.line("ready")
      #expect(stage.errors.lines.filter { $0.contains("working directory") }.count == 1)
      #expect(readLink("/proc/\(stage.pid)/cwd") == "/")
    }
  }

  @Test("E19: the app keeps the working folder that we were started in")
  func keptWorkingFolder() throws {
    try Stage.node {
      try $0.launch(["/bin/sh", "-c", "pwd; exec \(Programs.probe) on-signal"], state: ["--cwd", "/usr"])
    } _: { stage, site in
      try stage.line("/usr")
      try stage.line("ready")
      #expect(readLink("/proc/\(stage.pid)/cwd") == "/")
    }
  }

  @Test("E20: an unknown user is refused before anything starts", arguments: ["app", "service"])
  func unknownUser(whose: String) throws {
    try withRunSite { site in
      var settings = RunSettings(infrastructure: ["{name: a, run: [/bin/echo, step]}"])
      if whose == "app" {
        settings.app = ["user: nobody-of-that-name"]
      } else {
        settings.services = ["web: {command: [/bin/true], user: nobody-of-that-name}"]
      }
      let outcome = try Stage.result(site.launch(["/bin/echo", "app"], settings))
      #expect(outcome.ending == .exited(78))
      #expect(outcome.output == "")
      #expect(outcome.errors.contains("nobody-of-that-name"))
    }
  }

  @Test("E20: another user without being root is refused before anything starts", .needsRoot)
  func userWithoutRoot() throws {
    try withPublicPrograms { supervisor, probe in
      try withRunSite { site in
        var launch = try site.launch(
          [probe, "echo", "app"], RunSettings(app: ["user: daemon"]),
          state: ["--groups", "none", "--gid", "54321", "--uid", "54321"])
        launch.command[0] = Array(supervisor.utf8)
        chmod(site.folder, 0o777)
        let outcome = try Stage.result(launch)
        #expect(outcome.ending == .exited(78))
        #expect(outcome.output == "")
        #expect(outcome.errors.contains("daemon") && outcome.errors.contains("root"))
      }
    }
  }

  @Test("E20: user, group, groups, HOME and USER of the app", .needsRoot)
  func user() throws {
    try withPublicPrograms { _, probe in
      try withRunSite { site in
        let settings = RunSettings(app: ["user: daemon", "umask: \"027\"", "limits: {nofile: 345}"])
        let state = try ChildState(text: Stage.result(site.launch([probe, "state"], settings)).output)
        #expect(state["uid"] == "1 1 1" && state["gid"] == "1 1 1")
        #expect(state["groups"]?.contains("0") == false)
        #expect(state["umask"] == "027")
        #expect(state["limit nofile"] == "345 345")
        let environment = state.environment.map { String(decoding: $0, as: UTF8.self) }
        #expect(environment.contains("USER=daemon") && environment.contains("HOME=/usr/sbin"))
      }
    }
  }
}
