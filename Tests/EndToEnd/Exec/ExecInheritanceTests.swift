import Glibc
import Testing

/// What a child of ours starts with, whatever we started with.
@Suite("exec: what the child inherits", .drivesProcesses)
struct ExecInheritanceTests {
  private func state(
    of state: [String], options: ExecOptions = ExecOptions()
  ) throws -> ChildState {
    try ChildState(text: Stage.result(.probe(["state"], options: options, state: state)).output)
  }

  private static let everySignal = (1...64).filter { ![9, 19, 32, 33].contains($0) }

  @Test("E09: with SIGCHLD ignored at our start the child's end is still seen")
  func childSignalIgnored() throws {
    let outcome = try Stage.result(.probe(["exit", "5"], state: ["--ignore", "CHLD"]))
    #expect(outcome.ending == .exited(5))
  }

  @Test("E09: with SIGCHLD blocked at our start as well")
  func childSignalBlocked() throws {
    let outcome = try Stage.result(.probe(["exit", "5"], state: ["--ignore", "CHLD", "--block", "CHLD"]))
    #expect(outcome.ending == .exited(5))
  }

  @Test("E10: with every signal blocked at our start we still forward, and the child's mask is empty")
  func blockedSignals() throws {
    let blocked = Self.everySignal.flatMap { ["--block", "\($0)"] }
    #expect(try state(of: blocked).blocked == [])
    try Stage.run(.probe(["on-signal", "--exit-on", "TERM=4"], state: blocked)) { stage in
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(4))
    }
  }

  @Test("E10: from a clean parent the child's mask is empty too", arguments: [true, false])
  func cleanMask(grouped: Bool) throws {
    #expect(try state(of: [], options: ExecOptions(target: grouped ? .group : .child)).blocked == [])
  }

  @Test("E11: PIPE, XFSZ and HUP ignored at our start are default in the child")
  func ignoredSignals() throws {
    #expect(try state(of: ["--ignore", "PIPE", "--ignore", "XFSZ", "--ignore", "HUP"]).ignored == [])
  }

  @Test("E12: not one of the 64 signals is ignored in the child, whether or not it was for us")
  func noSignalIgnored() throws {
    #expect(try state(of: []).ignored == [])
    #expect(try state(of: Self.everySignal.flatMap { ["--ignore", "\($0)"] }).ignored == [])
  }

  @Test("--inherit-signals: the child gets exactly the mask and the dispositions that we got")
  func inheritedSignals() throws {
    let given = [
      "--ignore", "HUP", "--ignore", "TTIN", "--ignore", "CHLD", "--block", "USR1", "--block", "40",
    ]
    let seen = try state(of: given, options: ExecOptions(inheritsSignals: true))
    #expect(seen.ignored == [SIGHUP, SIGCHLD, SIGTTIN])
    #expect(seen.blocked == [SIGUSR1, 40])
  }

  @Test("E13: no descriptor above 2 reaches the child, whoever opened it")
  func descriptors() throws {
    let open = [3, 4, 17, 255, 800].flatMap { ["--open", "\($0)"] }
    #expect(try state(of: open).descriptors.keys.sorted() == [0, 1, 2])
  }

  @Test("E13: without close_range too", arguments: ["ENOSYS", "EPERM"])
  func descriptorsWithoutCloseRange(error: String) throws {
    let state = try state(of: ["--open", "3", "--open", "800", "--seccomp", "close_range:" + error])
    #expect(state.descriptors.keys.sorted() == [0, 1, 2])
  }

  @Test(
    "E14: what of 0, 1 and 2 is closed at our start is /dev/null in the child, and nothing else",
    arguments: [[0], [1], [2], [0, 1], [1, 2], [0, 1, 2]])
  func closedDescriptors(closed: [Int32]) throws {
    try withTemporaryDirectory { folder in
      let file = folder + "/state"
      let close = closed.flatMap { ["--close", "\($0)"] }
      let outcome = try Stage.result(.probe(["state", "--to", file], state: close))
      #expect(outcome.ending == .exited(0))
      let state = try ChildState(text: try #require(readText(file)))
      #expect(state.descriptors.keys.sorted() == [0, 1, 2])
      for number in closed { #expect(state.descriptors[number] == "/dev/null") }
      for number in [Int32(1), 2] where !closed.contains(number) {
        #expect(state.descriptors[number]?.hasPrefix("pipe:") == true)
      }
    }
  }

  @Test("umask, user, groups, limits, working folder and death signal stay as they were")
  func theRest() throws {
    try withTemporaryDirectory { folder in
      let seen = try state(of: ["--umask", "027", "--cwd", folder, "--limit", "nofile=321:654"])
      #expect(seen["umask"] == "027")
      #expect(seen["cwd"] == folder)
      #expect(seen["limit nofile"] == "321 654")
      #expect(seen["death-signal"] == "0")
      #expect(seen["subreaper"] == "0")
    }
  }

  @Test("user and groups that we were started with are the child's", .needsRoot)
  func user() throws {
    try withPublicPrograms { supervisor, probe in
      var launch = Launch([supervisor, "exec", "--", probe, "state"])
      launch.state = ["--groups", "4,24", "--gid", "12345", "--uid", "54321"]
      let seen = try ChildState(text: Stage.result(launch).output)
      #expect(seen["uid"] == "54321 54321 54321")
      #expect(seen["gid"] == "12345 12345 12345")
      #expect(seen["groups"] == "4 24")
    }
  }
}
