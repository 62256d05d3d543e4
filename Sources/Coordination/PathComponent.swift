/// Turns any text into the name of one file, so that a run ID never becomes a path.
public enum PathComponent {
  /// Letters, digits, `-`, `_`, `.` and `:` stay as they are (except a leading dot), everything else becomes %XX; what
  /// would be longer than 120 bytes is cut and gets its MD5 appended. Texts of harmless characters keep their name,
  /// which is how django-autoinit finds our markers and we find its.
  public static func escaped(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var result: [UInt8] = []
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: ":"):
        result.append(byte)
      case UInt8(ascii: ".") where !result.isEmpty:
        result.append(byte)
      default:
        result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    if result.count > 120 {
      return String(decoding: result.prefix(80), as: UTF8.self) + "~" + MD5.hexadecimal(of: Array(text.utf8))
    }
    return String(decoding: result, as: UTF8.self)
  }
}
