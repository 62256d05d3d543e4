/// A piece of somebody's text for a message: printable, of bounded length, without the password of a URL.
func printable(_ text: String, limit: Int = 60) -> String {
  var result = ""
  var count = 0
  for scalar in maskingPasswords(in: text).unicodeScalars {
    guard count < limit else { return result + "…" }
    count += 1
    switch scalar {
    case "\n": result += "\\n"
    case "\r": result += "\\r"
    case "\t": result += "\\t"
    default:
      // C0, DEL, C1 and the characters that reorder or break lines would disturb a terminal.
      let isUnsafe =
        scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
        || (0x2028...0x202E).contains(scalar.value)
      result += isUnsafe ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
    }
  }
  return result
}

/// `printable` in double quotes.
func quoted(_ text: String) -> String { "\"\(printable(text))\"" }

/// Replaces passwords by asterisks, everywhere in a text: what stands between `://user:` and `@`, and what follows
/// `password=`, as in a URL's query, a libpq connection string or a command's argument.
func maskingPasswords(in text: String) -> String {
  let bytes = Array(text.utf8)
  var result: [UInt8] = []
  var index = 0
  while index < bytes.count {
    if let name = passwordNames.first(where: { isName($0, in: bytes, at: index) }) {
      let start = index + name.count
      result += bytes[index..<start] + Array("****".utf8)
      index = endOfWord(in: bytes, from: start)
      continue
    }
    guard bytes[index...].starts(with: "://".utf8) else {
      result.append(bytes[index])
      index += 1
      continue
    }
    let start = index + 3
    // The last '@' of the authority ends the user part: careless passwords contain '@' themselves.
    let authority = bytes[start...].firstIndex { [0x2F, 0x3F, 0x23, 0x20, 0x22].contains($0) } ?? bytes.count
    var at = bytes[start..<authority].lastIndex(of: 0x40)
    if at == nil, !endsInHTTP(result) {
      // They contain '/', '?' and '#' too. Paths of web pages have an '@' more often than that.
      let end = bytes[start...].firstIndex { [0x20, 0x22].contains($0) } ?? bytes.count
      at = bytes[start..<end].lastIndex(of: 0x40)
    }
    result += bytes[index..<start]
    index = start
    if let at, let colon = bytes[start..<at].firstIndex(of: 0x3A) {
      result += bytes[start...colon] + Array("****".utf8)
      index = at
    }
  }
  return String(decoding: result, as: UTF8.self)
}

private let passwordNames = ["password=", "passwd=", "sslpassword="].map { Array($0.utf8) }

/// Whether a name stands here, in lower or upper case, and is not the end of a longer word.
private func isName(_ name: [UInt8], in bytes: [UInt8], at index: Int) -> Bool {
  guard bytes.count - index >= name.count, bytes[index] | 0x20 == name[0] else { return false }
  guard zip(bytes[index...], name).allSatisfy({ $0 == $1 || $0 | 0x20 == $1 }) else { return false }
  guard index > 0 else { return true }
  let letter = bytes[index - 1] | 0x20
  return !(0x61...0x7A).contains(letter)
}

/// The end of a password: a quoted one ends with its quote, before which a backslash says that it does not.
private func endOfWord(in bytes: [UInt8], from start: Int) -> Int {
  if start < bytes.count, bytes[start] == 0x27 {
    var index = start + 1
    while index < bytes.count, bytes[index] != 0x27 { index += bytes[index] == 0x5C ? 2 : 1 }
    return min(index, bytes.count)
  }
  return bytes[start...].firstIndex { [0x20, 0x26, 0x22, 0x27, 0x23, 0x0A].contains($0) } ?? bytes.count
}

private func endsInHTTP(_ bytes: [UInt8]) -> Bool {
  let scheme = bytes.suffix(5).map { $0 | 0x20 }
  return scheme.suffix(4) == Array("http".utf8) || scheme == Array("https".utf8)
}

/// The candidate that a typing error most likely meant, if one is near enough.
///
/// Near means few edits (a letter added, dropped, replaced, or two swapped): at most a third of the word, at
/// most three. Else a word that the other one begins with: `marker_directory` for `marker_dir`.
func nearest(to word: String, among candidates: [String]) -> String? {
  let letters = Array(word.utf8)
  guard !letters.isEmpty, letters.count <= 64 else { return nil }
  var best: (word: String, distance: Int)?
  for candidate in candidates {
    let other = Array(candidate.utf8)
    let bound = min(3, max(1, max(letters.count, other.count) / 3))
    guard abs(other.count - letters.count) <= bound else { continue }
    let distance = editDistance(letters, other)
    if distance <= bound, distance < (best?.distance ?? .max) { best = (candidate, distance) }
  }
  if let best { return best.word }
  return candidates.first { candidate in
    min(letters.count, candidate.utf8.count) >= 4 && (candidate.hasPrefix(word) || word.hasPrefix(candidate))
  }
}

/// Optimal string alignment distance: edits and swaps of neighbours count one each.
private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
  var beforePrevious: [Int] = []
  var previous = Array(0...right.count)
  for row in left.indices {
    var current = [row + 1]
    for column in right.indices {
      let cost = left[row] == right[column] ? 0 : 1
      var distance = min(previous[column + 1] + 1, current[column] + 1, previous[column] + cost)
      if row > 0, column > 0, left[row] == right[column - 1], left[row - 1] == right[column] {
        distance = min(distance, beforePrevious[column - 1] + 1)
      }
      current.append(distance)
    }
    beforePrevious = previous
    previous = current
  }
  return previous[right.count]
}

extension String {
  /// Whether another text stands somewhere in this one. The `contains` for texts is the regular expression
  /// library's, which is not worth its size here.
  func hasPart(_ part: String) -> Bool {
    let needle = Array(part.utf8)
    let text = Array(utf8)
    guard text.count >= needle.count else { return false }
    return (0...(text.count - needle.count)).contains { text[$0...].starts(with: needle) }
  }
}
