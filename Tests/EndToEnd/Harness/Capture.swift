import Glibc

/// Bytes read from a pipe, and a place up to which their lines have been looked at.
struct Capture {
  enum Progress { case open, end }

  private(set) var bytes: [UInt8] = []
  private var position = 0

  /// Reads all there is without waiting.
  mutating func take(from pipe: Descriptor) -> Progress {
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = read(pipe.number, &buffer, buffer.count)
      if count > 0 {
        bytes += buffer[..<count]
      } else if count < 0 && (errno == EAGAIN || errno == EINTR) {
        return .open
      } else {
        // A terminal whose last user has gone says EIO instead of end of file.
        return .end
      }
    }
  }

  /// The next complete line that `matches`; lines before it are passed over.
  mutating func nextLine(where matches: (String) -> Bool) -> String? {
    while let end = bytes[position...].firstIndex(of: UInt8(ascii: "\n")) {
      let line = String(decoding: bytes[position..<end], as: UTF8.self)
      position = end + 1
      if matches(line) { return line }
    }
    return nil
  }

  var text: String { String(decoding: bytes, as: UTF8.self) }

  /// All complete lines so far, looked at or not.
  var lines: [String] { text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init) }

  var tail: String { String(decoding: bytes.suffix(600), as: UTF8.self) }
}
