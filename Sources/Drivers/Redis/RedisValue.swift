/// A reply of Redis, in the older of its two protocols, RESP2
/// (https://redis.io/docs/latest/develop/reference/protocol-spec/).
public indirect enum RedisValue: Sendable, Equatable {
  /// A word of the server's own, `OK`.
  case simple(String)
  /// A refusal; its first word is a code, `WRONGTYPE`.
  case error(String)
  /// A number.
  case integer(Int64)
  /// What was stored: any bytes.
  case bulk([UInt8])
  /// Nothing is stored there.
  case null
  /// Several; a push is one too.
  case array([RedisValue])
}

/// A command and its arguments, as they go to the server.
public struct RedisCommand: Sendable, Equatable {
  /// The words, `GET`, `key`.
  public var words: [String]

  /// A command.
  public init(_ words: String...) {
    self.words = words
  }

  /// Adds its bytes: an array of strings, each with its length in front, so that no character is special.
  func encode(into bytes: inout [UInt8]) {
    bytes += "*\(words.count)\r\n".utf8
    for word in words {
      bytes += "$\(word.utf8.count)\r\n".utf8
      bytes += word.utf8
      bytes += "\r\n".utf8
    }
  }
}
