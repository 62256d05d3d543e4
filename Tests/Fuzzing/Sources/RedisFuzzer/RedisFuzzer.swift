import FuzzInput

// The decoder's own files are linked into this folder: its module needs SwiftNIO, which would have to be built with the
// sanitizers as well.

/// Gives arbitrary bytes to the reader of Redis' replies. Whatever they are: no trap, the outcome does not depend on how
/// the bytes were cut, nothing is larger than it may be, and after an error nothing more comes.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  guard let input = CutInput(start, count) else { return 0 }
  let whole = input.outcome(cutBy: input.first, decode)
  for reply in whole.replies { check(reply, depth: 0) }
  return 0
}

private struct Outcome: Equatable {
  var replies: [RedisValue] = []
  /// Why nothing more came out.
  var failure: RedisProtocolError?
}

private func decode(_ pieces: [ArraySlice<UInt8>]) -> Outcome {
  var decoder = RedisDecoder()
  var outcome = Outcome()
  do throws(RedisProtocolError) {
    for piece in pieces {
      decoder.append(piece)
      while let reply = try decoder.next() { outcome.replies.append(reply) }
    }
  } catch {
    precondition(isPrintable("\(error)".filter { $0 != "…" }))
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
