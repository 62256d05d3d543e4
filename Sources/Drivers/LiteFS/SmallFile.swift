import Blocking
import Glibc

/// Reads files of the kernel's and of LiteFS's, which are small. Blocks as long as the file system does.
public enum SmallFile {
  /// Why a file cannot be read.
  public struct Failure: Error, Equatable {
    /// The system's number.
    public var code: CInt
    /// For people.
    public var text: String { Blocking.text(of: code).lowercased() }
  }

  /// The content, at most `limit` bytes of it.
  static func read(_ path: String, limit: Int) throws(Failure) -> [UInt8] {
    // Non-blocking, or a pipe of this name would wait for a writer.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Failure(code: errno) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: min(limit, 1 << 16))
    while bytes.count < limit {
      let count = Glibc.read(descriptor, &chunk, min(chunk.count, limit - bytes.count))
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw Failure(code: errno) }
      guard count > 0 else { break }
      bytes += chunk.prefix(count)
    }
    return bytes
  }

  /// The first line, without blanks around it; nil when there is none, or the file cannot be read.
  static func line(_ path: String, limit: Int) throws(Failure) -> String {
    let line = try read(path, limit: limit).prefix { $0 != UInt8(ascii: "\n") }
    return String(decoding: line, as: UTF8.self)
  }

  /// Writes a few bytes into a file that is there.
  static func write(_ text: String, to path: String) throws(Failure) {
    let descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY)
    guard descriptor >= 0 else { throw Failure(code: errno) }
    defer { close(descriptor) }
    let bytes = Array(text.utf8)
    guard Glibc.write(descriptor, bytes, bytes.count) == bytes.count else { throw Failure(code: errno) }
  }
}
