/// Bytes of others, fit for a message.
enum PrintableText {
  /// At most `limit` characters of them, and `…` where there were more. What is not printable ASCII becomes `\x80`.
  static func of(_ bytes: some Sequence<UInt8>, limit: Int) -> String {
    var text = ""
    var count = 0
    for byte in bytes {
      let character =
        (0x20...0x7E).contains(byte)
        ? String(UnicodeScalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
      count += character.utf8.count
      guard count <= limit else { return text + "…" }
      text += character
    }
    return text
  }
}
