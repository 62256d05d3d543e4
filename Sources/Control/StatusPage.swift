import EventLoop
import Journal

/// `/`: the status for people with a browser: one small page, nothing loaded from elsewhere, no script.
enum StatusPage {
  static let eventLimit = 30

  static func response(_ snapshot: Snapshot, _ journal: Journal) -> HTTPResponse {
    HTTPResponse(status: 200, contentType: "text/html; charset=utf-8", body: text(snapshot, journal))
  }

  static func text(_ snapshot: Snapshot, _ journal: Journal) -> String {
    let now = snapshot.takenAt.monotonic
    var page = """
      <!doctype html>
      <html lang="en"><head><meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta http-equiv="refresh" content="5">
      <title>\(escape(snapshot.nodeName)): \(snapshot.stage.rawValue)</title>
      <style>\(style)</style></head><body>
      <h1>\(escape(snapshot.nodeName))</h1>

      """
    page += summary(snapshot)
    page += processes(snapshot.processes, now)
    for phase in snapshot.phases { page += section(phase, now) }
    page += list("Notes", snapshot.notes)
    if snapshot.strays.count > 0 { page += list("Strays: \(snapshot.strays.count)", snapshot.strays.names) }
    page += events(journal)
    page += """
      <footer>As of \(snapshot.takenAt.wall.iso8601), renewed every 5 s.
      <a href="status">JSON</a> <a href="metrics">metrics</a> <a href="readyz?verbose">readyz</a></footer>
      </body></html>

      """
    return page
  }

  private static let style = """
    :root{color-scheme:light dark}body{font:16px/1.4 system-ui,sans-serif;margin:0 auto;padding:0 12px;\
    max-width:60rem}h1{font-size:1.3rem}h2{font-size:1.05rem;margin:1.2rem 0 .3rem}div.t{overflow-x:auto}\
    table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25rem .6rem .25rem 0;\
    vertical-align:top;border-bottom:1px solid #8884}td small{display:block;opacity:.8}\
    .good{color:#198038}.bad{color:#da1e28;font-weight:600}footer{margin:1.5rem 0;opacity:.8}\
    @media(prefers-color-scheme:dark){.good{color:#42be65}.bad{color:#ff8389}}
    """

  private static func summary(_ snapshot: Snapshot) -> String {
    let uptime = (snapshot.takenAt.monotonic - snapshot.startedAt.monotonic).wholeSecondsReadable
    let readiness =
      snapshot.isReady ? "<span class=\"good\">ready</span>" : "<span class=\"bad\">not ready</span>"
    var facts = [
      snapshot.stage.rawValue.replacingUnderscores, readiness, "up \(uptime)",
      "supervisor \(escape(snapshot.version)), pid \(snapshot.pid)",
    ]
    if let runID = snapshot.runID { facts.append("run \(escape(runID))") }
    if snapshot.role != .none { facts.append("role \(snapshot.role.rawValue)") }
    let reasons = snapshot.failures.map { "\($0.name): \($0.detail.isEmpty ? "fails" : $0.detail)" }
    return "<p>\(facts.joined(separator: " &middot; "))</p>\n" + list("Why not ready", reasons)
  }

  private static func processes(_ processes: [Snapshot.Process], _ now: MonotonicInstant) -> String {
    let rows = processes.map { process -> [String] in
      let uptime =
        process.pid == nil ? nil : process.startedAt.map { (now - $0.monotonic).wholeSecondsReadable }
      var reasons: [String] = []
      if let reason = process.reason { reasons.append(reason) }
      if let reason = process.health.reason { reasons.append("health: \(reason)") }
      if let next = process.nextStartAt {
        reasons.append("next start in \(max(next - now, .zero).wholeSecondsReadable)")
      }
      let isBad =
        process.state == .failed || process.state == .backingOff || process.health.state == .unhealthy
      return [
        escape(process.name) + small(reasons),
        state(process.state.rawValue, isGood: process.state == .running && !isBad, isBad: isBad),
        process.pid.map { "\($0)" } ?? "", uptime ?? "", "\(process.restarts)",
        process.health.state == .none ? "" : process.health.state.rawValue,
        escape(process.lastExit?.description ?? ""),
      ]
    }
    return table("Processes", ["name", "state", "pid", "up", "restarts", "health", "last exit"], rows)
  }

  private static func section(_ phase: Snapshot.Phase, _ now: MonotonicInstant) -> String {
    var text = "<h2>Phase \(escape(phase.name)): "
    text +=
      state(phase.state.rawValue, isGood: phase.state == .done, isBad: phase.state == .failed) + "</h2>\n"
    if let other = phase.waitingFor {
      let age = phase.since.map { ", for \((now - $0.monotonic).wholeSecondsReadable)" } ?? ""
      text += "<p>waits for \(escape(other))\(age)</p>\n"
    }
    if let reason = phase.reason { text += "<p>\(escape(reason))</p>\n" }
    let rows = phase.steps.map { step in
      [
        escape(step.name) + small(step.reason.map { [$0] } ?? []),
        state(step.state.rawValue, isGood: step.state == .done, isBad: step.state == .failed),
        "\(step.attempts)", step.duration?.readable ?? "", escape(step.exit?.description ?? ""),
      ]
    }
    return text + table(nil, ["step", "state", "tries", "took", "exit"], rows)
  }

  private static func events(_ journal: Journal) -> String {
    let rows = journal.newest(eventLimit).reversed().map { event in
      [event.moment.wall.clockTime, escape(event.subject), escape(event.text)]
    }
    return table("Latest events (UTC)", ["time", "about", "what"], rows)
  }

  // MARK: Pieces. Cells come escaped, headings and list items are escaped here.

  private static func table(_ title: String?, _ head: [String], _ rows: [[String]]) -> String {
    guard !rows.isEmpty else { return "" }
    var text = title.map { "<h2>\(escape($0))</h2>\n" } ?? ""
    text += "<div class=\"t\"><table><tr>" + head.map { "<th>\(escape($0))</th>" }.joined() + "</tr>\n"
    for row in rows { text += "<tr>" + row.map { "<td>\($0)</td>" }.joined() + "</tr>\n" }
    return text + "</table></div>\n"
  }

  private static func list(_ title: String, _ items: [String]) -> String {
    guard !items.isEmpty else { return "" }
    return "<h2>\(escape(title))</h2>\n<ul>" + items.map { "<li>\(escape($0))</li>" }.joined() + "</ul>\n"
  }

  private static func small(_ lines: [String]) -> String {
    lines.map { "<small>\(escape($0))</small>" }.joined()
  }

  private static func state(_ name: String, isGood: Bool, isBad: Bool) -> String {
    let text = name.replacingUnderscores
    if isBad { return "<span class=\"bad\">\(text)</span>" }
    return isGood ? "<span class=\"good\">\(text)</span>" : text
  }

  /// Text in which nothing is markup, inside and outside of attributes.
  static func escape(_ text: String) -> String {
    var escaped = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "&": escaped += "&amp;"
      case "<": escaped += "&lt;"
      case ">": escaped += "&gt;"
      case "\"": escaped += "&quot;"
      case "'": escaped += "&#39;"
      // HTML has no way at all to write most control characters.
      case _ where scalar.value < 0x20 && scalar != "\n" && scalar != "\t": escaped += "\u{fffd}"
      default: escaped.unicodeScalars.append(scalar)
      }
    }
    return escaped
  }
}
