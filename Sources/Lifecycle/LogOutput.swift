import CLinux
import EventLoop
import Glibc
import Journal

/// Our own lines, on standard error, which we share with our children.
///
/// A reader that has gone slow, or away, must not stop the loop: pipes and terminals are opened a second time, without
/// blocking and without changing them for the children. What does not fit waits in a bounded buffer; what does not
/// fit there is counted, and the count is said when it flows again.
public final class LogOutput {
  /// Bytes kept while nobody reads.
  public static let capacity = 64 * 1024

  private let loop: EventLoop
  private let descriptor: CInt
  private let isShared: Bool
  private var waiting: [UInt8] = []
  private var dropped = 0
  private var isWatched = false
  private var isBroken = false
  private var retry: TimerID?

  /// Lines below this are not written.
  public var level = LogLevel.info
  /// Whether each line begins with the time.
  public var hasTimestamps = true
  /// How a line looks.
  public var format = Format.text
  /// Members that each JSON line has: node, run ID.
  public var common: [(String, JSON)] = []

  /// How a line looks.
  public enum Format: Sendable {
    /// For people: time, level, text.
    case text
    /// For programs: one JSON object.
    case json
  }

  /// Writes to `descriptor`, which stays the caller's.
  public init(loop: EventLoop, descriptor: CInt = 2) {
    self.loop = loop
    self.descriptor = clinux_reopen_for_writing(descriptor)
    isShared = self.descriptor == descriptor
  }

  deinit {
    if !isShared { _ = clinux_close(descriptor) }
  }

  /// Writes one line: time, level, text. Line breaks inside become part of one line.
  public func write(
    _ level: LogLevel, _ text: String, _ fields: EventFields = EventFields(), at time: WallTime = .now
  ) {
    guard level >= self.level else { return }
    if format == .json {
      let stamp: [(String, JSON)] = hasTimestamps ? [("time", .string(time.iso8601))] : []
      let line = JSON.object(
        stamp + [("level", .string("\(level)")), ("message", .string(text))] + fields.members + common)
      return append(Array((line.line + "\n").utf8))
    }
    let stamp = hasTimestamps ? "\(time.iso8601) " : ""
    let name = level == .info ? "" : "\(level): "
    let oneLine = text.contains("\n") ? text.split(separator: "\n").joined(separator: "; ") : text
    append(Array("\(stamp)supervisor: \(name)\(oneLine)\n".utf8))
  }

  /// Writes what waits, for at most `patience`; for the end of the program.
  public func flush(patience: Duration) {
    let deadline = MonotonicInstant.now + patience
    while !waiting.isEmpty, !isBroken {
      drain()
      let left = (deadline - .now).wholeNanoseconds / 1_000_000
      if waiting.isEmpty || left <= 0 { return }
      if clinux_wait_writable(descriptor, CInt(clamping: left)) == 0 { return }
    }
  }

  private func append(_ line: [UInt8]) {
    guard !isBroken else { return }
    if waiting.count + line.count > LogOutput.capacity {
      dropped += 1
      return
    }
    if dropped > 0, waiting.isEmpty { sayDropped() }
    waiting += line
    drain()
  }

  private func sayDropped() {
    waiting += Array("supervisor: warning: \(dropped) lines of this log were dropped: nobody read it\n".utf8)
    dropped = 0
  }

  private func drain() {
    while !waiting.isEmpty {
      // Not more than PIPE_BUF at once: such a write is never mixed with a child's line.
      let chunk = LogOutput.wholeLines(in: waiting, limit: 4096)
      // A pipe that could not be opened a second time blocks, unless it has room now.
      if isShared, clinux_wait_writable(descriptor, 0) == 0 { return wait() }
      let written = waiting.withUnsafeBytes { bytes -> Int in
        guard let start = bytes.baseAddress else { return 0 }
        return clinux_write_now(descriptor, start, chunk)
      }
      if written == -Int(EAGAIN) { return wait() }
      if written <= 0 {
        // The reader is gone for good (EPIPE, EIO): go on without a log.
        isBroken = written == -Int(EPIPE) || written == -Int(EIO) || written == -Int(EBADF)
        waiting = []
        return stopWaiting()
      }
      waiting.removeFirst(written)
    }
    stopWaiting()
    if dropped > 0 {
      sayDropped()
      drain()
    }
  }

  /// The length of as many whole lines as fit into `limit`, or of a part of the first when it is longer.
  private static func wholeLines(in bytes: [UInt8], limit: Int) -> Int {
    if bytes.count <= limit { return bytes.count }
    guard let end = bytes[..<limit].lastIndex(of: UInt8(ascii: "\n")) else { return limit }
    return end + 1
  }

  private func wait() {
    guard !isWatched, retry == nil else { return }
    do throws(SystemError) {
      try loop.watch(descriptor, for: .writing) { [weak self] _ in self?.drain() }
      isWatched = true
    } catch {
      // What epoll does not take is tried again.
      retry = loop.schedule(after: .milliseconds(200)) { [weak self] in
        self?.retry = nil
        self?.drain()
      }
    }
  }

  private func stopWaiting() {
    if isWatched { loop.unwatch(descriptor) }
    isWatched = false
  }
}
