import Foundation
import Glibc
import TestSupport
import Testing

/// `supervisor run` with LiteFS below the app.
@Suite(
  "run: LiteFS", .drivesProcesses,
  .disabled(if: LiteFSNode.obstacle != nil, "\(LiteFSNode.obstacle ?? "")"))
struct LiteFSRunTests {
  /// Adds a row where it may, says what it found, and stays.
  private static func app(_ cluster: LiteFSCluster) -> [String] {
    [
      "/bin/sh", "-c",
      """
      if test "$SUPERVISOR_ROLE" = primary; then
        sqlite3 -bail "$LITEFS_MOUNT_PATH/app.db" \
          'PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS t (x); INSERT INTO t VALUES (1)' >/dev/null || exit 9
      fi
      echo "$SUPERVISOR_ROLE $(sqlite3 -readonly "$LITEFS_MOUNT_PATH/app.db" 'SELECT count(*) FROM t')" \
        >>\(cluster.folder)/log
      exec sleep 1000
      """,
    ]
  }

  private func log(_ cluster: LiteFSCluster) -> [String] {
    (readText(cluster.folder + "/log") ?? "").split(separator: "\n").map(String.init)
  }

  private func stop(_ stage: Stage, _ cluster: LiteFSCluster, _ node: Int = 0) throws {
    try stage.send(SIGTERM)
    #expect(try stage.waitForEnd() == .exited(128 + SIGTERM), "\(stage.errors.text)")
    try stage.waitUntilNobodyIsLeft()
    #expect(cluster.mounts(node) == 0)
  }

  @Test(
    "LF-01: the app starts in a mount that is there, as the primary; a stop leaves neither mount nor process")
  func primary() throws {
    try withLiteFSCluster { cluster in
      try Stage.node {
        try $0.launch(
          Self.app(cluster),
          cluster.settings(0, services: ["only: {role: primary, command: [sleep, '1000']}"]))
      } _: { stage, site in
        try site.waitFor("/readyz", 200, stage)
        try eventually("the app wrote") { log(cluster) == ["primary 1"] }
        try site.waitFor("/primary", 200, stage)
        #expect(cluster.mounts(0) == 1)
        let file = site.runDirectory + "/litefs.yml"
        var status = stat()
        #expect(stat(file, &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(ProcessEntry.children(of: stage.pid).filter { $0.name == "sleep" }.count == 2)
        try stop(stage, cluster)
      }
    }
  }

  enum Loss: String, CaseIterable, CustomTestStringConvertible {
    case killed, unmounted
    var testDescription: String { rawValue }
  }

  @Test(
    "what becomes of LiteFS becomes of the app: it ends, LiteFS comes back, it starts again, and nothing is lost",
    arguments: Loss.allCases)
  func lost(loss: Loss) throws {
    try withLiteFSCluster { cluster in
      try Stage.node {
        try $0.launch(Self.app(cluster), cluster.settings(0))
      } _: { stage, site in
        try site.waitFor("/readyz", 200, stage)
        try eventually("the app wrote") { log(cluster).count == 1 }
        for round in 2...3 {
          let before = try #require(cluster.process(stage))
          switch loss {
          case .killed: kill(before, SIGKILL)
          case .unmounted: umount2(cluster.mount(0), CInt(MNT_DETACH))
          }
          try site.waitFor("/readyz", 503, stage, within: 3)
          try eventually("the app wrote again") {
            try stage.pump()
            return log(cluster).count == round
          }
          try site.waitFor("/readyz", 200, stage)
          #expect(cluster.process(stage) != before && cluster.mounts(0) == 1)
        }
        #expect(log(cluster) == ["primary 1", "primary 2", "primary 3"])
        #expect(ProcessEntry.children(of: stage.pid).filter { $0.name == "sleep" }.count == 1)
        // None of it was the app's own end.
        #expect(try site.status().processes.first { $0.name == "app" }?.restarts == 0)
        try stop(stage, cluster)
      }
    }
  }

  @Test("a replica's app starts with the primary's data, and what is bound to the primary runs there alone")
  func replica() throws {
    try withLiteFSCluster(nodes: 2) { cluster in
      let bound = ["bound: {role: primary, command: [sleep, '2000']}"]
      try Stage.node {
        try $0.launch(Self.app(cluster), cluster.settings(0, services: bound))
      } _: { primary, first in
        try first.waitFor("/readyz", 200, primary)
        try eventually("the primary wrote") { log(cluster) == ["primary 1"] }
        try Stage.node {
          try $0.launch(Self.app(cluster), cluster.settings(1, services: bound))
        } _: { replica, second in
          try second.waitFor("/readyz", 200, replica)
          try eventually("the replica read") { log(cluster) == ["primary 1", "replica 1"] }
          try second.waitFor("/replica", 200, replica)
          #expect(try second.get("/primary").status == 503)
          #expect(ProcessEntry.children(of: replica.pid).filter { $0.name == "sleep" }.count == 1)
          #expect(ProcessEntry.children(of: primary.pid).filter { $0.name == "sleep" }.count == 2)
          // Without a primary it can still be read.
          try stop(primary, cluster)
          try second.waitForStatus("the role is gone", replica) { _ in
            readText(second.runDirectory + "/role") == "none\n"
          }
          #expect(cluster.mounts(1) == 1 && replica.ending == nil)
          try stop(replica, cluster, 1)
        }
      }
    }
  }

  @Test("a stop while LiteFS waits for its cluster, and ignores TERM, is in time, and leaves nothing")
  func waiting() throws {
    try withLiteFSCluster(nodes: 2) { cluster in
      try Stage.node {
        var settings = try cluster.settings(1)
        settings.stopTimeout = "8s"
        return try $0.launch(Self.app(cluster), settings)
      } _: { stage, site in
        try eventually("it is mounted") { cluster.mounts(1) == 1 }
        try stage.errorLine(containing: "waiting to connect to cluster")
        #expect(try site.get("/readyz").status == 503)
        let began = monotonicNow()
        try stop(stage, cluster, 1)
        #expect(monotonicNow() - began < 8 && log(cluster).isEmpty)
      }
    }
  }

  @Test(
    "what LiteFS refuses, or is not there, is 78, said with the reason, and no app starts",
    arguments: [
      ("binary_path", "/no/such/litefs", "LiteFS cannot be started: "),
      ("extra", "{fuse: {nothing: 7}}", "LiteFS does not take its settings"),
    ])
  func refused(key: String, value: String, text: String) throws {
    try withLiteFSCluster { cluster in
      try Stage.node {
        var settings = try cluster.settings(0)
        let plain = settings.more[0]
        settings.more =
          key == "extra"
          ? [String(plain.dropLast()) + ", extra: \(value)}"]
          : [plain.replacing("\"\(try LiteFSBinary.path.get())\"", with: value)]
        return try $0.launch(Self.app(cluster), settings)
      } _: { stage, _ in
        #expect(try stage.waitForEnd() == .exited(78), "\(stage.errors.text)")
        #expect(stage.errors.text.contains(text), "\(stage.errors.text)")
        #expect(log(cluster).isEmpty && cluster.mounts(0) == 0)
        try stage.waitUntilNobodyIsLeft()
      }
    }
  }
}
