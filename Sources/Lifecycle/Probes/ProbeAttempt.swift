import CLinux
import Checks
import EventLoop
import Glibc

/// One connection of a probe to one address, from connect to the end of the answer.
final class ProbeAttempt {
  enum Result: Equatable {
    /// Connected, and answered well if a request was sent.
    case passed
    /// An HTTP answer that does not pass.
    case answered(String)
    /// Nobody listens.
    case refused
    /// No connection, or no usable answer.
    case failed(String)
    /// This address cannot exist on this host (no IPv6, say).
    case absent(String)
    /// Our own lack of something.
    case couldNotRun(String)
  }

  private enum Stage {
    case connecting
    case sending
    case receiving
    case ended
  }

  let candidate: CheckEndpoint.Candidate
  private let loop: EventLoop
  private let request: [UInt8]?
  private var completion: ((Result) -> Void)?
  private var descriptor: CInt = -1
  private var stage = Stage.connecting
  private var sent = 0
  private var reader = HTTPResponseReader()

  init(
    loop: EventLoop, candidate: CheckEndpoint.Candidate, request: [UInt8]?,
    completion: @escaping (Result) -> Void
  ) {
    self.loop = loop
    self.candidate = candidate
    self.request = request
    self.completion = completion
  }

  deinit {
    if descriptor >= 0 { _ = clinux_close(descriptor) }
  }

  var isEnded: Bool { stage == .ended }

  /// Whether a passing head has come, whatever becomes of the body.
  var hasGoodHead: Bool { reader.hasPassingHead }

  /// What has been missing so far, for the report of a timeout.
  var silence: String {
    switch stage {
    case .connecting: "no connection"
    case .receiving where reader.hasBegun: "no complete answer"
    default: "no answer"
    }
  }

  func start() {
    var address = clinux_address()
    address.length = UInt8(candidate.bytes.count)
    address.port = candidate.port
    withUnsafeMutableBytes(of: &address.bytes) { $0.copyBytes(from: candidate.bytes.prefix(16)) }
    var isPending = false
    let result = clinux_tcp_connect(&address, &isPending)
    guard result >= 0 else { return endLater(ProbeAttempt.connectFailure(-result, at: candidate)) }
    descriptor = result
    // A connection that is complete already is reported by the loop as writable as well, so that there is one path.
    do {
      try loop.watch(descriptor, for: .writing) { self.ready($0) }
    } catch {
      endLater(.couldNotRun("\(error)"))
    }
  }

  /// Ends the attempt without a report.
  func close() {
    completion = nil
    stage = .ended
    guard descriptor >= 0 else { return }
    loop.unwatch(descriptor)
    _ = clinux_close(descriptor)
    descriptor = -1
  }

  private func ready(_ readiness: Readiness) {
    switch stage {
    case .connecting: connected()
    case .sending: send()
    case .receiving: receive()
    case .ended: break
    }
  }

  private func connected() {
    let error = clinux_socket_error(descriptor)
    if error != 0 { return end(ProbeAttempt.connectFailure(error, at: candidate)) }
    if ProbeAttempt.isConnectedToItself(descriptor, candidate) {
      return end(.couldNotRun("connected to its own end at \(candidate): nobody else has this port"))
    }
    guard request != nil else { return end(.passed) }
    stage = .sending
    send()
  }

  /// When nobody listens on a port of the ephemeral range, the kernel may give that very port to our own end (seen
  /// once in 20,000 connections), and the socket is connected to itself. It then has one port number at both ends.
  static func isConnectedToItself(_ descriptor: CInt, _ candidate: CheckEndpoint.Candidate) -> Bool {
    clinux_bound_port(descriptor) == CInt(candidate.port)
  }

  private func send() {
    guard let request else { return }
    while sent < request.count {
      let count = request.withUnsafeBytes { bytes -> Int in
        guard let base = bytes.baseAddress else { return 0 }
        return clinux_write(descriptor, base + sent, bytes.count - sent)
      }
      if count == -Int(EAGAIN) { return }
      // A server that answers and closes before it has read the request may make this fail; its answer is there.
      if count <= 0 { break }
      sent += count
    }
    stage = .receiving
    loop.setInterest(.reading, of: descriptor)
  }

  private func receive() {
    // One buffer's worth per turn: what is left is reported again, and nobody else waits for a fast talker.
    let size = 16384
    var error: CInt = 0
    let isEnd = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: size) { buffer -> Bool in
      guard let base = buffer.baseAddress else { return false }
      let count = clinux_read(descriptor, base, size)
      if count < 0 {
        error = CInt(-count)
        return error != EAGAIN
      }
      reader.take(UnsafeBufferPointer(start: base, count: count))
      return count == 0
    }
    if reader.isComplete || isEnd { end(judge(error: error)) }
  }

  /// The result of an answer that is complete, or has been cut off.
  private func judge(error: CInt) -> Result {
    switch reader.verdict {
    case .passed: return .passed
    case .status(let reason): return .answered("\(reason) from \(candidate)")
    case .notHTTP(let reason): return .failed("\(reason) at \(candidate)")
    case .incomplete:
      let what = reader.hasBegun ? "in the middle of the answer" : "without an answer"
      if error == 0 { return .failed("connection closed \(what) at \(candidate)") }
      if error == ECONNRESET { return .failed("connection reset \(what) at \(candidate)") }
      return .failed("\(errorText(error)) \(what) at \(candidate)")
    }
  }

  /// What an errno of a connection attempt says: about the service, or about us.
  static func connectFailure(_ error: CInt, at candidate: CheckEndpoint.Candidate) -> Result {
    let reason = SystemError(code: error, operation: "connect to", subject: "\(candidate)").description
    switch error {
    case ECONNREFUSED: return .refused
    case EAFNOSUPPORT: return .absent(reason)
    // Without a port left for our end IPv4 says this as well, and IPv4's loopback always exists.
    case EADDRNOTAVAIL: return candidate.bytes.count == 16 ? .absent(reason) : .couldNotRun(reason)
    case EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN: return .couldNotRun(reason)
    default: return .failed("\(errorText(error)) at \(candidate)")
    }
  }

  /// Reports in a later step of the loop, since nobody expects a report while the probe is being started.
  private func endLater(_ result: Result) {
    loop.defer { self.end(result) }
  }

  private func end(_ result: Result) {
    guard let completion else { return }
    close()
    completion(result)
  }
}
