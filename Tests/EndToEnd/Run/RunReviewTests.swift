import Foundation
import Glibc
import Testing

/// Cases that a review found: what happens when two things come together.
@Suite("run: together", .drivesProcesses)
struct RunReviewTests {
  @Test("an early service that gives up during a step: the step is stopped in order, nothing else starts")
  func earlyServiceGivesUp() throws {
    try Stage.node { site in
      let folder = site.folder
      let settings = RunSettings(
        infrastructure: [
          "{name: first, run: \(RunSettings.shell("trap 'touch \(folder)/told; exit 1' TERM; touch \(folder)/began; while :; do sleep 0.02; done"))}",
          "{name: second, run: [touch, \(folder)/second]}",
        ],
        services: [
          "early: {start: before_phases, start_limit: {count: 1}, command: \(RunSettings.shell("while ! test -e \(folder)/began; do sleep 0.02; done; exit 4"))}"
        ])
      return try site.launch(["/bin/sleep", "100"], settings)
    } _: { stage, site in
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(4))
      #expect(access(site.folder + "/told", F_OK) == 0)
      #expect(access(site.folder + "/second", F_OK) != 0)
      let record = try site.exitRecord()
      #expect(record.reason == "gave_up_restarting")
    }
  }

  @Test("a TERM to every process there is does not take the lock from a step")
  func helperKeepsTheLock() throws {
    try Stage.node { site in
      let folder = site.folder
      return try site.launch(
        ["/bin/true"],
        RunSettings(infrastructure: [
          "{name: first, run: \(RunSettings.shell("touch \(folder)/began; while ! test -e \(folder)/go; do sleep 0.02; done"))}"
        ]))
    } _: { stage, site in
      try eventually("the step runs") { access(site.folder + "/began", F_OK) == 0 }
      let helpers = ProcessEntry.children(of: stage.pid).filter { $0.name == "supervisor-file" }
      #expect(!helpers.isEmpty)
      for helper in helpers { for signal in [SIGTERM, SIGINT, SIGHUP] { kill(helper.pid, signal) } }
      try writeFile(site.folder + "/go", "")
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(0))
    }
  }

  @Test("killed below a PID 1 that reaps nobody: the lock goes all the same", .needsRoot)
  func lockBelowAnIdleInit() throws {
    try withTemporaryDirectory { folder in
      let step = RunSettings.list(["/bin/sh", "-c", "touch \(folder)/began; sleep 100"])
      try writeFile(
        folder + "/supervisor.yml",
        """
        run_id: release-1
        run_dir: \(folder)/run
        state_dir: \(folder)/state
        health: {listen: "127.0.0.1:0"}
        infrastructure: {steps: [{name: first, run: \(step)}]}
        """)
      // The shell that becomes `sleep` is the new parent of what the supervisor leaves, and waits for nobody.
      let script =
        "\(Programs.supervisor) run --settings \(folder)/supervisor.yml -- /bin/true & pid=$!; "
        + "(while ! test -e \(folder)/began; do sleep 0.02; done; kill -KILL $pid) & exec sleep 100"
      var launch = Launch(["/bin/sh", "-c", script])
      launch.isInitOfNamespace = true
      try Stage.run(launch) { stage in
        try eventually("the step runs") { access(folder + "/began", F_OK) == 0 }
        try eventually("the lock is free") {
          let file = open(folder + "/state/infrastructure.lock", O_RDWR | O_CLOEXEC)
          defer { close(file) }
          return flock(file, LOCK_EX | LOCK_NB) == 0
        }
        try stage.send(SIGKILL)
        _ = try stage.waitForEnd()
      }
    }
  }

  @Test("a step and a service end at once, both leaving strays: both searches come to an end")
  func twoSearches() throws {
    try Stage.node { site in
      let go = "while ! test -e \(site.folder)/go; do sleep 0.02; done"
      let strays = "for i in 1 2 3; do setsid sleep 50 & done"
      let settings = RunSettings(
        infrastructure: [
          "{name: first, run: \(RunSettings.shell("\(strays); touch \(site.folder)/began; \(go)"))}"
        ],
        services: [
          "web: {start: before_phases, command: \(RunSettings.shell("trap 'touch \(site.folder)/told; \(go); exit 0' TERM; \(strays); touch \(site.folder)/up; while :; do sleep 0.02; done"))}"
        ])
      return try site.launch(["/bin/true"], settings)
    } _: { stage, site in
      try eventually("the step runs") { access(site.folder + "/began", F_OK) == 0 }
      try eventually("the service listens") { access(site.folder + "/up", F_OK) == 0 }
      let restart = try site.client("restart", "web")
      #expect(restart.ending == .exited(0))
      try eventually("the service has its TERM") { access(site.folder + "/told", F_OK) == 0 }
      try stage.send(SIGSTOP)
      try stage.report("the stop") { $0 == "stopped \(SIGSTOP)" }
      let before = Set(
        ProcessEntry.children(of: stage.pid).filter { $0.name == "sh" && $0.state != "Z" }.map(\.pid))
      #expect(before.count == 2)
      try writeFile(site.folder + "/go", "")
      try eventually("both have ended") {
        ProcessEntry.children(of: stage.pid).filter { before.contains($0.pid) }.allSatisfy { $0.state == "Z" }
      }
      try stage.send(SIGCONT)
      let ending = try stage.waitForEnd()
      #expect(ending == .exited(0))
      #expect(stage.adopted.isEmpty)
    }
  }

  @Test("a start that fails in the preflight is on record too, not the run before it")
  func preflightIsOnRecord() throws {
    try withRunSite { site in
      try Stage.run(site.launch(["/bin/true"])) { stage in
        let ending = try stage.waitForEnd()
        #expect(ending == .exited(0))
      }
      let before = try site.exitRecord()
      #expect(before.reason == "app_ended")
      let settings = RunSettings(app: ["user: no-such-user"])
      try Stage.run(site.launch(["/bin/true"], settings)) { stage in
        let ending = try stage.waitForEnd()
        #expect(ending == .exited(78))
      }
      let after = try site.exitRecord()
      #expect(after.reason == "preflight_failed" && after.code == 78)
    }
  }
}
