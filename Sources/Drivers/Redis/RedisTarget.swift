/// Which Redis, as whom, and which of its databases.
public struct RedisTarget: Sendable, Equatable, CustomStringConvertible {
  /// Where it listens.
  public enum Place: Sendable, Equatable {
    /// A name or an address without brackets.
    case tcp(host: String, port: Int)
    /// A socket in the file system.
    case socket(path: String)
  }

  /// Where it listens.
  public var place: Place
  /// Whether it is spoken to by TLS.
  public var isSecure: Bool
  /// The user (ACL, Redis 6); nil is `default`.
  public var user: String?
  /// Without one nobody logs in.
  public var password: String?
  /// The database's number.
  public var database: Int
  /// Trusted certificates (PEM) for this server alone; nil takes those of all.
  public var certificateFile: String?
  /// What others see in CLIENT LIST. Redis takes no spaces in it.
  public var clientName = "supervisor"

  /// The server, as messages name it; never a password.
  public var description: String {
    switch place {
    case .tcp(let host, let port): "Redis at \(host.contains(":") ? "[\(host)]" : host):\(port)"
    case .socket(let path): "Redis at \(path)"
    }
  }

  /// The text without what is secret in the URL: Redis quotes arguments that it did not understand.
  func masked(_ text: String) -> String {
    // A password of a letter or two would leave nothing to read; and whoever has it is known not to be secret.
    guard let password, password.utf8.count > 2 else { return text }
    return text.replacing(password, with: "***")
  }
}

extension RedisTarget {
  private static let shape =
    "expected redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS, or unix:///PATH?db=DATABASE, with special "
    + "characters of the password percent-encoded (@ is %40, / is %2F)"

  /// Reads a URL as redis-py and Django read it: parts are percent-decoded, `?db=`, `?username=` and `?password=` win
  /// over what stands before them, and what else is asked for (time limits, pools) is for others. `ssl_ca_certs` names
  /// trusted certificates.
  ///
  /// No message repeats a part of it: what cannot be understood may be the end of a password.
  public init(url: String) throws(RedisFailure) {
    guard url.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
      throw Self.failure("has a space, a line's end or a control character")
    }
    guard let colon = url.firstRange(of: "://") else { throw Self.failure("does not begin with redis://") }
    let scheme = url[..<colon.lowerBound].lowercased()
    // What follows # is no part of it.
    let whole = url[colon.upperBound...].prefix { $0 != "#" }
    let authority = whole.prefix { $0 != "/" && $0 != "?" }
    let path = whole[authority.endIndex...].prefix { $0 != "?" }
    let query = whole[path.endIndex...].dropFirst()
    let isSocket = scheme == "unix" || scheme == "redis+socket"
    guard isSocket || scheme == "redis" || scheme == "rediss" else {
      throw Self.failure("does not begin with redis://, rediss:// or unix://")
    }
    isSecure = scheme == "rediss"

    let at = authority.lastIndex(of: "@")
    // The rest of a password with an unescaped / or # looks like this.
    guard isSocket || !url[authority.endIndex...].contains("@") else {
      throw Self.failure("has an @ behind the host")
    }
    let login = at.map { authority[..<$0] } ?? ""
    let parts = login.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    user = parts.first.flatMap { Self.decoded($0) }
    password = parts.count > 1 ? Self.decoded(parts[1]) : nil
    let server = at.map { authority[authority.index(after: $0)...] } ?? authority

    if !isSocket {
      place = try Self.address(server)
    } else {
      guard server.isEmpty, let file = Self.decoded(path), file.utf8.count > 1, file.utf8.count < 108 else {
        throw Self.failure("needs the path of a socket, unix:///run/redis.sock, of at most 107 bytes")
      }
      place = .socket(path: file)
    }

    var number: String?
    if !isSocket { number = Self.decoded(path).map { $0.filter { $0 != "/" } } }
    for item in query.split(separator: "&") {
      let pair = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let value = pair.count > 1 ? Self.decoded(pair[1]) : nil
      switch pair[0] {
      case "db", "virtual_host": number = value
      case "username": user = value
      case "password": password = value
      case "ssl_ca_certs": certificateFile = value
      default: break
      }
    }
    if let number, !number.isEmpty {
      guard number.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = Int32(number) else {
        throw Self.failure("has a database that is no number")
      }
      database = Int(value)
    } else {
      database = 0
    }
  }

  private static func address(_ server: Substring) throws(RedisFailure) -> Place {
    var host: Substring
    var port: Substring
    if server.first == "[" {
      guard let end = server.firstIndex(of: "]") else { throw failure("has a [ without a ]") }
      host = server[server.index(after: server.startIndex)..<end]
      port = server[server.index(after: end)...]
      guard port.isEmpty || port.first == ":" else { throw failure("has more than a port behind the ]") }
      guard host.contains(":") else { throw failure("has no IPv6 address in its brackets") }
      port = port.dropFirst()
    } else {
      let parts = server.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2 else {
        throw failure("has more than one : in HOST:PORT; IPv6 goes into brackets")
      }
      host = parts.first ?? ""
      port = parts.count > 1 ? parts[1] : ""
    }
    let name = decoded(host) ?? "localhost"
    guard
      name.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "@") })
    else { throw failure("has a host that cannot be a name") }
    if port.isEmpty { return .tcp(host: name, port: 6379) }
    guard port.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt16(port), number > 0 else {
      throw failure("has a port that is no number from 1 to 65535")
    }
    return .tcp(host: name, port: Int(number))
  }

  /// Percent-decoded; nil for nothing. A % that begins no byte stays, as Python leaves it.
  private static func decoded(_ text: some StringProtocol) -> String? {
    guard !text.isEmpty else { return nil }
    let bytes = [UInt8](text.utf8)
    var result: [UInt8] = []
    var index = 0
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count, let high = digit(bytes[index + 1]),
        let low = digit(bytes[index + 2])
      {
        result.append(high << 4 | low)
        index += 3
      } else {
        result.append(bytes[index])
        index += 1
      }
    }
    return String(decoding: result, as: UTF8.self)
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }

  private static func failure(_ what: String) -> RedisFailure {
    RedisFailure(.settings, "the URL of Redis \(what); \(shape)")
  }
}
