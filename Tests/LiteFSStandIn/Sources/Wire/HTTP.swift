import Glibc

/// One TCP connection, read and written by threads that block.
package final class Connection: @unchecked Sendable {
  package let descriptor: Int32
  private var buffer: [UInt8] = []
  private var start = 0

  package init(descriptor: Int32) {
    self.descriptor = descriptor
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, 4)
  }

  deinit { close(descriptor) }

  /// Ends it, for whoever is blocked in it too.
  package func cut() { shutdown(descriptor, Int32(SHUT_RDWR)) }

  /// Who is on the other side: ADDRESS:PORT.
  package var peer: String {
    var address = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) {
      _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getpeername(descriptor, $0, &length) }
    }
    let number = UInt32(bigEndian: address.sin_addr.s_addr)
    let host = [24, 16, 8, 0].map { String(number >> $0 & 255) }.joined(separator: ".")
    return "\(host):\(address.sin_port.bigEndian)"
  }

  /// Whether the other side is gone, without waiting.
  package var isCut: Bool {
    var byte: UInt8 = 0
    return recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) == 0
  }

  private func fill() throws -> Bool {
    if start > 0 {
      buffer.removeFirst(start)
      start = 0
    }
    var chunk = [UInt8](repeating: 0, count: 65536)
    let count = recv(descriptor, &chunk, chunk.count, 0)
    if count < 0 { throw Failure("read tcp: \(words(errno))") }
    buffer += chunk[..<count]
    return count > 0
  }

  /// Up to the line's end, without it; nil at the end of it all.
  package func line() throws -> String? {
    var from = start
    while true {
      if let end = buffer[from...].firstIndex(of: 0x0a) {
        defer { start = end + 1 }
        let line = buffer[start..<end]
        return String(decoding: line.last == 0x0d ? line.dropLast() : line, as: UTF8.self)
      }
      from = buffer.count - start
      guard try fill() else { return nil }
    }
  }

  package func bytes(_ count: Int) throws -> [UInt8] {
    while buffer.count - start < count {
      guard try fill() else { throw Failure("unexpected EOF") }
    }
    defer { start += count }
    return Array(buffer[start..<start + count])
  }

  package func rest() throws -> [UInt8] {
    while try fill() {}
    return Array(buffer[start...])
  }

  package func write(_ bytes: [UInt8]) throws {
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(descriptor, $0.baseAddress.map { $0 + done }, bytes.count - done, Int32(MSG_NOSIGNAL))
      }
      if count < 0 { throw Failure("write tcp: \(words(errno))") }
      done += count
    }
  }

  package func write(_ text: String) throws { try write(Array(text.utf8)) }

  /// The header lines up to the empty one, their names in small letters.
  func headers() throws -> [String: String] {
    var headers: [String: String] = [:]
    while let line = try line(), !line.isEmpty {
      guard let colon = line.firstIndex(of: ":") else { continue }
      let value = line[line.index(after: colon)...]
      headers[line[..<colon].lowercased()] = String(value.drop { $0 == " " })
    }
    return headers
  }

  func body(_ headers: [String: String], orUntilEnd: Bool) throws -> [UInt8] {
    if headers["transfer-encoding"]?.lowercased() == "chunked" {
      var body: [UInt8] = []
      while let line = try line(), let size = Int(line.prefix { $0 != ";" }, radix: 16) {
        body += try bytes(size)
        _ = try self.line()
        if size == 0 { break }
      }
      return body
    }
    if let length = headers["content-length"].flatMap({ Int($0) }) { return try bytes(length) }
    return orUntilEnd ? try rest() : []
  }
}

package struct Request: Sendable {
  package var method: String
  package var path: String
  package var query: [String: String]
  package var headers: [String: String]
  package var body: [UInt8]
}

package struct Response: Sendable {
  package var status: Int
  package var headers: [(String, String)]
  package var body: [UInt8]

  package init(
    _ status: Int, _ body: String, type: String = "text/plain; charset=utf-8",
    headers: [(String, String)] = []
  ) {
    self.status = status
    self.headers = [("Content-Type", type)] + headers
    self.body = Array(body.utf8)
  }

  package func header(_ name: String) -> String? {
    headers.first { $0.0.lowercased() == name.lowercased() }?.1
  }
}

/// A server with a thread for each connection. It listens at once, and answers from `serve` on.
package final class Server: @unchecked Sendable {
  package let port: Int
  private let listener: Int32
  private let monitor = Monitor()
  private var connections: [Int32: Connection] = [:]
  private var closed = false
  /// A handler that returns no response has written its own.
  package typealias Handler = @Sendable (Request, Connection) throws -> Response?

  /// `address`: HOST:PORT, :PORT for all interfaces; port 0 for a free one.
  package init(listeningOn address: String) throws {
    let (host, port) = splitAddress(address)
    var on: Int32 = 1
    var failure = "listen tcp \(address): bind: "
    var descriptor: Int32 = -1
    for candidate in try resolve(host.isEmpty ? "0.0.0.0" : host, port, wording: "listen tcp") {
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, 4)
      if withSocketAddress(candidate, { bind(descriptor, $0, $1) }) == 0, listen(descriptor, 128) == 0 {
        break
      }
      failure += words(errno)
      close(descriptor)
      descriptor = -1
    }
    guard descriptor >= 0 else { throw Failure(failure) }
    listener = descriptor
    var bound = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &bound) {
      _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    self.port = Int(bound.sin_port.bigEndian)
  }

  package func serve(_ handler: @escaping Handler) {
    Thread { [self] in
      while true {
        let descriptor = accept(listener, nil, nil)
        if descriptor < 0 {
          if monitor.locked({ closed }) { return }
          usleep(1000)
          continue
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        let connection = Connection(descriptor: descriptor)
        monitor.locked { connections[descriptor] = connection }
        Thread { [self] in
          try? converse(connection, handler)
          monitor.locked { connections[descriptor] = nil }
        }.detach()
      }
    }.detach()
  }

  private func converse(_ connection: Connection, _ handler: Handler) throws {
    while let line = try connection.line() {
      let parts = line.split(separator: " ")
      guard parts.count == 3 else { return }
      let headers = try connection.headers()
      let target = parts[1].split(separator: "?", maxSplits: 1)
      var query: [String: String] = [:]
      for pair in target.dropFirst().first?.split(separator: "&") ?? [] {
        let pieces = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        query[unescaped(pieces[0])] = pieces.count > 1 ? unescaped(pieces[1]) : ""
      }
      if headers["expect"]?.lowercased() == "100-continue" {
        try connection.write("HTTP/1.1 100 Continue\r\n\r\n")
      }
      let request = Request(
        method: String(parts[0]), path: unescaped(target.first ?? "/"), query: query, headers: headers,
        body: try connection.body(headers, orUntilEnd: false))
      guard let response = try handler(request, connection) else { return }
      var head = "HTTP/1.1 \(response.status) \(reason(response.status))\r\n"
      for (name, value) in response.headers { head += "\(name): \(value)\r\n" }
      let close = headers["connection"]?.lowercased() == "close"
      head += "Content-Length: \(response.body.count)\r\n\(close ? "Connection: close\r\n" : "")\r\n"
      try connection.write(Array(head.utf8) + (request.method == "HEAD" ? [] : response.body))
      if close { return }
    }
  }

  /// Closes the port and cuts every connection.
  package func stop() {
    monitor.locked {
      guard !closed else { return }
      closed = true
      shutdown(listener, Int32(SHUT_RDWR))
      close(listener)
      for connection in connections.values { connection.cut() }
    }
  }
}

package func reason(_ status: Int) -> String {
  [
    200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    409: "Conflict",
    426: "Upgrade Required", 500: "Internal Server Error", 503: "Service Unavailable",
  ][status] ?? "Status"
}

/// A URL's parts, as far as they are used here.
package struct Address {
  package var host = ""
  package var port = 80
  package var path = ""
  package var password: String?

  package init?(_ url: String) {
    guard url.hasPrefix("http://") else { return nil }
    let rest = url.dropFirst(7)
    var authority = rest.prefix { $0 != "/" && $0 != "?" }
    path = String(rest.dropFirst(authority.count))
    if let at = authority.lastIndex(of: "@") {
      password = authority[..<at].split(separator: ":", maxSplits: 1).dropFirst().first.map(String.init)
      authority = authority[authority.index(after: at)...]
    }
    let (host, port) = splitAddress(String(authority))
    guard !host.isEmpty else { return nil }
    self.host = host
    self.port = port == 0 ? 80 : port
  }
}

/// Sends a request and reads the answer's head. The errors are worded as Go's client words them.
package func exchange(
  _ method: String, _ url: String, headers: [(String, String)] = [], body: [UInt8] = [],
  opened: (Connection) -> Void = { _ in }
) throws -> (Int, [String: String], Connection) {
  let said = method.prefix(1) + method.dropFirst().lowercased()
  guard let address = Address(url) else { throw Failure("\(said) \"\(url)\": unsupported protocol scheme") }
  do {
    let connection = Connection(descriptor: try dial(address.host, address.port))
    opened(connection)
    var head =
      "\(method) \(address.path.isEmpty ? "/" : address.path) HTTP/1.1\r\nHost: \(address.host):\(address.port)\r\n"
    for (name, value) in headers { head += "\(name): \(value)\r\n" }
    head += "Connection: close\r\nContent-Length: \(body.count)\r\n\r\n"
    try connection.write(Array(head.utf8) + body)
    guard let line = try connection.line(),
      let status = line.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
    else { throw Failure("EOF") }
    return (status, try connection.headers(), connection)
  } catch let failure as Failure {
    throw Failure("\(said) \"\(url)\": \(failure)")
  }
}

/// Sends a request and reads the whole answer.
package func fetch(
  _ method: String, _ url: String, headers: [(String, String)] = [], body: [UInt8] = []
) throws -> Response {
  let (status, answered, connection) = try exchange(method, url, headers: headers, body: body)
  var response = Response(status, "")
  response.headers = answered.map { ($0.key, $0.value) }
  response.body = try connection.body(answered, orUntilEnd: true)
  return response
}

/// What percent signs hide.
package func unescaped(_ text: some StringProtocol) -> String {
  var bytes: [UInt8] = []
  var rest = Substring(text).utf8
  while let byte = rest.popFirst() {
    if byte == UInt8(ascii: "%"), let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
    {
      bytes.append(code)
      rest = rest.dropFirst(2)
    } else {
      bytes.append(byte == UInt8(ascii: "+") ? 0x20 : byte)
    }
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// With percent signs wherever a path or a value could be misread; slashes stay.
package func escaped(_ text: String) -> String {
  text.utf8.reduce(into: "") { result, byte in
    let character = Character(Unicode.Scalar(byte))
    if character.isASCII, character.isLetter || character.isNumber || "-._~/".contains(character) {
      result.append(character)
    } else {
      result += (byte < 16 ? "%0" : "%") + String(byte, radix: 16).uppercased()
    }
  }
}

package func splitAddress(_ address: String) -> (String, Int) {
  guard let colon = address.lastIndex(of: ":") else { return (address, 0) }
  return (String(address[..<colon]), Int(address[address.index(after: colon)...]) ?? 0)
}

private func resolve(_ host: String, _ port: Int, wording: String) throws -> [sockaddr_in] {
  var hints = addrinfo()
  hints.ai_family = AF_INET
  hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
  var list: UnsafeMutablePointer<addrinfo>?
  guard getaddrinfo(host, String(port), &hints, &list) == 0 else {
    throw Failure("\(wording): lookup \(host): no such host")
  }
  defer { freeaddrinfo(list) }
  var found: [sockaddr_in] = []
  var next = list
  while let entry = next {
    if let address = entry.pointee.ai_addr {
      found.append(UnsafeRawPointer(address).load(as: sockaddr_in.self))
    }
    next = entry.pointee.ai_next
  }
  return found
}

private func withSocketAddress<Result>(
  _ address: sockaddr_in, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
) -> Result {
  withUnsafePointer(to: address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
}

private func dial(_ host: String, _ port: Int) throws -> Int32 {
  var failure = "dial tcp \(host):\(port): no address"
  for address in try resolve(host, port, wording: "dial tcp") {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    if withSocketAddress(address, { connect(descriptor, $0, $1) }) == 0 { return descriptor }
    failure = "dial tcp \(host):\(port): connect: \(words(errno))"
    close(descriptor)
  }
  throw Failure(failure)
}
