// A TEST DOUBLE of LiteFS v0.5.14: it behaves as LiteFS was observed to behave, keeps data worse than LiteFS does, and
// never ships.

import Glibc
import Wire

/// What LiteFS logs goes to stderr, one line at a time, in one of two forms.
enum Log {
  nonisolated(unsafe) static var json = false
  nonisolated(unsafe) static var timestamp = false

  static func info(_ message: String) {
    let time = timestamp ? timestampText(unixMilliseconds()) : nil
    if json {
      let fields =
        (time.map { [("time", JSON.string($0))] } ?? []) + [
          ("level", .string("INFO")), ("msg", .string(message)),
        ]
      raw(2, JSON.object(fields).text())
    } else {
      let bare = !message.isEmpty && !message.contains { " =\"\\\n\t".contains($0) }
      raw(2, (time.map { "time=\($0) " } ?? "") + "level=INFO msg=" + (bare ? message : JSON.quoted(message)))
    }
  }

  /// A line as it is, to stdout (1) or stderr (2).
  static func raw(_ descriptor: Int32, _ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = write(descriptor, bytes, bytes.count)
  }
}

/// RFC 3339, in UTC.
func timestampText(_ milliseconds: Int64) -> String {
  var seconds = time_t(milliseconds / 1000)
  var parts = tm()
  gmtime_r(&seconds, &parts)
  var text = [CChar](repeating: 0, count: 32)
  strftime(&text, 32, "%Y-%m-%dT%H:%M:%S", &parts)
  let fraction = String(milliseconds % 1000 + 1000).dropFirst()
  return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    + ".\(fraction)Z"
}

/// Failures that a test orders, while this runs: each is a file in the directory `$LITEFS_STANDIN_ORDERS`, looked for at
/// the moment it matters. The README lists them.
///
///     hang-api           the API accepts connections and answers nothing, while the file is there
///     hang-fuse          nothing in the mount answers, while the file is there, as of a stopped LiteFS
///     hang-fuse-hard     the same, but who asks waits in state D and cannot be killed
///     pause-replication  what arrives from the primary is not applied, while the file is there
///     ignore-term        TERM and INT do nothing, while the file is there
///     delay-mount        the mount comes that many milliseconds late (the file's content)
///     exit-99            the next commit or applied transaction ends the process with 99; takes the file away
///     fail-open          the start fails with exit 1, as after a bad checksum, while the file is there
///     exit               the process ends at once with the code in the file; takes the file away
enum Orders {
  private static let directory = environment("LITEFS_STANDIN_ORDERS")

  static func given(_ order: String) -> Bool {
    guard let directory else { return false }
    return access(directory + "/" + order, F_OK) == 0
  }

  /// True once: the order is gone then.
  static func taken(_ order: String) -> Bool {
    guard let directory, given(order) else { return false }
    return unlink(directory + "/" + order) == 0
  }

  static func content(_ order: String) -> Int? {
    guard let directory, let bytes = try? readFile(directory + "/" + order) else { return nil }
    return Int(String(decoding: bytes, as: UTF8.self).filter { $0.isNumber })
  }

  /// Comes back when the order is gone.
  static func hold(_ order: String) {
    while given(order) { usleep(10_000) }
  }
}

func environment(_ name: String) -> String? {
  guard let value = getenv(name), value.pointee != 0 else { return nil }
  return String(cString: value)
}

/// A file's bytes. The error is worded as Go's.
func readFile(_ path: String) throws -> [UInt8] {
  let descriptor = open(path, O_RDONLY | O_CLOEXEC)
  guard descriptor >= 0 else { throw Failure("open \(path): \(words(errno))") }
  defer { close(descriptor) }
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0 { throw Failure("read \(path): \(words(errno))") }
    if count == 0 { return bytes }
    bytes += chunk[..<count]
  }
}

/// Replaces a file at once.
func writeFile(_ path: String, _ bytes: [UInt8]) throws {
  let descriptor = open(path + ".tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
  guard descriptor >= 0 else { throw Failure("open \(path): \(words(errno))") }
  defer { close(descriptor) }
  var done = 0
  while done < bytes.count {
    let count = bytes.withUnsafeBytes {
      write(descriptor, $0.baseAddress.map { $0 + done }, bytes.count - done)
    }
    guard count > 0 else { throw Failure("write \(path): \(words(errno))") }
    done += count
  }
  guard rename(path + ".tmp", path) == 0 else { throw Failure("rename \(path): \(words(errno))") }
}

/// With all that is missing on the way. The errors are Go's.
func makeDirectories(_ path: String) throws {
  var status = stat()
  if stat(path, &status) == 0 {
    if status.st_mode & S_IFMT == S_IFDIR { return }
    throw Failure("mkdir \(path): \(words(ENOTDIR))")
  }
  let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
  if !parent.isEmpty { try makeDirectories(parent) }
  guard mkdir(path, 0o777) == 0 else { throw Failure("mkdir \(path): \(words(errno))") }
}
