import CLinux
import EventLoop
import Glibc
import Testing

@testable import Control

/// A server on a loop of its own, driven by the test's thread: clients are non-blocking sockets of the same thread.
final class ServerRig {
  /// Limits that no stall of a busy machine reaches.
  static let patient = HTTPServer.Limits(
    connections: 1024, requestTime: .seconds(60), responseTime: .seconds(60), lingerTime: .seconds(60))

  let loop: EventLoop
  let server: HTTPServer
  let address: clinux_address

  init(
    _ limits: HTTPServer.Limits = ServerRig.patient,
    handler: @escaping HTTPServer.Handler = { _, _ in .text(200, "ok") }
  ) throws {
    ServerRig.raiseDescriptorLimit()
    var address = clinux_address()
    address.length = 4
    withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: [127, 0, 0, 1]) }
    loop = try EventLoop()
    let listener = try SystemError.check(clinux_tcp_listen(&address, 1024), "listen")
    address.port = UInt16(clinux_bound_port(listener))
    self.address = address
    server = try HTTPServer(
      on: loop, listener: FileDescriptor(owning: listener), transport: .tcp, limits: limits, handler: handler)
  }

  /// Tests hold both ends of a thousand connections.
  static func raiseDescriptorLimit() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = min(limit.rlim_max, 65_536)
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  /// Turns the loop until the condition holds; false when it does not within half a minute.
  func turn(until condition: () -> Bool) -> Bool {
    let end = MonotonicInstant.now + .seconds(30)
    while !condition() {
      if .now > end { return false }
      // The loop sleeps until something happens to the server; what happens to a client needs the tick.
      let tick = loop.schedule(after: .milliseconds(2)) {}
      loop.turn(waiting: true)
      loop.cancel(tick)
    }
    return true
  }

  /// A connection that is accepted by the kernel, not yet by the server.
  func connect() throws -> TestClient {
    var address = address
    var isPending = false
    let raw = try SystemError.check(clinux_tcp_connect(&address, &isPending), "connect")
    return TestClient(raw)
  }

  /// Sends bytes over a new connection and returns all that comes back until the server ends it.
  func exchange(_ text: String) throws -> TestClient {
    let client = try connect()
    #expect(turn { client.isWritable })
    client.send(text)
    #expect(turn { client.hasEnded })
    return client
  }
}

/// The client's end of a connection.
final class TestClient {
  let raw: CInt
  private(set) var received: [UInt8] = []
  /// 0 at the end of the stream, an errno after a failure, nil while open.
  private(set) var ending: CInt?

  init(_ raw: CInt) {
    self.raw = raw
  }

  deinit {
    _ = clinux_close(raw)
  }

  var isWritable: Bool {
    var request = pollfd(fd: raw, events: Int16(POLLOUT), revents: 0)
    return poll(&request, 1, 0) == 1
  }

  /// Sends what the kernel takes; returns how much that is.
  @discardableResult
  func send(_ text: String) -> Int {
    let bytes = Array(text.utf8)
    return bytes.withUnsafeBytes { buffer in
      buffer.baseAddress.map { clinux_write(raw, $0, buffer.count) } ?? 0
    }
  }

  /// Takes what has come. Whether the server has ended the connection.
  var hasEnded: Bool {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while ending == nil {
      let count = buffer.withUnsafeMutableBytes { buffer in
        buffer.baseAddress.map { clinux_read(raw, $0, buffer.count) } ?? 0
      }
      if count == -Int(EAGAIN) { return false }
      if count > 0 { received += buffer[..<count] } else { ending = CInt(-count) }
    }
    return true
  }

  func endInput() {
    _ = shutdown(raw, CInt(SHUT_WR))
  }

  /// Makes the closing of this socket a reset.
  func resetOnClose() {
    var linger = linger(l_onoff: 1, l_linger: 0)
    setsockopt(raw, SOL_SOCKET, SO_LINGER, &linger, socklen_t(MemoryLayout.size(ofValue: linger)))
  }

  var text: String { String(decoding: received, as: UTF8.self) }
  var status: Int? { text.split(separator: " ").dropFirst().first.flatMap { Int($0) } }
  var body: String {
    let gap = Array("\r\n\r\n".utf8)
    guard let start = received.indices.first(where: { received[$0...].starts(with: gap) }) else { return "" }
    return String(decoding: received[(start + gap.count)...], as: UTF8.self)
  }
}
