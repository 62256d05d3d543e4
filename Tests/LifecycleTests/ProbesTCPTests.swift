import CLinux
import Checks
import EventLoop
import Glibc
import Testing

@testable import Lifecycle

private let loopback6: [UInt8] = Array(repeating: 0, count: 15) + [1]

/// A port on which nobody listens: bound, so that nobody else gets it, but not listening.
private final class DeadPort {
  let port: UInt16
  let descriptor: CInt

  init() throws {
    let unbound = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
    try #require(DeadPort.call(bind, unbound, port: 0) == 0)
    descriptor = unbound
    port = UInt16(try SystemError.check(clinux_bound_port(unbound), "find the port"))
  }

  /// bind or connect, to 127.0.0.1.
  static func call(
    _ body: (CInt, UnsafePointer<sockaddr>, socklen_t) -> CInt, _ descriptor: CInt, port: UInt16
  ) -> CInt {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }

  deinit { _ = clinux_close(descriptor) }
}

@Suite struct ProbesTCPTests {
  private func probe(
    _ host: CheckEndpoint.Host, _ port: UInt16, loop: EventLoop, timeout: Duration = ample
  ) throws -> CheckOutcome {
    let report = ProbeReport()
    let address = CheckEndpoint(host: host, port: port)
    let probe = TCPProbe.start(loop: loop, address: address, timeout: timeout, completion: report.take)
    #expect(report.outcome == nil, "a report before the call returned")
    try loop.run { report.outcome != nil }
    loop.turn(waiting: false)
    probe.cancel()
    #expect(report.outcomes.count == 1)
    return try #require(report.outcome)
  }

  @Test func aListeningPortPasses() throws {
    let loop = try EventLoop()
    let server = try StandInServer(.silent, on: loop)
    #expect(try probe(.loopback4, server.port, loop: loop) == .passed)
    #expect(try probe(.localhost, server.port, loop: loop) == .passed)
    // The connections are closed, not left behind.
    try loop.run { server.closedByPeer == 2 }
  }

  @Test(.enabled(if: hasIPv6, "this host has no IPv6 loopback")) func localhostPassesOnEitherAddress() throws
  {
    let loop = try EventLoop()
    let dead = try DeadPort()
    let server = try StandInServer(.silent, on: loop, at: loopback6, port: dead.port)
    #expect(try probe(.loopback6, server.port, loop: loop) == .passed)
    #expect(try probe(.localhost, server.port, loop: loop) == .passed)
    #expect(
      try probe(.loopback4, server.port, loop: loop)
        == .failed("connection refused at 127.0.0.1:\(server.port)"))
  }

  @Test(arguments: [(CheckEndpoint.Host.loopback4, "127.0.0.1"), (.localhost, "localhost")])
  func aDeadPortIsRefused(host: CheckEndpoint.Host, name: String) throws {
    let loop = try EventLoop()
    let dead = try DeadPort()
    let outcome = try probe(host, dead.port, loop: loop)
    #expect(outcome == .failed("connection refused at \(name):\(dead.port)"))
  }

  @Test func aFullQueueIsNoConnection() throws {
    let loop = try EventLoop()
    let server = try StandInServer(.neverAccept, on: loop, backlog: 0)
    var address = clinux_address()
    address.length = 4
    address.port = server.port
    withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: [127, 0, 0, 1]) }
    var isPending = false
    let fillers = (0..<4).map { _ in clinux_tcp_connect(&address, &isPending) }
    defer { for filler in fillers { _ = clinux_close(filler) } }
    // The kernel may take its time with them; the first connection that is made fills the queue.
    var waiting = fillers.map { pollfd(fd: $0, events: Int16(POLLOUT), revents: 0) }
    #expect(poll(&waiting, nfds_t(waiting.count), 30_000) > 0)
    let outcome = try probe(.loopback4, server.port, loop: loop, timeout: .milliseconds(150))
    #expect(outcome == .failed("no connection within 150ms at 127.0.0.1:\(server.port)"))
  }

  @Test func aCancelledProbeIsSilentAndGone() throws {
    let loop = try EventLoop()
    let server = try StandInServer(.silent, on: loop)
    let report = ProbeReport()
    let address = CheckEndpoint(host: .loopback4, port: server.port)
    weak var remains: (any ProbeHandle)?
    do {
      let probe = TCPProbe.start(loop: loop, address: address, timeout: ample, completion: report.take)
      remains = probe
      probe.cancel()
      probe.cancel()
    }
    #expect(remains == nil)
    #expect(try probe(.loopback4, server.port, loop: loop) == .passed)
    #expect(report.outcomes.isEmpty)
  }

  @Test func aProbeLivesWithoutItsHandleAndNoLonger() throws {
    let loop = try EventLoop()
    let server = try StandInServer(.silent, on: loop)
    let report = ProbeReport()
    let address = CheckEndpoint(host: .loopback4, port: server.port)
    weak let probe = TCPProbe.start(loop: loop, address: address, timeout: ample, completion: report.take)
    #expect(probe != nil)
    try loop.run { report.outcome != nil }
    #expect(probe == nil)
  }

  @Test(arguments: [
    (ECONNREFUSED, "refused"), (EMFILE, "us"), (ENFILE, "us"), (ENOBUFS, "us"), (ENOMEM, "us"),
    (EAGAIN, "us"),
    (EADDRNOTAVAIL, "us"), (EAFNOSUPPORT, "absent"), (EHOSTUNREACH, "service"), (ENETUNREACH, "service"),
    (ETIMEDOUT, "service"), (ECONNRESET, "service"), (EACCES, "service"), (EPERM, "service"),
  ])
  func errnoSaysWhoseFaultItIs(error: CInt, blame: String) throws {
    let candidate = try #require(CheckEndpoint(host: .loopback4, port: 80).candidates.first)
    let found: (String, String) =
      switch ProbeAttempt.connectFailure(error, at: candidate) {
      case .refused: ("refused", "127.0.0.1:80")
      case .failed(let reason): ("service", reason)
      case .absent(let reason): ("absent", reason)
      case .couldNotRun(let reason): ("us", reason)
      case .passed, .answered: ("", "")
      }
    #expect(found.0 == blame)
    #expect(found.1.contains("127.0.0.1:80"))
  }

  @Test func aSocketThatIsConnectedToItselfIsKnown() throws {
    let loop = try EventLoop()
    let server = try StandInServer(.silent, on: loop)
    let itself = try DeadPort()
    try #require(DeadPort.call(connect, itself.descriptor, port: itself.port) == 0)
    let own = try #require(CheckEndpoint(host: .loopback4, port: itself.port).candidates.first)
    #expect(ProbeAttempt.isConnectedToItself(itself.descriptor, own))

    let other = try DeadPort()
    try #require(DeadPort.call(connect, other.descriptor, port: server.port) == 0)
    let candidate = try #require(CheckEndpoint(host: .loopback4, port: server.port).candidates.first)
    #expect(!ProbeAttempt.isConnectedToItself(other.descriptor, candidate))
  }

  @Test func missingIPv6IsNoFailure() throws {
    let candidate = try #require(CheckEndpoint(host: .loopback6, port: 80).candidates.first)
    #expect(
      ProbeAttempt.connectFailure(EADDRNOTAVAIL, at: candidate)
        == .absent("connect to [::1]:80: Cannot assign requested address"))
  }
}

/// Whether `::1` exists here.
private let hasIPv6: Bool = {
  guard let descriptor = try? StandInServer.listen(loopback6, 0, 1) else { return false }
  _ = clinux_close(descriptor)
  return true
}()
