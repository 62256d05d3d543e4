import CLinux
import Checks
import EventLoop
import Glibc
import Testing

@testable import Lifecycle

/// A server on the loop of the test that behaves in one particular way, well or badly.
final class StandInServer {
  enum Behaviour {
    /// Takes connections and says nothing.
    case silent
    /// Sends this after the request, then closes.
    case answer(String)
    /// Sends this after the request, and leaves the connection open.
    case answerAndStay(String)
    /// Sends this without looking at the request, then closes.
    case greet(String)
    /// Sends this one byte per turn of the loop, then closes.
    case drip(String)
    /// Sends this piece for ever.
    case flood(String)
    /// Closes after the request.
    case close
    /// Closes without taking the request, which resets the connection.
    case reset
    /// Never takes a connection.
    case neverAccept
  }

  private struct Connection {
    var received: [UInt8] = []
    var pending: [UInt8]?
  }

  let port: UInt16
  private(set) var requests: [String] = []
  private(set) var accepted = 0
  /// Connections whose other end has gone.
  private(set) var closedByPeer = 0
  /// Connections that it has taken and that neither side has ended.
  var openConnections: Int { connections.count }
  private let loop: EventLoop
  private let behaviour: Behaviour
  private let listener: CInt
  private var connections: [CInt: Connection] = [:]

  /// Listens at `address` (4 or 16 bytes) on `port`, 0 for a free one.
  init(
    _ behaviour: Behaviour, on loop: EventLoop, at bytes: [UInt8] = [127, 0, 0, 1], port: UInt16 = 0,
    backlog: CInt = 16
  ) throws {
    self.loop = loop
    self.behaviour = behaviour
    listener = try StandInServer.listen(bytes, port, backlog)
    self.port = UInt16(try SystemError.check(clinux_bound_port(listener), "find the port"))
    if case .neverAccept = behaviour { return }
    try loop.watch(listener, for: .reading) { [unowned self] _ in self.accept() }
  }

  deinit {
    for descriptor in connections.keys { drop(descriptor) }
    loop.unwatch(listener)
    _ = clinux_close(listener)
  }

  static func listen(_ bytes: [UInt8], _ port: UInt16, _ backlog: CInt) throws -> CInt {
    var address = clinux_address()
    address.length = UInt8(bytes.count)
    address.port = port
    withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: bytes) }
    return try SystemError.check(clinux_tcp_listen(&address, backlog), "listen")
  }

  private func accept() {
    let descriptor = clinux_accept(listener)
    guard descriptor >= 0 else { return }
    accepted += 1
    connections[descriptor] = Connection()
    if case .greet(let text) = behaviour {
      send(text, to: descriptor)
      return drop(descriptor)
    }
    do {
      try loop.watch(descriptor, for: .reading) { [unowned self] in self.ready(descriptor, $0) }
    } catch {
      Issue.record(error)
    }
  }

  private func ready(_ descriptor: CInt, _ readiness: Readiness) {
    if connections[descriptor]?.pending != nil { return push(descriptor) }
    if case .reset = behaviour { return drop(descriptor) }
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = clinux_read(descriptor, &buffer, buffer.count)
    if count == -Int(EAGAIN) { return }
    if count <= 0 {
      closedByPeer += 1
      return drop(descriptor)
    }
    connections[descriptor]?.received += buffer.prefix(count)
    let text = String(decoding: connections[descriptor]?.received ?? [], as: UTF8.self)
    guard text.hasSuffix("\r\n\r\n") else { return }
    requests.append(text)
    respond(descriptor)
  }

  private func respond(_ descriptor: CInt) {
    switch behaviour {
    case .silent, .greet, .neverAccept, .reset: break
    case .close: drop(descriptor)
    case .answer(let text):
      send(text, to: descriptor)
      drop(descriptor)
    case .answerAndStay(let text): send(text, to: descriptor)
    case .drip(let text), .flood(let text):
      connections[descriptor]?.pending = Array(text.utf8)
      loop.setInterest([.reading, .writing], of: descriptor)
    }
  }

  /// One byte, or as much as fits of a piece that is sent for ever.
  private func push(_ descriptor: CInt) {
    guard let pending = connections[descriptor]?.pending else { return }
    var piece = pending
    if case .drip = behaviour { piece = Array(pending.prefix(1)) }
    let count = clinux_write(descriptor, piece, piece.count)
    if count == -Int(EAGAIN) { return }
    if count < 0 {
      closedByPeer += 1
      return drop(descriptor)
    }
    guard case .drip = behaviour else { return }
    connections[descriptor]?.pending = Array(pending.dropFirst())
    if pending.count <= 1 { drop(descriptor) }
  }

  private func send(_ text: String, to descriptor: CInt) {
    let bytes = Array(text.utf8)
    let count = clinux_write(descriptor, bytes, bytes.count)
    if count != bytes.count {
      Issue.record("the stand-in server could not send its answer at once: \(count)")
    }
  }

  private func drop(_ descriptor: CInt) {
    connections[descriptor] = nil
    loop.unwatch(descriptor)
    _ = clinux_close(descriptor)
  }
}

extension EventLoop {
  /// Runs until `condition` holds; fails when that takes longer than half a minute.
  func run(until condition: () -> Bool) throws {
    var isLate = false
    let deadline = schedule(after: .seconds(30)) { isLate = true }
    while !condition() {
      turn(waiting: true)
      try #require(!isLate, "the awaited event did not come within 30s")
    }
    cancel(deadline)
  }
}

/// What a probe has reported.
final class ProbeReport {
  private(set) var outcomes: [CheckOutcome] = []
  /// How often the loop was waiting when the report came would show nothing; what matters is the first outcome.
  var outcome: CheckOutcome? { outcomes.first }

  func take(_ outcome: CheckOutcome) { outcomes.append(outcome) }
}

/// Far more than any probe in these tests needs on a busy machine.
let ample: Duration = .seconds(25)

extension CheckEndpoint.Host {
  /// 127.0.0.1
  static let loopback4 = CheckEndpoint.Host.address([127, 0, 0, 1])
  /// ::1
  static let loopback6 = CheckEndpoint.Host.address(Array(repeating: 0, count: 15) + [1])
}
