// The decoder's own files are linked into this folder: its module needs SwiftNIO, which would have to be built with the
// sanitizers as well.

/// Gives arbitrary bytes to the reader of Redis' replies. Whatever they are: no trap, the outcome does not depend on how
/// the bytes were cut, nothing is larger than it may be, and after an error nothing more comes.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = UnsafeBufferPointer(start: start, count: count)
  // The first byte says how the rest is cut.
  guard let first = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  let whole = decode(bytes, portion: max(bytes.count, 1))
  precondition(whole == decode(bytes, portion: Int(first) % 17 + 1))
  for reply in whole.replies { check(reply, depth: 0) }
  return 0
}

private struct Outcome: Equatable {
  var replies: [RedisValue] = []
  /// Why nothing more came out.
  var failure: RedisProtocolError?
}

private func decode(_ bytes: [UInt8], portion: Int) -> Outcome {
  var decoder = RedisDecoder()
  var outcome = Outcome()
  var index = 0
  do throws(RedisProtocolError) {
    while index < bytes.count {
      decoder.append(bytes[index..<min(index + portion, bytes.count)])
      index += portion
      while let reply = try decoder.next() { outcome.replies.append(reply) }
    }
  } catch {
    precondition("\(error)".unicodeScalars.allSatisfy { $0 == "…" || ($0.value >= 0x20 && $0.value < 0x7f) })
    outcome.failure = error
    // How much of it is quoted depends on how much had come.
    if case .malformed = error { outcome.failure = .malformed(start: "") }
    decoder.append("+OK\r\n".utf8)
    precondition((try? decoder.next()) == nil)
  }
  return outcome
}

private func check(_ reply: RedisValue, depth: Int) {
  switch reply {
  case .simple(let text), .error(let text):
    precondition(text.utf8.allSatisfy { $0 != 0x0D && $0 != 0x0A })
  case .bulk(let bytes): precondition(bytes.count <= RedisDecoder.longestBulk)
  case .array(let items):
    precondition(items.count <= RedisDecoder.mostElements && depth <= RedisDecoder.deepest)
    for item in items { check(item, depth: depth + 1) }
  case .integer, .null: break
  }
}
