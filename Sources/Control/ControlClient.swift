import CLinux
import EventLoop
import Glibc

/// Why a client has no answer.
public enum ControlClientError: Error, Equatable, Sendable, CustomStringConvertible {
  /// There is no supervisor at any of these sockets.
  case noSupervisor(tried: [String])
  /// A socket is there, but may not be used.
  case refused(path: String, reason: String)
  /// The supervisor did not answer in time.
  case timeout(path: String, Duration)
  /// The supervisor closed the connection before the answer was complete, or what it sent is no answer.
  case broken(path: String, reason: String)

  /// What happened, and what to do about it.
  public var description: String {
    switch self {
    case .noSupervisor(let tried):
      "no supervisor runs here: nobody answers at \(tried.joined(separator: ", ")). "
        + "If it has another run_dir, name it with --run-dir or SUPERVISOR_RUN_DIR"
    case .refused(let path, let reason): "cannot use \(path): \(reason)"
    case .timeout(let path, let time):
      "the supervisor at \(path) did not answer within \(time.readable): it may be stopped or starved of CPU"
    case .broken(let path, let reason): "no valid answer from \(path): \(reason)"
    }
  }
}

/// What the supervisor answered.
public struct ControlAnswer: Sendable, Equatable {
  /// The HTTP status code.
  public var status: Int
  /// The body.
  public var body: [UInt8]

  /// The body as text, without its last line end.
  public var text: String {
    let isEnded = body.last == UInt8(ascii: "\n")
    return String(decoding: isEnded ? body.dropLast() : body[...], as: UTF8.self)
  }
}

/// Asks the supervisor of a run directory over its control socket. Blocks, but never beyond its deadline: for
/// commands, not for the loop.
public struct ControlClient: Sendable {
  /// An answer may be so long.
  static let maximumBytes = 16 << 20

  /// Directories in which the socket is looked for, best first.
  public var directories: [String]
  /// For everything together: to connect, to ask, and to get the whole answer.
  public var timeout: Duration

  /// A client that looks for the socket in `directories`.
  public init(directories: [String], timeout: Duration = .seconds(5)) {
    self.directories = directories
    self.timeout = timeout
  }

  /// Sends one request and waits for its answer.
  /// - Parameter target: path and query, already percent-encoded.
  public func send(_ method: HTTPRequest.Method, _ target: String) throws(ControlClientError) -> ControlAnswer
  {
    let deadline = MonotonicInstant.now + timeout
    let (path, raw) = try connect(deadline)
    let connection = FileDescriptor(owning: raw)
    let exchange = Exchange(path: path, descriptor: connection.rawValue, deadline: deadline, timeout: timeout)
    let head = "\(method.rawValue) \(target) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try exchange.write(Array(head.utf8))
    return try exchange.answer(from: exchange.readAll(), isHead: method == .head)
  }

  /// Text in which everything is encoded that has a meaning in a path or a query.
  public static func percentEncoded(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var encoded: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
        UInt8(ascii: "~"):
        encoded.append(byte)
      default: encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: encoded, as: UTF8.self)
  }

  private func connect(_ deadline: MonotonicInstant) throws(ControlClientError) -> (String, CInt) {
    var tried: [String] = []
    for directory in directories {
      let path = RunDirectory.socketPath(in: directory)
      tried.append(path)
      let left = (deadline - .now).wholeNanoseconds / 1_000_000
      let raw = clinux_unix_connect_within(path, CInt(clamping: max(left, 1)))
      switch raw {
      case 0...:
        try checkOwner(of: raw, path)
        return (path, raw)
      case -EAGAIN: throw .timeout(path: path, timeout)
      // Nothing there, or left behind by one that has died: there may be one further on.
      case -ENOENT, -ENOTDIR, -ECONNREFUSED: continue
      default: throw .refused(path: path, reason: errorText(-raw))
      }
    }
    throw .noSupervisor(tried: tried)
  }

  /// Anybody may make a directory in /tmp with our default's name and wait there for clients: there, the other end
  /// must be ours or root's. Elsewhere the owner of the directory, or whoever chose it, vouches for it.
  private func checkOwner(of connection: CInt, _ path: String) throws(ControlClientError) {
    guard path.hasPrefix("/tmp/supervisor-\(geteuid())/") else { return }
    var pid: CInt = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0
    guard clinux_peer_credentials(connection, &pid, &uid, &gid) == 0, uid == 0 || uid == geteuid() else {
      _ = clinux_close(connection)
      throw .refused(path: path, reason: "it belongs to user \(uid), who is neither root nor this user")
    }
  }
}

/// One request and answer on an open connection.
private struct Exchange {
  let path: String
  let descriptor: CInt
  let deadline: MonotonicInstant
  let timeout: Duration

  func write(_ bytes: [UInt8]) throws(ControlClientError) {
    var offset = 0
    while offset < bytes.count {
      let written = bytes.withUnsafeBytes { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        return clinux_write(descriptor, start + offset, buffer.count - offset)
      }
      if written == -Int(EAGAIN) {
        try wait(for: CInt(POLLOUT))
      } else if written < 0 {
        // An answer may have come all the same: reading tells.
        return
      } else {
        offset += written
      }
    }
  }

  func readAll() throws(ControlClientError) -> [UInt8] {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
      let count = buffer.withUnsafeMutableBytes { buffer -> Int in
        guard let start = buffer.baseAddress else { return 0 }
        return clinux_read(descriptor, start, buffer.count)
      }
      if count == 0 { return bytes }
      if count == -Int(EAGAIN) {
        try wait(for: CInt(POLLIN))
        continue
      }
      if count < 0 { throw .broken(path: path, reason: errorText(CInt(clamping: -count))) }
      bytes += buffer[..<count]
      if bytes.count > ControlClient.maximumBytes {
        throw .broken(path: path, reason: "the answer has no end")
      }
    }
  }

  private func wait(for events: CInt) throws(ControlClientError) {
    let left = (deadline - .now).wholeNanoseconds
    guard left > 0 else { throw .timeout(path: path, timeout) }
    var request = pollfd(fd: descriptor, events: Int16(truncatingIfNeeded: events), revents: 0)
    // Rounded up, so that the last wait does not become a busy loop of zero milliseconds.
    _ = poll(&request, 1, CInt(clamping: (left + 999_999) / 1_000_000))
  }

  /// Takes an answer apart whose connection has been closed.
  func answer(from bytes: [UInt8], isHead: Bool) throws(ControlClientError) -> ControlAnswer {
    let gap = Array("\r\n\r\n".utf8)
    let gapStart = bytes.indices.first { bytes[$0...].starts(with: gap) }
    guard let gapStart else {
      throw .broken(path: path, reason: bytes.isEmpty ? "it closed the connection" : "the answer is cut off")
    }
    let body = Array(bytes[(gapStart + gap.count)...])
    let lines = String(decoding: bytes[..<gapStart], as: UTF8.self)
      .split(separator: "\r\n", omittingEmptySubsequences: false)
    let words = lines[0].split(separator: " ", maxSplits: 2)
    guard words.count >= 2, words[0].hasPrefix("HTTP/1."), let status = Int(words[1]) else {
      throw .broken(path: path, reason: "the answer is not HTTP")
    }
    for line in lines.dropFirst() where line.lowercased().hasPrefix("content-length:") {
      let length = Int(line.dropFirst("content-length:".count).drop { $0 == " " })
      guard isHead || length == body.count else { throw .broken(path: path, reason: "the answer is cut off") }
    }
    return ControlAnswer(status: status, body: body)
  }
}
