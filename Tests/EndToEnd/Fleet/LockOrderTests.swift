import Glibc
import TestSupport
import Testing

/// How a holder's end, or that of its lock, comes about.
enum LockTrouble: String, CaseIterable, CustomTestStringConvertible {
  case agentKilled, agentFrozen, supervisorKilled, namespaceKilled, stopped, stoppedTwice, backendTerminated,
    serverRestarted, networkCut

  var testDescription: String { rawValue }
  var isInit: Bool { self == .namespaceKilled }
  /// The server is stopped, and must not be anybody else's, or has to listen elsewhere, too.
  var needsOwnServer: Bool { self == .serverRestarted || self == .networkCut }
  /// How `run` ends on the node that held the lock; nil: it lives, and waits as the others do.
  var ending: Ending? {
    switch self {
    case .supervisorKilled, .namespaceKilled: .signaled(SIGKILL)
    case .stopped, .stoppedTwice: .exited(128 + SIGTERM)
    case .agentKilled, .agentFrozen, .backendTerminated, .serverRestarted, .networkCut: nil
    }
  }
}

/// In every path the lock goes after the step: whoever has it next finds nothing of the last holder's step, neither its
/// processes nor what it ran in the server.
@Suite("fleet: the lock goes after the step", .drivesProcesses)
struct LockOrderTests {
  /// A step that says that it begins and that it ends, and meanwhile has what two cannot have at once: a lock of its
  /// processes, of which one is in the background, and a lock of its session in the server, where a statement goes on
  /// after its client was killed. The first to run it does not come to the end by itself.
  private func step(_ site: ServerSite) -> String {
    let phases = site.phases
    let script =
      "exec 9>>\(phases.path("claim")); flock -n 9 || \(phases.append("overlap $NODE")); "
      + phases.append("enter $NODE") + "; " + "query='SELECT 1'; test -e \(phases.path("quick")) || "
      + "{ sleep 1000 & query='SELECT pg_sleep(1000)'; }; "
      // Its own way to the server, which is not the same for all.
      + "psql -XAtq -v ON_ERROR_STOP=1 -d \"$SERVER\" -c 'SELECT pg_try_advisory_lock(77)' -c \"$query\" "
      + ">\(phases.folder)/server-$NODE && " + phases.append("leave $NODE")
      // Its own end by a lost connection would be its failure; it is to be found running.
      + " || exec sleep 1000"
    return phases.step("work", script)
  }

  /// A node whose app says that it runs.
  private func launch(_ site: ServerSite, _ node: String) throws -> Launch {
    var launch = try site.phases.run(
      site.settings([step(site)]), app: site.phases.append("app $NODE") + "; exec sleep 1000", name: node)
    launch.environment += ["NODE=\(node)", "SERVER=\(site.connection)"].map { Array($0.utf8) }
    return launch
  }

  @Test(
    "whatever becomes of the holder, the next one works alone, and nobody is left",
    arguments: LockTrouble.allCases.filter { $0 != .networkCut })
  func order(trouble: LockTrouble) throws {
    if trouble.isInit, !Programs.isRoot { return }
    try handOver(trouble)
  }

  @Test(
    "the holder's network is cut without a word: it kills its step before the server gives its lock to another",
    .enabled(if: Link.isPossible, "no network namespace can be made here"))
  func networkCut() throws {
    try handOver(.networkCut)
  }

  @Test(
    "a step that is tried again finds nothing of its last try in the server", arguments: ["timeout", "crash"])
  func triedAgain(why: String) throws {
    try withServerSite { site in
      let phases = site.phases
      // A client that is killed leaves its statement behind, whoever kills it.
      let first =
        "touch \(phases.path("tried")); psql -XAtq -d \"$SERVER\" -c 'SELECT pg_try_advisory_lock(77)' "
        + "-c 'SELECT pg_sleep(1000)' & "
        + (why == "crash"
          ? "until psql -XAtq -d \"$SERVER\" -c \"SELECT query FROM pg_stat_activity WHERE datname = "
            + "current_database() AND state = 'active'\" | grep -q '^SELECT pg_sleep'; do sleep 0.02; done; "
            + "kill -9 $!; exit 5"
          : "wait")
      let second = "psql -XAtq -d \"$SERVER\" -c 'SELECT pg_try_advisory_lock(77)' >\(phases.path("answer"))"
      let step = phases.step(
        "work", "test -e \(phases.path("tried")) && { \(second); exit; }; \(first)",
        "retries: 1, retry_delay: 10ms" + (why == "timeout" ? ", timeout: 3s" : ""))
      var launch = try phases.run(site.settings([step]), app: phases.append("app"))
      launch.environment += [Array("SERVER=\(site.connection)".utf8)]
      let outcome = try Stage.result(launch)
      #expect(outcome.ending == .exited(0), "\(outcome.errors)")
      #expect(readText(phases.path("answer")) == "t\n", "\(outcome.errors)")
      #expect(
        outcome.errors.contains("what a step ran in PostgreSQL goes on after the step's end: terminating"))
    }
  }

  private func handOver(_ trouble: LockTrouble) throws {
    let own = trouble.needsOwnServer ? try PostgreSQLServer() : nil
    defer { own?.end() }
    try withServerSite(server: own) { site in
      let link = trouble == .networkCut ? try Link() : nil
      if let link { try listen(site, on: link) }
      var first = try launch(site, "a")
      first.isInitOfNamespace = trouble.isInit
      if let link { first.command = link.prefix + first.command }
      site.host = "127.0.0.1"
      try Stage.run(first) { holder in
        try link?.join(holder.pid)
        try site.phases.wait(for: "enter a", [holder])
        try eventually("its statement runs") {
          try holder.pump()
          return try site.admin().value(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND "
              + "query = 'SELECT pg_sleep(1000)'") == "1"
        }
        try Stage.run(launch(site, "b")) { next in
          try next.errorLine(containing: "waiting for ")
          try site.phases.open("quick")
          try cause(trouble, holder, site, link)
          do {
            try site.phases.wait(for: "app b", [holder, next])
          } catch {
            throw HarnessError("\(error) after \(site.phases.lines())\n\(log(holder, next))")
          }
          // Who lost the lock and lives may as well be the next one.
          let lines = site.phases.lines().filter { !$0.hasPrefix("app") }
          let winner = lines.last?.last.map(String.init) ?? ""
          #expect(lines == ["enter a", "enter \(winner)", "leave \(winner)"], "\(log(holder, next))")
          #expect(winner == "b" || trouble == .serverRestarted, "\(log(holder, next))")
          #expect(
            readText(site.phases.path("server-\(winner)")) == "t\n1\n", "\(log(holder, next))")
          if trouble.ending == nil {
            if trouble == .networkCut { try link?.mend() }
            try site.phases.wait(for: "app a", [holder, next])
            try holder.send(SIGTERM)
          }
          let ending = try holder.waitForEnd()
          if let expected = trouble.ending { #expect(ending == expected, "\(log(holder, next))") }
          try holder.waitUntilNobodyIsLeft()
          try next.send(SIGTERM)
          _ = try next.waitForEnd()
          try next.waitUntilNobodyIsLeft()
          try site.waitUntilServerIsQuiet(try site.admin())
        }
      }
    }
  }

  private func log(_ holder: Stage, _ next: Stage) -> String {
    "holder: \(holder.errors.text)\nnext: \(next.errors.text)"
  }

  private func cause(_ trouble: LockTrouble, _ holder: Stage, _ site: ServerSite, _ link: Link?) throws {
    switch trouble {
    case .agentKilled: kill(try holder.agent(), SIGKILL)
    case .agentFrozen: kill(try holder.agent(), SIGSTOP)
    case .supervisorKilled, .namespaceKilled: try holder.send(SIGKILL)
    case .stopped: try holder.send(SIGTERM)
    case .stoppedTwice:
      // A step that does not end by itself: the second signal is what kills it.
      try holder.send(SIGTERM)
      try letPass(seconds: 0.6, holder)
      if holder.ending == nil { try holder.send(SIGTERM) }
    case .backendTerminated:
      let admin = try site.admin()
      #expect(
        try admin.run(
          "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
            + "classid = 1311669808 AND mode = 'ExclusiveLock' AND database = "
            + "(SELECT oid FROM pg_database WHERE datname = current_database())") == [["t"]])
    case .serverRestarted:
      try site.server.order("stop")
      try site.server.order("start")
    case .networkCut: try link?.cut()
    }
  }

  /// Makes the site's server, which is its own, listen on the link, too, and sends nodes there.
  private func listen(_ site: ServerSite, on link: Link) throws {
    try site.admin().run("ALTER SYSTEM SET listen_addresses = '127.0.0.1,\(link.here)'")
    let rules = site.server.folder + "/data/pg_hba.conf"
    try writeFile(rules, (readText(rules) ?? "") + "host all all \(link.there)/32 trust\n")
    try site.server.order("fast")
    try site.server.order("start")
    site.host = link.here
  }
}
