import Glibc
import Testing

/// `$SUPERVISOR_OUTPUT`: what a step gives to later ones, and what is made of nonsense.
@Suite("phases: outputs", .drivesProcesses)
struct PhaseOutputTests {
  @Test(
    "outputs reach later steps and the node's, also on a node that ran nothing, and their file is gone afterwards"
  )
  func outputs() throws {
    try withPhaseSite { site in
      let give =
        "echo $SUPERVISOR_OUTPUT >\(site.path("where")); printf '# note\\n\\nGIVEN=a b=c\\r\\n' >$SUPERVISOR_OUTPUT"
      let settings = PhaseSettings(
        infrastructure: [
          site.step("give", give), site.step("take", "echo take:$GIVEN", "needs: [give]"),
        ], node: [site.step("node", "echo node:$GIVEN")])
      let first = try site.finishInit(settings)
      #expect(first.ending == .exited(0))
      #expect(first.output == "take:a b=c\nnode:a b=c\n")
      let file =
        try #require(readText(site.path("where"))).split(separator: "\n").first.map(String.init) ?? ""
      #expect(file.hasPrefix("/") && access(file, F_OK) != 0)
      var other = settings
      other.markers = "markers-2"
      let second = try site.finishInit(other)
      #expect(second.ending == .exited(0))
      #expect(second.output == "node:a b=c\n")
      // What steps give may be secret.
      #expect(FileSystem.permissions(site.state + "/releases/r1.release") == 0o600)
    }
  }

  @Test(
    "an output that cannot be used fails its step with the reason, at once",
    arguments: [
      ("echo no equals sign >$SUPERVISOR_OUTPUT", "line 1 of its $SUPERVISOR_OUTPUT is not KEY=VALUE"),
      ("printf 'A=\\377\\n' >$SUPERVISOR_OUTPUT", "line 1 of its $SUPERVISOR_OUTPUT is not text"),
      ("printf 'A=1\\nB=\\000\\n' >$SUPERVISOR_OUTPUT", "line 2 of its $SUPERVISOR_OUTPUT is not text"),
      ("head -c 102400 /dev/zero >$SUPERVISOR_OUTPUT", "larger than 64 KiB"),
      ("echo SUPERVISOR_RUN_ID=x >$SUPERVISOR_OUTPUT", "sets SUPERVISOR_RUN_ID, which is ours to set"),
      ("rm $SUPERVISOR_OUTPUT; mkfifo $SUPERVISOR_OUTPUT", "not a file any more"),
      ("ln -sf /etc/passwd $SUPERVISOR_OUTPUT", "$SUPERVISOR_OUTPUT cannot be read"),
      ("rm $SUPERVISOR_OUTPUT; mkdir $SUPERVISOR_OUTPUT", "not a file any more"),
    ])
  func nonsense(script: String, reason: String) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.step("give", script), site.note("next", "needs: [give]"),
      ])
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(76))
      let last = outcome.errors.split(separator: "\n").first { $0.contains("failed at step give: ") } ?? ""
      #expect(last.contains(reason), "\(outcome.errors)")
      #expect(site.lines() == [])
    }
  }

  @Test("a step that removes its output file gives nothing, and that is no failure")
  func removed() throws {
    try withPhaseSite { site in
      let outcome = try site.finishInit(
        PhaseSettings(infrastructure: [site.step("give", "rm $SUPERVISOR_OUTPUT"), site.note("next")]))
      #expect(outcome.ending == .exited(0))
      #expect(site.lines() == ["next"])
    }
  }

  @Test(
    "C2-5, C1-5: recheck: on_start runs a step again whose work has gone, alone, although readiness says done"
  )
  func recheck() throws {
    try withPhaseSite { site in
      let warm = site.step(
        "warm", site.append("warm") + "; touch \(site.path("cache"))",
        "recheck: on_start, check: [/usr/bin/test, -e, \(site.path("cache"))]")
      let settings = PhaseSettings(infrastructure: [site.note("migrate"), warm])
      for _ in 1...2 {
        let outcome = try site.finishInit(settings)
        #expect(outcome.ending == .exited(0))
      }
      #expect(site.lines() == ["migrate", "warm"])
      unlink(site.path("cache"))
      let outcome = try site.finishInit(settings)
      #expect(outcome.ending == .exited(0))
      #expect(outcome.errors.contains("step warm is recorded done, but its check failed"))
      #expect(site.lines() == ["migrate", "warm", "warm"])
    }
  }

  @Test(
    "BF-07 without its servers, C2-6: steps that wait go in the order of needs, wait at once, and end with a reason"
  )
  func waitingSteps() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        infrastructure: [
          "{name: one, wait_for: \"file:\(site.path("one"))\"}",
          "{name: two, wait_for: \"file:\(site.path("two"))\"}",
          site.note("migrate", "needs: [one, two]"),
        ], moreOfInfrastructure: ["parallelism: 2"])
      try Stage.run(site.initialize(settings)) { stage in
        try stage.errorLine(containing: "step one: started")
        try stage.errorLine(containing: "step two: started")
        #expect(site.lines() == [])
        try site.open("two")
        try stage.errorLine(containing: "step two: done")
        try site.open("one")
        #expect(try stage.waitForEnd() == .exited(0))
      }
      #expect(site.lines() == ["migrate"])
      let late = PhaseSettings(
        runID: "r2",
        infrastructure: ["{name: never, wait_for: \"file:\(site.path("never"))\", timeout: 300ms}"])
      let outcome = try site.finishInit(late)
      #expect(outcome.ending == .exited(76))
      #expect(outcome.errors.contains("failed at step never: "))
    }
  }

  @Test(
    "BF-09, AI-34: an extra wait_for holds up only the role that has it; in vain it is 69 and a stable reason"
  )
  func extraDependency() throws {
    try withPhaseSite { site in
      let web = PhaseSettings(infrastructure: [site.note("migrate")])
      var worker = web
      let target = "file:\(site.path("rabbit"))"
      worker.more = ["wait_for: [{target: \"\(target)\", timeout: 30s}]"]
      try Stage.run(site.run(worker, app: site.append("worker"), name: "worker")) { stage in
        let outcome = try site.finishRun(web, app: site.append("web"), name: "web")
        #expect(outcome.ending == .exited(0))
        #expect(site.lines() == ["migrate", "web"])
        try site.open("rabbit")
        #expect(try stage.waitForEnd() == .exited(0))
        #expect(site.lines() == ["migrate", "web", "worker"])
      }
      worker.more = ["wait_for: [{target: \"file:\(site.path("never"))\", timeout: 300ms}]"]
      let outcome = try site.finishRun(worker, app: "true", name: "worker")
      #expect(outcome.ending == .exited(69))
      #expect(outcome.errors.contains(site.path("never")))
      #expect(outcome.errors.contains(#/exiting with code 69 \([a-z_]+\)/#))
    }
  }
}
