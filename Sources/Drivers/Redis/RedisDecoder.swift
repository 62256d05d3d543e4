/// Why a stream of bytes cannot be read any further.
public enum RedisProtocolError: Error, Equatable, Sendable, CustomStringConvertible {
  /// These are not replies; the beginning of what came, for people.
  case malformed(start: String)
  /// One reply is larger than any that is asked for. `bytes` is what it announced, where it did.
  case tooLong(bytes: Int)

  /// What came.
  public var description: String {
    switch self {
    case .malformed(let start): "\"\(start)\" is no reply of Redis"
    case .tooLong(let bytes): "a reply of \(bytes) bytes is longer than any that is expected"
    }
  }
}

/// Cuts a stream of bytes into replies. Whatever it is given, it needs little memory; after an error nothing more comes
/// out of it, since nobody knows where the next reply begins.
public struct RedisDecoder: Sendable {
  /// Bytes of a line; errors are the longest.
  public static let longestLine = 4096
  /// Bytes of a stored value. The largest that Redis stores are 512 MB, the largest of ours has one byte.
  public static let longestBulk = 64 << 10
  /// Bytes of a whole reply.
  public static let longestReply = 128 << 10
  /// Elements of an array.
  public static let mostElements = 1024
  /// Arrays in arrays.
  public static let deepest = 4

  private struct Level {
    var missing: Int
    var items: [RedisValue] = []
  }

  private var bytes: [UInt8] = []
  /// Where the next element begins.
  private var position = 0
  /// Up to where there is no end of its line.
  private var searched = 0
  /// The length of the value whose line has been read.
  private var bulk: Int?
  private var arrays: [Level] = []
  /// Bytes of this reply that are read and thrown away already.
  private var taken = 0
  private var failure: RedisProtocolError?

  /// A decoder at the beginning of a stream.
  public init() {}

  /// Whether a reply has begun and is not complete.
  public var isWithinReply: Bool { position < bytes.count || bulk != nil || !arrays.isEmpty }

  /// Takes the next bytes of the stream, cut anywhere.
  public mutating func append(_ more: some Sequence<UInt8>) {
    guard failure == nil else { return }
    if position > 0 {
      bytes.removeFirst(position)
      searched = max(searched - position, 0)
      position = 0
    }
    bytes += more
  }

  /// The next reply; nil when more bytes are needed.
  public mutating func next() throws(RedisProtocolError) -> RedisValue? {
    if let failure { throw failure }
    do throws(RedisProtocolError) {
      while let element = try element() {
        if let reply = close(element) {
          taken = 0
          return reply
        }
      }
      return nil
    } catch {
      failure = error
      bytes = []
      position = 0
      throw error
    }
  }

  /// Puts an element into the array that it belongs to. Returns the reply when that was its last.
  private mutating func close(_ element: RedisValue) -> RedisValue? {
    var element = element
    while var array = arrays.popLast() {
      array.items.append(element)
      array.missing -= 1
      if array.missing > 0 {
        arrays.append(array)
        return nil
      }
      element = .array(array.items)
    }
    return element
  }

  /// The next element that is complete; the heads of arrays are not, and wait for theirs in `arrays`.
  private mutating func element() throws(RedisProtocolError) -> RedisValue? {
    while true {
      if let length = bulk {
        guard bytes.count - position >= length + 2 else { return nil }
        let end = position + length
        guard bytes[end] == 0x0D, bytes[end + 1] == 0x0A else { throw malformed() }
        let value = RedisValue.bulk([UInt8](bytes[position..<end]))
        try advance(to: end + 2)
        bulk = nil
        return value
      }
      guard position < bytes.count else { return nil }
      let kind = bytes[position]
      guard "+-:$*".utf8.contains(kind) else { throw malformed() }
      guard let end = try endOfLine() else { return nil }
      let line = bytes[(position + 1)..<end]
      switch kind {
      case UInt8(ascii: "+"): return try finish(.simple(String(decoding: line, as: UTF8.self)), end)
      case UInt8(ascii: "-"): return try finish(.error(String(decoding: line, as: UTF8.self)), end)
      case UInt8(ascii: ":"):
        guard let number = Self.number(line) else { throw malformed() }
        return try finish(.integer(number), end)
      case UInt8(ascii: "$"):
        guard let length = Self.number(line), length >= -1 else { throw malformed() }
        if length == -1 { return try finish(.null, end) }
        guard length <= Self.longestBulk else { throw .tooLong(bytes: Int(length)) }
        bulk = Int(length)
        try advance(to: end + 2)
      default:
        guard let count = Self.number(line), count >= -1 else { throw malformed() }
        if count == -1 { return try finish(.null, end) }
        if count == 0 { return try finish(.array([]), end) }
        guard count <= Self.mostElements, arrays.count < Self.deepest else { throw malformed() }
        // The announced number reserves nothing: it may never come.
        arrays.append(Level(missing: Int(count)))
        try advance(to: end + 2)
      }
    }
  }

  private mutating func finish(
    _ value: RedisValue, _ end: Int
  ) throws(RedisProtocolError) -> RedisValue {
    try advance(to: end + 2)
    return value
  }

  private mutating func advance(to end: Int) throws(RedisProtocolError) {
    taken += end - position
    position = end
    searched = end
    guard taken <= Self.longestReply else { throw .tooLong(bytes: taken) }
  }

  /// Where the line at `position` ends, which is at its CR; nil when it has not come yet.
  private mutating func endOfLine() throws(RedisProtocolError) -> Int? {
    var index = max(searched, position + 1)
    while index < bytes.count, bytes[index] != 0x0D, bytes[index] != 0x0A { index += 1 }
    searched = index
    guard index - position <= Self.longestLine else { throw malformed() }
    guard index < bytes.count else { return nil }
    guard bytes[index] == 0x0D else { throw malformed() }
    guard index + 1 < bytes.count else { return nil }
    guard bytes[index + 1] == 0x0A else { throw malformed() }
    return index
  }

  private func malformed() -> RedisProtocolError {
    .malformed(start: PrintableText.of(bytes[position...], limit: 40))
  }

  /// A number in decimal, and nothing else.
  private static func number(_ line: ArraySlice<UInt8>) -> Int64? {
    let digits = line.first == UInt8(ascii: "-") ? line.dropFirst() : line
    guard (1...19).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) else {
      return nil
    }
    return Int64(String(decoding: line, as: UTF8.self))
  }
}
