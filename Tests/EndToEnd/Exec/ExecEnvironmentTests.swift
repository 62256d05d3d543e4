import Glibc
import Testing

/// Kernels, sandboxes and containers that refuse what we would like to use.
@Suite("exec: hostile environments", .drivesProcesses)
struct ExecEnvironmentTests {
  /// All duties at once: state of the child, forwarding, adopted strays, exit code.
  private func expectAllDuties(
    state: [String], asInit: Bool = false, adopts: Bool = true,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let options = ExecOptions(target: .child, isSubreaper: true)
    let launch = try Launch.probe(
      ["family", "--member", "daemon"], options: options, state: ["--open", "9"] + state, asInit: asInit)
    try Stage.run(launch) { stage in
      try stage.line("ready")
      try stage.send(SIGUSR1)
      try stage.line("signal 10") { $0 == "signal 10" }
      if adopts {
        let child = ProcessEntry.children(of: stage.pid)
        #expect(child.count == 2, sourceLocation: sourceLocation)
        // The stray is the one that leads no group of its own.
        let stray = try #require(child.first { $0.pid != $0.group }, sourceLocation: sourceLocation)
        kill(stray.pid, SIGKILL)
        try eventually("the stray is reaped") { ProcessEntry(pid: stray.pid) == nil }
      }
      try stage.send(SIGTERM)
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(0), sourceLocation: sourceLocation)
    }
    let seen = try ChildState(text: Stage.result(.probe(["state"], state: ["--open", "9"] + state)).output)
    // Without getrandom the probe's own runtime opens /dev/urandom.
    let descriptors = seen.descriptors.filter { $0.value != "/dev/urandom" }
    #expect(descriptors.keys.sorted() == [0, 1, 2], sourceLocation: sourceLocation)
    #expect(seen.blocked == [] && seen.ignored == [], sourceLocation: sourceLocation)
  }

  @Test(
    "E84: a refused system call has a fallback",
    arguments: [
      "clone3", "clone-pidfd", "clone-vfork", "pidfd_open", "pidfd_send_signal", "close_range", "signalfd4",
      "timerfd_create", "epoll_create1", "eventfd2", "getrandom",
    ], ["ENOSYS", "EPERM"])
  func refusedCall(name: String, error: String) throws {
    try expectAllDuties(state: ["--seccomp", "\(name):\(error)"])
  }

  @Test("E84: with all of them refused at once, too", arguments: ["ENOSYS", "EPERM"])
  func refusedTogether(error: String) throws {
    let names = [
      "clone3", "clone-pidfd", "clone-vfork", "pidfd_open", "pidfd_send_signal", "close_range", "signalfd4",
      "timerfd_create", "epoll_create1", "eventfd2", "getrandom",
    ]
    try expectAllDuties(state: names.flatMap { ["--seccomp", "\($0):\(error)"] })
  }

  @Test(
    "E84: clone flags refused with EINVAL, as an old kernel does", arguments: ["clone-pidfd", "clone-vfork"])
  func unknownFlags(name: String) throws {
    try expectAllDuties(state: ["--seccomp", "\(name):EINVAL"])
  }

  @Test("E25, E84: no subreaper to be had: said once, and the rest works", arguments: ["ENOSYS", "EPERM"])
  func noSubreaper(error: String) throws {
    try expectAllDuties(state: ["--seccomp", "prctl:\(error)"], adopts: false)
    let outcome = try Stage.result(
      .probe(["exit", "3"], options: ExecOptions(isSubreaper: true), state: ["--seccomp", "prctl:\(error)"]))
    #expect(outcome.ending == .exited(3))
    #expect(outcome.errors.split(separator: "\n").count { $0.contains("subreaper") } == 1)
  }

  @Test("E84: as PID 1 under all refusals", .needsRoot)
  func refusedAsInit() throws {
    let names = ["clone3", "clone-vfork", "pidfd_open", "close_range", "signalfd4", "epoll_create1", "prctl"]
    try expectAllDuties(state: names.flatMap { ["--seccomp", "\($0):EPERM"] }, asInit: true)
  }

  @Test("E80: on a read-only root nothing is written and nothing is missed", .needsRoot)
  func readOnlyRoot() throws {
    let outcome = try Stage.result(.probe(["exit", "3"], state: ["--read-only-root"]))
    #expect(outcome.ending == .exited(3))
    #expect(outcome.errors == "")
    try expectAllDuties(state: ["--read-only-root"])
  }

  @Test("E83: a random user without a passwd entry, a home or a PATH", .needsRoot)
  func unknownUser() throws {
    try withPublicPrograms { supervisor, probe in
      var launch = Launch([
        supervisor, "exec", "--subreaper", "--", probe, "on-signal", "--exit-on", "TERM=3",
      ])
      launch.environment = []
      launch.state = ["--groups", "none", "--gid", "0", "--uid", "1000660000"]
      try Stage.run(launch) { stage in
        try stage.line("ready")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(3))
        #expect(stage.errors.text == "")
      }
    }
  }

  @Test("E85: without /proc, and with hidepid", .needsRoot, arguments: ["--no-proc", "--hidepid"])
  func noProc(option: String) throws {
    try expectAllDuties(state: [option], asInit: true)
    let warning = ExecOptions(isSubreaper: true, warnsOnReap: true)
    let launch = try Launch.probe(["family", "--member", "daemon"], options: warning, state: [option])
    try Stage.run(launch) { stage in
      let stray = try stage.number(after: "member 1 ")
      try stage.line("ready")
      kill(stray, SIGKILL)
      try stage.errorLine(containing: "\(stray)")
    }
  }

  @Test("E85: without /proc and close_range the descriptors are closed all the same", .needsRoot)
  func noProcNoCloseRange() throws {
    let state = ["--no-proc", "--open", "9", "--open", "700", "--seccomp", "close_range:ENOSYS"]
    let seen = try ChildState(text: Stage.result(.probe(["state"], state: state)).output)
    #expect(seen.descriptors.keys.sorted() == [0, 1, 2])
  }

  @Test("E88: a low limit of descriptors is enough")
  func fewDescriptors() throws {
    let outcome = try Stage.result(.probe(["exit", "3"], state: ["--limit", "nofile=8"]))
    #expect(outcome.ending == .exited(3))
  }
}
