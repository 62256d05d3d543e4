import Testing
import TestSupport

@testable import RedisDriver

@Suite("Redis: the protocol")
struct DecoderTests {
  /// All replies, and how it ended.
  private func decode(_ bytes: [UInt8], portion: Int) -> ([RedisValue], RedisProtocolError?) {
    var decoder = RedisDecoder()
    var replies: [RedisValue] = []
    var index = 0
    do throws(RedisProtocolError) {
      while index < bytes.count {
        decoder.append(bytes[index..<min(index + portion, bytes.count)])
        index += portion
        while let reply = try decoder.next() { replies.append(reply) }
      }
    } catch {
      return (replies, error)
    }
    return (replies, nil)
  }

  private func bulk(_ text: String) -> RedisValue { .bulk([UInt8](text.utf8)) }

  @Test("every kind of reply is read, however the bytes are cut", arguments: 1...40)
  func kinds(portion: Int) {
    let stream =
      "+OK\r\n-WRONGTYPE no\r\n:-12\r\n:9223372036854775807\r\n$2\r\n\r\n\r\n$0\r\n\r\n$-1\r\n*0\r\n*-1\r\n"
      + "*3\r\n$7\r\nmessage\r\n*2\r\n:1\r\n*1\r\n+deep\r\n$1\r\n1\r\n+\r\n"
    let (replies, failure) = decode([UInt8](stream.utf8), portion: portion)
    #expect(failure == nil)
    #expect(
      replies == [
        .simple("OK"), .error("WRONGTYPE no"), .integer(-12), .integer(.max), bulk("\r\n"), bulk(""), .null,
        .array([]), .null,
        .array([bulk("message"), .array([.integer(1), .array([.simple("deep")])]), bulk("1")]), .simple(""),
      ])
  }

  @Test(
    "what is no reply fails at once and for good, with its beginning",
    arguments: [
      ("HTTP/1.1 400 Bad Request\r\n", "HTTP/1.1 400 Bad Request\\x0d\\x0a"),
      ("\u{15}\u{3}\u{3}", "\\x15\\x03\\x03"),
      ("$x\r\n", "$x\\x0d\\x0a"), ("$-2\r\n", "$-2\\x0d\\x0a"), ("*-2\r\n", "*-2\\x0d\\x0a"),
      (":\r\n", ":\\x0d\\x0a"), (":1 \r\n", ":1 \\x0d\\x0a"), (":+1\r\n", ":+1\\x0d\\x0a"),
      (":9223372036854775808\r\n", ":9223372036854775808\\x0d\\x0a"), ("+a\n", "+a\\x0a"),
      ("+a\rb", "+a\\x0db"),
      ("$1\r\nab\r\n", "ab\\x0d\\x0a"), ("*1025\r\n", "*1025\\x0d\\x0a"),
      ("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "*1\\x0d\\x0a"),
    ])
  func malformed(stream: String, start: String) {
    var decoder = RedisDecoder()
    decoder.append("+before\r\n".utf8)
    decoder.append(stream.utf8)
    #expect((try? decoder.next()) == .simple("before"))
    #expect(throws: RedisProtocolError.malformed(start: start)) { try decoder.next() }
    decoder.append("+OK\r\n".utf8)
    #expect(throws: RedisProtocolError.malformed(start: start)) { try decoder.next() }
  }

  @Test("sizes are bounded: of a line, a value, a reply")
  func sizes() {
    let line = [UInt8](("+" + String(repeating: "a", count: 5000)).utf8)
    #expect(decode(line, portion: 100).1 == .malformed(start: "+" + String(repeating: "a", count: 39) + "…"))
    #expect(decode([UInt8]("$536870912\r\n".utf8), portion: 100).1 == .tooLong(bytes: 536_870_912))
    let value = [UInt8](("$65536\r\n" + String(repeating: "a", count: 65536) + "\r\n").utf8)
    #expect(decode(value, portion: 1000).0.count == 1)
    #expect(decode(value + value + value, portion: 1000).0.count == 3)
    guard case .tooLong? = decode([UInt8]("*3\r\n".utf8) + value + value, portion: 1000).1 else {
      return #expect(Bool(false), "a reply without end has to fail")
    }
  }

  @Test("arbitrary bytes give the same whatever their cut, and nothing traps", arguments: 0..<200)
  func arbitrary(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let alphabet = [UInt8]("+-:$*0123\r\n\r\n\r\nab".utf8)
    let bytes = (0..<200).map { _ in alphabet[random.upTo(alphabet.count - 1)] }
    let whole = decode(bytes, portion: 200)
    let pieces = decode(bytes, portion: 1 + random.upTo(6))
    #expect(whole.0 == pieces.0 && (whole.1 == nil) == (pieces.1 == nil))
  }

  @Test("a command is an array of strings with their lengths in bytes")
  func commands() {
    var bytes: [UInt8] = []
    RedisCommand("SET", "ü\r\n", "").encode(into: &bytes)
    #expect(String(decoding: bytes, as: UTF8.self) == "*3\r\n$3\r\nSET\r\n$4\r\nü\r\n\r\n$0\r\n\r\n")
  }
}
