import Glibc
import Testing

/// An app that the supervisor may start but not signal.
@Suite("run: an app that may not be signalled", .drivesProcesses)
struct RunForeignAppTests {
  @Test(
    "that it may not be signalled is said once in each of its lives, however many signals come", .needsRoot)
  func saidOnce() throws {
    try withRunSite { site in
      var settings = RunSettings()
      settings.app = ["user: \"4242\"", "restart: always", "backoff: {initial: 1ms}", "success_codes: [0]"]
      let script = "echo up $$; until test -e \(site.folder)/$$; do sleep 0.02; done"
      var launch = try site.launch(["/bin/sh", "-c", script], settings)
      // Root without the right to signal others.
      launch.command = ["/usr/bin/setpriv", "--bounding-set=-kill"].map { Array($0.utf8) } + launch.command
      try Stage.run(launch) { stage in
        for life in 1...2 {
          let pid = try stage.number(after: "up ")
          try site.waitForStatus("it is known to run", stage) { $0["app"]?.pid == pid }
          for _ in 1...3 {
            try stage.send(SIGUSR1)
            // Each is a signal of its own once the one before has been taken.
            _ = try site.get("/livez")
          }
          try stage.errorLine(containing: "app: cannot ")
          #expect(stage.errors.text.split(separator: "app: cannot ").count == life + 1)
          try writeFile("\(site.folder)/\(pid)", "")
        }
        kill(try stage.number(after: "up "), SIGKILL)
      }
    }
  }
}
