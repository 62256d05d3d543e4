import AgentProtocol

extension Golden {
  private static func request(_ name: String, _ request: LiteFSRequest) -> Golden {
    Golden("litefs-" + name, .request(.litefs(request)))
  }

  private static func report(_ name: String, _ report: LiteFSReport) -> Golden {
    Golden("litefs-" + name, .report(.litefs(report)))
  }

  private static let node = "5AD3C1F00A1B2C3D"

  static let liteFSRequests: [Golden] = [
    request(
      "watch",
      .watch(
        LiteFSPlace(
          mountPath: "/litefs", dataPath: "/var/lib/litefs", host: "::1", port: 20202,
          databases: ["app.db", "cache.db"]))),
    request(
      "watch-all",
      .watch(
        LiteFSPlace(
          mountPath: "/litefs", dataPath: "/data", host: "127.0.0.1", port: 20202,
          interval: .milliseconds(500)))),
    request("running", .running(true)),
    request("stopped", .running(false)),
    request("look", .look),
    request("clear", .clear(id: 1, abort: false)),
    request("abort", .clear(id: 2, abort: true)),
    request("holders-find", .holders(id: 3)),
    request("promote", .promote(id: 4)),
    request("handoff", .handoff(id: 5, nodeID: node)),
  ]

  static let liteFSReports: [Golden] = [
    report("mount", .mount(LiteFSMount(.works, layers: 1, freeSpace: 123_456_789))),
    report(
      "mount-hung", .mount(LiteFSMount(.hung, text: "no answer", layers: 2, hungFor: .seconds(3)))),
    report(
      "info",
      .info(
        body: Array("{\"isPrimary\":true}\n".utf8), nodeID: node, clusterID: "LFSC0123456789ABCDEF",
        askedBefore: .milliseconds(2))),
    report("info-failed", .infoFailed("connection refused")),
    report("event", .event(line: Array("{\"type\":\"init\",\"data\":{\"isPrimary\":true}}".utf8))),
    report("stream-ended", .streamEnded("closed")),
    report("lag", .lag("+000000330", readBefore: .milliseconds(1))),
    report(
      "positions",
      .positions([
        "app.db": "0000000000000002/ec3f1536d45c9e35", "my cache.db": "0000000000000001/ab125b121374c4e2",
      ])),
    report("variables", .variables(body: Array("{\"store\":{}}".utf8), askedBefore: .milliseconds(1))),
    report("variables-failed", .variablesFailed("no answer")),
    report("paused", .paused),
    report("cleared", .cleared(id: 1)),
    report(
      "holders",
      .holders(
        id: 3,
        [LiteFSHolder(pid: 42, what: "cwd /litefs"), LiteFSHolder(pid: 43, what: "file /litefs/my app.db")])),
    report("done", .done(id: 4)),
    report("failed", .failed(id: 5, "invalid node id")),
  ]
}
