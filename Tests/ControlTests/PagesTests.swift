import EventLoop
import Journal
import Testing

@testable import Control

@Suite struct PagesTests {
  private final class Recorder {
    var snapshotCount = 0
    var requests: [ControlRequest] = []
    var outcome = ControlOutcome.accepted("will do")
  }

  private func respond(
    _ request: HTTPRequest, from peer: Peer = .tcp, snapshot: Snapshot = Sample.running,
    recorder: Recorder = Recorder()
  ) -> HTTPResponse {
    let pages = Pages(
      ownUserID: 1000,
      snapshot: {
        recorder.snapshotCount += 1
        return snapshot
      },
      journal: { Sample.journal },
      control: {
        recorder.requests.append($0)
        return recorder.outcome
      })
    return pages.response(to: request, from: peer)
  }

  private func text(_ response: HTTPResponse) -> String { String(decoding: response.body, as: UTF8.self) }

  // MARK: Reading

  @Test func livezNeedsNothingButTheLoop() {
    let recorder = Recorder()
    var snapshot = Sample.running
    snapshot.stage = .settings
    let response = respond(HTTPRequest(.get, path: ["livez"]), snapshot: snapshot, recorder: recorder)
    #expect(response.status == 200)
    #expect(recorder.snapshotCount == 0)
  }

  @Test func readyzSaysWhatFailsAndWhy() {
    var snapshot = Sample.running
    #expect(respond(HTTPRequest(.get, path: ["readyz"])).status == 200)
    snapshot.checks[1] = .init(name: "health:app", isOK: false, detail: "connection\nrefused")
    let response = respond(HTTPRequest(.get, path: ["readyz"]), snapshot: snapshot)
    #expect(response.status == 503)
    #expect(text(response) == "not ready\nhealth:app: connection refused\n")
    snapshot.stage = .draining
    #expect(text(respond(HTTPRequest(.get, path: ["readyz"]), snapshot: snapshot)).contains("draining"))
  }

  @Test func readyzVerboseListsEveryCheck() {
    let verbose = HTTPRequest(.get, path: ["readyz"], query: [.init("verbose")])
    #expect(text(respond(verbose)) == "[ok]   app: up\n[ok]   health:app\nready\n")
    var snapshot = Sample.running
    snapshot.checks[0] = .init(name: "app", isOK: false, detail: "down")
    snapshot.stage = .draining
    let response = respond(verbose, snapshot: snapshot)
    #expect(response.status == 503)
    #expect(
      text(response)
        == "[fail] stage: the stage is draining\n[fail] app: down\n[ok]   health:app\nnot ready\n")
    let plain = HTTPRequest(.get, path: ["readyz"], query: [.init("verbose", "0")])
    #expect(text(respond(plain)) == "ready\n")
  }

  @Test func startupzWaitsForPhasesAndApp() {
    let request = HTTPRequest(.get, path: ["startupz"])
    #expect(respond(request).status == 200)
    var snapshot = Sample.running
    snapshot.stage = .node
    snapshot.phases[1].state = .running
    snapshot.processes[0].incarnation = 0
    let response = respond(request, snapshot: snapshot)
    #expect(response.status == 503)
    #expect(text(response) == "not started\nnode: the phase is running\napp: has not been started yet\n")
    let verbose = HTTPRequest(.get, path: ["startupz"], query: [.init("verbose")])
    #expect(
      text(respond(verbose, snapshot: snapshot)).hasPrefix("[ok]   infrastructure: the phase is done\n"))
  }

  @Test func rolesAreStrict() {
    for (role, primary, replica) in [
      (Snapshot.Role.none, 503, 503), (.unknown, 503, 503), (.primary, 200, 503), (.replica, 503, 200),
    ] {
      var snapshot = Sample.running
      snapshot.role = role
      let answers = ["primary", "replica"].map { respond(HTTPRequest(.get, path: [$0]), snapshot: snapshot) }
      #expect(answers.map(\.status) == [primary, replica])
      #expect(text(answers[0]) == "role: \(role.rawValue)\n")
    }
  }

  @Test(arguments: [
    ["nothing"], ["livez", ""], ["", "livez"], ["LIVEZ"], ["status", "x"], ["processes"],
    ["processes", "app"],
    ["processes", "app", "explode"], ["processes", "app", "restart", ""],
  ])
  func otherPathsAreNotFound(_ path: [String]) {
    #expect(respond(HTTPRequest(.get, path: path)).status == 404)
    #expect(respond(HTTPRequest(.post, path: path), from: .unix(pid: 5, uid: 0)).status == 404)
  }

  @Test(arguments: ["", "livez", "startupz", "readyz", "primary", "replica", "status", "metrics"])
  func pagesAreOnlyForReading(_ name: String) {
    let path = name.isEmpty ? [] : [name]
    let response = respond(HTTPRequest(.post, path: path), from: .unix(pid: 5, uid: 0))
    #expect(response.status == 405)
    #expect(response.allow == "GET, HEAD")
    #expect([200, 503].contains(respond(HTTPRequest(.head, path: path)).status))
  }

  @Test func statusComesAsJSONOrText() {
    let json = respond(HTTPRequest(.get, path: ["status"]))
    #expect(json.contentType == "application/json")
    #expect(json.body.first == UInt8(ascii: "{"))
    let plain = respond(HTTPRequest(.get, path: ["status"], query: [.init("format", "text")]))
    #expect(text(plain).hasPrefix("supervisor 0.1.0"))
    #expect(respond(HTTPRequest(.get, path: ["status"], query: [.init("format", "x")])).status == 400)
  }

  // MARK: Changing

  @Test(
    arguments: [
      ("restart", [], ControlRequest.restart("a/b")),
      ("stop", [], .stop("a/b")),
      ("start", [], .start("a/b")),
      ("signal", [HTTPRequest.QueryItem("signal", "sigusr1")], .signal("a/b", .user1)),
      ("signal", [HTTPRequest.QueryItem("signal", "RTMIN+3")], .signal("a/b", .containerHalt)),
    ] as [(String, [HTTPRequest.QueryItem], ControlRequest)])
  func changesReachTheLifeCycle(
    _ verb: String, _ query: [HTTPRequest.QueryItem], _ expected: ControlRequest
  ) {
    let recorder = Recorder()
    let request = HTTPRequest(.post, path: ["processes", "a/b", verb], query: query)
    for uid: UInt32 in [0, 1000] {
      recorder.requests = []
      let response = respond(request, from: .unix(pid: 5, uid: uid), recorder: recorder)
      #expect(response.status == 202)
      #expect(text(response) == "will do\n")
      #expect(recorder.requests == [expected])
    }
  }

  @Test func changesAreForOurUserAndRootOnTheSocketOnly() {
    let recorder = Recorder()
    let request = HTTPRequest(.post, path: ["processes", "app", "stop"])
    for peer in [Peer.tcp, .unix(pid: 5, uid: 1001), .unix(pid: 0, uid: 65534)] {
      let response = respond(request, from: peer, recorder: recorder)
      #expect(response.status == 403)
      #expect(!response.body.isEmpty)
    }
    let get = respond(
      HTTPRequest(.get, path: ["processes", "app", "stop"]), from: .unix(pid: 5, uid: 0), recorder: recorder)
    #expect(get.status == 405)
    #expect(get.allow == "POST")
    #expect(recorder.requests.isEmpty)
  }

  @Test(arguments: [[], [HTTPRequest.QueryItem("signal", "NOPE")], [.init("signal", "65")]])
  func aSignalMustBeNamed(_ query: [HTTPRequest.QueryItem]) {
    let recorder = Recorder()
    let request = HTTPRequest(.post, path: ["processes", "app", "signal"], query: query)
    #expect(respond(request, from: .unix(pid: 5, uid: 0), recorder: recorder).status == 400)
    #expect(recorder.requests.isEmpty)
  }

  @Test func otherOutcomesAreToldApart() {
    let recorder = Recorder()
    let request = HTTPRequest(.post, path: ["processes", "ap", "stop"])
    recorder.outcome = .unknownProcess(["app", "beat"])
    let unknown = respond(request, from: .unix(pid: 5, uid: 0), recorder: recorder)
    #expect(unknown.status == 404)
    #expect(text(unknown) == "no process is called 'ap'; there are: app, beat\n")
    recorder.outcome = .refused("stopping already")
    let refused = respond(request, from: .unix(pid: 5, uid: 0), recorder: recorder)
    #expect(refused.status == 409)
    #expect(text(refused) == "stopping already\n")
  }
}
