import CLinux
import EventLoop
import Glibc
import Journal
import Synchronization
import Testing

@testable import Control

/// A directory of its own for one test.
final class TemporaryDirectory {
  let path: String

  init(nameLength: Int = 0) throws {
    var template = Array("/tmp/control-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw SystemError(code: errno, operation: "make a directory") }
    var path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    // Others than its owner come in too, as they do to a run_dir.
    chmod(path, 0o755)
    if nameLength > 0 {
      path += "/" + String(repeating: "d", count: nameLength)
      mkdir(path, 0o755)
    }
    self.path = path
  }

  var socketPath: String { RunDirectory.socketPath(in: path) }

  deinit {
    unlink(socketPath)
    rmdir(path)
    if let slash = path.lastIndex(of: "/") { rmdir(String(path[..<slash])) }
  }
}

/// A control socket on a loop on a thread of its own, for clients that block.
final class SocketThread {
  private final class Start: Sendable {
    let directory: String
    let stop: CInt
    let isReady = Mutex(false)
    let body: @Sendable (HTTPRequest, Peer) -> HTTPResponse

    init(_ directory: String, _ stop: CInt, _ body: @escaping @Sendable (HTTPRequest, Peer) -> HTTPResponse) {
      self.directory = directory
      self.stop = stop
      self.body = body
    }
  }

  private var thread = pthread_t()
  private let stopPair: [CInt]

  init(_ directory: String, _ body: @escaping @Sendable (HTTPRequest, Peer) -> HTTPResponse) throws {
    // Close-on-exec: what other tests start may live long.
    var ends: [CInt] = [-1, -1]
    let type = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue
    try #require(socketpair(AF_UNIX, CInt(type), 0, &ends) == 0)
    stopPair = ends
    let start = Start(directory, ends[0], body)
    let context = Unmanaged.passRetained(start).toOpaque()
    let result = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        let start = Unmanaged<Start>.fromOpaque(context).takeRetainedValue()
        do {
          let loop = try EventLoop()
          let socket = try ControlSocket(
            on: loop, runDirectory: start.directory, limits: ServerRig.patient, handler: start.body)
          try loop.watch(start.stop, for: .reading) { _ in loop.stop() }
          start.isReady.withLock { $0 = true }
          loop.run()
          loop.unwatch(start.stop)
          socket.close()
        } catch {
          Issue.record(error)
        }
        return nil
      }, context)
    try #require(result == 0)
    let end = MonotonicInstant.now + .seconds(30)
    while !start.isReady.withLock({ $0 }) {
      try #require(MonotonicInstant.now < end, "the socket's thread does not come up")
      sched_yield()
    }
  }

  deinit {
    // Told, not closed: a process between fork and exec holds a copy.
    _ = clinux_write(stopPair[1], [1], 1)
    pthread_join(thread, nil)
    for end in stopPair { _ = clinux_close(end) }
  }
}

/// Ends a listening socket as its owner's death does. Closing alone would not: a process that another test starts at
/// this moment holds a copy until its exec, and a copy goes on listening.
private func endListening(_ listener: CInt) {
  shutdown(listener, CInt(SHUT_RDWR))
  _ = clinux_close(listener)
}

@Suite struct ControlSocketTests {
  private func open(_ directory: TemporaryDirectory) throws -> ControlSocket {
    try ControlSocket(on: EventLoop(), runDirectory: directory.path) { _, _ in .text(200, "ok") }
  }

  @Test func isOpenToAllAndGoesAtTheEnd() throws {
    let directory = try TemporaryDirectory()
    let socket = try open(directory)
    var status = stat()
    #expect(lstat(directory.socketPath, &status) == 0)
    #expect(status.st_mode & S_IFMT == S_IFSOCK)
    #expect(status.st_mode & 0o777 == 0o666)
    socket.close()
    #expect(lstat(directory.socketPath, &status) == -1)
    socket.close()
  }

  @Test func aDeadSocketIsReplacedALiveOneIsNot() throws {
    let directory = try TemporaryDirectory()
    let dead = clinux_unix_listen(directory.socketPath, 0o600, 1)
    #expect(dead >= 0)
    #expect(throws: ControlSocketError.inUse(path: directory.socketPath)) { try open(directory) }
    endListening(dead)
    let socket = try open(directory)
    #expect(throws: ControlSocketError.inUse(path: directory.socketPath)) { try open(directory) }
    // The attempt has not taken the file away.
    var status = stat()
    #expect(lstat(directory.socketPath, &status) == 0)
    socket.close()
  }

  @Test func aLiveSocketWithAFullQueueIsLive() throws {
    let directory = try TemporaryDirectory()
    let listener = clinux_unix_listen(directory.socketPath, 0o600, 0)
    defer { _ = clinux_close(listener) }
    var waiting: [CInt] = []
    defer { for descriptor in waiting { _ = clinux_close(descriptor) } }
    while case let descriptor = clinux_unix_connect_within(directory.socketPath, 0), descriptor >= 0 {
      waiting.append(descriptor)
    }
    #expect(throws: ControlSocketError.inUse(path: directory.socketPath)) { try open(directory) }
  }

  @Test func aFileInTheWayIsLeftAlone() throws {
    let directory = try TemporaryDirectory()
    _ = clinux_close(creat(directory.socketPath, 0o600))
    #expect(throws: ControlSocketError.inTheWay(path: directory.socketPath)) { try open(directory) }
    var status = stat()
    #expect(lstat(directory.socketPath, &status) == 0)
  }

  @Test func aMissingDirectoryIsAnErrorWithThePath() throws {
    let error = #expect(throws: ControlSocketError.self) {
      try ControlSocket(on: EventLoop(), runDirectory: "/nonexistent") { _, _ in .text(200, "ok") }
    }
    #expect(error?.description.contains("/nonexistent/control.sock: No such file or directory") == true)
  }

  @Test func theSocketOfAnotherIsNotRemoved() throws {
    let directory = try TemporaryDirectory()
    let socket = try open(directory)
    unlink(directory.socketPath)
    let other = clinux_unix_listen(directory.socketPath, 0o600, 1)
    defer { _ = clinux_close(other) }
    socket.close()
    var status = stat()
    #expect(lstat(directory.socketPath, &status) == 0)
  }

  @Test func aLongPathWorks() throws {
    let directory = try TemporaryDirectory(nameLength: 180)
    let thread = try SocketThread(directory.path) { _, _ in .text(200, "far away") }
    let answer = try ControlClient(directories: [directory.path], timeout: .seconds(30)).send(.get, "/")
    #expect(answer.text == "far away")
    withExtendedLifetime(thread) {}
  }

  // MARK: Clients

  @Test func theClientGetsAnswersAndThePeerIsKnown() throws {
    let directory = try TemporaryDirectory()
    let thread = try SocketThread(directory.path) { request, peer in
      .text(200, "\(request.method.rawValue) \(request.path) \(request.query.map(\.value)) \(peer)")
    }
    let client = ControlClient(
      directories: ["/nonexistent", "/dev/null", directory.path], timeout: .seconds(30))
    let target = "/processes/\(ControlClient.percentEncoded("a/b ä?"))/signal?signal=RTMIN%2B3"
    let answer = try client.send(.post, target)
    let peer = Peer.unix(pid: getpid(), uid: geteuid())
    #expect(answer.text == "POST [\"processes\", \"a/b ä?\", \"signal\"] [\"RTMIN+3\"] \(peer)")
    #expect(try client.send(.head, "/").body.isEmpty)
    withExtendedLifetime(thread) {}
  }

  @Test func aLongAnswerArrivesWhole() throws {
    let directory = try TemporaryDirectory()
    let body = String(repeating: "0123456789abcdef", count: 1 << 18)
    let thread = try SocketThread(directory.path) { _, _ in HTTPResponse(status: 200, body: body) }
    #expect(
      try ControlClient(directories: [directory.path], timeout: .seconds(30)).send(.get, "/").text == body)
    withExtendedLifetime(thread) {}
  }

  @Test func withoutASupervisorItSaysWhereItLooked() throws {
    let directory = try TemporaryDirectory()
    endListening(clinux_unix_listen(directory.socketPath, 0o600, 1))
    let tried = ["/nonexistent/control.sock", directory.socketPath]
    #expect(throws: ControlClientError.noSupervisor(tried: tried)) {
      try ControlClient(directories: ["/nonexistent", directory.path]).send(.get, "/")
    }
  }

  @Test func aSupervisorThatDoesNotAnswerIsATimeout() throws {
    let directory = try TemporaryDirectory()
    let listener = clinux_unix_listen(directory.socketPath, 0o600, 0)
    defer { _ = clinux_close(listener) }
    let time = Duration.milliseconds(100)
    let client = ControlClient(directories: [directory.path], timeout: time)
    let expected = ControlClientError.timeout(path: directory.socketPath, time)
    // The first one waits for the answer, later ones already for a place in the queue.
    for _ in 0..<3 { #expect(throws: expected) { try client.send(.get, "/") } }
    var waiting: [CInt] = []
    defer { for descriptor in waiting { _ = clinux_close(descriptor) } }
    while case let descriptor = clinux_unix_connect_within(directory.socketPath, 0), descriptor >= 0 {
      waiting.append(descriptor)
    }
    #expect(throws: expected) { try client.send(.get, "/") }
  }

  @Test(arguments: [
    "", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n1234", "SSH-2.0\r\n\r\n",
  ])
  func aBrokenAnswerIsNotTaken(_ text: String) throws {
    let directory = try TemporaryDirectory()
    let listener = clinux_unix_listen(directory.socketPath, 0o600, 4)
    defer { _ = clinux_close(listener) }
    // A supervisor that answers with this text, whatever is asked.
    let server = Thread {
      var request = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
      poll(&request, 1, 30_000)
      let connection = clinux_accept(listener)
      request.fd = connection
      poll(&request, 1, 30_000)
      var buffer = [UInt8](repeating: 0, count: 4096)
      _ = buffer.withUnsafeMutableBytes { read(connection, $0.baseAddress, $0.count) }
      _ = Array(text.utf8).withUnsafeBytes { write(connection, $0.baseAddress, $0.count) }
      _ = clinux_close(connection)
    }
    let error = #expect(throws: ControlClientError.self) {
      try ControlClient(directories: [directory.path], timeout: .seconds(30)).send(.get, "/")
    }
    guard case .broken = error else {
      Issue.record("\(String(describing: error))")
      return
    }
    server.join()
  }

  /// In a process of its own, since the user of a process is one for all its threads.
  @Test(.enabled(if: geteuid() == 0, "needs root to become somebody else"))
  func othersMayReadButNotChange() async {
    await #expect(processExitsWith: .success) {
      struct Failure: Error {}
      let directory = try TemporaryDirectory()
      let thread = try SocketThread(directory.path) { request, peer in
        let pages = Pages(
          ownUserID: 0, snapshot: { Sample.running }, journal: { Sample.journal },
          control: { _ in .accepted("done") })
        return pages.response(to: request, from: peer)
      }
      let client = ControlClient(directories: [directory.path], timeout: .seconds(30))
      guard try client.send(.post, "/processes/app/stop").status == 202 else { throw Failure() }
      guard seteuid(12_345) == 0 else { throw Failure() }
      guard try client.send(.get, "/readyz").status == 200 else { throw Failure() }
      let answer = try client.send(.post, "/processes/app/stop")
      guard answer.status == 403, answer.text.contains("12345") else { throw Failure() }
      guard seteuid(0) == 0 else { throw Failure() }
      withExtendedLifetime(thread) {}
    }
  }

  // MARK: Where

  @Test(
    arguments: [
      (nil, [:], ["/run/supervisor", "/tmp/supervisor-7"]),
      (
        nil, ["XDG_RUNTIME_DIR": "/run/user/7/"],
        ["/run/supervisor", "/run/user/7/supervisor", "/tmp/supervisor-7"]
      ),
      (nil, ["XDG_RUNTIME_DIR": "relative"], ["/run/supervisor", "/tmp/supervisor-7"]),
      (nil, ["SUPERVISOR_RUN_DIR": "/a/", "XDG_RUNTIME_DIR": "/x"], ["/a"]),
      (nil, ["SUPERVISOR_RUN_DIR": ""], ["/run/supervisor", "/tmp/supervisor-7"]),
      ("/b", ["SUPERVISOR_RUN_DIR": "/a"], ["/b"]),
      ("/", [:], ["/"]),
    ] as [(String?, [String: String], [String])])
  func runDirectoriesAreLookedForInOrder(
    _ chosen: String?, _ environment: [String: String], _ expected: [String]
  ) {
    #expect(
      RunDirectory.candidates(chosen: chosen, environment: { environment[$0] }, userID: 7) == expected)
  }
}

/// A thread that runs one closure.
private final class Thread {
  private final class Box: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }

  private var thread = pthread_t()

  init(_ body: @escaping @Sendable () -> Void) {
    pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body() }
        return nil
      }, Unmanaged.passRetained(Box(body)).toOpaque())
  }

  func join() {
    pthread_join(thread, nil)
  }
}
