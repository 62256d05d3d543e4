import CLinux

/// Our own words go to standard error, and only there.
enum Stderr {
  /// Writes the text at once; what cannot be written is dropped, since there is nobody left to tell.
  static func write(_ text: String) {
    var text = text
    text.withUTF8 { bytes in
      guard let start = bytes.baseAddress else { return }
      var offset = 0
      while offset < bytes.count {
        let written = clinux_write(2, start + offset, bytes.count - offset)
        guard written > 0 else { return }
        offset += written
      }
    }
  }
}
