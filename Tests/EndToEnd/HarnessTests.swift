import Glibc
import Testing

/// The harness itself, on programs that are not under test: what it claims about the rest must be true.
@Suite("Harness", .drivesProcesses)
struct HarnessTests {
  private func probe(_ words: [String], state: [String] = []) -> Launch {
    var launch = Launch([Programs.probe] + words)
    launch.state = state
    return launch
  }

  @Test("reports exit codes, signals and a program that cannot be started")
  func endings() throws {
    #expect(try Stage.result(probe(["exit", "7"])).ending == .exited(7))
    #expect(try Stage.result(probe(["kill-self", "TERM"])).ending == .signaled(SIGTERM))
    try Stage.run(Launch(["/nowhere/at-all"])) { #expect($0.startFailure == ENOENT) }
  }

  @Test("passes argument and environment bytes, and nothing else")
  func bytes() throws {
    var launch = probe(["state"])
    launch.command.append([0xff, 0x41, 0xfe])
    launch.environment = [[0x41, 0x3d, 0xff], Array("no equals".utf8), Array("=x".utf8)]
    let state = try ChildState(text: Stage.result(launch).output)
    #expect(state.arguments.last == [0xff, 0x41, 0xfe])
    #expect(state.environment == launch.environment)
    #expect(state.blocked.isEmpty && state.ignored.isEmpty)
    #expect(state.descriptors.keys.sorted() == [0, 1, 2])
  }

  @Test("sets up the inherited state that a test asks for")
  func inherited() throws {
    let state = ["--ignore", "HUP", "--block", "TERM", "--open", "9", "--close", "0", "--umask", "027"]
    let seen = try ChildState(text: Stage.result(probe(["state"], state: state)).output)
    #expect(seen.ignored == [SIGHUP] && seen.blocked == [SIGTERM])
    #expect(seen.descriptors.keys.sorted() == [1, 2, 9])
    #expect(seen["umask"] == "027")
  }

  @Test("captures a megabyte on both streams without a deadlock")
  func bulk() throws {
    let script = "i=0; while [ $i -lt 1024 ]; do printf '%01024d' 0; printf '%01024d' 0 >&2; i=$((i+1)); done"
    let outcome = try Stage.result(Launch(["/bin/sh", "-c", script]))
    #expect(outcome.output.utf8.count == 1 << 20 && outcome.errors.utf8.count == 1 << 20)
  }

  @Test("sees strays, and leaves none behind")
  func strays() throws {
    let stray = try Stage.run(probe(["family", "--member", "daemon,ignore", "--exit", "3"])) { stage in
      let stray = try stage.number(after: "member 1 ")
      #expect(try stage.waitForEnd() == .exited(3))
      #expect(try stage.survivors().map { $0.split(separator: ":")[0] } == ["\(stray)"])
      return stray
    }
    #expect(ProcessEntry(pid: stray) == nil)
  }

  @Test("reports stops and continuations")
  func stops() throws {
    try Stage.run(probe(["kill-self", "STOP"])) { stage in
      try stage.report("stopped") { $0 == "stopped \(SIGSTOP)" }
      try stage.send(SIGCONT)
      try stage.line("survived")
      #expect(try stage.waitForEnd() == .exited(0))
    }
  }

  @Test("runs a program as PID 1 with its own /proc", .needsRoot)
  func namespace() throws {
    var launch = Launch(["/bin/sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'"])
    launch.isInitOfNamespace = true
    let lines = try Stage.result(launch).output.split(separator: "\n").compactMap { Int($0) }
    #expect(lines.first == 1)
    #expect(lines.last ?? 100 <= 4)
  }

  @Test("refuses system calls", arguments: ["pidfd_open:ENOSYS", "close_range:EPERM", "prctl:EPERM"])
  func refusals(rule: String) throws {
    #expect(try Stage.result(probe(["exit", "0"], state: ["--seccomp", rule])).ending == .exited(0))
  }

  @Test("gives a controlling terminal")
  func terminal() throws {
    var launch = probe(["state"], state: ["--controlling-terminal"])
    launch.streams = .terminal(try Terminal())
    let outcome = try Stage.result(launch)
    let state = try ChildState(text: outcome.output)
    #expect(state["terminal"] == "1")
    #expect(state["foreground"] == state["pgid"])
  }
}
