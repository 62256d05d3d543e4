import Foundation
import Glibc
import Testing

/// The node phase: marker, lock, skipped and fatal failures.
@Suite("phases: node", .drivesProcesses)
struct PhaseNodeTests {
  private func marker(_ site: PhaseSite, _ runID: String = "r1") -> String {
    site.path("markers/.autoinit_node_\(runID).marker")
  }

  @Test(
    "AI-18: the marker is where marker_dir says, under django-autoinit's name, and nobody else may write it")
  func markerFile() throws {
    try withPhaseSite { site in
      let outcome = try site.finishInit(PhaseSettings(node: [site.note("static")], markers: "below/markers"))
      #expect(outcome.ending == .exited(0))
      #expect(try FileSystem.names(in: site.path("below/markers")).contains(".autoinit_node_r1.marker"))
      #expect(FileSystem.permissions(site.path("below/markers/.autoinit_node_r1.marker")) & 0o022 == 0)
      #expect(FileSystem.permissions(site.path("below/markers")) == 0o700)
    }
  }

  @Test(
    "AI-20, C1-8: an empty marker, as django-autoinit writes it, is enough, without waiting for readiness")
  func foreignMarker() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("static")])
      try FileSystem.makeDirectory(site.path("markers"))
      try writeFile(marker(site), "")
      let outcome = try site.finishInit(settings, ["node", "--timeout", "20s"])
      #expect(outcome.ending == .exited(0))
      #expect(site.lines() == [])
    }
  }

  @Test("AI-20, AI-26: another release's marker and readiness count for nothing")
  func otherRelease() throws {
    try withPhaseSite { site in
      var settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("static")])
      for runID in ["r1", "r2", "r1"] {
        settings.runID = runID
        let outcome = try site.finishInit(settings)
        #expect(outcome.ending == .exited(0))
      }
      #expect(site.lines() == ["migrate", "static", "migrate", "static"])
    }
  }

  @Test("AI-21, AI-27: three containers with one volume run the node phase once")
  func sharedVolume() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(node: [site.step("static", site.append("static") + "; sleep 0.2")])
      try withStages((1...3).map { try site.initialize(settings, name: "c\($0)") }) { stages in
        let all = try endings(of: stages)
        #expect(all == Array(repeating: .exited(0), count: 3))
      }
      #expect(site.lines() == ["static"])
    }
  }

  @Test("AI-21: kill -9 of the one that works: the other proceeds, after the step and its group have gone")
  func killedHolder() throws {
    try withPhaseSite { site in
      let script =
        "exec 9>\(site.path("alone")); flock -n 9 || \(site.append("overlap")); \(site.append("static")); test -e \(site.path("go")) || \(site.await("never"))"
      let settings = PhaseSettings(node: [site.step("static", script)])
      try Stage.run(site.initialize(settings, name: "one")) { one in
        try site.wait(for: "static", [one])
        try Stage.run(site.initialize(settings, name: "two")) { two in
          let line = try two.errorLine(containing: "waiting for ")
          #expect(line.contains("(pid \(one.pid))") && line.contains("node phase"))
          try site.open("go")
          try one.send(SIGKILL)
          #expect(try two.waitForEnd() == .exited(0))
        }
      }
      #expect(site.lines() == ["static", "static"])
    }
  }

  @Test("AI-21: a node lock that a stranger holds is 75 after --timeout, with whose it is and where")
  func strangersLock() throws {
    try withPhaseSite { site in
      try FileSystem.makeDirectory(site.path("markers"))
      let lock = try #require(try ForeignLock(site.path("markers/.autoinit_node_r1.lock")))
      let outcome = try site.finishInit(PhaseSettings(node: [site.note("static")]), ["--timeout", "500ms"])
      lock.release()
      #expect(outcome.ending == .exited(75))
      #expect(
        outcome.errors.contains("for the node lock of run ID r1 (node.marker_dir \(site.path("markers")))"))
      #expect(outcome.errors.hasSuffix("(node_lock_timeout)\n"))
    }
  }

  @Test("AI-23, C1-13: a failed node step is skipped and seen; the next start tries that step only")
  func skipped() throws {
    try withPhaseSite { site in
      let reservation = try Listener.reservation()
      defer { withExtendedLifetime(reservation) {} }
      let settings = PhaseSettings(
        node: [
          site.note("first"), site.step("broken", site.append("broken") + "; test -e \(site.path("go"))"),
          site.note("last"),
        ], listen: "127.0.0.1:\(reservation.port)")
      try Stage.run(site.run(settings, app: "echo app; exec sleep 1000")) { stage in
        try stage.line("app")
        #expect(site.lines() == ["first", "broken", "last"])
        #expect(stage.errors.text.contains("node step broken failed and is skipped (not fatal): exit code 1"))
        let page = try HTTPAnswer.get("/metrics", port: reservation.port).body
        #expect(page.contains(#/supervisor_step_state\{[^}]*step="broken"[^}]*state="failed"\} 1/#))
        #expect(try site.status().contains(#/"name": ?"broken",\s*"state": ?"failed"/#))
      }
      try site.open("go")
      for _ in 1...2 {
        let outcome = try site.finishInit(settings)
        #expect(outcome.ending == .exited(0))
      }
      #expect(site.lines() == ["first", "broken", "last", "broken"])
    }
  }

  @Test(
    "AI-24: with --fatal-on-error, or fatal: true, it is 76, without marker and app",
    arguments: ["flag", "step"])
  func fatal(by: String) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(node: [
        site.step("broken", "exit 1", by == "step" ? "fatal: true" : ""),
        site.note("last", "needs: [broken]"),
      ])
      let outcome =
        try by == "flag"
        ? site.finishInit(settings, ["--fatal-on-error"]) : site.finishRun(settings, app: site.append("app"))
      #expect(outcome.ending == .exited(76))
      #expect(outcome.errors.contains("node phase of run ID r1 failed at step broken: exit code 1"))
      #expect(outcome.errors.hasSuffix("exiting with code 76 (node_failed): step broken\n"))
      #expect(site.lines() == [])
      #expect(access(marker(site), F_OK) != 0)
    }
  }

  @Test(
    "AI-26, C1-17: old markers go with their locks, and so do old locks without a marker; the newest three, young ones and locked ones stay"
  )
  func pruning() throws {
    try withPhaseSite { site in
      try FileSystem.makeDirectory(site.path("markers"))
      func add(_ runID: String, days: Int) throws {
        try writeFile(marker(site, runID), "")
        try writeFile(site.path("markers/.autoinit_node_\(runID).lock"), "")
        try FileSystem.age(marker(site, runID), days: days)
      }
      // The new release's own is one of the newest three.
      for (runID, days) in [("young", 6), ("third", 8), ("fourth", 9), ("locked", 10), ("oldest", 11)] {
        try add(runID, days: days)
      }
      // Locks without a marker: of a release whose node phase never came to its end.
      for (runID, days) in [("orphan", 8), ("fresh", 6), ("busy", 8)] {
        try writeFile(site.path("markers/.autoinit_node_\(runID).lock"), "")
        try FileSystem.age(site.path("markers/.autoinit_node_\(runID).lock"), days: days)
      }
      let busy = try #require(try ForeignLock(site.path("markers/.autoinit_node_busy.lock")))
      try writeFile(site.path("markers/unrelated"), "")
      try FileSystem.age(site.path("markers/unrelated"), days: 100)
      let lock = try #require(try ForeignLock(site.path("markers/.autoinit_node_locked.lock")))
      let outcome = try site.finishInit(PhaseSettings(node: [site.note("static")]))
      lock.release()
      busy.release()
      #expect(outcome.ending == .exited(0))
      let left = try FileSystem.names(in: site.path("markers"))
      let kept = ["locked", "r1", "third", "young"].flatMap {
        [".autoinit_node_\($0).lock", ".autoinit_node_\($0).marker"]
      }
      let locks = ["busy", "fresh"].map { ".autoinit_node_\($0).lock" }
      #expect(left == (kept + locks).sorted() + ["unrelated"])
    }
  }

  @Test("C1-15: a marker does not cover what its step's check does not find on this container")
  func recheck() throws {
    try withPhaseSite { site in
      // Two containers with one marker_dir, each with static files of its own.
      for (container, lines) in [("a", 1), ("b", 2), ("a", 2), ("b", 2)] {
        let manifest = site.path("manifest-\(container)")
        let step = site.step(
          "static", site.append("static") + "; touch $MANIFEST",
          "recheck: on_start, check: [/bin/sh, -c, \"test -e $MANIFEST\"]")
        let outcome = try site.finishInit(
          PhaseSettings(node: [step]), name: container, environment: ["MANIFEST=\(manifest)"])
        #expect(outcome.ending == .exited(0), "\(outcome.errors)")
        #expect(site.lines().count == lines, "\(container)")
      }
    }
  }

  @Test(
    "marker_dir vanishes under a running step: an error that names it; the next start runs the step again")
  func vanishedDirectory() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(node: [
        site.step("static", site.append("static") + "; " + site.await("go"))
      ])
      try Stage.run(site.run(settings, app: site.append("app"))) { stage in
        try site.wait(for: "static", [stage])
        try FileManager.default.removeItem(atPath: site.path("markers"))
        try site.open("go")
        #expect(try stage.waitForEnd() == .exited(70))
        try stage.waitForEndOfOutput()
        #expect(
          stage.errors.text.contains(
            "node.marker_dir: cannot write \(marker(site)): the lock it needs was removed"))
      }
      let again = try site.finishRun(settings, app: site.append("app"))
      #expect(again.ending == .exited(0))
      #expect(site.lines() == ["static", "static", "app"])
    }
  }

  @Test(
    "a marker_dir that is a symlink, or a file, is refused, and nothing is run", arguments: ["link", "file"])
  func oddDirectory(kind: String) throws {
    try withPhaseSite { site in
      if kind == "link" {
        try FileSystem.makeDirectory(site.path("elsewhere"))
        symlink(site.path("elsewhere"), site.path("markers"))
      } else {
        try writeFile(site.path("markers"), "")
      }
      let outcome = try site.finishInit(PhaseSettings(node: [site.note("static")]))
      #expect(outcome.ending != .exited(0))
      #expect(outcome.errors.contains("node.marker_dir") && outcome.errors.contains(site.path("markers")))
      #expect(site.lines() == [])
    }
  }
}
