import Foundation
import Glibc
import Testing

/// One kind of failure, and what scripts may rely on: its exit code and its word.
struct PhaseFailure: Sendable, CustomTestStringConvertible {
  let reason: String
  let code: Int32
  var needsRoot = false
  var app = ["/bin/true"]
  var prepare: @Sendable (PhaseSite, inout PhaseSettings) throws -> ForeignLock? = { _, _ in nil }

  var testDescription: String { "\(code) \(reason)" }

  static let all: [PhaseFailure] = [
    PhaseFailure(reason: "dependency_timeout", code: 69) { site, settings in
      settings.more = ["timeout: 300ms", "wait_for: [\"file:/no/such\"]"]
      return nil
    },
    PhaseFailure(reason: "dependency_refused", code: 69) { _, settings in
      settings.more = ["wait_for: [\"sqlite:/etc/passwd\"]"]
      return nil
    },
    PhaseFailure(reason: "lock_timeout", code: 75) { site, settings in
      settings.more = ["timeout: 300ms"]
      try FileSystem.makeDirectory(site.state)
      return try ForeignLock(site.lock)
    },
    PhaseFailure(reason: "node_lock_timeout", code: 75) { site, settings in
      settings.more = ["timeout: 300ms"]
      try FileSystem.makeDirectory(site.path("markers"))
      return try ForeignLock(site.path("markers/.autoinit_node_r1.lock"))
    },
    PhaseFailure(reason: "infrastructure_failed", code: 76) { site, settings in
      settings.infrastructure = [site.step("migrate", "exit 1")]
      return nil
    },
    PhaseFailure(reason: "node_failed", code: 76) { site, settings in
      settings.node = [site.step("static", "kill -SEGV $$", "fatal: true")]
      return nil
    },
    PhaseFailure(reason: "state_unusable", code: 70) { site, _ in
      try writeFile(site.state, "a file")
      return nil
    },
    PhaseFailure(reason: "marker_unusable", code: 70) { site, _ in
      try writeFile(site.path("markers"), "a file")
      return nil
    },
    PhaseFailure(reason: "state_not_permitted", code: 77, needsRoot: true) { site, _ in
      chmod(site.folder, 0o1777)
      try FileSystem.makeDirectory(site.state)
      chown(site.state, 4242, 4242)
      return nil
    },
    PhaseFailure(reason: "marker_not_permitted", code: 77) { site, _ in
      symlink("/tmp", site.path("markers"))
      return nil
    },
    PhaseFailure(reason: "preflight_failed", code: 78) { _, settings in
      settings.more = ["app: {user: \"no-such-user-here\"}"]
      return nil
    },
    PhaseFailure(reason: "gave_up_restarting", code: 79) { _, settings in
      settings.more = [
        "app: {restart: always, backoff: {initial: 1ms}, start_limit: {count: 2, within: 1m}}"
      ]
      return nil
    },
    PhaseFailure(reason: "command_not_startable", code: 126, app: ["/etc/passwd"]),
    PhaseFailure(reason: "command_not_found", code: 127, app: ["/no/such/app"]),
    PhaseFailure(reason: "app_ended", code: 128 + SIGKILL, app: ["/bin/sh", "-c", "kill -KILL $$"]),
    PhaseFailure(reason: "app_ended", code: 69, app: ["/bin/sh", "-c", "exit 69"]),
  ]
}

/// What goes wrong around the phases: how each kind ends, and what is ridden out.
@Suite("phases: trouble", .drivesProcesses)
struct PhaseTroubleTests {
  // MARK: How it ends

  @Test(
    "AI-34, C2-8: each kind of failure has its exit code, and a word that tells it from the app's own",
    arguments: PhaseFailure.all)
  func failures(failure: PhaseFailure) throws {
    if failure.needsRoot, !Programs.isRoot { return }
    try withPhaseSite { site in
      var settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("static")])
      let lock = try failure.prepare(site, &settings)
      let file = try site.write(settings)
      let outcome = try Stage.result(
        Launch([Programs.supervisor, "run", "--settings", file, "--"] + failure.app))
      lock?.release()
      #expect(outcome.ending == .exited(failure.code), "\(outcome.errors)")
      let record = try JSONDecoder().decode(
        ExitRecord.self, from: Data(try #require(readText(site.path("run-node/exit.json"))).utf8))
      #expect(record.reason == failure.reason && record.code == failure.code)
      let last = outcome.errors.split(separator: "\n").last ?? ""
      #expect(last.contains("\(failure.code) (\(failure.reason))"))
    }
  }

  // MARK: What is ridden out

  @Test(
    "C1-18: a state_dir that cannot be read or written for a while is ridden out, by holder and waiter",
    arguments: ["state", "state/releases"])
  func hiccup(of directory: String) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.step("migrate", site.append("migrate") + "; " + site.await("go")), site.note("warm"),
      ])
      try withStages([
        try site.initialize(settings, name: "holder")
      ]) { stages in
        let holder = stages[0]
        try site.wait(for: "migrate", [holder])
        try Stage.run(site.run(settings, app: site.append("app"), name: "waiter")) { waiter in
          try waiter.errorLine(containing: "waiting for ")
          let path = site.path(directory)
          let releases = site.state + "/releases"
          guard rename(path, path + "-away") == 0 else { throw HarnessError.system("rename \(path)") }
          try writeFile(path, "")
          try waiter.errorLine(containing: "state_dir: cannot open \(releases)/r1.release: Not a directory")
          try site.open("go")
          let line = try holder.errorLine(containing: "trying again in 1s")
          #expect(line.contains("state_dir: cannot open \(releases)/"))
          #expect(site.lines() == ["migrate"])
          unlink(path)
          guard rename(path + "-away", path) == 0 else { throw HarnessError.system("rename \(path)") }
          #expect(try holder.waitForEnd() == .exited(0))
          #expect(try waiter.waitForEnd() == .exited(0))
        }
      }
      #expect(site.lines() == ["migrate", "warm", "app"])
    }
  }

  @Test(
    "C1-1, C1-26: state_dir vanishes under a running step: the lock is gone with it, so the step ends and no app starts; the next start runs it again",
    arguments: [false, true])
  func vanished(isMadeAgain: Bool) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.step(
          "migrate", site.append("migrate") + "; test -e \(site.path("go")) || \(site.await("never"))"),
        site.note("warm"),
      ])
      try Stage.run(site.run(settings, app: site.append("app"))) { stage in
        try site.wait(for: "migrate", [stage])
        try FileManager.default.removeItem(atPath: site.state)
        if isMadeAgain {
          try FileSystem.makeDirectory(site.state)
          try FileSystem.makeDirectory(site.state + "/releases")
        }
        #expect(try stage.waitForEnd() == .exited(75))
        try stage.waitForEndOfOutput()
        #expect(
          stage.errors.text.contains(
            "state_dir: cannot write \(site.state)/releases/r1.release: the lock it needs was removed while we held it, so another process may hold it now"
          ), "\(stage.errors.text)")
        #expect(stage.errors.text.hasSuffix("exiting with code 75 (lock_lost)\n"))
        #expect(stage.adopted == [])
      }
      try site.open("go")
      let again = try site.finishRun(settings, app: site.append("app"))
      #expect(again.ending == .exited(0))
      #expect(site.lines() == ["migrate", "migrate", "warm", "app"])
    }
  }

  // MARK: Times of other clocks

  /// Moves every time in the record by so many days, and its file with it.
  private func shift(_ site: PhaseSite, days: Int) throws {
    let record = site.record()
    let moved = record.replacing(#/\b\d{19}\b/#) { "\((Int($0.output) ?? 0) + days * 86_400_000_000_000)" }
    #expect(moved != record)
    try writeFile(site.state + "/releases/r1.release", moved)
    try FileSystem.age(site.state + "/releases/r1.release", days: -days)
  }

  @Test(
    "C1-7: readiness is believed whatever its age, and whatever the clock of who wrote it",
    arguments: [-1000, 1])
  func ageOfReadiness(days: Int) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.note("migrate")])
      let first = try site.finishInit(settings)
      #expect(first.ending == .exited(0))
      try shift(site, days: days)
      // Not even a look under the lock is needed.
      let lock = try #require(try ForeignLock(site.lock))
      let second = try site.finishInit(settings, ["--timeout", "0"])
      lock.release()
      #expect(second.ending == .exited(0), "\(second.errors)")
      #expect(site.lines() == ["migrate"])
    }
  }

  @Test("a failure from the future holds nobody off longer than retry_after")
  func futureFailure() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        infrastructure: [site.step("migrate", site.append("migrate") + "; test -e \(site.path("go"))")],
        coordination: "retry_after: 1s")
      let first = try site.finishRun(settings, app: site.append("app"))
      #expect(first.ending == .exited(76))
      try site.open("go")
      try shift(site, days: 1)
      let began = monotonicNow()
      let second = try site.finishRun(settings, app: site.append("app"))
      #expect(second.ending == .exited(0) && second.errors.contains("trying again in 1s"), "\(second.errors)")
      #expect(monotonicNow() - began < 10)
      #expect(site.lines() == ["migrate", "migrate", "app"])
    }
  }

  @Test("a claim from the future that nobody holds is taken over at once")
  func futureClaim() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.step(
          "migrate", site.append("migrate") + "; test -e \(site.path("go")) || \(site.await("never"))")
      ])
      try Stage.run(site.initialize(settings, name: "holder")) { holder in
        try site.wait(for: "migrate", [holder])
        try holder.send(SIGKILL)
        _ = try holder.waitForEnd()
      }
      try eventually("the lock is free") { try !ForeignLock.isTaken(site.lock) }
      try shift(site, days: 1)
      try site.open("go")
      let next = try site.finishInit(settings, ["--timeout", "20s"])
      #expect(next.ending == .exited(0))
      #expect(site.lines() == ["migrate", "migrate"])
    }
  }

  // MARK: What a step leaves behind

  @Test("C1-22: what a step leaves behind, in its group or beyond, ends with it, and no zombie stays")
  func leftovers() throws {
    try withPhaseSite { site in
      // It ends only once they have left its group.
      let stray = "touch \(site.path("gone")); sleep 1000 & exec sleep 1000"
      let leave =
        "sleep 1000 & (sleep 0 &); setsid sh -c '\(stray)' & " + site.await("gone") + "; "
        + site.append("left")
      let settings = PhaseSettings(infrastructure: [
        site.step("migrate", leave), site.step("warm", site.append("warm") + "; " + site.await("go")),
      ])
      try Stage.run(site.run(settings, app: "exec sleep 1000")) { stage in
        try site.wait(for: "warm", [stage])
        // The next step, and what holds the lock and looks for changes.
        try eventually("nobody of it is left") {
          try stage.pump()
          let children = ProcessEntry.children(of: stage.pid)
          return children.allSatisfy { $0.state != "Z" && $0.name != "sleep" && $0.name != "setsid" }
        }
        try site.open("go")
        try eventually("the app alone") {
          try stage.pump()
          return ProcessEntry.children(of: stage.pid).map(\.name) == ["sleep"]
        }
        try stage.send(SIGTERM)
        _ = try stage.waitForEnd()
        try stage.waitUntilNobodyIsLeft()
        #expect(stage.adopted == [])
      }
    }
  }

  // MARK: Whose directories

  @Test("state_dir by default, without a home, lies in /tmp only when nobody else made it", .needsRoot)
  func fallback() throws {
    // Users that nobody else has, also not a second run of this test.
    let user = 50_000 + getpid() % 10_000_000
    let fallback = "/tmp/supervisor-state-\(user)"
    defer { try? FileManager.default.removeItem(atPath: fallback) }
    try withPublicPrograms { supervisor, _ in
      try withTemporaryDirectory { folder in
        chown(folder, uid_t(user), gid_t(user))
        try writeFile(
          folder + "/node.yml",
          "{run_id: r1, run_dir: \(folder)/run, infrastructure: {steps: [{name: migrate, run: echo migrate}]}}\n"
        )
        func outcome() throws -> Outcome {
          try Stage.result(
            Launch([
              "/usr/bin/setpriv", "--reuid=\(user)", "--regid=\(user)", "--clear-groups", supervisor, "init",
              "--settings", folder + "/node.yml",
            ]))
        }
        // Made by somebody else, who could put another record in place of ours.
        try FileSystem.makeDirectory(fallback)
        chown(fallback, 4242, 4242)
        let foreign = try outcome()
        #expect(foreign.ending == .exited(77), "\(foreign.errors)")
        #expect(
          foreign.errors.contains("state_dir: \(fallback) belongs to another user"), "\(foreign.errors)")
        #expect(foreign.output == "")
        rmdir(fallback)
        symlink(folder, fallback)
        let link = try outcome()
        #expect(
          link.ending == .exited(77) && link.errors.contains("state_dir: \(fallback) is a symbolic link"))
        unlink(fallback)
        let own = try outcome()
        #expect(own.ending == .exited(0) && own.output == "migrate\n", "\(own.errors)")
        #expect(FileSystem.permissions(fallback) & 0o022 == 0)
      }
    }
  }
}
