import Settings

/// Takes secrets out of lines that LiteFS writes: it names the lease's URL with its token when it starts.
public struct SecretMask: Equatable, Sendable {
  /// In every form in which they may appear, the longest first.
  private let forms: [[UInt8]]

  /// - Parameter secrets: as they stand in `litefs.yml`.
  public init(_ secrets: [String]) {
    var forms: Set<[UInt8]> = []
    for secret in secrets {
      for text in [secret, Self.unescaped(secret)] {
        // Shorter ones are in half of all words. In a URL they are masked nevertheless.
        guard text.utf8.count >= 4 else { continue }
        forms.insert(Array(text.utf8))
        forms.insert(Array(Self.inGoQuotes(text).utf8))
      }
    }
    self.forms = forms.sorted {
      $0.count == $1.count ? $0.lexicographicallyPrecedes($1) : $0.count > $1.count
    }
  }

  /// The line with asterisks for every secret, and for every other password of a URL.
  public func masked(_ line: String) -> String {
    let bytes = Array(line.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if let form = forms.first(where: { bytes[index...].starts(with: $0) }) {
        result += Array("****".utf8)
        index += form.count
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return SecretText.maskingPasswords(in: String(decoding: result, as: UTF8.self))
  }

  /// As Go's log package quotes it.
  private static func inGoQuotes(_ text: String) -> String {
    text.map { $0 == "\"" || $0 == "\\" ? "\\\($0)" : String($0) }.joined()
  }

  /// With `%40` and the like replaced by what they stand for (RFC 3986, 2.1), as a client sends it.
  private static func unescaped(_ text: String) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "%"), let digits = String(bytes: rest.prefix(2)),
        let value = UInt8(digits, radix: 16)
      {
        bytes.append(value)
        rest = rest.dropFirst(2)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

extension String {
  /// Two hexadecimal digits; nil for anything else.
  fileprivate init?(bytes: ArraySlice<UInt8>) {
    guard bytes.count == 2,
      bytes.allSatisfy({ $0 < 0x80 && $0 != UInt8(ascii: "+") && $0 != UInt8(ascii: "-") })
    else { return nil }
    self = String(decoding: bytes, as: UTF8.self)
  }
}
