/// Why a request is not answered as asked; becomes the answer.
public struct HTTPRejection: Error, Sendable, Equatable {
  /// The status code of the answer.
  public var status: Int
  /// What is wrong, in words.
  public var reason: String
  /// The value of the Allow header, with a 405.
  public var allow: String?

  /// A rejection.
  public init(status: Int, reason: String, allow: String? = nil) {
    self.status = status
    self.reason = reason
    self.allow = allow
  }

  /// A request that breaks the rules of HTTP.
  static func badRequest(_ reason: String) -> HTTPRejection { HTTPRejection(status: 400, reason: reason) }

  /// The answer.
  public var response: HTTPResponse {
    HTTPResponse(status: status, allow: allow, body: "\(status) \(HTTPResponse.phrase(status)): \(reason)\n")
  }
}

/// Makes a request out of bytes that come in any portions (RFC 9112, HTTP/1.0 and 1.1).
///
/// Strict where leniency helps nobody (a byte that cannot be in a request ends it at once, so that a TLS client on
/// this port is told so and costs no memory), lenient where people type by hand (a bare line feed ends a line).
/// A request has no body here. Of the headers only those are kept whose meaning matters: the memory of a parser is
/// the line it is in, at most `maximumBytes`.
public struct HTTPRequestParser: Sendable {
  /// Request line and headers together may have so many bytes.
  public static let maximumBytes = 8192
  /// How many header lines there may be.
  public static let maximumHeaders = 64

  /// How far the parser has come.
  public enum Progress: Sendable, Equatable {
    /// More bytes are needed.
    case incomplete
    /// All of the request is here; bytes behind it are left alone.
    case complete(HTTPRequest)
    /// The request will not be answered as asked.
    case rejected(HTTPRejection)
  }

  private enum State {
    case requestLine
    case headers
    case finished
  }

  private let allowsPost: Bool
  private var state = State.requestLine
  private var line: [UInt8] = []
  private var byteCount = 0
  private var headerCount = 0
  private var hostCount = 0
  private var lastByteWasReturn = false
  private var request: HTTPRequest?
  private var minorVersion = 0

  /// The outcome so far.
  public private(set) var progress = Progress.incomplete

  /// A parser at the start of a connection.
  public init(allowsPost: Bool = false) {
    self.allowsPost = allowsPost
  }

  /// Whether any byte has come.
  public var hasBegun: Bool { byteCount > 0 }

  /// Whether the answer must go without its body; known once the request line is.
  public var isHead: Bool { request?.method == .head }

  /// Takes the next bytes; those behind the end of the request are ignored.
  @discardableResult
  public mutating func feed(_ bytes: some Sequence<UInt8>) -> Progress {
    do throws(HTTPRejection) {
      for byte in bytes {
        if state == .finished { break }
        try take(byte)
      }
    } catch {
      state = .finished
      line = []
      progress = .rejected(error)
    }
    return progress
  }

  /// Tells the parser that no byte will follow.
  @discardableResult
  public mutating func finish() -> Progress {
    if state != .finished {
      state = .finished
      line = []
      progress = .rejected(.badRequest("the request ends before its headers do"))
    }
    return progress
  }

  private mutating func take(_ byte: UInt8) throws(HTTPRejection) {
    byteCount += 1
    if byteCount > HTTPRequestParser.maximumBytes { throw tooLong }
    if byte == UInt8(ascii: "\n") {
      lastByteWasReturn = false
      let ended = line
      line.removeAll(keepingCapacity: true)
      try endLine(ended[...])
      return
    }
    guard !lastByteWasReturn else { throw .badRequest("a carriage return is not followed by a line feed") }
    if byte == UInt8(ascii: "\r") {
      lastByteWasReturn = true
      return
    }
    let isText = byte >= 0x20 && byte != 0x7f
    switch state {
    case .requestLine:
      guard isText, byte < 0x80 else {
        throw .badRequest("the request line has byte \(byte), which cannot be in one (is this TLS?)")
      }
    case .headers:
      guard isText || byte == UInt8(ascii: "\t") else {
        throw .badRequest("a header has byte \(byte), which cannot be in one")
      }
    case .finished: return
    }
    line.append(byte)
  }

  private var tooLong: HTTPRejection {
    let limit = HTTPRequestParser.maximumBytes
    return state == .requestLine
      ? HTTPRejection(status: 414, reason: "the request line is longer than \(limit) bytes")
      : HTTPRejection(status: 431, reason: "request line and headers are longer than \(limit) bytes")
  }

  private mutating func endLine(_ line: ArraySlice<UInt8>) throws(HTTPRejection) {
    switch state {
    case .requestLine:
      // Some clients send an empty line after what went before (RFC 9112, section 2.2).
      if line.isEmpty { return }
      try takeRequestLine(line)
      state = .headers
    case .headers:
      if line.isEmpty {
        try complete()
      } else {
        headerCount += 1
        if headerCount > HTTPRequestParser.maximumHeaders {
          throw HTTPRejection(
            status: 431, reason: "there are more than \(HTTPRequestParser.maximumHeaders) headers")
        }
        try takeHeader(line)
      }
    case .finished: break
    }
  }

  private mutating func complete() throws(HTTPRejection) {
    if minorVersion > 0, hostCount == 0 { throw .badRequest("HTTP/1.1 needs a Host header") }
    state = .finished
    line = []
    if let request { progress = .complete(request) }
  }

  private mutating func takeRequestLine(_ line: ArraySlice<UInt8>) throws(HTTPRejection) {
    let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard parts.count == 3, let method = parts.first, HTTPRequestParser.isToken(method), !parts[1].isEmpty
    else {
      throw .badRequest("the request line is not 'METHOD TARGET HTTP/1.1'")
    }
    minorVersion = try HTTPRequestParser.minorVersion(of: parts[2])
    let name = String(decoding: method, as: UTF8.self)
    guard let known = HTTPRequest.Method(rawValue: name), allowsPost || known != .post else {
      throw HTTPRejection(
        status: 405, reason: "the method \(name) is not served here",
        allow: allowsPost ? "GET, HEAD, POST" : "GET, HEAD")
    }
    let target = try HTTPTarget.parse(parts[1])
    request = HTTPRequest(known, path: target.path, query: target.query)
  }

  private static func minorVersion(of version: ArraySlice<UInt8>) throws(HTTPRejection) -> Int {
    let bytes = Array(version)
    let digits = UInt8(ascii: "0")...UInt8(ascii: "9")
    guard bytes.count == 8, bytes.starts(with: Array("HTTP/".utf8)), digits.contains(bytes[5]),
      bytes[6] == UInt8(ascii: "."), digits.contains(bytes[7])
    else { throw .badRequest("the request line does not end in an HTTP version") }
    guard bytes[5] == UInt8(ascii: "1") else {
      throw HTTPRejection(status: 505, reason: "only HTTP/1.0 and HTTP/1.1 are served here")
    }
    return Int(bytes[7] - UInt8(ascii: "0"))
  }

  private mutating func takeHeader(_ line: ArraySlice<UInt8>) throws(HTTPRejection) {
    guard let colon = line.firstIndex(of: UInt8(ascii: ":")), HTTPRequestParser.isToken(line[..<colon]) else {
      throw .badRequest("a header line is not 'Name: value'")
    }
    let name = String(decoding: line[..<colon].map(HTTPRequestParser.lowercase), as: UTF8.self)
    switch name {
    case "host":
      hostCount += 1
      if hostCount > 1 { throw .badRequest("there is more than one Host header") }
    case "content-length":
      let value = HTTPRequestParser.trim(line[colon...].dropFirst())
      guard !value.isEmpty, value.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) else {
        throw .badRequest("Content-Length is not a number")
      }
      guard value.allSatisfy({ $0 == UInt8(ascii: "0") }) else {
        throw HTTPRejection(status: 413, reason: "requests have no body here")
      }
    case "transfer-encoding":
      throw HTTPRejection(status: 501, reason: "requests have no body here, so no Transfer-Encoding either")
    default: break
    }
  }

  private static func lowercase(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }

  private static func trim(_ bytes: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
    func isBlank(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }
    var trimmed = bytes.drop(while: isBlank)
    while let last = trimmed.last, isBlank(last) { trimmed.removeLast() }
    return trimmed
  }

  /// Letters, digits and ``!#$%&'*+-.^_`|~`` (RFC 9110, section 5.6.2), at least one.
  private static func isToken(_ bytes: ArraySlice<UInt8>) -> Bool {
    !bytes.isEmpty
      && bytes.allSatisfy { byte in
        switch lowercase(byte) {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "!"), UInt8(ascii: "#")...UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
          UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^")...UInt8(ascii: "`"), UInt8(ascii: "|"),
          UInt8(ascii: "~"):
          true
        default: false
        }
      }
  }
}
