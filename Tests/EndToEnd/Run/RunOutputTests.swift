import Glibc
import Testing

@Suite("run: output and disk", .drivesProcesses)
struct RunOutputTests {
  @Test("the app's output and errors pass untouched")
  func untouched() throws {
    try Stage.node {
      try $0.launch(["/bin/sh", "-c", "printf 'out\\0\\377'; printf 'err' >&2"])
    } _: { stage, site in
      #expect(try stage.waitForEnd() == .exited(0))
      try stage.waitForEndOfOutput()
      #expect(stage.output.bytes == Array("out".utf8) + [0, 0xff])
      #expect(stage.errors.text.contains("err"))
    }
  }

  @Test("E73: nobody reads our log: supervision, health and stop go on; what was dropped is counted")
  func fullPipe() throws {
    try Stage.node { site in
      // A crash loop writes lines until the pipe and our own buffer are full.
      let service =
        "loop: {command: [/bin/false], backoff: {initial: 1ms, maximum: 1ms}, start_limit: {count: 1000000}}"
      return try site.probe(
        ["on-signal", "--exit-on", "TERM=5"], RunSettings(services: [service], more: ["log: {level: debug}"]),
        streams: .unreadErrors)
    } _: { stage, site in
      try stage.line("ready")
      // Two lines each, of some 100 bytes: more than the pipe (4 KiB here) and our buffer of 64 KiB hold.
      try site.waitForStatus("thousands of lines are due", stage, within: 120) {
        ($0["loop"]?.restarts ?? 0) > 1200
      }
      try stage.send(SIGUSR1)
      try stage.line("signal 10")
      #expect(try site.get("/livez").status == 200)
      #expect(try site.client("restart", "app").ending == .exited(0))
      try stage.line("ready")
      stage.readErrors()
      try stage.errorLine(containing: "dropped")
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(5))
    }
  }

  @Test("E73: nobody reads our log during the stop either")
  func fullPipeAtStop() throws {
    try Stage.node { site in
      let service =
        "loop: {command: [/bin/false], backoff: {initial: 1ms, maximum: 1ms}, start_limit: {count: 1000000}}"
      return try site.probe(
        ["on-signal", "--exit-on", "TERM=5"], RunSettings(services: [service]), streams: .unreadErrors)
    } _: { stage, site in
      try stage.line("ready")
      try site.waitForStatus("thousands of lines are due", stage, within: 120) {
        ($0["loop"]?.restarts ?? 0) > 1200
      }
      try stage.send(SIGTERM)
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(5))
    }
  }

  @Test("E74: standard output closed by its reader: the app gets its EPIPE, we go on")
  func closedOutput() throws {
    try Stage.node {
      try $0.probe(["on-signal", "--exit-on", "TERM=3"])
    } _: { stage, site in
      try stage.line("ready")
      stage.closeOutput()
      try stage.send(SIGUSR1)
      #expect(try site.get("/livez").status == 200)
      try stage.send(SIGTERM)
      #expect(try stage.waitForEnd() == .exited(3))
    }
  }

  @Test(
    "E75: a marker that cannot be written fails the phase: never “done” without the mark", .needsRoot,
    arguments: ["--remount-read-only", "--fill-inodes"])
  func markerNotWritable(how: String) throws {
    try withRunSite { site in
      mkdir(site.folder + "/markers", 0o700)
      var state = ["--private-mounts", "--mount-tmpfs", site.folder + "/markers=size=4096,nr_inodes=20"]
      state += [how, site.folder + "/markers"]
      let settings = RunSettings(node: ["{name: static, run: \(RunSettings.probe("echo", "static"))}"])
      let outcome = try Stage.result(site.probe(["echo", "app"], settings, state: state))
      #expect(outcome.ending != .exited(0))
      #expect(!outcome.output.contains("app"))
      #expect(outcome.errors.contains(site.folder + "/markers"))
    }
  }

  @Test(
    "E75: release readiness that cannot be recorded fails the phase", .needsRoot,
    arguments: ["--remount-read-only", "--fill", "--fill-inodes"])
  func stateNotWritable(how: String) throws {
    try withRunSite { site in
      mkdir(site.folder + "/state", 0o700)
      var state = ["--private-mounts", "--mount-tmpfs", site.folder + "/state=size=8192,nr_inodes=20"]
      state += [how, site.folder + "/state"]
      let settings = RunSettings(infrastructure: [
        "{name: migrate, run: \(RunSettings.probe("echo", "step"))}"
      ])
      let outcome = try Stage.result(site.probe(["echo", "app"], settings, state: state))
      #expect(outcome.ending != .exited(0))
      #expect(!outcome.output.contains("app"))
      #expect(outcome.errors.contains(site.folder + "/state"))
    }
  }
}
