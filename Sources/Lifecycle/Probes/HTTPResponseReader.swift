/// Reads as much of an HTTP/1 response (RFC 9112) as a health check needs: the status, the end of the head, the first
/// line of the body, and where the response ends, so that the server is not cut off while it is still writing.
///
/// Bytes come from a server that may be broken or hostile: at most `limit` of them are looked at.
struct HTTPResponseReader {
  /// What is known so far.
  enum Verdict: Equatable {
    /// A status from 200 to 399.
    case passed
    /// Another status: `HTTP 503 Service Unavailable: database is locked`.
    case status(String)
    /// What was sent is not HTTP, or not within bounds.
    case notHTTP(String)
    /// The head has not ended yet.
    case incomplete
  }

  private enum Part {
    case head
    case body
    case refused(String)
  }

  /// The most bytes of a response that are looked at: 64 KiB.
  static let limit = 65536
  private static let longestDetail = 120
  private static let lineFeed = UInt8(ascii: "\n")
  private static let carriageReturn = UInt8(ascii: "\r")

  private var bytes: [UInt8] = []
  private var part = Part.head
  /// Where the line starts that is read next, while in the head.
  private var lineStart = 0
  /// Up to where that line has been looked at.
  private var scanned = 0
  private var status = 0
  private var phrase = ""
  private var contentLength: Int?
  private var isChunked = false
  private var bodyStart = 0
  private var hasEnded = false

  /// Whether any byte has come.
  var hasBegun: Bool { !bytes.isEmpty }

  /// Whether nothing more needs to be read.
  var isComplete: Bool {
    switch part {
    case .refused: true
    case .head: false
    case .body: hasEnded
    }
  }

  /// Whether a head with a passing status has come.
  var hasPassingHead: Bool { verdict == .passed }

  /// What the bytes so far mean.
  var verdict: Verdict {
    switch part {
    case .refused(let reason): return .notHTTP(reason)
    case .head: return .incomplete
    case .body:
      if (200..<400).contains(status) { return .passed }
      let line = phrase.isEmpty ? "HTTP \(status)" : "HTTP \(status) \(phrase)"
      guard let detail = firstBodyLine() else { return .status(line) }
      return .status("\(line): \(detail)")
    }
  }

  /// Takes the next bytes of the stream.
  mutating func take(_ new: UnsafeBufferPointer<UInt8>) {
    guard !isComplete else { return }
    bytes.append(contentsOf: new.prefix(HTTPResponseReader.limit - bytes.count))
    while case .head = part, let line = nextLine() { takeHeadLine(line) }
    switch part {
    case .refused: break
    case .body: hasEnded = hasEnded || bytes.count >= HTTPResponseReader.limit || bodyHasEnded()
    case .head:
      if status == 0, !startsLikeHTTP() { return refuseFirstBytes() }
      if bytes.count >= HTTPResponseReader.limit {
        part = .refused("the head of the HTTP answer is larger than 64 KiB")
      }
    }
  }

  // MARK: Head

  /// The next whole line of the head without its end; a bare line feed ends a line too (RFC 9112 section 2.2).
  private mutating func nextLine() -> ArraySlice<UInt8>? {
    guard let end = bytes[scanned...].firstIndex(of: HTTPResponseReader.lineFeed) else {
      scanned = bytes.count
      return nil
    }
    var line = bytes[lineStart..<end]
    if line.last == HTTPResponseReader.carriageReturn { line.removeLast() }
    lineStart = end + 1
    scanned = lineStart
    return line
  }

  private mutating func takeHeadLine(_ line: ArraySlice<UInt8>) {
    if status == 0 { return takeStatusLine(line) }
    if line.isEmpty { return endHead() }
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return }
    let name = String(decoding: line[..<colon], as: UTF8.self).lowercased()
    let value = String(decoding: line[(colon + 1)...], as: UTF8.self).filter { $0 != " " && $0 != "\t" }
    if name == "content-length" { contentLength = Int(value) }
    if name == "transfer-encoding" { isChunked = value.lowercased().hasSuffix("chunked") }
  }

  /// `HTTP/1.1 503 Service Unavailable`; the phrase may be missing.
  private mutating func takeStatusLine(_ line: ArraySlice<UInt8>) {
    let fields = line.split(separator: UInt8(ascii: " "), maxSplits: 2)
    guard startsLikeHTTP(), fields.count >= 2, fields[1].count == 3,
      fields[1].allSatisfy({ (0x30...0x39).contains($0) }),
      let number = Int(String(decoding: fields[1], as: UTF8.self)), number >= 100
    else { return refuseFirstBytes() }
    status = number
    phrase = fields.count > 2 ? HTTPResponseReader.plainText(fields[2]) ?? "" : ""
  }

  private mutating func endHead() {
    // Interim answers (100 Continue, 103 Early Hints) come before the real one; 101 would be the end of HTTP.
    if (100..<200).contains(status), status != 101 {
      status = 0
      contentLength = nil
      isChunked = false
      bytes.removeFirst(lineStart)
      lineStart = 0
      scanned = 0
      return
    }
    bodyStart = lineStart
    part = .body
  }

  private func startsLikeHTTP() -> Bool {
    zip(bytes, Array("HTTP/1.".utf8)).allSatisfy { $0 == $1 }
  }

  private mutating func refuseFirstBytes() {
    let line = bytes.prefix { $0 != HTTPResponseReader.lineFeed && $0 != HTTPResponseReader.carriageReturn }
    if let text = HTTPResponseReader.plainText(line.prefix(40)) {
      part = .refused("the answer is not HTTP/1: it begins with \"\(text)\"")
    } else {
      part = .refused("the answer is not HTTP/1")
    }
  }

  // MARK: Body

  private func bodyHasEnded() -> Bool {
    if status == 101 || status == 204 || status == 304 { return true }
    if isChunked { return bytes[bodyStart...].suffix(5).elementsEqual("0\r\n\r\n".utf8) }
    guard let contentLength else { return false }
    return bytes.count - bodyStart >= contentLength
  }

  /// The first line of a body, if it says something in a few plain words.
  private func firstBodyLine() -> String? {
    var body = bytes[bodyStart...]
    if isChunked {
      guard let end = body.firstIndex(of: HTTPResponseReader.lineFeed) else { return nil }
      let size = body[..<end].prefix { $0 != UInt8(ascii: ";") && $0 != HTTPResponseReader.carriageReturn }
      guard let length = Int(String(decoding: size, as: UTF8.self), radix: 16), length > 0 else { return nil }
      body = body[(end + 1)...].prefix(length)
    }
    let line = body.prefix { $0 != HTTPResponseReader.lineFeed && $0 != HTTPResponseReader.carriageReturn }
    // Markup says nothing in its first line.
    guard line.first != UInt8(ascii: "<") else { return nil }
    return HTTPResponseReader.plainText(line)
  }

  /// Text that may go into a log line as it is: short, UTF-8, no control characters; nil for anything else.
  private static func plainText(_ bytes: ArraySlice<UInt8>) -> String? {
    guard bytes.count <= longestDetail, let text = String(validating: bytes, as: UTF8.self) else {
      return nil
    }
    let isPlain = text.unicodeScalars.allSatisfy { scalar in
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned: false
      default: true
      }
    }
    let trimmed = text.drop { $0 == " " }
    return isPlain && !trimmed.isEmpty ? String(trimmed) : nil
  }
}
