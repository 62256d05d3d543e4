import Journal

/// An answer, always followed by the end of the connection.
public struct HTTPResponse: Sendable, Equatable {
  /// The status code.
  public var status: Int
  /// The Content-Type.
  public var contentType: String
  /// The value of an Allow header; nil for none.
  public var allow: String?
  /// The body.
  public var body: [UInt8]

  /// The Content-Type of plain text.
  public static let plainText = "text/plain; charset=utf-8"
  /// The Content-Type of JSON.
  public static let json = "application/json"

  /// An answer with any body.
  public init(status: Int, contentType: String = HTTPResponse.plainText, allow: String? = nil, body: String) {
    self.status = status
    self.contentType = contentType
    self.allow = allow
    self.body = Array(body.utf8)
  }

  /// A line of text; the line end is added.
  public static func text(_ status: Int, _ text: String) -> HTTPResponse {
    HTTPResponse(status: status, body: text + "\n")
  }

  /// The bytes on the wire (RFC 9112). An answer to HEAD has the length of the body, but not the body.
  public func serialized(isHead: Bool = false, date: WallTime = .now) -> [UInt8] {
    var head = "HTTP/1.1 \(status) \(HTTPResponse.phrase(status))\r\n"
    head += "Date: \(date.httpDate)\r\n"
    head += "Content-Type: \(contentType)\r\n"
    head += "Content-Length: \(body.count)\r\n"
    if let allow { head += "Allow: \(allow)\r\n" }
    head += "Cache-Control: no-store\r\n"
    head += "X-Content-Type-Options: nosniff\r\n"
    // The page has a style of its own and nothing else; what a name or message smuggled in must not run.
    head +=
      "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n"
    head += "Connection: close\r\n\r\n"
    var bytes = Array(head.utf8)
    if !isHead { bytes += body }
    return bytes
  }

  private static let phrases: [Int: String] = [
    200: "OK", 202: "Accepted", 400: "Bad Request", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 413: "Content Too Large", 414: "URI Too Long",
    431: "Request Header Fields Too Large", 500: "Internal Server Error", 501: "Not Implemented",
    503: "Service Unavailable", 505: "HTTP Version Not Supported",
  ]

  /// The usual words for a status code.
  static func phrase(_ status: Int) -> String { phrases[status] ?? "Status" }
}
