import CLinux
import EventLoop
import Glibc
import Journal

/// A small HTTP server on the event loop: one request per connection, bounded in number, memory and time.
///
/// Its promise is that a probe gets its answer while a thousand others dawdle: when all places are taken, the
/// connection that has been open longest without a complete request makes room for the new one. While there is no
/// connection, no timer is armed. Nothing a peer does is an error here.
public final class HTTPServer {
  /// What the server gives its peers.
  public struct Limits: Sendable {
    /// Connections at the same time, at least one.
    public var connections: Int
    /// From the accepting of a connection to its complete request.
    public var requestTime: Duration
    /// From the complete request to the last byte of the answer taken by the kernel.
    public var responseTime: Duration
    /// From there to the end of the connection by the peer.
    public var lingerTime: Duration

    /// The limits; by default as many connections as `connectionsWithin` allows, and 5 s for each direction.
    public init(
      connections: Int = Limits.connectionsWithin(1024), requestTime: Duration = .seconds(5),
      responseTime: Duration = .seconds(5), lingerTime: Duration = .seconds(1)
    ) {
      self.connections = max(connections, 1)
      self.requestTime = requestTime
      self.responseTime = responseTime
      self.lingerTime = lingerTime
    }

    /// `wanted`, but at most half of the descriptors that this process may have at present (RLIMIT_NOFILE), so that
    /// there are always some left to supervise with.
    public static func connectionsWithin(_ wanted: Int) -> Int {
      var limit = rlimit()
      guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return wanted }
      return max(min(wanted, Int(clamping: limit.rlim_cur) / 2), 1)
    }
  }

  /// Over what a listening descriptor listens.
  public enum Transport: Sendable {
    /// TCP: for reading.
    case tcp
    /// A UNIX socket: peers are known, and POST is understood.
    case unix
  }

  /// Answers a request; must not block.
  public typealias Handler = (HTTPRequest, Peer) -> HTTPResponse

  /// Bytes read at once, shared by all connections.
  private static let bufferSize = 8192
  /// Connections accepted in one turn of the loop, so that a flood of them does not hold up everything else.
  private static let acceptsPerTurn = 64
  /// What a peer may still send after its request before the connection ends without more patience.
  private static let lingerBytes = 65_536

  private let loop: EventLoop
  private let listener: FileDescriptor
  private let transport: Transport
  private let limits: Limits
  private let handler: Handler
  private var table = ConnectionTable()
  private var timer: (id: TimerID, deadline: MonotonicInstant)?
  private var pause: TimerID?
  private var pauseTime = Duration.milliseconds(50)
  private var isOpen = true

  /// Told of every error of accept(2) that lies with this machine (no descriptors, no memory) rather than with a
  /// peer. At most one call per back-off, so at most 20 a second.
  public var onAcceptFailure: ((SystemError) -> Void)?

  /// Serves the connections of a listening, non-blocking socket until `close`.
  /// - Throws: when the loop cannot watch the socket.
  public init(
    on loop: EventLoop, listener: consuming FileDescriptor, transport: Transport, limits: Limits = Limits(),
    handler: @escaping Handler
  ) throws(SystemError) {
    self.loop = loop
    self.listener = listener
    self.transport = transport
    self.limits = limits
    self.handler = handler
    try loop.watch(self.listener.rawValue, for: .reading) { [weak self] _ in self?.acceptPending() }
  }

  deinit {
    close()
  }

  /// How many connections are open.
  public var connectionCount: Int { table.count }

  /// The TCP port; nil for a UNIX socket.
  public var port: UInt16? {
    UInt16(exactly: clinux_bound_port(listener.rawValue))
  }

  /// Ends all connections and stops accepting. The listening descriptor itself goes with the server.
  public func close() {
    guard isOpen else { return }
    isOpen = false
    loop.unwatch(listener.rawValue)
    for descriptor in table.descriptors {
      if let connection = table[descriptor] { close(connection) }
    }
    if let pause { loop.cancel(pause) }
    pause = nil
    arm()
  }

  // MARK: Accepting

  private func acceptPending() {
    for _ in 0..<HTTPServer.acceptsPerTurn {
      guard isOpen, pause == nil else { return }
      let accepted = clinux_accept(listener.rawValue)
      if accepted >= 0 {
        pauseTime = .milliseconds(50)
        admit(FileDescriptor(owning: accepted))
      } else if !recover(from: -accepted) {
        break
      }
    }
    arm()
  }

  /// Whether to accept again at once.
  private func recover(from error: CInt) -> Bool {
    switch error {
    case EAGAIN: return false
    case EMFILE, ENFILE, ENOBUFS, ENOMEM:
      // One of ours may make room. Where none is left, or it did not help, somebody else holds what is missing.
      if let expendable = table.expendable {
        close(expendable)
        return true
      }
      onAcceptFailure?(SystemError(code: error, operation: "accept a connection"))
      pauseAccepting()
      return false
    case EBADF, EINVAL, ENOTSOCK, EOPNOTSUPP, EFAULT:
      // The listening socket itself is broken: asking again would spin.
      onAcceptFailure?(SystemError(code: error, operation: "accept a connection"))
      loop.unwatch(listener.rawValue)
      return false
    default:
      // The connection was gone before it was taken, or a firewall forbids it: the next may be fine.
      return true
    }
  }

  private func pauseAccepting() {
    loop.setInterest([], of: listener.rawValue)
    pause = loop.schedule(after: pauseTime) { [weak self] in
      guard let self else { return }
      pause = nil
      loop.setInterest(.reading, of: listener.rawValue)
    }
    pauseTime = min(pauseTime * 2, .seconds(1))
  }

  private func admit(_ descriptor: consuming FileDescriptor) {
    let raw = descriptor.rawValue
    var peer = Peer.tcp
    if transport == .unix {
      var pid: CInt = 0
      var uid: UInt32 = 0
      var gid: UInt32 = 0
      // Without credentials there is nobody to answer.
      guard clinux_peer_credentials(raw, &pid, &uid, &gid) == 0 else { return }
      peer = .unix(pid: pid, uid: uid)
    }
    if table.count >= limits.connections, let expendable = table.expendable { close(expendable) }
    let connection = Connection(
      descriptor: descriptor, peer: peer, parser: HTTPRequestParser(allowsPost: transport == .unix),
      deadline: .now + limits.requestTime)
    do throws(SystemError) {
      try loop.watch(raw, for: .reading) { [weak self] readiness in self?.handle(raw, readiness) }
    } catch {
      return
    }
    table.insert(connection)
    // The request is often here already. Looking at once saves a turn of the loop, and when room is scarce, the next
    // one to be accepted cannot push this one out unread.
    receive(connection)
  }

  // MARK: One connection

  private func handle(_ descriptor: CInt, _ readiness: Readiness) {
    guard let connection = table[descriptor] else { return }
    switch connection.stage {
    case .receiving: receive(connection)
    case .sending: send(connection)
    case .lingering: linger(connection, isBroken: !readiness.isDisjoint(with: .closed))
    }
    arm()
  }

  private func receive(_ connection: Connection) {
    let count = withUnsafeTemporaryAllocation(byteCount: HTTPServer.bufferSize, alignment: 1) {
      buffer -> Int in
      guard let start = buffer.baseAddress else { return 0 }
      let count = clinux_read(connection.descriptor.rawValue, start, buffer.count)
      if count > 0 { connection.parser.feed(UnsafeRawBufferPointer(rebasing: buffer[..<count])) }
      return count
    }
    if count == 0 {
      connection.inputHasEnded = true
      // A port check connects and leaves; only who began a request gets an answer.
      guard connection.parser.hasBegun else { return close(connection) }
      connection.parser.finish()
    } else if count < 0 {
      if count != -Int(EAGAIN) { close(connection) }
      return
    }
    switch connection.parser.progress {
    case .incomplete: break
    case .complete(let request): answer(connection, handler(request, connection.peer))
    case .rejected(let rejection): answer(connection, rejection.response)
    }
  }

  private func answer(_ connection: Connection, _ response: HTTPResponse) {
    // The handler may have closed the server.
    guard table[connection.descriptor.rawValue] === connection else { return }
    connection.output = response.serialized(isHead: connection.parser.isHead)
    table.move(connection, to: .sending, deadline: .now + limits.responseTime)
    loop.setInterest([], of: connection.descriptor.rawValue)
    send(connection)
  }

  private func send(_ connection: Connection) {
    let written = connection.output.withUnsafeBytes { bytes -> Int in
      guard let start = bytes.baseAddress else { return 0 }
      let rest = bytes.count - connection.writtenCount
      return clinux_write(connection.descriptor.rawValue, start + connection.writtenCount, rest)
    }
    if written < 0, written != -Int(EAGAIN) { return close(connection) }
    connection.writtenCount += max(written, 0)
    guard connection.writtenCount == connection.output.count else {
      loop.setInterest(.writing, of: connection.descriptor.rawValue)
      return
    }
    connection.output = []
    if connection.inputHasEnded { return close(connection) }
    // Closing now would reset the connection if anything is unread, and the answer could be lost with it: so the
    // end is announced, and what still comes is thrown away (RFC 9112, section 9.6).
    _ = shutdown(connection.descriptor.rawValue, CInt(SHUT_WR))
    table.move(connection, to: .lingering, deadline: .now + limits.lingerTime)
    loop.setInterest(.reading, of: connection.descriptor.rawValue)
  }

  private func linger(_ connection: Connection, isBroken: Bool) {
    let count = withUnsafeTemporaryAllocation(byteCount: HTTPServer.bufferSize, alignment: 1) {
      buffer -> Int in
      guard let start = buffer.baseAddress else { return 0 }
      return clinux_read(connection.descriptor.rawValue, start, buffer.count)
    }
    connection.discardedCount += max(count, 0)
    let mayStay = count > 0 || count == -Int(EAGAIN) && !isBroken
    if !mayStay || connection.discardedCount > HTTPServer.lingerBytes { close(connection) }
  }

  private func close(_ connection: Connection) {
    loop.unwatch(connection.descriptor.rawValue)
    table.remove(connection)
  }

  // MARK: Time

  /// Sees to it that the loop wakes up for the next deadline, and for nothing when there is none.
  private func arm() {
    guard let deadline = table.earliestDeadline else {
      if let timer { loop.cancel(timer.id) }
      timer = nil
      return
    }
    // An earlier alarm than needed is left as it is: when it comes, it is set anew. That saves a change of the timer
    // for each connection.
    if let timer {
      if timer.deadline <= deadline { return }
      loop.cancel(timer.id)
    }
    let id = loop.schedule(at: deadline) { [weak self] in self?.expire() }
    timer = (id, deadline)
  }

  private func expire() {
    timer = nil
    let now = MonotonicInstant.now
    while let connection = table.expired(at: now) { close(connection) }
    arm()
  }
}
