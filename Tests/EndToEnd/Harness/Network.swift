import Glibc

/// A TCP connection to this machine, used by one thread.
final class Connection {
  private let socket: Descriptor

  init(port: UInt16) throws {
    socket = try Descriptor(
      adopting: Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0), from: "socket")
    let failure = withAddress(port) { connect(socket.number, $0, $1) }
    guard failure == 0 else { throw HarnessError.system("connect to port \(port)") }
    socket.makeNonBlocking()
  }

  func send(_ text: String) throws {
    let bytes = Array(text.utf8)
    guard Glibc.send(socket.number, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
      throw HarnessError.system("send")
    }
  }

  /// Everything until the other side closes, or until `isComplete`.
  func receive(within seconds: Double = Deadline.usual, until isComplete: ([UInt8]) -> Bool = { _ in false })
    throws
    -> [UInt8]
  {
    var capture = Capture()
    let deadline = Deadline(in: seconds)
    while capture.take(from: socket) == .open && !isComplete(capture.bytes) {
      guard !deadline.hasPassed else { throw HarnessError("no whole answer; so far “\(capture.tail)”") }
      var polled = [pollfd(fd: socket.number, events: Int16(POLLIN), revents: 0)]
      poll(&polled, 1, deadline.milliseconds)
    }
    return capture.bytes
  }

  func close() { socket.close() }
}

/// A socket on this machine that listens, or only keeps its port.
final class Listener {
  private let socket: Descriptor
  let port: UInt16

  /// - Parameter port: 0 takes any free one.
  convenience init(port: UInt16 = 0) throws {
    try self.init(port: port, listens: true)
  }

  /// A port that nobody else is given while this lives, and on which nobody listens until a program that is told of it
  /// does: two sockets may have a port as long as both say SO_REUSEADDR and at most one listens.
  static func reservation() throws -> Listener {
    try Listener(port: 0, listens: false)
  }

  private init(port: UInt16, listens: Bool) throws {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let socket = try Descriptor(adopting: Glibc.socket(AF_INET, kind, 0), from: "socket")
    var on: Int32 = 1
    setsockopt(socket.number, SOL_SOCKET, SO_REUSEADDR, &on, socklen_t(MemoryLayout<Int32>.size))
    // A queue that does not fill up while a test that never accepts is kept waiting.
    guard withAddress(port, { bind(socket.number, $0, $1) }) == 0,
      !listens || listen(socket.number, 4096) == 0
    else {
      throw HarnessError.system("bind to port \(port)")
    }
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let failure = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket.number, $0, &length) }
    }
    guard failure == 0 else { throw HarnessError.system("getsockname") }
    self.socket = socket
    self.port = UInt16(bigEndian: address.sin_port)
  }

  func close() { socket.close() }
}

private func withAddress<Result>(
  _ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) throws -> Result
) rethrows -> Result {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = port.bigEndian
  address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  return try withUnsafePointer(to: &address) { pointer in
    try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      try body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

/// An answer of the health page.
struct HTTPAnswer {
  let status: Int
  let body: String

  init?(_ bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    let parts = text.split(separator: "\r\n", maxSplits: 1, omittingEmptySubsequences: false)
    let words = parts[0].split(separator: " ")
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else { return nil }
    self.status = status
    body = text.firstRange(of: "\r\n\r\n").map { String(text[$0.upperBound...]) } ?? ""
  }

  /// GET of `path` on this machine.
  static func get(_ path: String, port: UInt16, within seconds: Double = Deadline.usual) throws -> HTTPAnswer
  {
    let connection = try Connection(port: port)
    try connection.send("GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    guard let answer = HTTPAnswer(try connection.receive(within: seconds)) else {
      throw HarnessError("no HTTP answer from port \(port) for \(path)")
    }
    return answer
  }
}
