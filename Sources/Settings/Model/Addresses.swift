import Glibc

/// An IP address as bytes in network order.
public enum IPAddress: Sendable, Equatable {
  /// Four bytes.
  case ipv4([UInt8])
  /// Sixteen bytes.
  case ipv6([UInt8])

  /// 127.0.0.1
  public static let loopback4 = IPAddress.ipv4([127, 0, 0, 1])
  /// ::, which also takes IPv4 connections where the socket allows it.
  public static let any6 = IPAddress.ipv6([UInt8](repeating: 0, count: 16))

  /// As it is written: `127.0.0.1`, `::1`.
  public var text: String {
    let (family, bytes) =
      switch self {
      case .ipv4(let bytes): (AF_INET, bytes)
      case .ipv6(let bytes): (AF_INET6, bytes)
      }
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    guard inet_ntop(family, bytes, &text, socklen_t(text.count)) != nil else { return "" }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  /// Where this host reaches what listens there: of all addresses, its own loopback.
  public var reachableHere: IPAddress {
    switch self {
    case .ipv4(let bytes): bytes.allSatisfy { $0 == 0 } ? .loopback4 : self
    case .ipv6(let bytes): bytes.allSatisfy { $0 == 0 } ? .ipv6(bytes.dropLast() + [1]) : self
    }
  }

  /// Reads `127.0.0.1` or `::1` (without brackets); nil for anything else.
  public init?(_ text: String) {
    // inet_pton reads a C string: a NUL would hide what follows it.
    guard !text.utf8.contains(0), text.utf8.count < 64 else { return nil }
    if let bytes = Self.bytes(of: text, family: AF_INET, count: 4) {
      self = .ipv4(bytes)
    } else if let bytes = Self.bytes(of: text, family: AF_INET6, count: 16) {
      self = .ipv6(bytes)
    } else {
      return nil
    }
  }

  private static func bytes(of text: String, family: Int32, count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    let found = bytes.withUnsafeMutableBytes { inet_pton(family, text, $0.baseAddress) }
    return found == 1 ? bytes : nil
  }
}

/// A host of a check: an address, or `localhost`.
public enum Host: Sendable, Equatable {
  /// A literal address.
  case address(IPAddress)
  /// `localhost`, which is 127.0.0.1 and ::1 without asking anybody.
  case localhost
}

/// What a tcp check connects to. Made by the settings' parser only, so its parts have been checked.
public struct SocketTarget: Sendable, Equatable {
  /// The host.
  public let host: Host
  /// The port, 1 to 65535.
  public let port: UInt16
  /// As in the settings, for messages.
  public let text: String
}

/// What an http check asks. Made by the settings' parser only: `authority` and `path` are printable ASCII
/// without blanks, so they can stand in a request as they are.
public struct HTTPTarget: Sendable, Equatable {
  /// The host.
  public let host: Host
  /// The port, 1 to 65535; 80 when the URL has none.
  public let port: UInt16
  /// The value of the Host header: host and port as in the URL.
  public let authority: String
  /// The path with its query, starting with `/`.
  public let path: String
  /// As in the settings, for messages.
  public let text: String
}

/// Where the health page listens.
public struct ListenAddress: Sendable, Equatable {
  /// The address to bind to. `::` is meant for both families (no IPV6_V6ONLY); where there is no IPv6, 0.0.0.0
  /// serves instead when `isAllInterfaces`.
  public var address: IPAddress
  /// The port; 0: any free one.
  public var port: UInt16
  /// Whether it was written as `:port`.
  public var isAllInterfaces: Bool
  /// As in the settings, for messages.
  public var text: String
}
