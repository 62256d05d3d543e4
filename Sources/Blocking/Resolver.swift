import Glibc
import NIOCore

/// What a name became.
public enum Resolution: Sendable {
  /// Its addresses, without a port, in the order in which they are to be tried; at least one.
  case addresses([SocketAddress])
  /// There is none, and this is why; a sentence.
  case failed(String)
}

/// Names to addresses, as the C library does it (hosts file, DNS, whatever nsswitch.conf says). Blocks.
public enum Resolver {
  /// The address that the text already is; nil for a name.
  public static func literal(_ host: String) -> SocketAddress? {
    try? SocketAddress(ipAddress: host, port: 0)
  }

  /// Looks a name up.
  public static func resolve(_ host: String) -> Resolution {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, nil, &hints, &list)
    let systemCode = errno
    guard code == 0 else { return .failed(reason(code, systemCode, host)) }
    defer { freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var next = list
    while let entry = next {
      next = entry.pointee.ai_next
      guard let raw = entry.pointee.ai_addr else { continue }
      switch entry.pointee.ai_family {
      case AF_INET:
        raw.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
          addresses.append(SocketAddress($0.pointee))
        }
      case AF_INET6:
        raw.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) {
          addresses.append(SocketAddress($0.pointee))
        }
      default: break
      }
    }
    return addresses.isEmpty ? .failed("the name \(host) has no IP address") : .addresses(addresses)
  }

  private static func reason(_ code: CInt, _ systemCode: CInt, _ host: String) -> String {
    switch code {
    case EAI_NONAME, -5 /* EAI_NODATA */:
      return "the name \(host) is not known: neither DNS nor /etc/hosts has it"
    case EAI_AGAIN: return "the name \(host) could not be looked up: no name server answered"
    case EAI_SYSTEM: return "the name \(host) could not be looked up: \(text(of: systemCode))"
    default: return "the name \(host) could not be looked up: \(String(cString: gai_strerror(code)))"
    }
  }
}

/// The C library's text for an error number.
public func text(of code: CInt) -> String {
  String(cString: strerror(code))
}
