/// The target of a request line, taken apart (RFC 9112, section 3.2).
enum HTTPTarget {
  /// Path and query of an origin-form (`/status?verbose`) or absolute-form (`http://host/status`) target.
  /// - Throws: a 400 for any other form, and for an escape that is no byte of valid text.
  static func parse(_ target: ArraySlice<UInt8>) throws(HTTPRejection) -> (
    path: [String], query: [HTTPRequest.QueryItem]
  ) {
    let origin = try originForm(of: target)
    let pathEnd = origin.firstIndex(of: UInt8(ascii: "?")) ?? origin.endIndex
    let rawPath = origin[..<pathEnd].dropFirst()
    var path: [String] = []
    if !rawPath.isEmpty {
      for part in rawPath.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
        path.append(try decode(part))
      }
    }
    var query: [HTTPRequest.QueryItem] = []
    for item in origin[pathEnd...].dropFirst().split(separator: UInt8(ascii: "&")) {
      let nameEnd = item.firstIndex(of: UInt8(ascii: "=")) ?? item.endIndex
      let name = try decode(item[..<nameEnd])
      query.append(HTTPRequest.QueryItem(name, try decode(item[nameEnd...].dropFirst())))
    }
    return (path, query)
  }

  private static func originForm(of target: ArraySlice<UInt8>) throws(HTTPRejection) -> ArraySlice<UInt8> {
    if target.first == UInt8(ascii: "/") { return target }
    let scheme = Array("http://".utf8)
    let start = target.prefix(scheme.count).map { $0 | 0x20 }
    // Setting bit 5 makes letters small and leaves ':' and '/' as they are.
    guard start == scheme else { throw .badRequest("the request target does not begin with '/'") }
    let rest = target.dropFirst(scheme.count)
    guard let end = rest.firstIndex(where: { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") }) else {
      return [UInt8(ascii: "/")]
    }
    return rest[end] == UInt8(ascii: "/") ? rest[end...] : [UInt8(ascii: "/")] + rest[end...]
  }

  private static func decode(_ bytes: ArraySlice<UInt8>) throws(HTTPRejection) -> String {
    var decoded: [UInt8] = []
    decoded.reserveCapacity(bytes.count)
    var index = bytes.startIndex
    while index < bytes.endIndex {
      var byte = bytes[index]
      index += 1
      if byte == UInt8(ascii: "%") {
        guard bytes.endIndex - index >= 2, let high = hexValue(bytes[index]),
          let low = hexValue(bytes[index + 1])
        else { throw .badRequest("a '%' in the request target is not followed by two hexadecimal digits") }
        byte = high << 4 | low
        index += 2
      }
      guard byte != 0 else { throw .badRequest("the request target has a NUL byte") }
      decoded.append(byte)
    }
    guard let text = String(validating: decoded, as: UTF8.self) else {
      throw .badRequest("the request target is not UTF-8")
    }
    return text
  }

  private static func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
