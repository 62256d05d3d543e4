import Foundation
import Glibc
import Testing

/// Control groups that are really full, and what we say about them.
@Suite("run: resources", .drivesProcesses)
struct RunResourceTests {
  /// A new group of this controller, version 1 or 2, removed afterwards.
  private func withGroup(_ controller: String, _ settings: [String: String], _ body: (String) throws -> Void)
    throws
  {
    let parent = try #require(ControlGroups.parent(controller))
    let folder = "\(parent)/supervisor-e2e-\(getpid())-\(UInt32.random(in: 0 ... .max))"
    guard mkdir(folder, 0o755) == 0 else { throw HarnessError.system("mkdir \(folder)") }
    // Its processes are gone by then; the kernel may still be busy with the last of them.
    defer { try? eventually("the group is removed") { rmdir(folder) == 0 } }
    for (name, value) in settings where access("\(folder)/\(name)", W_OK) == 0 {
      let file = open("\(folder)/\(name)", O_WRONLY | O_CLOEXEC)
      defer { close(file) }
      guard write(file, value, value.utf8.count) > 0 else { throw HarnessError.system("write \(name)") }
    }
    try body(folder)
  }

  @Test(
    "E33: at the limit of processes orphans are reaped, signals answered, and the stop works", .needsRoot,
    .enabled(if: ControlGroups.parent("pids") != nil, "needs a pids controller to make a group of"))
  func processLimit() throws {
    try withGroup("pids", ["pids.max": "7"]) { group in
      try Stage.node { site in
        try site.probe(["orphans", "300", "stream"], state: ["--join", group])
      } _: { stage, site in
        try stage.line("ready")
        // Zombies count: were one left, the next orphans could not be made.
        try stage.line("done") { $0 == "done" }
        try eventually("every orphan is reaped") { ProcessEntry.children(of: stage.pid).count == 1 }
        try stage.send(SIGUSR1)
        try stage.line("signal 10")
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("E33: a process that cannot be made: the group's count and limit are named", .needsRoot)
  func namedProcessLimit() throws {
    try Stage.node { site in
      try pretend(site, ["pids.current": "8\n", "pids.max": "8\n"])
      return try site.probe(
        ["exit", "0"],
        RunSettings(app: [
          "restart: always", "backoff: {initial: 5ms, maximum: 5ms}", "start_limit: {count: 2}",
        ]),
        state: ["--private-mounts", "--bind", "\(site.folder)/cgroup=/sys/fs/cgroup"]
          + ["--seccomp", "clone:EAGAIN", "--seccomp", "clone3:EAGAIN"])
    } _: { stage, site in
      try stage.errorLine(containing: "8 processes and threads of at most 8")
      try stage.waitForEnd()
      #expect(stage.ending != .exited(0))
    }
  }

  @Test(
    "E86: the kernel kills the app for its memory: 137, recorded, and we live to say so", .needsRoot,
    .enabled(if: ControlGroups.parent("memory") != nil, "needs a memory controller to make a group of"))
  func memoryLimit() throws {
    let limit = "\(64 << 20)"
    try withGroup("memory", ["memory.limit_in_bytes": limit, "memory.max": limit, "memory.swap.max": "0"]) {
      group in
      try Stage.node {
        try $0.probe(["eat", "500"], state: ["--join", group])
      } _: { stage, site in
        try stage.line("ready")
        #expect(try stage.waitForEnd() == .exited(137))
        #expect(!stage.output.lines.contains("eaten"))
        #expect(try site.exitRecord().code == 137)
      }
    }
  }

  @Test(
    "E86: a KILL that the kernel counts as its own is called that; another one is not", .needsRoot,
    arguments: [true, false])
  func explainedKill(isKernels: Bool) throws {
    try Stage.node { site in
      try pretend(site, ["memory.events": "low 0\noom_kill 4\n"])
      return try site.probe(
        ["on-signal"], state: ["--private-mounts", "--bind", "\(site.folder)/cgroup=/sys/fs/cgroup"])
    } _: { stage, site in
      let app = try stage.number(after: "ready ")
      if isKernels { try writeInPlace("\(site.folder)/cgroup/memory.events", "low 0\noom_kill 5\n") }
      kill(app, SIGKILL)
      #expect(try stage.waitForEnd() == .exited(137))
      try stage.waitForEndOfOutput()
      #expect(stage.errors.text.contains("oom_kill") == isKernels)
    }
  }

  /// A folder that looks like the root of a version 2 group.
  private func pretend(_ site: RunSite, _ files: [String: String]) throws {
    mkdir("\(site.folder)/cgroup", 0o755)
    try writeFile("\(site.folder)/cgroup/cgroup.procs", "")
    for (name, text) in files { try writeFile("\(site.folder)/cgroup/\(name)", text) }
  }

  private func writeInPlace(_ path: String, _ text: String) throws {
    let file = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC)
    defer { close(file) }
    guard write(file, text, text.utf8.count) > 0 else { throw HarnessError.system("write \(path)") }
  }
}

enum ControlGroups {
  /// Where a group of this controller can be made: the version 1 hierarchy, or version 2 if it hands the controller
  /// down. Nil where that is not ours to do.
  static func parent(_ controller: String) -> String? {
    guard Programs.isRoot else { return nil }
    let first = "/sys/fs/cgroup/\(controller)"
    if access(first + "/cgroup.procs", W_OK) == 0 { return first }
    let handedDown = readText("/sys/fs/cgroup/cgroup.subtree_control")?.split(whereSeparator: \.isWhitespace)
    guard handedDown?.contains(Substring(controller)) == true else { return nil }
    return access("/sys/fs/cgroup/cgroup.procs", W_OK) == 0 ? "/sys/fs/cgroup" : nil
  }
}
