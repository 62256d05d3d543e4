import Glibc
import Testing

/// Several nodes with one `state_dir`: who works, who waits, and for how long.
@Suite("phases: waiting", .drivesProcesses)
struct PhaseWaitingTests {
  /// A site whose one step waits for the file `go`, and a node that is at it.
  private func withHolder<Result>(
    _ settings: (PhaseSite) -> PhaseSettings = { site in
      PhaseSettings(
        infrastructure: [site.step("migrate", site.append("migrate") + "; " + site.await("go"))],
        node: [site.note("node")])
    }, _ body: (PhaseSite, PhaseSettings, Stage) throws -> Result
  ) throws -> Result {
    try withPhaseSite { site in
      let settings = settings(site)
      return try Stage.run(site.initialize(settings, ["infrastructure"], name: "holder")) { holder in
        try site.wait(for: "migrate", [holder])
        return try body(site, settings, holder)
      }
    }
  }

  @Test("AI-09, C1-3: a lock that a stranger holds is waited for as long as --timeout says, and it is said")
  func stranger() throws {
    try withPhaseSite { site in
      try FileSystem.makeDirectory(site.state)
      let lock = try #require(try ForeignLock(site.lock))
      let settings = PhaseSettings(infrastructure: [site.note("migrate")], node: [site.note("node")])
      let began = monotonicNow()
      let outcome = try site.finishInit(settings, ["--timeout", "1s"])
      let took = monotonicNow() - began
      #expect(outcome.ending == .exited(75))
      #expect(took >= 1 && took < 8)
      #expect(
        outcome.errors.contains("the infrastructure lock of run ID r1") && outcome.errors.contains(site.state)
      )
      #expect(outcome.errors.hasSuffix("exiting with code 75 (lock_timeout)\n"))
      lock.release()
      #expect(site.lines() == [])
    }
  }

  @Test("AI-09, C1-19: max_wait ends even the wait for a lively holder, which is named")
  func maximumWait() throws {
    try withHolder { site, settings, holder in
      var settings = settings
      settings.more = ["max_wait: 1s"]
      let outcome = try site.finishInit(settings, name: "waiter")
      #expect(outcome.ending == .exited(75))
      #expect(outcome.errors.contains("waited 1s (max_wait) for the infrastructure lock"))
      #expect(outcome.errors.contains("(pid \(holder.pid))"))
      #expect(site.lines() == ["migrate"])
    }
  }

  @Test("AI-09: a holder with a fresh heartbeat is waited for beyond --timeout")
  func freshHeartbeat() throws {
    try withHolder { site, settings, holder in
      try Stage.run(site.initialize(settings, ["--timeout", "1s"], name: "waiter")) { waiter in
        // Longer than the timeout, shorter than the holder is silent between two heartbeats.
        try letPass(seconds: 3, waiter)
        try #require(waiter.ending == nil, "\(waiter.errors.text)")
        try site.open("go")
        #expect(try waiter.waitForEnd() == .exited(0))
        #expect(try holder.waitForEnd() == .exited(0))
      }
    }
  }

  @Test("AI-15, C1-20: --timeout 0 is one try, and 75 at once")
  func oneTry() throws {
    try withHolder { site, settings, holder in
      let began = monotonicNow()
      let outcome = try site.finishInit(settings, ["--timeout", "0"], name: "waiter")
      #expect(outcome.ending == .exited(75))
      #expect(monotonicNow() - began < 5)
      #expect(outcome.errors.contains("(pid \(holder.pid))"))
      try site.open("go")
      #expect(try holder.waitForEnd() == .exited(0))
      let free = try site.finishInit(settings, ["--timeout", "0"], name: "waiter")
      #expect(free.ending == .exited(0))
    }
  }

  @Test(
    "AI-10, AI-32, C1-19: a waiter says whom it waits for and at which step, and runs nothing that the holder did"
  )
  func waiter() throws {
    try withHolder { site, settings, holder in
      try Stage.run(site.initialize(settings, name: "waiter")) { waiter in
        let line = try waiter.errorLine(containing: "waiting for ")
        #expect(line.contains("(pid \(holder.pid))"))
        // Every few seconds, by then with the step.
        let next = try waiter.errorLine(containing: "waiting for ")
        #expect(
          next.contains("(pid \(holder.pid)), at step migrate to finish the infrastructure phase (for 5"))
        try site.open("go")
        #expect(try waiter.waitForEnd() == .exited(0))
        #expect(try holder.waitForEnd() == .exited(0))
        #expect(waiter.errors.text.contains("starting (run ID r1)"))
        #expect(site.lines() == ["migrate", "node"])
      }
    }
  }

  @Test(
    "C1-11: a holder's failure ends the waiters with 76 and its reason, and none of them runs the step again")
  func failureIsShared() throws {
    try withHolder({ site in
      PhaseSettings(infrastructure: [
        site.step("migrate", site.append("migrate") + "; " + site.await("go") + "; exit 5")
      ])
    }) { site, settings, holder in
      let waiters = try (1...3).map { number in
        try number == 1
          ? site.initialize(settings, name: "w\(number)")
          : site.run(settings, app: site.append("app"), name: "w\(number)")
      }
      try withStages(waiters) { waiters in
        for waiter in waiters { try waiter.errorLine(containing: "waiting for ") }
        try site.open("go")
        let all = try endings(of: [holder] + waiters)
        #expect(all == Array(repeating: .exited(76), count: 4))
        for waiter in waiters {
          try waiter.waitForEndOfOutput()
          #expect(waiter.errors.text.contains("failed at step migrate: exit code 5"))
        }
      }
      #expect(site.lines() == ["migrate"])
    }
  }

  /// How long after `ready set` has made a release ready who waits for it runs its node phase. The median counts: a
  /// machine that is busy elsewhere makes any single one slow.
  private func delays(_ count: Int, poll: String, _ meanwhile: (PhaseSite) throws -> Void = { _ in }) throws
    -> [Double]
  {
    try (1...count).map { _ in
      try withPhaseSite { site in
        let settings = PhaseSettings(
          infrastructure: [site.note("migrate")], node: [site.note("node")],
          coordination: "poll_interval: \(poll)")
        return try Stage.run(site.initialize(settings, ["node"])) { waiter in
          try waiter.errorLine(containing: "waiting for ")
          try meanwhile(site)
          let file = try site.write(settings, "ready")
          return try Stage.run(Launch([Programs.supervisor, "ready", "set", "--settings", file])) { set in
            try eventually("readiness") { site.record().contains("\ncomplete ") }
            let ready = monotonicNow()
            try site.wait(for: "node", [waiter, set])
            let took = monotonicNow() - ready
            #expect(try waiter.waitForEnd() == .exited(0))
            #expect(try set.waitForEnd() == .exited(0))
            return took
          }
        }
      }
    }.sorted()
  }

  @Test("AI-19: who waits for readiness goes on within 100 ms of it (the median of seven)")
  func promptness() throws {
    let sorted = try delays(7, poll: "1h")
    #expect(sorted[3] < 0.1, "\(sorted)")
  }

  @Test("AI-19: a change that inotify does not see is found by the poll, within 1.1 s (the median of three)")
  func pollAlone() throws {
    let sorted = try delays(3, poll: "1s") { site in
      // What is watched is a directory, not a path.
      let releases = site.state + "/releases"
      guard rename(releases, releases + "-before") == 0 else {
        throw HarnessError.system("rename \(releases)")
      }
      try FileSystem.makeDirectory(releases)
    }
    #expect(sorted[1] < 1.1, "\(sorted)")
  }

  @Test("AI-07: what is ready needs no lock, whoever holds it")
  func readyWithoutTheLock() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [site.note("migrate")])
      let first = try site.finishInit(settings)
      #expect(first.ending == .exited(0))
      let lock = try #require(try ForeignLock(site.lock))
      let second = try site.finishInit(settings, ["--timeout", "0"])
      lock.release()
      #expect(second.ending == .exited(0))
      #expect(site.lines() == ["migrate"])
    }
  }

  @Test(
    "AI-15, C1-19: what is waited for adds up to one timeout: dependencies, then the lock, then the node lock",
    arguments: [["dependency", "lock"], ["dependency", "lock", "node"], ["dependency"]])
  func oneBudget(opened: [String]) throws {
    try withPhaseSite { site in
      try FileSystem.makeDirectory(site.state)
      try FileSystem.makeDirectory(site.path("markers"))
      let lock = try #require(try ForeignLock(site.lock))
      let nodeLock = try #require(try ForeignLock(site.path("markers/.autoinit_node_r1.lock")))
      let settings = PhaseSettings(
        infrastructure: [site.note("migrate")], node: [site.note("node")],
        more: ["timeout: 3s", "wait_for: [\"file:\(site.path("dependency"))\"]"])
      let began = monotonicNow()
      try Stage.run(site.run(settings, app: site.append("app"))) { stage in
        // Each gives way after a while, but not the last one. Dependencies are looked at each second.
        for name in opened.dropLast() {
          if name == "lock" { try stage.errorLine(containing: "to finish the infrastructure phase") }
          try letPass(seconds: 0.8, stage)
          if name == "dependency" { try site.open(name) } else { lock.release() }
        }
        #expect(try stage.waitForEnd() == .exited(opened.count == 1 ? 69 : 75))
        let took = monotonicNow() - began
        // With budgets of their own it would be what gave way before, and 3 s more: at least 3.8 s.
        #expect(took >= 3 && took < 3.6, "\(took)")
        try stage.waitForEndOfOutput()
        if opened.count > 1 { #expect(stage.errors.text.contains("s for what ")) }
      }
      lock.release()
      nodeLock.release()
      #expect(site.lines() == (opened.count == 3 ? ["migrate"] : []))
    }
  }

  @Test("AI-19: who waits for readiness goes on by notification, not when the next poll is due")
  func notification() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        infrastructure: [site.note("migrate")], node: [site.note("node")], coordination: "poll_interval: 1h")
      try Stage.run(site.initialize(settings, ["node"], name: "waiter")) { waiter in
        try waiter.errorLine(containing: "waiting for ")
        let outcome = try site.finishInit(settings, ["infrastructure"], name: "worker")
        #expect(outcome.ending == .exited(0))
        let ready = monotonicNow()
        try site.wait(for: "node", [waiter])
        // Far below what says it again every five seconds.
        #expect(monotonicNow() - ready < 3)
        #expect(try waiter.waitForEnd() == .exited(0))
      }
      #expect(site.lines() == ["migrate", "node"])
    }
  }

  @Test("BF-12, C2-1: five init containers at once run the migration once")
  func fiveInits() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.step("migrate", site.append("migrate") + "; sleep 0.2"), site.note("warm"),
      ])
      try withStages((1...5).map { try site.initialize(settings, name: "pod\($0)") }) { stages in
        let all = try endings(of: stages)
        #expect(all == Array(repeating: .exited(0), count: 5))
      }
      #expect(site.lines() == ["migrate", "warm"])
    }
  }

  @Test("AI-30: web, worker and beat started together: one migration, three apps", arguments: 1...10)
  func roles(repetition: Int) throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        infrastructure: [site.step("migrate", site.append("migrate") + "; sleep 0.1")])
      let launches = try ["web", "worker", "beat"].map { role in
        try site.run(
          settings, app: "trap 'exit 0' TERM; \(site.append(role)); sleep 1000 & wait", name: role)
      }
      try withStages(launches) { stages in
        for role in ["web", "worker", "beat"] { try site.wait(for: role, stages) }
        for stage in stages { try stage.send(SIGTERM) }
        let all = try endings(of: stages)
        #expect(all == Array(repeating: .exited(0), count: 3))
      }
      #expect(site.lines().first == "migrate")
      #expect(site.lines().sorted() == ["beat", "migrate", "web", "worker"])
    }
  }

  @Test("C1-12: the holder is killed between two steps: the next one resumes after what is recorded done")
  func killedHolder() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.note("first"),
        site.step("second", site.append("second") + "; test -e \(site.path("go")) || \(site.await("never"))"),
      ])
      try Stage.run(site.initialize(settings, name: "holder")) { holder in
        try site.wait(for: "second", [holder])
        try site.open("go")
        try holder.send(SIGKILL)
        let outcome = try site.finishInit(settings, name: "next")
        #expect(outcome.ending == .exited(0))
        #expect(outcome.errors.contains("(pid \(holder.pid))"))
      }
      #expect(site.lines() == ["first", "second", "second"])
    }
  }

  @Test(
    "on_interrupted: fail: a step that was killed in the middle is not run again before somebody has looked")
  func onInterruptedFail() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(infrastructure: [
        site.step(
          "migrate", site.append("migrate") + "; test -e \(site.path("go")) || \(site.await("never"))",
          "on_interrupted: fail")
      ])
      try Stage.run(site.initialize(settings, name: "holder")) { holder in
        try site.wait(for: "migrate", [holder])
        try holder.send(SIGKILL)
        try site.open("go")
        for _ in 1...2 {
          let outcome = try site.finishInit(settings, name: "next")
          #expect(outcome.ending == .exited(76))
          #expect(outcome.errors.contains("failed at step migrate: it was interrupted on "))
          #expect(outcome.errors.contains("on_interrupted: fail") && outcome.errors.contains("ready clear"))
        }
      }
      #expect(site.lines() == ["migrate"])
      let clear = try site.ready(settings, "clear")
      let outcome = try site.finishInit(settings)
      #expect(clear.ending == .exited(0) && outcome.ending == .exited(0))
    }
  }

  @Test("ready clear while the phase runs waits, and then says who is at it")
  func clearMeanwhile() throws {
    try withHolder { site, settings, holder in
      let busy = try site.ready(settings, "clear", "--timeout", "300ms")
      #expect(busy.ending == .exited(75))
      #expect(busy.errors.contains("(pid \(holder.pid))"))
      let file = try site.write(settings, "ready")
      try Stage.run(Launch([Programs.supervisor, "ready", "clear", "--settings", file])) { clear in
        try site.open("go")
        #expect(try holder.waitForEnd() == .exited(0))
        #expect(try clear.waitForEnd() == .exited(0))
      }
      #expect(site.record() == "")
    }
  }

  @Test("retry_after: a run that comes soon after a failure holds off and says so; TERM ends it at once")
  func holdOff() throws {
    try withPhaseSite { site in
      let settings = PhaseSettings(
        infrastructure: [site.step("migrate", site.append("migrate") + "; test -e \(site.path("go"))")],
        coordination: "retry_after: 1h, poll_interval: 1h")
      let first = try site.finishRun(settings, app: "true")
      #expect(first.ending == .exited(76))
      try Stage.run(site.run(settings, app: site.append("app"))) { stage in
        let line = try stage.errorLine(containing: "coordination.retry_after")
        #expect(line.contains("failed") && line.contains("at step migrate (exit code 1): trying again in "))
        let asked = monotonicNow()
        try stage.send(SIGTERM)
        #expect(try stage.waitForEnd() == .exited(143))
        #expect(monotonicNow() - asked < 3)
      }
      #expect(site.lines() == ["migrate"])
      try site.open("go")
      try Stage.run(site.run(settings, app: site.append("app"))) { held in
        try held.errorLine(containing: "coordination.retry_after")
        // `init` tries at once, and who holds off goes on with what it achieved.
        let outcome = try site.finishInit(settings, name: "init")
        #expect(outcome.ending == .exited(0))
        #expect(try held.waitForEnd() == .exited(0))
      }
      #expect(site.lines() == ["migrate", "migrate", "app"])
    }
  }
}
