import EventLoop
import Foundation
import Journal
import Testing

@testable import Control

@Suite struct RenderingTests {
  private func json(_ snapshot: Snapshot, _ journal: Journal) throws -> [String: Any] {
    let body = StatusJSON.response(snapshot, journal).body
    return try #require(try JSONSerialization.jsonObject(with: Data(body)) as? [String: Any])
  }

  // MARK: JSON

  @Test func statusJSONHasEverything() throws {
    let status = try json(Sample.running, Sample.journal)
    #expect(status["version"] as? String == "0.1.0")
    #expect(status["run_id"] as? String == "r42")
    #expect(status["stage"] as? String == "running")
    #expect(status["ready"] as? Bool == true)
    #expect(status["uptime_seconds"] as? Double == 200.5)
    #expect(status["started_at"] as? String == "2026-01-01T00:00:00.000Z")
    #expect(status["state_dir"] is NSNull)
    let processes = try #require(status["processes"] as? [[String: Any]])
    #expect(processes.map { $0["name"] as? String } == ["app", "beat"])
    #expect(processes[0]["pid"] as? Int == 12)
    #expect(processes[1]["pid"] is NSNull)
    #expect(processes[1]["uptime_seconds"] is NSNull)
    #expect(processes[1]["state"] as? String == "backing_off")
    #expect(processes[1]["next_start_in_seconds"] as? Double == 4)
    #expect((processes[1]["last_exit"] as? [String: String]) == ["signal": "KILL"])
    #expect((processes[1]["health"] as? [String: Any])?["reason"] as? String == "connection refused")
    let phases = try #require(status["phases"] as? [[String: Any]])
    let steps = try #require(phases[0]["steps"] as? [[String: Any]])
    #expect(steps[0]["duration_seconds"] as? Double == 1.234)
    #expect((steps[0]["exit"] as? [String: Int]) == ["code": 0])
    #expect((status["strays"] as? [String: Any])?["count"] as? Int == 2)
    #expect(
      (status["events"] as? [[String: Any]])?.map { $0["text"] as? String } == ["running", "started as 12"])
  }

  @Test func statusJSONKeepsHostileTextWhole() throws {
    let status = try json(Sample.hostileSnapshot, Sample.hostileJournal)
    #expect(status["node"] as? String == Sample.hostile)
    #expect((status["events"] as? [[String: Any]])?.first?["text"] as? String == Sample.hostile)
  }

  @Test func jsonEscapesEveryCharacterThatNeedsIt() throws {
    for value in 0..<0x3000 as Range<UInt32> {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let text = JSON.array([.string("x\(String(Character(scalar)))y")]).text
      #expect(!text.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
      let parsed = try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String]
      #expect(parsed?.first.map { Array($0.unicodeScalars) } == ["x", scalar, "y"])
    }
  }

  @Test(arguments: [
    (Duration.zero, "0.000"), (.milliseconds(7), "0.007"), (.milliseconds(-1500), "-1.500"),
    (.seconds(3600), "3600.000"), (.nanoseconds(-5), "0.000"),
  ])
  func writesSeconds(_ duration: Duration, _ expected: String) {
    #expect(duration.decimalSeconds == expected)
  }

  @Test func repairedBytesStayValid() throws {
    let broken = String(decoding: [0x61, 0xff, 0xc3, 0x28, 0xed, 0xa0, 0x80], as: UTF8.self)
    let text = JSON.array([.string(broken)]).text
    #expect(String(validating: Array(text.utf8), as: UTF8.self) != nil)
    #expect((try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String])?.first == broken)
  }

  // MARK: Metrics

  @Test(arguments: [false, true]) func metricsFollowTheFormat(_ isHostile: Bool) throws {
    let text =
      isHostile
      ? MetricsPage.text(Sample.hostileSnapshot, Sample.hostileJournal)
      : MetricsPage.text(Sample.running, Sample.journal)
    #expect(text.hasSuffix("\n"))
    let sample = try Regex(
      #"^([a-z_]+)(\{([a-z_]+="([^"\\\n]|\\\\|\\"|\\n)*",?)+\})? -?[0-9]+(\.[0-9]+)?$"#)
    var seen: Set<String> = []
    var current = ""
    var series: Set<Substring> = []
    for line in text.split(separator: "\n" as Character, omittingEmptySubsequences: false).dropLast() {
      let words = line.split(separator: " ")
      if line.hasPrefix("# HELP ") {
        current = String(words[2])
        #expect(seen.insert(current).inserted, "\(current) is not in one piece")
      } else if line.hasPrefix("# TYPE ") {
        #expect(words.count == 4 && words[2] == current && ["gauge", "counter"].contains(words[3]))
        #expect((words[3] == "counter") == current.hasSuffix("_total"))
      } else {
        let match = try #require(try sample.firstMatch(in: line), "\(line)")
        #expect(match[1].substring.map(String.init) == current)
        #expect(series.insert(line[..<(line.lastIndex(of: " ") ?? line.endIndex)]).inserted, "twice: \(line)")
      }
    }
  }

  @Test func metricsTellTheState() {
    let lines = Set(MetricsPage.text(Sample.running, Sample.journal).split(separator: "\n").map(String.init))
    for line in [
      #"supervisor_info{version="0.1.0",node="web-1",run_id="r42"} 1"#, "supervisor_ready 1",
      #"supervisor_stage{state="running"} 1"#, #"supervisor_stage{state="draining"} 0"#,
      #"supervisor_process_up{process="app",kind="app"} 1"#,
      #"supervisor_process_up{process="beat",kind="service"} 0"#,
      #"supervisor_process_state{process="beat",kind="service",state="backing_off"} 1"#,
      #"supervisor_process_restarts_total{process="beat",kind="service"} 2"#,
      #"supervisor_process_last_exit_code{process="beat",kind="service"} 137"#,
      #"supervisor_step_duration_seconds{phase="infrastructure",step="migrate"} 1.234"#,
      #"supervisor_check_ok{check="app"} 1"#, "supervisor_events_total 2",
      "supervisor_uptime_seconds 200.500",
    ] { #expect(lines.contains(line), "\(line)") }
  }

  // MARK: HTML

  @Test func theHTMLPageEscapesAndLoadsNothing() {
    let page = StatusPage.text(Sample.hostileSnapshot, Sample.hostileJournal)
    #expect(!page.contains("<b>"))
    #expect(!page.contains("\u{1b}") && !page.contains("\u{0}"))
    #expect(page.contains("&lt;b&gt;&quot;&#39;&amp;"))
    for outside in ["http:", "https:", "<script", "<img", "src=", "@import", "url("] {
      #expect(!page.contains(outside), "\(outside)")
    }
    #expect(page.contains(#"name="viewport""#))
    #expect(page.contains(#"http-equiv="refresh""#))
  }

  @Test func theHTMLPageIsWellFormed() throws {
    for page in [
      StatusPage.text(Sample.running, Sample.journal),
      StatusPage.text(Sample.hostileSnapshot, Sample.hostileJournal),
    ] {
      var open: [String] = []
      for match in page.matches(of: try Regex(#"<(/?)([a-z0-9]+)[^>]*>"#)) {
        let name = String(match[2].substring ?? "")
        if ["meta"].contains(name) { continue }
        if match[1].substring == "/" { #expect(open.popLast() == name) } else { open.append(name) }
      }
      #expect(open.isEmpty, "left open: \(open)")
    }
  }

  @Test func theHTMLPageSaysWhyNotReady() {
    var snapshot = Sample.running
    #expect(!StatusPage.text(snapshot, Sample.journal).contains("Why not ready"))
    snapshot.checks[0] = .init(name: "app", isOK: false, detail: "is <down>")
    #expect(StatusPage.text(snapshot, Sample.journal).contains("<li>app: is &lt;down&gt;</li>"))
  }

  // MARK: Text

  @Test func theTableIsAsPeopleReadIt() {
    #expect(
      StatusText.render(Sample.running, Sample.journal) == """
        supervisor 0.1.0, pid 1, up 3m20s, node web-1, run r42
        running, ready

        PROCESS  STATE        PID  UP     RESTARTS  HEALTH     LAST EXIT
        app      running      12   3m17s  0         healthy    -
        beat     backing off  -    -      2         unhealthy  signal KILL
          health: connection refused
          next start in 4s

        PHASE           STATE   TRIES  TOOK   EXIT
        infrastructure  done
          migrate       done    2      1.2s   exit 0
        node            done
          static        failed  1      1m15s  exit 3
            ended with exit 3

        strays: 2 (sleep, sh)

        note: not a subreaper: Operation not permitted

        latest events (UTC):
          00:00:03 stage: running
          00:00:03 process app: started as 12

        """)
  }

  @Test(arguments: [-1, 0, 40, 80, 132, Int.max])
  func noLineIsWiderThanTheTerminal(_ width: Int) {
    var snapshot = Sample.running
    snapshot.processes[0].name = String(repeating: "n", count: 200)
    snapshot.checks = [.init(name: "web", isOK: false, detail: String(repeating: "long ", count: 500))]
    snapshot.stage = .draining
    let text = StatusText.render(snapshot, Sample.journal, width: width)
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= min(max(width, 40), 1000) })
    #expect(text.contains("draining, not ready\n  web: long"))
  }

  @Test func hostileTextCannotForgeALine() {
    let plain = StatusText.render(Sample.hostileSnapshot, Sample.hostileJournal, width: 400)
    #expect(!plain.unicodeScalars.contains { $0.value < 0x20 && $0 != "\n" })
    #expect(!plain.contains("\n[31m") && !plain.contains("\r"))
  }

  @Test func anEmptySupervisorHasAPageToo() throws {
    let snapshot = Snapshot(
      takenAt: Sample.moment(0), version: "1", pid: 1, nodeName: "a", stage: .settings,
      startedAt: Sample.moment(0))
    #expect(
      StatusText.render(snapshot, Journal()).hasPrefix(
        "supervisor 1, pid 1, up 0s, node a\nsettings, not ready\n"))
    #expect((try json(snapshot, Journal())["events"] as? [Any])?.isEmpty == true)
    #expect(!StatusPage.text(snapshot, Journal()).contains("<table"))
  }
}
